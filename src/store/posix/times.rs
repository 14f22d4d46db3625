//! Between the kernel's attributes and times and those of the store.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps};

use crate::store::{NodeKind, NodeStat, StoreError, StoreErrorKind, StoreResult, TimeChange};

/// What is asked of `statx`.
pub(super) const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// The node kind behind a file type; `None` if the listing did not say.
pub(super) fn kind_from(file_type: FileType) -> Option<NodeKind> {
    match file_type {
        FileType::RegularFile => Some(NodeKind::File),
        FileType::Directory => Some(NodeKind::Directory),
        FileType::Symlink => Some(NodeKind::Symlink),
        FileType::Fifo => Some(NodeKind::Fifo),
        FileType::Socket => Some(NodeKind::Socket),
        FileType::CharacterDevice => Some(NodeKind::CharDevice),
        FileType::BlockDevice => Some(NodeKind::BlockDevice),
        FileType::Unknown => None,
    }
}

/// The file type of a node kind.
pub(super) fn type_from(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Directory => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::Socket => FileType::Socket,
        NodeKind::CharDevice => FileType::CharacterDevice,
        NodeKind::BlockDevice => FileType::BlockDevice,
    }
}

/// The store's attributes from the kernel's.
pub(super) fn stat_from(found: &Statx) -> StoreResult<NodeStat> {
    let mode = u32::from(found.stx_mode);
    let kind = kind_from(FileType::from_raw_mode(mode)).ok_or(StoreError::new("stat", StoreErrorKind::Io))?;
    let has_btime = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    Ok(NodeStat {
        kind,
        ino: found.stx_ino,
        dev: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
        mode: mode & 0o7777,
        nlink: u64::from(found.stx_nlink),
        uid: found.stx_uid,
        gid: found.stx_gid,
        rdev: rustix::fs::makedev(found.stx_rdev_major, found.stx_rdev_minor),
        size: found.stx_size,
        blocks: found.stx_blocks,
        atime: time_from(&found.stx_atime),
        mtime: time_from(&found.stx_mtime),
        ctime: time_from(&found.stx_ctime),
        btime: has_btime.then(|| time_from(&found.stx_btime)),
    })
}

/// A moment from the kernel's seconds and nanoseconds; nanoseconds count forward before 1970 too.
fn time_from(stamp: &StatxTimestamp) -> SystemTime {
    let whole = Duration::from_secs(stamp.tv_sec.unsigned_abs());
    let base = if stamp.tv_sec < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    // The kernel's range and that of SystemTime are the same 64 bits; a file system that hands out more
    // than a billion nanoseconds gets the epoch.
    base.and_then(|base| base.checked_add(Duration::from_nanos(u64::from(stamp.tv_nsec))))
        .unwrap_or(UNIX_EPOCH)
}

/// Both times in the form of `utimensat`.
pub(super) fn timestamps(atime: TimeChange, mtime: TimeChange) -> Timestamps {
    Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) }
}

/// One time in the form of `utimensat`.
fn timespec(change: TimeChange) -> Timespec {
    match change {
        TimeChange::Omit => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        TimeChange::Now => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        TimeChange::At(time) => match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Timespec {
                tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: after.subsec_nanos().into(),
            },
            Err(before) => before_epoch(before.duration()),
        },
    }
}

/// The moment that lies `distance` before 1970.
fn before_epoch(distance: Duration) -> Timespec {
    let whole = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX);
    match distance.subsec_nanos() {
        0 => Timespec { tv_sec: -whole, tv_nsec: 0 },
        nanos => Timespec { tv_sec: -whole - 1, tv_nsec: (1_000_000_000 - nanos).into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_has_forward_nanoseconds() {
        let time = UNIX_EPOCH - Duration::new(5, 250_000_000);
        let stamp = timespec(TimeChange::At(time));
        assert_eq!((stamp.tv_sec, stamp.tv_nsec), (-6, 750_000_000));
        let whole = timespec(TimeChange::At(UNIX_EPOCH - Duration::from_secs(5)));
        assert_eq!((whole.tv_sec, whole.tv_nsec), (-5, 0));
    }
}
