//! Reading everything, and reporting what is not as it was written.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use rayon::prelude::*;

use super::check_file::{FileJob, check_xattrs};
use super::findings::{CheckReport, FindingKind, Place, kind_of_key_error};
use super::walk::is_user_entry;
use super::{MaintenanceError, OnProgress, Progress};
use crate::format::{DomainId, LONG_ENTRY_PREFIX, LONG_NAME_PREFIX, NameMode, VOLUME_DIR};
use crate::keys::KEYS_DIR;
use crate::names::{DirNames, NameError, PlainEntry, TARGETS_DIR, Targets, parse_kept, read_target};
use crate::store::{BackingNode, DirEntry, NodeKind, NodeRef, StoreError};
use crate::volume::OpenVolume;

/// Entries read from a directory at a time.
const LIST_CHUNK: usize = 256;
/// Files checked together; each holds a few descriptors.
const BATCH: usize = 64;

/// How thoroughly a volume is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckOptions {
    /// Whether every block is decrypted. Without it, headers, seals, entries, names and attributes are.
    pub contents: bool,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { contents: true }
    }
}

/// Checks the whole of `volume`. The superblock and the session records were verified by opening it.
///
/// # Errors
/// [`MaintenanceError::InUse`] if another process has the volume open, because what it is just writing would look
/// like damage; [`MaintenanceError::Store`] if kmsfs's own directories cannot be read.
pub fn check(
    volume: &OpenVolume,
    options: CheckOptions,
    progress: OnProgress<'_>,
) -> Result<CheckReport, MaintenanceError> {
    if let Some(holder) = volume.live() {
        return Err(MaintenanceError::InUse(holder.clone()));
    }
    volume.context().verify_all();
    let targets_dir = volume.volume_dir().lookup(OsStr::new(TARGETS_DIR))?;
    let mut check = Check {
        volume,
        options,
        progress,
        targets: Targets::new(NodeRef::clone(&targets_dir)),
        needed_targets: HashSet::new(),
        report: CheckReport::default(),
        jobs: Vec::new(),
        done: Progress::default(),
    };
    check.domains()?;
    check.tree();
    check.orphan_targets(&*targets_dir)?;
    Ok(check.report)
}

struct Check<'a> {
    volume: &'a OpenVolume,
    options: CheckOptions,
    progress: OnProgress<'a>,
    targets: Targets,
    /// Ids of kept targets that a symbolic link needs.
    needed_targets: HashSet<[u8; 16]>,
    report: CheckReport,
    jobs: Vec<FileJob>,
    done: Progress,
}

/// A directory that is yet to be looked into.
struct Dir {
    node: NodeRef,
    place: Place,
    /// `None` if the directory's id cannot be read.
    names: Option<DirNames>,
    is_root: bool,
}

impl Dir {
    fn domain(&self) -> Option<DomainId> {
        self.names.as_ref().map(DirNames::domain)
    }
}

impl Check<'_> {
    /// Every domain record in the volume directory has to be sound and to open.
    fn domains(&mut self) -> Result<(), MaintenanceError> {
        let keys = self.volume.keys();
        let known: HashSet<DomainId> = keys.domains().into_iter().map(|summary| summary.id).collect();
        let keys_dir = self.volume.volume_dir().lookup(OsStr::new(KEYS_DIR))?;
        let mut records = Vec::new();
        for_each_entry(&*keys_dir, |entry| records.push(entry.name))?;
        for name in records {
            let Some(id) = std::str::from_utf8(&name).ok().and_then(|name| name.parse::<DomainId>().ok())
            else {
                continue;
            };
            let backing: PathBuf = [VOLUME_DIR, KEYS_DIR, &id.to_string()].iter().collect();
            let place = Place { backing, plain: None };
            if !known.contains(&id) {
                self.report.add(place.finding(FindingKind::DomainRecord, "the record is damaged"));
            } else if let Err(error) = keys.domain_keys(id) {
                self.report.add(place.finding(kind_of_key_error(&error), error));
            }
        }
        Ok(())
    }

    fn tree(&mut self) {
        let place = Place { backing: PathBuf::new(), plain: Some(PathBuf::new()) };
        let domain = self.volume.keys().root_domain();
        let mut stack = vec![self.dir(self.volume.root(), place, Some(domain), true)];
        while let Some(dir) = stack.pop() {
            self.report.directories += 1;
            if let Err(error) = self.list(&dir, &mut stack) {
                self.report.add(dir.place.finding(FindingKind::Unreadable, error));
            }
        }
        self.run_jobs();
    }

    /// Reads the names of a directory in a directory of `domain`.
    fn dir(&mut self, node: NodeRef, place: Place, domain: Option<DomainId>, is_root: bool) -> Dir {
        let keys = self.volume.keys();
        let parent = domain.unwrap_or_else(|| keys.root_domain());
        match DirNames::load(&*node, &**keys, self.volume.name_mode(), parent, is_root) {
            Ok(names) => {
                let findings = check_xattrs(&*node, &place, &names.keys().xattr, names.context());
                findings.into_iter().for_each(|finding| self.report.add(finding));
                Dir { node, place, names: Some(names), is_root }
            }
            Err(error) => {
                self.report.add(place.of_name_error(FindingKind::DirectoryId, &error));
                Dir { node, place, names: None, is_root }
            }
        }
    }

    fn list(&mut self, dir: &Dir, stack: &mut Vec<Dir>) -> Result<(), StoreError> {
        let mode = self.volume.name_mode();
        let (mut links, mut entries) = (HashSet::new(), HashSet::new());
        for_each_entry(&*dir.node, |entry| {
            if mode == NameMode::Encrypted {
                if let Some(digest) = entry.name.strip_prefix(LONG_NAME_PREFIX.as_bytes()) {
                    links.insert(digest.to_vec());
                } else if let Some(digest) = entry.name.strip_prefix(LONG_ENTRY_PREFIX.as_bytes()) {
                    entries.insert(digest.to_vec());
                }
            }
            if is_user_entry(&entry.name, mode, dir.is_root) {
                self.entry(dir, &entry.name, stack);
            }
        })?;
        for digest in links.difference(&entries) {
            let name = [LONG_NAME_PREFIX.as_bytes(), digest].concat();
            let backing = dir.place.backing.join(OsStr::from_bytes(&name));
            let place = Place { backing, plain: None };
            self.report.add(place.finding(FindingKind::OrphanLongName, "no entry has this name"));
        }
        Ok(())
    }

    fn entry(&mut self, dir: &Dir, name: &[u8], stack: &mut Vec<Dir>) {
        let backing = dir.place.backing.join(OsStr::from_bytes(name));
        let mut place = Place { backing, plain: None };
        match dir.names.as_ref().map(|names| names.decrypt(&*dir.node, name)) {
            Some(Ok(PlainEntry::Name(plain))) => {
                place.plain = dir.place.plain.as_ref().map(|parent| parent.join(plain));
            }
            Some(Ok(PlainEntry::Internal)) | None => {}
            Some(Err(error)) => self.report.add(place.of_name_error(FindingKind::Name, &error)),
        }
        let found = dir.node.lookup(OsStr::from_bytes(name)).and_then(|node| {
            let kind = node.stat()?.kind;
            Ok((node, kind))
        });
        match found {
            Err(error) => self.report.add(place.finding(FindingKind::Unreadable, error)),
            Ok((node, NodeKind::File)) => self.file(FileJob { node, place, domain: dir.domain() }),
            Ok((node, NodeKind::Directory)) => {
                let child = self.dir(node, place, dir.domain(), false);
                stack.push(child);
            }
            Ok((node, NodeKind::Symlink)) => self.symlink(dir, &*node, &place),
            Ok(_) => self.report.special += 1,
        }
    }

    fn symlink(&mut self, dir: &Dir, node: &dyn BackingNode, place: &Place) {
        self.report.symlinks += 1;
        let target = node.read_link().map_err(NameError::from).and_then(|stored| {
            self.needed_targets.extend(parse_kept(&stored)?);
            match &dir.names {
                Some(names) => read_target(&self.targets, names.keys(), &stored).map(|_| ()),
                None => Ok(()),
            }
        });
        if let Err(error) = target {
            self.report.add(place.of_name_error(FindingKind::SymlinkTarget, &error));
        }
    }

    fn file(&mut self, job: FileJob) {
        self.report.files += 1;
        self.jobs.push(job);
        if self.jobs.len() >= BATCH {
            self.run_jobs();
        }
    }

    fn run_jobs(&mut self) {
        let jobs = std::mem::take(&mut self.jobs);
        let (context, contents) = (self.volume.context(), self.options.contents);
        let outcomes: Vec<_> = jobs.par_iter().map(|job| job.run(context, contents)).collect();
        for outcome in outcomes {
            self.done.files += 1;
            self.done.bytes += outcome.bytes;
            self.report.bytes += outcome.bytes;
            outcome.findings.into_iter().for_each(|finding| self.report.add(finding));
        }
        (self.progress)(&self.done);
    }

    fn orphan_targets(&mut self, targets_dir: &dyn BackingNode) -> Result<(), MaintenanceError> {
        let mut kept = Vec::new();
        for_each_entry(targets_dir, |entry| kept.push(entry.name))?;
        let needed: HashSet<String> = self.needed_targets.iter().map(|id| BASE64URL.encode(id)).collect();
        for name in kept {
            let name = String::from_utf8_lossy(&name).into_owned();
            if !needed.contains(&name) {
                let backing: PathBuf = [VOLUME_DIR, TARGETS_DIR, &name].iter().collect();
                let place = Place { backing, plain: None };
                self.report
                    .add(place.finding(FindingKind::OrphanTarget, "no symbolic link needs this target"));
            }
        }
        Ok(())
    }
}

/// Calls `visit` for each entry of a directory.
pub(super) fn for_each_entry(
    dir: &dyn BackingNode,
    mut visit: impl FnMut(DirEntry),
) -> Result<(), StoreError> {
    let mut cookie = 0;
    loop {
        let entries = dir.read_dir(cookie, LIST_CHUNK)?;
        let Some(last) = entries.last() else { return Ok(()) };
        cookie = last.cookie;
        entries.into_iter().for_each(&mut visit);
    }
}
