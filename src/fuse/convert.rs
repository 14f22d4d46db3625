//! Between the kernel's types and the file system's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, RenameFlags, Request, TimeOrNow};
use rustix::fs::{FallocateFlags, FileType as ModeType, XattrFlags};

use crate::fs::{AllocateMode, Attr, Caller, FsError, FsResult, NodeId, SeekTarget};
use crate::store::{NodeKind, RenameMode, TimeChange, XattrMode};

/// How long the kernel may keep names and attributes. This mount is the only writer, so they change through the
/// kernel only.
pub(super) const TTL: Duration = Duration::from_secs(3600);
/// The preferred size of a request, in bytes.
const BLOCK_SIZE: u32 = 4096;
/// `SEEK_DATA` and `SEEK_HOLE` of the kernel's interface.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

pub(super) fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), pid: request.pid() }
}

pub(super) fn node_id(ino: INodeNo) -> NodeId {
    NodeId(ino.0)
}

pub(super) fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Directory => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::NamedPipe,
        NodeKind::Socket => FileType::Socket,
        NodeKind::CharDevice => FileType::CharDevice,
        NodeKind::BlockDevice => FileType::BlockDevice,
    }
}

/// What `mknod(2)` is asked to make.
pub(super) fn node_kind(mode: u32) -> FsResult<NodeKind> {
    match ModeType::from_raw_mode(mode) {
        ModeType::RegularFile => Ok(NodeKind::File),
        ModeType::Fifo => Ok(NodeKind::Fifo),
        ModeType::Socket => Ok(NodeKind::Socket),
        ModeType::CharacterDevice => Ok(NodeKind::CharDevice),
        ModeType::BlockDevice => Ok(NodeKind::BlockDevice),
        ModeType::Directory | ModeType::Symlink | ModeType::Unknown => {
            Err(FsError::Invalid("a node of this type"))
        }
    }
}

/// The store's device number from the kernel's 32-bit one: 8 low bits of the minor, 12 of the major, 12 of the
/// minor.
pub(super) fn device_from_kernel(rdev: u32) -> u64 {
    rustix::fs::makedev((rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & 0xf_ff00))
}

fn device_to_kernel(rdev: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.id.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime,
        mtime: attr.mtime,
        ctime: attr.ctime,
        crtime: attr.ctime,
        kind: file_type(attr.kind),
        perm: attr.mode as u16,
        nlink: u32::try_from(attr.nlink).unwrap_or(u32::MAX),
        uid: attr.uid,
        gid: attr.gid,
        rdev: device_to_kernel(attr.rdev),
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// The attributes of an entry that is not there: the kernel remembers that for as long as it is told.
pub(super) fn no_entry() -> FileAttr {
    let never = UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: never,
        mtime: never,
        ctime: never,
        crtime: never,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// `fuser` takes the nanoseconds of a time before 1970 away from its seconds, to which the kernel adds them. (It answers
/// as it should.)
pub(super) fn mended(time: SystemTime) -> SystemTime {
    match UNIX_EPOCH.duration_since(time) {
        Ok(before) => {
            let whole = Duration::from_secs(before.as_secs());
            UNIX_EPOCH - whole + Duration::from_nanos(before.subsec_nanos().into())
        }
        Err(_) => time,
    }
}

pub(super) fn time_change(time: TimeOrNow) -> TimeChange {
    match time {
        TimeOrNow::SpecificTime(time) => TimeChange::At(mended(time)),
        TimeOrNow::Now => TimeChange::Now,
    }
}

pub(super) fn rename_mode(flags: RenameFlags) -> FsResult<RenameMode> {
    if flags.is_empty() {
        Ok(RenameMode::Replace)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Ok(RenameMode::NoReplace)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Ok(RenameMode::Exchange)
    } else if flags == RenameFlags::RENAME_WHITEOUT {
        Ok(RenameMode::Whiteout { replace: true })
    } else if flags == RenameFlags::RENAME_WHITEOUT | RenameFlags::RENAME_NOREPLACE {
        Ok(RenameMode::Whiteout { replace: false })
    } else {
        Err(FsError::Invalid("rename flags"))
    }
}

pub(super) fn allocate_mode(mode: i32) -> FsResult<AllocateMode> {
    let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
    let keep = FallocateFlags::KEEP_SIZE;
    if flags.is_empty() {
        Ok(AllocateMode::Grow)
    } else if flags == keep {
        Ok(AllocateMode::KeepSize)
    } else if flags == FallocateFlags::PUNCH_HOLE | keep {
        Ok(AllocateMode::PunchHole)
    } else if flags == FallocateFlags::ZERO_RANGE || flags == FallocateFlags::ZERO_RANGE | keep {
        Ok(AllocateMode::ZeroRange { keep_size: flags.contains(keep) })
    } else {
        Err(FsError::Unsupported("this mode of fallocate"))
    }
}

pub(super) fn seek_target(whence: i32) -> FsResult<SeekTarget> {
    match whence {
        SEEK_DATA => Ok(SeekTarget::Data),
        SEEK_HOLE => Ok(SeekTarget::Hole),
        _ => Err(FsError::Invalid("whence")),
    }
}

pub(super) fn xattr_mode(flags: i32) -> FsResult<XattrMode> {
    let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
    if flags.is_empty() {
        Ok(XattrMode::Any)
    } else if flags == XattrFlags::CREATE {
        Ok(XattrMode::Create)
    } else if flags == XattrFlags::REPLACE {
        Ok(XattrMode::Replace)
    } else {
        Err(FsError::Invalid("attribute flags"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_mended() {
        let given = UNIX_EPOCH - Duration::new(5, 999_999_999);
        assert_eq!(mended(given), UNIX_EPOCH - Duration::new(4, 1));
        let whole = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!((mended(whole), mended(UNIX_EPOCH)), (whole, UNIX_EPOCH));
    }

    #[test]
    fn device_numbers_survive_both_ways() {
        for (major, minor) in [(0, 0), (8, 1), (259, 300), (0xfff, 0xf_ffff)] {
            let stored = rustix::fs::makedev(major, minor);
            assert_eq!(device_from_kernel(device_to_kernel(stored)), stored);
        }
    }
}
