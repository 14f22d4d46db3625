//! What a user's name, symbolic link target or extended attribute is in the backing directory.
//!
//! Works on nodes and keys only, without a mount, so that maintenance uses it too. Normative: format.md,
//! "Names".

mod dir;
mod error;
mod target;
#[cfg(test)]
mod tests;
mod xattr;

use std::sync::Arc;

pub use dir::{BackingEntry, DirNames, LongName, PlainEntry};
pub use error::NameError;
pub use target::{Targets, parse_kept, read_target};
pub use xattr::{StoredXattr, XattrClass, XattrSealer};

use crate::crypto::DomainKeys;
use crate::format::DomainId;
use crate::keys::{KeyError, KeyRing};

/// The directory of kept symbolic link targets, in [`crate::format::VOLUME_DIR`].
pub const TARGETS_DIR: &str = "targets";
/// The directory of directories that are being removed, in [`crate::format::VOLUME_DIR`].
pub const TRASH_DIR: &str = "trash";

/// Where the keys of names come from.
pub trait DomainSource: Send + Sync {
    /// The domain of the root directory.
    fn root_domain(&self) -> DomainId;

    /// The keys of a domain. Once obtained they stay for the life of the mount: names still list and delete
    /// after the domain's KMS key is gone.
    ///
    /// # Errors
    /// [`KeyError`] if the domain is not known, or its secret was never unwrapped and cannot be now.
    fn domain_keys(&self, id: DomainId) -> Result<Arc<DomainKeys>, KeyError>;

    /// The domains whose id begins with `tag`.
    fn domains_with_tag(&self, tag: [u8; 4]) -> Vec<DomainId>;
}

impl DomainSource for KeyRing {
    fn root_domain(&self) -> DomainId {
        Self::root_domain(self)
    }

    fn domain_keys(&self, id: DomainId) -> Result<Arc<DomainKeys>, KeyError> {
        Self::domain_keys(self, id)
    }

    fn domains_with_tag(&self, tag: [u8; 4]) -> Vec<DomainId> {
        Self::domains_with_tag(self, tag)
    }
}
