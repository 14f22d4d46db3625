//! What of one file is not durable, and which contents a power cut may leave of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::choice::{CrashChoice, Unit};
use super::options::Tearing;
use crate::store::memory::model::ContentChange;
use crate::store::memory::pages::{FileBody, PAGE, Page};

/// Bytes of a sector.
const SECTOR: usize = 512;
/// Sectors of a page.
const SECTORS: u32 = (PAGE / SECTOR) as u32;
/// The bytes of a hole.
const ZEROS: Page = [0; PAGE];

/// A page as a change left it.
#[derive(Clone)]
struct Version {
    /// Moment of the change.
    time: u64,
    /// The page behind it, shared with the current content; `None` is a hole.
    page: Option<Arc<Page>>,
    /// Bit mask of the sectors that the change touched. The others are not this version's business.
    sectors: u8,
}

/// A page since it was last durable.
#[derive(Clone, Default)]
struct PageHistory {
    /// Changes in order.
    versions: Vec<Version>,
    /// Sectors that the next sync writes. A failed sync leaves them neither dirty nor durable.
    dirty: u8,
}

impl PageHistory {
    /// Sectors with more than one possible version.
    fn open_sectors(&self) -> u8 {
        self.versions.iter().fold(0, |mask, version| mask | version.sectors)
    }

    /// The newest version of `sector` among those up to `moment`.
    fn version_at(&self, sector: u32, moment: u64) -> Option<&Version> {
        let upto = self.versions.partition_point(|version| version.time <= moment);
        self.versions[..upto].iter().rev().find(|version| version.sectors & (1 << sector) != 0)
    }
}

/// A file since it was last durable.
#[derive(Clone)]
pub(super) struct FileHistory {
    /// What a power cut leaves at least, apart from what was changed since.
    durable: Arc<FileBody>,
    /// The changed pages.
    pages: BTreeMap<u64, PageHistory>,
    /// Changes of the size in order: moment and size.
    sizes: Vec<(u64, u64)>,
    /// Whether a sync has failed since the file was last durable as a whole.
    failed: bool,
    /// How many of `sizes` a failed sync has taken; only a later change makes them durable.
    failed_sizes: usize,
}

/// The sectors of page `index` that a range touches.
fn sectors_in(index: u64, from: u64, to: u64) -> u8 {
    let start = index * PAGE as u64;
    let first = from.saturating_sub(start) as usize / SECTOR;
    let behind = (to.min(start + PAGE as u64) - start) as usize;
    let behind = behind.div_ceil(SECTOR);
    (((1u16 << behind) - 1) & !((1u16 << first) - 1)) as u8
}

impl FileHistory {
    /// A file that is durable as `body`.
    pub(super) fn new(body: &Arc<FileBody>) -> Self {
        Self {
            durable: Arc::clone(body),
            pages: BTreeMap::new(),
            sizes: Vec::new(),
            failed: false,
            failed_sizes: 0,
        }
    }

    /// Notes a change that led to `body`.
    pub(super) fn change(&mut self, time: u64, change: ContentChange, body: &FileBody) {
        match change {
            ContentChange::Written { offset, len, old_size } => {
                let end = offset + len;
                for index in offset / PAGE as u64..end.div_ceil(PAGE as u64) {
                    self.page_changed(time, index, sectors_in(index, offset, end), body);
                }
                if end > old_size {
                    self.sizes.push((time, end));
                }
            }
            ContentChange::Resized { old_size } => {
                let size = body.size();
                self.sizes.push((time, size));
                // The kernel zeros the rest of the last page in place, and may write that before the size.
                let index = size / PAGE as u64;
                let was_there = self.durable.page(index).is_some() || self.pages.contains_key(&index);
                if size < old_size && !size.is_multiple_of(PAGE as u64) && was_there {
                    self.page_changed(time, index, sectors_in(index, size, u64::MAX), body);
                }
            }
            ContentChange::Punched { offset, len } => {
                let end = offset.saturating_add(len).min(body.size());
                for index in self.pages_with_data(offset, end) {
                    self.page_changed(time, index, sectors_in(index, offset, end), body);
                }
            }
        }
    }

    /// Notes the version of a page that a change left.
    fn page_changed(&mut self, time: u64, index: u64, sectors: u8, body: &FileBody) {
        let page = self.pages.entry(index).or_default();
        page.versions.push(Version { time, page: body.page(index).cloned(), sectors });
        page.dirty |= sectors;
    }

    /// The pages in a range that are holes neither durably nor in a later version.
    fn pages_with_data(&self, from: u64, to: u64) -> Vec<u64> {
        if from >= to {
            return Vec::new();
        }
        let (first, behind) = (from / PAGE as u64, to.div_ceil(PAGE as u64));
        let mut found: Vec<u64> = self.pages.range(first..behind).map(|(index, _)| *index).collect();
        let mut at = from;
        while let Some(data) = self.durable.next_data(at).filter(|data| *data < to) {
            found.push(data / PAGE as u64);
            at = (data / PAGE as u64 + 1) * PAGE as u64;
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Number of units that have more than one possible version.
    pub(super) fn units(&self, tearing: Tearing) -> usize {
        match tearing {
            Tearing::Page => self.pages.len(),
            Tearing::Sector => {
                self.pages.values().map(|page| page.open_sectors().count_ones() as usize).sum()
            }
        }
    }

    /// Moments of the changes of size.
    fn size_times(&self) -> Vec<u64> {
        self.sizes.iter().map(|(time, _)| *time).collect()
    }

    /// A sync of the file, whose content is `body`, has succeeded. True if all of it is durable now.
    pub(super) fn flushed(&mut self, body: &Arc<FileBody>) -> bool {
        if !self.failed {
            return true;
        }
        self.flush_dirty(body);
        self.pages.is_empty() && self.sizes.is_empty()
    }

    /// Makes durable what was changed since a failed sync. What that sync lost stays as uncertain as before,
    /// since Linux has marked those pages clean.
    fn flush_dirty(&mut self, body: &FileBody) {
        let mut durable = (*self.durable).clone();
        // Content behind the durable size brings its size along.
        let behind_end = |(index, page): (&u64, &PageHistory)| {
            page.dirty != 0 && (index + 1) * PAGE as u64 > self.durable.size()
        };
        if self.failed_sizes < self.sizes.len() || self.pages.iter().any(behind_end) {
            for (time, size) in std::mem::take(&mut self.sizes) {
                self.forget_behind(time, size);
                resize(&mut durable, size);
            }
            self.failed_sizes = 0;
        }
        let size = durable.size();
        for (index, page) in &mut self.pages {
            if page.dirty != 0 {
                let new = body.page(*index).map_or(&ZEROS, |page| page);
                let mut bytes = durable.page(*index).map_or(ZEROS, |page| **page);
                for sector in (0..SECTORS).filter(|sector| page.dirty & (1 << sector) != 0) {
                    let at = sector as usize * SECTOR;
                    bytes[at..at + SECTOR].copy_from_slice(&new[at..at + SECTOR]);
                }
                put(&mut durable, *index, bytes, size);
                let clean = !page.dirty;
                page.versions.iter_mut().for_each(|version| version.sectors &= clean);
                page.versions.retain(|version| version.sectors != 0);
                page.dirty = 0;
            }
        }
        self.pages.retain(|_, page| !page.versions.is_empty());
        self.durable = Arc::new(durable);
    }

    /// Takes the sectors behind `size` out of all versions older than `time`: a durable cut has ended them.
    fn forget_behind(&mut self, time: u64, size: u64) {
        for (index, page) in self.pages.range_mut(size / PAGE as u64..) {
            let kept_bytes = size.saturating_sub(index * PAGE as u64).min(PAGE as u64) as usize;
            let kept = ((1u16 << kept_bytes.div_ceil(SECTOR)) - 1) as u8;
            for version in page.versions.iter_mut().filter(|version| version.time < time) {
                version.sectors &= kept;
                if let Some(bytes) = &mut version.page {
                    Arc::make_mut(bytes)[kept_bytes..].fill(0);
                }
            }
            page.versions.retain(|version| version.sectors != 0);
            page.dirty &= page.open_sectors();
        }
        self.pages.retain(|_, page| !page.versions.is_empty());
    }

    /// A sync of the file has failed.
    pub(super) fn sync_failed(&mut self) {
        self.failed = true;
        self.failed_sizes = self.sizes.len();
        self.pages.values_mut().for_each(|page| page.dirty = 0);
    }

    /// A content that a power cut may leave.
    pub(super) fn image(&self, ino: u64, tearing: Tearing, choice: &mut dyn CrashChoice) -> Arc<FileBody> {
        if self.pages.is_empty() && self.sizes.is_empty() {
            return Arc::clone(&self.durable);
        }
        let mut body = (*self.durable).clone();
        let mut sizes = &self.sizes[..];
        if !sizes.is_empty() {
            let persisted = choice.persisted(Unit::Size { ino }, &self.size_times());
            sizes = &sizes[..persisted.min(sizes.len())];
        }
        for (_, size) in sizes {
            resize(&mut body, *size);
        }
        let size = body.size();
        let mut times = Vec::new();
        for (index, page) in &self.pages {
            // The map is in order, so all pages from here on lie behind the end.
            if index * (PAGE as u64) >= size {
                break;
            }
            let moments = moments(ino, *index, page, tearing, choice, &mut times);
            place(&mut body, *index, page, &moments, sizes);
        }
        Arc::new(body)
    }
}

/// The moment up to which each sector of a page has persisted.
fn moments(
    ino: u64,
    index: u64,
    page: &PageHistory,
    tearing: Tearing,
    choice: &mut dyn CrashChoice,
    times: &mut Vec<u64>,
) -> [u64; SECTORS as usize] {
    let mut chosen = [0; SECTORS as usize];
    let mut ask = |mask: u8, sector: u32| {
        times.clear();
        times.extend(
            page.versions.iter().filter(|version| version.sectors & mask != 0).map(|version| version.time),
        );
        let persisted = choice.persisted(Unit::Content { ino, page: index, sector }, times).min(times.len());
        // Moments count from 1, so that 0 is before all of them.
        persisted.checked_sub(1).map_or(0, |last| times[last])
    };
    match tearing {
        Tearing::Page => chosen.fill(ask(u8::MAX, 0)),
        Tearing::Sector => {
            let open = page.open_sectors();
            for sector in (0..SECTORS).filter(|sector| open & (1 << sector) != 0) {
                chosen[sector as usize] = ask(1 << sector, sector);
            }
        }
    }
    chosen
}

/// Puts a page into an image: each sector in its newest version up to its moment, or as it was durable.
fn place(
    body: &mut FileBody,
    index: u64,
    page: &PageHistory,
    moments: &[u64; SECTORS as usize],
    sizes: &[(u64, u64)],
) {
    let picks: [Option<&Version>; SECTORS as usize] =
        std::array::from_fn(|sector| page.version_at(sector as u32, moments[sector]));
    if let Some(version) = picks[0].filter(|version| version.sectors == u8::MAX) {
        let same = picks.iter().all(|pick| pick.is_some_and(|pick| pick.time == version.time));
        let end = (index + 1) * PAGE as u64;
        if same && body.size() >= end && kept_bytes(version, end - PAGE as u64, PAGE, sizes) == PAGE {
            body.set_page(index, version.page.clone());
            return;
        }
    }
    let mut bytes = body.page(index).map_or(ZEROS, |page| **page);
    for (sector, pick) in picks.iter().enumerate() {
        let Some(version) = pick else { continue };
        let at = sector * SECTOR;
        let kept = kept_bytes(version, index * PAGE as u64 + at as u64, SECTOR, sizes);
        let source = version.page.as_deref().unwrap_or(&ZEROS);
        bytes[at..at + kept].copy_from_slice(&source[at..at + kept]);
        bytes[at + kept..at + SECTOR].fill(0);
    }
    put(body, index, bytes, body.size());
}

/// How many of the `len` bytes from offset `start` on the persisted cuts behind a version have left of it.
fn kept_bytes(version: &Version, start: u64, len: usize, sizes: &[(u64, u64)]) -> usize {
    let later = &sizes[sizes.partition_point(|(time, _)| *time <= version.time)..];
    let smallest = later.iter().map(|(_, size)| *size).min().unwrap_or(u64::MAX);
    smallest.saturating_sub(start).min(len as u64) as usize
}

/// Puts a page into a body of `size` bytes, without what lies behind the end.
fn put(body: &mut FileBody, index: u64, mut bytes: Page, size: u64) {
    let inside = size.saturating_sub(index * PAGE as u64).min(PAGE as u64) as usize;
    bytes[inside..].fill(0);
    // Whether zeros are a hole is not told apart by anybody who may be surprised by a power cut.
    body.set_page(index, (bytes != ZEROS).then(|| Arc::new(bytes)));
}

/// Gives a body a size that the current content has had.
fn resize(body: &mut FileBody, size: u64) {
    let resized = body.set_len(size);
    debug_assert!(resized.is_ok(), "the size was legal when it was set");
}
