//! Users and access keys in the store.

mod memory;
mod sqlite;

#[cfg(test)]
pub(super) mod contract;

pub(super) use memory::IdentityState;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::model::{AccessKey, AccessKeyId, SecretAccessKey, Timestamp, UserName};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The name.
    pub name: UserName,
    /// When the user was made.
    pub creation_date: Timestamp,
    /// What the user may do: the texts of policies by their names. Without any, nothing that a key's own policy does
    /// not allow.
    pub policies: BTreeMap<String, String>,
}

/// What can be read about users in a transaction.
pub trait ReadIdentities {
    /// A user.
    fn user(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError>;

    /// All users in the order of their names.
    fn list_users(&self) -> Result<Vec<UserRecord>, StoreError>;

    /// An access key with its secret.
    fn access_key(&self, id: &AccessKeyId) -> Result<Option<(AccessKey, SecretAccessKey)>, StoreError>;

    /// The access keys of a user in the order of their ids.
    fn list_access_keys(&self, user: &UserName) -> Result<Vec<AccessKey>, StoreError>;
}

/// What can be changed about users in a transaction.
pub trait WriteIdentities {
    /// Writes a user, new or not.
    fn put_user(&self, record: &UserRecord) -> Result<(), StoreError>;

    /// Removes a user, who must not have access keys.
    fn delete_user(&self, name: &UserName) -> Result<(), StoreError>;

    /// Writes an access key. Its user must exist.
    fn put_access_key(&self, key: &AccessKey, secret: &SecretAccessKey) -> Result<(), StoreError>;

    /// Overwrites and removes an access key.
    fn erase_access_key(&self, id: &AccessKeyId) -> Result<(), StoreError>;
}
