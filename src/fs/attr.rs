//! Attributes: reading, changing, and what Linux clears along the way.

use std::ffi::OsStr;
use std::sync::Arc;

use super::inode::Inode;
use super::{Attr, AttrChange, Caller, FsResult, MountedVolume, NewMode, NodeId};
use crate::file::EncryptedFile;
use crate::format::{PAGE_U64, geometry, symlink_plain_len};
use crate::names::read_target;
use crate::store::{NodeKind, NodeRef, NodeStat, StoreErrorKind, TimeChange};

/// Set-user-id bit.
const SET_UID: u32 = 0o4000;
/// Set-group-id bit.
pub(super) const SET_GID: u32 = 0o2000;
/// Execution by the group.
const GROUP_EXECUTE: u32 = 0o010;
/// All permission bits.
pub(super) const MODE_BITS: u32 = 0o7777;
/// The header page in the unit of block counts, 512 bytes.
const HEADER_UNITS: u64 = PAGE_U64 / 512;
const CAPABILITY_XATTR: &str = "security.capability";
const DEFAULT_ACL_XATTR: &str = "system.posix_acl_default";

impl MountedVolume {
    /// The attributes of an inode.
    ///
    /// # Errors
    /// [`super::FsError::UnknownInode`], [`super::FsError::Store`].
    pub fn attr(&self, id: NodeId) -> FsResult<Attr> {
        let inode = self.table.get(id)?;
        self.attr_of(&inode)
    }

    pub(super) fn attr_of(&self, inode: &Inode) -> FsResult<Attr> {
        // A file with journalled changes, a cut for example, has another size than its backing file shows, also
        // for a while after it was closed. It is held before the backing file is asked: if it went in between,
        // the answer could be from before its changes came in place.
        let live = self.context.live(inode.backing_ino);
        let stat = inode.node()?.stat()?;
        self.attr_from(inode, stat, live.as_deref())
    }

    /// The attributes of an inode whose backing node shows `stat`, and whose content is `live` if it is open.
    pub(super) fn attr_from(
        &self,
        inode: &Inode,
        mut stat: NodeStat,
        live: Option<&EncryptedFile>,
    ) -> FsResult<Attr> {
        inode.correct_times(&mut stat);
        let size = match inode.kind {
            NodeKind::File => match live {
                Some(file) => file.size(),
                None => geometry::plain_size(stat.size).shown(),
            },
            NodeKind::Symlink => match symlink_plain_len(stat.size) {
                Some(len) => len,
                None => self.target_of(inode)?.len() as u64,
            },
            NodeKind::Directory => stat.size,
            NodeKind::Fifo | NodeKind::Socket | NodeKind::CharDevice | NodeKind::BlockDevice => 0,
        };
        // The header page belongs to no user, and it comes some time after the file does.
        let overhead = if inode.kind == NodeKind::File { HEADER_UNITS } else { 0 };
        Ok(Attr {
            id: inode.id,
            kind: inode.kind,
            size,
            blocks: stat.blocks.saturating_sub(overhead),
            mode: stat.mode & MODE_BITS,
            nlink: stat.nlink,
            uid: stat.uid,
            gid: stat.gid,
            rdev: stat.rdev,
            atime: stat.atime,
            mtime: stat.mtime,
            ctime: stat.ctime,
        })
    }

    /// The target of the symbolic link `inode` in the clear.
    pub(super) fn target_of(&self, inode: &Inode) -> FsResult<Vec<u8>> {
        let keys = self.keys.domain_keys(inode.domain)?;
        Ok(read_target(&self.targets, &keys, &inode.node()?.read_link()?)?)
    }

    /// Changes attributes and returns them all. The kernel has checked that the caller may.
    ///
    /// # Errors
    /// What the backing node and, for a size, the content say. Changes before the failed one stay.
    pub fn set_attr(&self, caller: Caller, id: NodeId, change: &AttrChange) -> FsResult<Attr> {
        let inode = self.table.get(id)?;
        if let Some((mtime, ctime)) = change.kernel_times() {
            inode.take_kernel_times(mtime, ctime);
            self.note_changed_content(&inode);
            return self.attr_of(&inode);
        }
        // Without an owner it still clears set-id bits, as on any other file system.
        if change.uid.is_some() || change.gid.is_some() || change.is_empty() {
            inode.node()?.set_owner(change.uid, change.gid)?;
            inode.privileges.reset();
        }
        if let Some(mode) = change.mode {
            inode.node()?.set_mode(mode & MODE_BITS)?;
            inode.privileges.reset();
        }
        if let Some(size) = change.size {
            self.with_content(&inode, |file| Ok(file.truncate(size)?))?;
            self.changed_by(&inode, caller)?;
        }
        inode.attributes_changed();
        if change.atime.is_some() || change.mtime.is_some() {
            self.change_times(&inode, change)?;
        }
        self.attr_of(&inode)
    }

    fn change_times(&self, inode: &Inode, change: &AttrChange) -> FsResult<()> {
        let (atime, mtime) =
            (change.atime.unwrap_or(TimeChange::Omit), change.mtime.unwrap_or(TimeChange::Omit));
        inode.node()?.set_times(atime, mtime)?;
        match mtime {
            TimeChange::Omit => {}
            TimeChange::At(time) => inode.set_times(time, change.ctime),
            TimeChange::Now => inode.set_times(inode.node()?.stat()?.mtime, change.ctime),
        }
        Ok(())
    }

    /// The content of `inode` was changed just now by `caller`, without the kernel saying what that does to its set-id
    /// bits.
    pub(super) fn changed_by(&self, inode: &Arc<Inode>, caller: Caller) -> FsResult<()> {
        if !caller.keeps_privileges() {
            self.kill_privileges(inode, caller)?;
        }
        self.touch(inode);
        Ok(())
    }

    /// Clears the set-id bits and the capabilities of a file whose content is changed by `caller`, as Linux does: a member
    /// of its group loses the set-group-id bit only where the group may execute.
    pub(super) fn kill_privileges(&self, inode: &Inode, caller: Caller) -> FsResult<()> {
        if inode.privileges.get() == Some(false) {
            return Ok(());
        }
        let stat = inode.node()?.stat()?;
        let mode = stat.mode & MODE_BITS;
        let mut kept = mode & !SET_UID;
        if mode & SET_GID != 0 && (mode & GROUP_EXECUTE != 0 || !caller.is_in_group(stat.gid)) {
            kept &= !SET_GID;
        }
        if kept != mode {
            inode.node()?.set_mode(kept)?;
        }
        match inode.node()?.remove_xattr(OsStr::new(CAPABILITY_XATTR)) {
            Err(error)
                if !matches!(
                    error.kind,
                    StoreErrorKind::NoAttribute | StoreErrorKind::Unsupported | StoreErrorKind::NotPermitted
                ) =>
            {
                return Err(error.into());
            }
            _ => {}
        }
        inode.privileges.set(kept & SET_GID != 0);
        Ok(())
    }

    /// Clears the set-group-id bit where `caller`, who has changed the access control list, is not in the group.
    pub(super) fn kill_set_gid(&self, inode: &Inode, caller: Caller) -> FsResult<()> {
        if caller.keeps_privileges() {
            return Ok(());
        }
        let stat = inode.node()?.stat()?;
        if stat.mode & SET_GID != 0 && !caller.is_in_group(stat.gid) {
            inode.node()?.set_mode(stat.mode & MODE_BITS & !SET_GID)?;
        }
        Ok(())
    }

    /// The permission bits of a new entry in `dir`: where the directory has a default ACL, that takes the place
    /// of the umask, and the backing file system applies it.
    pub(super) fn mode_in(&self, dir: &Inode, mode: NewMode) -> FsResult<u32> {
        let has_default = match dir.default_acl.get() {
            Some(known) => known,
            None => {
                let found = match dir.node()?.get_xattr(OsStr::new(DEFAULT_ACL_XATTR)) {
                    Ok(value) => !value.is_empty(),
                    Err(error)
                        if matches!(
                            error.kind,
                            StoreErrorKind::NoAttribute | StoreErrorKind::Unsupported
                        ) =>
                    {
                        false
                    }
                    Err(error) => return Err(error.into()),
                };
                dir.default_acl.set(found);
                found
            }
        };
        let masked = if has_default { mode.mode } else { mode.mode & !mode.umask };
        Ok(masked & MODE_BITS)
    }

    /// Gives the new entry `node` in `dir`, which shows `stat`, to the caller; its group is the directory's if
    /// that has the set-group-id bit. A directory inherits the bit too. Returns whether anything was changed.
    pub(super) fn give_to(
        &self,
        dir: &Inode,
        node: &NodeRef,
        stat: &NodeStat,
        caller: Caller,
    ) -> FsResult<bool> {
        if !self.set_owner || (stat.uid, stat.gid) == (caller.uid, caller.gid) {
            return Ok(false);
        }
        let dir_stat = dir.node()?.stat()?;
        let gid = if dir_stat.mode & SET_GID == 0 { caller.gid } else { dir_stat.gid };
        if (stat.uid, stat.gid) == (caller.uid, gid) {
            return Ok(false);
        }
        node.set_owner(Some(caller.uid), Some(gid))?;
        // Giving a file away clears its set-id bits.
        if stat.mode & (SET_UID | SET_GID) != 0 && stat.kind != NodeKind::Directory {
            node.set_mode(stat.mode & MODE_BITS)?;
        }
        Ok(true)
    }
}
