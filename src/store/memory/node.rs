//! Nodes of a memory store.

use std::any::Any;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::file::MemoryFile;
use super::model::{Call, Model, SyncScope};
use super::state::{Shared, State};
use super::tree::{self, NameOp, Place};
use crate::store::{
    BackingNode, DirEntry, FileAccess, FileRef, NodeHandle, NodeKind, NodeRef, NodeStat, RenameMode,
    StoreError, StoreErrorKind as Kind, StoreResult, TimeChange, XattrMode,
};

/// Type number of the handles.
const HANDLE_KIND: i32 = 0x6d;

/// An inode that is held.
pub(in crate::store) struct MemoryNode<M: Model> {
    /// Inode number.
    ino: u64,
    /// The store.
    shared: Arc<Shared<M>>,
}

/// The inode number in a handle.
pub(super) fn ino_of(handle: &NodeHandle) -> Option<u64> {
    if handle.kind != HANDLE_KIND || handle.len != 8 {
        return None;
    }
    handle.bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Refuses a name that could lead out of the directory, before anything else is looked at.
fn bytes_of(call: Call, name: &OsStr) -> StoreResult<&[u8]> {
    match tree::check_name(name.as_bytes()) {
        Err(Kind::Invalid) => Err(StoreError::new(call.verb(), Kind::Invalid)),
        _ => Ok(name.as_bytes()),
    }
}

impl<M: Model> MemoryNode<M> {
    /// The node `ino`, which the caller has pinned.
    pub(in crate::store) fn pinned(ino: u64, shared: &Arc<Shared<M>>) -> NodeRef {
        Arc::new(Self { ino, shared: Arc::clone(shared) })
    }

    /// Makes a call on this node.
    fn call<T>(&self, call: Call, body: impl FnOnce(&mut State<M>) -> Result<T, Kind>) -> StoreResult<T> {
        self.shared.call(call, self.ino, body)
    }

    /// Performs a change of the name space on this node.
    fn perform(&self, call: Call, op: NameOp) -> StoreResult<()> {
        self.call(call, |state| state.perform(op))
    }

    /// Creates an entry.
    fn create(
        &self,
        call: Call,
        name: &OsStr,
        kind: NodeKind,
        mode: u32,
        special: (u64, &[u8]),
    ) -> StoreResult<NodeRef> {
        let name = bytes_of(call, name)?;
        let ino = self.call(call, |state| {
            let ino = state.create(self.ino, Some(name), kind, mode, special)?;
            state.pin(ino);
            Ok(ino)
        })?;
        Ok(Self::pinned(ino, &self.shared))
    }

    /// Creates a regular file and opens it.
    fn create_open(&self, call: Call, name: Option<&[u8]>, mode: u32) -> StoreResult<(NodeRef, FileRef)> {
        let (ino, file) = self.call(call, |state| {
            let ino = state.create(self.ino, name, NodeKind::File, mode, (0, &[]))?;
            state.pin(ino);
            state.pin(ino);
            Ok((ino, state.next_file()))
        })?;
        let node = Self::pinned(ino, &self.shared);
        Ok((node, MemoryFile::pinned(ino, file, FileAccess::ReadWrite, &self.shared)))
    }

    /// The target of the symbolic link `ino`.
    fn target(state: &State<M>, ino: u64) -> Result<Vec<u8>, Kind> {
        let inode = state.inode(ino)?;
        if inode.kind == NodeKind::Symlink { Ok(inode.target.to_vec()) } else { Err(Kind::Invalid) }
    }

    /// The node of this store behind `node`; one of another store lies on another file system.
    fn same_store<'a>(&self, call: Call, node: &'a dyn BackingNode) -> StoreResult<&'a Self> {
        let node = node.as_any().downcast_ref::<Self>();
        node.filter(|node| Arc::ptr_eq(&node.shared, &self.shared))
            .ok_or(StoreError::new(call.verb(), Kind::CrossDevice))
    }
}

impl<M: Model> BackingNode for MemoryNode<M> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stat(&self) -> StoreResult<NodeStat> {
        self.call(Call::Stat, |state| state.stat(self.ino))
    }

    fn handle(&self) -> StoreResult<Option<NodeHandle>> {
        self.call(Call::Handle, |_| {
            let mut bytes = [0; 24];
            bytes[..8].copy_from_slice(&self.ino.to_le_bytes());
            Ok(Some(NodeHandle { kind: HANDLE_KIND, len: 8, bytes }))
        })
    }

    fn lookup(&self, name: &OsStr) -> StoreResult<NodeRef> {
        let name = bytes_of(Call::Lookup, name)?;
        let ino = self.call(Call::Lookup, |state| {
            let ino = state.tree.lookup(self.ino, name)?;
            state.pin(ino);
            Ok(ino)
        })?;
        Ok(Self::pinned(ino, &self.shared))
    }

    fn stat_at(&self, name: &OsStr) -> StoreResult<NodeStat> {
        let name = bytes_of(Call::Stat, name)?;
        self.call(Call::Stat, |state| state.stat(state.tree.lookup(self.ino, name)?))
    }

    fn read_dir(&self, cookie: u64, limit: usize) -> StoreResult<Vec<DirEntry>> {
        self.call(Call::List, |state| {
            let listed = state.tree.list(self.ino, cookie, limit)?;
            let entry =
                |(cookie, name, ino)| Ok(DirEntry { name, ino, kind: Some(state.inode(ino)?.kind), cookie });
            listed.into_iter().map(entry).collect()
        })
    }

    fn open_file(&self, access: FileAccess) -> StoreResult<FileRef> {
        let file = self.call(Call::Open, |state| {
            match state.inode(self.ino)?.kind {
                NodeKind::File => {}
                NodeKind::Directory => return Err(Kind::IsADirectory),
                NodeKind::Symlink => return Err(Kind::Loop),
                NodeKind::Fifo | NodeKind::Socket | NodeKind::CharDevice | NodeKind::BlockDevice => {
                    return Err(Kind::NoDevice);
                }
            }
            state.pin(self.ino);
            Ok(state.next_file())
        })?;
        Ok(MemoryFile::pinned(self.ino, file, access, &self.shared))
    }

    fn create_file(&self, name: &OsStr, mode: u32) -> StoreResult<(NodeRef, FileRef)> {
        self.create_open(Call::Create, Some(bytes_of(Call::Create, name)?), mode)
    }

    fn create_unnamed(&self, mode: u32) -> StoreResult<(NodeRef, FileRef)> {
        self.create_open(Call::CreateUnnamed, None, mode)
    }

    fn make_dir(&self, name: &OsStr, mode: u32) -> StoreResult<NodeRef> {
        self.create(Call::MakeDir, name, NodeKind::Directory, mode, (0, &[]))
    }

    fn make_node(&self, name: &OsStr, kind: NodeKind, mode: u32, rdev: u64) -> StoreResult<NodeRef> {
        let rdev = match kind {
            NodeKind::Directory | NodeKind::Symlink => {
                return Err(StoreError::new(Call::MakeNode.verb(), Kind::Invalid));
            }
            NodeKind::CharDevice | NodeKind::BlockDevice => rdev,
            NodeKind::File | NodeKind::Fifo | NodeKind::Socket => 0,
        };
        self.create(Call::MakeNode, name, kind, mode, (rdev, &[]))
    }

    fn make_symlink(&self, name: &OsStr, target: &[u8]) -> StoreResult<NodeRef> {
        self.create(Call::MakeSymlink, name, NodeKind::Symlink, 0o777, (0, target))
    }

    fn read_link(&self) -> StoreResult<Vec<u8>> {
        self.call(Call::ReadLink, |state| Self::target(state, self.ino))
    }

    fn read_link_at(&self, name: &OsStr) -> StoreResult<Vec<u8>> {
        let name = bytes_of(Call::ReadLink, name)?;
        self.call(Call::ReadLink, |state| Self::target(state, state.tree.lookup(self.ino, name)?))
    }

    fn link(&self, node: &dyn BackingNode, name: &OsStr) -> StoreResult<()> {
        let place = Place { dir: self.ino, name: bytes_of(Call::Link, name)?.to_vec() };
        let ino = self.same_store(Call::Link, node)?.ino;
        self.perform(Call::Link, NameOp::Link { place, ino })
    }

    fn rename(
        &self,
        name: &OsStr,
        new_dir: &dyn BackingNode,
        new_name: &OsStr,
        mode: RenameMode,
    ) -> StoreResult<()> {
        let from = Place { dir: self.ino, name: bytes_of(Call::Rename, name)?.to_vec() };
        let new_name = bytes_of(Call::Rename, new_name)?.to_vec();
        let to = Place { dir: self.same_store(Call::Rename, new_dir)?.ino, name: new_name };
        self.perform(Call::Rename, NameOp::Rename { from, to, mode })
    }

    fn unlink(&self, name: &OsStr) -> StoreResult<()> {
        let place = Place { dir: self.ino, name: bytes_of(Call::Unlink, name)?.to_vec() };
        self.perform(Call::Unlink, NameOp::Unlink { place })
    }

    fn remove_dir(&self, name: &OsStr) -> StoreResult<()> {
        let place = Place { dir: self.ino, name: bytes_of(Call::RemoveDir, name)?.to_vec() };
        self.perform(Call::RemoveDir, NameOp::RemoveDir { place })
    }

    fn set_mode(&self, mode: u32) -> StoreResult<()> {
        self.perform(Call::SetMode, NameOp::SetMode { ino: self.ino, mode })
    }

    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> StoreResult<()> {
        self.perform(Call::SetOwner, NameOp::SetOwner { ino: self.ino, uid, gid })
    }

    fn set_times(&self, atime: TimeChange, mtime: TimeChange) -> StoreResult<()> {
        self.perform(Call::SetTimes, NameOp::SetTimes { ino: self.ino, atime, mtime })
    }

    fn get_xattr(&self, name: &OsStr) -> StoreResult<Vec<u8>> {
        self.call(Call::GetXattr, |state| {
            let inode = state.inode(self.ino)?;
            tree::check_xattr(inode.kind, name.as_bytes(), false)?;
            inode.xattrs.get(name.as_bytes()).map(|value| value.to_vec()).ok_or(Kind::NoAttribute)
        })
    }

    fn set_xattr(&self, name: &OsStr, value: &[u8], mode: XattrMode) -> StoreResult<()> {
        let (name, value) = (name.as_bytes().to_vec(), Arc::from(value));
        self.perform(Call::SetXattr, NameOp::SetXattr { ino: self.ino, name, value, mode })
    }

    fn list_xattrs(&self) -> StoreResult<Vec<Vec<u8>>> {
        self.call(Call::ListXattrs, |state| Ok(state.inode(self.ino)?.xattrs.keys().cloned().collect()))
    }

    fn remove_xattr(&self, name: &OsStr) -> StoreResult<()> {
        let name = name.as_bytes().to_vec();
        self.perform(Call::RemoveXattr, NameOp::RemoveXattr { ino: self.ino, name })
    }

    fn sync_dir(&self) -> StoreResult<()> {
        self.call(Call::SyncDir, |state| {
            if state.inode(self.ino)?.kind != NodeKind::Directory {
                return Err(Kind::NotADirectory);
            }
            state.sync(SyncScope::Names);
            Ok(())
        })
    }

    /// The model keeps the order of names.
    fn order_names(&self) -> StoreResult<()> {
        Ok(())
    }
}

impl<M: Model> Drop for MemoryNode<M> {
    fn drop(&mut self) {
        self.shared.state.lock().unpin(self.ino);
    }
}
