use postgres::Row;

use super::tx::PostgresTx;
use crate::model::CustomKeyStoreId;
use crate::store::{CustomKeyStoreRecord, ReadKeyStores, StoreError, WriteKeyStores};

impl PostgresTx<'_, '_> {
    fn key_store_row(&self, row: &Row) -> Result<CustomKeyStoreRecord, StoreError> {
        let (id, sealed): (String, Vec<u8>) = (row.get(0), row.get(1));
        let corrupt = |_| StoreError::Corrupt { what: format!("custom key store {id:?}") };
        self.codec.open_key_store(&self.locality, &id.parse().map_err(corrupt)?, &sealed)
    }
}

impl ReadKeyStores for PostgresTx<'_, '_> {
    fn custom_key_store(&self, id: &CustomKeyStoreId) -> Result<Option<CustomKeyStoreRecord>, StoreError> {
        let sql = "SELECT id, sealed FROM custom_key_store WHERE region = $1 AND id = $2";
        let found = self.row(sql, &[&self.region(), &id.as_str()])?;
        found.map(|row| self.key_store_row(&row)).transpose()
    }

    fn list_custom_key_stores(&self) -> Result<Vec<CustomKeyStoreRecord>, StoreError> {
        let sql = "SELECT id, sealed FROM custom_key_store WHERE region = $1 ORDER BY id";
        let rows = self.rows(sql, &[&self.region()])?;
        rows.iter().map(|row| self.key_store_row(row)).collect()
    }
}

impl WriteKeyStores for PostgresTx<'_, '_> {
    fn put_custom_key_store(&self, record: &CustomKeyStoreRecord) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO custom_key_store (id, region, sealed) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
            &[&record.id.as_str(), &self.region(), &self.codec.seal_key_store(&self.locality, record)?],
        )
    }

    fn erase_custom_key_store(&self, id: &CustomKeyStoreId) -> Result<(), StoreError> {
        let sql = "DELETE FROM custom_key_store WHERE region = $1 AND id = $2";
        self.execute(sql, &[&self.region(), &id.as_str()])?;
        self.request_scrub()
    }
}
