//! The one place that picks errno values.
//!
//! Every match is exhaustive, so that a new kind of failure does not compile until somebody has decided what a
//! program should see.

use fuser::Errno;

use crate::file::FileError;
use crate::fs::FsError;
use crate::journal::JournalError;
use crate::keys::KeyError;
use crate::names::NameError;
use crate::store::{StoreError, StoreErrorKind};

/// The errno for a failed operation.
pub(super) fn of(error: &FsError) -> Errno {
    match error {
        // The kernel and this process disagree about what is known; the program should look the name up again.
        FsError::UnknownInode(_) => Errno::ESTALE,
        FsError::UnknownHandle(_) => Errno::EBADF,
        FsError::NotDirectory => Errno::ENOTDIR,
        FsError::IsDirectory => Errno::EISDIR,
        // What truncate(2) says about a pipe.
        FsError::NotRegular => Errno::EINVAL,
        FsError::NotEmpty => Errno::ENOTEMPTY,
        // The same as between two file systems, so that mv copies.
        FsError::CrossDomain => Errno::EXDEV,
        FsError::Invalid(_) => Errno::EINVAL,
        FsError::Unsupported(_) => Errno::EOPNOTSUPP,
        FsError::NoSuchOffset => Errno::ENXIO,
        // What setxattr(2) says about a name longer than 255 bytes.
        FsError::XattrNameTooLong => Errno::ERANGE,
        // What ext4 and XFS answer after their shutdown.
        FsError::ShutDown => Errno::EIO,
        FsError::Name(error) => of_name(error),
        FsError::File(error) => of_file(error),
        FsError::Key(error) => of_key(error),
        FsError::Store(error) => of_store(error),
    }
}

fn of_name(error: &NameError) -> Errno {
    match error {
        NameError::TooLong => Errno::ENAMETOOLONG,
        NameError::Invalid => Errno::EINVAL,
        // Only somebody who owns the volume could use the name, and not through the mount.
        NameError::Reserved => Errno::EPERM,
        // Damage and tampering look the same to a program: the data cannot be had.
        NameError::NoDirectoryId | NameError::Tampered(_) | NameError::Format(_) => Errno::EIO,
        NameError::Key(error) => of_key(error),
        NameError::Store(error) => of_store(error),
    }
}

fn of_file(error: &FileError) -> Errno {
    match error {
        FileError::Key(error) => of_key(error),
        FileError::Store(error) => of_store(error),
        // Wrong content is never handed out.
        FileError::Damaged { .. } | FileError::Format(_) => Errno::EIO,
        FileError::Journal(error) => of_journal(error),
        FileError::ReadOnly => Errno::EROFS,
        FileError::TooLarge => Errno::EFBIG,
    }
}

fn of_journal(error: &JournalError) -> Errno {
    match error {
        JournalError::Store(error) => of_store(error),
        // Nothing can be acknowledged any more, as on a file system that has remounted itself read-only. The call
        // whose flush failed had the device's own error.
        JournalError::Failed(_) => Errno::EROFS,
        JournalError::Format(_) | JournalError::SessionsTampered(_) => Errno::EIO,
    }
}

fn of_key(error: &KeyError) -> Errno {
    match error {
        // Disabled, waiting for its deletion, or erased: "Required key not available". No other failure uses it,
        // so that a program can tell a lost key from a lost disk.
        KeyError::Unusable { .. } => Errno::from_i32(libc::ENOKEY),
        // The policy of the key refuses whoever mounted.
        KeyError::Denied { .. } => Errno::EACCES,
        // The service is out of reach; the same call may succeed later. Not EAGAIN, which programs take for a
        // non-blocking descriptor and repeat without a pause.
        KeyError::Service(_) => Errno::from_i32(libc::EREMOTEIO),
        KeyError::Tampered { .. }
        | KeyError::ForeignKey { .. }
        | KeyError::UnknownDomain(_)
        | KeyError::UnknownDomainKey(_)
        | KeyError::NotARecipient(_)
        | KeyError::LastRecipient(_)
        | KeyError::Place(_)
        | KeyError::DomainTampered { .. }
        | KeyError::Format(_) => Errno::EIO,
        KeyError::Store(error) => of_store(error),
    }
}

fn of_store(error: &StoreError) -> Errno {
    match error.kind {
        StoreErrorKind::NotFound => Errno::ENOENT,
        StoreErrorKind::Exists => Errno::EEXIST,
        StoreErrorKind::NotADirectory => Errno::ENOTDIR,
        StoreErrorKind::IsADirectory => Errno::EISDIR,
        StoreErrorKind::NotEmpty => Errno::ENOTEMPTY,
        StoreErrorKind::NoSpace => Errno::ENOSPC,
        StoreErrorKind::QuotaExceeded => Errno::EDQUOT,
        StoreErrorKind::ReadOnly => Errno::EROFS,
        StoreErrorKind::NotPermitted => Errno::EPERM,
        StoreErrorKind::AccessDenied => Errno::EACCES,
        StoreErrorKind::CrossDevice => Errno::EXDEV,
        StoreErrorKind::NameTooLong => Errno::ENAMETOOLONG,
        StoreErrorKind::TooManyLinks => Errno::EMLINK,
        StoreErrorKind::Loop => Errno::ELOOP,
        StoreErrorKind::Io => Errno::EIO,
        StoreErrorKind::NoAttribute => Errno::ENODATA,
        StoreErrorKind::Unsupported => Errno::EOPNOTSUPP,
        StoreErrorKind::Stale => Errno::ESTALE,
        StoreErrorKind::Busy => Errno::EBUSY,
        StoreErrorKind::Invalid => Errno::EINVAL,
        StoreErrorKind::TooLarge => Errno::EFBIG,
        StoreErrorKind::Range => Errno::ERANGE,
        StoreErrorKind::TooManyOpenFiles => Errno::ENFILE,
        StoreErrorKind::NoMemory => Errno::ENOMEM,
        StoreErrorKind::Interrupted => Errno::EINTR,
        StoreErrorKind::NoDevice => Errno::ENXIO,
        StoreErrorKind::Other(code) => Errno::from_i32(code),
    }
}
