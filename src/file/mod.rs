//! Encrypted files over backing files: the only place that orders writes.
//!
//! What the backing file already holds is never overwritten in place before its replacement is durable in the
//! journal; new blocks are written in place, because nothing stands there yet. `docs/format.md`, "Write
//! protocol", has the rules and their reasons.

mod checkpoint;
mod context;
mod encrypted_file;
mod entries;
mod hole;
mod open;
mod overlay;
mod read;
mod seal;
mod sync;
mod truncate;
mod write;

pub use context::{FileContext, FileContextParts, Rules};
pub use encrypted_file::EncryptedFile;

use crate::format::{FileId, FormatError};
use crate::journal::JournalError;
use crate::keys::KeyError;
use crate::store::StoreError;

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The header is not one that kmsfs wrote.
    Header,
    /// No seal of the file is authentic.
    Seal,
    /// The header belongs to another volume or domain.
    Foreign,
    /// The entries are not those that were sealed.
    Entries,
    /// The size is not the one that was sealed.
    Size,
    /// A block's entry is malformed.
    Entry(u64),
    /// A block's ciphertext is not the one that was written.
    Block(u64),
    /// A block is missing from a file that was sealed without holes.
    MissingBlock(u64),
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header => f.write_str("the header is damaged"),
            Self::Seal => f.write_str("the seal is damaged"),
            Self::Foreign => f.write_str("the header belongs to another volume or domain"),
            Self::Entries => f.write_str("the blocks are not those that were sealed"),
            Self::Size => f.write_str("the size is not the one that was sealed"),
            Self::Entry(block) => write!(f, "the entry of block {block} is damaged"),
            Self::Block(block) => write!(f, "block {block} is damaged"),
            Self::MissingBlock(block) => write!(f, "block {block} is missing"),
        }
    }
}

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The backing file failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The stored file is not what was written.
    #[error("file {}: {damage}", DisplayId(.file))]
    Damaged {
        /// The file, if its header says.
        file: Option<FileId>,
        /// What is wrong.
        damage: Damage,
    },
    /// The volume is mounted read-only.
    #[error("the volume is mounted read-only")]
    ReadOnly,
    /// The size is beyond what the format or the backing file system can hold.
    #[error("the file would become too large")]
    TooLarge,
    /// A structure cannot be encoded.
    #[error(transparent)]
    Format(#[from] FormatError),
}

struct DisplayId<'a>(&'a Option<FileId>);

impl std::fmt::Display for DisplayId<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(id) => id.fmt(f),
            None => f.write_str("(unknown)"),
        }
    }
}
