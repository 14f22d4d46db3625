//! Writing.
//!
//! A block that is a hole is written in place: nothing stands there. A block that exists goes through the
//! journal, whole and merged with what it held. Both happen under the content lock of the file.

use std::io::IoSlice;
use std::sync::Arc;

use super::FileError;
use super::encrypted_file::{BlockState, EncryptedFile, HeaderState, State};
use super::entries::Totals;
use super::overlay::Journalled;
use super::read::with_scratch;
use crate::crypto::{FileKeys, random};
use crate::format::geometry::{
    HEAD_BLOCKS, HEAD_ENTRIES_OFFSET, MAX_PLAIN_SIZE, block_of, data_offset, entry_offset, entry_page_offset,
    group_of, stretch_end,
};
use crate::format::{BlockAad, BlockIndex, ENTRY_LEN, Entry, Header, PAGE, PAGE_U64, RecordBody};
use crate::journal::{ChunkDraft, Reservation};
use crate::store::{StoreError, StoreErrorKind};

/// Record places that a chunk needs beside its images: the file's name and its seal.
const FRAME_PLACES: usize = 3;
/// The most bytes that are written under one hold of the content lock.
const MAX_PIECE: u64 = 1 << 20;

/// A stretch of a write: all of its blocks are holes, or all exist.
#[derive(Debug, Clone, Copy)]
struct Piece<'a> {
    offset: u64,
    data: &'a [u8],
}

impl<'a> Piece<'a> {
    fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }

    fn blocks(&self) -> std::ops::Range<u64> {
        if self.data.is_empty() {
            return 0..0;
        }
        block_of(self.offset).0..block_of(self.end() - 1).0 + 1
    }

    /// The part of the piece that lies in `block`, and where in the block it begins.
    fn in_block(&self, block: BlockIndex) -> (usize, &'a [u8]) {
        let start = block.0 * PAGE_U64;
        let from = self.offset.max(start);
        let to = self.end().min(start + PAGE_U64);
        ((from - start) as usize, &self.data[(from - self.offset) as usize..(to - self.offset) as usize])
    }

    fn between(&self, blocks: std::ops::Range<u64>) -> Self {
        let from = self.offset.max(blocks.start * PAGE_U64);
        let to = self.end().min(blocks.end.saturating_mul(PAGE_U64));
        let data = &self.data[(from - self.offset) as usize..(to - self.offset) as usize];
        Self { offset: from, data }
    }
}

impl EncryptedFile {
    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// [`FileError::TooLarge`], [`FileError::Key`], [`FileError::ReadOnly`], or the backing file's. What was
    /// durable before is still there after any error.
    pub fn write(self: &Arc<Self>, offset: u64, data: &[u8]) -> Result<(), FileError> {
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= MAX_PLAIN_SIZE);
        end.ok_or(FileError::TooLarge)?;
        let mut rest = Piece { offset, data };
        while !rest.data.is_empty() {
            let len = self.piece_len().min(rest.data.len());
            let room = self.ctx.reserve(len as u64 / PAGE_U64 + 2)?;
            let mut state = self.state.write();
            self.write_piece(&mut state, Piece { offset: rest.offset, data: &rest.data[..len] }, &room)?;
            rest = Piece { offset: rest.offset + len as u64, data: &rest.data[len..] };
        }
        Ok(())
    }

    fn piece_len(&self) -> usize {
        let pages = self.ctx.journal.as_ref().map_or(1, |journal| journal.max_reservation());
        (pages.saturating_sub(2).max(1) * PAGE_U64).min(MAX_PIECE) as usize
    }

    fn write_piece(
        self: &Arc<Self>,
        state: &mut State,
        piece: Piece<'_>,
        room: &Reservation<'_>,
    ) -> Result<(), FileError> {
        let keys = self.keys(state)?;
        let blocks = piece.blocks();
        let mut block = blocks.start;
        while block < blocks.end {
            let fresh = self.is_free(state, BlockIndex(block))?;
            let limit = if fresh { stretch_end(BlockIndex(block)).0.min(blocks.end) } else { blocks.end };
            let mut stop = block + 1;
            while stop < limit && self.is_free(state, BlockIndex(stop))? == fresh {
                stop += 1;
            }
            let part = piece.between(block..stop);
            if fresh {
                self.write_fresh(state, &keys, part)?;
            } else {
                self.write_journalled(state, &keys, part, room)?;
            }
            block = stop;
        }
        Ok(())
    }

    /// Whether `block` may be written in place: it is a hole there, and no replay would touch it.
    fn is_free(&self, state: &State, block: BlockIndex) -> Result<bool, FileError> {
        if self.is_journalled(state) {
            return Ok(false);
        }
        Ok(state.overlay.get(block.0).is_none() && matches!(self.block(state, block)?, BlockState::Hole))
    }

    /// Writes blocks that are holes in place: data first, then their entries.
    fn write_fresh(&self, state: &mut State, keys: &FileKeys, piece: Piece<'_>) -> Result<(), FileError> {
        let blocks = piece.blocks();
        let first = BlockIndex(blocks.start);
        let count = (blocks.end - blocks.start) as usize;
        with_scratch(count * PAGE, |cipher| {
            let mut entries = Vec::with_capacity(count);
            for index in blocks.clone() {
                let place = &mut cipher[(index - first.0) as usize * PAGE..][..PAGE];
                entries.push(self.seal_fresh(
                    keys,
                    BlockIndex(index),
                    piece.in_block(BlockIndex(index)),
                    place,
                ));
            }
            let last_len = entries.last().map_or(0, |entry| usize::from(entry.len));
            let cipher = &cipher[..(count - 1) * PAGE + last_len];
            let mut totals = state.totals;
            for (index, entry) in blocks.clone().zip(&entries) {
                totals.add(&keys.sum, self.session(), BlockIndex(index), entry);
            }
            self.place_fresh(state, first, cipher, &entries, totals, piece.end())
        })
    }

    /// Encrypts the beginning of a new block up to the last byte written; what was skipped is zero.
    fn seal_fresh(
        &self,
        keys: &FileKeys,
        block: BlockIndex,
        (skip, data): (usize, &[u8]),
        cipher: &mut [u8],
    ) -> Entry {
        if skip == 0 {
            return self.seal_block(keys, block, data, cipher);
        }
        let mut plain = [0; PAGE];
        plain[skip..skip + data.len()].copy_from_slice(data);
        self.seal_block(keys, block, &plain[..skip + data.len()], cipher)
    }

    /// Encrypts `plain` as `block` into the beginning of `cipher`; the rest of `cipher` is made zero.
    pub(super) fn seal_block(
        &self,
        keys: &FileKeys,
        block: BlockIndex,
        plain: &[u8],
        cipher: &mut [u8],
    ) -> Entry {
        let len = u16::try_from(plain.len()).expect("a block has at most 4096 bytes");
        let mut entry = Entry { session: self.session(), random: [0; 8], tag: [0; 16], len };
        random::fill_nonce(&mut entry.random);
        let (place, rest) = cipher.split_at_mut(plain.len());
        entry.tag = keys.content.seal(&entry.nonce(), BlockAad::new(block, len).bytes(), plain, place);
        rest.fill(0);
        entry
    }

    fn place_fresh(
        &self,
        state: &mut State,
        first: BlockIndex,
        cipher: &[u8],
        entries: &[Entry],
        totals: Totals,
        end: u64,
    ) -> Result<(), FileError> {
        let size = state.size.max(end);
        if matches!(state.header, HeaderState::Unwritten(_)) && first.0 < HEAD_BLOCKS {
            return self.place_with_header(state, first, cipher, entries, totals, size);
        }
        self.write_header(state)?;
        state.unsealed = true;
        state.fresh = true;
        let at = entry_offset(first);
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| Entry::encode(Some(entry))).collect();
        let written =
            self.file.write_at(cipher, data_offset(first)).and_then(|()| self.file.write_at(&bytes, at));
        if let Err(error) = written {
            self.entries.forget();
            self.take_back_entries(state, at, bytes.len());
            return Err(self.take_back_growth(state, error));
        }
        if group_of(first).is_some() && at >= state.backing_len {
            self.entries.began(first);
        }
        self.entries.wrote(first, &bytes);
        state.backing_len = state.backing_len.max(data_offset(first) + cipher.len() as u64);
        state.totals = totals;
        state.size = size;
        Ok(())
    }

    /// After a failed write of new blocks, makes holes of their entries again: a part of them may be there, and would stand
    /// for blocks that are not.
    fn take_back_entries(&self, state: &State, at: u64, len: usize) {
        if at < state.backing_len
            && let Err(error) = self.file.write_at(&vec![0; len], at)
        {
            self.give_up(error);
        }
    }

    /// What a failed write has left cannot be taken back. No file may be sealed in this state: the session ends here for
    /// writers, and the next one tolerates what a crash may leave.
    fn give_up(&self, error: StoreError) {
        tracing::error!(ino = self.ino, %error, "a failed write could not be taken back; the volume is read-only now");
        self.ctx.fail(error);
    }

    /// After a failed write, takes back what it added to the backing file's size: the size says where the file
    /// ends.
    fn take_back_growth(&self, state: &State, error: StoreError) -> FileError {
        let restored = match self.file.stat() {
            Ok(stat) if stat.size > state.backing_len => self.file.set_len(state.backing_len),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = restored {
            self.give_up(error);
        }
        error.into()
    }

    /// The first blocks of a new file, with its header and seal, in one call where they follow one another.
    fn place_with_header(
        &self,
        state: &mut State,
        first: BlockIndex,
        cipher: &[u8],
        entries: &[Entry],
        totals: Totals,
        size: u64,
    ) -> Result<(), FileError> {
        let keys = self.keys(state)?;
        let before = (state.totals, state.size);
        (state.totals, state.size) = (totals, size);
        let seal = self.make_seal(state, &keys);
        let HeaderState::Unwritten(new) = &state.header else { return Ok(()) };
        let identity = new.identity;
        let mut page = Header::encode_new(&identity, &new.slot, &seal, &[])?;
        let at = HEAD_ENTRIES_OFFSET as usize + first.0 as usize * ENTRY_LEN;
        for (place, entry) in page[at..].chunks_exact_mut(ENTRY_LEN).zip(entries) {
            place.copy_from_slice(&Entry::encode(Some(entry)));
        }
        let written = if first.0 == 0 {
            self.file.write_vectored_at(&[IoSlice::new(&page), IoSlice::new(cipher)], 0)
        } else {
            self.file.write_at(cipher, data_offset(first)).and_then(|()| self.file.write_at(&page, 0))
        };
        if let Err(error) = written {
            (state.totals, state.size) = before;
            return Err(self.take_back_growth(state, error));
        }
        self.header_written(state, identity);
        state.backing_len = data_offset(first) + cipher.len() as u64;
        self.entries.forget();
        Ok(())
    }

    /// Writes blocks that exist, or may not be written in place now, as images into the journal.
    fn write_journalled(
        self: &Arc<Self>,
        state: &mut State,
        keys: &FileKeys,
        piece: Piece<'_>,
        room: &Reservation<'_>,
    ) -> Result<(), FileError> {
        self.write_header(state)?;
        let blocks = piece.blocks();
        self.make_room(state, blocks.clone())?;
        let mut block = blocks.start;
        while block < blocks.end {
            let mut batch = Batch::begin(self, state)?;
            while block < blocks.end && batch.draft.has_room(1 + FRAME_PLACES) {
                let index = BlockIndex(block);
                batch.size = batch.size.max(piece.between(block..block + 1).end());
                let (entry, page) = batch.add_image(state, keys, index, Some(piece.in_block(index)), None)?;
                let image = RecordBody::Image { block: index, entry, page, size: batch.size };
                batch.draft.push(self.file_ref, image);
                block += 1;
            }
            batch.append(state, room)?;
        }
        Ok(())
    }
}

impl EncryptedFile {
    /// Makes sure that journalled images of `blocks` can be put in place later: those that are holes take space then, or
    /// lie beyond what the backing file system can store.
    fn make_room(&self, state: &State, blocks: std::ops::Range<u64>) -> Result<(), FileError> {
        let mut holes: Option<std::ops::Range<u64>> = None;
        for block in blocks {
            if matches!(self.block(state, BlockIndex(block))?, BlockState::Hole) {
                holes = Some(holes.map_or(block, |holes| holes.start)..block + 1);
            }
        }
        let Some(holes) = holes else { return Ok(()) };
        let (first, last) = (BlockIndex(holes.start), BlockIndex(holes.end - 1));
        // Entry pages of further groups lie between the data.
        self.take_space(data_offset(first), data_offset(last) + PAGE_U64)?;
        match group_of(first).map(entry_page_offset) {
            Some(entries) => self.take_space(entries, entries + PAGE_U64),
            None => Ok(()),
        }
    }

    /// Reserves the bytes `from..to` of the backing file, where its file system can do that.
    pub(super) fn take_space(&self, from: u64, to: u64) -> Result<(), FileError> {
        match self.file.allocate(from, to - from) {
            Err(error) if error.kind == StoreErrorKind::Unsupported => Ok(()),
            other => Ok(other?),
        }
    }
}

/// Images of one file on their way into one chunk. Nothing of it shows in the file's state before the chunk is
/// in the journal.
pub(super) struct Batch<'a> {
    file: &'a Arc<EncryptedFile>,
    pub(super) draft: ChunkDraft,
    images: Vec<(u64, Entry, u16)>,
    pub(super) totals: Totals,
    pub(super) size: u64,
    /// The chunk has a cut to this size, before its images.
    pub(super) cut: Option<u64>,
}

impl<'a> Batch<'a> {
    pub(super) fn begin(file: &'a Arc<EncryptedFile>, state: &mut State) -> Result<Self, FileError> {
        let mut draft = ChunkDraft::new();
        file.name_in(state, &mut draft)?;
        Ok(Self { file, draft, images: Vec::new(), totals: state.totals, size: state.size, cut: None })
    }

    /// Encrypts `block` anew: what it held, with `data` over it, cut to `cut` bytes. The caller adds
    /// the record that names the entry and the payload page.
    pub(super) fn add_image(
        &mut self,
        state: &State,
        keys: &FileKeys,
        block: BlockIndex,
        data: Option<(usize, &[u8])>,
        cut: Option<usize>,
    ) -> Result<(Entry, u16), FileError> {
        let kind = self.file.block(state, block)?;
        let old = match kind {
            BlockState::InPlace(entry) | BlockState::Journalled(entry, _) => Some(entry),
            BlockState::Hole | BlockState::Lost => None,
        };
        let mut plain = [0; PAGE];
        let mut len = old.map_or(0, |entry| usize::from(entry.len));
        let covered = data.is_some_and(|(skip, data)| skip == 0 && data.len() >= len);
        if !covered && old.is_some() {
            self.file.read_block(state, keys, block, kind, &mut plain)?;
        }
        if let Some((skip, data)) = data {
            plain[skip..skip + data.len()].copy_from_slice(data);
            len = len.max(skip + data.len());
        }
        let len = cut.unwrap_or(len);
        let mut sealed = None;
        let file = self.file;
        let page = self.draft.add_page(|out| sealed = Some(file.seal_block(keys, block, &plain[..len], out)));
        let entry = sealed.expect("the page was filled");
        if let Some(old) = &old {
            self.totals.remove(&keys.sum, file.session(), block, old);
        }
        self.totals.add(&keys.sum, file.session(), block, &entry);
        self.images.push((block.0, entry, page));
        Ok((entry, page))
    }

    /// Appends the chunk; then the state shows it.
    pub(super) fn append(self, state: &mut State, room: &Reservation<'_>) -> Result<(), FileError> {
        let before = (state.totals, state.size);
        (state.totals, state.size) = (self.totals, self.size);
        match self.file.append_sealed(state, self.draft, room) {
            Ok(placed) => {
                if let Some(size) = self.cut {
                    state.overlay.cut_to(size);
                    state.journalled_until = placed.lsn;
                }
                for (block, entry, page) in self.images {
                    let at = placed.payload_offset + u64::from(page) * PAGE_U64;
                    state.overlay.blocks.insert(block, Journalled::Image(entry, at));
                }
                if !self.file.ctx.rules.write_ahead {
                    self.file.apply(state)?;
                }
                Ok(())
            }
            Err(error) => {
                (state.totals, state.size) = before;
                Err(error)
            }
        }
    }
}
