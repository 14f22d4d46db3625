//! Where another store can watch the memory store and make its calls fail.

use std::sync::Arc;
use std::time::SystemTime;

use super::pages::FileBody;
use super::tree::{NameOp, Tree};
use crate::store::StoreErrorKind;

/// The calls of the backing traits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// `lookup`.
    Lookup,
    /// `stat` and `stat_at`.
    Stat,
    /// `read_dir`.
    List,
    /// `handle`.
    Handle,
    /// `open_handle`.
    OpenHandle,
    /// `open_file`.
    Open,
    /// `create_file`.
    Create,
    /// `create_unnamed`.
    CreateUnnamed,
    /// `make_dir`.
    MakeDir,
    /// `make_node`.
    MakeNode,
    /// `make_symlink`.
    MakeSymlink,
    /// `read_link` and `read_link_at`.
    ReadLink,
    /// `link`.
    Link,
    /// `rename`.
    Rename,
    /// `unlink`.
    Unlink,
    /// `remove_dir`.
    RemoveDir,
    /// `set_mode`.
    SetMode,
    /// `set_owner`.
    SetOwner,
    /// `set_times`.
    SetTimes,
    /// `get_xattr`.
    GetXattr,
    /// `set_xattr`.
    SetXattr,
    /// `list_xattrs`.
    ListXattrs,
    /// `remove_xattr`.
    RemoveXattr,
    /// `read_at`.
    Read,
    /// `write_at` and `write_vectored_at`.
    Write,
    /// `set_len`.
    SetLen,
    /// `allocate`.
    Allocate,
    /// `punch_hole`.
    PunchHole,
    /// `next_data`.
    NextData,
    /// `try_lock`.
    Lock,
    /// `sync_data` of a file.
    SyncData,
    /// `sync_all` of a file.
    SyncFile,
    /// `sync_dir`.
    SyncDir,
    /// `sync_all` of the store.
    SyncStore,
    /// `space`.
    Space,
}

impl Call {
    /// Whether the call changes what is stored, or what of it is durable.
    pub fn changes_state(self) -> bool {
        self.is_sync()
            || matches!(
                self,
                Self::Create
                    | Self::CreateUnnamed
                    | Self::MakeDir
                    | Self::MakeNode
                    | Self::MakeSymlink
                    | Self::Link
                    | Self::Rename
                    | Self::Unlink
                    | Self::RemoveDir
                    | Self::SetMode
                    | Self::SetOwner
                    | Self::SetTimes
                    | Self::SetXattr
                    | Self::RemoveXattr
                    | Self::Write
                    | Self::SetLen
                    | Self::Allocate
                    | Self::PunchHole
            )
    }

    /// Whether the call waits for the device.
    pub fn is_sync(self) -> bool {
        matches!(self, Self::SyncData | Self::SyncFile | Self::SyncDir | Self::SyncStore)
    }

    /// The verb that errors of this call carry.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Stat => "stat",
            Self::List => "read directory",
            Self::Handle => "name to handle",
            Self::OpenHandle => "open handle",
            Self::Open => "open",
            Self::Create => "create",
            Self::CreateUnnamed => "create unnamed",
            Self::MakeDir => "mkdir",
            Self::MakeNode => "mknod",
            Self::MakeSymlink => "symlink",
            Self::ReadLink => "readlink",
            Self::Link => "link",
            Self::Rename => "rename",
            Self::Unlink => "unlink",
            Self::RemoveDir => "rmdir",
            Self::SetMode => "chmod",
            Self::SetOwner => "chown",
            Self::SetTimes => "utimens",
            Self::GetXattr => "getxattr",
            Self::SetXattr => "setxattr",
            Self::ListXattrs => "listxattr",
            Self::RemoveXattr => "removexattr",
            Self::Read => "read",
            Self::Write => "write",
            Self::SetLen => "truncate",
            Self::Allocate => "allocate",
            Self::PunchHole => "punch hole",
            Self::NextData => "seek",
            Self::Lock => "lock",
            Self::SyncData | Self::SyncFile | Self::SyncStore => "sync",
            Self::SyncDir => "sync directory",
            Self::Space => "statfs",
        }
    }
}

/// What a model lets a call do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Admission {
    /// All of it.
    Full,
    /// A write stores this many bytes and then fails.
    Short(usize, StoreErrorKind),
}

/// Which files a sync covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum SyncScope {
    /// Content and size of one file.
    Data(u64),
    /// One file with its attributes.
    File(u64),
    /// The name space.
    Names,
    /// Everything.
    Store,
}

/// A change of the content of a file, which has been made.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum ContentChange {
    /// Bytes of this range were written; before it the size was `old_size`.
    Written { offset: u64, len: u64, old_size: u64 },
    /// The size changed by `set_len`.
    Resized { old_size: u64 },
    /// The range was made a hole.
    Punched { offset: u64, len: u64 },
}

/// Watches a store. All calls come under the store's lock.
pub(in crate::store) trait Model: Send + 'static {
    /// Before each call, on inode `ino`: an error makes the call fail with that kind.
    fn admit(&mut self, _call: Call, _ino: u64) -> Result<Admission, StoreErrorKind> {
        Ok(Admission::Full)
    }

    /// `op` has been performed, which led to `tree`.
    fn named(&mut self, _op: NameOp, _at: SystemTime, _tree: &Tree) {}

    /// The content of `ino` is going to change.
    fn before_content(&mut self, _ino: u64, _body: &Arc<FileBody>) {}

    /// The content of `ino` has changed.
    fn content(&mut self, _ino: u64, _change: ContentChange, _body: &FileBody) {}

    /// A sync has succeeded. `tree` is the name space now, and `body` finds the content of a file.
    fn synced(&mut self, _scope: SyncScope, _tree: &Arc<Tree>, _body: &dyn Fn(u64) -> Option<Arc<FileBody>>) {
    }

    /// The last user of the unnamed inode `ino` is gone.
    fn released(&mut self, _ino: u64, _body: Arc<FileBody>) {}
}

/// Nobody watches.
impl Model for () {}
