//! Restoring what redundancy allows, and putting the rest aside.
//!
//! Each step is a single rename or one new entry, and each can be repeated: an interrupted repair goes on where it was
//! when the volume is checked and repaired again. Nothing is deleted: what no reader can use is moved to
//! `.kmsfs/quarantine`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use super::MaintenanceError;
use super::check::for_each_entry;
use super::export::substitute_name;
use super::findings::{Finding, FindingKind};
use super::header::{HeaderPage, read_header};
use super::walk::is_user_entry;
use crate::format::{DIR_ID_NAME, DomainId, NameMode};
use crate::names::DirNames;
use crate::store::{FileAccess, NodeKind, NodeRef, RenameMode, StoreError, StoreErrorKind};
use crate::volume::{Holder, OpenVolume};

/// Below the volume directory.
const QUARANTINE_DIR: &str = "quarantine";

/// What became of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// What was lost is there again, or its place is.
    Restored,
    /// Moved to `.kmsfs/quarantine`, because no reader can use it.
    Quarantined,
    /// Left as it is: what of it can be read can be exported.
    Kept,
}

/// Repairs what `findings` name, in a volume that is open for writing. The remedies are in the order of the findings.
///
/// - A directory without a readable id gets a new one. The names in it are lost with the old one; its entries are
///   called `unreadable-` and a part of a digest, and their contents are whole.
/// - An entry whose name does not open is renamed likewise.
/// - Leftovers, links whose target is lost, and files that no reader can open at all are put aside.
/// - Damaged blocks, and files whose blocks are not those that were sealed, are kept as they are: their other blocks
///   can be read or exported, and nothing here may declare the rest of them good.
///
/// # Errors
/// [`MaintenanceError::InUse`], [`MaintenanceError::Store`], [`MaintenanceError::Key`].
pub fn repair(volume: &OpenVolume, findings: &[Finding]) -> Result<Vec<Remedy>, MaintenanceError> {
    if let Some(holder) = volume.live() {
        return Err(MaintenanceError::InUse(Holder::clone(holder)));
    }
    let quarantine = match volume.volume_dir().lookup(OsStr::new(QUARANTINE_DIR)) {
        Err(error) if error.is_not_found() => {
            volume.volume_dir().make_dir(OsStr::new(QUARANTINE_DIR), 0o700)?
        }
        other => other?,
    };
    let repair = Repair { volume, quarantine };
    let remedies = findings.iter().map(|finding| repair.remedy(finding)).collect::<Result<_, _>>()?;
    volume.store().sync_all()?;
    Ok(remedies)
}

struct Repair<'a> {
    volume: &'a OpenVolume,
    quarantine: NodeRef,
}

impl Repair<'_> {
    fn remedy(&self, finding: &Finding) -> Result<Remedy, MaintenanceError> {
        let done = match finding.kind {
            FindingKind::DirectoryId => self.new_directory_id(&finding.backing_path),
            FindingKind::Name => self.rename_unreadable(&finding.backing_path),
            FindingKind::OrphanLongName
            | FindingKind::OrphanTarget
            | FindingKind::SymlinkTarget
            | FindingKind::Header
            | FindingKind::Foreign
            | FindingKind::DataKey => self.put_aside(&finding.backing_path),
            FindingKind::Unreadable
            | FindingKind::DomainRecord
            | FindingKind::Key
            | FindingKind::Xattr
            | FindingKind::Seal
            | FindingKind::Entries
            | FindingKind::Size
            | FindingKind::Block
            | FindingKind::MissingBlock => Ok(Remedy::Kept),
        };
        match done {
            // An earlier remedy has moved it or a directory above it.
            Err(MaintenanceError::Store(error)) if error.is_not_found() => Ok(Remedy::Kept),
            other => other,
        }
    }

    /// The directory of a backing path, and the name in it.
    fn place(&self, path: &Path) -> Result<(NodeRef, OsString), StoreError> {
        let mut dir = self.volume.root();
        let mut names: Vec<&OsStr> = path
            .components()
            .filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
            .collect();
        let last = names.pop().unwrap_or_default().to_owned();
        for name in names {
            dir = dir.lookup(name)?;
        }
        Ok((dir, last))
    }

    /// The domain of a directory, as the files in it have it; of the root directory if there are none.
    fn domain_of(&self, dir: &NodeRef) -> Result<DomainId, StoreError> {
        let mut domain = None;
        for_each_entry(&**dir, |entry| {
            let read = || {
                let node = dir.lookup(OsStr::from_bytes(&entry.name)).ok()?;
                if node.stat().ok()?.kind != NodeKind::File {
                    return None;
                }
                match read_header(&node.open_file(FileAccess::Read).ok()?) {
                    Ok(HeaderPage::Sound(sound)) => Some(sound.header.identity.domain_id),
                    _ => None,
                }
            };
            domain = domain.or_else(read);
        })?;
        Ok(domain.unwrap_or_else(|| self.volume.keys().root_domain()))
    }

    fn new_directory_id(&self, path: &Path) -> Result<Remedy, MaintenanceError> {
        let (above, name) = self.place(path)?;
        let is_root = path.as_os_str().is_empty();
        let dir = if is_root { above } else { above.lookup(&name)? };
        let domain = self.domain_of(&dir)?;
        let keys = self.volume.keys().domain_keys(domain)?;
        match dir.stat_at(OsStr::new(DIR_ID_NAME)) {
            Ok(_) => {
                self.move_aside(&dir, OsStr::new(DIR_ID_NAME))?;
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        let names = DirNames::make(&*dir, domain, keys, is_root).map_err(of_name)?;
        let mut entries = Vec::new();
        for_each_entry(&*dir, |entry| entries.push(entry.name))?;
        for entry in entries.iter().filter(|entry| is_user_entry(entry, NameMode::Encrypted, is_root)) {
            substitute(&dir, &names, entry)?;
        }
        Ok(Remedy::Restored)
    }

    fn rename_unreadable(&self, path: &Path) -> Result<Remedy, MaintenanceError> {
        let (dir, name) = self.place(path)?;
        let is_root = path.parent().is_none_or(|parent| parent.as_os_str().is_empty());
        let parent = self.volume.keys().root_domain();
        let names = DirNames::load(&*dir, &**self.volume.keys(), self.volume.name_mode(), parent, is_root)
            .map_err(of_name)?;
        dir.stat_at(&name)?;
        substitute(&dir, &names, name.as_bytes())?;
        Ok(Remedy::Restored)
    }

    fn put_aside(&self, path: &Path) -> Result<Remedy, MaintenanceError> {
        let (dir, name) = self.place(path)?;
        self.move_aside(&dir, &name)?;
        Ok(Remedy::Quarantined)
    }

    /// Moves an entry to the quarantine, under its name and its inode number.
    fn move_aside(&self, dir: &NodeRef, name: &OsStr) -> Result<(), StoreError> {
        let ino = dir.stat_at(name)?.ino;
        let mut kept = OsString::from(format!("{ino}-"));
        kept.push(name);
        dir.rename(name, &*self.quarantine, &kept, RenameMode::NoReplace)
    }
}

/// Gives an entry whose name does not open a name that does. One that has such a name already keeps it.
fn substitute(dir: &NodeRef, names: &DirNames, entry: &[u8]) -> Result<(), MaintenanceError> {
    if names.decrypt(&**dir, entry).is_ok() {
        return Ok(());
    }
    let name = names.encrypt(&substitute_name(entry)).map_err(of_name)?;
    match dir.rename(OsStr::from_bytes(entry), &**dir, &name.name, RenameMode::NoReplace) {
        // A file system without this kind of rename: the name is a digest, so nothing else has it.
        Err(error) if error.kind == StoreErrorKind::Invalid => {
            Ok(dir.rename(OsStr::from_bytes(entry), &**dir, &name.name, RenameMode::Replace)?)
        }
        other => Ok(other?),
    }
}

fn of_name(error: crate::names::NameError) -> MaintenanceError {
    use crate::names::NameError;
    match error {
        NameError::Key(error) => error.into(),
        NameError::Store(error) => error.into(),
        _ => StoreError::new("repair", StoreErrorKind::Invalid).into(),
    }
}
