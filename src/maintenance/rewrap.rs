//! Bringing every data key under its domain's present KMS key, without touching the data.
//!
//! The order in which a header changes: the new wrap is proven by unwrapping it, written into the place of the
//! slot that is not in use, and made durable; it is read back; only then is the old slot overwritten. So at any
//! moment, after any crash, one slot opens.

use std::collections::HashSet;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rayon::prelude::*;

use super::header::{HeaderPage, SoundHeader, read_header};
use super::rewrap_run::{Run, RunDomain};
use super::walk::{Found, OtherObjects, Unreadable, Walk};
use super::{MaintenanceError, OnProgress, Progress};
use crate::format::{DomainId, SLOT_LEN, SLOT_OFFSETS};
use crate::keys::{DomainSummary, FileSlots, KeyAt, KeyError, KeyTier, RecipientChange, SlotRewrap};
use crate::store::{FileAccess, FileRef, StoreError};
use crate::volume::OpenVolume;

/// Files that are made durable together. Each holds a descriptor or two.
const BATCH: usize = 128;
/// Files whose wraps are asked for together; several such groups are under way at once.
const TOGETHER: usize = 32;
/// How often, and how long apart, a file is tried that somebody else has locked.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// The most failures that a report lists; all are counted.
const FAILURES_LISTED: usize = 1000;

/// What is to be rewrapped.
#[derive(Debug, Clone, Default)]
pub struct RewrapOptions {
    /// These domains. If there are none: all, or, when `key` is given, the root domain alone, so that domains which
    /// were put under keys of their own stay there.
    pub domains: Vec<DomainId>,
    /// The KMS key to go to, in the form of [`KeyAt`]; the present one, in its present version, if absent.
    pub key: Option<String>,
    /// Keys that join as further recipients. With any of these or of `remove`, no domains means the root domain alone.
    pub add: Vec<KeyAt>,
    /// Keys that are to be recipients no longer, by ARN or id.
    pub remove: Vec<String>,
    /// What is to wrap data keys from now on, if that changes.
    pub tier: Option<KeyTier>,
}

impl RewrapOptions {
    fn change(&self) -> Result<RecipientChange, KeyError> {
        let to = self.key.as_deref().map(str::parse).transpose()?;
        Ok(RecipientChange { to, add: self.add.clone(), remove: self.remove.clone(), tier: self.tier })
    }
}

/// What a rewrap did.
#[derive(Debug, Clone, Default)]
pub struct RewrapReport {
    /// The domains.
    pub domains: Vec<DomainRewrap>,
    /// Whether this went on with a rewrap that was interrupted.
    pub resumed: bool,
    /// Files whose data key has a new wrap.
    pub rewrapped: u64,
    /// Files that had the new wrap already.
    pub skipped: u64,
    /// Files whose header was never written: they have no data key yet.
    pub nascent: u64,
    /// Files that could not be rewrapped. Their old wrap is as it was.
    pub failed_count: u64,
    /// The first of these, with reasons.
    pub failed: Vec<FailedFile>,
}

/// What a rewrap did to a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRewrap {
    /// The domain.
    pub id: DomainId,
    /// Its epoch now.
    pub epoch: u32,
    /// The ARN of its KMS key now.
    pub key: String,
    /// The ARNs of further keys each of which opens it by itself.
    pub recipients: Vec<String>,
    /// The ARNs of the keys that still open headers of it. Empty once all files are under `key`; a
    /// rewrap beside a process that has the volume open leaves them, because that process may just be creating
    /// files under them.
    pub former_keys: Vec<String>,
}

/// A file that could not be rewrapped.
#[derive(Debug, Clone)]
pub struct FailedFile {
    /// Its backing path, from the backing directory on.
    pub path: PathBuf,
    /// Why.
    pub reason: RewrapFailure,
}

/// Why a file could not be rewrapped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RewrapFailure {
    /// Another process holds the lock of the file.
    #[error("the file is locked by another process")]
    Busy,
    /// The header is damaged or belongs to another volume.
    #[error("the header is damaged or belongs to another volume")]
    Header,
    /// The new wrap was not read back as it was written.
    #[error("the new wrap was not read back as it was written")]
    NotStored,
    /// The data key does not unwrap, or does not wrap again.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The backing file failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What came of looking at one file.
enum Outcome {
    /// The present wrap, and nothing else.
    Current,
    Nascent,
    /// A file of another domain, or a further name of one that was handled.
    Passed,
    /// A sound new wrap is in its place, to be made durable before the old one goes.
    Ready(Box<Ready>),
    Failed(FailedFile),
}

/// What a file needs.
enum Prepared {
    /// Nothing more, before its batch is made durable.
    Done(Outcome, u64),
    /// A new wrap.
    Waiting(Box<Waiting>),
}

/// A locked file that is to get a new wrap.
struct Waiting {
    path: PathBuf,
    file: FileRef,
    sound: Box<SoundHeader>,
}

/// A file with a new wrap; it stays locked until the old one is gone.
struct Ready {
    path: PathBuf,
    file: FileRef,
    keep: usize,
    slot: [u8; SLOT_LEN],
    rewritten: bool,
}

struct Pass<'a> {
    volume: &'a OpenVolume,
    domains: HashSet<DomainId>,
    /// Inode numbers of files with several names that were handled.
    seen: Mutex<HashSet<u64>>,
}

/// Rewraps the data keys of `volume`. Can be interrupted at any point and started again.
///
/// # Errors
/// [`MaintenanceError::RewrapRunning`], [`MaintenanceError::Key`] if a key cannot be used or the service fails in
/// the middle, [`MaintenanceError::Store`]. What was done stays done, and the next rewrap goes on from there.
pub fn rewrap(
    volume: &OpenVolume,
    options: &RewrapOptions,
    progress: OnProgress<'_>,
) -> Result<RewrapReport, MaintenanceError> {
    let mut run = Run::open(&*volume.volume_dir())?;
    let mut report = RewrapReport::default();
    let domains = begin(volume, options, &mut run, &mut report)?;
    let pass = Pass { volume, domains: domains.iter().copied().collect(), seen: Mutex::default() };
    pass.run(&mut report, progress)?;
    volume.store().sync_all()?;
    if report.failed_count == 0 {
        if volume.is_exclusive() {
            finish(volume, &domains)?;
        }
        run.save(Vec::new())?;
    }
    let summaries = volume.keys().domains();
    let done = summaries.into_iter().filter(|summary| domains.contains(&summary.id));
    report.domains = done.filter_map(domain_rewrap).collect();
    Ok(report)
}

fn domain_rewrap(summary: DomainSummary) -> Option<DomainRewrap> {
    let DomainSummary { id, epoch, mut keys, recipients, .. } = summary;
    let former_keys = keys.split_off(recipients.min(keys.len()));
    let mut keys = keys.into_iter();
    Some(DomainRewrap { id, epoch, key: keys.next()?, recipients: keys.collect(), former_keys })
}

/// Begins new epochs, or goes on with those of an interrupted rewrap.
fn begin(
    volume: &OpenVolume,
    options: &RewrapOptions,
    run: &mut Run,
    report: &mut RewrapReport,
) -> Result<Vec<DomainId>, MaintenanceError> {
    volume.keys().reload()?;
    let known = volume.keys().domains();
    let mut selected: Vec<&DomainSummary> = Vec::new();
    for id in &options.domains {
        selected.push(known.iter().find(|summary| summary.id == *id).ok_or(KeyError::UnknownDomain(*id))?);
    }
    let change = options.change()?;
    let key = (!change.is_empty()).then(|| change.to_string());
    if selected.is_empty() {
        let root = volume.keys().root_domain();
        selected.extend(known.iter().filter(|summary| key.is_none() || summary.id == root));
    }
    let mut record = Vec::new();
    for summary in selected {
        let under_way =
            run.under_way(summary.id, key.as_deref()).filter(|domain| domain.epoch == summary.epoch);
        let epoch = match under_way {
            Some(domain) => {
                report.resumed = true;
                domain.epoch
            }
            None => volume.keys().begin_rewrap(summary.id, &change)?.epoch,
        };
        record.push(RunDomain { id: summary.id, epoch, key: key.clone() });
    }
    let domains = record.iter().map(|domain| domain.id).collect();
    if run.domains != record {
        run.save(record)?;
    }
    Ok(domains)
}

/// Drops the former keys of domains that have no header under them any more. Files may have moved between
/// directories during the pass, so all headers are looked at once more.
fn finish(volume: &OpenVolume, domains: &[DomainId]) -> Result<(), MaintenanceError> {
    let keys = volume.keys();
    let several = keys.domains().into_iter().filter(|summary| summary.has_former()).map(|summary| summary.id);
    let mut open: HashSet<DomainId> = several.filter(|id| domains.contains(id)).collect();
    if open.is_empty() {
        return Ok(());
    }
    for found in Walk::new(volume.root(), volume.name_mode()) {
        let Ok(found) = found else { return Ok(()) };
        if found.kind != crate::store::NodeKind::File {
            continue;
        }
        match read_header(&found.node.open_file(FileAccess::Read)?)? {
            HeaderPage::Nascent => {}
            // A damaged header may become readable again by hand, and then needs its key.
            HeaderPage::Damaged => return Ok(()),
            HeaderPage::Sound(sound) => {
                let identity = &sound.header.identity;
                if keys.current_place(identity, &sound.header.slots)?.is_none() {
                    open.remove(&identity.domain_id);
                }
            }
        }
    }
    for id in open {
        keys.finish_rewrap(id)?;
    }
    Ok(())
}

impl Pass<'_> {
    fn run(&self, report: &mut RewrapReport, progress: OnProgress<'_>) -> Result<(), MaintenanceError> {
        let mut walk = Walk::new(self.volume.root(), self.volume.name_mode());
        let mut done = Progress::default();
        loop {
            let batch = walk.next_files(BATCH, &mut OtherObjects::default());
            if batch.is_empty() {
                return Ok(());
            }
            done.files += batch.len() as u64;
            let groups = batch.into_par_iter().chunks(TOGETHER);
            let looked: Vec<(Outcome, u64)> = groups.flat_map(|group| self.look_at(group)).collect();
            done.bytes += looked.iter().map(|(_, bytes)| bytes).sum::<u64>();
            self.settle(looked.into_iter().map(|(outcome, _)| outcome), report)?;
            progress(&done);
        }
    }

    /// Makes the new wraps of a batch durable, then overwrites the old ones.
    fn settle(
        &self,
        outcomes: impl Iterator<Item = Outcome>,
        report: &mut RewrapReport,
    ) -> Result<(), MaintenanceError> {
        let mut ready = Vec::new();
        let mut outage = None;
        for outcome in outcomes {
            match outcome {
                Outcome::Current => report.skipped += 1,
                Outcome::Nascent => report.nascent += 1,
                Outcome::Passed => {}
                Outcome::Ready(file) => ready.push(file),
                Outcome::Failed(FailedFile {
                    reason: RewrapFailure::Key(error @ KeyError::Service(_)),
                    ..
                }) => {
                    outage = Some(error);
                }
                Outcome::Failed(failed) => report.add_failure(failed),
            }
        }
        let store = self.volume.store();
        if !store.syncs_all() {
            ready.par_iter().try_for_each(|file| file.file.sync_data())?;
        } else if !ready.is_empty() {
            store.sync_all()?;
        }
        let scrubbed: Vec<Result<bool, FailedFile>> =
            ready.into_par_iter().map(|file| file.scrub()).collect();
        for outcome in scrubbed {
            match outcome {
                Ok(true) => report.rewrapped += 1,
                Ok(false) => report.skipped += 1,
                Err(failed) => report.add_failure(failed),
            }
        }
        // Every further file would fail in the same way.
        outage.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Gives files their new wraps, beside the old ones. Those that need one get it together.
    fn look_at(&self, group: Vec<Result<Found, Unreadable>>) -> Vec<(Outcome, u64)> {
        let mut outcomes: Vec<(Outcome, u64)> = Vec::with_capacity(group.len());
        let mut waiting = Vec::new();
        for found in group {
            let failed = |path, reason| (Outcome::Failed(FailedFile { path, reason }), 0);
            match found {
                Err(Unreadable { path, error }) => outcomes.push(failed(path, error.into())),
                Ok(found) => {
                    let path = found.path.clone();
                    match self.prepare(found) {
                        Ok(Prepared::Done(outcome, bytes)) => outcomes.push((outcome, bytes)),
                        Ok(Prepared::Waiting(file)) => waiting.push(file),
                        Err(reason) => outcomes.push(failed(path, reason)),
                    }
                }
            }
        }
        let slots: Vec<FileSlots<'_>> =
            waiting.iter().map(|file| (file.sound.header.identity, &file.sound.header.slots)).collect();
        let rewraps = self.volume.keys().rewrap_slots(&slots);
        let written = waiting.into_iter().zip(rewraps).map(|(waiting, rewrap)| {
            let Waiting { path, file, sound } = *waiting;
            match write_wrap(&file, rewrap) {
                Ok((keep, slot)) => {
                    let ready = Ready { path, file, keep, slot, rewritten: true };
                    (Outcome::Ready(Box::new(ready)), sound.plain_len)
                }
                Err(reason) => (Outcome::Failed(FailedFile { path, reason }), 0),
            }
        });
        outcomes.extend(written);
        outcomes
    }

    /// Looks what a file needs, and locks one that needs something.
    fn prepare(&self, found: Found) -> Result<Prepared, RewrapFailure> {
        let file = found.node.open_file(FileAccess::ReadWrite)?;
        let stat = file.stat()?;
        if stat.nlink > 1 && !self.seen.lock().insert(stat.ino) {
            return Ok(Prepared::Done(Outcome::Passed, 0));
        }
        let sound = match read_header(&file)? {
            HeaderPage::Nascent => return Ok(Prepared::Done(Outcome::Nascent, 0)),
            HeaderPage::Damaged => return Err(RewrapFailure::Header),
            HeaderPage::Sound(sound) => sound,
        };
        if sound.header.identity.volume_id != self.volume.volume_id() {
            return Err(RewrapFailure::Header);
        }
        if !self.domains.contains(&sound.header.identity.domain_id) {
            return Ok(Prepared::Done(Outcome::Passed, 0));
        }
        let bytes = sound.plain_len;
        match self.present_wrap(&sound)? {
            Some(place) if sound.is_scrubbed(1 - place) => {
                return Ok(Prepared::Done(Outcome::Current, bytes));
            }
            _ => {}
        }
        lock(&file)?;
        // Another process may have rewrapped the file before it gave up its lock.
        let HeaderPage::Sound(sound) = read_header(&file)? else { return Err(RewrapFailure::Header) };
        if let Some((keep, slot)) = self.proven_wrap(&sound)? {
            let ready = Ready { path: found.path, file, keep, slot, rewritten: false };
            return Ok(Prepared::Done(Outcome::Ready(Box::new(ready)), bytes));
        }
        Ok(Prepared::Waiting(Box::new(Waiting { path: found.path, file, sound })))
    }

    fn present_wrap(&self, sound: &SoundHeader) -> Result<Option<usize>, KeyError> {
        self.volume.keys().current_place(&sound.header.identity, &sound.header.slots)
    }

    /// The new wrap that an interrupted rewrap left beside the old one, if it proves itself alone.
    fn proven_wrap(&self, sound: &SoundHeader) -> Result<Option<(usize, [u8; SLOT_LEN])>, RewrapFailure> {
        let header = &sound.header;
        let Some(keep) = self.present_wrap(sound)? else { return Ok(None) };
        let mut alone = header.slots.clone();
        alone[1 - keep] = None;
        match self.volume.keys().unwrap_fresh(&header.identity, &alone) {
            Ok(_) => {
                let mut slot = [0; SLOT_LEN];
                slot.copy_from_slice(sound.slot_bytes(keep));
                Ok(Some((keep, slot)))
            }
            Err(KeyError::Tampered { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes a new wrap into the place that is not in use. Returns the place and what is written there.
fn write_wrap(
    file: &FileRef,
    rewrap: Result<SlotRewrap, KeyError>,
) -> Result<(usize, [u8; SLOT_LEN]), RewrapFailure> {
    let rewrap = rewrap?;
    let slot = rewrap.slot.encode().map_err(KeyError::from)?;
    file.write_at(&slot, SLOT_OFFSETS[rewrap.place] as u64)?;
    Ok((rewrap.place, slot))
}

/// Takes the lock of a file; a process that has the file open holds it for a moment only.
fn lock(file: &FileRef) -> Result<(), RewrapFailure> {
    for _ in 0..LOCK_TRIES {
        if file.try_lock()? {
            return Ok(());
        }
        thread::sleep(LOCK_PAUSE);
    }
    Err(RewrapFailure::Busy)
}

impl Ready {
    /// Overwrites the old wrap if the new one is stored; true if the file was rewrapped just now.
    fn scrub(self) -> Result<bool, FailedFile> {
        let outcome = (|| {
            let mut stored = [0; SLOT_LEN];
            self.file.read_at(&mut stored, SLOT_OFFSETS[self.keep] as u64)?;
            if stored != self.slot {
                return Err(RewrapFailure::NotStored);
            }
            self.file.write_at(&[0; SLOT_LEN], SLOT_OFFSETS[1 - self.keep] as u64)?;
            Ok(self.rewritten)
        })();
        outcome.map_err(|reason| FailedFile { path: self.path, reason })
    }
}

impl RewrapReport {
    fn add_failure(&mut self, failed: FailedFile) {
        self.failed_count += 1;
        if self.failed.len() < FAILURES_LISTED {
            self.failed.push(failed);
        }
    }
}
