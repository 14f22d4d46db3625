//! AES-256-GCM-SIV with an expanded key.

use std::fmt;

use aes_gcm_siv::aead::inout::InOutBuf;
use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit};

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
pub struct Aead(Aes256GcmSiv);

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aead(..)")
    }
}

impl Aead {
    /// Expands `key`.
    pub fn new(key: &SecretKey) -> Self {
        Self(Aes256GcmSiv::new(key.expose().into()))
    }

    /// Encrypts `plain` into `cipher` of the same length and returns the tag.
    ///
    /// # Panics
    /// If the lengths differ: both come from the same block geometry.
    pub fn seal(&self, nonce: &Nonce, aad: &[u8], plain: &[u8], cipher: &mut [u8]) -> Tag {
        let buffer = InOutBuf::new(plain, cipher).expect("plain and cipher have one length");
        let tag = self
            .0
            .encrypt_inout_detached(nonce.into(), aad, buffer)
            .expect("a message is far below the 64 GiB limit of RFC 8452");
        tag.into()
    }

    /// Decrypts `cipher` into `plain` of the same length.
    ///
    /// # Errors
    /// [`AeadError`] if anything differs from what was sealed; `plain` holds no plaintext then.
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
        let buffer = InOutBuf::new(cipher, plain).expect("plain and cipher have one length");
        self.0.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()).map_err(|_| AeadError)
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

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    /// RFC 8452, appendix C.2, the cases with one block, with associated data, and with a long message.
    #[test]
    fn rfc8452_vectors() {
        let mut key = vec![0u8; 32];
        key[0] = 1;
        let aead = Aead::new(&SecretKey::from_slice(&key).unwrap());
        let mut nonce = [0u8; 12];
        nonce[0] = 3;
        let cases = [
            ("", "", "", "07f5f4169bbf55a8400cd47ea6fd400f"),
            ("", "0100000000000000", "c2ef328e5c71c83b", "843122130f7364b761e0b97427e3df28"),
            ("01", "0200000000000000", "1de22967237a8132", "91213f267e3b452f02d01ae33e4ec854"),
        ];
        for (aad, plain, cipher, tag) in cases {
            let plain = hex(plain);
            let mut out = vec![0; plain.len()];
            let got = aead.seal(&nonce, &hex(aad), &plain, &mut out);
            assert_eq!((out, got.to_vec()), (hex(cipher), hex(tag)));
        }
    }

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
