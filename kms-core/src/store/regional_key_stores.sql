-- Custom key stores are apart by Region too. Those that are there are of the keystore's own, the empty text.
ALTER TABLE custom_key_store ADD COLUMN region TEXT NOT NULL DEFAULT '';
