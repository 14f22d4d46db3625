use postgres::Row;

use super::tx::PostgresTx;
use crate::model::CustomKeyStoreId;
use crate::store::{CustomKeyStoreRecord, ReadKeyStores, StoreError, WriteKeyStores};

impl PostgresTx<'_> {
    fn key_store_row(&self, row: &Row) -> Result<CustomKeyStoreRecord, StoreError> {
        let (id, sealed): (String, Vec<u8>) = (row.get(0), row.get(1));
        let corrupt = |_| StoreError::Corrupt { what: format!("custom key store {id:?}") };
        self.codec.open_key_store(&id.parse().map_err(corrupt)?, &sealed)
    }
}

impl ReadKeyStores for PostgresTx<'_> {
    fn custom_key_store(&self, id: &CustomKeyStoreId) -> Result<Option<CustomKeyStoreRecord>, StoreError> {
        let found = self.row("SELECT id, sealed FROM custom_key_store WHERE id = $1", &[&id.as_str()])?;
        found.map(|row| self.key_store_row(&row)).transpose()
    }

    fn list_custom_key_stores(&self) -> Result<Vec<CustomKeyStoreRecord>, StoreError> {
        let rows = self.rows("SELECT id, sealed FROM custom_key_store ORDER BY id", &[])?;
        rows.iter().map(|row| self.key_store_row(row)).collect()
    }
}

impl WriteKeyStores for PostgresTx<'_> {
    fn put_custom_key_store(&self, record: &CustomKeyStoreRecord) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO custom_key_store (id, sealed) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
            &[&record.id.as_str(), &self.codec.seal_key_store(record)?],
        )
    }

    fn erase_custom_key_store(&self, id: &CustomKeyStoreId) -> Result<(), StoreError> {
        self.execute("DELETE FROM custom_key_store WHERE id = $1", &[&id.as_str()])?;
        self.request_scrub()
    }
}
