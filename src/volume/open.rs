//! An opened volume.

use std::ffi::OsStr;
use std::sync::Arc;

use kms_core::client::KeyService;
use kms_core::model::Caller;
use parking_lot::Mutex;

use super::lock::{LockOutcome, VolumeLock};
use super::{Holder, JOURNAL_DIR, SUPERBLOCK_NAME, VolumeError};
use crate::config::VolumeConfig;
use crate::file::{FileContext, FileContextParts};
use crate::format::{
    FormatError, NameMode, SUPERBLOCK_LEN, SessionEvent, SessionNumber, Superblock, VOLUME_DIR, VolumeId,
};
use crate::journal::sessions::SessionLog;
use crate::journal::{self, Journal, RecoveryReport};
use crate::keys::{Connection, KeyRing, KeyRingOptions, KeyServices};
use crate::store::{BackingNode, BackingStore, FileAccess, NodeRef, host_name};

/// The part of the free space that a new journal takes at most.
const JOURNAL_SHARE: u64 = 16;
/// Length of the journal's ring if nobody says otherwise, in bytes.
pub const DEFAULT_JOURNAL_LEN: u64 = 64 << 20;

/// What a volume is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// To read and write files, as the only one.
    Exclusive,
    /// To read files. On a backing directory that can be written, nobody else may have the volume open, and a
    /// crashed session is recovered first.
    ReadOnly,
    /// To work on headers and records, also beside a process that has the volume open.
    Maintenance,
}

/// How a volume is opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// What for.
    pub mode: OpenMode,
    /// Length of the journal's ring in bytes.
    pub journal_len: u64,
    /// Limits of the key ring.
    pub keys: KeyRingOptions,
}

impl OpenOptions {
    /// The usual limits.
    pub fn new(mode: OpenMode) -> Self {
        Self { mode, journal_len: DEFAULT_JOURNAL_LEN, keys: KeyRingOptions::default() }
    }
}

/// A session that crashed, and what its recovery did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The session.
    pub session: SessionNumber,
    /// What was replayed.
    pub report: RecoveryReport,
}

/// A volume that is open. Dropping it without [`Self::close`] is what a crash is: the next open recovers.
pub struct OpenVolume {
    config: VolumeConfig,
    store: Arc<dyn BackingStore>,
    root: NodeRef,
    volume_dir: NodeRef,
    keys: Arc<KeyRing>,
    context: Arc<FileContext>,
    session: Option<Session>,
    recovered: Option<Recovered>,
    live: Option<Holder>,
    /// Declared last: given up after everything else.
    lock: Option<VolumeLock>,
}

/// The running session of a volume that is open for writing.
struct Session {
    number: SessionNumber,
    log: Mutex<SessionLog>,
    journal_dir: NodeRef,
}

impl std::fmt::Debug for OpenVolume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenVolume").field("volume", &self.config.volume_id).finish_non_exhaustive()
    }
}

/// Reads the configuration of the volume in `store`. Nothing is authenticated.
///
/// # Errors
/// [`VolumeError::NotAVolume`], or why this program cannot read the volume.
fn read_config(root: &dyn BackingNode) -> Result<(NodeRef, VolumeConfig), VolumeError> {
    let not_found = |error: crate::store::StoreError| {
        if error.is_not_found() { VolumeError::NotAVolume } else { error.into() }
    };
    let volume_dir = root.lookup(OsStr::new(VOLUME_DIR)).map_err(not_found)?;
    let node = volume_dir.lookup(OsStr::new(SUPERBLOCK_NAME)).map_err(not_found)?;
    let mut bytes = [0; SUPERBLOCK_LEN];
    if node.open_file(FileAccess::Read)?.read_at(&mut bytes, 0)? != SUPERBLOCK_LEN {
        let source = FormatError::Short("superblock");
        return Err(VolumeError::Damaged { what: "the superblock", source });
    }
    Ok((volume_dir, VolumeConfig::parse(&bytes)?))
}

impl OpenVolume {
    /// Opens the volume in `store` with the usual limits.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(
        store: Arc<dyn BackingStore>,
        service: Arc<dyn KeyService>,
        caller: Caller,
        mode: OpenMode,
    ) -> Result<Self, VolumeError> {
        Self::open_with(store, service, caller, &OpenOptions::new(mode))
    }

    /// Opens the volume in `store`.
    ///
    /// # Errors
    /// [`VolumeError`]: no volume, one of a later format, in use, a KMS key that cannot be used, changed from
    /// outside, or what the backing directory says.
    pub fn open_with(
        store: Arc<dyn BackingStore>,
        service: Arc<dyn KeyService>,
        caller: Caller,
        options: &OpenOptions,
    ) -> Result<Self, VolumeError> {
        Self::open_at(store, Arc::new(Connection { service, caller }), options)
    }

    /// As [`Self::open_with`], with keys at any service.
    ///
    /// # Errors
    /// As there.
    pub fn open_at(
        store: Arc<dyn BackingStore>,
        services: Arc<dyn KeyServices>,
        options: &OpenOptions,
    ) -> Result<Self, VolumeError> {
        let root = store.root();
        let (volume_dir, config) = read_config(&*root)?;
        if options.mode != OpenMode::ReadOnly {
            config.require_writable().map_err(|error| match VolumeError::from(error) {
                VolumeError::UnknownFeature { bits, .. } => {
                    VolumeError::UnknownFeature { bits, readable: true }
                }
                other => other,
            })?;
        }
        let (lock, live) = take_lock(&*volume_dir, options.mode)?;
        let keys = KeyRing::load(services, Arc::clone(&volume_dir), config.superblock(), options.keys)?;
        let root_keys = keys.domain_keys(config.root_domain)?;
        config.verify(&root_keys.mac)?;
        let mut opening = Opening {
            store,
            volume_dir,
            config,
            keys,
            log_mac: root_keys.mac.clone(),
            journal_keys: Arc::clone(&root_keys.journal),
        };
        let recovered = if live.is_some() { None } else { opening.recover(lock.as_ref())? };
        let (context, session) = opening.begin(options, lock.as_ref())?;
        let Opening { store, volume_dir, config, keys, .. } = opening;
        Ok(Self { config, store, root, volume_dir, keys, context, session, recovered, live, lock })
    }

    /// The superblock.
    pub fn superblock(&self) -> &Superblock {
        self.config.superblock()
    }

    /// The volume.
    pub fn volume_id(&self) -> VolumeId {
        self.config.volume_id
    }

    /// Whether names are encrypted.
    pub fn name_mode(&self) -> NameMode {
        self.config.name_mode
    }

    /// The keys.
    pub fn keys(&self) -> &Arc<KeyRing> {
        &self.keys
    }

    /// What the open files share.
    pub fn context(&self) -> &Arc<FileContext> {
        &self.context
    }

    /// The backing directory of the volume's root.
    pub fn root(&self) -> NodeRef {
        Arc::clone(&self.root)
    }

    /// The directory of kmsfs's own files.
    pub fn volume_dir(&self) -> NodeRef {
        Arc::clone(&self.volume_dir)
    }

    /// The backing directory.
    pub fn store(&self) -> &Arc<dyn BackingStore> {
        &self.store
    }

    /// The running session, if files can be written.
    pub fn session(&self) -> Option<SessionNumber> {
        self.session.as_ref().map(|session| session.number)
    }

    /// The session that was recovered while opening, if one had crashed.
    pub fn recovered(&self) -> Option<&Recovered> {
        self.recovered.as_ref()
    }

    /// Who else has the volume open; only under [`OpenMode::Maintenance`].
    pub fn live(&self) -> Option<&Holder> {
        self.live.as_ref()
    }

    /// Whether nobody else can have the volume open for writing.
    pub fn is_exclusive(&self) -> bool {
        self.lock.is_some()
    }

    /// Puts everything in place, makes it durable, and records that the session ended well.
    ///
    /// # Errors
    /// [`VolumeError`]; the session counts as crashed then, and the next open recovers it.
    pub fn close(self) -> Result<(), VolumeError> {
        if let Some(session) = &self.session {
            self.context.checkpoint()?;
            self.store.sync_all()?;
            // Where that does nothing, files that nobody synced may still be torn: the next session has to know.
            if self.store.syncs_all() {
                session.log.lock().append(session.number, SessionEvent::Clean, &host_name())?;
                journal::discard(&*session.journal_dir, session.number)?;
            }
        }
        self.keys.shutdown();
        Ok(())
    }
}

fn take_lock(
    volume_dir: &dyn BackingNode,
    mode: OpenMode,
) -> Result<(Option<VolumeLock>, Option<Holder>), VolumeError> {
    match (VolumeLock::acquire(volume_dir)?, mode) {
        (LockOutcome::Held(lock), _) => Ok((Some(lock), None)),
        (LockOutcome::Taken(holder), OpenMode::Maintenance) => Ok((None, Some(holder))),
        (LockOutcome::Taken(holder), _) => Err(VolumeError::InUse(holder)),
        (LockOutcome::ReadOnly, OpenMode::ReadOnly) => Ok((None, None)),
        (LockOutcome::ReadOnly, _) => Err(VolumeError::ReadOnlyBacking),
    }
}

/// A volume whose keys are open and whose session has not begun.
struct Opening {
    store: Arc<dyn BackingStore>,
    volume_dir: NodeRef,
    config: VolumeConfig,
    keys: Arc<KeyRing>,
    log_mac: crate::crypto::MacKey,
    journal_keys: Arc<crate::crypto::JournalKeys>,
}

impl Opening {
    fn log(&self, access: FileAccess) -> Result<SessionLog, VolumeError> {
        Ok(SessionLog::open(&*self.volume_dir, self.log_mac.clone(), access)?)
    }

    /// The length of a new journal: what was asked for, but no large part of a small disk.
    fn journal_len(&self, options: &OpenOptions) -> Result<u64, VolumeError> {
        let space = self.store.space()?;
        let free = space.available.saturating_mul(u64::from(space.block_size));
        Ok(options.journal_len.min(free / JOURNAL_SHARE))
    }

    fn journal_dir(&self) -> Result<NodeRef, VolumeError> {
        Ok(self.volume_dir.lookup(OsStr::new(JOURNAL_DIR))?)
    }

    /// Recovers the last session if it crashed. May itself crash at any point.
    fn recover(&mut self, lock: Option<&VolumeLock>) -> Result<Option<Recovered>, VolumeError> {
        let Some((session, SessionEvent::Start)) = self.log(FileAccess::Read)?.history().last() else {
            return Ok(None);
        };
        if lock.is_none() {
            return Err(VolumeError::NeedsRecovery { session });
        }
        let mut log = self.log(FileAccess::ReadWrite)?;
        let journal_dir = self.journal_dir()?;
        let volume_id = self.config.volume_id;
        let report = journal::recover(&*self.store, &*journal_dir, volume_id, session, &self.journal_keys)?;
        self.store.sync_all()?;
        log.append(session, SessionEvent::Recovered, &host_name())?;
        journal::discard(&*journal_dir, session)?;
        let RecoveryReport { chunks, blocks, files, gone } = report;
        tracing::warn!(session = session.0, chunks, blocks, files, gone, "recovered a session that crashed");
        Ok(Some(Recovered { session, report }))
    }

    /// Begins a session if files are to be written.
    fn begin(
        &self,
        options: &OpenOptions,
        lock: Option<&VolumeLock>,
    ) -> Result<(Arc<FileContext>, Option<Session>), VolumeError> {
        let writing = options.mode == OpenMode::Exclusive;
        let mut log = self.log(if writing { FileAccess::ReadWrite } else { FileAccess::Read })?;
        let history = log.history();
        let last = history.last().map_or(0, |(session, _)| session.0);
        let number = SessionNumber(last.checked_add(1).ok_or(VolumeError::NoSessionsLeft)?);
        if let Some(lock) = lock {
            lock.sign(if writing { number } else { SessionNumber(0) })?;
        }
        let (session, journal) = if writing {
            let journal_dir = self.journal_dir()?;
            log.append(number, SessionEvent::Start, &host_name())?;
            let journal = Journal::create(
                &*journal_dir,
                self.config.volume_id,
                number,
                Arc::clone(&self.journal_keys),
                self.journal_len(options)?,
            )?;
            (Some(Session { number, log: Mutex::new(log), journal_dir }), Some(journal))
        } else {
            (None, None)
        };
        let context = FileContext::new(FileContextParts {
            volume_id: self.config.volume_id,
            session: number,
            history,
            keys: Arc::clone(&self.keys) as _,
            journal,
        });
        Ok((context, session))
    }
}
