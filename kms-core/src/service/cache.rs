//! What was read from the store, for as long as nobody has changed the store.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::grant_set::GrantSet;
use crate::custody::OpenMaterial;
use crate::model::{AliasName, KeyId, MaterialId, Principal};
use crate::store::KeyRecord;

/// The most entries of each kind. Beyond that the cache starts anew, which costs less than keeping an order of use.
const MAX_ENTRIES: usize = 65_536;

/// Records and open materials that were read at one value of the store's change counter.
///
/// Any change by any process makes another counter, and with it an empty cache: a key that was disabled or whose
/// material was deleted elsewhere is not used once more from here, and its secret bytes are wiped.
#[derive(Default)]
pub(super) struct KeyCache {
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    counter: u64,
    keys: HashMap<KeyId, Arc<KeyRecord>>,
    aliases: HashMap<AliasName, KeyId>,
    materials: HashMap<(KeyId, MaterialId), Arc<dyn OpenMaterial>>,
    grants: HashMap<(KeyId, Principal), Arc<GrantSet>>,
    aliases_of: HashMap<KeyId, Arc<[AliasName]>>,
}

impl KeyCache {
    /// Forgets everything that was not read at `counter`. Call before every use, with the present counter.
    pub(super) fn sync(&self, counter: u64) {
        if self.read().counter != counter {
            let stale = {
                let mut entries = self.write();
                if entries.counter == counter {
                    return;
                }
                std::mem::replace(&mut *entries, Entries { counter, ..Entries::default() })
            };
            // Wiping many materials takes a while, so it happens outside the lock.
            drop(stale);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let stale = {
            let mut entries = self.write();
            let counter = entries.counter;
            std::mem::replace(&mut *entries, Entries { counter, ..Entries::default() })
        };
        drop(stale);
    }

    pub(super) fn key(&self, key_id: &KeyId) -> Option<Arc<KeyRecord>> {
        self.read().keys.get(key_id).cloned()
    }

    pub(super) fn alias(&self, name: &AliasName) -> Option<KeyId> {
        self.read().aliases.get(name).copied()
    }

    pub(super) fn material(&self, key_id: &KeyId, material_id: &MaterialId) -> Option<Arc<dyn OpenMaterial>> {
        self.read().materials.get(&(*key_id, *material_id)).cloned()
    }

    pub(super) fn grants(&self, key_id: &KeyId, grantee: &Principal) -> Option<Arc<GrantSet>> {
        self.read().grants.get(&(*key_id, grantee.clone())).cloned()
    }

    pub(super) fn aliases_of(&self, key_id: &KeyId) -> Option<Arc<[AliasName]>> {
        self.read().aliases_of.get(key_id).cloned()
    }

    /// Keeps a record that was read after the counter was seen at `counter`.
    pub(super) fn keep_key(&self, counter: u64, record: &Arc<KeyRecord>) {
        self.keep(counter, |entries| {
            make_room(&mut entries.keys);
            entries.keys.insert(record.key_id, Arc::clone(record));
        });
    }

    pub(super) fn keep_alias(&self, counter: u64, name: &AliasName, key_id: KeyId) {
        self.keep(counter, |entries| {
            make_room(&mut entries.aliases);
            entries.aliases.insert(name.clone(), key_id);
        });
    }

    pub(super) fn keep_material(
        &self,
        counter: u64,
        key_id: KeyId,
        material_id: MaterialId,
        material: &Arc<dyn OpenMaterial>,
    ) {
        self.keep(counter, |entries| {
            make_room(&mut entries.materials);
            entries.materials.insert((key_id, material_id), Arc::clone(material));
        });
    }

    pub(super) fn keep_grants(
        &self,
        counter: u64,
        key_id: KeyId,
        grantee: &Principal,
        grants: &Arc<GrantSet>,
    ) {
        self.keep(counter, |entries| {
            make_room(&mut entries.grants);
            entries.grants.insert((key_id, grantee.clone()), Arc::clone(grants));
        });
    }

    pub(super) fn keep_aliases_of(&self, counter: u64, key_id: KeyId, aliases: &Arc<[AliasName]>) {
        self.keep(counter, |entries| {
            make_room(&mut entries.aliases_of);
            entries.aliases_of.insert(key_id, Arc::clone(aliases));
        });
    }

    /// What was read before somebody else moved the cache on is too old to keep.
    fn keep(&self, counter: u64, insert: impl FnOnce(&mut Entries)) {
        let mut entries = self.write();
        if entries.counter == counter {
            insert(&mut entries);
        }
    }

    // A panic while the lock is held leaves at worst an entry missing.
    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room<K, V>(map: &mut HashMap<K, V>) {
    if map.len() >= MAX_ENTRIES {
        map.clear();
    }
}
