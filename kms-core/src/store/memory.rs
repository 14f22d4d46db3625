//! A store that forgets everything at the end of the process: tests and trials.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::custom_key_stores::KeyStoreState;
use super::identities::IdentityState;
use super::{
    AliasRecord, GrantFilter, GrantRecord, KeyRecord, Locality, MetadataStore, ReadTx, ReadWork, StoreError,
    WriteTx, WriteWork,
};
use crate::error::KmsError;
use crate::model::{AliasName, GrantId, KeyId, KeyLastUsage, MaterialId, Timestamp};

/// A [`MetadataStore`] in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    locality: Locality,
}

#[derive(Debug, Clone, Default)]
struct State {
    changes: u64,
    regions: BTreeMap<Locality, Regional>,
    settings: BTreeMap<String, Vec<u8>>,
    identities: IdentityState,
}

/// What is apart by Region.
#[derive(Debug, Clone, Default)]
struct Regional {
    keys: BTreeMap<KeyId, KeyRecord>,
    handles: BTreeMap<(KeyId, MaterialId), Vec<u8>>,
    aliases: BTreeMap<AliasName, AliasRecord>,
    key_stores: KeyStoreState,
    grants: BTreeMap<GrantId, GrantRecord>,
    usage: BTreeMap<KeyId, KeyLastUsage>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave a half-made state: a transaction works on a copy and is put in place whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetadataStore for MemoryStore {
    fn with_read(&self, work: ReadWork<'_>) -> Result<(), KmsError> {
        let state = RefCell::new(self.lock().clone());
        work(&MemoryTx { state: &state, locality: self.locality.clone() })
    }

    fn with_write(&self, work: WriteWork<'_>) -> Result<(), KmsError> {
        let mut state = self.lock();
        let changed = RefCell::new(state.clone());
        work(&MemoryTx { state: &changed, locality: self.locality.clone() })?;
        *state = changed.into_inner();
        state.changes += 1;
        Ok(())
    }

    fn at(&self, locality: &Locality) -> Arc<dyn MetadataStore> {
        Arc::new(Self { state: Arc::clone(&self.state), locality: locality.clone() })
    }

    fn change_counter(&self) -> Result<u64, StoreError> {
        Ok(self.lock().changes)
    }

    fn scrub(&self) -> Result<bool, StoreError> {
        Ok(true)
    }
}

pub(super) struct MemoryTx<'a> {
    state: &'a RefCell<State>,
    locality: Locality,
}

impl MemoryTx<'_> {
    /// Runs `work` on users and access keys.
    pub(super) fn identities<T>(&self, work: impl FnOnce(&mut IdentityState) -> T) -> T {
        work(&mut self.state.borrow_mut().identities)
    }

    /// Runs `work` on custom key stores.
    pub(super) fn key_stores<T>(&self, work: impl FnOnce(&mut KeyStoreState) -> T) -> T {
        self.here(|state| work(&mut state.key_stores))
    }

    /// Runs `work` on what is in this Region.
    fn here<T>(&self, work: impl FnOnce(&mut Regional) -> T) -> T {
        work(self.state.borrow_mut().regions.entry(self.locality.clone()).or_default())
    }

    fn require_key(&self, key_id: &KeyId) -> Result<(), StoreError> {
        match self.here(|state| state.keys.contains_key(key_id)) {
            true => Ok(()),
            false => Err(StoreError::Backend(format!("key {key_id} is not in the store"))),
        }
    }
}

impl ReadTx for MemoryTx<'_> {
    fn key(&self, key_id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.here(|state| state.keys.get(key_id).cloned()))
    }

    fn material_handle(
        &self,
        key_id: &KeyId,
        material_id: &MaterialId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.here(|state| state.handles.get(&(*key_id, *material_id)).cloned()))
    }

    fn alias(&self, name: &AliasName) -> Result<Option<AliasRecord>, StoreError> {
        Ok(self.here(|state| state.aliases.get(name).cloned()))
    }

    fn list_keys(&self, after: Option<&KeyId>, limit: usize) -> Result<Vec<KeyId>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = |state: &mut Regional| {
            state.keys.range((from, Bound::Unbounded)).map(|(id, _)| *id).take(limit).collect()
        };
        Ok(self.here(ids))
    }

    fn list_aliases(
        &self,
        key_id: Option<&KeyId>,
        after: Option<&AliasName>,
        limit: usize,
    ) -> Result<Vec<AliasRecord>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = |record: &&AliasRecord| key_id.is_none_or(|key_id| record.key_id == *key_id);
        let records = |state: &mut Regional| {
            let all = state.aliases.range::<AliasName, _>((from, Bound::Unbounded)).map(|(_, record)| record);
            all.filter(wanted).take(limit).cloned().collect()
        };
        Ok(self.here(records))
    }

    fn grant(&self, grant_id: &GrantId) -> Result<Option<GrantRecord>, StoreError> {
        Ok(self.here(|state| state.grants.get(grant_id).cloned()))
    }

    fn list_grants(
        &self,
        filter: GrantFilter<'_>,
        after: Option<&GrantId>,
        limit: usize,
    ) -> Result<Vec<GrantRecord>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let records = |state: &mut Regional| {
            let all = state.grants.range::<GrantId, _>((from, Bound::Unbounded)).map(|(_, record)| record);
            all.filter(|record| filter.picks(record)).take(limit).cloned().collect()
        };
        Ok(self.here(records))
    }

    fn count_grants(&self, key_id: &KeyId) -> Result<usize, StoreError> {
        Ok(self.here(|state| state.grants.values().filter(|record| record.key_id == *key_id).count()))
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state.borrow().settings.get(name).cloned())
    }

    fn due_keys(&self, now: Timestamp, limit: usize) -> Result<Vec<KeyId>, StoreError> {
        let due = |record: &KeyRecord| record.next_due().filter(|due| *due <= now);
        let mut keys: Vec<_> = self.here(|state| {
            state.keys.values().filter_map(|record| Some((due(record)?, record.key_id))).collect()
        });
        keys.sort();
        Ok(keys.into_iter().map(|(_, key_id)| key_id).take(limit).collect())
    }

    fn last_usage(&self, key_id: &KeyId) -> Result<Option<KeyLastUsage>, StoreError> {
        Ok(self.here(|state| state.usage.get(key_id).copied()))
    }

    fn usage_recorded_since(&self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_millis(0))
    }

    fn localities(&self) -> Result<Vec<Locality>, StoreError> {
        let state = self.state.borrow();
        let used = |regional: &Regional| !regional.keys.is_empty() || !regional.key_stores.is_empty();
        Ok(state
            .regions
            .iter()
            .filter(|(_, regional)| used(regional))
            .map(|(locality, _)| locality.clone())
            .collect())
    }
}

impl WriteTx for MemoryTx<'_> {
    fn put_key(&self, record: &KeyRecord) -> Result<(), StoreError> {
        self.here(|state| state.keys.insert(record.key_id, record.clone()));
        Ok(())
    }

    fn put_material_handle(
        &self,
        key_id: &KeyId,
        material_id: &MaterialId,
        handle: &[u8],
    ) -> Result<(), StoreError> {
        self.require_key(key_id)?;
        self.here(|state| state.handles.insert((*key_id, *material_id), handle.to_vec()));
        Ok(())
    }

    fn erase_material_handle(&self, key_id: &KeyId, material_id: &MaterialId) -> Result<(), StoreError> {
        self.here(|state| state.handles.remove(&(*key_id, *material_id)));
        Ok(())
    }

    fn erase_key(&self, key_id: &KeyId) -> Result<(), StoreError> {
        self.here(|state| {
            state.keys.remove(key_id);
            state.handles.retain(|(owner, _), _| owner != key_id);
            state.aliases.retain(|_, record| record.key_id != *key_id);
            state.grants.retain(|_, record| record.key_id != *key_id);
            state.usage.remove(key_id);
        });
        Ok(())
    }

    fn put_alias(&self, record: &AliasRecord) -> Result<(), StoreError> {
        self.require_key(&record.key_id)?;
        self.here(|state| state.aliases.insert(record.name.clone(), record.clone()));
        Ok(())
    }

    fn delete_alias(&self, name: &AliasName) -> Result<(), StoreError> {
        self.here(|state| state.aliases.remove(name));
        Ok(())
    }

    fn put_grant(&self, record: &GrantRecord) -> Result<(), StoreError> {
        self.require_key(&record.key_id)?;
        self.here(|state| state.grants.insert(record.grant_id, record.clone()));
        Ok(())
    }

    fn delete_grant(&self, grant_id: &GrantId) -> Result<(), StoreError> {
        self.here(|state| state.grants.remove(grant_id));
        Ok(())
    }

    fn put_last_usage(&self, key_id: &KeyId, usage: &KeyLastUsage) -> Result<(), StoreError> {
        self.require_key(key_id)?;
        self.here(|state| state.usage.insert(*key_id, *usage));
        Ok(())
    }

    fn at<'a>(&'a self, locality: &Locality) -> Box<dyn WriteTx + 'a> {
        Box::new(MemoryTx { state: self.state, locality: locality.clone() })
    }

    fn put_setting(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.state.borrow_mut().settings.insert(name.to_owned(), value.to_vec());
        Ok(())
    }
}
