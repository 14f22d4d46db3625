//! Custom key stores in the store.

mod memory;
mod sqlite;

#[cfg(test)]
pub(super) mod contract;

pub(super) use memory::KeyStoreState;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::model::{
    ConnectionErrorCode, ConnectionState, CustomKeyStoreId, CustomKeyStoreType, KeyId, KeyStoreConfig,
    MILLIS_PER_DAY, Timestamp,
};

/// How long somebody may take to connect a store before the attempt counts as failed: its process may be gone.
const CONNECT_LIMIT_MILLIS: i64 = MILLIS_PER_DAY / 24 / 3;

/// A custom key store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomKeyStoreRecord {
    /// The id.
    pub id: CustomKeyStoreId,
    /// The name, which no other store has.
    pub name: String,
    /// When it was created.
    pub creation_date: Timestamp,
    /// What it connects to, with the secrets that this needs.
    pub config: KeyStoreConfig,
    /// Whether it is connected.
    pub connection: Connection,
    /// Counts changes of `config` and `connection`: what was connected at another count has to be connected anew.
    pub epoch: u64,
    /// Its keys, and the name of each in the external key manager. Those that wait for their deletion are among them.
    pub keys: BTreeMap<KeyId, Option<String>>,
}

/// Whether a custom key store is connected, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connection {
    /// No.
    Disconnected,
    /// Somebody has begun to connect it.
    Connecting {
        /// When.
        since: Timestamp,
    },
    /// Yes: every process connects when it needs the store.
    Connected,
    /// It could not be connected.
    Failed(ConnectionErrorCode),
}

impl CustomKeyStoreRecord {
    /// What it connects to.
    pub fn store_type(&self) -> CustomKeyStoreType {
        match self.config {
            KeyStoreConfig::Token(_) => CustomKeyStoreType::AwsCloudHsm,
            KeyStoreConfig::Proxy(_) => CustomKeyStoreType::ExternalKeyStore,
        }
    }

    /// The state at `now`, and why a connection failed.
    pub fn connection_state(&self, now: Timestamp) -> (ConnectionState, Option<ConnectionErrorCode>) {
        match self.connection {
            Connection::Disconnected => (ConnectionState::Disconnected, None),
            Connection::Connecting { since }
                if now.as_millis().saturating_sub(since.as_millis()) > CONNECT_LIMIT_MILLIS =>
            {
                (ConnectionState::Failed, Some(ConnectionErrorCode::InternalError))
            }
            Connection::Connecting { .. } => (ConnectionState::Connecting, None),
            Connection::Connected => (ConnectionState::Connected, None),
            Connection::Failed(code) => (ConnectionState::Failed, Some(code)),
        }
    }

    /// Whether its keys can be used.
    pub fn is_connected(&self) -> bool {
        self.connection == Connection::Connected
    }

    /// No less than the length of its JSON.
    pub(super) fn json_len_bound(&self) -> usize {
        // Escapes make at most six bytes of one.
        let texts = match &self.config {
            KeyStoreConfig::Token(token) => {
                token.module.as_os_str().len()
                    + token.trust_anchor_certificate.as_ref().map_or(0, String::len)
            }
            KeyStoreConfig::Proxy(proxy) => {
                proxy.uri().len() + proxy.trust_anchor_certificate.as_ref().map_or(0, String::len)
            }
        };
        8192 + 6 * (self.name.len() + texts) + 192 * self.keys.len()
    }
}

/// What can be read about custom key stores in a transaction.
pub trait ReadKeyStores {
    /// A custom key store.
    fn custom_key_store(&self, id: &CustomKeyStoreId) -> Result<Option<CustomKeyStoreRecord>, StoreError>;

    /// All of them in the order of their ids. There are few.
    fn list_custom_key_stores(&self) -> Result<Vec<CustomKeyStoreRecord>, StoreError>;
}

/// What can be changed about custom key stores in a transaction.
pub trait WriteKeyStores {
    /// Writes a custom key store, new or not.
    fn put_custom_key_store(&self, record: &CustomKeyStoreRecord) -> Result<(), StoreError>;

    /// Overwrites and removes a custom key store. Absent is fine.
    fn erase_custom_key_store(&self, id: &CustomKeyStoreId) -> Result<(), StoreError>;
}
