//! From a passphrase or a key file to the key that seals the root key.

use std::fmt;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use super::secret_text::{self, Kind};
use super::shares::SecretShares;
use super::{KeystoreError, files};
use crate::model::Plaintext;
use crate::seal::{SealError, fill_random};

/// The bytes of a salt.
pub(super) const SALT_LEN: usize = 32;
/// The shortest key file: shorter ones cannot hold 256 random bits.
const MIN_KEY_FILE_LEN: usize = 32;
/// The longest key file.
const MAX_KEY_FILE_LEN: usize = 4096;

/// Where the service manager puts credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// What unseals the root key.
pub enum RootKeySource {
    /// A passphrase, stretched with Argon2id.
    Passphrase(Plaintext),
    /// A file of 32 to 4096 secret bytes, readable only by its owner.
    KeyFile(PathBuf),
    /// A credential of the service manager: 32 to 4096 secret bytes in the file of that name in the directory that
    /// `CREDENTIALS_DIRECTORY` names.
    Credential(String),
    /// The line that was shown when the keystore was made.
    RecoveryKey(Plaintext),
    /// Enough shares; to seal, all of them.
    Shares(SecretShares),
}

/// A way to open a keystore, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealKind {
    /// A passphrase.
    Passphrase,
    /// A key file.
    KeyFile,
    /// A credential of the service manager.
    Credential {
        /// Its name.
        name: String,
    },
    /// The recovery key.
    RecoveryKey,
    /// Shares.
    Shares {
        /// How many are needed.
        threshold: u8,
        /// How many there are.
        shares: u8,
    },
}

impl SealKind {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase",
            Self::KeyFile => "key file",
            Self::Credential { .. } => "systemd credential",
            Self::RecoveryKey => "recovery key",
            Self::Shares { .. } => "set of shares",
        }
    }
}

impl RootKeySource {
    /// A passphrase. The caller still owns, and has to wipe, the original.
    pub fn passphrase(text: &str) -> Self {
        Self::Passphrase(Plaintext::copy_of(text.as_bytes()))
    }

    /// A key file.
    pub fn key_file(path: impl Into<PathBuf>) -> Self {
        Self::KeyFile(path.into())
    }
}

impl fmt::Debug for RootKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrase(_) => f.write_str("Passphrase"),
            Self::KeyFile(path) => f.debug_tuple("KeyFile").field(path).finish(),
            Self::Credential(name) => f.debug_tuple("Credential").field(name).finish(),
            Self::RecoveryKey(_) => f.write_str("RecoveryKey"),
            Self::Shares(shares) => shares.fmt(f),
        }
    }
}

/// The cost of trying one passphrase (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argon2Params {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Argon2Params {
    /// The second recommended option of RFC 9106: 64 MiB, three passes, four lanes.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

impl Argon2Params {
    /// The cheapest parameters there are, for tests. They protect nothing.
    pub fn dangerous_fast() -> Self {
        Self { memory_kib: 8, passes: 1, lanes: 1 }
    }

    /// Whether the parameters are sound and small enough not to exhaust the machine that reads them from a file.
    pub(super) fn in_bounds(&self) -> bool {
        let lanes = (1..=64).contains(&self.lanes);
        lanes
            && (1..=64).contains(&self.passes)
            && self.memory_kib >= 8 * self.lanes
            && self.memory_kib <= 1024 * 1024
    }
}

/// The key that seals the root key.
pub(super) struct SourceKey(pub(super) Zeroizing<[u8; 32]>);

impl SourceKey {
    /// Stretches a passphrase.
    pub(super) fn from_passphrase(
        passphrase: &Plaintext,
        salt: &[u8; SALT_LEN],
        cost: &Argon2Params,
    ) -> Result<Self, KeystoreError> {
        if passphrase.is_empty() {
            return Err(KeystoreError::Unsuitable("the passphrase is empty"));
        }
        if !cost.in_bounds() {
            return Err(KeystoreError::Unsuitable("the Argon2 parameters are out of bounds"));
        }
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
            .map_err(|_| KeystoreError::Unsuitable("the Argon2 parameters are out of bounds"))?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose(), salt, &mut key[..])
            .map_err(|_| KeystoreError::Seal(SealError::Internal))?;
        Ok(Self(key))
    }

    /// Reads a key file.
    pub(super) fn from_key_file(path: &Path, salt: &[u8; SALT_LEN]) -> Result<Self, KeystoreError> {
        let problem = |problem| KeystoreError::KeyFile { path: path.to_owned(), problem };
        if !path.exists() {
            return Err(problem("is missing"));
        }
        files::check_private(path)?;
        Self::from_secret_file(path, salt, b"kms-core key file v1")
    }

    /// Reads a credential. The service manager guards its directory, which belongs to root at times.
    pub(super) fn from_credential(name: &str, salt: &[u8; SALT_LEN]) -> Result<Self, KeystoreError> {
        let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        let dir = std::env::var_os(CREDENTIALS_DIRECTORY).filter(|_| plain);
        let path = dir.map(|dir| PathBuf::from(dir).join(name)).filter(|path| path.exists());
        let missing = || KeystoreError::NoCredential { name: name.to_owned() };
        Self::from_secret_file(&path.ok_or_else(missing)?, salt, b"kms-core credential v1")
    }

    /// Reads the line of a recovery key.
    pub(super) fn from_recovery_key(line: &Plaintext, salt: &[u8; SALT_LEN]) -> Result<Self, KeystoreError> {
        let text = std::str::from_utf8(line.expose()).map_err(|_| KeystoreError::WrongRecoveryKey)?;
        let bytes = secret_text::decode(Kind::RecoveryKey, text).ok_or(KeystoreError::WrongRecoveryKey)?;
        Self::from_random(&bytes, salt, b"kms-core recovery key v1")
    }

    /// From a secret that was split into shares.
    pub(super) fn from_shared_secret(secret: &[u8], salt: &[u8; SALT_LEN]) -> Result<Self, KeystoreError> {
        Self::from_random(secret, salt, b"kms-core shared secret v1")
    }

    fn from_secret_file(path: &Path, salt: &[u8; SALT_LEN], label: &[u8]) -> Result<Self, KeystoreError> {
        let problem = |problem| KeystoreError::KeyFile { path: path.to_owned(), problem };
        let bytes = Zeroizing::new(files::read_bounded(path, MAX_KEY_FILE_LEN)?);
        if bytes.len() < MIN_KEY_FILE_LEN {
            return Err(problem("is shorter than 32 bytes"));
        }
        if bytes.len() > MAX_KEY_FILE_LEN {
            return Err(problem("is longer than 4096 bytes"));
        }
        Self::from_random(&bytes, salt, label)
    }

    /// Of bytes that are secret and random already, so that one derivation is enough.
    fn from_random(bytes: &[u8], salt: &[u8; SALT_LEN], label: &[u8]) -> Result<Self, KeystoreError> {
        let mut key = Zeroizing::new([0; 32]);
        Salt::new(HKDF_SHA256, salt)
            .extract(bytes)
            .expand(&[label], HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key[..]))
            .map_err(|_| KeystoreError::Seal(SealError::Internal))?;
        Ok(Self(key))
    }
}

pub(super) fn create_key_file(path: &Path) -> Result<(), KeystoreError> {
    let mut bytes = Zeroizing::new([0; 32]);
    fill_random(&mut bytes[..])?;
    files::write_new(path, &bytes[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_from_a_file_are_bounded() {
        assert!(Argon2Params::default().in_bounds());
        assert!(Argon2Params::dangerous_fast().in_bounds());
        for (memory_kib, passes, lanes) in
            [(0, 1, 1), (8, 0, 1), (8, 1, 0), (8, 1, 2), (u32::MAX, 1, 1), (8, u32::MAX, 1), (8, 1, u32::MAX)]
        {
            assert!(!Argon2Params { memory_kib, passes, lanes }.in_bounds());
        }
    }
}
