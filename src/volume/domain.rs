//! Making a directory the root of a domain of its own.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use super::{OpenVolume, VolumeError};
use crate::crypto::random;
use crate::format::{DIR_ID_NAME, DomainId, NameMode};
use crate::names::{DirNames, NameError, StoredXattr, XattrSealer};
use crate::store::{BackingNode, RenameMode, StoreErrorKind, XattrMode};

/// Begins the name of a directory in the volume directory in which a directory id is made.
const DRAFT_PREFIX: &str = ".tmp-";
const PRIVATE_DIR: u32 = 0o700;

impl OpenVolume {
    /// Makes the empty directory `dir` the root of a new domain under the KMS key `key` (an ARN, an id or an alias):
    /// what is created in it from now on is under that key.
    ///
    /// Nobody may create anything in the directory meanwhile, and who has its names in memory has to read them
    /// again: a mount calls this with the directory locked, maintenance while nobody else has the volume open.
    ///
    /// # Errors
    /// [`VolumeError::DirectoryNotEmpty`], [`VolumeError::PlainNames`], [`VolumeError::Key`] if the key cannot be used,
    /// and the backing directory's.
    pub fn protect(&self, dir: &dyn BackingNode, key: &str) -> Result<DomainId, VolumeError> {
        self.check_protectable(dir)?;
        let domain = self.keys().add_domain(key).map_err(VolumeError::Key)?;
        self.adopt(dir, domain)?;
        Ok(domain)
    }

    /// Puts the empty directory `dir` under the domain `domain`: one call replaces its directory id. The rest is as
    /// with [`Self::protect`].
    ///
    /// # Errors
    /// As [`Self::protect`].
    pub fn adopt(&self, dir: &dyn BackingNode, domain: DomainId) -> Result<(), VolumeError> {
        self.check_protectable(dir)?;
        let keys = self.keys().domain_keys(domain)?;
        let draft = format!("{DRAFT_PREFIX}{:032x}", u128::from_le_bytes(random::bytes()));
        let (draft, id_name) = (OsStr::new(&draft), OsStr::new(DIR_ID_NAME));
        let volume_dir = self.volume_dir();
        let made = volume_dir.make_dir(draft, PRIVATE_DIR)?;
        let outcome = (|| {
            let old = DirNames::load(dir, &**self.keys(), NameMode::Encrypted, domain, false)?;
            let new = DirNames::make(&*made, domain, keys, false)?;
            let outdated = copy_xattrs(dir, &old, &new)?;
            made.rename(id_name, dir, id_name, RenameMode::Replace)?;
            for stored in outdated {
                dir.remove_xattr(&stored)?;
            }
            Ok(dir.sync_dir()?)
        })();
        // What may stay behind is a directory among kmsfs's own files that nothing looks at.
        let _ = made.unlink(id_name);
        let _ = volume_dir.remove_dir(draft);
        outcome
    }

    fn check_protectable(&self, dir: &dyn BackingNode) -> Result<(), VolumeError> {
        if self.name_mode() == NameMode::Plain {
            return Err(VolumeError::PlainNames);
        }
        let entries = dir.read_dir(0, 2)?;
        let empty = entries.iter().all(|entry| entry.name == DIR_ID_NAME.as_bytes());
        if empty { Ok(()) } else { Err(VolumeError::DirectoryNotEmpty) }
    }
}

/// Seals the extended attributes of `dir` for its new id too, because its id is part of their context. Returns the
/// stored names of the old ones, which go once the new id is in place: a crash in between leaves one too many.
fn copy_xattrs(dir: &dyn BackingNode, old: &DirNames, new: &DirNames) -> Result<Vec<OsString>, NameError> {
    let stored = match dir.list_xattrs() {
        Err(error) if error.kind == StoreErrorKind::Unsupported => return Ok(Vec::new()),
        stored => stored?,
    };
    let sealed = stored.into_iter().filter(|name| StoredXattr::of(name) == StoredXattr::Sealed);
    let sealed: Vec<OsString> = sealed.map(OsString::from_vec).collect();
    let from = XattrSealer::new(&old.keys().xattr, old.context());
    let to = XattrSealer::new(&new.keys().xattr, new.context());
    for stored in &sealed {
        let name = from.open_name(stored.as_encoded_bytes())?;
        let value = from.open_value(stored, &dir.get_xattr(stored)?)?;
        let renamed = to.seal_name(&name)?;
        dir.set_xattr(&renamed, &to.seal_value(&renamed, &value), XattrMode::Any)?;
    }
    Ok(sealed)
}
