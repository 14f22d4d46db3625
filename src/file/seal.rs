//! Making and placing seals.

use std::sync::Arc;

use super::FileError;
use super::encrypted_file::{EncryptedFile, HeaderState, State};
use super::open::seal_aad;
use super::write::Batch;
use crate::crypto::{FileKeys, random};
use crate::format::{Header, PAGE_U64, RecordBody, SEAL_OFFSETS, SealBody, SealFrame};
use crate::journal::{ChunkDraft, Placed, Reservation};

impl EncryptedFile {
    /// The seal of the logical state, one generation on.
    pub(super) fn make_seal(&self, state: &mut State, keys: &FileKeys) -> SealFrame {
        state.seal_generation += 1;
        let body = SealBody {
            size: state.size,
            present: state.totals.present,
            sum_old: state.totals.old.to_bytes(),
            sum_cur: state.totals.cur.to_bytes(),
            applied_lsn: state.overlay.last_lsn.0,
        };
        let (session, generation) = (self.session(), state.seal_generation);
        let file_id = state.file_id().expect("a sealed file has a header");
        let mut frame = SealFrame { session, generation, nonce: [0; 12], cipher: [0; 64], tag: [0; 16] };
        random::fill_nonce(&mut frame.nonce);
        let aad = seal_aad(file_id, session, generation);
        frame.tag = keys.seal.seal(&frame.nonce, &aad, &body.encode(), &mut frame.cipher);
        frame
    }

    /// Seals what is there: in place, or in the journal while changes are pending.
    pub(super) fn seal(self: &Arc<Self>, state: &mut State, room: &Reservation<'_>) -> Result<(), FileError> {
        if state.overlay.pending {
            Batch::begin(self, state)?.append(state, room)
        } else {
            self.seal_in_place(state)
        }
    }

    /// The keys at hand, be the KMS key usable or not: a seal tells nobody anything.
    fn keys_for_seal(&self, state: &mut State) -> Result<Arc<FileKeys>, FileError> {
        match &state.keys {
            Some(keys) => Ok(keys.clone()),
            None => self.keys(state),
        }
    }

    /// Writes the seal in place, over the older one. Only while nothing is journalled: the seal in place
    /// describes what is in place.
    pub(super) fn seal_in_place(&self, state: &mut State) -> Result<(), FileError> {
        let keys = self.keys_for_seal(state)?;
        let seal = self.make_seal(state, &keys);
        self.put_seal(state, &seal)
    }

    /// Writes `seal` in place, over the older one.
    pub(super) fn put_seal(&self, state: &mut State, seal: &SealFrame) -> Result<(), FileError> {
        self.file.write_at(&seal.encode(), SEAL_OFFSETS[state.next_seal] as u64)?;
        state.next_seal = 1 - state.next_seal;
        state.unsealed = false;
        state.fresh = true;
        Ok(())
    }

    /// Writes the header of a file that has none yet, without blocks.
    pub(super) fn write_header(&self, state: &mut State) -> Result<(), FileError> {
        let keys = self.keys(state)?;
        if !matches!(state.header, HeaderState::Unwritten(_)) {
            return Ok(());
        }
        let seal = self.make_seal(state, &keys);
        let HeaderState::Unwritten(new) = &state.header else { return Ok(()) };
        let page = Header::encode_new(&new.identity, &new.slot, &seal, &[])?;
        let identity = new.identity;
        self.file.write_at(&page, 0)?;
        self.header_written(state, identity);
        Ok(())
    }

    /// Notes that the header page is on disk, with a seal in the first place.
    pub(super) fn header_written(&self, state: &mut State, identity: crate::format::Identity) {
        state.header = HeaderState::Written(identity);
        state.backing_len = state.backing_len.max(PAGE_U64);
        state.next_seal = 1;
        state.unsealed = false;
        state.fresh = true;
    }

    /// Closes a chunk about this file with the seal of the state that it leads to, and appends it. The
    /// file is kept open until the chunk is in place.
    pub(super) fn append_sealed(
        self: &Arc<Self>,
        state: &mut State,
        mut draft: ChunkDraft,
        room: &Reservation<'_>,
    ) -> Result<Placed, FileError> {
        let keys = self.keys_for_seal(state)?;
        let seal = self.make_seal(state, &keys);
        draft.push(self.file_ref, RecordBody::Seal(seal));
        let journal = self.ctx.journal()?;
        let earlier = self.ctx.pending.lock().insert(self.file_ref, self.clone());
        drop(earlier);
        let placed = journal.append(&draft, room)?;
        state.overlay.last_lsn = placed.lsn;
        state.overlay.last_seal = Some(seal);
        state.overlay.pending = true;
        state.unsealed = false;
        Ok(placed)
    }
}
