-- Who may call over a network. Columns beside `sealed` only find rows, and are bound by the seal.
CREATE TABLE kms_user (
    name TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;
CREATE TABLE access_key (
    access_key_id TEXT NOT NULL PRIMARY KEY,
    user_name TEXT NOT NULL REFERENCES kms_user (name),
    created INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX access_key_user ON access_key (user_name, access_key_id);
