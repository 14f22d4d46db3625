//! Removing entries.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use super::inode::Inode;
use super::{FsError, FsResult, MountedVolume, NodeId};
use crate::crypto::random;
use crate::format::{BackingName, NameMode, parse_backing_name};
use crate::names::parse_kept;
use crate::store::{BackingNode, NodeKind, NodeRef, NodeStat, RenameMode, StoreErrorKind};

/// Entries read at a time when a directory is examined.
const BATCH: usize = 128;

/// What is at a name that is about to lose its inode.
pub(super) struct Doomed {
    /// The inode, if it has other names or is open.
    stat: NodeStat,
    /// The kept target that goes with the last name of a symbolic link.
    kept_target: Option<[u8; 16]>,
}

impl MountedVolume {
    /// Looks at the entry that is about to be removed or replaced; `None` if there is none.
    pub(super) fn examine(&self, dir: &Inode, name: &OsStr) -> FsResult<Option<Doomed>> {
        let stat = match dir.node()?.stat_at(name) {
            Ok(stat) => stat,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let last_link = stat.kind == NodeKind::Symlink && stat.nlink <= 1;
        if (stat.nlink <= 1 || stat.kind == NodeKind::Directory)
            && let Some(inode) = self.table.find(self.node_id(&stat))
        {
            inode.pin()?;
        }
        let kept_target = if last_link { self.kept_target(dir, name) } else { None };
        Ok(Some(Doomed { stat, kept_target }))
    }

    /// An unreadable target keeps no link from being removed.
    fn kept_target(&self, dir: &Inode, name: &OsStr) -> Option<[u8; 16]> {
        let stored = dir.node().ok()?.read_link_at(name).ok()?;
        parse_kept(&stored).ok().flatten()
    }

    /// The name of `doomed` is gone.
    pub(super) fn after_removal(&self, doomed: &Doomed) {
        self.remove_target(doomed.kept_target);
        if let Some(inode) = self.table.find(self.node_id(&doomed.stat)) {
            inode.changed();
        }
    }

    /// Removes a name of something that is not a directory.
    ///
    /// # Errors
    /// [`FsError::Store`].
    pub fn unlink(&self, parent: NodeId, name: &OsStr) -> FsResult<()> {
        let dir = self.table.get(parent)?;
        let entry = self.names_of(&dir)?.encrypt(name)?;
        let doomed = self.examine(&dir, &entry.name)?;
        dir.node()?.unlink(&entry.name)?;
        self.drop_long_link(&dir, &entry);
        if let Some(doomed) = doomed {
            self.after_removal(&doomed);
        }
        self.changed_entries(&dir)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`FsError::NotEmpty`], [`FsError::NotDirectory`], [`FsError::Store`].
    pub fn remove_dir(&self, parent: NodeId, name: &OsStr) -> FsResult<()> {
        let dir = self.table.get(parent)?;
        let entry = self.names_of(&dir)?.encrypt(name)?;
        let doomed = self.examine(&dir, &entry.name)?;
        if self.name_mode == NameMode::Plain {
            dir.node()?.remove_dir(&entry.name)?;
        } else {
            self.discard_dir(&dir.node()?, &entry.name)?;
        }
        self.drop_long_link(&dir, &entry);
        if let Some(doomed) = doomed {
            self.after_removal(&doomed);
        }
        self.changed_entries(&dir)
    }

    /// Removes the directory `name` of `dir`, in which only names of kmsfs's own are left.
    ///
    /// It goes to the trash first, in one step, so that a crash leaves it either whole or gone: a directory
    /// without its id could not be told from a damaged one.
    pub(super) fn discard_dir(&self, dir: &NodeRef, name: &OsStr) -> FsResult<()> {
        let doomed = dir.lookup(name)?;
        if doomed.stat()?.kind != NodeKind::Directory {
            return Err(FsError::NotDirectory);
        }
        internal_names(&*doomed)?;
        let trash_name = OsString::from(BASE64URL.encode(random::bytes::<16>()));
        dir.rename(name, &*self.trash, &trash_name, RenameMode::NoReplace)?;
        // Somebody with access to the backing directory may have put an entry into it meanwhile.
        let internal = match internal_names(&*doomed) {
            Ok(internal) => internal,
            Err(error) => {
                self.trash.rename(&trash_name, &**dir, name, RenameMode::NoReplace)?;
                return Err(error);
            }
        };
        let emptied = internal.iter().try_for_each(|inner| doomed.unlink(inner));
        if let Err(error) = emptied.and_then(|()| self.trash.remove_dir(&trash_name)) {
            tracing::warn!(%error, "a removed directory stays in the trash");
        }
        Ok(())
    }
}

/// The names of kmsfs's own in a directory that has no others.
///
/// # Errors
/// [`FsError::NotEmpty`] if there are others.
pub(super) fn internal_names(dir: &dyn BackingNode) -> FsResult<Vec<OsString>> {
    let mut found = Vec::new();
    let mut cookie = 0;
    loop {
        let batch = dir.read_dir(cookie, BATCH)?;
        let Some(last) = batch.last() else { return Ok(found) };
        cookie = last.cookie;
        for entry in batch {
            match parse_backing_name(&entry.name) {
                Ok(BackingName::Internal) => found.push(OsString::from_vec(entry.name)),
                // Whatever else it is, it is not ours to remove.
                Ok(BackingName::Entry(_) | BackingName::LongEntry(_)) | Err(_) => {
                    return Err(FsError::NotEmpty);
                }
            }
        }
    }
}

/// Whether the store says that a directory at the target of a rename has entries. Linux has two errors for it.
pub(super) fn says_not_empty(error: &FsError) -> bool {
    match error {
        FsError::Store(error) => matches!(error.kind, StoreErrorKind::NotEmpty | StoreErrorKind::Exists),
        _ => false,
    }
}
