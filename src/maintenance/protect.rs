//! Making a directory the root of a domain of its own.

use std::ffi::OsStr;

use super::MaintenanceError;
use crate::crypto::random;
use crate::format::{DIR_ID_NAME, DomainId, NameMode};
use crate::keys::KeyRing;
use crate::names::DirNames;
use crate::store::{BackingNode, RenameMode};
use crate::volume::OpenVolume;

/// Begins the name of a directory in the volume directory in which a directory id is made.
const DRAFT_PREFIX: &str = ".tmp-";
const PRIVATE_DIR: u32 = 0o700;

/// Makes the empty directory `dir` the root of a new domain under the KMS key `key` (an ARN, an id or an alias):
/// what is created in it from now on is under that key. The volume must not be open elsewhere.
///
/// # Errors
/// [`MaintenanceError::InUse`], [`MaintenanceError::NotEmpty`], [`MaintenanceError::PlainNames`],
/// [`MaintenanceError::Key`] if the key cannot be used, and the backing directory's.
pub fn protect(volume: &OpenVolume, dir: &dyn BackingNode, key: &str) -> Result<DomainId, MaintenanceError> {
    if let Some(holder) = volume.live() {
        return Err(MaintenanceError::InUse(holder.clone()));
    }
    check(dir, volume.name_mode())?;
    let domain = volume.keys().add_domain(key)?;
    adopt(&*volume.volume_dir(), volume.keys(), dir, domain)?;
    Ok(domain)
}

/// Puts the empty directory `dir` under the domain `domain`: it gets a new directory id, in place of its old one
/// with one call. Whoever has the names of the directory in memory has to read them again, and nobody may create
/// anything in the directory meanwhile.
///
/// # Errors
/// [`MaintenanceError::NotEmpty`], [`MaintenanceError::Key`] if the domain does not open, and the backing
/// directory's.
pub fn adopt(
    volume_dir: &dyn BackingNode,
    keys: &KeyRing,
    dir: &dyn BackingNode,
    domain: DomainId,
) -> Result<(), MaintenanceError> {
    check(dir, NameMode::Encrypted)?;
    let domain_keys = keys.domain_keys(domain)?;
    let draft = format!("{DRAFT_PREFIX}{:032x}", u128::from_le_bytes(random::bytes()));
    let draft = OsStr::new(&draft);
    let made = volume_dir.make_dir(draft, PRIVATE_DIR)?;
    let id_name = OsStr::new(DIR_ID_NAME);
    let outcome = (|| {
        DirNames::make(&*made, domain, domain_keys, false)?;
        made.rename(id_name, dir, id_name, RenameMode::Replace)?;
        Ok(dir.sync_dir()?)
    })();
    // What may stay behind is an empty directory among kmsfs's own files, which nothing looks at.
    let _ = made.unlink(id_name);
    let _ = volume_dir.remove_dir(draft);
    outcome
}

fn check(dir: &dyn BackingNode, mode: NameMode) -> Result<(), MaintenanceError> {
    if mode == NameMode::Plain {
        return Err(MaintenanceError::PlainNames);
    }
    let entries = dir.read_dir(0, 2)?;
    let empty = entries.iter().all(|entry| entry.name == DIR_ID_NAME.as_bytes());
    if empty { Ok(()) } else { Err(MaintenanceError::NotEmpty) }
}
