//! What the open files of one volume share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::entries::SharedPages;
use super::{EncryptedFile, FileError};
use crate::format::{SessionNumber, VolumeId};
use crate::journal::sessions::SessionHistory;
use crate::journal::{Journal, Reservation};
use crate::keys::FileKeyProvider;
use crate::store::StoreError;

/// Files up to this size have all their entries checked when they are opened.
const VERIFIED_AT_OPEN: u64 = 64 << 20;
/// Opens of different inodes run at the same time, opens of one inode one after the other.
const OPEN_LOCKS: usize = 64;

/// What a [`FileContext`] is made of.
pub struct FileContextParts {
    /// The volume.
    pub volume_id: VolumeId,
    /// The running session.
    pub session: SessionNumber,
    /// The sessions before it.
    pub history: Arc<SessionHistory>,
    /// Where keys come from.
    pub keys: Arc<dyn FileKeyProvider>,
    /// The journal of the session; `None` opens everything read-only.
    pub journal: Option<Arc<Journal>>,
}

/// The rules of the write protocol. All hold, always; only the crash tests build the library so that one can
/// be switched off, to prove that they would notice.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub(super) write_ahead: bool,
    pub(super) retire: bool,
    pub(super) tail_with_cut: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { write_ahead: true, retire: true, tail_with_cut: true }
    }
}

#[cfg(feature = "dangerous-ablation")]
impl Rules {
    /// Protected blocks are overwritten in place before their images are durable.
    pub fn dangerous_without_write_ahead() -> Self {
        Self { write_ahead: false, ..Self::default() }
    }

    /// A file leaves the journal before its cut is retired.
    pub fn dangerous_without_retire() -> Self {
        Self { retire: false, ..Self::default() }
    }

    /// A cut and the new image of the block that it falls into go into two chunks.
    pub fn dangerous_with_split_cut() -> Self {
        Self { tail_with_cut: false, ..Self::default() }
    }
}

/// What the open files of one volume share: keys, journal, and which of them have journalled changes that are
/// not in place yet.
///
/// Lock order: `checkpoint`, a file's `sync`, a file's `state`, then the maps here and the journal's own.
pub struct FileContext {
    pub(super) volume_id: VolumeId,
    pub(super) session: SessionNumber,
    pub(super) history: Arc<SessionHistory>,
    pub(super) keys: Arc<dyn FileKeyProvider>,
    pub(super) journal: Option<Arc<Journal>>,
    pub(super) rules: Rules,
    pub(super) checkpoint: Mutex<()>,
    /// Files with journalled changes; kept open until these are in place.
    pub(super) pending: Mutex<BTreeMap<u32, Arc<EncryptedFile>>>,
    pub(super) entry_pages: Arc<SharedPages>,
    /// No `Arc` is dropped while this is locked.
    files: Mutex<OpenFiles>,
    open_locks: [Mutex<()>; OPEN_LOCKS],
    next_ref: AtomicU32,
    verify_all: AtomicBool,
}

/// All open files.
#[derive(Default)]
struct OpenFiles {
    by_ino: HashMap<u64, Weak<EncryptedFile>>,
    /// How many were closed so far.
    closed: u64,
}

impl FileContext {
    /// A context for the files of one session.
    pub fn new(parts: FileContextParts) -> Arc<Self> {
        Self::with_rules(parts, Rules::default())
    }

    /// As [`Self::new`], under rules of the caller's choice.
    pub fn with_rules(parts: FileContextParts, rules: Rules) -> Arc<Self> {
        Arc::new(Self {
            volume_id: parts.volume_id,
            session: parts.session,
            history: parts.history,
            keys: parts.keys,
            journal: parts.journal,
            rules,
            checkpoint: Mutex::new(()),
            pending: Mutex::new(BTreeMap::new()),
            entry_pages: SharedPages::new(),
            files: Mutex::default(),
            open_locks: std::array::from_fn(|_| Mutex::new(())),
            next_ref: AtomicU32::new(1),
            verify_all: AtomicBool::new(false),
        })
    }

    /// From here on, opening a file of any size verifies all of its entries.
    pub fn verify_all(&self) {
        self.verify_all.store(true, Ordering::Relaxed);
    }

    /// Whether a file of `size` bytes has all its entries verified when it is opened.
    pub(super) fn verifies(&self, size: u64) -> bool {
        size <= VERIFIED_AT_OPEN || self.verify_all.load(Ordering::Relaxed)
    }

    /// The open file of inode `ino`, if there is one: it knows changes that the backing file does not show yet.
    pub fn live(&self, ino: u64) -> Option<Arc<EncryptedFile>> {
        self.files.lock().by_ino.get(&ino).and_then(Weak::upgrade)
    }

    /// How many files were closed so far, for [`Self::was_closed_since`].
    pub fn closed_files(&self) -> u64 {
        self.files.lock().closed
    }

    /// Whether the file of inode `ino` is closed now and was so all the time since [`Self::closed_files`] said
    /// `closed`: then the backing file has shown its size all the time. It may have been so where this says no.
    pub fn was_closed_since(&self, ino: u64, closed: u64) -> bool {
        let files = self.files.lock();
        files.closed == closed && !files.by_ino.contains_key(&ino)
    }

    /// The plain size of the open file of inode `ino`, if there is one. Attributes of any file must use it
    /// where it is given.
    pub fn live_size(&self, ino: u64) -> Option<u64> {
        self.live(ino).map(|file| file.size())
    }

    /// All open files.
    pub fn all_live(&self) -> Vec<Arc<EncryptedFile>> {
        self.files.lock().by_ino.values().filter_map(Weak::upgrade).collect()
    }

    /// Whether a flush failed, so that the volume is read-only from here on.
    pub fn is_failed(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.check().is_err())
    }

    pub(super) fn next_ref(&self) -> u32 {
        self.next_ref.fetch_add(1, Ordering::Relaxed)
    }

    /// Finds the open file of `ino` or opens it; one at a time for each inode.
    pub(super) fn find_or_open(
        &self,
        ino: u64,
        open: impl FnOnce() -> Result<Arc<EncryptedFile>, FileError>,
    ) -> Result<Arc<EncryptedFile>, FileError> {
        let _one_at_a_time = self.open_locks[ino as usize % OPEN_LOCKS].lock();
        if let Some(file) = self.live(ino) {
            return Ok(file);
        }
        let file = open()?;
        let replaced = self.files.lock().by_ino.insert(ino, Arc::downgrade(&file));
        drop(replaced);
        Ok(file)
    }

    /// Called when the last user of a file is gone.
    pub(super) fn forget(&self, ino: u64) {
        let mut files = self.files.lock();
        if files.by_ino.get(&ino).is_some_and(|file| file.strong_count() == 0) {
            files.by_ino.remove(&ino);
        }
        files.closed += 1;
    }

    /// The journal, or the error of a read-only volume.
    pub(super) fn journal(&self) -> Result<&Arc<Journal>, FileError> {
        self.journal.as_ref().ok_or(FileError::ReadOnly)
    }

    /// Room for `pages` images in the journal, by a checkpoint if there is none. No content lock may be held.
    pub(super) fn reserve(&self, pages: u64) -> Result<Reservation<'_>, FileError> {
        let journal = self.journal()?;
        journal.check()?;
        if journal.wants_checkpoint() && self.checkpoint.try_lock().is_some() {
            self.checkpoint()?;
        }
        loop {
            if let Some(room) = journal.reserve(pages) {
                return Ok(room);
            }
            self.checkpoint()?;
        }
    }

    /// Remembers that a flush failed: what it should have made durable may be lost.
    pub(super) fn fail(&self, error: StoreError) -> StoreError {
        tracing::error!(%error, "a flush failed; the volume is read-only until it is mounted again");
        if let Some(journal) = &self.journal {
            journal.fail(error.kind);
        }
        error
    }
}
