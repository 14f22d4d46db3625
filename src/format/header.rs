//! The header: page 0 of every file (format.md, "File header").

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::entry::SUITE;
use super::geometry::{HEAD_BLOCKS, HEAD_ENTRIES_OFFSET};
use super::{
    DomainId, ENTRY_LEN, Entry, FileId, FormatError, KeySlot, PAGE, SLOT_LEN, SealFrame, VolumeId, check_crc,
    layout, put_crc, reserved,
};

/// Length of the identity in bytes.
pub const IDENTITY_LEN: usize = 512;
/// Offsets of key slots A and B in the header.
pub const SLOT_OFFSETS: [usize; 2] = [512, 1536];
/// Offsets of seals A and B in the header.
pub const SEAL_OFFSETS: [usize; 2] = [2560, 3072];
const WHAT: &str = "file header";
const VERSION: u16 = 1;
const USED: usize = 96;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    version: U16,
    suite: U16,
    block_log2: u8,
    flags: u8,
    zero: U16,
    volume_id: VolumeId,
    file_id: FileId,
    domain_id: DomainId,
    name_binding: [u8; 32],
}

/// Which file this is; never changed after its creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The volume.
    pub volume_id: VolumeId,
    /// The file.
    pub file_id: FileId,
    /// The domain whose KMS key wraps its data key.
    pub domain_id: DomainId,
}

impl Identity {
    /// Reads 512 bytes.
    ///
    /// # Errors
    /// [`FormatError`] for anything but the identity of a file in a format that this program knows.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes = bytes.get(..IDENTITY_LEN).ok_or(FormatError::Short(WHAT))?;
        let layout: &Layout = layout(bytes, WHAT)?;
        if &layout.magic != b"KMSFSF01" {
            return Err(FormatError::Magic(WHAT));
        }
        check_crc(bytes, WHAT)?;
        if layout.version.get() != VERSION {
            return Err(FormatError::Version(WHAT, layout.version.get()));
        }
        if layout.suite.get() != SUITE {
            return Err(FormatError::Field(WHAT, "cipher suite"));
        }
        if layout.block_log2 != 12 || layout.flags != 0 || layout.zero.get() != 0 {
            return Err(FormatError::Field(WHAT, "block size or flags"));
        }
        reserved(&layout.name_binding, WHAT)?;
        reserved(&bytes[USED..IDENTITY_LEN - 4], WHAT)?;
        Ok(Self { volume_id: layout.volume_id, file_id: layout.file_id, domain_id: layout.domain_id })
    }

    /// The stored form.
    pub fn encode(&self) -> [u8; IDENTITY_LEN] {
        let layout = Layout {
            magic: *b"KMSFSF01",
            version: VERSION.into(),
            suite: SUITE.into(),
            block_log2: 12,
            flags: 0,
            zero: U16::ZERO,
            volume_id: self.volume_id,
            file_id: self.file_id,
            domain_id: self.domain_id,
            name_binding: [0; 32],
        };
        let mut out = [0; IDENTITY_LEN];
        out[..USED].copy_from_slice(layout.as_bytes());
        put_crc(&mut out);
        out
    }
}

/// The header page, its parts parsed each for itself: one torn part does not take the others with it.
#[derive(Debug, Clone)]
pub struct Header {
    /// The identity.
    pub identity: Identity,
    /// Key slots A and B; `None` where there is no sound one.
    pub slots: [Option<KeySlot>; 2],
    /// Seals A and B; `None` where there is no sound one.
    pub seals: [Option<SealFrame>; 2],
    /// The entries of blocks 0..16, not yet parsed.
    pub entries: [u8; HEAD_BLOCKS as usize * ENTRY_LEN],
}

impl Header {
    /// Reads page 0.
    ///
    /// # Errors
    /// [`FormatError`] if the identity is not sound; other parts that are not are left out.
    pub fn parse(page: &[u8]) -> Result<Self, FormatError> {
        let page = page.get(..PAGE).ok_or(FormatError::Short(WHAT))?;
        let identity = Identity::parse(page)?;
        let slots = SLOT_OFFSETS.map(|at| KeySlot::parse(&page[at..at + SLOT_LEN]).ok());
        let seals = SEAL_OFFSETS.map(|at| SealFrame::parse(&page[at..]).ok().flatten());
        let mut entries = [0; HEAD_BLOCKS as usize * ENTRY_LEN];
        entries.copy_from_slice(&page[HEAD_ENTRIES_OFFSET as usize..]);
        Ok(Self { identity, slots, seals, entries })
    }

    /// The page of a new file: identity, key slot A, seal A and the entries of its first blocks.
    ///
    /// # Errors
    /// As [`KeySlot::encode`].
    pub fn encode_new(
        identity: &Identity,
        slot: &KeySlot,
        seal: &SealFrame,
        entries: &[Entry],
    ) -> Result<[u8; PAGE], FormatError> {
        let mut page = [0; PAGE];
        page[..IDENTITY_LEN].copy_from_slice(&identity.encode());
        page[SLOT_OFFSETS[0]..][..SLOT_LEN].copy_from_slice(&slot.encode()?);
        let seal = seal.encode();
        page[SEAL_OFFSETS[0]..][..seal.len()].copy_from_slice(&seal);
        let places = page[HEAD_ENTRIES_OFFSET as usize..].chunks_exact_mut(ENTRY_LEN);
        for (place, entry) in places.zip(entries) {
            place.copy_from_slice(&Entry::encode(Some(entry)));
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn identity_round_trip(volume: [u8; 16], file: [u8; 16], domain: [u8; 16], at in 0usize..IDENTITY_LEN) {
            let identity =
                Identity { volume_id: VolumeId(volume), file_id: FileId(file), domain_id: DomainId(domain) };
            let mut bytes = identity.encode();
            prop_assert_eq!(Identity::parse(&bytes).unwrap(), identity);
            bytes[at] ^= 0x10;
            prop_assert!(Identity::parse(&bytes).is_err());
        }

        #[test]
        fn header_parse_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..PAGE + 8)) {
            let mut bytes = bytes;
            let identity = Identity { volume_id: VolumeId([1; 16]), file_id: FileId([2; 16]), domain_id: DomainId([3; 16]) };
            if bytes.len() >= PAGE {
                bytes[..IDENTITY_LEN].copy_from_slice(&identity.encode());
                prop_assert!(Header::parse(&bytes).is_ok());
            } else {
                prop_assert!(Header::parse(&bytes).is_err());
            }
        }
    }
}
