//! From errno to [`StoreErrorKind`].

use rustix::io::Errno;

use crate::store::{StoreError, StoreErrorKind};

/// The error of `call` that failed with `errno`.
pub(super) fn error(call: &'static str, errno: Errno) -> StoreError {
    StoreError::new(call, kind_of(errno))
}

/// The kind that stands for `errno`. Numbers that no caller tells apart keep their value in
/// [`StoreErrorKind::Other`].
pub(super) fn kind_of(errno: Errno) -> StoreErrorKind {
    use StoreErrorKind as Kind;
    match errno {
        Errno::NOENT => Kind::NotFound,
        Errno::EXIST => Kind::Exists,
        Errno::NOTDIR => Kind::NotADirectory,
        Errno::ISDIR => Kind::IsADirectory,
        Errno::NOTEMPTY => Kind::NotEmpty,
        Errno::NOSPC => Kind::NoSpace,
        Errno::DQUOT => Kind::QuotaExceeded,
        Errno::ROFS => Kind::ReadOnly,
        Errno::PERM => Kind::NotPermitted,
        Errno::ACCESS => Kind::AccessDenied,
        Errno::XDEV => Kind::CrossDevice,
        Errno::NAMETOOLONG => Kind::NameTooLong,
        Errno::MLINK => Kind::TooManyLinks,
        Errno::LOOP => Kind::Loop,
        // A file system that finds its own structures damaged has failed as a device does.
        Errno::IO | Errno::UCLEAN | Errno::BADMSG | Errno::REMOTEIO | Errno::NOLINK => Kind::Io,
        Errno::NODATA => Kind::NoAttribute,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY => Kind::Unsupported,
        Errno::STALE => Kind::Stale,
        Errno::BUSY | Errno::TXTBSY => Kind::Busy,
        // EBADF is a write through a descriptor that was opened for reading.
        Errno::INVAL | Errno::BADF => Kind::Invalid,
        Errno::FBIG | Errno::OVERFLOW => Kind::TooLarge,
        Errno::RANGE | Errno::TOOBIG => Kind::Range,
        Errno::MFILE | Errno::NFILE => Kind::TooManyOpenFiles,
        Errno::NOMEM => Kind::NoMemory,
        Errno::INTR => Kind::Interrupted,
        Errno::NXIO | Errno::NODEV => Kind::NoDevice,
        other => Kind::Other(other.raw_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_errnos_keep_their_meaning() {
        assert_eq!(kind_of(Errno::NOENT), StoreErrorKind::NotFound);
        assert_eq!(kind_of(Errno::PERM), StoreErrorKind::NotPermitted);
        assert_eq!(kind_of(Errno::ACCESS), StoreErrorKind::AccessDenied);
        assert_eq!(kind_of(Errno::NODATA), StoreErrorKind::NoAttribute);
        assert_eq!(kind_of(Errno::UCLEAN), StoreErrorKind::Io);
        assert_eq!(kind_of(Errno::TIMEDOUT), StoreErrorKind::Other(libc::ETIMEDOUT));
    }
}
