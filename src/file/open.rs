//! Opening: telling a crash from tampering (`docs/format.md`, "Seal").

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::encrypted_file::{HeaderState, State};
use super::entries::{Totals, for_each_in_head, for_each_present, head_entries};
use super::{Damage, FileContext, FileError};
use crate::crypto::{EntrySum, FileKeys};
use crate::format::geometry::{
    HEAD_BLOCKS, PlainSize, backing_size, block_count, data_offset, entry_offset, plain_size, stretch_end,
};
use crate::format::{
    BlockAad, BlockIndex, DomainId, ENTRY_LEN, Entry, FileId, FormatError, Header, IDENTITY_LEN, KeySlot,
    PAGE, PAGE_U64, SEAL_LEN, SEAL_OFFSETS, SEALED_XATTR_PREFIXES, SLOT_LEN, SLOT_OFFSETS, Seal, SealBody,
    SealFrame, SessionNumber,
};
use crate::journal::clear_entries_from;
use crate::store::{BackingNode, FileAccess, FileRef, StoreErrorKind};

const SECTOR: usize = 512;
/// What is read of a file at once when it is opened, if it is not longer: header and content in one turn of the
/// device, as the kernel reads ahead in a file without a header.
const READ_TOGETHER: u64 = 33 * PAGE_U64;

/// What was read of a file when it was opened.
pub(super) struct Opened {
    pub(super) state: State,
    /// The entries in the header page, unless they were changed since.
    pub(super) head: Option<Box<[u8]>>,
}

impl Opened {
    pub(super) fn nascent() -> Self {
        Self { state: State::nascent(), head: None }
    }
}

/// Reads header, keys, seal and entries of a backing file.
pub(super) fn read_state(ctx: &FileContext, file: &FileRef, domain: DomainId) -> Result<Opened, FileError> {
    let backing_len = file.stat()?.size;
    if backing_len == 0 {
        ctx.keys.check_usable(domain)?;
        return Ok(Opened::nascent());
    }
    file.will_need(0, backing_len.min(READ_TOGETHER));
    let mut page = [0; PAGE];
    file.read_at(&mut page, 0)?;
    if ctx.has_crashed() && was_cut_off(ctx, &page) {
        tracing::warn!("a file that was being created when the volume crashed is empty now");
        if ctx.journal.is_some() {
            // Durable at once, so that a second crash cannot mix this header with the next one.
            file.set_len(0)?;
            file.sync_data()?;
        }
        return Ok(Opened::nascent());
    }
    let damaged = |damage| FileError::Damaged { file: None, damage };
    let header = Header::parse(&page).map_err(|_| damaged(Damage::Header))?;
    if header.identity.volume_id != ctx.volume_id || header.identity.domain_id != domain {
        return Err(damaged(Damage::Foreign));
    }
    let keys = ctx.keys.unwrap(&header.identity, &header.slots)?;
    Opening { ctx, file, backing_len, header, head: head_entries(&page), keys }.open()
}

impl FileContext {
    /// Whether a crash cut off the creation of the closed file `node`: it is empty as soon as it is opened, whatever
    /// size its backing file shows. Costs nothing in a volume that never crashed.
    ///
    /// # Errors
    /// The backing file's.
    pub fn is_cut_off(&self, node: &dyn BackingNode) -> Result<bool, FileError> {
        if !self.has_crashed() {
            return Ok(false);
        }
        let mut page = [0; PAGE];
        node.open_file(FileAccess::Read)?.read_at(&mut page, 0)?;
        Ok(was_cut_off(self, &page))
    }

    fn has_crashed(&self) -> bool {
        self.history.crashed_between(SessionNumber(0), self.session)
    }
}

/// Whether `page`, the first one of a file that is not empty, says that a crash cut off its creation, if there was one.
fn was_cut_off(ctx: &FileContext, page: &[u8; PAGE]) -> bool {
    is_torn_creation(page) && !outlived_a_session(ctx, page)
}

/// Whether a sector of the header that every file has was never written: the creation did not reach the disk.
fn is_torn_creation(page: &[u8]) -> bool {
    let zero = |at: usize, len: usize| page[at..at + len].chunks(SECTOR).any(|s| s.iter().all(|b| *b == 0));
    let slots_torn = SLOT_OFFSETS.iter().all(|at| zero(*at, SLOT_LEN));
    let seals_torn = SEAL_OFFSETS.iter().all(|at| zero(*at, SEAL_LEN));
    zero(0, IDENTITY_LEN) || slots_torn || seals_torn
}

/// Whether the header says that the file was there when a session ended well: then no crash explains that a sector of it
/// is missing, and what is left of the file is worth keeping.
fn outlived_a_session(ctx: &FileContext, page: &[u8]) -> bool {
    let clean = |session| ctx.history.was_clean(session);
    let seals = SEAL_OFFSETS.iter().filter_map(|at| SealFrame::parse(&page[*at..]).ok().flatten());
    let entries = head_entries(page).chunks(ENTRY_LEN).filter_map(|bytes| Entry::parse(bytes).ok().flatten());
    let rewrapped = || SLOT_OFFSETS.iter().any(|at| KeySlot::generation_of(&page[*at..]) > Some(1));
    seals.map(|seal| seal.session).any(clean) || entries.map(|entry| entry.session).any(clean) || rewrapped()
}

/// Takes away the encrypted attributes of a file without a header: a crash took their keys with the header, which was
/// never durable, and under the next keys they would pass for tampering.
pub(super) fn drop_stale_attributes(node: &dyn BackingNode, file: &FileRef) -> Result<(), FileError> {
    let names = match node.list_xattrs() {
        Err(error) if error.kind == StoreErrorKind::Unsupported => return Ok(()),
        other => other?,
    };
    let stale =
        |name: &&Vec<u8>| SEALED_XATTR_PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes()));
    let mut dropped = false;
    for name in names.iter().filter(stale) {
        node.remove_xattr(OsStr::from_bytes(name))?;
        dropped = true;
    }
    // Durable before the next keys are.
    if dropped { Ok(file.sync_all()?) } else { Ok(()) }
}

/// Sums over the entries as they are, by their session's place before, at or after the seal's.
#[derive(Default)]
struct Found {
    old: EntrySum,
    cur: EntrySum,
    /// A block of a session after the seal's that ended cleanly: it would have sealed.
    foreign: bool,
    /// There are blocks of sessions after the seal's, or malformed entries.
    later: bool,
    present: u64,
    /// As the running session counts.
    totals: Totals,
}

struct Opening<'a> {
    ctx: &'a FileContext,
    file: &'a FileRef,
    backing_len: u64,
    header: Header,
    head: &'a [u8],
    keys: Arc<FileKeys>,
}

impl Opening<'_> {
    fn open(self) -> Result<Opened, FileError> {
        let seal = newest_seal(&self.keys, &self.header).ok_or_else(|| self.damaged(Damage::Seal))?;
        if seal.session > self.ctx.session {
            return Err(self.damaged(Damage::Seal));
        }
        let history = &self.ctx.history;
        let crashed_since = !history.was_clean(seal.session)
            || history.crashed_between(SessionNumber(seal.session.0 + 1), self.ctx.session);
        let size = self.check_size(&seal, crashed_since)?;
        let totals = if self.ctx.verifies(size) || crashed_since {
            self.check_entries(&seal, size, crashed_since)?
        } else {
            self.totals_of(&seal)
        };
        let mut state = State {
            header: HeaderState::Written(self.header.identity),
            size,
            backing_len: self.backing_len,
            totals,
            seal_generation: self.last_generation(),
            next_seal: self.older_seal(),
            unsealed: crashed_since,
            tolerant: crashed_since,
            keys: Some(self.keys.clone()),
            ..State::nascent()
        };
        if crashed_since && self.ctx.journal.is_some() {
            let changed = self.tidy_end(&mut state)? | self.heal(&mut state)?;
            if changed {
                // Durable before the next seal, which counts on it.
                self.file.sync_data()?;
                return Ok(Opened { state, head: None });
            }
        }
        Ok(Opened { state, head: Some(self.head.into()) })
    }

    fn file_id(&self) -> FileId {
        self.header.identity.file_id
    }

    fn damaged(&self, damage: Damage) -> FileError {
        FileError::Damaged { file: Some(self.file_id()), damage }
    }

    /// The size that the backing file shows, unless only tampering explains it.
    fn check_size(&self, seal: &Seal, crashed_since: bool) -> Result<u64, FileError> {
        let shown = plain_size(self.backing_len);
        let size = shown.shown();
        let sound = if !crashed_since {
            shown == PlainSize::Bytes(seal.body.size)
        } else if self.ctx.history.was_clean(seal.session) {
            size >= seal.body.size
        } else {
            true
        };
        if sound { Ok(size) } else { Err(self.damaged(Damage::Size)) }
    }

    /// Adds up all entries and compares with the seal.
    fn check_entries(&self, seal: &Seal, size: u64, crashed_since: bool) -> Result<Totals, FileError> {
        let found = self.add_up(seal, size)?;
        let old = EntrySum::from_bytes(seal.body.sum_old);
        let cur = EntrySum::from_bytes(seal.body.sum_cur);
        let clean = self.ctx.history.was_clean(seal.session);
        if found.old != old || found.foreign || (clean && found.cur != cur) {
            return Err(self.damaged(Damage::Entries));
        }
        let exact = found.cur == cur && !found.later && size == seal.body.size;
        if !crashed_since && (!exact || found.present != seal.body.present) {
            return Err(self.damaged(Damage::Entries));
        }
        Ok(found.totals)
    }

    fn add_up(&self, seal: &Seal, size: u64) -> Result<Found, FileError> {
        let mut found = Found::default();
        let (key, running) = (&self.keys.sum, self.ctx.session);
        let mut count = |block: BlockIndex, entry: Result<Entry, FormatError>| {
            let Ok(entry) = entry else {
                found.later = true;
                return Ok(());
            };
            let term = key.term(block.0, &entry.tag);
            match entry.session.cmp(&seal.session) {
                std::cmp::Ordering::Less => found.old += term,
                std::cmp::Ordering::Equal => found.cur += term,
                std::cmp::Ordering::Greater => {
                    found.later = true;
                    let crashed = !self.ctx.history.was_clean(entry.session);
                    found.foreign |= !crashed && entry.session != running;
                }
            }
            found.present += 1;
            found.totals.add(key, running, block, &entry);
            Ok(())
        };
        for_each_in_head(self.head, block_count(size), &mut count)?;
        for_each_present(self.file, self.backing_len, HEAD_BLOCKS, block_count(size), &mut count)?;
        Ok(found)
    }

    /// The totals of a file too large to be added up at every open.
    fn totals_of(&self, seal: &Seal) -> Totals {
        let (old, cur) = (EntrySum::from_bytes(seal.body.sum_old), EntrySum::from_bytes(seal.body.sum_cur));
        let present = seal.body.present;
        if seal.session == self.ctx.session {
            Totals { old, cur, present }
        } else {
            Totals { old: old + cur, cur: EntrySum::default(), present }
        }
    }

    /// After a crash, cuts what is behind the last byte and clears entries whose blocks were not written: a
    /// later growth must not bring them back.
    fn tidy_end(&self, state: &mut State) -> Result<bool, FileError> {
        let mut changed = false;
        if let PlainSize::Ragged(size) = plain_size(self.backing_len) {
            self.file.set_len(backing_size(size))?;
            state.backing_len = backing_size(size);
            changed = true;
        }
        let behind = BlockIndex(block_count(state.size));
        let mut stale = false;
        for_each_present(self.file, state.backing_len, behind.0, stretch_end(behind).0, |_, _| {
            stale = true;
            Ok(())
        })?;
        if stale {
            clear_entries_from(self.file, behind)?;
        }
        Ok(changed || stale)
    }

    /// Makes holes of the blocks that a crash tore before they were durable. Only blocks of crashed sessions can
    /// be torn, and each is read once: from here on, a block that does not open is damage.
    fn heal(&self, state: &mut State) -> Result<bool, FileError> {
        let mut torn = Vec::new();
        for_each_present(self.file, state.backing_len, 0, block_count(state.size), |block, entry| {
            let sound = match &entry {
                Ok(entry) if self.ctx.history.was_clean(entry.session) => true,
                Ok(entry) => self.opens(block, entry)?,
                Err(_) => false,
            };
            if !sound {
                torn.push((block, entry.ok()));
            }
            Ok(())
        })?;
        let any = !torn.is_empty();
        for (block, entry) in torn {
            tracing::warn!(file = %self.file_id(), block = block.0, "a block torn by a crash is a hole now");
            self.file.write_at(&Entry::encode(None), entry_offset(block))?;
            if let Some(entry) = entry {
                state.totals.remove(&self.keys.sum, self.ctx.session, block, &entry);
            }
        }
        state.tolerant = false;
        Ok(any)
    }

    fn opens(&self, block: BlockIndex, entry: &Entry) -> Result<bool, FileError> {
        let len = usize::from(entry.len);
        let (mut cipher, mut plain) = ([0; PAGE], [0; PAGE]);
        self.file.read_at(&mut cipher[..len], data_offset(block))?;
        let aad = BlockAad::new(block, entry.len);
        let (nonce, tag) = (entry.nonce(), &entry.tag);
        Ok(self.keys.content.open(&nonce, aad.bytes(), &cipher[..len], tag, &mut plain[..len]).is_ok())
    }

    fn last_generation(&self) -> u64 {
        self.header.seals.iter().flatten().map(|seal| seal.generation).max().unwrap_or(0)
    }

    /// The place of the seal that the next one replaces.
    fn older_seal(&self) -> usize {
        let [a, b] = self.header.seals.map(|seal| seal.map_or(0, |seal| seal.generation));
        usize::from(b < a)
    }
}

/// The authentic seal of the highest generation.
fn newest_seal(keys: &FileKeys, header: &Header) -> Option<Seal> {
    let open = |frame: &SealFrame| open_seal(keys, header.identity.file_id, frame);
    header.seals.iter().flatten().filter_map(open).max_by_key(|seal| seal.generation)
}

/// Associated data of a seal: the file id and the generation, which is in the clear.
pub(super) fn seal_aad(file_id: FileId, session: SessionNumber, generation: u64) -> [u8; 28] {
    let mut aad = [0; 28];
    aad[..16].copy_from_slice(&file_id.0);
    aad[16..20].copy_from_slice(&session.0.to_le_bytes());
    aad[20..].copy_from_slice(&generation.to_le_bytes());
    aad
}

fn open_seal(keys: &FileKeys, file_id: FileId, frame: &SealFrame) -> Option<Seal> {
    let mut body = [0; crate::format::SEAL_CIPHER_LEN];
    let aad = seal_aad(file_id, frame.session, frame.generation);
    keys.seal.open(&frame.nonce, &aad, &frame.cipher, &frame.tag, &mut body).ok()?;
    let body = SealBody::parse(&body).ok()?;
    Some(Seal { session: frame.session, generation: frame.generation, body })
}
