-- Rows have a Region, so that one keystore holds the keys of several; that of the keystore itself is the empty text.
-- SQLite cannot change a primary key, so the tables are made anew. The seals of the rows that are there stay as they
-- are: they are of the keystore's own Region.
CREATE TABLE regional_key (
    region TEXT NOT NULL,
    key_id TEXT NOT NULL,
    next_due INTEGER,
    sealed BLOB NOT NULL,
    PRIMARY KEY (region, key_id)
) STRICT;
CREATE TABLE regional_material (
    region TEXT NOT NULL,
    key_id TEXT NOT NULL,
    material_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (region, key_id, material_id),
    FOREIGN KEY (region, key_id) REFERENCES regional_key (region, key_id)
) STRICT;
CREATE TABLE regional_alias (
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    key_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (region, name),
    FOREIGN KEY (region, key_id) REFERENCES regional_key (region, key_id)
) STRICT;
CREATE TABLE regional_grant (
    grant_id TEXT NOT NULL PRIMARY KEY,
    region TEXT NOT NULL,
    key_id TEXT NOT NULL,
    grantee TEXT NOT NULL,
    retiring TEXT,
    name TEXT,
    sealed BLOB NOT NULL,
    FOREIGN KEY (region, key_id) REFERENCES regional_key (region, key_id)
) STRICT;
INSERT INTO regional_key SELECT '', key_id, next_due, sealed FROM kms_key;
INSERT INTO regional_material SELECT '', key_id, material_id, sealed FROM material;
INSERT INTO regional_alias SELECT '', name, key_id, sealed FROM alias;
INSERT INTO regional_grant SELECT grant_id, '', key_id, grantee, retiring, name, sealed FROM kms_grant;
DROP TABLE material;
DROP TABLE alias;
DROP TABLE kms_grant;
DROP TABLE kms_key;
ALTER TABLE regional_key RENAME TO kms_key;
ALTER TABLE regional_material RENAME TO material;
ALTER TABLE regional_alias RENAME TO alias;
ALTER TABLE regional_grant RENAME TO kms_grant;
CREATE INDEX kms_key_due ON kms_key (region, next_due) WHERE next_due IS NOT NULL;
CREATE INDEX alias_key ON alias (region, key_id, name);
CREATE INDEX kms_grant_key ON kms_grant (region, key_id, grant_id);
CREATE INDEX kms_grant_grantee ON kms_grant (region, key_id, grantee, grant_id);
CREATE INDEX kms_grant_name ON kms_grant (region, key_id, grantee, name, grant_id) WHERE name IS NOT NULL;
CREATE INDEX kms_grant_retiring ON kms_grant (region, retiring, grant_id) WHERE retiring IS NOT NULL;
