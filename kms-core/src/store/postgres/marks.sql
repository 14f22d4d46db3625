-- A mark of each transaction: the number of one whose commit was not answered does not tell whether it was
-- committed, because a database that crashed gives the numbers again that it had not written down.
CREATE TABLE mark (
    id UUID PRIMARY KEY,
    of_audit BOOLEAN NOT NULL,
    at TIMESTAMPTZ NOT NULL
);
CREATE INDEX mark_by_age ON mark (of_audit, at);
