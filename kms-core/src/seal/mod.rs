//! The root key, and sealing of everything that is stored.

pub(crate) mod derived;

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};
use zeroize::Zeroizing;

/// Why a seal could not be made or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The bytes are not what was sealed, or were sealed under another key or for another place.
    #[error("the sealed bytes are not authentic")]
    Unauthentic,
    /// The cryptographic library or the random number generator failed.
    #[error("the cryptographic library failed")]
    Internal,
}

/// Fills `out` with random bytes.
pub(crate) fn fill_random(out: &mut [u8]) -> Result<(), SealError> {
    aws_lc_rs::rand::fill(out).map_err(|_| SealError::Internal)
}

/// What a key derived from the root key is for. Each purpose has its own key, so a sealed record never opens as
/// something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Rows of the store.
    Records,
    /// Key material in the software custody.
    Material,
    /// Import tokens.
    ImportTokens,
    /// Grant tokens.
    GrantTokens,
    /// The seed of the key that signs the audit log.
    Audit,
    /// The own material of keys in external key stores.
    ExternalMaterial,
}

impl Purpose {
    /// Part of the stored format: changing a label makes every stored seal of that purpose unreadable.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Records => b"kms-core root v1 records",
            Self::Material => b"kms-core root v1 material",
            Self::ImportTokens => b"kms-core root v1 import tokens",
            Self::GrantTokens => b"kms-core root v1 grant tokens",
            Self::Audit => b"kms-core root v1 audit",
            Self::ExternalMaterial => b"kms-core root v1 external material",
        }
    }
}

/// The key above all others in a keystore. It never leaves memory except sealed.
pub struct RootKey(Zeroizing<[u8; 32]>);

impl RootKey {
    /// A fresh root key.
    pub fn generate() -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; 32]);
        fill_random(&mut bytes[..])?;
        Ok(Self(bytes))
    }

    /// Takes the bytes of a root key that was unsealed.
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The bytes, to seal them.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The sealer for one purpose.
    pub fn sealer(&self, purpose: Purpose) -> Result<Sealer, SealError> {
        Ok(Sealer { key: self.derive(purpose)? })
    }

    /// The secret for one purpose.
    pub(crate) fn derive(&self, purpose: Purpose) -> Result<Zeroizing<[u8; 32]>, SealError> {
        let mut key = Zeroizing::new([0; 32]);
        Prk::new_less_safe(HKDF_SHA256, &self.0[..])
            .expand(&[purpose.label()], HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key[..]))
            .map_err(|_| SealError::Internal)?;
        Ok(key)
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey")
    }
}

/// Seals bytes for one purpose.
pub struct Sealer {
    key: Zeroizing<[u8; 32]>,
}

impl Sealer {
    /// Seals `plaintext` for the place that `identity` names: table, row, whatever tells it from its neighbours.
    pub fn seal(&self, identity: &[&[u8]], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        derived::seal(&self.key[..], &[b"kms-core seal v1"], &join(identity), plaintext)
    }

    /// Opens what was sealed for the same place.
    pub fn open(&self, identity: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        derived::open(&self.key[..], &[b"kms-core seal v1"], &join(identity), sealed)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

/// Joins parts so that no two lists of parts give the same bytes.
fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend_from_slice(&(part.len() as u64).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_places_are_apart() {
        let root = RootKey::generate().expect("random");
        let records = root.sealer(Purpose::Records).expect("derives");
        let material = root.sealer(Purpose::Material).expect("derives");
        let sealed = records.seal(&[b"key", b"1"], b"row").expect("seals");
        assert_eq!(records.open(&[b"key", b"1"], &sealed).expect("opens").as_slice(), b"row");
        assert!(records.open(&[b"key", b"2"], &sealed).is_err());
        assert!(records.open(&[b"ke", b"y1"], &sealed).is_err());
        assert!(material.open(&[b"key", b"1"], &sealed).is_err());
    }
}
