-- Custom key stores. The record names its keys, so that nothing else has to be searched for them.
CREATE TABLE custom_key_store (
    id TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;
