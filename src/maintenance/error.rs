//! Why maintenance cannot be done.

use kms_core::KmsError;

use crate::keys::KeyError;
use crate::store::StoreError;
use crate::volume::{Holder, VolumeError};

/// Why a piece of maintenance cannot be done. What is wrong with single files is in its report instead.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The work needs the volume for itself.
    #[error("the volume is in use by {0}")]
    InUse(Holder),
    /// Another rewrap of the volume is running.
    #[error("another rewrap of the volume is running")]
    RewrapRunning,
    /// The KMS key wraps nothing in this volume.
    #[error("no file and no domain of the volume is under the KMS key {key}")]
    KeyNotUsed {
        /// The key's ARN.
        key: String,
    },
    /// Destroying the key would not make the data unreadable, because another recipient opens it.
    #[error("what is under the KMS key {key} also opens with {other}")]
    AlsoOpens {
        /// The key's ARN.
        key: String,
        /// What the other one is called.
        other: String,
    },
    /// After its key was destroyed, a data key still unwraps.
    #[error("{opened} of {tried} data keys still unwrap although the KMS key {key} was destroyed")]
    StillOpens {
        /// The key's ARN.
        key: String,
        /// Data keys that unwrapped.
        opened: usize,
        /// Data keys that were tried.
        tried: usize,
    },
    /// The key management service refused an operation on the key.
    #[error("KMS key {key}: {source}")]
    Service {
        /// The key.
        key: String,
        /// What it said.
        source: KmsError,
    },
    /// No keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The backing directory failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
