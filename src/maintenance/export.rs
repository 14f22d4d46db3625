//! Copying what can be read out of a damaged volume, and saying what cannot.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::check::for_each_entry;
use super::check_file::FileJob;
use super::findings::{CheckReport, FindingKind, Place};
use super::header::{HeaderPage, SoundHeader, read_header};
use super::walk::is_user_entry;
use super::{MaintenanceError, OnProgress, Progress};
use crate::crypto::FileKeys;
use crate::file::{Damage, FileError};
use crate::format::geometry::{block_count, data_offset, entry_offset};
use crate::format::{BlockAad, BlockIndex, DomainId, ENTRY_LEN, Entry, PAGE, PAGE_U64};
use crate::keys::FileKeyProvider;
use crate::names::{DirNames, NameError, PlainEntry, TARGETS_DIR, Targets, read_target};
use crate::store::{FileAccess, FileRef, NodeKind, NodeRef, NodeStat, StoreError};
use crate::volume::OpenVolume;

/// Permission bits.
const MODE_BITS: u32 = 0o7777;
/// What the owner of a directory needs to fill it.
const OWNER_ALL: u32 = 0o700;

/// Copies everything that can be read out of `volume` into the directory `dest`, in the clear.
///
/// A block that is damaged becomes a hole in the copy. A file whose seal is gone or does not fit is copied block by
/// block: each block is what was written at its place once, but nothing proves any more that it is the latest. Entries
/// whose names are lost are called `unreadable-` and a part of a digest. The report has a finding for each of these.
///
/// # Errors
/// [`MaintenanceError::Store`] if `dest` cannot be written.
pub fn export(
    volume: &OpenVolume,
    dest: NodeRef,
    progress: OnProgress<'_>,
) -> Result<CheckReport, MaintenanceError> {
    volume.context().verify_all();
    let targets = Targets::new(volume.volume_dir().lookup(OsStr::new(TARGETS_DIR))?);
    let mut export =
        Export { volume, targets, progress, report: CheckReport::default(), done: Progress::default() };
    let place = Place { backing: PathBuf::new(), plain: Some(PathBuf::new()) };
    let mut stack =
        vec![Dir { source: volume.root(), dest, place, parent: volume.keys().root_domain(), is_root: true }];
    while let Some(dir) = stack.pop() {
        export.dir(&dir, &mut stack)?;
    }
    Ok(export.report)
}

/// The name under which an entry is shown whose own name is lost.
pub(super) fn substitute_name(backing_name: &[u8]) -> OsString {
    let digest = Sha256::digest(backing_name);
    let digits: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    OsString::from(format!("unreadable-{digits}"))
}

struct Dir {
    source: NodeRef,
    dest: NodeRef,
    place: Place,
    /// The domain of the directory above.
    parent: DomainId,
    is_root: bool,
}

struct Export<'a> {
    volume: &'a OpenVolume,
    targets: Targets,
    progress: OnProgress<'a>,
    report: CheckReport,
    done: Progress,
}

impl Export<'_> {
    fn dir(&mut self, dir: &Dir, stack: &mut Vec<Dir>) -> Result<(), MaintenanceError> {
        self.report.directories += 1;
        let keys = self.volume.keys();
        let mode = self.volume.name_mode();
        let names = DirNames::load(&*dir.source, &**keys, mode, dir.parent, dir.is_root);
        let names = match names {
            Ok(names) => Some(names),
            Err(error) => {
                self.report.add(dir.place.of_name_error(FindingKind::DirectoryId, &error));
                None
            }
        };
        let mut entries = Vec::new();
        if let Err(error) = for_each_entry(&*dir.source, |entry| entries.push(entry.name)) {
            self.report.add(dir.place.finding(FindingKind::Unreadable, error));
        }
        for name in entries.iter().filter(|name| is_user_entry(name, mode, dir.is_root)) {
            self.entry(dir, names.as_ref(), name, stack)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        dir: &Dir,
        names: Option<&DirNames>,
        name: &[u8],
        stack: &mut Vec<Dir>,
    ) -> Result<(), MaintenanceError> {
        let mut place = Place { backing: dir.place.backing.join(OsStr::from_bytes(name)), plain: None };
        let shown = match names.map(|names| names.decrypt(&*dir.source, name)) {
            Some(Ok(PlainEntry::Name(plain))) => {
                place.plain = dir.place.plain.as_ref().map(|above| above.join(&plain));
                plain
            }
            Some(Ok(PlainEntry::Internal)) => return Ok(()),
            Some(Err(error)) => {
                self.report.add(place.of_name_error(FindingKind::Name, &error));
                substitute_name(name)
            }
            None => substitute_name(name),
        };
        let found = dir.source.lookup(OsStr::from_bytes(name)).and_then(|node| Ok((node.stat()?, node)));
        let (stat, node) = match found {
            Ok(found) => found,
            Err(error) => {
                self.report.add(place.finding(FindingKind::Unreadable, error));
                return Ok(());
            }
        };
        let domain = names.map(DirNames::domain);
        match stat.kind {
            NodeKind::Directory => {
                let dest = dir.dest.make_dir(&shown, stat.mode & MODE_BITS | OWNER_ALL)?;
                stack.push(Dir {
                    source: node,
                    dest,
                    place,
                    parent: domain.unwrap_or(dir.parent),
                    is_root: false,
                });
            }
            NodeKind::File => self.file(&dir.dest, &shown, &stat, FileJob { node, place, domain })?,
            NodeKind::Symlink => {
                self.report.symlinks += 1;
                let target = node.read_link().map_err(NameError::from).and_then(|stored| match names {
                    Some(names) => read_target(&self.targets, names.keys(), &stored),
                    None => Err(NameError::NoDirectoryId),
                });
                match target {
                    Ok(target) => drop(dir.dest.make_symlink(&shown, &target)?),
                    Err(error) => self.report.add(place.of_name_error(FindingKind::SymlinkTarget, &error)),
                }
            }
            kind => {
                self.report.special += 1;
                dir.dest.make_node(&shown, kind, stat.mode & MODE_BITS, stat.rdev)?;
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        dest: &NodeRef,
        name: &OsStr,
        stat: &NodeStat,
        job: FileJob,
    ) -> Result<(), MaintenanceError> {
        self.report.files += 1;
        // What is wrong with it, in the checker's words; the copy does not depend on that.
        for finding in job.run(self.volume.context(), true).findings {
            self.report.add(finding);
        }
        let (_, out) = dest.create_file(name, stat.mode & MODE_BITS)?;
        match salvage(self.volume, &job, &out) {
            Ok(bytes) => self.report.bytes += bytes,
            Err(Salvage::Source) => {}
            Err(Salvage::Dest(error)) => return Err(error.into()),
        }
        self.done.files += 1;
        (self.progress)(&self.done);
        Ok(())
    }
}

/// Why nothing more of a file is copied.
enum Salvage {
    /// Nothing of it can be read; the check has said why.
    Source,
    /// The copy cannot be written.
    Dest(StoreError),
}

impl From<FileError> for Salvage {
    fn from(_: FileError) -> Self {
        Self::Source
    }
}

/// Copies each block of a file that authenticates at its place; returns the number of bytes.
fn salvage(volume: &OpenVolume, job: &FileJob, out: &FileRef) -> Result<u64, Salvage> {
    let file = job.node.open_file(FileAccess::Read).map_err(FileError::from)?;
    let sound = match read_header(&file).map_err(FileError::from)? {
        HeaderPage::Nascent => return Ok(0),
        HeaderPage::Sound(sound) => sound,
        HeaderPage::Damaged => return Err(Salvage::Source),
    };
    let SoundHeader { header, plain_len, .. } = *sound;
    let keys = volume.keys().unwrap(&header.identity, &header.slots).map_err(FileError::from)?;
    out.set_len(plain_len).map_err(Salvage::Dest)?;
    let mut bytes = 0;
    for block in (0..block_count(plain_len)).map(BlockIndex) {
        let Ok(Some(plain)) = open_block(&file, &keys, block) else { continue };
        let at = block.0 * PAGE_U64;
        let len = (plain.len() as u64).min(plain_len - at) as usize;
        out.write_at(&plain[..len], at).map_err(Salvage::Dest)?;
        bytes += len as u64;
    }
    Ok(bytes)
}

/// One block in the clear; `None` for a hole.
fn open_block(file: &FileRef, keys: &FileKeys, block: BlockIndex) -> Result<Option<Vec<u8>>, FileError> {
    let mut bytes = [0; ENTRY_LEN];
    file.read_at(&mut bytes, entry_offset(block))?;
    let Some(entry) = Entry::parse(&bytes)? else { return Ok(None) };
    let mut cipher = [0; PAGE];
    let cipher = &mut cipher[..usize::from(entry.len)];
    file.read_at(cipher, data_offset(block))?;
    let mut plain = vec![0; cipher.len()];
    let aad = BlockAad::new(block, entry.len);
    keys.content
        .open(&entry.nonce(), aad.bytes(), cipher, &entry.tag, &mut plain)
        .map_err(|_| FileError::Damaged { file: None, damage: Damage::Block(block.0) })?;
    Ok(Some(plain))
}
