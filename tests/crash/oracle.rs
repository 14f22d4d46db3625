//! What a file may hold after a power cut.

use std::collections::BTreeSet;

pub(crate) const BLOCK: usize = 4096;

/// The history of one file since it was last durable as a whole.
#[derive(Clone)]
pub(crate) struct Oracle {
    /// Content that was durable, then after each operation since; the last one is the present.
    versions: Vec<Vec<u8>>,
    /// Blocks that were stored (not holes) in the durable content.
    stored: BTreeSet<usize>,
    /// Blocks that are stored in the present content.
    stored_now: BTreeSet<usize>,
    /// The smallest size since then, the durable one included.
    smallest: usize,
    largest: usize,
    /// Blocks that a punch or a cut took since then.
    removed: BTreeSet<usize>,
    /// Whether the file was made durable at all.
    pub(crate) exists: bool,
}

fn block_of(content: &[u8], block: usize, size: usize) -> Vec<u8> {
    let from = block * BLOCK;
    let mut out = vec![0; BLOCK.min(size - from)];
    if content.len() > from {
        let len = out.len().min(content.len() - from);
        out[..len].copy_from_slice(&content[from..from + len]);
    }
    out
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self {
            versions: vec![Vec::new()],
            stored: BTreeSet::new(),
            stored_now: BTreeSet::new(),
            smallest: 0,
            largest: 0,
            removed: BTreeSet::new(),
            exists: false,
        }
    }

    pub(crate) fn now(&self) -> &Vec<u8> {
        self.versions.last().unwrap()
    }

    fn push(&mut self, content: Vec<u8>) {
        self.smallest = self.smallest.min(content.len());
        self.largest = self.largest.max(content.len());
        self.versions.push(content);
    }

    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) {
        let mut content = self.now().clone();
        if content.len() < offset + data.len() {
            content.resize(offset + data.len(), 0);
        }
        content[offset..offset + data.len()].copy_from_slice(data);
        if !data.is_empty() {
            self.stored_now.extend(offset / BLOCK..(offset + data.len()).div_ceil(BLOCK));
        }
        self.push(content);
    }

    pub(crate) fn truncate(&mut self, size: usize) {
        let mut content = self.now().clone();
        let gone = size.div_ceil(BLOCK);
        self.removed.extend(self.stored_now.split_off(&gone));
        content.resize(size, 0);
        self.push(content);
    }

    pub(crate) fn punch(&mut self, offset: usize, len: usize) {
        let mut content = self.now().clone();
        let end = (offset + len).min(content.len());
        if offset >= end {
            return;
        }
        // Edges are overwritten with zeros first, then whole blocks go: a cut of power may come between.
        let (first, last) = (offset.div_ceil(BLOCK), end / BLOCK);
        let edges = if first > last {
            vec![(offset, end)]
        } else {
            vec![(offset, first * BLOCK), (last * BLOCK, end), (first * BLOCK, last * BLOCK)]
        };
        for (from, to) in edges {
            if from < to {
                content[from..to].fill(0);
                self.push(content.clone());
            }
        }
        for block in first..last.max(first) {
            if self.stored_now.remove(&block) {
                self.removed.insert(block);
            }
        }
    }

    /// The content is `content` now, whatever the last operation said.
    pub(crate) fn observed(&mut self, content: Vec<u8>) {
        if content != *self.now() {
            self.push(content);
        }
    }

    /// Everything so far is durable.
    pub(crate) fn synced(&mut self) {
        let content = self.now().clone();
        self.reset(content, self.stored_now.clone());
    }

    /// The file was found with `content` and made durable so.
    pub(crate) fn found(&mut self, content: Vec<u8>) {
        let stored = content
            .chunks(BLOCK)
            .enumerate()
            .filter(|(_, chunk)| chunk.iter().any(|byte| *byte != 0))
            .map(|(index, _)| index)
            .collect();
        self.reset(content, stored);
    }

    fn reset(&mut self, content: Vec<u8>, stored: BTreeSet<usize>) {
        self.smallest = content.len();
        self.largest = content.len();
        self.versions = vec![content];
        self.stored = stored.clone();
        self.stored_now = stored;
        self.removed.clear();
        self.exists = true;
    }

    /// Whether `content` may be there after a power cut.
    pub(crate) fn allows(&self, content: &[u8]) -> Result<(), String> {
        let size = content.len();
        if size < self.smallest || size > self.largest {
            return Err(format!("size {size} is not within {}..={}", self.smallest, self.largest));
        }
        for block in 0..size.div_ceil(BLOCK) {
            let found = block_of(content, block, size);
            let known = self.versions.iter().any(|version| block_of(version, block, size) == found);
            let may_be_hole = !self.stored.contains(&block) || self.removed.contains(&block);
            let lost = may_be_hole && found.iter().all(|byte| *byte == 0);
            if !(known || lost) {
                return Err(format!("block {block} of {size} bytes holds what never was there"));
            }
        }
        Ok(())
    }
}
