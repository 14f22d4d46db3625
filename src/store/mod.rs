//! The backing directory behind a trait.
//!
//! Everything that kmsfs keeps goes through [`BackingStore`], [`BackingNode`] and [`BackingFile`]:
//! the file layer, the journal and recovery run unchanged over the posix store (descriptor-relative
//! system calls), the memory store, and the simulated store that knows which bytes a power cut may
//! take. No path longer than one name crosses this trait, and no symbolic link is ever followed.

#[cfg(test)]
mod contract;
mod error;
mod host;
pub mod memory;
pub mod posix;
pub mod simulated;
mod sys;

use std::any::Any;
use std::ffi::OsStr;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::SystemTime;

pub use error::{StoreError, StoreErrorKind};
pub use host::{host_name, keep_descriptors_from_children, process_is_in_group};

/// The outcome of a backing call.
pub type StoreResult<T> = Result<T, StoreError>;
/// A shared node.
pub type NodeRef = Arc<dyn BackingNode>;
/// A shared open file.
pub type FileRef = Arc<dyn BackingFile>;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix domain socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// The attributes of a node, as the backing file system has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeStat {
    /// What the node is.
    pub kind: NodeKind,
    /// Inode number.
    pub ino: u64,
    /// Device number of the backing file system.
    pub dev: u64,
    /// Permission bits with set-id and sticky bits (07777).
    pub mode: u32,
    /// Number of names.
    pub nlink: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Size in bytes as stored (cipher size).
    pub size: u64,
    /// Allocated 512-byte units.
    pub blocks: u64,
    /// Last access.
    pub atime: SystemTime,
    /// Last change of the content.
    pub mtime: SystemTime,
    /// Last change of the attributes.
    pub ctime: SystemTime,
    /// Birth, where the backing file system keeps it.
    pub btime: Option<SystemTime>,
}

/// A change of a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeChange {
    /// Leave it.
    Omit,
    /// The time of the call.
    Now,
    /// This time, to the nanosecond.
    At(SystemTime),
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAccess {
    /// For reading.
    Read,
    /// For reading and writing.
    ReadWrite,
}

/// What a rename does with an entry that is at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// Replace it.
    Replace,
    /// Fail with [`StoreErrorKind::Exists`].
    NoReplace,
    /// Exchange the two.
    Exchange,
    /// Replace it, or fail if there is one and not `replace`, and leave a character device 0/0 at the old name: what
    /// overlay file systems hide the entry of a lower layer with. [`StoreErrorKind::Unsupported`] or
    /// [`StoreErrorKind::Invalid`] where that cannot be had in one step.
    Whiteout {
        /// As [`Self::Replace`], or as [`Self::NoReplace`].
        replace: bool,
    },
}

/// How an extended attribute is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrMode {
    /// Create or replace.
    Any,
    /// Fail if it exists.
    Create,
    /// Fail if it does not exist.
    Replace,
}

/// A name for a node that survives its renaming and fails with [`StoreErrorKind::Stale`] once the node is
/// deleted (`name_to_handle_at(2)` on posix).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeHandle {
    /// The backing file system's handle type.
    pub kind: i32,
    /// Number of bytes in use.
    pub len: u8,
    /// The handle, zero-padded. Handles longer than this are not offered by the store.
    pub bytes: [u8; 24],
}

/// One entry of a directory listing. `.` and `..` are never listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The backing name.
    pub name: Vec<u8>,
    /// Inode number.
    pub ino: u64,
    /// What it is, if the backing file system said so in the listing.
    pub kind: Option<NodeKind>,
    /// Where a later listing resumes behind this entry.
    pub cookie: u64,
}

/// Space and inodes of the backing file system; units as in statvfs(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreSpace {
    /// Unit of the block counts, in bytes.
    pub block_size: u32,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Free blocks for ordinary users.
    pub available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub free_files: u64,
    /// Longest name.
    pub name_max: u32,
}

/// A backing directory.
pub trait BackingStore: Send + Sync {
    /// The directory itself.
    fn root(&self) -> NodeRef;

    /// The node that `handle` names; [`StoreErrorKind::Stale`] if it is deleted,
    /// [`StoreErrorKind::Unsupported`] or [`StoreErrorKind::NotPermitted`] if handles cannot be opened here.
    fn open_handle(&self, handle: &NodeHandle) -> StoreResult<NodeRef>;

    /// Whether a handle that is [`StoreErrorKind::Stale`] proves that its node was deleted. On a file system in user
    /// space it may only say that the file system was mounted again since.
    fn handles_last(&self) -> bool;

    /// Whether [`Self::sync_all`] does what it says. The kernel has no such request for file systems in user space, and
    /// reports success; there, only the sync of each file makes it durable.
    fn syncs_all(&self) -> bool;

    /// Makes everything written so far durable (`syncfs(2)`); see [`Self::syncs_all`].
    fn sync_all(&self) -> StoreResult<()>;

    /// Space and inodes.
    fn space(&self) -> StoreResult<StoreSpace>;
}

/// Any object of the backing directory, held by descriptor (`O_PATH | O_NOFOLLOW` on posix): it stays
/// valid when the object is renamed or unlinked.
///
/// Calls that take a `name` act on the entry of that name in this node, which is a directory then.
pub trait BackingNode: Send + Sync {
    /// For the store's own downcasts.
    fn as_any(&self) -> &dyn Any;

    /// Attributes of this node.
    fn stat(&self) -> StoreResult<NodeStat>;

    /// A handle of this node; `None` where the store has none.
    fn handle(&self) -> StoreResult<Option<NodeHandle>>;

    /// The node called `name`. A symbolic link is returned, never followed.
    fn lookup(&self, name: &OsStr) -> StoreResult<NodeRef>;

    /// Attributes of the entry `name`, without following it.
    fn stat_at(&self, name: &OsStr) -> StoreResult<NodeStat>;

    /// Entries behind `cookie` (0 starts), at most `limit`; an empty list is the end.
    fn read_dir(&self, cookie: u64, limit: usize) -> StoreResult<Vec<DirEntry>>;

    /// Opens this regular file. Works with any permission bits if this process owns the file or is root.
    fn open_file(&self, access: FileAccess) -> StoreResult<FileRef>;

    /// Creates a regular file that must not exist, with `mode`, and opens it for reading and writing.
    /// Default ACLs of the directory apply; the process umask does not.
    fn create_file(&self, name: &OsStr, mode: u32) -> StoreResult<(NodeRef, FileRef)>;

    /// Creates an unnamed file in this directory (`O_TMPFILE`), to be given a name with [`Self::link`].
    fn create_unnamed(&self, mode: u32) -> StoreResult<(NodeRef, FileRef)>;

    /// Creates a directory.
    fn make_dir(&self, name: &OsStr, mode: u32) -> StoreResult<NodeRef>;

    /// Creates a pipe, socket or device node (or an empty regular file).
    fn make_node(&self, name: &OsStr, kind: NodeKind, mode: u32, rdev: u64) -> StoreResult<NodeRef>;

    /// Creates a symbolic link to `target`.
    fn make_symlink(&self, name: &OsStr, target: &[u8]) -> StoreResult<NodeRef>;

    /// The target of this symbolic link.
    fn read_link(&self) -> StoreResult<Vec<u8>>;

    /// The target of the symbolic link `name`.
    fn read_link_at(&self, name: &OsStr) -> StoreResult<Vec<u8>>;

    /// Gives `node` the further name `name` in this directory.
    fn link(&self, node: &dyn BackingNode, name: &OsStr) -> StoreResult<()>;

    /// Renames `name` in this directory to `new_name` in `new_dir`.
    fn rename(
        &self,
        name: &OsStr,
        new_dir: &dyn BackingNode,
        new_name: &OsStr,
        mode: RenameMode,
    ) -> StoreResult<()>;

    /// Removes a name of something that is not a directory.
    fn unlink(&self, name: &OsStr) -> StoreResult<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, name: &OsStr) -> StoreResult<()>;

    /// Sets the permission bits (07777).
    fn set_mode(&self, mode: u32) -> StoreResult<()>;

    /// Sets owner and group; `None` leaves it.
    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> StoreResult<()>;

    /// Sets access and modification time.
    fn set_times(&self, atime: TimeChange, mtime: TimeChange) -> StoreResult<()>;

    /// The value of an extended attribute; [`StoreErrorKind::NoAttribute`] if it is not there.
    fn get_xattr(&self, name: &OsStr) -> StoreResult<Vec<u8>>;

    /// Sets an extended attribute.
    fn set_xattr(&self, name: &OsStr, value: &[u8], mode: XattrMode) -> StoreResult<()>;

    /// The names of all extended attributes.
    fn list_xattrs(&self) -> StoreResult<Vec<Vec<u8>>>;

    /// Removes an extended attribute.
    fn remove_xattr(&self, name: &OsStr) -> StoreResult<()>;

    /// Lets the backing file system note, by its own rules, that this file or directory was read. Whatever else is read
    /// here is not noted where that can be avoided.
    fn note_access(&self) -> StoreResult<()> {
        Ok(())
    }

    /// Makes this directory's entries durable.
    fn sync_dir(&self) -> StoreResult<()>;

    /// Makes sure that no entry which is made later is durable before those that this directory has now.
    ///
    /// Costs nothing on a file system that keeps the order of all names by itself, as ext4 and xfs do. btrfs does
    /// not: the sync of a file makes its own name durable there, and leaves out what was made in the directory
    /// before it. So this is [`Self::sync_dir`] on any file system that is not known to keep the order.
    fn order_names(&self) -> StoreResult<()>;
}

/// An open regular file of the backing directory. Offsets and lengths are cipher offsets in bytes.
pub trait BackingFile: Send + Sync {
    /// Reads until `buf` is full or the file ends; returns the number of bytes read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> StoreResult<usize>;

    /// Says that the range is going to be read soon. A hint, which changes nothing and cannot fail.
    fn will_need(&self, _offset: u64, _len: u64) {}

    /// Writes all of `buf`. After an error any part of it may have been written.
    fn write_at(&self, buf: &[u8], offset: u64) -> StoreResult<()>;

    /// Writes all of `bufs` one behind the other, with one call where the system allows it.
    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> StoreResult<()>;

    /// Cuts or extends (with a hole) to `len` bytes.
    fn set_len(&self, len: u64) -> StoreResult<()>;

    /// Allocates space so that a later write of the range cannot fail for want of it; the size stays.
    fn allocate(&self, offset: u64, len: u64) -> StoreResult<()>;

    /// Makes the range a hole; the size stays.
    fn punch_hole(&self, offset: u64, len: u64) -> StoreResult<()>;

    /// The first offset at or behind `offset` that may hold data; `None` if only a hole follows.
    fn next_data(&self, offset: u64) -> StoreResult<Option<u64>>;

    /// Attributes of the open file.
    fn stat(&self) -> StoreResult<NodeStat>;

    /// Makes the content and the size durable (`fdatasync(2)`).
    fn sync_data(&self) -> StoreResult<()>;

    /// Makes content and attributes durable (`fsync(2)`).
    fn sync_all(&self) -> StoreResult<()>;

    /// Takes the exclusive lock of this open file description without waiting; false if another has it.
    fn try_lock(&self) -> StoreResult<bool>;
}
