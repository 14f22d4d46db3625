//! Reading.

use std::cell::RefCell;

use super::encrypted_file::{BlockState, EncryptedFile, State};
use super::{Damage, FileError};
use crate::crypto::FileKeys;
use crate::format::geometry::{block_of, data_offset, stretch_end};
use crate::format::{BlockAad, BlockIndex, Entry, PAGE, PAGE_U64};

thread_local! {
    /// Ciphertext of a run of blocks; kept, because a request must not allocate.
    static CIPHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The most blocks that are read from the backing file at once: 1 MiB.
const MAX_RUN: u64 = 256;

/// Runs `work` with a scratch buffer of `len` bytes.
pub(super) fn with_scratch<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    CIPHER.with(|cell| match cell.try_borrow_mut() {
        Ok(mut buffer) => {
            if buffer.len() < len {
                buffer.resize(len, 0);
            }
            work(&mut buffer[..len])
        }
        // A run within a run: rare, and worth an allocation.
        Err(_) => work(&mut vec![0; len]),
    })
}

impl EncryptedFile {
    /// Reads until `buf` is full or the file ends; returns the number of bytes.
    ///
    /// # Errors
    /// [`FileError::Damaged`] for a block that is not the one that was written, [`FileError::Key`] while the
    /// KMS key is unusable, or the backing file's.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, FileError> {
        let state = self.state.read();
        let keys = self.keys_for_read(&state)?;
        let len = state.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let (Some(keys), true) = (keys, len > 0) else { return Ok(0) };
        let buf = &mut buf[..len];
        let end = offset + len as u64;
        let mut at = offset;
        while at < end {
            let stop = self.read_run(&state, &keys, at, end, &mut buf[(at - offset) as usize..])?;
            at = stop;
        }
        Ok(len)
    }

    /// Reads from `at` to the end of the run of like blocks there, at most to `end`; returns where it stopped.
    fn read_run(
        &self,
        state: &State,
        keys: &FileKeys,
        at: u64,
        end: u64,
        out: &mut [u8],
    ) -> Result<u64, FileError> {
        let first = block_of(at);
        let in_block = (at - first.0 * PAGE_U64) as usize;
        let block_stop = ((first.0 + 1) * PAGE_U64).min(end);
        let place = &mut out[..(block_stop - at) as usize];
        match self.block(state, first)? {
            BlockState::Hole if state.is_dense() => return Err(state.damaged(Damage::MissingBlock(first.0))),
            BlockState::Hole | BlockState::Lost => place.fill(0),
            BlockState::Journalled(entry, journal_at) => with_scratch(2 * PAGE, |scratch| {
                let (cipher, plain) = scratch.split_at_mut(PAGE);
                self.ctx.journal()?.read_pages(journal_at, cipher)?;
                self.open_block(state, keys, first, &entry, cipher, plain)?;
                place.copy_from_slice(&plain[in_block..in_block + place.len()]);
                Ok::<_, FileError>(())
            })?,
            BlockState::InPlace(entry) => return self.read_in_place(state, keys, (at, end), entry, out),
        }
        Ok(block_stop)
    }

    /// Reads the blocks in place from `range.0` on that follow one another in the backing file.
    fn read_in_place(
        &self,
        state: &State,
        keys: &FileKeys,
        range: (u64, u64),
        first_entry: Entry,
        out: &mut [u8],
    ) -> Result<u64, FileError> {
        let (at, end) = range;
        let first = block_of(at);
        let limit = (block_of(end - 1).0 + 1).min(stretch_end(first).0).min(first.0 + MAX_RUN);
        let mut entries = vec![first_entry];
        while first.0 + (entries.len() as u64) < limit {
            match self.block(state, BlockIndex(first.0 + entries.len() as u64))? {
                BlockState::InPlace(entry) => entries.push(entry),
                _ => break,
            }
        }
        with_scratch((entries.len() + 1) * PAGE, |scratch| {
            let (cipher, spare) = scratch.split_at_mut(entries.len() * PAGE);
            let got = self.file.read_at(cipher, data_offset(first))?;
            cipher[got..].fill(0);
            let mut position = at;
            for (index, entry) in entries.iter().enumerate() {
                let block = BlockIndex(first.0 + index as u64);
                let start = block.0 * PAGE_U64;
                let stop = (start + PAGE_U64).min(end);
                let cipher = &cipher[index * PAGE..][..PAGE];
                let place = &mut out[(position - at) as usize..(stop - at) as usize];
                if place.len() == PAGE {
                    self.open_block(state, keys, block, entry, cipher, place)?;
                } else {
                    self.open_block(state, keys, block, entry, cipher, spare)?;
                    let skip = (position - start) as usize;
                    place.copy_from_slice(&spare[skip..skip + place.len()]);
                }
                position = stop;
            }
            Ok(position)
        })
    }

    /// Decrypts a block into a whole page of plaintext, zero behind its last byte. A block that a crash may
    /// have torn is zero.
    pub(super) fn open_block(
        &self,
        state: &State,
        keys: &FileKeys,
        block: BlockIndex,
        entry: &Entry,
        cipher: &[u8],
        plain: &mut [u8],
    ) -> Result<(), FileError> {
        let len = usize::from(entry.len);
        let aad = BlockAad::new(block, entry.len);
        let (text, rest) = plain.split_at_mut(len);
        rest.fill(0);
        match keys.content.open(&entry.nonce(), aad.bytes(), &cipher[..len], &entry.tag, text) {
            Ok(()) => Ok(()),
            Err(_) => {
                text.fill(0);
                if self.may_be_torn(state, entry.session) {
                    tracing::warn!(
                        ino = self.ino,
                        block = block.0,
                        "a block that a crash tore reads as zero"
                    );
                    return Ok(());
                }
                tracing::error!(ino = self.ino, block = block.0, "a block is not the one that was written");
                Err(state.damaged(Damage::Block(block.0)))
            }
        }
    }

    /// The plaintext page of `block`, whatever it is. Returns its entry if it has one.
    pub(super) fn read_block(
        &self,
        state: &State,
        keys: &FileKeys,
        block: BlockIndex,
        kind: BlockState,
        plain: &mut [u8],
    ) -> Result<(), FileError> {
        let mut cipher = [0; PAGE];
        let entry = match kind {
            BlockState::Hole if state.is_dense() => return Err(state.damaged(Damage::MissingBlock(block.0))),
            BlockState::Hole | BlockState::Lost => {
                plain.fill(0);
                return Ok(());
            }
            BlockState::Journalled(entry, at) => {
                self.ctx.journal()?.read_pages(at, &mut cipher)?;
                entry
            }
            BlockState::InPlace(entry) => {
                self.file.read_at(&mut cipher, data_offset(block))?;
                entry
            }
        };
        self.open_block(state, keys, block, &entry, &cipher, plain)
    }
}
