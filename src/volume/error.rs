//! Why a volume cannot be made, opened or closed.

use crate::config::ConfigError;
use crate::file::FileError;
use crate::format::{FormatError, SessionNumber};
use crate::journal::JournalError;
use crate::keys::KeyError;
use crate::names::NameError;
use crate::store::{StoreError, StoreErrorKind};

use super::Holder;

/// Why a volume cannot be made, opened or closed. Each variant has what advice needs.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The directory has no volume in it.
    #[error("the directory is not a kmsfs volume")]
    NotAVolume,
    /// The directory has a volume in it already.
    #[error("the directory is a kmsfs volume already")]
    AlreadyAVolume,
    /// A volume can only be made in an empty directory.
    #[error("the directory is not empty: it has an entry {entry:?}")]
    NotEmpty {
        /// One of its entries.
        entry: String,
    },
    /// The volume is of a later format.
    #[error("the volume has format version {version}, which this program does not know")]
    NewerFormat {
        /// Its major version.
        version: u16,
    },
    /// The volume has features that this program does not know.
    #[error("the volume has features that this program does not know (bits {bits:#x})")]
    UnknownFeature {
        /// The unknown bits.
        bits: u64,
        /// Whether the volume can be read all the same.
        readable: bool,
    },
    /// Another process has the volume open.
    #[error("the volume is in use by {0}")]
    InUse(Holder),
    /// The key management service does not have the KMS key of the volume.
    #[error("the key management service does not have the volume's KMS key {key}")]
    WrongKeystore {
        /// The ARN of the key that the volume needs.
        key: String,
    },
    /// The volume's own files were changed from outside.
    #[error("{what} is not what was written: its authentication fails")]
    Tampered {
        /// Which of them.
        what: &'static str,
    },
    /// One of the volume's own files is damaged.
    #[error("{what}: {source}")]
    Damaged {
        /// Which of them.
        what: &'static str,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The backing directory cannot be written.
    #[error("the backing directory is read-only")]
    ReadOnlyBacking,
    /// The last session crashed, and its journal cannot be replayed because the backing directory is read-only.
    #[error("session {} crashed and the backing directory is read-only", .session.0)]
    NeedsRecovery {
        /// The session.
        session: SessionNumber,
    },
    /// All 2^32 session numbers are used.
    #[error("the volume has no session numbers left")]
    NoSessionsLeft,
    /// Only an empty directory can become the root of a domain.
    #[error("the directory is not empty")]
    DirectoryNotEmpty,
    /// A volume with plain names has one domain only.
    #[error("a volume with plain names cannot have further domains")]
    PlainNames,
    /// No keys.
    #[error(transparent)]
    Key(KeyError),
    /// The journal or the session records.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The file layer.
    #[error(transparent)]
    File(#[from] FileError),
    /// The root directory's id.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The backing directory failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for VolumeError {
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::ReadOnly => Self::ReadOnlyBacking,
            _ => Self::Store(error),
        }
    }
}

impl From<ConfigError> for VolumeError {
    fn from(error: ConfigError) -> Self {
        const WHAT: &str = "the superblock";
        match error {
            ConfigError::NewerFormat { version } => Self::NewerFormat { version },
            ConfigError::UnknownFeature { bits } => Self::UnknownFeature { bits, readable: false },
            ConfigError::Tampered => Self::Tampered { what: WHAT },
            ConfigError::Format(source) => Self::Damaged { what: WHAT, source },
        }
    }
}

impl From<KeyError> for VolumeError {
    fn from(error: KeyError) -> Self {
        const WHAT: &str = "the record of a domain";
        match error {
            KeyError::Unusable { key, source: kms_core::KmsError::NotFound(_) } => {
                Self::WrongKeystore { key }
            }
            KeyError::Store(error) => error.into(),
            KeyError::Format(source) => Self::Damaged { what: WHAT, source },
            KeyError::DomainTampered { .. } => Self::Tampered { what: WHAT },
            other => Self::Key(other),
        }
    }
}
