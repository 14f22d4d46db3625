//! Replaying the journal of a crashed session.
//!
//! Records are applied in place in the order of the chunks; that is idempotent, so a crash in the middle of
//! recovery is met by recovering again. No data key is needed: images are ciphertext.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::JournalError;
use super::ring::{RING_AT, file_name};
use crate::crypto::{JournalKeys, MacKey};
use crate::format::geometry::{
    backing_size, block_count, block_of, data_offset, entry_offset, entry_page_offset, group_of, plain_size,
    stretch_end,
};
use crate::format::{
    BlockIndex, ChunkHeader, ENTRY_LEN, Entry, FileId, FileRecord, Header, Identity, JournalHeader, Lsn,
    PAGE, PAGE_U64, RecordBody, SEAL_OFFSETS, SealFrame, SessionNumber, VolumeId,
};
use crate::store::{BackingNode, BackingStore, FileAccess, FileRef, NodeHandle, NodeKind, StoreErrorKind};

/// What a recovery did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Chunks replayed.
    pub chunks: u64,
    /// Blocks written in place.
    pub blocks: u64,
    /// Files written to.
    pub files: u64,
    /// Files in the journal that were deleted before the crash.
    pub gone: u64,
}

/// Replays the journal of `session` in `journal_dir`. The caller makes the result durable, records the
/// recovery, and only then puts the journal aside.
///
/// # Errors
/// [`JournalError::Store`] if the backing directory fails; recovering again later is safe.
pub fn recover(
    store: &dyn BackingStore,
    journal_dir: &dyn BackingNode,
    volume_id: VolumeId,
    session: SessionNumber,
    keys: &JournalKeys,
) -> Result<RecoveryReport, JournalError> {
    let file = match journal_dir.lookup(&file_name(session)) {
        Ok(node) => node.open_file(FileAccess::Read)?,
        Err(error) if error.is_not_found() => return Ok(RecoveryReport::default()),
        Err(error) => return Err(error.into()),
    };
    let Some(header) = newest_header(&file, volume_id, session, &keys.mac)? else {
        return Ok(RecoveryReport::default());
    };
    let mut replay =
        Replay { store, files: BTreeMap::new(), by_ino: None, report: RecoveryReport::default() };
    let mut reader =
        Reader { file, keys, session, header, next: header.start_lsn, offset: header.start_offset };
    while let Some((chunk, payload)) = reader.next_chunk()? {
        replay.apply(&chunk, &payload)?;
    }
    replay.finish()
}

fn newest_header(
    file: &FileRef,
    volume_id: VolumeId,
    session: SessionNumber,
    mac: &MacKey,
) -> Result<Option<JournalHeader>, JournalError> {
    let mut newest: Option<JournalHeader> = None;
    for page in [0, PAGE_U64] {
        let mut bytes = [0; PAGE];
        file.read_at(&mut bytes, page)?;
        let Ok(header) = JournalHeader::parse(&bytes) else { continue };
        let ours = header.volume_id == volume_id && header.session == session;
        let newer = newest.is_none_or(|other| header.generation > other.generation);
        if ours && newer && mac.verify(&[&header.mac_input()], &header.mac) {
            newest = Some(header);
        }
    }
    Ok(newest)
}

struct Reader<'a> {
    file: FileRef,
    keys: &'a JournalKeys,
    session: SessionNumber,
    header: JournalHeader,
    next: Lsn,
    offset: u64,
}

impl Reader<'_> {
    /// The next chunk, at the running position or, where the writer found no room, at the ring's beginning.
    fn next_chunk(&mut self) -> Result<Option<(ChunkHeader, Vec<u8>)>, JournalError> {
        for offset in [self.offset, 0] {
            if let Some((chunk, payload)) = self.chunk_at(offset)? {
                self.offset = offset + PAGE_U64 + payload.len() as u64;
                self.next = Lsn(self.next.0 + 1);
                return Ok(Some((chunk, payload)));
            }
        }
        Ok(None)
    }

    fn chunk_at(&self, offset: u64) -> Result<Option<(ChunkHeader, Vec<u8>)>, JournalError> {
        if offset + PAGE_U64 > self.header.ring_len {
            return Ok(None);
        }
        let mut page = [0; PAGE];
        self.file.read_at(&mut page, RING_AT + offset)?;
        let Ok(chunk) = ChunkHeader::parse(&page) else { return Ok(None) };
        let len = usize::from(chunk.page_count) * PAGE;
        let fits = offset + PAGE_U64 + len as u64 <= self.header.ring_len;
        if chunk.lsn != self.next || chunk.session != self.session || !fits {
            return Ok(None);
        }
        if !self.keys.mac.verify(&ChunkHeader::mac_input(&page), &chunk.mac) {
            return Ok(None);
        }
        let mut payload = vec![0; len];
        self.file.read_at(&mut payload, RING_AT + offset + PAGE_U64)?;
        let whole = self.keys.verify_payload(chunk.session.0, chunk.lsn.0, &payload, &chunk.payload_tag);
        Ok(whole.then_some((chunk, payload)))
    }
}

/// A file that records refer to.
struct Target {
    file: FileRef,
    seal: Option<SealFrame>,
}

struct Replay<'a> {
    store: &'a dyn BackingStore,
    /// By reference; `None` for a file that is gone.
    files: BTreeMap<u32, (FileId, Option<Target>)>,
    /// All regular files by inode number, listed when a handle does not open.
    by_ino: Option<HashMap<u64, Arc<dyn BackingNode>>>,
    report: RecoveryReport,
}

impl Replay<'_> {
    fn apply(&mut self, chunk: &ChunkHeader, payload: &[u8]) -> Result<(), JournalError> {
        self.report.chunks += 1;
        let page_of = |page: u16| &payload[usize::from(page) * PAGE..][..PAGE];
        for record in &chunk.records {
            if let RecordBody::File(file) = &record.body {
                self.resolve(record.file_ref, file)?;
                continue;
            }
            let Some((_, Some(target))) = self.files.get_mut(&record.file_ref) else { continue };
            match &record.body {
                RecordBody::Image { block, entry, page, size } => {
                    put_block(&target.file, *block, entry, page_of(*page))?;
                    grow(&target.file, *size)?;
                    self.report.blocks += 1;
                }
                RecordBody::Cut { size, tail } => {
                    cut(&target.file, *size)?;
                    if let (Some((entry, page)), Some(last)) = (tail, size.checked_sub(1)) {
                        put_block(&target.file, block_of(last), entry, page_of(*page))?;
                        target.file.set_len(backing_size(*size))?;
                    }
                }
                RecordBody::Size { size } => grow(&target.file, *size)?,
                RecordBody::Punch { block, count } => punch(&target.file, *block, *count)?,
                RecordBody::Seal(frame) => target.seal = Some(*frame),
                RecordBody::File(_) | RecordBody::Retire { .. } => {}
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<RecoveryReport, JournalError> {
        let mut report = self.report;
        for (_, target) in self.files.values() {
            let Some(target) = target else {
                report.gone += 1;
                continue;
            };
            report.files += 1;
            if let Some(seal) = &target.seal {
                put_seal(&target.file, seal)?;
            }
            target.file.sync_all()?;
        }
        Ok(report)
    }

    fn resolve(&mut self, file_ref: u32, record: &FileRecord) -> Result<(), JournalError> {
        if self.files.get(&file_ref).is_some_and(|(id, _)| *id == record.file_id) {
            return Ok(());
        }
        let target = match self.find(record)? {
            Some(node) => {
                let file = node.open_file(FileAccess::ReadWrite)?;
                let mut page = [0; PAGE];
                file.read_at(&mut page, 0)?;
                let same = Identity::parse(&page).is_ok_and(|identity| identity.file_id == record.file_id);
                same.then_some(Target { file, seal: None })
            }
            None => None,
        };
        self.files.insert(file_ref, (record.file_id, target));
        Ok(())
    }

    fn find(&mut self, record: &FileRecord) -> Result<Option<Arc<dyn BackingNode>>, JournalError> {
        if record.handle_len > 0 {
            let handle =
                NodeHandle { kind: record.handle_kind, len: record.handle_len, bytes: record.handle };
            match self.store.open_handle(&handle) {
                Ok(node) => return Ok(is_file(&node)?.then_some(node)),
                Err(error) if error.kind == StoreErrorKind::Stale && self.store.handles_last() => {
                    return Ok(None);
                }
                // Handles need a privilege that this process may lack, and may not outlive a mount of the backing
                // file system.
                Err(_) => {}
            }
        }
        if self.by_ino.is_none() {
            let mut found = HashMap::new();
            list_files(&self.store.root(), &mut found)?;
            self.by_ino = Some(found);
        }
        let all = self.by_ino.as_ref();
        if let Some(node) =
            all.and_then(|found| found.get(&record.ino)).filter(|node| is(node, record.file_id))
        {
            return Ok(Some(Arc::clone(node)));
        }
        if self.store.handles_last() {
            return Ok(None);
        }
        // Where handles do not last, inode numbers may not either.
        let mut nodes = all.into_iter().flat_map(|found| found.values());
        Ok(nodes.find(|node| is(node, record.file_id)).cloned())
    }
}

/// Whether the header of `node` has this file id.
fn is(node: &Arc<dyn BackingNode>, file_id: FileId) -> bool {
    let mut page = [0; PAGE];
    let read = node.open_file(FileAccess::Read).and_then(|file| file.read_at(&mut page, 0));
    read.is_ok() && Identity::parse(&page).is_ok_and(|identity| identity.file_id == file_id)
}

fn is_file(node: &Arc<dyn BackingNode>) -> Result<bool, JournalError> {
    let stat = node.stat()?;
    Ok(stat.kind == NodeKind::File && stat.nlink > 0)
}

fn list_files(
    root: &Arc<dyn BackingNode>,
    found: &mut HashMap<u64, Arc<dyn BackingNode>>,
) -> Result<(), JournalError> {
    let mut left = vec![root.clone()];
    while let Some(dir) = left.pop() {
        let mut cookie = 0;
        loop {
            let entries = dir.read_dir(cookie, 1024)?;
            let Some(last) = entries.last() else { break };
            cookie = last.cookie;
            for entry in &entries {
                let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(entry.name.as_slice());
                if entry.kind.is_some_and(|kind| !matches!(kind, NodeKind::File | NodeKind::Directory)) {
                    continue;
                }
                let node = dir.lookup(name)?;
                match node.stat()?.kind {
                    NodeKind::Directory => left.push(node),
                    NodeKind::File => drop(found.insert(entry.ino, node)),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// Writes a block and its entry in place.
pub(crate) fn put_block(
    file: &FileRef,
    block: BlockIndex,
    entry: &Entry,
    page: &[u8],
) -> Result<(), JournalError> {
    let len = usize::from(entry.len);
    file.write_at(&page[..len], data_offset(block))?;
    file.write_at(&Entry::encode(Some(entry)), entry_offset(block))?;
    Ok(())
}

/// Extends the file to `size` plain bytes; never cuts it.
pub(crate) fn grow(file: &FileRef, size: u64) -> Result<(), JournalError> {
    let wanted = backing_size(size);
    if file.stat()?.size < wanted {
        file.set_len(wanted)?;
    }
    Ok(())
}

/// Cuts the file to `size` plain bytes and clears the entries behind them.
pub(crate) fn cut(file: &FileRef, size: u64) -> Result<(), JournalError> {
    if file.stat()?.size > backing_size(size) {
        file.set_len(backing_size(size))?;
    }
    clear_entries_from(file, BlockIndex(block_count(size)))
}

/// Clears the entries from `first` to the end of its stretch, if they are within the file: a later growth must
/// not bring them back.
pub(crate) fn clear_entries_from(file: &FileRef, first: BlockIndex) -> Result<(), JournalError> {
    let at = entry_offset(first);
    if file.stat()?.size > at {
        let count = stretch_end(first).0 - first.0;
        file.write_at(&vec![0; count as usize * ENTRY_LEN], at)?;
    }
    Ok(())
}

/// Makes whole blocks holes: entries first, so that no entry ever stands for a hole.
pub(crate) fn punch(file: &FileRef, first: BlockIndex, count: u64) -> Result<(), JournalError> {
    let size = file.stat()?.size;
    let end = first.0.saturating_add(count).min(block_count(plain_size(size).shown()));
    let mut block = first;
    while block.0 < end {
        let stretch = stretch_end(block).0.min(end);
        let present = match group_of(block) {
            None => true,
            Some(group) => file
                .next_data(entry_page_offset(group))?
                .is_some_and(|at| at < data_offset(BlockIndex(stretch - 1)) + PAGE_U64),
        };
        if present {
            file.write_at(&vec![0; (stretch - block.0) as usize * ENTRY_LEN], entry_offset(block))?;
            let at = data_offset(block);
            let until = (data_offset(BlockIndex(stretch - 1)) + PAGE_U64).min(size);
            if until > at {
                file.punch_hole(at, until - at)?;
            }
        }
        block = BlockIndex(stretch);
    }
    Ok(())
}

/// Puts a seal over the older one, unless both that are there are newer.
fn put_seal(file: &FileRef, seal: &SealFrame) -> Result<(), JournalError> {
    let mut page = [0; PAGE];
    file.read_at(&mut page, 0)?;
    let Ok(header) = Header::parse(&page) else { return Ok(()) };
    let generations = header.seals.map(|seal| seal.map_or(0, |seal| seal.generation));
    if generations.iter().any(|generation| *generation >= seal.generation) {
        return Ok(());
    }
    let older = usize::from(generations[1] < generations[0]);
    file.write_at(&seal.encode(), SEAL_OFFSETS[older] as u64)?;
    Ok(())
}
