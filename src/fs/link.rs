//! Hard and symbolic links.

use std::ffi::OsStr;

use super::{Caller, Entry, FsError, FsResult, MountedVolume, NodeId};
use crate::names::parse_kept;
use crate::store::NodeKind;

impl MountedVolume {
    /// Gives an inode a further name.
    ///
    /// # Errors
    /// [`FsError::CrossDomain`] if the directory has another domain than the inode, because the wrapped data key
    /// is bound to the domain; [`FsError::Store`].
    pub fn link(&self, id: NodeId, parent: NodeId, name: &OsStr) -> FsResult<Entry> {
        let inode = self.table.get(id)?;
        let dir = self.table.get(parent)?;
        let names = self.names_of(&dir)?;
        if names.domain() != inode.domain {
            return Err(FsError::CrossDomain);
        }
        let entry = names.encrypt(name)?;
        let (dir_node, node) = (dir.node()?, inode.node()?);
        self.add_entry(&dir, &entry, |name| dir_node.link(&*node, name))?;
        inode.changed();
        self.changed_entries(&dir)?;
        self.entry_of(node, names.domain(), parent)
    }

    /// Creates a symbolic link.
    ///
    /// # Errors
    /// [`FsError::Name`] for an impossible target, [`FsError::Store`].
    pub fn symlink(&self, caller: Caller, parent: NodeId, name: &OsStr, target: &[u8]) -> FsResult<Entry> {
        let dir = self.table.get(parent)?;
        let names = self.names_of(&dir)?;
        let entry = names.encrypt(name)?;
        let dir_node = dir.node()?;
        let stored = self.targets.seal(names.keys(), target)?;
        let made = self
            .add_entry(&dir, &entry, |name| dir_node.make_symlink(name, stored.as_bytes()))
            .and_then(|node| self.finish_entry(&dir, &names, &entry, (node, NodeKind::Symlink), caller));
        // A link that could not be taken back still needs its target.
        if made.is_err() && dir_node.stat_at(&entry.name).is_err_and(|error| error.is_not_found()) {
            self.remove_target(parse_kept(stored.as_bytes())?);
        }
        made
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`FsError::Invalid`] for anything else, and what the sealed target says.
    pub fn read_link(&self, id: NodeId) -> FsResult<Vec<u8>> {
        let inode = self.table.get(id)?;
        if inode.kind != NodeKind::Symlink {
            return Err(FsError::Invalid("not a symbolic link"));
        }
        self.target_of(&inode)
    }

    /// Removes a kept target that no link needs any more. One that stays behind is found by the checker.
    pub(super) fn remove_target(&self, kept: Option<[u8; 16]>) {
        if let Some(id) = kept
            && let Err(error) = self.targets.remove(&id)
        {
            tracing::warn!(%error, "the target of a removed symbolic link stays behind");
        }
    }
}
