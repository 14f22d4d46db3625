//! What can go wrong below the file layer.

use std::fmt;

/// The kind of a failed backing call.
///
/// The posix store maps errno to a kind and `fuse::errno` maps a kind to the errno of the reply, so
/// that no layer between them handles raw numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No such entry.
    NotFound,
    /// The entry is there already.
    Exists,
    /// A directory was needed.
    NotADirectory,
    /// Something else than a directory was needed.
    IsADirectory,
    /// The directory has entries.
    NotEmpty,
    /// No space left on the backing file system.
    NoSpace,
    /// The quota of the backing file system is used up.
    QuotaExceeded,
    /// The backing file system is read-only.
    ReadOnly,
    /// Only the owner or root may do this (EPERM).
    NotPermitted,
    /// The permission bits refuse (EACCES).
    AccessDenied,
    /// The two names lie on different file systems.
    CrossDevice,
    /// A name is too long for the backing file system.
    NameTooLong,
    /// The object has as many links as the backing file system allows.
    TooManyLinks,
    /// A symbolic link where none may be followed.
    Loop,
    /// The device failed.
    Io,
    /// The object has no such extended attribute.
    NoAttribute,
    /// The backing file system does not offer the operation.
    Unsupported,
    /// The file handle names an object that is gone.
    Stale,
    /// The object is in use.
    Busy,
    /// The arguments are wrong.
    Invalid,
    /// The file would become larger than the backing file system allows.
    TooLarge,
    /// The caller's buffer is too small, or a value is too large.
    Range,
    /// A limit on open descriptors is reached.
    TooManyOpenFiles,
    /// The kernel has no memory.
    NoMemory,
    /// A signal came first.
    Interrupted,
    /// No such device, or no peer on a pipe.
    NoDevice,
    /// Any other errno.
    Other(i32),
}

/// A failed backing call: what was tried, and the kind of the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreError {
    /// The call, as a verb: `open`, `write`, `sync`.
    pub call: &'static str,
    /// Why it failed.
    pub kind: StoreErrorKind,
}

impl StoreError {
    /// An error of `kind` in `call`.
    pub fn new(call: &'static str, kind: StoreErrorKind) -> Self {
        Self { call, kind }
    }

    /// Whether the entry was not there.
    pub fn is_not_found(&self) -> bool {
        self.kind == StoreErrorKind::NotFound
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in the backing directory: {}", self.call, self.kind)
    }
}

impl fmt::Display for StoreErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NotFound => "no such entry",
            Self::Exists => "the entry exists",
            Self::NotADirectory => "not a directory",
            Self::IsADirectory => "is a directory",
            Self::NotEmpty => "the directory is not empty",
            Self::NoSpace => "no space left",
            Self::QuotaExceeded => "quota exceeded",
            Self::ReadOnly => "read-only file system",
            Self::NotPermitted => "operation not permitted",
            Self::AccessDenied => "permission denied",
            Self::CrossDevice => "crosses file systems",
            Self::NameTooLong => "name too long",
            Self::TooManyLinks => "too many links",
            Self::Loop => "a symbolic link where none may be",
            Self::Io => "input/output error",
            Self::NoAttribute => "no such attribute",
            Self::Unsupported => "not supported by the backing file system",
            Self::Stale => "stale file handle",
            Self::Busy => "busy",
            Self::Invalid => "invalid argument",
            Self::TooLarge => "file too large",
            Self::Range => "value too large",
            Self::TooManyOpenFiles => "too many open files",
            Self::NoMemory => "out of memory",
            Self::Interrupted => "interrupted",
            Self::NoDevice => "no such device",
            Self::Other(code) => return write!(f, "errno {code}"),
        };
        f.write_str(text)
    }
}

impl std::error::Error for StoreError {}
