-- Grants, found by key and grantee, or by who may retire them. From here on a record of a key may have a policy, which
-- software that knows only the schema before would not enforce.
CREATE TABLE kms_grant (
    grant_id TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES kms_key (key_id),
    grantee TEXT NOT NULL,
    retiring TEXT,
    name TEXT,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX kms_grant_key ON kms_grant (key_id, grant_id);
CREATE INDEX kms_grant_grantee ON kms_grant (key_id, grantee, grant_id);
CREATE INDEX kms_grant_name ON kms_grant (key_id, grantee, name, grant_id) WHERE name IS NOT NULL;
CREATE INDEX kms_grant_retiring ON kms_grant (retiring, grant_id) WHERE retiring IS NOT NULL;
