//! Data keys over the key management service.
//!
//! The file layer asks a [`FileKeyProvider`] for the keys of a file and never sees a KMS key: the provider
//! makes data keys ahead, remembers unwrapped ones for a limited time, and fences the files of a domain
//! whose KMS key can no longer be used.

mod batch;
mod cache;
mod domain;
mod domain_key;
#[cfg(test)]
pub(crate) mod fake;
mod place;
mod pool;
mod record;
mod ring;
mod shared;
mod slot;
#[cfg(test)]
mod tests;
mod usability;
mod wrapper;

use std::sync::Arc;

use kms_core::KmsError;

pub use batch::FileSlots;
pub use domain_key::KeyTier;
pub use place::{Connection, KeyAt, KeyPlace, KeyServices, PlaceError, region_of_arn};
pub(crate) use record::write_durably;
pub use record::{KEYS_DIR, NewDomain, RecipientChange, key_id_of};
pub use ring::{DomainSummary, KeyRing, KeyRingOptions};
pub use slot::SlotRewrap;

use crate::crypto::FileKeys;
use crate::format::{DomainId, FileId, FormatError, Identity, KeySlot};
use crate::store::StoreError;

/// The keys of a file that does not exist yet.
#[derive(Debug)]
pub struct NewFileKeys {
    /// Its identity: the file id is part of the encryption context of the wrap.
    pub identity: Identity,
    /// Its first key slot, authenticated.
    pub slot: KeySlot,
    /// Its keys.
    pub keys: Arc<FileKeys>,
}

/// Where the file layer gets the keys of files from.
pub trait FileKeyProvider: Send + Sync {
    /// The identity, key slot and keys for a new file in `domain`.
    ///
    /// # Errors
    /// [`KeyError`] if the domain's KMS key cannot be used.
    fn new_file(&self, domain: DomainId) -> Result<NewFileKeys, KeyError>;

    /// Unwraps the data key of a file from its key slots: of the sound ones the highest generation that
    /// unwraps, reproduces its commitment and carries the right MAC. Remembered for a limited time.
    ///
    /// # Errors
    /// [`KeyError`] that says whether the key is unusable or the header was tampered with.
    fn unwrap(&self, identity: &Identity, slots: &[Option<KeySlot>; 2]) -> Result<Arc<FileKeys>, KeyError>;

    /// Whether the keys of `domain` may be used now. Cheap: asked at every read and write.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] once the domain's KMS key was seen to be disabled, deleted or out of reach for
    /// longer than the grace time.
    fn check_usable(&self, domain: DomainId) -> Result<(), KeyError>;
}

/// Why there are no keys.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    /// The KMS key exists but may not be used: disabled, pending deletion or import, deleted.
    #[error("the KMS key {key} cannot be used: {source}")]
    Unusable {
        /// The key's ARN.
        key: String,
        /// What the service said.
        source: KmsError,
    },
    /// The service refuses the caller.
    #[error("the use of the KMS key {key} is refused: {source}")]
    Denied {
        /// The key's ARN.
        key: String,
        /// What the service said.
        source: KmsError,
    },
    /// The service cannot be reached or failed; trying again may help.
    #[error("the key management service failed: {0}")]
    Service(KmsError),
    /// The wrapped data key of this file does not open, or opens to another key than the header says.
    #[error("file {file}: the wrapped data key is not the one that was written")]
    Tampered {
        /// The file.
        file: FileId,
    },
    /// The header names a KMS key that the domain's record does not have: the file comes from elsewhere, or
    /// from before a rewrap to another key that has since been completed.
    #[error("file {file}: its data key is wrapped under a KMS key that domain {domain} does not use")]
    ForeignKey {
        /// The file.
        file: FileId,
        /// The domain.
        domain: DomainId,
    },
    /// A key is to leave that does not wrap anything.
    #[error("{0} is not a recipient")]
    NotARecipient(String),
    /// Without this key nothing would open.
    #[error("{0} is the last recipient")]
    LastRecipient(String),
    /// The text does not say where a key is.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A header names a domain key that the domain's record does not have.
    #[error("a file of domain {0} is under a domain key that its record does not have")]
    UnknownDomainKey(DomainId),
    /// No such domain in this volume.
    #[error("domain {0} is not known in this volume")]
    UnknownDomain(DomainId),
    /// The domain's record is damaged or was tampered with.
    #[error("domain {domain}: the record is not the one that was written")]
    DomainTampered {
        /// The domain.
        domain: DomainId,
    },
    /// A stored structure is malformed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The backing directory failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
