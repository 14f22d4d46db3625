//! Changing the size.

use std::sync::Arc;

use super::FileError;
use super::encrypted_file::{BlockState, EncryptedFile, State};
use super::entries::for_each_present;
use super::write::Batch;
use crate::crypto::FileKeys;
use crate::format::geometry::{MAX_PLAIN_SIZE, backing_size, block_count, block_of};
use crate::format::{BlockIndex, PAGE_U64, RecordBody};
use crate::journal::Reservation;

/// Files of this many bytes can be kept in any backing directory. Whether larger ones can has to be tried before the
/// journal promises it.
const SIZE_OF_ANY_STORE: u64 = (1 << 31) - 1;

impl EncryptedFile {
    /// Cuts or extends the file to `size` bytes; what is added reads as zero.
    ///
    /// # Errors
    /// [`FileError::TooLarge`], [`FileError::Key`], [`FileError::ReadOnly`], or the backing file's.
    pub fn truncate(self: &Arc<Self>, size: u64) -> Result<(), FileError> {
        if size > MAX_PLAIN_SIZE {
            return Err(FileError::TooLarge);
        }
        let room = self.ctx.reserve(2)?;
        let mut state = self.state.write();
        self.resize(&mut state, size, &room)
    }

    /// As [`Self::truncate`], but never cuts.
    pub(super) fn grow_to(self: &Arc<Self>, size: u64) -> Result<(), FileError> {
        if size > MAX_PLAIN_SIZE {
            return Err(FileError::TooLarge);
        }
        let room = self.ctx.reserve(2)?;
        let mut state = self.state.write();
        if size > state.size { self.resize(&mut state, size, &room) } else { Ok(()) }
    }

    fn resize(
        self: &Arc<Self>,
        state: &mut State,
        size: u64,
        room: &Reservation<'_>,
    ) -> Result<(), FileError> {
        let keys = self.keys(state)?;
        if size == state.size {
            return Ok(());
        }
        self.write_header(state)?;
        if size < state.size {
            return self.shrink(state, &keys, size, room);
        }
        if self.is_journalled(state) {
            let end = backing_size(size);
            if end > state.backing_len.max(SIZE_OF_ANY_STORE) {
                self.take_space(end - 1, end)?;
            }
            let mut batch = Batch::begin(self, state)?;
            batch.size = size;
            batch.draft.push(self.file_ref, RecordBody::Size { size });
            batch.append(state, room)?;
        } else {
            self.file.set_len(backing_size(size))?;
            state.backing_len = backing_size(size);
            state.size = size;
            state.unsealed = true;
            state.fresh = true;
        }
        Ok(())
    }

    /// One record takes the end away and holds the new image of the block that the cut falls into.
    fn shrink(
        self: &Arc<Self>,
        state: &mut State,
        keys: &FileKeys,
        size: u64,
        room: &Reservation<'_>,
    ) -> Result<(), FileError> {
        if !self.ctx.rules.tail_with_cut {
            return self.shrink_in_two(state, keys, size, room);
        }
        let mut batch = Batch::begin(self, state)?;
        batch.size = size;
        self.remove_terms(state, keys, block_count(size), u64::MAX, &mut batch)?;
        let tail = match self.cut_block(state, size)? {
            Some((block, len)) => Some(batch.add_image(state, keys, block, None, Some(len))?),
            None => None,
        };
        batch.draft.push(self.file_ref, RecordBody::Cut { size, tail });
        batch.cut = Some(size);
        batch.append(state, room)
    }

    /// The ablation: the cut in one chunk, the new image of the last block in the next.
    fn shrink_in_two(
        self: &Arc<Self>,
        state: &mut State,
        keys: &FileKeys,
        size: u64,
        room: &Reservation<'_>,
    ) -> Result<(), FileError> {
        let tail = self.cut_block(state, size)?;
        let mut batch = Batch::begin(self, state)?;
        self.remove_terms(state, keys, block_count(size), u64::MAX, &mut batch)?;
        (batch.size, batch.cut) = (size, Some(size));
        batch.draft.push(self.file_ref, RecordBody::Cut { size, tail: None });
        batch.append(state, room)?;
        let Some((block, len)) = tail else { return Ok(()) };
        let mut batch = Batch::begin(self, state)?;
        let (entry, page) = batch.add_image(state, keys, block, None, Some(len))?;
        batch.draft.push(self.file_ref, RecordBody::Image { block, entry, page, size });
        batch.append(state, room)
    }

    /// The block that a cut to `size` falls into and what is left of it; `None` if no stored byte of it goes.
    fn cut_block(&self, state: &State, size: u64) -> Result<Option<(BlockIndex, usize)>, FileError> {
        let len = (size % PAGE_U64) as usize;
        if len == 0 {
            return Ok(None);
        }
        let block = block_of(size);
        let stored = match self.block(state, block)? {
            BlockState::InPlace(entry) | BlockState::Journalled(entry, _) => usize::from(entry.len),
            BlockState::Hole | BlockState::Lost => 0,
        };
        Ok((stored > len).then_some((block, len)))
    }

    /// Takes the terms of the present blocks `first..end` out of the totals of `batch`; returns the blocks.
    pub(super) fn remove_terms(
        self: &Arc<Self>,
        state: &State,
        keys: &FileKeys,
        first: u64,
        end: u64,
        batch: &mut Batch<'_>,
    ) -> Result<Vec<u64>, FileError> {
        let end = end.min(Self::blocks(state));
        let mut gone = Vec::new();
        for (block, journalled) in state.overlay.blocks.range(first..end.max(first)) {
            if let super::overlay::Journalled::Image(entry, _) = journalled {
                batch.totals.remove(&keys.sum, self.session(), BlockIndex(*block), entry);
                gone.push(*block);
            }
        }
        for_each_present(&self.file, state.backing_len, first, end, |block, entry| {
            if state.overlay.get(block.0).is_none() {
                if let Ok(entry) = entry {
                    batch.totals.remove(&keys.sum, self.session(), block, &entry);
                }
                gone.push(block.0);
            }
            Ok(())
        })?;
        Ok(gone)
    }
}
