//! The redo journal: what is about to be overwritten is made durable here first.
//!
//! A mount has one journal, a ring of chunks behind two header pages (`docs/format.md`, "Journal"). A chunk is
//! one atomic group: after a crash, [`recover`] replays the chunks from the start position as long as their
//! numbers and MACs run on, so a torn chunk ends the history and was never acknowledged by a sync.

mod recovery;
mod ring;
pub mod sessions;

pub use recovery::{RecoveryReport, recover};
pub(crate) use recovery::{clear_entries_from, cut, grow, punch};
pub use ring::{ChunkDraft, Journal, MIN_RING_LEN, Mark, Placed, Reservation, discard};

use crate::format::FormatError;
use crate::store::{StoreError, StoreErrorKind};

/// Why the journal refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The backing directory failed.
    #[error("journal: {0}")]
    Store(#[from] StoreError),
    /// A stored structure is malformed.
    #[error("journal: {0}")]
    Format(#[from] FormatError),
    /// An earlier flush failed: what it should have made durable may be lost, so nothing is acknowledged
    /// any more.
    #[error("journal: an earlier flush failed ({0}); the volume is read-only until it is mounted again")]
    Failed(StoreErrorKind),
    /// The session records were changed from outside.
    #[error("session records: the record at byte {0} was not written by this volume")]
    SessionsTampered(u64),
}
