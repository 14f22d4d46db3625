//! The configuration of a volume: superblock bytes to types, unknown features refused. Pure.

use crate::crypto::MacKey;
use crate::format::{DomainId, FormatError, NameMode, Superblock, VolumeId};

/// Features without which a volume cannot be read, that this program knows: none yet.
pub const KNOWN_INCOMPAT: u64 = 0;
/// Features without which a volume cannot be written, that this program knows: none yet.
pub const KNOWN_RO_COMPAT: u64 = 0;

/// What a volume is, as far as this program can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeConfig {
    /// Identity of the volume.
    pub volume_id: VolumeId,
    /// Whether names are encrypted.
    pub name_mode: NameMode,
    /// The domain of the root directory.
    pub root_domain: DomainId,
    /// Seconds since 1970 of `init`.
    pub created: u64,
    /// Whether the volume may be written by this program: it has no unknown feature that matters to a writer.
    pub writable: bool,
    superblock: Superblock,
}

/// Why a volume is not one that this program can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The volume is of a later format.
    #[error("the volume has format version {version}, which this program does not know")]
    NewerFormat {
        /// Its major version.
        version: u16,
    },
    /// The volume has features that this program does not know and cannot leave aside.
    #[error("the volume has features that this program does not know (bits {bits:#x})")]
    UnknownFeature {
        /// The unknown bits.
        bits: u64,
    },
    /// The superblock is not the one that `init` wrote.
    #[error("the superblock is not the one that was written: its authentication fails")]
    Tampered,
    /// The superblock is damaged.
    #[error(transparent)]
    Format(FormatError),
}

impl From<FormatError> for ConfigError {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Version(_, version) => Self::NewerFormat { version },
            other => Self::Format(other),
        }
    }
}

impl VolumeConfig {
    /// A new volume.
    pub fn new(volume_id: VolumeId, name_mode: NameMode, root_domain: DomainId, created: u64) -> Self {
        let superblock = Superblock {
            volume_id,
            incompat: 0,
            ro_compat: 0,
            compat: 0,
            name_mode,
            root_domain,
            created,
            mac: [0; 32],
        };
        Self::of(superblock)
    }

    fn of(superblock: Superblock) -> Self {
        Self {
            volume_id: superblock.volume_id,
            name_mode: superblock.name_mode,
            root_domain: superblock.root_domain,
            created: superblock.created,
            writable: superblock.ro_compat & !KNOWN_RO_COMPAT == 0,
            superblock,
        }
    }

    /// Reads the 4096 bytes of `.kmsfs/volume`. Nothing is authenticated yet: see [`Self::verify`].
    ///
    /// # Errors
    /// [`ConfigError`] for a volume that this program cannot read.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let superblock = Superblock::parse(bytes)?;
        match superblock.incompat & !KNOWN_INCOMPAT {
            0 => Ok(Self::of(superblock)),
            bits => Err(ConfigError::UnknownFeature { bits }),
        }
    }

    /// Fails if the volume must not be written by this program.
    ///
    /// # Errors
    /// [`ConfigError::UnknownFeature`].
    pub fn require_writable(&self) -> Result<(), ConfigError> {
        match self.superblock.ro_compat & !KNOWN_RO_COMPAT {
            0 => Ok(()),
            bits => Err(ConfigError::UnknownFeature { bits }),
        }
    }

    /// Checks the superblock's MAC with the MAC key of the root domain.
    ///
    /// # Errors
    /// [`ConfigError::Tampered`].
    pub fn verify(&self, root_mac: &MacKey) -> Result<(), ConfigError> {
        let sound = root_mac.verify(&[&self.superblock.mac_input()], &self.superblock.mac);
        if sound { Ok(()) } else { Err(ConfigError::Tampered) }
    }

    /// The superblock, authenticated with the MAC key of the root domain.
    pub fn sealed(mut self, root_mac: &MacKey) -> Superblock {
        self.superblock.mac = root_mac.mac32(&[&self.superblock.mac_input()]);
        self.superblock
    }

    /// The superblock as it was read.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;

    fn config() -> VolumeConfig {
        VolumeConfig::new(VolumeId([1; 16]), NameMode::Encrypted, DomainId([2; 16]), 3)
    }

    fn mac_key() -> MacKey {
        MacKey::new(&SecretKey::from_slice(&[9; 32]).unwrap())
    }

    #[test]
    fn a_sealed_volume_reads_back_and_verifies() {
        let bytes = config().sealed(&mac_key()).encode();
        let read = VolumeConfig::parse(&bytes).unwrap();
        assert_eq!(
            (read.volume_id, read.root_domain, read.created),
            (VolumeId([1; 16]), DomainId([2; 16]), 3)
        );
        read.verify(&mac_key()).unwrap();
        let other = MacKey::new(&SecretKey::from_slice(&[8; 32]).unwrap());
        assert_eq!(read.verify(&other), Err(ConfigError::Tampered));
        let mut changed = *read.superblock();
        changed.name_mode = NameMode::Plain;
        let changed = VolumeConfig::parse(&changed.encode()).unwrap();
        assert_eq!(changed.verify(&mac_key()), Err(ConfigError::Tampered));
    }

    #[test]
    fn unknown_features_are_refused_for_those_whom_they_concern() {
        let mut superblock = config().sealed(&mac_key());
        superblock.compat = 1 << 40;
        assert!(VolumeConfig::parse(&superblock.encode()).unwrap().require_writable().is_ok());
        superblock.ro_compat = 4;
        let read = VolumeConfig::parse(&superblock.encode()).unwrap();
        assert!(!read.writable);
        assert_eq!(read.require_writable(), Err(ConfigError::UnknownFeature { bits: 4 }));
        superblock.incompat = 2;
        assert_eq!(
            VolumeConfig::parse(&superblock.encode()).unwrap_err(),
            ConfigError::UnknownFeature { bits: 2 }
        );
    }

    #[test]
    fn a_later_format_is_told_from_damage() {
        let mut bytes = config().sealed(&mac_key()).encode();
        bytes[8] = 2;
        assert_eq!(VolumeConfig::parse(&bytes), Err(ConfigError::NewerFormat { version: 2 }));
        bytes[8] = 1;
        bytes[100] ^= 1;
        assert!(matches!(VolumeConfig::parse(&bytes), Err(ConfigError::Format(FormatError::Checksum(_)))));
    }
}
