-- Facts about the keystore as a whole, sealed, by their names.
CREATE TABLE setting (
    name TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;
