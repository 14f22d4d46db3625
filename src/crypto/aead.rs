//! AES-256-GCM-SIV with an expanded key.

use std::fmt;

use super::siv::{Kernel, SivKey};
use super::{SecretKey, random};

/// Length of a nonce in bytes.
pub const NONCE_LEN: usize = 12;
/// Length of a tag in bytes.
pub const TAG_LEN: usize = 16;
/// A nonce.
pub type Nonce = [u8; NONCE_LEN];
/// An authentication tag.
pub type Tag = [u8; TAG_LEN];

/// The ciphertext, its nonce, its associated data or its key is not the one that was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct AeadError;

/// An AES-256-GCM-SIV key, expanded once.
pub struct Aead(SivKey);

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aead(..)")
    }
}

impl Aead {
    /// Expands `key` for the kernel of this process.
    pub fn new(key: &SecretKey) -> Self {
        Self::with_kernel(Kernel::chosen(), key)
    }

    /// Expands `key` for a given kernel.
    pub fn with_kernel(kernel: Kernel, key: &SecretKey) -> Self {
        Self(SivKey::new(kernel, key))
    }

    /// Encrypts `plain` into `cipher` of the same length and returns the tag.
    ///
    /// # Panics
    /// If the lengths differ: both come from the same block geometry.
    pub fn seal(&self, nonce: &Nonce, aad: &[u8], plain: &[u8], cipher: &mut [u8]) -> Tag {
        self.0.seal(nonce, aad, plain, cipher)
    }

    /// Decrypts `cipher` into `plain` of the same length.
    ///
    /// # Errors
    /// [`AeadError`] if anything differs from what was sealed; `plain` is all zero then.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn open(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        cipher: &[u8],
        tag: &Tag,
        plain: &mut [u8],
    ) -> Result<(), AeadError> {
        if self.0.open(nonce, aad, cipher, tag, plain) { Ok(()) } else { Err(AeadError) }
    }

    /// Encrypts a small value with a random nonce into one string: nonce, tag, ciphertext.
    pub fn seal_value(&self, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        random::fill_nonce(&mut nonce);
        self.seal_value_with(&nonce, aad, plain)
    }

    /// As [`Self::seal_value`] with a given nonce.
    pub fn seal_value_with(&self, nonce: &Nonce, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = vec![0; NONCE_LEN + TAG_LEN + plain.len()];
        let tag = self.seal(nonce, aad, plain, &mut out[NONCE_LEN + TAG_LEN..]);
        out[..NONCE_LEN].copy_from_slice(nonce);
        out[NONCE_LEN..NONCE_LEN + TAG_LEN].copy_from_slice(&tag);
        out
    }

    /// Decrypts what [`Self::seal_value`] made.
    ///
    /// # Errors
    /// [`AeadError`] if it is too short or was changed.
    pub fn open_value(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, AeadError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(AeadError)?;
        let (tag, cipher) = rest.split_first_chunk::<TAG_LEN>().ok_or(AeadError)?;
        let mut plain = vec![0; cipher.len()];
        self.open(nonce, aad, cipher, tag, &mut plain)?;
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_an_error() {
        let aead = Aead::new(&SecretKey::generate().unwrap());
        let sealed = aead.seal_value(b"context", b"value");
        assert_eq!(aead.open_value(b"context", &sealed).unwrap(), b"value");
        assert_eq!(aead.open_value(b"other", &sealed), Err(AeadError));
        for bit in 0..sealed.len() * 8 {
            let mut broken = sealed.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(aead.open_value(b"context", &broken), Err(AeadError));
        }
        for len in 0..sealed.len() {
            assert_eq!(aead.open_value(b"context", &sealed[..len]), Err(AeadError));
        }
    }
}
