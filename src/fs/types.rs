//! What crosses the border between the kernel's requests and the file system.

use std::time::SystemTime;

use crate::store::{NodeKind, TimeChange, process_is_in_group};

/// How the kernel names an inode: the backing inode number, so that it is stable across mounts and one for
/// all hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root directory.
    pub const ROOT: Self = Self(1);
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// The process; 0 if it is not known.
    pub pid: u32,
}

impl Caller {
    /// This process itself.
    pub(super) const SELF: Self = Self { uid: 0, gid: 0, pid: 0 };

    /// Whether set-id bits are kept when the caller changes a file's content.
    ///
    /// The kernel decides that by `CAP_FSETID`, but not every request carries its decision; root is who has
    /// that capability.
    pub(super) fn keeps_privileges(&self) -> bool {
        self.uid == 0
    }

    /// Whether the caller is in the group `gid`.
    pub(super) fn is_in_group(&self, gid: u32) -> bool {
        self.gid == gid || process_is_in_group(self.pid, gid)
    }
}

/// The attributes of an inode as users see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// The inode.
    pub id: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// Size of the content in the clear, in bytes.
    pub size: u64,
    /// Allocated 512-byte units of the backing file.
    pub blocks: u64,
    /// Permission bits (07777).
    pub mode: u32,
    /// Number of names.
    pub nlink: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, in the store's encoding.
    pub rdev: u64,
    /// Last access.
    pub atime: SystemTime,
    /// Last change of the content.
    pub mtime: SystemTime,
    /// Last change of the attributes.
    pub ctime: SystemTime,
}

/// A found or made entry. The kernel holds one more reference to the inode, which [`super::MountedVolume::forget`]
/// gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Attributes.
    pub attr: Attr,
}

/// A change of attributes; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttrChange {
    /// Permission bits (07777).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size of the content in the clear.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<TimeChange>,
    /// Last change of the content.
    pub mtime: Option<TimeChange>,
    /// Last change of the attributes, as the kernel knows it when it owns the times.
    pub ctime: Option<SystemTime>,
}

impl AttrChange {
    /// Whether nothing is to change: `chown(2)` with neither an owner nor a group.
    pub(super) fn is_empty(&self) -> bool {
        let Self { mode, uid, gid, size, atime, mtime, ctime: _ } = *self;
        mode.is_none() && size.is_none() && uid.or(gid).is_none() && atime.is_none() && mtime.is_none()
    }

    /// The times of collected writes, if this is nothing but the kernel's note of them: it alone sends a time of
    /// change, and it leaves the access time out.
    pub(super) fn kernel_times(&self) -> Option<(SystemTime, SystemTime)> {
        match *self {
            Self {
                mode: None,
                uid: None,
                gid: None,
                size: None,
                atime: None,
                mtime: Some(TimeChange::At(mtime)),
                ctime: Some(ctime),
            } => Some((mtime, ctime)),
            _ => None,
        }
    }
}

/// The permission bits that a new entry is asked to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewMode {
    /// Permission bits (07777) before the umask.
    pub mode: u32,
    /// The caller's umask. It does not count where the directory has a default ACL.
    pub umask: u32,
}

/// What a write carries beside its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteMode {
    /// The kernel asks to clear the set-id bits and the capabilities of the file, because this caller writes to it.
    pub kill_privileges: Option<Caller>,
}

/// What `fallocate(2)` is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllocateMode {
    /// Allocate, growing the file if the range ends behind it.
    Grow,
    /// Allocate; the size stays.
    KeepSize,
    /// Make the range a hole; the size stays.
    PunchHole,
    /// Make the range zero.
    ZeroRange {
        /// Whether the size stays even if the range ends behind it.
        keep_size: bool,
    },
}

/// What a seek looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTarget {
    /// Data.
    Data,
    /// A hole; the end of the file is one.
    Hole,
}

/// An entry of a directory listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedName {
    /// The name in the clear.
    pub name: std::ffi::OsString,
    /// The inode.
    pub id: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// Where a listing goes on behind this entry.
    pub next_offset: u64,
}
