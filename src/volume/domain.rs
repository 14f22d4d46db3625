//! Making a directory the root of a domain of its own.

use std::ffi::OsStr;

use super::{OpenVolume, VolumeError};
use crate::crypto::random;
use crate::format::{DIR_ID_NAME, DomainId, NameMode};
use crate::names::DirNames;
use crate::store::{BackingNode, RenameMode};

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
            DirNames::make(&*made, domain, keys, false)?;
            made.rename(id_name, dir, id_name, RenameMode::Replace)?;
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
