//! From the threads that use keys to the log: a buffer, and a thread that empties it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::log::{self, Anchor, AuditStore};
use super::{AuditEntry, AuditError, AuditKey, AuditRecord, AuditSettings, Outcome};
use crate::model::Clock;

/// How long a record may wait to be written, and so the most that a crash may lose.
const INTERVAL: Duration = Duration::from_millis(500);
/// Bytes that are written at once, without waiting for the interval to end.
const HIGH_WATER: usize = 256 * 1024;
/// Bytes that may wait. Beyond that callers wait, or, if the log cannot be written, records are lost and counted.
const MAX_WAITING: usize = 8 << 20;
/// How often the keystore is told how long the log is.
const ANCHOR_INTERVAL: Duration = Duration::from_secs(60);

/// Remembers, apart from the log, how long it is.
pub type KeepAnchor = Box<dyn Fn(&Anchor) -> Result<(), AuditError> + Send + Sync>;

/// What a [`Recorder`] works with.
pub struct RecorderOptions {
    /// The log.
    pub store: Arc<dyn AuditStore>,
    /// What signs it.
    pub key: AuditKey,
    /// What the records are dated with that the recorder makes itself.
    pub clock: Arc<dyn Clock>,
    /// Who remembers how long the log is.
    pub keep_anchor: KeepAnchor,
}

/// Writes records. Dropping it writes what is left.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

struct Shared {
    options: RecorderOptions,
    state: Mutex<State>,
    /// There is something to write.
    wake: Condvar,
    /// Something was written, or could not be.
    done: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    settings: AuditSettings,
    /// Somebody waits for what is in the buffer, or it is full.
    urgent: bool,
    stop: bool,
    /// The last attempt to write failed.
    failing: bool,
    /// Records that found no room while the log could not be written.
    lost: u64,
    anchored: Option<Instant>,
}

struct Waiting {
    line: Vec<u8>,
    /// Whoever must not go on before the record is durable.
    outcome: Option<Arc<OnceLock<Result<(), AuditError>>>>,
}

impl Recorder {
    /// A recorder for a log that is there. Its thread is started by the first record.
    pub fn new(options: RecorderOptions) -> Self {
        let (state, wake, done) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self { shared: Arc::new(Shared { options, state, wake, done }), thread: Mutex::new(None) }
    }

    /// The log.
    pub fn store(&self) -> &dyn AuditStore {
        &*self.shared.options.store
    }

    /// What signs the log.
    pub fn key(&self) -> &AuditKey {
        &self.shared.options.key
    }

    /// Takes over what the keystore wants.
    pub fn set(&self, settings: &AuditSettings) {
        self.shared.lock().settings.clone_from(settings);
    }

    /// Has a record written within the interval. Does not fail: if the log cannot be written for long, the number of
    /// records that are missing is recorded once it can be.
    pub fn note(&self, entry: &AuditEntry<'_>) {
        self.push(Waiting { line: entry.encode(), outcome: None });
    }

    /// Writes a record, and returns when it is durable.
    pub fn write(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
        let outcome = Arc::new(OnceLock::new());
        self.push(Waiting { line: entry.encode(), outcome: Some(Arc::clone(&outcome)) });
        self.wait_for(&outcome)
    }

    /// Writes what is waiting, and returns when it is durable.
    pub fn flush(&self) -> Result<(), AuditError> {
        let outcome = Arc::new(OnceLock::new());
        self.push(Waiting { line: Vec::new(), outcome: Some(Arc::clone(&outcome)) });
        self.wait_for(&outcome)
    }

    fn wait_for(&self, outcome: &OnceLock<Result<(), AuditError>>) -> Result<(), AuditError> {
        let mut state = self.shared.lock();
        loop {
            if let Some(outcome) = outcome.get() {
                return outcome.clone();
            }
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn push(&self, record: Waiting) {
        let mut state = self.shared.lock();
        while state.waiting_bytes > MAX_WAITING && record.outcome.is_none() {
            if state.failing {
                state.lost += 1;
                return;
            }
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (was_empty, was_urgent) = (state.waiting.is_empty(), state.urgent);
        state.waiting_bytes += record.line.len();
        state.urgent |= record.outcome.is_some() || state.waiting_bytes > HIGH_WATER;
        state.waiting.push(record);
        let ring = was_empty || (state.urgent && !was_urgent);
        drop(state);
        if ring {
            self.start();
            self.shared.wake.notify_one();
        }
    }

    /// Starts the thread once. Where there can be none, whoever waits would wait for ever, so this writes itself.
    fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        match std::thread::Builder::new().name("kms-audit".to_owned()).spawn(move || shared.run()) {
            Ok(started) => *thread = Some(started),
            Err(error) => {
                tracing::error!(%error, "no thread to write the audit log");
                let state = self.shared.lock();
                drop(self.shared.write_waiting(state));
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the audit log panicked");
        }
    }
}

impl Shared {
    // A panic while the lock is held leaves at worst a record out, and is logged.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            while state.waiting.is_empty() && !state.stop {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let since = Instant::now();
            while !state.urgent && !state.stop && since.elapsed() < INTERVAL {
                let left = INTERVAL.saturating_sub(since.elapsed());
                state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            let stop = state.stop;
            state = self.write_waiting(state);
            if stop {
                // What could not be written now never will be.
                let left = state.waiting.len() as u64 + state.lost;
                if left > 0 {
                    tracing::error!(records = left, "audit records could not be written and are lost");
                }
                return;
            }
        }
    }

    /// Writes what waits, without the lock, and tells those who wait for it.
    fn write_waiting<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let mut taken = std::mem::take(&mut state.waiting);
        let (settings, lost) = (state.settings.clone(), std::mem::take(&mut state.lost));
        let anchor_is_due = state.anchored.is_none_or(|at| at.elapsed() >= ANCHOR_INTERVAL);
        (state.waiting_bytes, state.urgent) = (0, false);
        drop(state);

        let result = self.append(&taken, lost, &settings, anchor_is_due);
        for waiter in taken.iter().filter_map(|record| record.outcome.as_ref()) {
            // Set once: a record is written or refused, and then forgotten.
            let _ = waiter.set(result.clone().map(drop));
        }
        let mut state = self.lock();
        match result {
            Ok(anchored) => {
                state.failing = false;
                if anchored {
                    state.anchored = Some(Instant::now());
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut state.failing, true) {
                    tracing::error!(%error, "the audit log cannot be written");
                }
                // What was refused for want of its record did not happen; what did happen is tried again.
                taken.retain(|record| record.outcome.is_none());
                let newer = std::mem::replace(&mut state.waiting, taken);
                state.waiting.extend(newer);
                state.waiting_bytes = state.waiting.iter().map(|record| record.line.len()).sum();
                state.lost += lost;
            }
        }
        self.done.notify_all();
        state
    }

    /// Appends to the log. Returns whether the keystore was told how long it is now.
    fn append(
        &self,
        records: &[Waiting],
        lost: u64,
        settings: &AuditSettings,
        anchor_is_due: bool,
    ) -> Result<bool, AuditError> {
        let note_of_loss = (lost > 0).then(|| self.note_of_loss(lost));
        let lines = records.iter().map(|record| record.line.as_slice()).chain(note_of_loss.as_deref());
        let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            return Ok(false);
        }
        let RecorderOptions { store, key, clock, keep_anchor } = &self.options;
        let head = log::append(&**store, key, settings, &lines, clock.now())?;
        if !anchor_is_due {
            return Ok(false);
        }
        tracing::info!(log = %head.log_id, records = head.next, hash = %head.hash, "audit log");
        match keep_anchor(&Anchor::of(&head)) {
            Ok(()) => Ok(true),
            // The record is written; how long the log is will be told next time.
            Err(error) => {
                tracing::warn!(%error, "the keystore could not be told how long the audit log is");
                Ok(false)
            }
        }
    }

    fn note_of_loss(&self, lost: u64) -> Vec<u8> {
        let count = lost.to_string();
        let entry = AuditEntry {
            time: self.options.clock.now().as_millis(),
            request_id: "-",
            operation: AuditRecord::LOST,
            principal: "-",
            resource: Some(&count),
            ..AuditEntry::default()
        };
        entry.with_outcome(Outcome::Success).encode()
    }
}
