-- The last use of each key, and since when uses are recorded: keys that are older may have been used before.
CREATE TABLE key_usage (
    region TEXT NOT NULL,
    key_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (region, key_id),
    FOREIGN KEY (region, key_id) REFERENCES kms_key (region, key_id)
) STRICT;
CREATE TABLE usage_tracking (
    only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    since INTEGER NOT NULL
) STRICT;
INSERT INTO usage_tracking VALUES (1, unixepoch() * 1000);
