//! Entries in place, with a bounded cache, and the sums over them.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;

use super::FileError;
use crate::crypto::{EntrySum, SumKey};
use crate::format::geometry::{GROUP_BLOCKS, HEAD_BLOCKS, HEAD_ENTRIES_OFFSET, entry_page_offset, group_of};
use crate::format::{BlockIndex, ENTRY_LEN, Entry, FormatError, PAGE, SessionNumber};
use crate::store::FileRef;

/// Entry pages that one open file keeps: 1 MiB, enough for 128 MiB of data.
const CACHED_PAGES: NonZeroUsize = NonZeroUsize::new(256).unwrap();
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

/// The entries in place of one file.
pub(super) struct EntryTable {
    cache: Mutex<LruCache<u64, Box<[u8]>>>,
}

impl EntryTable {
    pub(super) fn new() -> Self {
        Self { cache: Mutex::new(LruCache::new(CACHED_PAGES)) }
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
        let mut cache = self.cache.lock();
        if let Some(page) = cache.get(&key) {
            return Ok(Entry::parse(&page[at..]));
        }
        drop(cache);
        let mut page = vec![0; len].into_boxed_slice();
        file.read_at(&mut page, offset)?;
        let entry = Entry::parse(&page[at..]);
        cache = self.cache.lock();
        cache.put(key, page);
        Ok(entry)
    }

    /// Notes that `bytes` were written over the entries from `block` on, all in one stretch.
    pub(super) fn wrote(&self, block: BlockIndex, bytes: &[u8]) {
        let key = stretch_key(block);
        let at = (block.0 - stretch_place(key).0) as usize * ENTRY_LEN;
        if let Some(page) = self.cache.lock().get_mut(&key) {
            page[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Notes that a stretch is new: all of its entries but those written next are holes.
    pub(super) fn began(&self, block: BlockIndex) {
        let key = stretch_key(block);
        self.cache.lock().put(key, vec![0; stretch_place(key).2].into_boxed_slice());
    }

    /// Forgets everything, because entries changed in place.
    pub(super) fn forget(&self) {
        self.cache.lock().clear();
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
    let mut page = vec![0; PAGE];
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
        for index in block..end {
            let at = (index - base) as usize * ENTRY_LEN;
            match Entry::parse(&page[at..at + ENTRY_LEN]) {
                Ok(None) => {}
                Ok(Some(entry)) => each(BlockIndex(index), Ok(entry))?,
                Err(error) => each(BlockIndex(index), Err(error))?,
            }
        }
        block = end;
    }
    Ok(())
}

/// The first block of the stretch that the backing offset `at` lies in.
fn first_block_at(at: u64) -> u64 {
    let page = at / PAGE as u64;
    let rest = page.saturating_sub(1 + HEAD_BLOCKS);
    HEAD_BLOCKS + GROUP_BLOCKS * (rest / (GROUP_BLOCKS + 1))
}
