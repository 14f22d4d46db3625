//! Appending to a log, and what a store of logs has to do for it.

use serde::{Deserialize, Serialize};

use super::chain::{AuditKey, Block, ChainHash, Head, LogId, SignedHead};
use super::{AuditError, AuditSettings};
use crate::model::Timestamp;

/// The most breaks that a head lists. Whoever makes more of them is found out by the first ones.
const MAX_BREAKS: usize = 16;

/// How long a log was when somebody looked: what the keystore remembers, apart from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Which log.
    pub log_id: LogId,
    /// How many records there ever were.
    pub next: u64,
    /// The hash of the last one.
    pub hash: ChainHash,
}

impl Anchor {
    /// The length of a log now.
    pub fn of(head: &Head) -> Self {
        Self { log_id: head.log_id, next: head.next, hash: head.hash }
    }
}

/// A place where records are missing, noticed when the log was opened: the log was shorter than the keystore remembers,
/// or it was not there at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Break {
    /// When it was noticed.
    pub time: Timestamp,
    /// The log that there was.
    pub log_id: LogId,
    /// How many records it had at least.
    pub expected: u64,
    /// How many were left.
    pub found: u64,
}

/// What can be done in a transaction on a log.
pub trait AuditTx {
    /// The head; `None` if there is no log yet.
    fn head(&self) -> Result<Option<SignedHead>, AuditError>;

    /// Replaces the head.
    fn put_head(&self, head: &SignedHead) -> Result<(), AuditError>;

    /// The first block from the record `first` on.
    fn block_from(&self, first: u64) -> Result<Option<Block>, AuditError>;

    /// Writes a block. There is none with this first record yet.
    fn put_block(&self, block: &Block) -> Result<(), AuditError>;

    /// Removes the block that begins with the record `first`.
    fn delete_block(&self, first: u64) -> Result<(), AuditError>;
}

/// The work of a transaction on a log.
pub type AuditWork<'a> = &'a mut dyn FnMut(&dyn AuditTx) -> Result<(), AuditError>;

/// Where a log is kept. One log, written by all processes.
pub trait AuditStore: Send + Sync {
    /// Runs `work` alone among all writers of all processes, and commits durably if it succeeds.
    fn with_tx(&self, work: AuditWork<'_>) -> Result<(), AuditError>;

    /// The head as it was last committed.
    fn head(&self) -> Result<Option<SignedHead>, AuditError>;

    /// Up to `limit` blocks in order, from the first one that begins with the record `first` or a later one.
    fn blocks(&self, first: u64, limit: usize) -> Result<Vec<Block>, AuditError>;

    /// The number of the first record of the last block that begins at or before the record `number`.
    fn block_before(&self, number: u64) -> Result<Option<u64>, AuditError>;
}

/// Makes sure that there is a log, and that it is not shorter than the keystore remembers; a log that is gets a [`Break`]
/// that stays. Returns the head.
///
/// A head that was changed from outside is an error: the log stays as it is, as evidence.
pub fn open_log(
    store: &dyn AuditStore,
    key: &AuditKey,
    remembered: Option<&Anchor>,
    now: Timestamp,
) -> Result<Head, AuditError> {
    let verifying = key.verifying_key();
    let mut opened = None;
    store.with_tx(&mut |tx| {
        let found = tx.head()?.map(|signed| signed.open(&verifying).ok_or(AuditError::Forged)).transpose()?;
        let is_new = found.is_none();
        let mut head = match found {
            Some(head) => head,
            None => new_head(now)?,
        };
        let missing = remembered.filter(|anchor| anchor.log_id != head.log_id || anchor.next > head.next);
        // A log that was restored from a backup with a later log's anchor is noticed each time, and told once.
        let told = |anchor: &Anchor| {
            head.breaks.iter().any(|one| one.log_id == anchor.log_id && one.expected >= anchor.next)
        };
        let missing = missing.filter(|anchor| !told(anchor));
        if let Some(anchor) = missing.filter(|_| head.breaks.len() < MAX_BREAKS) {
            let found = if anchor.log_id == head.log_id { head.next } else { 0 };
            head.breaks.push(Break { time: now, log_id: anchor.log_id, expected: anchor.next, found });
        }
        if is_new || missing.is_some() {
            tx.put_head(&SignedHead::seal(key, &head))?;
        }
        opened = Some(head);
        Ok(())
    })?;
    opened.ok_or(AuditError::Missing)
}

fn new_head(now: Timestamp) -> Result<Head, AuditError> {
    let log_id = LogId::generate().map_err(|error| AuditError::Backend(error.to_string()))?;
    let hash = ChainHash::genesis(&log_id);
    Ok(Head { log_id, base: 0, base_hash: hash, next: 0, hash, bytes: 0, time: now, breaks: Vec::new() })
}

/// Appends records in one block, and drops the oldest blocks beyond what is to be kept. Returns the head.
pub fn append(
    store: &dyn AuditStore,
    key: &AuditKey,
    settings: &AuditSettings,
    lines: &[&[u8]],
    now: Timestamp,
) -> Result<Head, AuditError> {
    let verifying = key.verifying_key();
    let mut written = None;
    store.with_tx(&mut |tx| {
        let signed = tx.head()?.ok_or(AuditError::Missing)?;
        let mut head = signed.open(&verifying).ok_or(AuditError::Forged)?;
        let block = Block::seal(key, &head.log_id, head.next, head.hash, now, lines);
        head.next += block.count;
        head.hash = block.end;
        head.bytes += block.records.len() as u64;
        head.time = now;
        tx.put_block(&block)?;
        drop_oldest(tx, &mut head, settings.keep_bytes.max(AuditSettings::MIN_KEEP_BYTES))?;
        tx.put_head(&SignedHead::seal(key, &head))?;
        written = Some(head);
        Ok(())
    })?;
    written.ok_or(AuditError::Missing)
}

fn drop_oldest(tx: &dyn AuditTx, head: &mut Head, keep_bytes: u64) -> Result<(), AuditError> {
    while head.bytes > keep_bytes {
        let Some(oldest) = tx.block_from(head.base)? else { return Ok(()) };
        // What does not follow is somebody's deed, which must stay visible; and the block just written stays.
        if oldest.first != head.base || oldest.first + oldest.count >= head.next {
            return Ok(());
        }
        tx.delete_block(oldest.first)?;
        head.base += oldest.count;
        head.base_hash = oldest.end;
        head.bytes = head.bytes.saturating_sub(oldest.records.len() as u64);
    }
    Ok(())
}
