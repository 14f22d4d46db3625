//! Making an empty directory of a mounted volume the root of a domain of its own.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use super::remove::internal_names;
use super::types::Caller;
use super::{FsError, FsResult, MountedVolume, NodeId};
use crate::crypto::random;
use crate::format::{DIR_ID_NAME, DomainId, NameMode};
use crate::names::DirNames;
use crate::store::{BackingNode, NodeKind, NodeRef, NodeStat, RenameMode, XattrMode};

/// Mode of the new directory until it has that of the old one.
const PRIVATE_DIR: u32 = 0o700;

/// A directory that was replaced by a new one of the same name: what the kernel must look up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The directory that it is in.
    pub parent: NodeId,
    /// Its name.
    pub name: OsString,
}

impl MountedVolume {
    /// Puts the empty directory `path`, which is relative to the root of the volume, under a domain that
    /// `make_domain` makes once nothing else stands in the way. What is created in it from then on is under the KMS
    /// key of that domain.
    ///
    /// A new directory takes the place of the old one in one step, so that whoever is just creating a file in the old
    /// one either makes this fail or gets an error.
    ///
    /// # Errors
    /// [`FsError::NotEmpty`], [`FsError::NotDirectory`], [`FsError::Unsupported`] for a volume with plain names,
    /// [`FsError::Invalid`] for the root, what `make_domain` says, and what the backing directory says.
    pub fn protect(
        &self,
        path: &Path,
        make_domain: impl FnOnce() -> FsResult<DomainId>,
    ) -> FsResult<Replaced> {
        if self.name_mode == NameMode::Plain {
            return Err(FsError::Unsupported("a volume with plain names has one domain only"));
        }
        let mut known = Vec::new();
        let done = self.protect_known(path, make_domain, &mut known);
        known.into_iter().for_each(|id| self.forget(id, 1));
        done
    }

    /// As [`Self::protect`]; `known` collects the inodes that were looked up on the way.
    fn protect_known(
        &self,
        path: &Path,
        make_domain: impl FnOnce() -> FsResult<DomainId>,
        known: &mut Vec<NodeId>,
    ) -> FsResult<Replaced> {
        let mut found = None;
        let mut dir_id = NodeId::ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            if let Some((_, id)) = found {
                dir_id = id;
            }
            found = Some((name, self.look_up(dir_id, name, known)?));
        }
        let (name, old_id) = found.ok_or(FsError::Invalid("the root directory has a domain already"))?;
        let (dir, old) = (self.table.get(dir_id)?, self.table.get(old_id)?);
        if old.kind != NodeKind::Directory {
            return Err(FsError::NotDirectory);
        }
        internal_names(&*old.node()?)?;
        let attributes = self.attributes_of(old_id)?;
        let domain = make_domain()?;
        let entry = self.names_of(&dir)?.encrypt(name)?;
        self.put_in_place(&dir.node()?, &entry.name, &old.node()?, domain)?;
        dir.changed();
        let new_id = self.look_up(dir_id, name, known)?;
        for (name, value) in attributes {
            self.set_xattr(Caller::SELF, new_id, &name, &value, XattrMode::Any)?;
        }
        Ok(Replaced { parent: dir_id, name: name.to_owned() })
    }

    fn look_up(&self, dir: NodeId, name: &OsStr, known: &mut Vec<NodeId>) -> FsResult<NodeId> {
        use crate::store::{StoreError, StoreErrorKind};
        let missing = || StoreError::new("lookup", StoreErrorKind::NotFound);
        let id = self.lookup(dir, name)?.ok_or_else(missing)?.attr.id;
        known.push(id);
        Ok(id)
    }

    /// Extended attributes are sealed for their directory, so that they have to be set again on another one.
    fn attributes_of(&self, id: NodeId) -> FsResult<Vec<(OsString, Vec<u8>)>> {
        let names = self.list_xattrs(Caller::SELF, id)?;
        names.into_iter().map(|name| self.get_xattr(id, &name).map(|value| (name, value))).collect()
    }

    /// Puts a new directory of `domain` into the place of `old`, which is the entry `name` of `dir`.
    fn put_in_place(&self, dir: &NodeRef, name: &OsStr, old: &NodeRef, domain: DomainId) -> FsResult<()> {
        let draft = OsString::from(BASE64URL.encode(random::bytes::<16>()));
        let new = self.trash.make_dir(&draft, PRIVATE_DIR)?;
        let exchanged = DirNames::make(&*new, domain, self.keys.domain_keys(domain)?, false)
            .map_err(FsError::from)
            .and_then(|_| Ok(dress(&*new, &old.stat()?)?))
            .and_then(|()| Ok(self.trash.rename(&draft, &**dir, name, RenameMode::Exchange)?));
        if let Err(error) = exchanged {
            remove_empty(&self.trash, &draft, &new);
            return Err(error);
        }
        // Whoever found the old directory before may have put something into it meanwhile.
        if let Err(error) = self.discard_exchanged(&draft, old) {
            self.trash.rename(&draft, &**dir, name, RenameMode::Exchange)?;
            remove_empty(&self.trash, &draft, &new);
            return Err(error);
        }
        Ok(dir.sync_dir()?)
    }

    /// Removes the old directory from the trash, or leaves it whole.
    fn discard_exchanged(&self, draft: &OsStr, old: &NodeRef) -> FsResult<()> {
        let id_name = OsStr::new(DIR_ID_NAME);
        internal_names(&**old)?;
        let id = old.read_link_at(id_name)?;
        old.unlink(id_name)?;
        if let Err(error) = self.trash.remove_dir(draft) {
            old.make_symlink(id_name, &id)?;
            return Err(if internal_names(&**old).is_ok() { error.into() } else { FsError::NotEmpty });
        }
        Ok(())
    }
}

/// Gives a new directory the owner and the mode of an old one.
fn dress(new: &dyn BackingNode, old: &NodeStat) -> crate::store::StoreResult<()> {
    new.set_owner(Some(old.uid), Some(old.gid))?;
    new.set_mode(old.mode & super::attr::MODE_BITS)
}

/// Removes a directory that nobody has used; what stays in the trash is never looked at.
fn remove_empty(trash: &NodeRef, draft: &OsStr, dir: &NodeRef) {
    let _ = dir.unlink(OsStr::new(DIR_ID_NAME));
    let _ = trash.remove_dir(draft);
}
