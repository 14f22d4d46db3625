use rusqlite::params;

use super::{CustomKeyStoreRecord, ReadKeyStores, WriteKeyStores};
use crate::model::CustomKeyStoreId;
use crate::store::StoreError;
use crate::store::sqlite::{SqliteTx, backend};

impl SqliteTx<'_> {
    fn key_store_rows(
        &self,
        sql: &str,
        parameters: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<CustomKeyStoreRecord>, StoreError> {
        let mut statement = self.inner.prepare_cached(sql).map_err(backend)?;
        let mut rows = statement.query(parameters).map_err(backend)?;
        let mut records = Vec::new();
        while let Some(row) = rows.next().map_err(backend)? {
            let id: String = row.get(0).map_err(backend)?;
            let sealed: Vec<u8> = row.get(1).map_err(backend)?;
            let corrupt = |_| StoreError::Corrupt { what: format!("custom key store {id:?}") };
            records.push(self.codec.open_key_store(
                &self.locality,
                &id.parse().map_err(corrupt)?,
                &sealed,
            )?);
        }
        Ok(records)
    }
}

impl ReadKeyStores for SqliteTx<'_> {
    fn custom_key_store(&self, id: &CustomKeyStoreId) -> Result<Option<CustomKeyStoreRecord>, StoreError> {
        let sql = "SELECT id, sealed FROM custom_key_store WHERE region = ?1 AND id = ?2";
        Ok(self.key_store_rows(sql, params![self.region(), id.as_str()])?.pop())
    }

    fn list_custom_key_stores(&self) -> Result<Vec<CustomKeyStoreRecord>, StoreError> {
        let sql = "SELECT id, sealed FROM custom_key_store WHERE region = ?1 ORDER BY id";
        self.key_store_rows(sql, params![self.region()])
    }
}

impl WriteKeyStores for SqliteTx<'_> {
    fn put_custom_key_store(&self, record: &CustomKeyStoreRecord) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO custom_key_store (id, region, sealed) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
            params![record.id.as_str(), self.region(), self.codec.seal_key_store(&self.locality, record)?],
        )
    }

    fn erase_custom_key_store(&self, id: &CustomKeyStoreId) -> Result<(), StoreError> {
        let row = params![self.region(), id.as_str()];
        self.execute(
            "UPDATE custom_key_store SET sealed = zeroblob(length(sealed)) WHERE region = ?1 AND id = ?2",
            row,
        )?;
        self.execute("DELETE FROM custom_key_store WHERE region = ?1 AND id = ?2", row)?;
        self.request_scrub()
    }
}
