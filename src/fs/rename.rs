//! Renaming.

use std::ffi::OsStr;
use std::sync::Arc;

use super::inode::Inode;
use super::remove::{internal_names, says_not_empty};
use super::{Caller, FsError, FsResult, MountedVolume, NodeId};
use crate::format::NameMode;
use crate::names::BackingEntry;
use crate::store::{NodeKind, RenameMode};

/// One end of a rename.
struct End {
    dir: Arc<Inode>,
    entry: BackingEntry,
}

impl MountedVolume {
    /// Renames `name` in `parent` to `new_name` in `new_parent`.
    ///
    /// # Errors
    /// [`FsError::CrossDomain`] if the directories have different domains, because data keys and names are bound
    /// to theirs; `mv` copies then. [`FsError::NotEmpty`], [`FsError::Store`].
    pub fn rename(
        &self,
        caller: Caller,
        (parent, name): (NodeId, &OsStr),
        (new_parent, new_name): (NodeId, &OsStr),
        mode: RenameMode,
    ) -> FsResult<()> {
        let dir = self.table.get(parent)?;
        let new_dir = self.table.get(new_parent)?;
        let (names, new_names) = (self.names_of(&dir)?, self.names_of(&new_dir)?);
        if names.domain() != new_names.domain() {
            return Err(FsError::CrossDomain);
        }
        let from = End { entry: names.encrypt(name)?, dir };
        let to = End { entry: new_names.encrypt(new_name)?, dir: new_dir };
        match mode {
            RenameMode::Exchange => self.exchange(&from, &to)?,
            RenameMode::Replace | RenameMode::NoReplace | RenameMode::Whiteout { .. } => {
                self.move_entry(caller, &from, &to, mode)?;
            }
        }
        self.changed_entries(&to.dir)?;
        self.changed_entries(&from.dir)
    }

    /// Exchanges two entries. Both names stay in use, and so do the links of long ones.
    fn exchange(&self, from: &End, to: &End) -> FsResult<()> {
        from.dir.node()?.rename(&from.entry.name, &*to.dir.node()?, &to.entry.name, RenameMode::Exchange)?;
        self.note_moved(&from.dir, &from.entry.name);
        self.note_moved(&to.dir, &to.entry.name);
        Ok(())
    }

    fn move_entry(&self, caller: Caller, from: &End, to: &End, mode: RenameMode) -> FsResult<()> {
        let replaced = self.examine(&to.dir, &to.entry.name)?;
        let (from_node, to_node) = (from.dir.node()?, to.dir.node()?);
        let moved = self.add_entry(&to.dir, &to.entry, |new_name| {
            from_node.rename(&from.entry.name, &*to_node, new_name, mode)
        });
        match moved {
            Err(error) if mode == RenameMode::Replace && says_not_empty(&error) => {
                self.replace_dir(from, to, error)?;
            }
            other => other?,
        }
        let whiteout = matches!(mode, RenameMode::Whiteout { .. });
        if whiteout {
            self.own_whiteout(caller, from);
        }
        // The same name may be given twice, or be in use by a whiteout; its link stays then.
        let in_use = whiteout || from.dir.id == to.dir.id && from.entry.name == to.entry.name;
        if !in_use {
            self.drop_long_link(&from.dir, &from.entry);
        }
        if let Some(replaced) = replaced {
            self.after_removal(&replaced);
        }
        self.note_moved(&to.dir, &to.entry.name);
        Ok(())
    }

    /// Gives a whiteout, which the backing directory has made for this process, to the caller. One that stays root's hides
    /// as well.
    fn own_whiteout(&self, caller: Caller, from: &End) {
        let node = from.dir.node().and_then(|dir| Ok(dir.lookup(&from.entry.name)?));
        let given = node.and_then(|node| self.give_to(&from.dir, &node, &node.stat()?, caller));
        if let Err(error) = given {
            tracing::warn!(directory = from.dir.id.0, %error, "a whiteout stays root's");
        }
    }

    /// Moves a directory over one in which only names of kmsfs's own are left, which the backing file system
    /// calls not empty (`refusal`). The two change places in one step, so that the target's name always leads to
    /// a whole directory; then the old one goes.
    fn replace_dir(&self, from: &End, to: &End, refusal: FsError) -> FsResult<()> {
        if self.name_mode == NameMode::Plain {
            return Err(refusal);
        }
        let target = to.dir.node()?.lookup(&to.entry.name)?;
        let source = from.dir.node()?.stat_at(&from.entry.name)?;
        if target.stat()?.kind != NodeKind::Directory || source.kind != NodeKind::Directory {
            return Err(refusal);
        }
        internal_names(&*target)?;
        let (from_node, to_node) = (from.dir.node()?, to.dir.node()?);
        let swap = || from_node.rename(&from.entry.name, &*to_node, &to.entry.name, RenameMode::Exchange);
        swap()?;
        self.discard_dir(&from.dir.node()?, &from.entry.name).inspect_err(|_| {
            if let Err(error) = swap() {
                tracing::error!(%error, "two directories stay exchanged after a failed rename");
            }
        })
    }

    /// The entry `name` has come to `dir`.
    fn note_moved(&self, dir: &Inode, name: &OsStr) {
        let Ok(stat) = dir.node().and_then(|node| Ok(node.stat_at(name)?)) else { return };
        if let Some(inode) = self.table.find(self.node_id(&stat)) {
            inode.set_parent(dir.id);
            inode.changed();
        }
    }
}
