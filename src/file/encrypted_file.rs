//! One open file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::entries::{EntryTable, Totals};
use super::open::Opened;
use super::overlay::{Journalled, Overlay};
use super::{Damage, FileContext, FileError};
use crate::crypto::FileKeys;
use crate::format::geometry::block_count;
use crate::format::{
    BlockIndex, DomainId, Entry, FileId, FileRecord, Header, Identity, Lsn, PAGE, RecordBody, SessionNumber,
};
use crate::journal::ChunkDraft;
use crate::keys::NewFileKeys;
use crate::store::{FileAccess, FileRef, NodeRef};

/// What is known about where a file's header is.
pub(super) enum HeaderState {
    /// The backing file is empty; keys are made at the first write.
    Nascent,
    /// Keys are made, and the header is not on disk yet.
    Unwritten(Box<NewFileKeys>),
    /// On disk.
    Written(Identity),
}

/// Everything about a file that changes; behind one lock.
pub(super) struct State {
    pub(super) header: HeaderState,
    /// `None` after [`EncryptedFile::forget_keys`] and before the first write of a nascent file.
    pub(super) keys: Option<Arc<FileKeys>>,
    /// Plain size in bytes, journalled changes included.
    pub(super) size: u64,
    /// Size of the backing file in bytes.
    pub(super) backing_len: u64,
    pub(super) overlay: Overlay,
    /// Of the logical state: what is in place with the overlay over it.
    pub(super) totals: Totals,
    /// Generation of the last seal, in place or journalled.
    pub(super) seal_generation: u64,
    /// Which of the two places the next seal in place goes to.
    pub(super) next_seal: usize,
    /// The seal in place does not describe what is in place.
    pub(super) unsealed: bool,
    /// Something may have been written in place since the last flush of the backing file, by an earlier opening
    /// too.
    pub(super) fresh: bool,
    /// The last chunk whose replay would destroy blocks written in place later: a cut or a punch.
    pub(super) journalled_until: Lsn,
    /// How to find the file after a crash, once it was asked for.
    pub(super) record: Option<FileRecord>,
    /// After a crash, in a volume mounted read-only: blocks of crashed sessions that do not open are holes.
    /// A writable mount makes holes of them when it opens the file, and tolerates nothing afterwards.
    pub(super) tolerant: bool,
}

/// One open file, shared by all of its handles. Many may read at a time, or one write.
pub struct EncryptedFile {
    pub(super) ctx: Arc<FileContext>,
    pub(super) node: NodeRef,
    pub(super) file: FileRef,
    pub(super) ino: u64,
    pub(super) domain: DomainId,
    pub(super) file_ref: u32,
    /// Held while the backing file is flushed; taken before `state`.
    pub(super) sync: Mutex<()>,
    pub(super) state: RwLock<State>,
    pub(super) entries: EntryTable,
    attrs_changed: AtomicBool,
}

impl State {
    pub(super) fn nascent() -> Self {
        Self {
            header: HeaderState::Nascent,
            keys: None,
            size: 0,
            backing_len: 0,
            overlay: Overlay::default(),
            totals: Totals::default(),
            seal_generation: 0,
            next_seal: 0,
            unsealed: false,
            fresh: true,
            journalled_until: Lsn(0),
            record: None,
            tolerant: false,
        }
    }

    pub(super) fn file_id(&self) -> Option<FileId> {
        match &self.header {
            HeaderState::Nascent => None,
            HeaderState::Unwritten(new) => Some(new.identity.file_id),
            HeaderState::Written(identity) => Some(identity.file_id),
        }
    }

    pub(super) fn damaged(&self, damage: Damage) -> FileError {
        FileError::Damaged { file: self.file_id(), damage }
    }

    /// Whether every block is present, by count: a hole is a loss then.
    pub(super) fn is_dense(&self) -> bool {
        self.totals.present >= block_count(self.size)
    }
}

impl EncryptedFile {
    /// A file that was just created in the backing directory. Its header goes out with the first write or
    /// flush.
    ///
    /// # Errors
    /// The backing directory's.
    pub fn create(
        ctx: &Arc<FileContext>,
        (node, file): (NodeRef, FileRef),
        ino: u64,
        domain: DomainId,
    ) -> Result<Arc<Self>, FileError> {
        ctx.journal()?;
        ctx.find_or_open(ino, || Ok(Self::assemble(ctx, (node, file), ino, domain, Opened::nascent())))
    }

    /// Opens a file, or finds it open. Verifies header, domain, seal and, up to 64 MiB, that the entries are
    /// those that were sealed.
    ///
    /// # Errors
    /// [`FileError::Damaged`], [`FileError::Key`], or the backing directory's.
    pub fn open(ctx: &Arc<FileContext>, node: NodeRef, domain: DomainId) -> Result<Arc<Self>, FileError> {
        let ino = node.stat()?.ino;
        Self::open_inode(ctx, node, ino, domain)
    }

    /// As [`Self::open`], for a node whose inode number is known.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_inode(
        ctx: &Arc<FileContext>,
        node: NodeRef,
        ino: u64,
        domain: DomainId,
    ) -> Result<Arc<Self>, FileError> {
        ctx.find_or_open(ino, || {
            let access = if ctx.journal.is_some() { FileAccess::ReadWrite } else { FileAccess::Read };
            let file = node.open_file(access)?;
            let opened = super::open::read_state(ctx, &file, domain)?;
            if matches!(opened.state.header, HeaderState::Nascent) && ctx.journal.is_some() {
                super::open::drop_stale_attributes(&*node, &file)?;
            }
            let file = Self::assemble(ctx, (node, file), ino, domain, opened);
            // Attributes may have been changed before it was opened, and nobody has flushed them since.
            file.mark_attributes_changed();
            Ok(file)
        })
    }

    fn assemble(
        ctx: &Arc<FileContext>,
        (node, file): (NodeRef, FileRef),
        ino: u64,
        domain: DomainId,
        opened: Opened,
    ) -> Arc<Self> {
        Arc::new(Self {
            ctx: ctx.clone(),
            node,
            file,
            ino,
            domain,
            file_ref: ctx.next_ref(),
            sync: Mutex::new(()),
            state: RwLock::new(opened.state),
            entries: EntryTable::new(&ctx.entry_pages, opened.head),
            attrs_changed: AtomicBool::new(false),
        })
    }

    /// The plain size in bytes, journalled changes included.
    pub fn size(&self) -> u64 {
        self.state.read().size
    }

    /// The backing node.
    pub fn node(&self) -> &NodeRef {
        &self.node
    }

    /// The domain.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// Says that attributes of the backing file changed, so that the next full fsync flushes them.
    pub fn mark_attributes_changed(&self) {
        self.attrs_changed.store(true, Ordering::Release);
    }

    pub(super) fn take_attributes_changed(&self) -> bool {
        self.attrs_changed.swap(false, Ordering::AcqRel)
    }

    /// The file's keys for its extended attributes. Writes the header of a file that has none yet.
    ///
    /// # Errors
    /// [`FileError::Key`] or the backing directory's.
    pub fn xattr_keys(&self) -> Result<Arc<FileKeys>, FileError> {
        let state = self.state.read();
        if let HeaderState::Written(_) = state.header
            && let Some(keys) = self.keys_for_read(&state)?
        {
            return Ok(keys);
        }
        drop(state);
        let mut state = self.state.write();
        let keys = self.keys(&mut state)?;
        self.write_header(&mut state)?;
        Ok(keys)
    }

    /// The keys of a file that has them, for reading its extended attributes: `None` if it has no header and so
    /// no attributes.
    ///
    /// # Errors
    /// [`FileError::Key`] or the backing directory's.
    pub fn xattr_keys_for_read(&self) -> Result<Option<Arc<FileKeys>>, FileError> {
        self.keys_for_read(&self.state.read())
    }

    /// Wipes the keys, because they may not be used any more. Later calls ask for them again, and fail while
    /// the KMS key is unusable.
    pub fn forget_keys(self: &Arc<Self>) {
        let room = self.ctx.reserve(1);
        let mut state = self.state.write();
        if let (true, true, Ok(room)) = (state.keys.is_some(), state.unsealed, room) {
            // Nothing can be written from here on, so this seal holds until the key is usable again.
            if let Err(error) = self.seal(&mut state, &room) {
                tracing::warn!(ino = self.ino, %error, "the file could not be sealed before its keys were dropped");
            }
        }
        if let HeaderState::Unwritten(_) = state.header {
            // Nothing but the header is missing, and nothing was written yet: new keys are made later.
            state.header = HeaderState::Nascent;
        }
        state.keys = None;
    }

    /// The keys for reading; an error while the KMS key is unusable. A nascent file has none.
    pub(super) fn keys_for_read(&self, state: &State) -> Result<Option<Arc<FileKeys>>, FileError> {
        self.ctx.keys.check_usable(self.domain)?;
        match (&state.keys, &state.header) {
            (Some(keys), _) => Ok(Some(keys.clone())),
            (None, HeaderState::Written(identity)) => Ok(Some(self.unwrap_again(identity)?)),
            (None, _) => Ok(None),
        }
    }

    /// The keys for writing: those of a nascent file are made here.
    pub(super) fn keys(&self, state: &mut State) -> Result<Arc<FileKeys>, FileError> {
        self.ctx.journal()?.check()?;
        if let Some(keys) = self.keys_for_read(state)? {
            state.keys = Some(keys.clone());
            return Ok(keys);
        }
        let new = self.ctx.keys.new_file(self.domain)?;
        let keys = new.keys.clone();
        state.keys = Some(keys.clone());
        state.header = HeaderState::Unwritten(Box::new(new));
        Ok(keys)
    }

    fn unwrap_again(&self, identity: &Identity) -> Result<Arc<FileKeys>, FileError> {
        let mut page = vec![0; PAGE];
        self.file.read_at(&mut page, 0)?;
        let header = Header::parse(&page)?;
        if header.identity != *identity {
            return Err(FileError::Damaged { file: Some(identity.file_id), damage: Damage::Foreign });
        }
        Ok(self.ctx.keys.unwrap(&header.identity, &header.slots)?)
    }

    /// What `block` is: journalled, in place, or a hole.
    pub(super) fn block(&self, state: &State, block: BlockIndex) -> Result<BlockState, FileError> {
        match state.overlay.get(block.0) {
            Some(Journalled::Image(entry, at)) => return Ok(BlockState::Journalled(entry, at)),
            Some(Journalled::Hole) => return Ok(BlockState::Hole),
            None => {}
        }
        match self.entries.get(&self.file, state.backing_len, block)? {
            Ok(Some(entry)) => Ok(BlockState::InPlace(entry)),
            Ok(None) => Ok(BlockState::Hole),
            Err(_) if state.tolerant => Ok(BlockState::Lost),
            Err(_) => Err(state.damaged(Damage::Entry(block.0))),
        }
    }

    /// Whether new blocks must go through the journal, because something pending or not yet retired would
    /// destroy them if it were replayed.
    pub(super) fn is_journalled(&self, state: &State) -> bool {
        if state.overlay.cut.is_some() {
            return true;
        }
        let retired = match &self.ctx.journal {
            Some(journal) => journal.start_lsn() > state.journalled_until,
            None => true,
        };
        self.ctx.rules.retire && !retired
    }

    /// The record that names this file in the chunk `draft`.
    pub(super) fn name_in(&self, state: &mut State, draft: &mut ChunkDraft) -> Result<(), FileError> {
        if state.record.is_none() {
            let (handle_kind, handle_len, handle) = match self.node.handle()? {
                Some(handle) => (handle.kind, handle.len, handle.bytes),
                None => (0, 0, [0; 24]),
            };
            let file_id = state.file_id().expect("a journalled file has a header");
            state.record = Some(FileRecord { file_id, ino: self.ino, handle_kind, handle_len, handle });
        }
        if let Some(record) = state.record {
            draft.push(self.file_ref, RecordBody::File(record));
        }
        Ok(())
    }

    pub(super) fn session(&self) -> SessionNumber {
        self.ctx.session
    }

    /// Whether the blocks of `session` may be torn: it crashed.
    pub(super) fn may_be_torn(&self, state: &State, session: SessionNumber) -> bool {
        state.tolerant && session != self.ctx.session && !self.ctx.history.was_clean(session)
    }

    /// Number of blocks of the file.
    pub(super) fn blocks(state: &State) -> u64 {
        block_count(state.size)
    }
}

impl Drop for EncryptedFile {
    fn drop(&mut self) {
        self.ctx.forget(self.ino);
    }
}

/// What a block is.
#[derive(Debug, Clone, Copy)]
pub(super) enum BlockState {
    /// Reads as zero.
    Hole,
    /// Torn by a crash before it was made durable: reads as zero, and its place may not be written freely.
    Lost,
    /// In place.
    InPlace(Entry),
    /// In the journal, its ciphertext at this offset.
    Journalled(Entry, u64),
}
