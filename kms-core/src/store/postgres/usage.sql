-- The last use of each key, and since when uses are recorded: keys that are older may have been used before.
CREATE TABLE key_usage (
    region TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (region, key_id),
    FOREIGN KEY (region, key_id) REFERENCES kms_key (region, key_id)
);
CREATE TABLE usage_tracking (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    since BIGINT NOT NULL
);
INSERT INTO usage_tracking VALUES (1, (extract(epoch FROM now()) * 1000)::bigint);
