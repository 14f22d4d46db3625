//! Where keys, materials, aliases and grants are kept.
//!
//! [`MetadataStore`] is the seam: transactions over typed records, and pages in the order of ids and names. The
//! implementations are [`SqliteStore`] (durable, several processes), [`PostgresStore`] (several machines) and
//! [`MemoryStore`] (tests). One contract suite runs on all of them.

mod audit;
mod codec;
mod custom_key_stores;
mod grants;
mod identities;
mod locality;
mod memory;
mod postgres;
mod record;
mod sql;
mod sqlite;

pub use audit::{MemoryAuditStore, SqliteAuditStore, UnusableAuditStore};
pub use codec::RecordCodec;
pub use custom_key_stores::{Connection, CustomKeyStoreRecord, ReadKeyStores, WriteKeyStores};
pub use identities::{ReadIdentities, UserRecord, WriteIdentities};
pub use locality::Locality;
pub use memory::MemoryStore;
pub use postgres::{FRESHNESS, PostgresAuditStore, PostgresConfig, PostgresHeader, PostgresStore};
pub use record::{
    AliasRecord, FamilyRecord, GrantRecord, KeyRecord, MaterialRecord, RotationEvent, RotationRecord,
    RotationSchedule,
};
pub use sqlite::SqliteStore;

use std::sync::Arc;

use crate::error::KmsError;
use crate::model::{AliasName, GrantId, KeyId, KeyLastUsage, MaterialId, Principal, Timestamp};

/// Why the store could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A record does not authenticate, or contradicts the place where it lies.
    #[error("the stored record of {what} is damaged or was changed outside this service")]
    Corrupt {
        /// Which record: names the key or alias.
        what: String,
    },
    /// Another process holds the store for longer than the time limit.
    #[error("the key database is busy")]
    Busy,
    /// A later version of this software wrote the store.
    #[error("the key database has schema version {found}, newer than {supported}")]
    NewerVersion {
        /// The version of the store.
        found: i64,
        /// The newest version that this software reads.
        supported: i64,
    },
    /// The database cannot be reached, or is about to stop.
    #[error("the key database cannot be reached: {problem}")]
    Unavailable {
        /// What the database or the network said.
        problem: String,
    },
    /// The address of the database cannot be used.
    #[error("the address of the key database: {problem}")]
    Address {
        /// What is wrong with it.
        problem: String,
    },
    /// The database failed.
    #[error("the key database failed: {0}")]
    Backend(String),
}

impl From<StoreError> for KmsError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } => Self::CorruptRecord(error.to_string()),
            StoreError::Busy | StoreError::Unavailable { .. } => Self::DependencyTimeout(error.to_string()),
            StoreError::NewerVersion { .. } | StoreError::Address { .. } | StoreError::Backend(_) => {
                Self::Internal(error.to_string())
            }
        }
    }
}

/// Which grants to list.
#[derive(Debug, Clone, Copy)]
pub enum GrantFilter<'a> {
    /// Those of a key.
    Key(&'a KeyId),
    /// Those of a key to a principal. A role is found by its name, whatever its path.
    Grantee(&'a KeyId, &'a Principal),
    /// Those of a key to a principal that were given this name.
    Named(&'a KeyId, &'a Principal, &'a str),
    /// Those that a principal may retire.
    Retiring(&'a Principal),
}

/// What can be read in a transaction, of one Region.
pub trait ReadTx: ReadIdentities + ReadKeyStores {
    /// The record of a key.
    fn key(&self, key_id: &KeyId) -> Result<Option<KeyRecord>, StoreError>;

    /// What custody needs to open a material.
    fn material_handle(
        &self,
        key_id: &KeyId,
        material_id: &MaterialId,
    ) -> Result<Option<Vec<u8>>, StoreError>;

    /// An alias.
    fn alias(&self, name: &AliasName) -> Result<Option<AliasRecord>, StoreError>;

    /// The ids of keys in ascending order, from the first one after `after`.
    fn list_keys(&self, after: Option<&KeyId>, limit: usize) -> Result<Vec<KeyId>, StoreError>;

    /// Aliases in ascending order of their names, from the first one after `after`; only those of `key_id` if given.
    fn list_aliases(
        &self,
        key_id: Option<&KeyId>,
        after: Option<&AliasName>,
        limit: usize,
    ) -> Result<Vec<AliasRecord>, StoreError>;

    /// A grant.
    fn grant(&self, grant_id: &GrantId) -> Result<Option<GrantRecord>, StoreError>;

    /// Grants in ascending order of their ids, from the first one after `after`. However many others a key has, only
    /// those that the filter picks are looked at.
    fn list_grants(
        &self,
        filter: GrantFilter<'_>,
        after: Option<&GrantId>,
        limit: usize,
    ) -> Result<Vec<GrantRecord>, StoreError>;

    /// How many grants a key has.
    fn count_grants(&self, key_id: &KeyId) -> Result<usize, StoreError>;

    /// A fact about the keystore as a whole, by its name.
    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keys with something due at or before `now`, at most `limit`, the longest overdue first.
    fn due_keys(&self, now: Timestamp, limit: usize) -> Result<Vec<KeyId>, StoreError>;

    /// The last use of a key, as it was written.
    fn last_usage(&self, key_id: &KeyId) -> Result<Option<KeyLastUsage>, StoreError>;

    /// Since when this store has been told of uses.
    fn usage_recorded_since(&self) -> Result<Timestamp, StoreError>;

    /// The Regions that have keys or custom key stores, in order.
    fn localities(&self) -> Result<Vec<Locality>, StoreError>;
}

/// What can be changed in a transaction. Nothing is visible to others before the transaction commits.
pub trait WriteTx: ReadTx + WriteIdentities + WriteKeyStores {
    /// Writes the record of a key, new or not.
    fn put_key(&self, record: &KeyRecord) -> Result<(), StoreError>;

    /// Writes the handle of a material, new or not. The key must exist.
    fn put_material_handle(
        &self,
        key_id: &KeyId,
        material_id: &MaterialId,
        handle: &[u8],
    ) -> Result<(), StoreError>;

    /// Overwrites and removes the handle of a material. Absent is fine.
    fn erase_material_handle(&self, key_id: &KeyId, material_id: &MaterialId) -> Result<(), StoreError>;

    /// Overwrites and removes a key with its material handles, aliases, grants and last use.
    fn erase_key(&self, key_id: &KeyId) -> Result<(), StoreError>;

    /// Writes an alias, new or not. Its key must exist.
    fn put_alias(&self, record: &AliasRecord) -> Result<(), StoreError>;

    /// Removes an alias.
    fn delete_alias(&self, name: &AliasName) -> Result<(), StoreError>;

    /// Writes a new grant. Its key must exist.
    fn put_grant(&self, record: &GrantRecord) -> Result<(), StoreError>;

    /// Removes a grant.
    fn delete_grant(&self, grant_id: &GrantId) -> Result<(), StoreError>;

    /// Writes the last use of a key. The key must exist.
    fn put_last_usage(&self, key_id: &KeyId, usage: &KeyLastUsage) -> Result<(), StoreError>;

    /// Writes a fact about the keystore as a whole, new or not.
    fn put_setting(&self, name: &str, value: &[u8]) -> Result<(), StoreError>;

    /// The same transaction, looking at another Region.
    fn at<'a>(&'a self, locality: &Locality) -> Box<dyn WriteTx + 'a>;
}

/// The work of a read transaction.
pub type ReadWork<'a> = &'a mut dyn FnMut(&dyn ReadTx) -> Result<(), KmsError>;
/// The work of a write transaction.
pub type WriteWork<'a> = &'a mut dyn FnMut(&dyn WriteTx) -> Result<(), KmsError>;

/// A transactional store of keys, material handles, aliases and grants, looking at one of its Regions.
///
/// A backend may run the work of a transaction again after a conflict, so the work must not have effects outside the
/// transaction.
pub trait MetadataStore: Send + Sync {
    /// Runs `work` on one consistent state.
    fn with_read(&self, work: ReadWork<'_>) -> Result<(), KmsError>;

    /// Runs `work` alone among all writers of all processes, and commits if it succeeds.
    fn with_write(&self, work: WriteWork<'_>) -> Result<(), KmsError>;

    /// The same store, looking at another Region.
    fn at(&self, locality: &Locality) -> Arc<dyn MetadataStore>;

    /// A number that is different after every committed change, in whatever Region, by whatever process. Cheap: it is
    /// read before every operation, to know whether what is cached still holds.
    fn change_counter(&self) -> Result<u64, StoreError>;

    /// Removes what erased records left behind: log files, free pages. `false` if a reader was in the way; the store
    /// remembers, and the next call tries again. Returns `true` at once when nothing was erased.
    fn scrub(&self) -> Result<bool, StoreError>;
}

/// Runs a read transaction that returns a value.
pub fn read<T>(
    store: &dyn MetadataStore,
    mut work: impl FnMut(&dyn ReadTx) -> Result<T, KmsError>,
) -> Result<T, KmsError> {
    let mut result = None;
    store.with_read(&mut |tx| {
        result = Some(work(tx)?);
        Ok(())
    })?;
    result.ok_or_else(|| KmsError::Internal("the store did not run the transaction".into()))
}

/// Runs a write transaction that returns a value.
pub fn write<T>(
    store: &dyn MetadataStore,
    mut work: impl FnMut(&dyn WriteTx) -> Result<T, KmsError>,
) -> Result<T, KmsError> {
    let mut result = None;
    store.with_write(&mut |tx| {
        result = Some(work(tx)?);
        Ok(())
    })?;
    result.ok_or_else(|| KmsError::Internal("the store did not run the transaction".into()))
}

#[cfg(test)]
mod contract;
