//! What connects to the custody of a custom key store.

use std::sync::Arc;

use super::KeyCustody;
use crate::error::KmsError;
use crate::model::{ConnectionErrorCode, CustomKeyStoreId, KeyStoreConfig};

/// Why a custom key store could not be connected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("custom key store {store} cannot be connected ({code}): {reason}")]
pub struct ConnectFailure {
    /// The store.
    pub store: CustomKeyStoreId,
    /// The reason, as the API has it.
    pub code: ConnectionErrorCode,
    /// The reason for the log. Names no secret.
    pub reason: String,
    /// Whether another attempt does harm, by whichever process: a PIN that was wrong is not tried again until somebody
    /// has looked at it.
    pub is_final: bool,
}

/// Connects to one kind of custom key stores.
pub trait KeyStoreProvider: Send + Sync {
    /// Checks what a store is to connect to when it is created or changed by `operation`, and fills in what follows from
    /// it. Does not log in.
    fn check(&self, config: &KeyStoreConfig, operation: &'static str) -> Result<KeyStoreConfig, KmsError>;

    /// Connects. A custody that has connected once repairs its connection by itself.
    fn connect(
        &self,
        store: &CustomKeyStoreId,
        config: &KeyStoreConfig,
    ) -> Result<Arc<dyn KeyCustody>, ConnectFailure>;
}
