//! What is journalled and not in place yet.

use std::collections::BTreeMap;

use crate::format::geometry::block_count;
use crate::format::{Entry, Lsn, SealFrame};

/// The journalled state of a block.
#[derive(Debug, Clone, Copy)]
pub(super) enum Journalled {
    /// It has this entry, and its ciphertext is at this offset of the journal file.
    Image(Entry, u64),
    /// It is a hole.
    Hole,
}

/// The journalled changes of a file, over what is in place.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// By block index.
    pub(super) blocks: BTreeMap<u64, Journalled>,
    /// The smallest size that the file was cut to: blocks in place behind it do not count.
    pub(super) cut: Option<u64>,
    /// The last chunk that names the file.
    pub(super) last_lsn: Lsn,
    /// The seal in that chunk.
    pub(super) last_seal: Option<SealFrame>,
    /// Whether anything is pending, be it only a size.
    pub(super) pending: bool,
}

impl Overlay {
    /// What the journal says about `block`; `None` if what is in place counts.
    pub(super) fn get(&self, block: u64) -> Option<Journalled> {
        match self.blocks.get(&block) {
            Some(state) => Some(*state),
            None => self.cut.is_some_and(|size| block >= block_count(size)).then_some(Journalled::Hole),
        }
    }

    /// Records a cut to `size` bytes.
    pub(super) fn cut_to(&mut self, size: u64) {
        self.blocks.split_off(&block_count(size));
        self.cut = Some(self.cut.map_or(size, |cut| cut.min(size)));
        self.pending = true;
    }

    /// Forgets everything: it is in place.
    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.cut = None;
        self.pending = false;
    }
}
