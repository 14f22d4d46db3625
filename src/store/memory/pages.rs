//! The content of a file as pages that copies share.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store::StoreErrorKind;

/// Bytes of a page.
pub(in crate::store) const PAGE: usize = 4096;
/// Pages that share one map entry: 256 KiB of content, so that copying the map of a large file is cheap.
const CHUNK: u64 = 64;
/// What ext4 allows with 4 KiB blocks.
const SIZE_MAX: u64 = (1 << 44) - 4096;
/// The largest offset that system calls take.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// The bytes of a page.
pub(in crate::store) type Page = [u8; PAGE];

/// A run of pages; `None` is a hole.
#[derive(Clone)]
struct Chunk([Option<Arc<Page>>; CHUNK as usize]);

/// Content and size of a regular file. A clone shares all pages, and a write copies only what it touches.
#[derive(Clone, Default)]
pub(in crate::store) struct FileBody {
    /// Size in bytes. No page has a non-zero byte behind it.
    size: u64,
    /// The pages that are no holes.
    chunks: BTreeMap<u64, Arc<Chunk>>,
}

/// Refuses a range that system calls refuse or that lies behind the largest size.
fn check_end(offset: u64, len: u64) -> Result<u64, StoreErrorKind> {
    match offset.checked_add(len) {
        Some(end) if end > OFFSET_MAX => Err(StoreErrorKind::Invalid),
        Some(end) if end > SIZE_MAX => Err(StoreErrorKind::TooLarge),
        Some(end) => Ok(end),
        None => Err(StoreErrorKind::Invalid),
    }
}

impl FileBody {
    /// Size in bytes.
    pub(in crate::store) fn size(&self) -> u64 {
        self.size
    }

    /// Allocated 512-byte units.
    pub(in crate::store) fn blocks(&self) -> u64 {
        let pages: usize = self.chunks.values().map(|chunk| chunk.0.iter().flatten().count()).sum();
        (pages * (PAGE / 512)) as u64
    }

    /// The page `index`, unless it is a hole.
    pub(in crate::store) fn page(&self, index: u64) -> Option<&Arc<Page>> {
        self.chunks.get(&(index / CHUNK))?.0[(index % CHUNK) as usize].as_ref()
    }

    /// Puts a page, shared with whoever holds it too, or a hole. Whatever lies behind the end has to be zero.
    pub(in crate::store) fn set_page(&mut self, index: u64, page: Option<Arc<Page>>) {
        if page.is_some() || self.page(index).is_some() {
            *self.slot(index) = page;
        }
    }

    /// The place of page `index`.
    fn slot(&mut self, index: u64) -> &mut Option<Arc<Page>> {
        let chunk = self
            .chunks
            .entry(index / CHUNK)
            .or_insert_with(|| Arc::new(Chunk([const { None }; CHUNK as usize])));
        &mut Arc::make_mut(chunk).0[(index % CHUNK) as usize]
    }

    /// The page `index` for writing; a hole becomes zeros.
    fn page_mut(&mut self, index: u64) -> &mut Page {
        Arc::make_mut(self.slot(index).get_or_insert_with(|| Arc::new([0; PAGE])))
    }

    /// Reads until `buf` is full or the file ends.
    pub(in crate::store) fn read(&self, buf: &mut [u8], offset: u64) -> Result<usize, StoreErrorKind> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > OFFSET_MAX) {
            return Err(StoreErrorKind::Invalid);
        }
        let len = self.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let inside = (at % PAGE as u64) as usize;
            let step = (PAGE - inside).min(len - done);
            let target = &mut buf[done..done + step];
            match self.page(at / PAGE as u64) {
                Some(page) => target.copy_from_slice(&page[inside..inside + step]),
                None => target.fill(0),
            }
            done += step;
        }
        Ok(len)
    }

    /// Writes `buf`, growing the file if it ends behind its size.
    pub(in crate::store) fn write(&mut self, buf: &[u8], offset: u64) -> Result<(), StoreErrorKind> {
        let end = check_end(offset, buf.len() as u64)?;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let inside = (at % PAGE as u64) as usize;
            let step = (PAGE - inside).min(buf.len() - done);
            self.page_mut(at / PAGE as u64)[inside..inside + step].copy_from_slice(&buf[done..done + step]);
            done += step;
        }
        if !buf.is_empty() {
            self.size = self.size.max(end);
        }
        Ok(())
    }

    /// Cuts or extends.
    pub(in crate::store) fn set_len(&mut self, len: u64) -> Result<(), StoreErrorKind> {
        check_end(len, 0)?;
        if len < self.size {
            self.clear(len, self.size);
        }
        self.size = len;
        Ok(())
    }

    /// Whether an allocation of the range is one that the system would take.
    pub(in crate::store) fn check_allocation(offset: u64, len: u64) -> Result<(), StoreErrorKind> {
        match offset.checked_add(len) {
            None => Err(StoreErrorKind::TooLarge),
            Some(end) if end > OFFSET_MAX => Err(StoreErrorKind::TooLarge),
            Some(_) => check_end(offset, len).map(|_| ()),
        }
    }

    /// Makes the range a hole; the size stays.
    pub(in crate::store) fn punch_hole(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len).min(self.size);
        if offset < end {
            self.clear(offset, end);
        }
    }

    /// Zeros from `from` up to `to`; whole pages become holes, and the rest of a last page behind the end
    /// of the file counts as part of it.
    fn clear(&mut self, from: u64, to: u64) {
        let unit = PAGE as u64;
        let to = if to == self.size { to.next_multiple_of(unit) } else { to };
        let (first_whole, behind_whole) = (from.div_ceil(unit), to / unit);
        if first_whole > behind_whole {
            self.zero_inside(from, to);
            return;
        }
        self.zero_inside(from, first_whole * unit);
        self.zero_inside(behind_whole * unit, to);
        let (first_chunk, last_chunk) = (first_whole / CHUNK, behind_whole / CHUNK);
        let touched: Vec<u64> = self.chunks.range(first_chunk..=last_chunk).map(|(key, _)| *key).collect();
        for key in touched {
            let start = first_whole.max(key * CHUNK);
            let end = behind_whole.min((key + 1) * CHUNK);
            if end - start == CHUNK {
                self.chunks.remove(&key);
                continue;
            }
            for index in start..end {
                if self.page(index).is_some() {
                    *self.slot(index) = None;
                }
            }
        }
    }

    /// Zeros a range that lies in one page, unless that is a hole.
    fn zero_inside(&mut self, from: u64, to: u64) {
        let index = from / PAGE as u64;
        if from < to && self.page(index).is_some() {
            let start = (from % PAGE as u64) as usize;
            self.page_mut(index)[start..start + (to - from) as usize].fill(0);
        }
    }

    /// The first offset at or behind `offset` that lies in a page that is no hole.
    pub(in crate::store) fn next_data(&self, offset: u64) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        let start = offset / PAGE as u64;
        for (key, chunk) in self.chunks.range(start / CHUNK..) {
            let pages = chunk.0.iter().enumerate().filter(|(_, page)| page.is_some());
            let mut indices = pages.map(|(inside, _)| key * CHUNK + inside as u64);
            if let Some(index) = indices.find(|index| *index >= start) {
                return Some(offset.max(index * PAGE as u64)).filter(|found| *found < self.size);
            }
        }
        None
    }
}

impl PartialEq for FileBody {
    /// Holes and zeros are the same content.
    fn eq(&self, other: &Self) -> bool {
        let keys = || self.chunks.keys().chain(other.chunks.keys());
        self.size == other.size && keys().all(|key| self.same_chunk(other, *key))
    }
}

impl FileBody {
    /// Whether both have the same bytes in a chunk.
    fn same_chunk(&self, other: &Self, key: u64) -> bool {
        const ZEROS: Page = [0; PAGE];
        (key * CHUNK..(key + 1) * CHUNK).all(|index| match (self.page(index), other.page(index)) {
            (None, None) => true,
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs) || mine == theirs,
            (Some(page), None) | (None, Some(page)) => **page == ZEROS,
        })
    }
}
