-- Columns beside `sealed` only find rows. Whatever is believed about a key comes out of its sealed record.
CREATE TABLE kms_key (
    key_id TEXT NOT NULL PRIMARY KEY,
    next_due INTEGER,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX kms_key_due ON kms_key (next_due) WHERE next_due IS NOT NULL;
CREATE TABLE material (
    key_id TEXT NOT NULL REFERENCES kms_key (key_id),
    material_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (key_id, material_id)
) STRICT;
CREATE TABLE alias (
    name TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES kms_key (key_id),
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX alias_key ON alias (key_id, name);
-- How many erasures there were, and how many of them the write-ahead log was emptied after.
CREATE TABLE erasure (
    only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    erased INTEGER NOT NULL,
    scrubbed INTEGER NOT NULL
) STRICT;
INSERT INTO erasure VALUES (1, 0, 0);
