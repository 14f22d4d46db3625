-- Custom key stores. The record names its keys, so that nothing else has to be searched for them.
CREATE TABLE custom_key_store (
    id TEXT COLLATE "C" PRIMARY KEY,
    sealed BYTEA NOT NULL
);
