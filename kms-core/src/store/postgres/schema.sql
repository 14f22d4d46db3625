-- Columns beside `sealed` only find rows. Whatever is believed comes out of a sealed record. Texts are ordered by their
-- bytes, whatever the locale of the database is.
-- Keys, materials, aliases and grants are apart by Region; that of the keystore itself is the empty text.
CREATE TABLE kms_key (
    region TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    next_due BIGINT,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (region, key_id)
);
CREATE INDEX kms_key_due ON kms_key (region, next_due, key_id) WHERE next_due IS NOT NULL;
CREATE TABLE material (
    region TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    material_id TEXT COLLATE "C" NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (region, key_id, material_id),
    FOREIGN KEY (region, key_id) REFERENCES kms_key (region, key_id)
);
CREATE TABLE alias (
    region TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (region, name),
    FOREIGN KEY (region, key_id) REFERENCES kms_key (region, key_id)
);
CREATE INDEX alias_key ON alias (region, key_id, name);
CREATE TABLE kms_grant (
    grant_id TEXT COLLATE "C" PRIMARY KEY,
    region TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    grantee TEXT COLLATE "C" NOT NULL,
    retiring TEXT COLLATE "C",
    name TEXT COLLATE "C",
    sealed BYTEA NOT NULL,
    FOREIGN KEY (region, key_id) REFERENCES kms_key (region, key_id)
);
CREATE INDEX kms_grant_key ON kms_grant (region, key_id, grant_id);
CREATE INDEX kms_grant_grantee ON kms_grant (region, key_id, grantee, grant_id);
CREATE INDEX kms_grant_name ON kms_grant (region, key_id, grantee, name, grant_id) WHERE name IS NOT NULL;
CREATE INDEX kms_grant_retiring ON kms_grant (region, retiring, grant_id) WHERE retiring IS NOT NULL;
CREATE TABLE kms_user (
    name TEXT COLLATE "C" PRIMARY KEY,
    sealed BYTEA NOT NULL
);
CREATE TABLE access_key (
    access_key_id TEXT COLLATE "C" PRIMARY KEY,
    user_name TEXT COLLATE "C" NOT NULL REFERENCES kms_user (name),
    created BIGINT NOT NULL,
    sealed BYTEA NOT NULL
);
CREATE INDEX access_key_user ON access_key (user_name, access_key_id);
CREATE TABLE setting (
    name TEXT COLLATE "C" PRIMARY KEY,
    sealed BYTEA NOT NULL
);
-- The sealed root key and what is needed to unseal it; the same bytes as keystore.json of a keystore in a directory.
CREATE TABLE keystore (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    header BYTEA NOT NULL
);
-- Counts committed changes, and is locked by whoever makes one: writers come one after the other.
CREATE TABLE change (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    counter BIGINT NOT NULL,
    erased BIGINT NOT NULL,
    scrubbed BIGINT NOT NULL
);
INSERT INTO change VALUES (1, 1, 0, 0);
CREATE TABLE audit_block (
    first BIGINT PRIMARY KEY,
    count BIGINT NOT NULL,
    time BIGINT NOT NULL,
    start_hash BYTEA NOT NULL,
    end_hash BYTEA NOT NULL,
    records BYTEA NOT NULL,
    signature BYTEA NOT NULL
);
CREATE TABLE audit_head (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    body BYTEA NOT NULL,
    signature BYTEA NOT NULL
);
