//! Secrets: wiped when dropped, redacted when printed, never cloned by accident.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// 32 secret bytes.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// Takes over `bytes`; the caller wipes its own copy.
    pub fn new(bytes: &Zeroizing<[u8; 32]>) -> Self {
        Self(**bytes)
    }

    /// A key of random bytes from the operating system.
    ///
    /// # Errors
    /// The operating system has no random numbers.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut key = Self([0; 32]);
        getrandom::fill(&mut key.0)?;
        Ok(key)
    }

    /// A key from a slice; `None` unless it has 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// The bytes, for a cipher or a wrap and for nothing else.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// The per-file key in the clear, from which every key of a file is derived.
#[derive(Debug)]
pub struct DataKey(SecretKey);

impl DataKey {
    /// A data key from secret bytes.
    pub fn new(key: SecretKey) -> Self {
        Self(key)
    }

    /// The bytes, for derivation and for a wrap.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}
