//! Histories, images, and their verification.

use std::ffi::OsString;
use std::sync::Arc;

use kmsfs::crypto::{DomainKeys, JournalKeys, SecretKey};
use kmsfs::file::{EncryptedFile, FileContext, FileContextParts, Rules};
use kmsfs::format::{SessionEvent, SessionNumber, SessionRecord};
use kmsfs::journal::sessions::SessionHistory;
use kmsfs::journal::{Journal, MIN_RING_LEN, recover};
use kmsfs::store::simulated::{Call, CallFilter, SeededChoice, SimulatedOptions, SimulatedStore, Tearing};
use kmsfs::store::{BackingStore, NodeRef, StoreErrorKind};

use super::dice::Dice;
use super::keys::{DOMAIN, LocalKeys, VOLUME};
use super::oracle::{BLOCK, Oracle};

const FILES: usize = 2;
/// Up to two blocks behind the first group's entry page.
const MAX_SIZE: u64 = 19 * BLOCK as u64;

#[derive(Default, Debug)]
pub(crate) struct Findings {
    pub(crate) states: u64,
    pub(crate) files: u64,
    pub(crate) crashes: u64,
    pub(crate) first: Option<String>,
}

pub(crate) struct Explorer {
    dice: Dice,
    seed: u64,
    rules: Rules,
    tearing: Tearing,
    /// What was done so far, for the report.
    trace: Vec<String>,
}

fn journal_keys() -> Arc<JournalKeys> {
    DomainKeys::derive(&SecretKey::from_slice(&[5; 32]).unwrap(), &VOLUME.0, &[4; 16]).journal
}

fn record(session: u32, event: SessionEvent) -> SessionRecord {
    SessionRecord { session: SessionNumber(session), event, time: 0, host: [0; 16], mac: [0; 16] }
}

/// One mount of the volume in `store`.
struct Mount {
    store: Arc<SimulatedStore>,
    context: Arc<FileContext>,
    files: Vec<Option<Arc<EncryptedFile>>>,
}

fn name(index: usize) -> OsString {
    OsString::from(format!("file-{index}"))
}

fn volume_dir(store: &SimulatedStore) -> NodeRef {
    store.root().lookup(".kmsfs".as_ref()).unwrap()
}

impl Mount {
    /// Mounts as session `session`, every earlier one having crashed.
    fn open(store: SimulatedStore, session: u32, rules: Rules) -> Self {
        let store = Arc::new(store);
        let records: Vec<_> = (1..session).map(|earlier| record(earlier, SessionEvent::Start)).collect();
        let journal = Journal::create(
            &*volume_dir(&store),
            VOLUME,
            SessionNumber(session),
            journal_keys(),
            MIN_RING_LEN,
        )
        .unwrap();
        let context = FileContext::with_rules(
            FileContextParts {
                volume_id: VOLUME,
                session: SessionNumber(session),
                history: Arc::new(SessionHistory::from_records(&records)),
                keys: Arc::new(LocalKeys),
                journal: Some(journal),
            },
            rules,
        );
        Self { store, context, files: (0..FILES).map(|_| None).collect() }
    }

    fn file(&mut self, index: usize) -> Result<Arc<EncryptedFile>, String> {
        if let Some(file) = &self.files[index] {
            return Ok(file.clone());
        }
        let root = self.store.root();
        let file = match root.lookup(&name(index)) {
            Ok(node) => EncryptedFile::open(&self.context, node, DOMAIN),
            Err(_) => {
                let (node, file) = root.create_file(&name(index), 0o600).unwrap();
                let ino = file.stat().unwrap().ino;
                EncryptedFile::create(&self.context, (node, file), ino, DOMAIN)
            }
        };
        let file = file.map_err(|error| format!("open: {error}"))?;
        self.files[index] = Some(file.clone());
        Ok(file)
    }

    fn content(&mut self, index: usize) -> Result<Vec<u8>, String> {
        let file = self.file(index)?;
        let mut content = vec![0xee; file.size() as usize];
        let len = file.read(0, &mut content).map_err(|error| format!("read: {error}"))?;
        if len == content.len() { Ok(content) } else { Err(format!("read {len} of {}", content.len())) }
    }
}

/// Recovers the volume in `store` after the crash of `session`.
fn recover_volume(store: &SimulatedStore, session: u32) -> Result<(), String> {
    let dir = store.root().lookup(".kmsfs".as_ref()).map_err(|error| error.to_string())?;
    recover(store, &*dir, VOLUME, SessionNumber(session), &journal_keys())
        .map_err(|error| error.to_string())?;
    store.sync_all().map_err(|error| error.to_string())
}

impl Explorer {
    pub(crate) fn new(seed: u64, rules: Rules, tearing: Tearing) -> Self {
        Self { dice: Dice::new(seed), seed, rules, tearing, trace: Vec::new() }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice.below(bound)
    }

    /// One history: a few mounts that each end in a crash.
    pub(crate) fn run(mut self, findings: &mut Findings) {
        let options = SimulatedOptions { tearing: self.tearing, ..SimulatedOptions::default() };
        let mut store = SimulatedStore::new(options);
        store.root().make_dir(".kmsfs".as_ref(), 0o700).unwrap();
        store.sync_all().unwrap();
        let mut oracles: Vec<Oracle> = (0..FILES).map(|_| Oracle::new()).collect();
        for session in 1..=3 {
            let mut mount = Mount::open(store, session, self.rules);
            let steps = 2 + self.below(14);
            for step in 0..steps {
                let outcome = self.step(&mut mount, &mut oracles);
                let context = format!("seed {} session {session} step {step}", self.seed);
                let context = format!("{context} {:#?}", self.trace);
                if let Err(problem) = outcome.and_then(|()| self.images(&mount, &oracles, session, findings))
                {
                    findings.first.get_or_insert(format!("{context}: {problem}"));
                    return;
                }
            }
            // The mount dies here, and the next session goes on from what is left.
            let image = if self.below(3) == 0 {
                mount.store.kill_image()
            } else {
                mount.store.crash_image(&mut SeededChoice::new(self.below(u64::MAX)))
            };
            findings.crashes += 1;
            self.trace.push("crash".into());
            match self.settle(image, session, &mut oracles) {
                Ok(next) => store = next,
                Err(problem) => {
                    findings.first.get_or_insert(format!("seed {} session {session}: {problem}", self.seed));
                    return;
                }
            }
        }
    }

    fn step(&mut self, mount: &mut Mount, oracles: &mut [Oracle]) -> Result<(), String> {
        let index = self.below(FILES as u64) as usize;
        let file = mount.file(index)?;
        let oracle = &mut oracles[index];
        let failed = |error: kmsfs::file::FileError| format!("operation: {error}");
        match self.below(20) {
            0..=7 => {
                let (offset, data) = self.data(oracle.now().len() as u64);
                self.trace.push(format!("{index}: write {offset} +{}", data.len()));
                file.write(offset, &data).map_err(failed)?;
                oracle.write(offset as usize, &data);
            }
            8..=10 => {
                self.trace.push(format!("{index}: fsync"));
                file.fsync(self.below(2) == 0).map_err(failed)?;
                oracle.synced();
            }
            11..=13 => {
                let size = self.size(oracle.now().len() as u64);
                self.trace.push(format!("{index}: truncate {size}"));
                file.truncate(size).map_err(failed)?;
                oracle.truncate(size as usize);
            }
            14 => {
                let (offset, len) = (self.below(MAX_SIZE), 1 + self.below(3 * BLOCK as u64));
                self.trace.push(format!("{index}: punch {offset} +{len}"));
                file.punch_hole(offset, len).map_err(failed)?;
                oracle.punch(offset as usize, len as usize);
            }
            15 if self.below(2) == 0 => {
                self.trace.push("checkpoint".into());
                mount.context.checkpoint().map_err(failed)?;
            }
            15 => {
                // A full disk stops the checkpoint at some file: those before it are in place, and the journal
                // still has their records.
                let filter = CallFilter::calls(&[Call::Write]).on(file.node().stat().unwrap().ino);
                mount.store.fail_nth(filter, 1 + self.below(3), StoreErrorKind::NoSpace);
                let outcome = mount.context.checkpoint();
                self.trace.push(format!("checkpoint, {index} full: {}", outcome.is_ok()));
                mount.store.clear_faults();
            }
            16 => {
                self.trace.push("commit".into());
                mount.context.commit().map_err(failed)?;
            }
            _ => {
                self.trace.push(format!("{index}: close"));
                file.flush().map_err(failed)?;
                mount.files[index] = None;
            }
        }
        drop(file);
        let content = mount.content(index)?;
        if content == *oracles[index].now() {
            Ok(())
        } else {
            Err("a read differs from what was written".into())
        }
    }

    /// An offset and some bytes: appends, overwrites within a block, whole blocks, and runs of blocks.
    fn data(&mut self, size: u64) -> (u64, Vec<u8>) {
        let block = BLOCK as u64;
        let (offset, len) = match self.below(5) {
            0 => (size, 1 + self.below(300)),
            1 => (size, 1 + self.below(3 * block)),
            2 => (self.below(size + 1), 1 + self.below(200)),
            3 => (self.below(size / block + 1) * block, block * (1 + self.below(3))),
            _ => (self.below(MAX_SIZE), 1 + self.below(2 * block)),
        };
        let offset = offset.min(MAX_SIZE - 1);
        let len = len.min(MAX_SIZE - offset) as usize;
        let fill = 1 + self.below(255) as u8;
        (offset, (0..len).map(|index| fill ^ (index as u8 & 1)).collect())
    }

    fn size(&mut self, size: u64) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => self.below(size + 1),
            2 => size / BLOCK as u64 * BLOCK as u64,
            _ => self.below(MAX_SIZE),
        }
    }

    /// Takes images of this moment, recovers each and reads all files.
    fn images(
        &mut self,
        mount: &Mount,
        oracles: &[Oracle],
        session: u32,
        findings: &mut Findings,
    ) -> Result<(), String> {
        let mut choice = SeededChoice::new(self.below(u64::MAX));
        for _ in 0..8 {
            let image = mount.store.crash_image(&mut choice);
            findings.states += 1;
            self.verify(image, session, oracles, findings, false)?;
        }
        findings.states += 1;
        self.verify(mount.store.kill_image(), session, oracles, findings, true)
    }

    fn verify(
        &mut self,
        mut image: SimulatedStore,
        session: u32,
        oracles: &[Oracle],
        findings: &mut Findings,
        exact: bool,
    ) -> Result<(), String> {
        if !exact && self.below(4) == 0 {
            // The recovery crashes too, and the next one has to do.
            image.cut_power_at(image.calls() + self.below(20));
            let _ = recover_volume(&image, session);
            image = image.crash_image(&mut SeededChoice::new(self.below(u64::MAX)));
        }
        recover_volume(&image, session)?;
        let mut mount = Mount::open(image, session + 1, Rules::default());
        for (index, oracle) in oracles.iter().enumerate() {
            if mount.store.root().lookup(&name(index)).is_err() {
                if oracle.exists {
                    return Err(format!("file {index} is gone"));
                }
                continue;
            }
            findings.files += 1;
            let content = mount.content(index).map_err(|error| format!("file {index}: {error}"))?;
            if exact && content != *oracle.now() {
                return Err(format!("file {index}: killed, and an acknowledged byte is missing"));
            }
            oracle.allows(&content).map_err(|error| format!("file {index}: {error}"))?;
        }
        Ok(())
    }

    /// Recovers for good, and takes what is there as the new truth.
    fn settle(
        &mut self,
        image: SimulatedStore,
        session: u32,
        oracles: &mut [Oracle],
    ) -> Result<SimulatedStore, String> {
        recover_volume(&image, session)?;
        let survivor = image.kill_image();
        let mut mount = Mount::open(image, session + 1, Rules::default());
        for (index, oracle) in oracles.iter_mut().enumerate() {
            if mount.store.root().lookup(&name(index)).is_err() {
                *oracle = Oracle::new();
                continue;
            }
            let content = mount.content(index).map_err(|error| format!("file {index}: {error}"))?;
            oracle.allows(&content).map_err(|error| format!("file {index}: {error}"))?;
            oracle.found(content);
        }
        Ok(survivor)
    }
}
