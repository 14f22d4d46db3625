//! Writing the journal.

use std::ffi::{OsStr, OsString};
use std::io::IoSlice;
use std::sync::Arc;

use parking_lot::Mutex;

use super::JournalError;
use crate::crypto::JournalKeys;
use crate::format::{
    ChunkHeader, JournalHeader, Lsn, MAX_CHUNK_PAGES, MAX_CHUNK_RECORDS, PAGE, PAGE_U64, Record, RecordBody,
    SessionNumber, VolumeId,
};
use crate::store::{BackingNode, FileAccess, FileRef, RenameMode, StoreError, StoreErrorKind};

/// The smallest ring: two of the largest chunks and room to work.
pub const MIN_RING_LEN: u64 = 4 * MAX_CHUNK_LEN;
const MAX_CHUNK_LEN: u64 = (1 + MAX_CHUNK_PAGES as u64) * PAGE_U64;
pub(super) const RING_AT: u64 = 2 * PAGE_U64;
const SPARE: &str = "spare";

pub(super) fn file_name(session: SessionNumber) -> OsString {
    OsString::from(session.0.to_string())
}

/// A chunk in the making: records and the payload pages that they name.
#[derive(Debug, Default)]
pub struct ChunkDraft {
    records: Vec<Record>,
    places: usize,
    payload: Vec<u8>,
}

impl ChunkDraft {
    /// An empty draft.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `places` more record places and one more payload page fit.
    pub fn has_room(&self, places: usize) -> bool {
        self.places + places <= MAX_CHUNK_RECORDS && self.payload.len() / PAGE < MAX_CHUNK_PAGES
    }

    /// Whether there is no record in it.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Adds a payload page and lets `fill` write into it; returns its index.
    pub fn add_page(&mut self, fill: impl FnOnce(&mut [u8])) -> u16 {
        let at = self.payload.len();
        self.payload.resize(at + PAGE, 0);
        fill(&mut self.payload[at..]);
        (at / PAGE) as u16
    }

    /// Adds a record.
    pub fn push(&mut self, file_ref: u32, body: RecordBody) {
        let record = Record { file_ref, body };
        self.places += record.places();
        self.records.push(record);
    }
}

/// Where a chunk went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its number.
    pub lsn: Lsn,
    /// Offset of its first payload page in the journal file.
    pub payload_offset: u64,
}

#[derive(Debug)]
struct Head {
    next_lsn: Lsn,
    /// Where the next chunk goes, from the beginning of the ring.
    offset: u64,
    /// Bytes between the durable start and the head, gaps at the ring's end included.
    used: u64,
    /// Bytes promised to writers.
    reserved: u64,
    failed: Option<StoreErrorKind>,
}

#[derive(Debug)]
struct Start {
    lsn: Lsn,
    generation: u64,
}

/// The journal of the running session.
pub struct Journal {
    file: FileRef,
    keys: Arc<JournalKeys>,
    volume_id: VolumeId,
    session: SessionNumber,
    ring_len: u64,
    /// Held while a flush runs, so that those who wait share it; taken before `head`.
    durable: Mutex<Lsn>,
    /// Held while the header is written; taken before `durable` and `head`.
    start: Mutex<Start>,
    /// Held while a chunk is written; the last lock of all.
    head: Mutex<Head>,
}

/// Room in the ring, given back when it is dropped.
pub struct Reservation<'a> {
    journal: &'a Journal,
    bytes: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.journal.head.lock().reserved -= self.bytes;
    }
}

/// A position up to which everything may be forgotten once it is in place.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    lsn: Lsn,
    offset: u64,
    used: u64,
}

impl Mark {
    /// The last chunk before the mark.
    pub fn last_lsn(&self) -> Lsn {
        Lsn(self.lsn.0 - 1)
    }
}

impl Journal {
    /// Creates the journal of `session`, or takes over the file that the last clean session left. Durable
    /// when it returns.
    ///
    /// # Errors
    /// The backing directory's.
    pub fn create(
        dir: &dyn BackingNode,
        volume_id: VolumeId,
        session: SessionNumber,
        keys: Arc<JournalKeys>,
        ring_len: u64,
    ) -> Result<Arc<Self>, JournalError> {
        let name = file_name(session);
        let file = match dir.rename(OsStr::new(SPARE), dir, &name, RenameMode::Replace) {
            Ok(()) => dir.lookup(&name)?.open_file(FileAccess::ReadWrite)?,
            Err(error) if error.is_not_found() => dir.create_file(&name, 0o600)?.1,
            Err(error) => return Err(error.into()),
        };
        let ring_len = prepare(&file, ring_len.max(MIN_RING_LEN) / PAGE_U64 * PAGE_U64)?;
        let journal = Self {
            file,
            keys,
            volume_id,
            session,
            ring_len,
            durable: Mutex::new(Lsn(0)),
            start: Mutex::new(Start { lsn: Lsn(1), generation: 0 }),
            head: Mutex::new(Head { next_lsn: Lsn(1), offset: 0, used: 0, reserved: 0, failed: None }),
        };
        journal.write_header(&mut journal.start.lock(), Lsn(1), 0)?;
        journal.write_header(&mut journal.start.lock(), Lsn(1), 0)?;
        dir.sync_dir()?;
        Ok(Arc::new(journal))
    }

    fn write_header(&self, start: &mut Start, lsn: Lsn, offset: u64) -> Result<(), JournalError> {
        let mut header = JournalHeader {
            volume_id: self.volume_id,
            session: self.session,
            generation: start.generation + 1,
            ring_len: self.ring_len,
            start_lsn: lsn,
            start_offset: offset,
            mac: [0; 16],
        };
        header.mac = self.keys.mac.mac16(&[&header.mac_input()]);
        let page = header.generation % 2;
        self.guarded(|| self.file.write_at(&header.encode(), page * PAGE_U64))?;
        self.guarded(|| self.file.sync_data())?;
        *start = Start { lsn, generation: header.generation };
        Ok(())
    }

    /// Runs a backing call whose failure makes the journal useless for good.
    fn guarded<T>(&self, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, JournalError> {
        call().map_err(|error| {
            self.head.lock().failed.get_or_insert(error.kind);
            JournalError::Store(error)
        })
    }

    /// An error once a flush has failed.
    ///
    /// # Errors
    /// [`JournalError::Failed`].
    pub fn check(&self) -> Result<(), JournalError> {
        self.head.lock().failed.map_or(Ok(()), |kind| Err(JournalError::Failed(kind)))
    }

    /// Makes every later call fail, because a flush of a file failed with `kind`.
    pub fn fail(&self, kind: StoreErrorKind) {
        self.head.lock().failed.get_or_insert(kind);
    }

    /// Promises room for `pages` images and their chunks' header pages; `None` if a checkpoint has to make
    /// room first. To be asked for before any content lock is taken.
    pub fn reserve(&self, pages: u64) -> Option<Reservation<'_>> {
        let chunks = pages / (MAX_CHUNK_PAGES as u64 - 8) + 2;
        let bytes = (pages + chunks) * PAGE_U64;
        let mut head = self.head.lock();
        let limit = self.ring_len - MAX_CHUNK_LEN;
        if head.used + head.reserved + bytes > limit {
            return None;
        }
        head.reserved += bytes;
        drop(head);
        Some(Reservation { journal: self, bytes })
    }

    /// The most pages that [`Self::reserve`] can grant at once.
    pub fn max_reservation(&self) -> u64 {
        (self.ring_len - MAX_CHUNK_LEN) / PAGE_U64 / 2 - 4
    }

    /// Whether half of the ring is used.
    pub fn wants_checkpoint(&self) -> bool {
        self.head.lock().used > self.ring_len / 2
    }

    /// Whether nothing has to be replayed.
    pub fn is_empty(&self) -> bool {
        self.head.lock().used == 0
    }

    /// Appends a chunk under a reservation. Not durable before [`Self::sync_to`].
    ///
    /// # Errors
    /// The backing directory's; the chunk does not count then.
    pub fn append(&self, draft: &ChunkDraft, _room: &Reservation<'_>) -> Result<Placed, JournalError> {
        let pages = draft.payload.len() / PAGE;
        let bytes = (1 + pages as u64) * PAGE_U64;
        let mut head = self.head.lock();
        if let Some(kind) = head.failed {
            return Err(JournalError::Failed(kind));
        }
        // A ring that is used to its last byte wraps without a gap.
        let wraps = head.offset + bytes > self.ring_len;
        let gap = if wraps { self.ring_len - head.offset } else { 0 };
        let offset = if wraps { 0 } else { head.offset };
        let header = ChunkHeader {
            lsn: head.next_lsn,
            session: self.session,
            page_count: pages as u16,
            records: draft.records.clone(),
            mac: [0; 16],
            payload_tag: self.keys.payload_tag(self.session.0, head.next_lsn.0, &draft.payload),
        };
        let mut page = header.encode()?;
        let mac = self.keys.mac.mac16(&ChunkHeader::mac_input(&page));
        ChunkHeader::put_mac(&mut page, &mac);
        let at = RING_AT + offset;
        self.file.write_vectored_at(&[IoSlice::new(&page), IoSlice::new(&draft.payload)], at)?;
        let lsn = head.next_lsn;
        head.next_lsn = Lsn(lsn.0 + 1);
        head.offset = offset + bytes;
        head.used += gap + bytes;
        Ok(Placed { lsn, payload_offset: at + PAGE_U64 })
    }

    /// Reads payload pages that [`Self::append`] placed one behind the other, from `offset` on.
    ///
    /// # Errors
    /// The backing directory's.
    pub fn read_pages(&self, offset: u64, out: &mut [u8]) -> Result<(), JournalError> {
        self.file.read_at(out, offset)?;
        Ok(())
    }

    /// The number of the last chunk, 0 if there is none.
    pub fn last_lsn(&self) -> Lsn {
        Lsn(self.head.lock().next_lsn.0 - 1)
    }

    /// Makes all chunks up to `lsn` durable; those who call at the same time share one flush.
    ///
    /// # Errors
    /// [`JournalError`]; the journal has failed for good then.
    pub fn sync_to(&self, lsn: Lsn) -> Result<(), JournalError> {
        let mut durable = self.durable.lock();
        if *durable >= lsn {
            return Ok(());
        }
        self.check()?;
        let reached = self.last_lsn();
        self.guarded(|| self.file.sync_data())?;
        *durable = reached;
        Ok(())
    }

    /// Whether all chunks up to `lsn` are durable.
    pub fn is_durable(&self, lsn: Lsn) -> bool {
        *self.durable.lock() >= lsn
    }

    /// The present end of the journal, to be passed to [`Self::advance`] when all before it is in place.
    pub fn mark(&self) -> Mark {
        let head = self.head.lock();
        Mark { lsn: head.next_lsn, offset: head.offset, used: head.used }
    }

    /// Declares everything before `mark` in place and durable: it is not replayed any more. Durable when it
    /// returns.
    ///
    /// # Errors
    /// [`JournalError`]; the journal has failed for good then.
    pub fn advance(&self, mark: &Mark) -> Result<(), JournalError> {
        let mut start = self.start.lock();
        self.write_header(&mut start, mark.lsn, mark.offset)?;
        self.head.lock().used -= mark.used;
        Ok(())
    }

    /// The first chunk that a crash would replay.
    pub fn start_lsn(&self) -> Lsn {
        self.start.lock().lsn
    }
}

/// Gives a new journal file a ring of `ring_len` bytes; one that was used before keeps its own. Returns the length.
///
/// The ring is written with zeros, once in the life of a volume: a commit into space that was only allocated would
/// make the backing file system commit metadata as well.
fn prepare(file: &FileRef, ring_len: u64) -> Result<u64, StoreError> {
    let had = file.stat()?.size;
    if had >= RING_AT + MIN_RING_LEN && had % PAGE_U64 == 0 {
        return Ok(had - RING_AT);
    }
    let len = RING_AT + ring_len;
    file.set_len(len)?;
    match file.allocate(0, len) {
        // Without allocation the zeros show a full disk.
        Ok(()) | Err(StoreError { kind: StoreErrorKind::Unsupported, .. }) => {}
        Err(error) => return Err(error),
    }
    if ring_len <= MIN_RING_LEN {
        return Ok(ring_len);
    }
    let zeros = vec![0; 1 << 20];
    let mut at = had.min(len);
    while at < len {
        let step = (len - at).min(zeros.len() as u64);
        file.write_at(&zeros[..step as usize], at)?;
        at += step;
    }
    Ok(ring_len)
}

/// Puts the journal of a session that is over aside for the next one.
///
/// # Errors
/// The backing directory's.
pub fn discard(dir: &dyn BackingNode, session: SessionNumber) -> Result<(), JournalError> {
    match dir.rename(&file_name(session), dir, OsStr::new(SPARE), RenameMode::Replace) {
        Ok(()) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
