//! What happened to keys, in a log that nobody changes unnoticed.
//!
//! Every use of a key and every refusal makes a [`AuditRecord`]. Records are linked by hashes, stored in blocks, and each
//! block and the head of the log are signed (Ed25519) with a key that is derived from the root key: who does not have
//! the root key can delete, edit, exchange or cut off nothing that [`verify()`] does not find, and anybody who has the
//! public key can check a signature.
//!
//! All processes that use a keystore write one log: a block is appended in a transaction that reads the head and
//! replaces it. The hot path only encodes a record into memory; a thread writes what has come together. In the mode
//! [`AuditMode::Required`] an operation is answered only when its record is durable, and refused if it cannot be made so.
//!
//! What signatures cannot show is a whole older state of the log in the place of the present one. Against that the
//! keystore remembers how long the log was (an [`Anchor`]), and a [`Head`] can be kept elsewhere and be asked for later.

mod chain;
mod log;
mod record;
mod recorder;
mod verify;

pub use chain::{AuditKey, Block, ChainHash, Head, LogId, SignedHead};
pub use log::{Anchor, AuditStore, AuditTx, AuditWork, Break, append, open_log};
pub use record::{AuditEntry, AuditRecord, Outcome};
pub use recorder::{KeepAnchor, Recorder, RecorderOptions};
pub use verify::{Expected, Problem, Verification, verify};

use crate::error::KmsError;

/// Why the log could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The head of the log is not there.
    #[error("the audit log is missing")]
    Missing,
    /// The head of the log does not carry the signature of this keystore.
    #[error("the head of the audit log was changed from outside")]
    Forged,
    /// Another process holds the log for longer than the time limit.
    #[error("the audit log is busy")]
    Busy,
    /// The log could not be stored or read.
    #[error("the audit log failed: {0}")]
    Backend(String),
}

impl From<AuditError> for KmsError {
    /// Nothing is wrong with the request, and it may succeed when the log can be written again.
    fn from(error: AuditError) -> Self {
        Self::DependencyTimeout(format!(
            "the request was refused because its audit record cannot be written: {error}"
        ))
    }
}

/// Whether records are written, and whether anything happens without them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditMode {
    /// Nothing is recorded.
    Off,
    /// Records are written within half a second. A crash loses at most those that were not written yet.
    #[default]
    On,
    /// No answer without its record: what cannot be recorded durably is refused.
    Required,
}

/// What a keystore wants of its log. The same for all processes that use it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct AuditSettings {
    /// Whether records are written.
    pub mode: AuditMode,
    /// How many bytes of records are kept. Beyond that the oldest blocks are dropped, which the signed head tells.
    pub keep_bytes: u64,
}

impl AuditSettings {
    /// The least that may be kept.
    pub const MIN_KEEP_BYTES: u64 = 1 << 20;
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self { mode: AuditMode::On, keep_bytes: 256 << 20 }
    }
}
