//! Finding and making entries.

use std::ffi::OsStr;
use std::sync::Arc;

use super::attr::MODE_BITS;
use super::inode::Inode;
use super::{Attr, Caller, Entry, FsError, FsResult, MountedVolume, NewMode, NodeId};
use crate::file::EncryptedFile;
use crate::format::{DIR_ID_NAME, DomainId};
use crate::names::{BackingEntry, DirNames, NameError};
use crate::store::{NodeKind, NodeRef, NodeStat, StoreErrorKind, StoreResult};

/// What the owner of a directory needs to put its id into it.
const OWNER_ALL: u32 = 0o700;

impl MountedVolume {
    /// The entry `name` of the directory `parent`, or `None`. The kernel then holds a reference to the inode.
    ///
    /// # Errors
    /// [`FsError::Name`] for an impossible name or an unreadable directory, [`FsError::Store`].
    pub fn lookup(&self, parent: NodeId, name: &OsStr) -> FsResult<Option<Entry>> {
        let dir = self.table.get(parent)?;
        let names = self.names_of(&dir)?;
        let entry = match names.encrypt(name) {
            Err(NameError::Reserved) => return Ok(None),
            other => other?,
        };
        match dir.node()?.lookup(&entry.name) {
            Ok(node) => {
                let entry = self.entry_of(node, names.domain(), parent)?;
                self.note_lookup(&entry.attr);
                Ok(Some(entry))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes `node`, found in `parent`, known to the kernel.
    pub(super) fn entry_of(&self, node: NodeRef, domain: DomainId, parent: NodeId) -> FsResult<Entry> {
        let closed = self.context.closed_files();
        let stat = node.stat()?;
        self.entry_from(node, (stat, closed), domain, parent)
    }

    /// As [`Self::entry_of`], for a node that has shown `stat` since `closed` files were closed.
    fn entry_from(
        &self,
        node: NodeRef,
        (stat, closed): (NodeStat, u64),
        domain: DomainId,
        parent: NodeId,
    ) -> FsResult<Entry> {
        let inode =
            self.table.remember(Inode::new(self.node_id(&stat), &stat, self.pool.hold(node), domain, parent));
        inode.set_parent(parent);
        // An open file may have another size than its backing file showed.
        let attr = if self.context.was_closed_since(stat.ino, closed) {
            self.attr_from(&inode, stat, None)
        } else {
            self.attr_of(&inode)
        };
        let entry = attr.map(|attr| Entry { attr }).inspect_err(|_| self.forget(inode.id, 1))?;
        Ok(Entry { attr: self.with_lasting_size(entry.attr, &inode) })
    }

    /// A kernel that collects writes keeps the size that it is shown first. So that of a file whose creation a crash cut
    /// off, which goes with the first open, must not be shown.
    fn with_lasting_size(&self, mut attr: Attr, inode: &Inode) -> Attr {
        let may_go = self.sizes_stick() && attr.kind == NodeKind::File && attr.size > 0;
        if may_go && self.context.live_size(inode.backing_ino).is_none() {
            let cut_off = inode.node().is_ok_and(|node| self.context.is_cut_off(&*node).unwrap_or(false));
            attr.size = if cut_off { 0 } else { attr.size };
        }
        attr
    }

    /// Adds an entry with `add`, and before it the link that a long name needs. The link goes again if the
    /// entry does not come.
    pub(super) fn add_entry<T>(
        &self,
        dir: &Inode,
        entry: &BackingEntry,
        add: impl FnOnce(&OsStr) -> StoreResult<T>,
    ) -> FsResult<T> {
        let made_link = match &entry.long {
            None => false,
            Some(long) => match dir.node()?.make_symlink(&long.link, long.target.as_bytes()) {
                // The entry cannot be read without it.
                Ok(_) => dir.node()?.order_names().map(|()| true)?,
                // Left by a crash, or the entry is there: the digest in its name says that it is the same.
                Err(error) if error.kind == StoreErrorKind::Exists => false,
                Err(error) => return Err(error.into()),
            },
        };
        let added = add(&entry.name);
        if added.is_err() && made_link {
            self.drop_long_link(dir, entry);
        }
        Ok(added?)
    }

    /// Removes the link of a long name whose entry is gone. One that stays is harmless and never shown.
    pub(super) fn drop_long_link(&self, dir: &Inode, entry: &BackingEntry) {
        if let Some(long) = &entry.long
            && let Err(error) = dir.node().and_then(|node| Ok(node.unlink(&long.link)?))
        {
            tracing::warn!(directory = dir.id.0, %error, "the link of a long name stays behind");
        }
    }

    /// Removes an entry that was just made, because something after it failed.
    fn undo_entry(&self, dir: &Inode, entry: &BackingEntry, kind: NodeKind) {
        let Ok(dir_node) = dir.node() else { return };
        let removed = if kind == NodeKind::Directory {
            // There may be no id in it yet; the removal of the directory says if anything is wrong.
            let _ = dir_node.lookup(&entry.name).and_then(|made| made.unlink(OsStr::new(DIR_ID_NAME)));
            dir_node.remove_dir(&entry.name)
        } else {
            dir_node.unlink(&entry.name)
        };
        match removed {
            Ok(()) => self.drop_long_link(dir, entry),
            Err(error) => tracing::warn!(directory = dir.id.0, %error, "a half-made entry stays behind"),
        }
    }

    /// Gives a new node to the caller and makes it known; undoes the entry if that fails.
    pub(super) fn finish_entry(
        &self,
        dir: &Arc<Inode>,
        names: &DirNames,
        entry: &BackingEntry,
        (node, kind): (NodeRef, NodeKind),
        caller: Caller,
    ) -> FsResult<Entry> {
        let closed = self.context.closed_files();
        let done = node
            .stat()
            .map_err(FsError::from)
            .and_then(|stat| {
                let changed = self.give_to(dir, &node, &stat, caller)?;
                let stat = if changed { node.stat()? } else { stat };
                self.entry_from(node, (stat, closed), names.domain(), dir.id)
            })
            .and_then(|made| match self.changed_entries(dir) {
                Ok(()) => Ok(made),
                Err(error) => {
                    self.forget(made.attr.id, 1);
                    Err(error)
                }
            });
        if done.is_err() {
            self.undo_entry(dir, entry, kind);
            dir.changed();
        }
        done
    }

    /// Creates a regular file. Its content stays open for the first write.
    ///
    /// # Errors
    /// What the backing directory and the key service say.
    pub fn create(&self, caller: Caller, parent: NodeId, name: &OsStr, mode: NewMode) -> FsResult<Entry> {
        let dir = self.table.get(parent)?;
        let names = self.names_of(&dir)?;
        let entry = names.encrypt(name)?;
        let bits = self.mode_in(&dir, mode)?;
        let dir_node = dir.node()?;
        let (node, file) = self.add_entry(&dir, &entry, |name| dir_node.create_file(name, bits))?;
        let found = self.finish_entry(&dir, &names, &entry, (Arc::clone(&node), NodeKind::File), caller)?;
        let inode = self.table.get(found.attr.id)?;
        match EncryptedFile::create(&self.context, (node, file), inode.backing_ino, names.domain()) {
            Ok(content) => {
                // The header goes out later, which is no change that anybody made.
                inode.hold_times(found.attr.mtime, found.attr.ctime);
                self.hold_new(&inode, content);
                Ok(found)
            }
            Err(error) => {
                self.forget(found.attr.id, 1);
                self.undo_entry(&dir, &entry, NodeKind::File);
                Err(error.into())
            }
        }
    }

    /// Creates a directory.
    ///
    /// # Errors
    /// What the backing directory says.
    pub fn make_dir(&self, caller: Caller, parent: NodeId, name: &OsStr, mode: NewMode) -> FsResult<Entry> {
        let dir = self.table.get(parent)?;
        let names = self.names_of(&dir)?;
        let entry = names.encrypt(name)?;
        let bits = self.mode_in(&dir, mode)?;
        let dir_node = dir.node()?;
        let node = self.add_entry(&dir, &entry, |name| dir_node.make_dir(name, bits | OWNER_ALL))?;
        let child = match self.prepare_dir(&names, &node, bits) {
            Ok(child) => child,
            Err(error) => {
                self.undo_entry(&dir, &entry, NodeKind::Directory);
                return Err(error);
            }
        };
        let found = self.finish_entry(&dir, &names, &entry, (node, NodeKind::Directory), caller)?;
        self.table.get(found.attr.id)?.set_names(child);
        Ok(found)
    }

    /// Puts the id into a new directory, and takes away the owner's bits that only this needed.
    fn prepare_dir(&self, names: &DirNames, node: &NodeRef, bits: u32) -> FsResult<DirNames> {
        let child = names.make_child(&**node)?;
        let extra = OWNER_ALL & !bits;
        if extra != 0 {
            node.set_mode(node.stat()?.mode & MODE_BITS & !extra)?;
        }
        Ok(child)
    }

    /// Creates a pipe, a socket, a device node or a regular file.
    ///
    /// # Errors
    /// What the backing directory says.
    pub fn make_node(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &OsStr,
        kind: NodeKind,
        mode: NewMode,
        rdev: u64,
    ) -> FsResult<Entry> {
        match kind {
            NodeKind::File => return self.create(caller, parent, name, mode),
            NodeKind::Directory | NodeKind::Symlink => return Err(FsError::Invalid("a node of this kind")),
            NodeKind::Fifo | NodeKind::Socket | NodeKind::CharDevice | NodeKind::BlockDevice => {}
        }
        let dir = self.table.get(parent)?;
        let names = self.names_of(&dir)?;
        let entry = names.encrypt(name)?;
        let bits = self.mode_in(&dir, mode)?;
        let dir_node = dir.node()?;
        let node = self.add_entry(&dir, &entry, |name| dir_node.make_node(name, kind, bits, rdev))?;
        self.finish_entry(&dir, &names, &entry, (node, kind), caller)
    }

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// [`FsError::Store`].
    pub fn sync_dir(&self, id: NodeId) -> FsResult<()> {
        Ok(self.table.get(id)?.node()?.sync_dir()?)
    }
}
