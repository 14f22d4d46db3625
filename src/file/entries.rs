//! Entries in place, with a bounded cache, and the sums over them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lru::LruCache;
use parking_lot::Mutex;

use super::FileError;
use crate::crypto::{EntrySum, SumKey};
use crate::format::geometry::{GROUP_BLOCKS, HEAD_BLOCKS, HEAD_ENTRIES_OFFSET, entry_page_offset, group_of};
use crate::format::{BlockIndex, ENTRY_LEN, Entry, FormatError, PAGE, SessionNumber};
use crate::store::FileRef;

/// Entry pages that every open file may keep: 64 KiB, enough for 8 MiB of data.
const OWN_PAGES: usize = 16;
/// Entry pages that the open files of a volume keep beyond these, together: 32 MiB, enough for 4 GiB of data.
const SHARED_PAGES: usize = 8192;
const HEAD_ENTRIES_LEN: usize = HEAD_BLOCKS as usize * ENTRY_LEN;

/// Where the entries of a stretch lie: the header page or the entry page of a group.
fn stretch_key(block: BlockIndex) -> u64 {
    group_of(block).map_or(0, |group| group + 1)
}

/// First block and offset of the entries of a stretch.
fn stretch_place(key: u64) -> (u64, u64, usize) {
    match key.checked_sub(1) {
        None => (0, HEAD_ENTRIES_OFFSET, HEAD_ENTRIES_LEN),
        Some(group) => (HEAD_BLOCKS + GROUP_BLOCKS * group, entry_page_offset(group), PAGE),
    }
}

/// The entries in the header page `page`.
pub(super) fn head_entries(page: &[u8]) -> &[u8] {
    &page[HEAD_ENTRIES_OFFSET as usize..][..HEAD_ENTRIES_LEN]
}

/// Entry pages that the open files of a volume may keep beyond their own share.
#[derive(Debug)]
pub(super) struct SharedPages(AtomicUsize);

impl SharedPages {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(SHARED_PAGES)))
    }

    fn take(&self) -> bool {
        let take = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, pages: usize) {
        self.0.fetch_add(pages, Ordering::Relaxed);
    }
}

/// Entry pages by stretch, those used longest ago first out.
struct Kept {
    pages: LruCache<u64, Box<[u8]>>,
    /// How many of them are of the shared ones.
    borrowed: usize,
    shared: Arc<SharedPages>,
}

impl Kept {
    fn put(&mut self, key: u64, page: Box<[u8]>) {
        if self.pages.len() >= OWN_PAGES + self.borrowed && !self.pages.contains(&key) {
            if self.shared.take() {
                self.borrowed += 1;
            } else {
                self.pages.pop_lru();
            }
        }
        self.pages.put(key, page);
    }

    fn clear(&mut self) {
        self.pages.clear();
        self.shared.give_back(std::mem::take(&mut self.borrowed));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The entries in place of one file.
pub(super) struct EntryTable {
    kept: Mutex<Kept>,
}

impl EntryTable {
    /// A table that knows nothing yet but the entries in the header page, if they are given.
    pub(super) fn new(shared: &Arc<SharedPages>, head: Option<Box<[u8]>>) -> Self {
        let mut kept = Kept { pages: LruCache::unbounded(), borrowed: 0, shared: Arc::clone(shared) };
        if let Some(head) = head {
            kept.put(0, head);
        }
        Self { kept: Mutex::new(kept) }
    }

    /// The entry in place of `block`, in a backing file of `backing_len` bytes.
    pub(super) fn get(
        &self,
        file: &FileRef,
        backing_len: u64,
        block: BlockIndex,
    ) -> Result<Result<Option<Entry>, FormatError>, FileError> {
        let key = stretch_key(block);
        let (first, offset, len) = stretch_place(key);
        if offset >= backing_len {
            return Ok(Ok(None));
        }
        let at = (block.0 - first) as usize * ENTRY_LEN;
        let mut kept = self.kept.lock();
        if let Some(page) = kept.pages.get(&key) {
            return Ok(Entry::parse(&page[at..]));
        }
        drop(kept);
        let mut page = vec![0; len].into_boxed_slice();
        file.read_at(&mut page, offset)?;
        let entry = Entry::parse(&page[at..]);
        kept = self.kept.lock();
        kept.put(key, page);
        Ok(entry)
    }

    /// Notes that `bytes` were written over the entries from `block` on, all in one stretch.
    pub(super) fn wrote(&self, block: BlockIndex, bytes: &[u8]) {
        let key = stretch_key(block);
        let at = (block.0 - stretch_place(key).0) as usize * ENTRY_LEN;
        if let Some(page) = self.kept.lock().pages.get_mut(&key) {
            page[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Notes that a stretch is new: all of its entries but those written next are holes.
    pub(super) fn began(&self, block: BlockIndex) {
        let key = stretch_key(block);
        self.kept.lock().put(key, vec![0; stretch_place(key).2].into_boxed_slice());
    }

    /// Forgets everything, because entries changed in place.
    pub(super) fn forget(&self) {
        self.kept.lock().clear();
    }
}

/// The sums and the number of present blocks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// Over entries of sessions before the running one.
    pub(super) old: EntrySum,
    /// Over entries of the running session.
    pub(super) cur: EntrySum,
    /// Number of present blocks.
    pub(super) present: u64,
}

impl Totals {
    pub(super) fn add(&mut self, key: &SumKey, session: SessionNumber, block: BlockIndex, entry: &Entry) {
        *self.side(session, entry) += key.term(block.0, &entry.tag);
        self.present += 1;
    }

    pub(super) fn remove(&mut self, key: &SumKey, session: SessionNumber, block: BlockIndex, entry: &Entry) {
        *self.side(session, entry) -= key.term(block.0, &entry.tag);
        self.present = self.present.saturating_sub(1);
    }

    fn side(&mut self, session: SessionNumber, entry: &Entry) -> &mut EntrySum {
        if entry.session < session { &mut self.old } else { &mut self.cur }
    }
}

/// Calls `each` for every block below `count` whose entry in place is not a hole. Reads each entry page once
/// and passes over those in holes of the backing file.
pub(super) fn for_each_present(
    file: &FileRef,
    backing_len: u64,
    first: u64,
    count: u64,
    mut each: impl FnMut(BlockIndex, Result<Entry, FormatError>) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let mut block = first;
    let mut page = [0; PAGE];
    while block < count {
        let key = stretch_key(BlockIndex(block));
        let (base, offset, len) = stretch_place(key);
        let end = (base + (len / ENTRY_LEN) as u64).min(count);
        if offset >= backing_len {
            break;
        }
        if key > 0 {
            match file.next_data(offset)? {
                None => break,
                Some(at) if at >= offset + PAGE as u64 => {
                    block = first_block_at(at).max(end);
                    continue;
                }
                Some(_) => {}
            }
        }
        page[..len].fill(0);
        file.read_at(&mut page[..len], offset)?;
        for_each_in(&page[(block - base) as usize * ENTRY_LEN..], block..end, &mut each)?;
        block = end;
    }
    Ok(())
}

/// As [`for_each_present`], for the entries in the header page, which was read already.
pub(super) fn for_each_in_head(
    head: &[u8],
    count: u64,
    mut each: impl FnMut(BlockIndex, Result<Entry, FormatError>) -> Result<(), FileError>,
) -> Result<(), FileError> {
    for_each_in(head, 0..count.min(HEAD_BLOCKS), &mut each)
}

/// Calls `each` for those of `blocks` whose entries, which lie one after the other in `bytes`, are not holes.
fn for_each_in(
    bytes: &[u8],
    blocks: Range<u64>,
    each: &mut impl FnMut(BlockIndex, Result<Entry, FormatError>) -> Result<(), FileError>,
) -> Result<(), FileError> {
    for (index, bytes) in blocks.zip(bytes.chunks_exact(ENTRY_LEN)) {
        match Entry::parse(bytes) {
            Ok(None) => {}
            Ok(Some(entry)) => each(BlockIndex(index), Ok(entry))?,
            Err(error) => each(BlockIndex(index), Err(error))?,
        }
    }
    Ok(())
}

/// The first block of the stretch that the backing offset `at` lies in.
fn first_block_at(at: u64) -> u64 {
    let page = at / PAGE as u64;
    let rest = page.saturating_sub(1 + HEAD_BLOCKS);
    HEAD_BLOCKS + GROUP_BLOCKS * (rest / (GROUP_BLOCKS + 1))
}
