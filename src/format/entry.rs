//! The entry of a block: session, nonce, tag and length (format.md, "Entry").

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BlockIndex, FormatError, PAGE, SessionNumber, layout};

/// Length of an entry in bytes.
pub const ENTRY_LEN: usize = 32;
const WHAT: &str = "entry";
const PRESENT: u16 = 1;
/// Cipher suite 1: AES-256-GCM-SIV, HKDF-SHA-256, HMAC-SHA-256, committing header.
pub(super) const SUITE: u16 = 1;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Layout {
    session: U32,
    random: [u8; 8],
    tag: [u8; 16],
    len: U16,
    flags: U16,
}

/// What is stored beside the ciphertext of a present block. A hole has no entry: 32 zero bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The mount that wrote the block.
    pub session: SessionNumber,
    /// The random part of the nonce.
    pub random: [u8; 8],
    /// The authentication tag.
    pub tag: [u8; 16],
    /// Number of bytes of plaintext, 1..=4096; a block reads as zero behind them.
    pub len: u16,
}

impl Entry {
    /// Reads 32 bytes; `None` is a hole.
    ///
    /// # Errors
    /// [`FormatError::Field`] for a length or flags that the format forbids, so that a damaged entry never
    /// passes for a hole.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FormatError> {
        let layout: &Layout = layout(bytes, WHAT)?;
        if layout.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if layout.flags.get() != PRESENT {
            return Err(FormatError::Field(WHAT, "flags"));
        }
        let len = layout.len.get();
        if len == 0 || usize::from(len) > PAGE {
            return Err(FormatError::Field(WHAT, "length"));
        }
        let session = SessionNumber(layout.session.get());
        Ok(Some(Self { session, random: layout.random, tag: layout.tag, len }))
    }

    /// The stored form; a hole is 32 zero bytes.
    pub fn encode(entry: Option<&Self>) -> [u8; ENTRY_LEN] {
        let Some(entry) = entry else { return [0; ENTRY_LEN] };
        let layout = Layout {
            session: entry.session.0.into(),
            random: entry.random,
            tag: entry.tag,
            len: entry.len.into(),
            flags: PRESENT.into(),
        };
        zerocopy::transmute!(layout)
    }

    /// The nonce of the block.
    pub fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.session.0.to_le_bytes());
        nonce[4..].copy_from_slice(&self.random);
        nonce
    }
}

/// The associated data of a block. Volume and file are bound through the content key.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct BlockAad {
    index: U64,
    len: U16,
    flags: U16,
    suite: U16,
    zero: U16,
}

impl BlockAad {
    /// The associated data of block `index` with `len` bytes.
    pub fn new(index: BlockIndex, len: u16) -> Self {
        Self {
            index: index.0.into(),
            len: len.into(),
            flags: PRESENT.into(),
            suite: SUITE.into(),
            zero: U16::ZERO,
        }
    }

    /// Its 16 bytes.
    pub fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parse_is_total_and_exact(bytes in any::<[u8; 32]>(), small in any::<bool>()) {
            let mut bytes = bytes;
            if small {
                bytes[29] &= 0x0f;
                bytes[30..].copy_from_slice(&[1, 0]);
            }
            if let Ok(entry) = Entry::parse(&bytes) {
                prop_assert_eq!(Entry::encode(entry.as_ref()), bytes);
            }
        }
    }

    #[test]
    fn forbidden_entries() {
        let mut bytes = [0; 32];
        assert_eq!(Entry::parse(&bytes), Ok(None));
        bytes[0] = 1;
        assert!(Entry::parse(&bytes).is_err(), "not zero and not present");
        bytes[30] = 1;
        assert!(Entry::parse(&bytes).is_err(), "length 0");
        bytes[28..30].copy_from_slice(&4097u16.to_le_bytes());
        assert!(Entry::parse(&bytes).is_err(), "length over a block");
        bytes[28..30].copy_from_slice(&4096u16.to_le_bytes());
        assert!(Entry::parse(&bytes).is_ok());
        assert!(Entry::parse(&bytes[..31]).is_err());
    }
}
