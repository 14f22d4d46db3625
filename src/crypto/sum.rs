//! The sum over a file's entries that its seal carries.
//!
//! `F(e) = AES256(sum key, tag XOR index)`, added up modulo 2^128: cheap to keep up to date when one entry
//! is replaced, and nobody without the key can find another set of entries with the same sum.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};

use super::{SecretKey, Tag};

/// A sum of `F(e)` modulo 2^128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntrySum(u128);

impl EntrySum {
    /// From its 16 stored bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }

    /// Its 16 stored bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

impl std::ops::AddAssign for EntrySum {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl std::ops::SubAssign for EntrySum {
    fn sub_assign(&mut self, other: Self) {
        self.0 = self.0.wrapping_sub(other.0);
    }
}

impl std::ops::Add for EntrySum {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

/// The key of `F`, expanded once.
pub struct SumKey(Aes256);

impl std::fmt::Debug for SumKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SumKey(..)")
    }
}

impl SumKey {
    /// Expands `key`.
    pub fn new(key: &SecretKey) -> Self {
        Self(Aes256::new(key.expose().into()))
    }

    /// `F` of the entry with `tag` at block `index`.
    pub fn term(&self, index: u64, tag: &Tag) -> EntrySum {
        let mut block = (u128::from_le_bytes(*tag) ^ u128::from(index)).to_le_bytes().into();
        self.0.encrypt_block(&mut block);
        EntrySum(u128::from_le_bytes(block.into()))
    }
}
