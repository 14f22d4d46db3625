//! Putting journalled changes in place.

use std::sync::Arc;

use super::encrypted_file::{EncryptedFile, State};
use super::overlay::Journalled;
use super::{FileContext, FileError};
use crate::format::geometry::{backing_size, data_offset, entry_offset, stretch_end};
use crate::format::{BlockIndex, Entry, PAGE, PAGE_U64};
use crate::journal::{cut, grow, punch};

/// The most blocks that are put in place with one call: 1 MiB.
const MAX_RUN: usize = 256;

impl FileContext {
    /// Makes all journalled changes durable where they are, in the journal.
    ///
    /// # Errors
    /// [`FileError::Journal`].
    pub fn commit(&self) -> Result<(), FileError> {
        match &self.journal {
            Some(journal) => Ok(journal.sync_to(journal.last_lsn())?),
            None => Ok(()),
        }
    }

    /// Puts all journalled changes in place, makes them durable there, and frees the journal.
    ///
    /// # Errors
    /// The backing files' and the journal's. What could not be put in place stays in the journal.
    pub fn checkpoint(&self) -> Result<(), FileError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let _one_checkpoint = self.checkpoint.lock();
        // The mark first: whatever is before it belongs to a file that is pending now.
        let mark = journal.mark();
        if journal.start_lsn() > mark.last_lsn() {
            return Ok(());
        }
        if self.rules.write_ahead {
            journal.sync_to(mark.last_lsn())?;
        }
        let files: Vec<_> = self.pending.lock().values().cloned().collect();
        for file in &files {
            file.put_in_place()?;
        }
        journal.advance(&mark)?;
        Ok(())
    }
}

impl EncryptedFile {
    /// Puts the journalled changes of this file in place and flushes it. It stops being pending when nothing
    /// came in the meantime.
    fn put_in_place(self: &Arc<Self>) -> Result<(), FileError> {
        let _one_flush = self.sync.lock();
        let mut state = self.state.write();
        self.apply(&mut state)?;
        state.fresh = false;
        let done = self.ctx.pending.lock().remove(&self.file_ref);
        drop(state);
        let flushed = self.file.sync_data().map_err(|error| self.ctx.fail(error));
        // Not before the flush: the last user of the file may be gone.
        drop(done);
        Ok(flushed?)
    }

    /// Writes what is journalled in place and seals it. The journal has all of it durably, so a failure or a
    /// crash in the middle loses nothing.
    pub(super) fn apply(&self, state: &mut State) -> Result<(), FileError> {
        if !state.overlay.pending {
            return Ok(());
        }
        if self.ctx.rules.write_ahead {
            self.ctx.journal()?.sync_to(state.overlay.last_lsn)?;
        }
        self.entries.forget();
        if let Some(size) = state.overlay.cut {
            cut(&self.file, size)?;
        }
        self.apply_blocks(state)?;
        grow(&self.file, state.size)?;
        state.backing_len = state.backing_len.max(backing_size(state.size));
        if state.overlay.cut.is_some() {
            state.backing_len = self.file.stat()?.size;
        }
        match (&state.keys, state.overlay.last_seal) {
            // Keys are forgotten only after a last seal, which describes the same blocks.
            (None, Some(seal)) => self.put_seal(state, &seal)?,
            _ => self.seal_in_place(state)?,
        }
        state.overlay.clear();
        Ok(())
    }

    fn apply_blocks(&self, state: &State) -> Result<(), FileError> {
        let mut run: Vec<(u64, Entry, u64)> = Vec::new();
        for (block, journalled) in &state.overlay.blocks {
            match journalled {
                Journalled::Hole => punch(&self.file, BlockIndex(*block), 1)?,
                Journalled::Image(entry, at) => {
                    let follows = run.last().is_some_and(|(last, ..)| {
                        last + 1 == *block && *block < stretch_end(BlockIndex(*last)).0 && run.len() < MAX_RUN
                    });
                    if !follows {
                        self.place_run(&run)?;
                        run.clear();
                    }
                    run.push((*block, *entry, *at));
                }
            }
        }
        self.place_run(&run)
    }

    /// Writes images of blocks that follow one another, and then their entries.
    fn place_run(&self, run: &[(u64, Entry, u64)]) -> Result<(), FileError> {
        let (Some((first, ..)), Some((_, last, _))) = (run.first(), run.last()) else { return Ok(()) };
        let mut cipher = vec![0; run.len() * PAGE];
        let mut rest = &mut cipher[..];
        for images in run.chunk_by(|(.., one), (.., next)| one + PAGE_U64 == *next) {
            let (pages, behind) = rest.split_at_mut(images.len() * PAGE);
            self.ctx.journal()?.read_pages(images[0].2, pages)?;
            rest = behind;
        }
        cipher.truncate((run.len() - 1) * PAGE + usize::from(last.len));
        let entries: Vec<u8> = run.iter().flat_map(|(_, entry, _)| Entry::encode(Some(entry))).collect();
        let first = BlockIndex(*first);
        self.file.write_at(&cipher, data_offset(first))?;
        self.file.write_at(&entries, entry_offset(first))?;
        Ok(())
    }
}
