//! What a file system operation can fail with.

use crate::file::FileError;
use crate::keys::KeyError;
use crate::names::NameError;
use crate::store::StoreError;

/// The outcome of a file system operation.
pub type FsResult<T> = Result<T, FsError>;

/// Why an operation failed. `fuse::errno` maps it to the number that a program sees.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The kernel named an inode that it has forgotten, or that was never looked up.
    #[error("inode {0} is not known")]
    UnknownInode(u64),
    /// The kernel named an open directory that is not open.
    #[error("directory handle {0} is not open")]
    UnknownHandle(u64),
    /// The operation needs a directory.
    #[error("not a directory")]
    NotDirectory,
    /// The operation needs a regular file, and this is a directory.
    #[error("is a directory")]
    IsDirectory,
    /// The operation needs a regular file, and this is something else.
    #[error("not a regular file")]
    NotRegular,
    /// The directory has entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// The two names lie in subtrees with different KMS keys.
    #[error("the two names lie in different domains")]
    CrossDomain,
    /// The arguments make no sense.
    #[error("invalid argument: {0}")]
    Invalid(&'static str),
    /// The operation or its mode is not offered.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// A seek for data or a hole starts at or behind the end, or finds none.
    #[error("no data or hole behind the offset")]
    NoSuchOffset,
    /// The name of an extended attribute does not fit once it is encrypted.
    #[error("the name of the extended attribute is too long")]
    XattrNameTooLong,
    /// The volume was shut down as a crash would, by a test.
    #[error("the volume was shut down")]
    ShutDown,
    /// A name, target or attribute could not be translated.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The content of a file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key management service.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The backing directory.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FsError {
    /// Whether the entry was not there.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Store(error) | Self::Name(NameError::Store(error)) => error.is_not_found(),
            _ => false,
        }
    }
}
