//! Holes: making, allocating and finding them.

use std::sync::Arc;

use super::FileError;
use super::encrypted_file::{BlockState, EncryptedFile, State};
use super::overlay::Journalled;
use super::write::Batch;
use crate::format::geometry::{
    GROUP_BLOCKS, HEAD_BLOCKS, MAX_PLAIN_SIZE, block_count, block_of, data_offset, entry_page_offset,
    group_of, stretch_end,
};
use crate::format::{BlockIndex, PAGE_U64, RecordBody};

/// Blocks punched with one record: what bounds the memory of a punch.
const PUNCH_STEP: u64 = 1 << 16;
const ZEROS: [u8; PAGE_U64 as usize] = [0; PAGE_U64 as usize];

impl EncryptedFile {
    /// Makes a range read as zero and gives its whole blocks back; the size stays.
    ///
    /// # Errors
    /// [`FileError::Key`], [`FileError::ReadOnly`], or the backing file's.
    pub fn punch_hole(self: &Arc<Self>, offset: u64, len: u64) -> Result<(), FileError> {
        let end = offset.saturating_add(len).min(self.size());
        if offset >= end {
            return Ok(());
        }
        let (first, last) = (offset.div_ceil(PAGE_U64), end / PAGE_U64);
        if first > last {
            return self.zero_in_block(offset, end);
        }
        self.zero_in_block(offset, first * PAGE_U64)?;
        self.zero_in_block(last * PAGE_U64, end)?;
        let mut block = first;
        while block < last {
            let stop = (block + PUNCH_STEP).min(last);
            self.punch_blocks(block, stop)?;
            block = stop;
        }
        Ok(())
    }

    /// Overwrites a part of one block with zeros, unless it is a hole.
    fn zero_in_block(self: &Arc<Self>, from: u64, to: u64) -> Result<(), FileError> {
        if from >= to {
            return Ok(());
        }
        let state = self.state.read();
        let hole = from >= state.size || matches!(self.block(&state, block_of(from))?, BlockState::Hole);
        let to = to.min(state.size);
        drop(state);
        if hole { Ok(()) } else { self.write(from, &ZEROS[..(to - from) as usize]) }
    }

    fn punch_blocks(self: &Arc<Self>, first: u64, end: u64) -> Result<(), FileError> {
        let room = self.ctx.reserve(1)?;
        let mut state = self.state.write();
        let keys = self.keys(&mut state)?;
        let end = end.min(block_count(state.size));
        if first >= end {
            return Ok(());
        }
        let mut batch = Batch::begin(self, &mut state)?;
        let present = self.remove_terms(&state, &keys, first, end, &mut batch)?;
        if present.is_empty() {
            return Ok(());
        }
        batch.draft.push(self.file_ref, RecordBody::Punch { block: BlockIndex(first), count: end - first });
        batch.append(&mut state, &room)?;
        state.journalled_until = state.overlay.last_lsn;
        state.overlay.blocks.extend(present.into_iter().map(|block| (block, Journalled::Hole)));
        Ok(())
    }

    /// Makes a range read as zero, growing the file to its end unless `keep_size`.
    ///
    /// # Errors
    /// As [`Self::punch_hole`].
    pub fn zero_range(self: &Arc<Self>, offset: u64, len: u64, keep_size: bool) -> Result<(), FileError> {
        self.punch_hole(offset, len)?;
        self.allocate(offset, len, keep_size)
    }

    /// Reserves backing space for a range, and grows the file to its end unless `keep_size`.
    ///
    /// # Errors
    /// [`FileError::TooLarge`], or the backing file's: out of space most of all.
    pub fn allocate(self: &Arc<Self>, offset: u64, len: u64, keep_size: bool) -> Result<(), FileError> {
        let end = offset.checked_add(len).filter(|end| *end <= MAX_PLAIN_SIZE).ok_or(FileError::TooLarge)?;
        if len == 0 {
            return Ok(());
        }
        let mut state = self.state.write();
        self.keys(&mut state)?;
        self.write_header(&mut state)?;
        let from = data_offset(block_of(offset));
        let to = data_offset(block_of(end - 1)) + PAGE_U64;
        self.file.allocate(from, to - from)?;
        state.fresh = true;
        drop(state);
        if keep_size { Ok(()) } else { self.grow_to(end) }
    }

    /// The first byte at or behind `offset` that is not in a hole; `None` if there is none before the end.
    ///
    /// # Errors
    /// [`FileError::Damaged`] or the backing file's.
    pub fn seek_data(&self, offset: u64) -> Result<Option<u64>, FileError> {
        let state = self.state.read();
        let count = Self::blocks(&state);
        let mut block = block_of(offset).0;
        while block < count && offset < state.size {
            if !matches!(self.block(&state, BlockIndex(block))?, BlockState::Hole) {
                return Ok(Some(offset.max(block * PAGE_U64)));
            }
            block = self.past_hole(&state, block)?;
        }
        Ok(None)
    }

    /// The first byte at or behind `offset` that is in a hole; the end of the file counts as one.
    ///
    /// # Errors
    /// As [`Self::seek_data`].
    pub fn seek_hole(&self, offset: u64) -> Result<u64, FileError> {
        let state = self.state.read();
        let count = Self::blocks(&state);
        let mut block = block_of(offset).0;
        while block < count {
            if matches!(self.block(&state, BlockIndex(block))?, BlockState::Hole) {
                return Ok(offset.max(block * PAGE_U64).min(state.size));
            }
            block += 1;
        }
        Ok(state.size)
    }

    /// The next block that may not be a hole, behind the hole `block`: passes over what the backing file has no
    /// data for.
    fn past_hole(&self, state: &State, block: u64) -> Result<u64, FileError> {
        let next = block + 1;
        if next < stretch_end(BlockIndex(block)).0 || next < HEAD_BLOCKS {
            return Ok(next);
        }
        let journalled = state.overlay.blocks.range(next..).next().map_or(u64::MAX, |(block, _)| *block);
        let Some(group) = group_of(BlockIndex(next)) else { return Ok(next) };
        let in_place = match self.file.next_data(entry_page_offset(group))? {
            None => u64::MAX,
            Some(at) => {
                let groups = (at - entry_page_offset(0)) / (PAGE_U64 * (GROUP_BLOCKS + 1));
                HEAD_BLOCKS + GROUP_BLOCKS * groups
            }
        };
        Ok(journalled.min(in_place).max(next))
    }
}
