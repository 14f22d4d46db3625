use std::collections::BTreeMap;

use super::{ReadIdentities, UserRecord, WriteIdentities};
use crate::model::{AccessKey, AccessKeyId, SecretAccessKey, UserName};
use crate::store::StoreError;
use crate::store::memory::MemoryTx;

/// Users and access keys in memory.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct IdentityState {
    users: BTreeMap<UserName, UserRecord>,
    access_keys: BTreeMap<AccessKeyId, (AccessKey, SecretAccessKey)>,
}

impl ReadIdentities for MemoryTx<'_> {
    fn user(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError> {
        Ok(self.identities(|state| state.users.get(name).cloned()))
    }

    fn list_users(&self) -> Result<Vec<UserRecord>, StoreError> {
        Ok(self.identities(|state| state.users.values().cloned().collect()))
    }

    fn access_key(&self, id: &AccessKeyId) -> Result<Option<(AccessKey, SecretAccessKey)>, StoreError> {
        Ok(self.identities(|state| state.access_keys.get(id).cloned()))
    }

    fn list_access_keys(&self, user: &UserName) -> Result<Vec<AccessKey>, StoreError> {
        let keys = |state: &mut IdentityState| {
            let all = state.access_keys.values().map(|(key, _)| key);
            all.filter(|key| key.user == *user).cloned().collect()
        };
        Ok(self.identities(keys))
    }
}

impl WriteIdentities for MemoryTx<'_> {
    fn put_user(&self, record: &UserRecord) -> Result<(), StoreError> {
        self.identities(|state| state.users.insert(record.name.clone(), record.clone()));
        Ok(())
    }

    fn delete_user(&self, name: &UserName) -> Result<(), StoreError> {
        if !self.list_access_keys(name)?.is_empty() {
            return Err(StoreError::Backend(format!("user {name} has access keys")));
        }
        self.identities(|state| state.users.remove(name));
        Ok(())
    }

    fn put_access_key(&self, key: &AccessKey, secret: &SecretAccessKey) -> Result<(), StoreError> {
        if self.user(&key.user)?.is_none() {
            return Err(StoreError::Backend(format!("user {} is not in the store", key.user)));
        }
        let entry = (key.clone(), secret.clone());
        self.identities(|state| state.access_keys.insert(key.access_key_id.clone(), entry));
        Ok(())
    }

    fn erase_access_key(&self, id: &AccessKeyId) -> Result<(), StoreError> {
        self.identities(|state| state.access_keys.remove(id));
        Ok(())
    }
}
