use std::collections::BTreeMap;

use super::{CustomKeyStoreRecord, ReadKeyStores, WriteKeyStores};
use crate::model::CustomKeyStoreId;
use crate::store::StoreError;
use crate::store::memory::MemoryTx;

/// Custom key stores in memory.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct KeyStoreState {
    records: BTreeMap<CustomKeyStoreId, CustomKeyStoreRecord>,
}

impl KeyStoreState {
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl ReadKeyStores for MemoryTx<'_> {
    fn custom_key_store(&self, id: &CustomKeyStoreId) -> Result<Option<CustomKeyStoreRecord>, StoreError> {
        Ok(self.key_stores(|state| state.records.get(id).cloned()))
    }

    fn list_custom_key_stores(&self) -> Result<Vec<CustomKeyStoreRecord>, StoreError> {
        Ok(self.key_stores(|state| state.records.values().cloned().collect()))
    }
}

impl WriteKeyStores for MemoryTx<'_> {
    fn put_custom_key_store(&self, record: &CustomKeyStoreRecord) -> Result<(), StoreError> {
        self.key_stores(|state| state.records.insert(record.id.clone(), record.clone()));
        Ok(())
    }

    fn erase_custom_key_store(&self, id: &CustomKeyStoreId) -> Result<(), StoreError> {
        self.key_stores(|state| state.records.remove(id));
        Ok(())
    }
}
