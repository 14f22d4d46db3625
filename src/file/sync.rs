//! Flush and fsync.

use std::sync::Arc;

use super::FileError;
use super::encrypted_file::{EncryptedFile, HeaderState};
use crate::format::Lsn;

impl EncryptedFile {
    /// At close: header and seal are written if they changed. Nothing is made durable.
    ///
    /// # Errors
    /// [`FileError::Key`] or the backing file's.
    pub fn flush(&self) -> Result<(), FileError> {
        if self.ctx.journal.is_none() {
            return Ok(());
        }
        let mut state = self.state.write();
        if matches!(state.header, HeaderState::Nascent | HeaderState::Unwritten(_)) {
            return self.write_header(&mut state);
        }
        // With changes pending, the checkpoint seals: a seal in place describes what is in place.
        if state.unsealed && !state.overlay.pending { self.seal_in_place(&mut state) } else { Ok(()) }
    }

    /// Makes everything that was written durable.
    ///
    /// # Errors
    /// The backing file's; if a flush failed, the volume is read-only from here on, because what the flush
    /// should have written may be lost and a second flush would not say so.
    pub fn fsync(self: &Arc<Self>, data_only: bool) -> Result<(), FileError> {
        let Some(journal) = &self.ctx.journal else { return Ok(()) };
        journal.check()?;
        let room = self.ctx.reserve(1)?;
        let _one_flush = self.sync.lock();
        let mut state = self.state.write();
        if matches!(state.header, HeaderState::Nascent | HeaderState::Unwritten(_)) {
            self.write_header(&mut state)?;
        }
        if state.unsealed {
            self.seal(&mut state, &room)?;
        }
        let fresh = std::mem::take(&mut state.fresh);
        let journalled = if state.overlay.pending { state.overlay.last_lsn } else { Lsn(0) };
        drop(state);
        let attributes = !data_only && self.take_attributes_changed();
        if attributes {
            self.file.sync_all().map_err(|error| self.ctx.fail(error))?;
        } else if fresh {
            self.file.sync_data().map_err(|error| self.ctx.fail(error))?;
        }
        Ok(journal.sync_to(journalled)?)
    }
}
