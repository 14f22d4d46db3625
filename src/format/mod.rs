//! The on-disk format: bytes to types and back. No I/O, no clock, no keys.
//!
//! `docs/format.md` is normative; every layout here cites its section. All integers are little endian, all
//! reserved bytes are zero, and every parser is total: any bytes give a value or a [`FormatError`].

mod domain;
mod entry;
pub mod geometry;
mod header;
mod ids;
mod journal;
mod names;
mod seal;
mod session;
mod slot;
mod superblock;

use zerocopy::{FromBytes, Immutable, KnownLayout};

pub use domain::{DOMAIN_RECORD_LEN, DomainKeyWrap, DomainRecord, KeyReference, MAX_DOMAIN_KEYS};
pub use entry::{BlockAad, ENTRY_LEN, Entry};
pub use header::{Header, IDENTITY_LEN, Identity, SEAL_OFFSETS, SLOT_OFFSETS};
pub use ids::{BlockIndex, DirId, DomainId, FileId, Lsn, SessionNumber, VolumeId};
pub use journal::{
    Chunk, ChunkHeader, FileRecord, JournalHeader, MAX_CHUNK_PAGES, MAX_CHUNK_RECORDS, Record, RecordBody,
};
pub use names::{
    BackingName, DIR_ID_NAME, EncodedName, LONG_ENTRY_PREFIX, LONG_NAME_PREFIX, NAME_MAX,
    SEALED_XATTR_PREFIXES, SymlinkTarget, VOLUME_DIR, decode_dir_id, decode_name, encode_dir_id, encode_name,
    long_digest_name, long_symlink_target, parse_backing_name, parse_symlink_target, symlink_plain_len,
    symlink_target,
};
pub use seal::{SEAL_CIPHER_LEN, SEAL_LEN, Seal, SealBody, SealFrame};
pub use session::{SESSION_RECORD_LEN, SessionEvent, SessionRecord};
pub use slot::{KeySlot, RECIPIENTS_LEN, Recipient, RecipientKind, SLOT_LEN};
pub use superblock::{NameMode, SUPERBLOCK_LEN, Superblock};

/// Size of a page, of a block and of the file header, in bytes.
pub const PAGE: usize = 4096;
/// [`PAGE`] for offset arithmetic.
pub const PAGE_U64: u64 = PAGE as u64;

/// Why bytes are not the structure they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The magic is another one.
    #[error("{0}: not such a structure (wrong magic)")]
    Magic(&'static str),
    /// A version that this program does not know.
    #[error("{0}: version {1} is not known to this program")]
    Version(&'static str, u16),
    /// The checksum does not fit: damaged or torn.
    #[error("{0}: damaged (wrong checksum)")]
    Checksum(&'static str),
    /// A field holds a value that the format forbids.
    #[error("{0}: forbidden value in {1}")]
    Field(&'static str, &'static str),
    /// Fewer bytes than the structure has.
    #[error("{0}: too short")]
    Short(&'static str),
}

/// Reads a fixed layout from the beginning of `bytes`.
fn layout<'a, T: FromBytes + KnownLayout + Immutable>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<&'a T, FormatError> {
    T::ref_from_prefix(bytes).map(|(value, _)| value).map_err(|_| FormatError::Short(what))
}

/// Fails unless all of `bytes` are zero.
fn reserved(bytes: &[u8], what: &'static str) -> Result<(), FormatError> {
    if bytes.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(FormatError::Field(what, "reserved bytes")) }
}

/// Writes the CRC32C of all but the last four bytes into the last four.
fn put_crc(bytes: &mut [u8]) {
    let at = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..at]);
    bytes[at..].copy_from_slice(&crc.to_le_bytes());
}

/// Checks what [`put_crc`] wrote.
fn check_crc(bytes: &[u8], what: &'static str) -> Result<(), FormatError> {
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or(FormatError::Short(what))?;
    if crc32c::crc32c(body) == u32::from_le_bytes(*crc) { Ok(()) } else { Err(FormatError::Checksum(what)) }
}
