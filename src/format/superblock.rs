//! The superblock: `.kmsfs/volume` (format.md, "Superblock").

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::entry::SUITE;
use super::{DomainId, FormatError, VolumeId, check_crc, layout, put_crc, reserved};

/// Length of the superblock in bytes.
pub const SUPERBLOCK_LEN: usize = 4096;
const WHAT: &str = "superblock";
const MAJOR: u16 = 1;
const MINOR: u16 = 0;
const USED: usize = 88;
const MAC_AT: usize = 4032;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    major: U16,
    minor: U16,
    length: U32,
    volume_id: VolumeId,
    incompat: U64,
    ro_compat: U64,
    compat: U64,
    suite: U16,
    block_log2: u8,
    group_log2: u8,
    head_log2: u8,
    name_mode: u8,
    name_codec: u8,
    name_pad: u8,
    root_domain: DomainId,
    created: U64,
}

/// Whether names are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameMode {
    /// Names and symbolic link targets are encrypted.
    Encrypted,
    /// Names stand in the clear; contents, symbolic link targets and attributes are encrypted.
    Plain,
}

/// What a volume is; written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Identity of the volume.
    pub volume_id: VolumeId,
    /// Features without which the volume cannot be read.
    pub incompat: u64,
    /// Features without which the volume cannot be written.
    pub ro_compat: u64,
    /// Features that do not matter to who does not know them.
    pub compat: u64,
    /// Whether names are encrypted.
    pub name_mode: NameMode,
    /// The domain of the root directory.
    pub root_domain: DomainId,
    /// Seconds since 1970 of `init`.
    pub created: u64,
    /// HMAC under the root domain's MAC key.
    pub mac: [u8; 32],
}

impl Superblock {
    /// Reads 4096 bytes. The MAC is not checked: that needs the root domain's secret.
    ///
    /// # Errors
    /// [`FormatError::Magic`] if this is no superblock, [`FormatError::Version`] if it is of a newer format.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() != SUPERBLOCK_LEN {
            return Err(FormatError::Short(WHAT));
        }
        let layout: &Layout = layout(bytes, WHAT)?;
        if &layout.magic != b"KMSFSVOL" {
            return Err(FormatError::Magic(WHAT));
        }
        if layout.major.get() != MAJOR {
            return Err(FormatError::Version(WHAT, layout.major.get()));
        }
        check_crc(bytes, WHAT)?;
        reserved(&bytes[USED..MAC_AT], WHAT)?;
        reserved(&bytes[MAC_AT + 32..SUPERBLOCK_LEN - 4], WHAT)?;
        if layout.length.get() as usize != SUPERBLOCK_LEN {
            return Err(FormatError::Field(WHAT, "length"));
        }
        if layout.suite.get() != SUITE {
            return Err(FormatError::Field(WHAT, "cipher suite"));
        }
        if (layout.block_log2, layout.group_log2, layout.head_log2) != (12, 7, 4) {
            return Err(FormatError::Field(WHAT, "block geometry"));
        }
        if (layout.name_codec, layout.name_pad) != (1, 16) {
            return Err(FormatError::Field(WHAT, "name codec"));
        }
        let name_mode = match layout.name_mode {
            0 => NameMode::Encrypted,
            1 => NameMode::Plain,
            _ => return Err(FormatError::Field(WHAT, "name mode")),
        };
        let mut mac = [0; 32];
        mac.copy_from_slice(&bytes[MAC_AT..MAC_AT + 32]);
        Ok(Self {
            volume_id: layout.volume_id,
            incompat: layout.incompat.get(),
            ro_compat: layout.ro_compat.get(),
            compat: layout.compat.get(),
            name_mode,
            root_domain: layout.root_domain,
            created: layout.created.get(),
            mac,
        })
    }

    /// The stored form, with the MAC as it stands in `self`.
    pub fn encode(&self) -> [u8; SUPERBLOCK_LEN] {
        let layout = Layout {
            magic: *b"KMSFSVOL",
            major: MAJOR.into(),
            minor: MINOR.into(),
            length: (SUPERBLOCK_LEN as u32).into(),
            volume_id: self.volume_id,
            incompat: self.incompat.into(),
            ro_compat: self.ro_compat.into(),
            compat: self.compat.into(),
            suite: SUITE.into(),
            block_log2: 12,
            group_log2: 7,
            head_log2: 4,
            name_mode: match self.name_mode {
                NameMode::Encrypted => 0,
                NameMode::Plain => 1,
            },
            name_codec: 1,
            name_pad: 16,
            root_domain: self.root_domain,
            created: self.created.into(),
        };
        let mut out = [0; SUPERBLOCK_LEN];
        out[..USED].copy_from_slice(layout.as_bytes());
        out[MAC_AT..MAC_AT + 32].copy_from_slice(&self.mac);
        put_crc(&mut out);
        out
    }

    /// The bytes that the MAC covers.
    pub fn mac_input(&self) -> [u8; MAC_AT] {
        let mut out = [0; MAC_AT];
        out.copy_from_slice(&self.encode()[..MAC_AT]);
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(volume: [u8; 16], incompat: u64, plain: bool, at in 0usize..SUPERBLOCK_LEN) {
            let name_mode = if plain { NameMode::Plain } else { NameMode::Encrypted };
            let superblock = Superblock {
                volume_id: VolumeId(volume),
                incompat,
                ro_compat: 1,
                compat: 2,
                name_mode,
                root_domain: DomainId([4; 16]),
                created: 5,
                mac: [6; 32],
            };
            let mut bytes = superblock.encode();
            prop_assert_eq!(Superblock::parse(&bytes).unwrap(), superblock);
            bytes[at] ^= 1;
            prop_assert!(Superblock::parse(&bytes).is_err());
        }
    }
}
