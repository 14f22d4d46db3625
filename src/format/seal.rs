//! Seals: what a file's entries must add up to (format.md, "Seal").

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FormatError, SessionNumber, check_crc, layout, put_crc, reserved};

/// Length of a seal with its padding, in bytes: one disk sector.
pub const SEAL_LEN: usize = 512;
/// Length of the encrypted part, in bytes.
pub const SEAL_CIPHER_LEN: usize = 64;
const WHAT: &str = "seal";
const USED: usize = 108;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct FrameLayout {
    magic: [u8; 4],
    session: U32,
    generation: U64,
    nonce: [u8; 12],
    cipher: [u8; SEAL_CIPHER_LEN],
    tag: [u8; 16],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct BodyLayout {
    size: U64,
    present: U64,
    sum_old: [u8; 16],
    sum_cur: [u8; 16],
    applied_lsn: U64,
    flags: U32,
    zero: U32,
}

/// A seal as it is stored: its body is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealFrame {
    /// The mount that sealed.
    pub session: SessionNumber,
    /// Counts the seals of a file; the higher one holds.
    pub generation: u64,
    /// Nonce of the body.
    pub nonce: [u8; 12],
    /// The encrypted [`SealBody`].
    pub cipher: [u8; SEAL_CIPHER_LEN],
    /// Tag of the body.
    pub tag: [u8; 16],
}

/// What a seal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SealBody {
    /// Plain size in bytes.
    pub size: u64,
    /// Number of present blocks.
    pub present: u64,
    /// Sum over the entries of sessions before the seal's.
    pub sum_old: [u8; 16],
    /// Sum over the entries of the seal's session.
    pub sum_cur: [u8; 16],
    /// The journal up to here is contained.
    pub applied_lsn: u64,
}

/// A seal in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The mount that sealed.
    pub session: SessionNumber,
    /// Counts the seals of a file.
    pub generation: u64,
    /// What it says.
    pub body: SealBody,
}

impl SealFrame {
    /// Reads 512 bytes; `None` is a place never written.
    ///
    /// # Errors
    /// [`FormatError`] for a torn or damaged seal.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FormatError> {
        let bytes = bytes.get(..SEAL_LEN).ok_or(FormatError::Short(WHAT))?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let layout: &FrameLayout = layout(bytes, WHAT)?;
        if &layout.magic != b"SEAL" {
            return Err(FormatError::Magic(WHAT));
        }
        check_crc(bytes, WHAT)?;
        reserved(&bytes[USED..SEAL_LEN - 4], WHAT)?;
        Ok(Some(Self {
            session: SessionNumber(layout.session.get()),
            generation: layout.generation.get(),
            nonce: layout.nonce,
            cipher: layout.cipher,
            tag: layout.tag,
        }))
    }

    /// The stored form.
    pub fn encode(&self) -> [u8; SEAL_LEN] {
        let layout = FrameLayout {
            magic: *b"SEAL",
            session: self.session.0.into(),
            generation: self.generation.into(),
            nonce: self.nonce,
            cipher: self.cipher,
            tag: self.tag,
        };
        let mut out = [0; SEAL_LEN];
        out[..USED].copy_from_slice(layout.as_bytes());
        put_crc(&mut out);
        out
    }
}

impl SealBody {
    /// Reads the decrypted 64 bytes.
    ///
    /// # Errors
    /// [`FormatError::Field`] for flags that this version does not know.
    pub fn parse(bytes: &[u8; SEAL_CIPHER_LEN]) -> Result<Self, FormatError> {
        let layout: &BodyLayout = layout(bytes, WHAT)?;
        if layout.flags.get() != 0 || layout.zero.get() != 0 {
            return Err(FormatError::Field(WHAT, "flags"));
        }
        Ok(Self {
            size: layout.size.get(),
            present: layout.present.get(),
            sum_old: layout.sum_old,
            sum_cur: layout.sum_cur,
            applied_lsn: layout.applied_lsn.get(),
        })
    }

    /// The 64 bytes to encrypt.
    pub fn encode(&self) -> [u8; SEAL_CIPHER_LEN] {
        let layout = BodyLayout {
            size: self.size.into(),
            present: self.present.into(),
            sum_old: self.sum_old,
            sum_cur: self.sum_cur,
            applied_lsn: self.applied_lsn.into(),
            flags: U32::ZERO,
            zero: U32::ZERO,
        };
        zerocopy::transmute!(layout)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(session: u32, generation: u64, nonce: [u8; 12], tag: [u8; 16], size: u64, present: u64) {
            let body = SealBody { size, present, sum_old: tag, sum_cur: [3; 16], applied_lsn: 7 };
            prop_assert_eq!(SealBody::parse(&body.encode()).unwrap(), body);
            let frame =
                SealFrame { session: SessionNumber(session), generation, nonce, cipher: body.encode(), tag };
            let bytes = frame.encode();
            prop_assert_eq!(SealFrame::parse(&bytes).unwrap(), Some(frame));
            for at in [0, 5, 100, 107, 110, 300, 511] {
                let mut broken = bytes;
                broken[at] ^= 1;
                prop_assert!(SealFrame::parse(&broken).is_err());
            }
        }
    }
}
