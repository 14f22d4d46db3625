-- Blocks of audit records, linked and signed; and the head, which says where the log begins and ends.
CREATE TABLE audit_block (
    first INTEGER NOT NULL PRIMARY KEY,
    count INTEGER NOT NULL,
    time INTEGER NOT NULL,
    start_hash BLOB NOT NULL,
    end_hash BLOB NOT NULL,
    records BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
CREATE TABLE audit_head (
    only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    body BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
