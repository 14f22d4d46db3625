//! What can go wrong with names.

use crate::crypto::AeadError;
use crate::format::FormatError;
use crate::keys::KeyError;
use crate::store::StoreError;

/// Why a name, a target or an attribute could not be translated.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// The name has more than 255 bytes, or its stored form does not fit.
    #[error("the name is too long")]
    TooLong,
    /// The name is empty, `.`, `..`, or has a slash or a zero byte.
    #[error("not a valid name")]
    Invalid,
    /// The name belongs to kmsfs.
    #[error("the name is reserved")]
    Reserved,
    /// A directory with entries has no directory id, so its names cannot be read.
    #[error("the directory has entries but no directory id")]
    NoDirectoryId,
    /// A stored name, id, target or attribute is not what was written.
    #[error("{0} is not what was written")]
    Tampered(&'static str),
    /// A stored structure is malformed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// No keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The backing directory failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NameError {
    /// Turns a failed authentication of `what` into an error.
    pub(super) fn tampered(what: &'static str) -> impl FnOnce(AeadError) -> Self {
        move |_| Self::Tampered(what)
    }
}
