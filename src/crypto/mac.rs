//! HMAC-SHA-256 (RFC 2104), whole and cut to 16 bytes.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::SecretKey;

/// A whole HMAC-SHA-256 value.
pub type Mac32 = [u8; 32];
/// The first half of an HMAC-SHA-256 value.
pub type Mac16 = [u8; 16];

/// An HMAC-SHA-256 key, its inner and outer state computed once.
#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey(..)")
    }
}

impl MacKey {
    /// Takes `key`.
    pub fn new(key: &SecretKey) -> Self {
        Self(Hmac::new_from_slice(key.expose()).expect("HMAC takes a key of any length"))
    }

    fn run(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }

    /// The MAC of the parts, one behind the other.
    pub fn mac32(&self, parts: &[&[u8]]) -> Mac32 {
        self.run(parts).finalize().into_bytes().into()
    }

    /// The first 16 bytes of the MAC of the parts.
    pub fn mac16(&self, parts: &[&[u8]]) -> Mac16 {
        let whole = self.mac32(parts);
        let mut half = [0; 16];
        half.copy_from_slice(&whole[..16]);
        half
    }

    /// Whether `expected` is the MAC of the parts, or its beginning of at least 12 bytes; in constant time.
    pub fn verify(&self, parts: &[&[u8]], expected: &[u8]) -> bool {
        expected.len() >= 12 && self.run(parts).verify_truncated_left(expected).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_accepts_the_whole_and_the_beginning_only() {
        let key = MacKey::new(&SecretKey::from_slice(&[7; 32]).unwrap());
        let mac = key.mac32(&[b"one", b"two"]);
        assert_eq!(mac, key.mac32(&[b"onetwo"]));
        assert!(key.verify(&[b"onetwo"], &mac) && key.verify(&[b"onetwo"], &mac[..12]));
        assert!(!key.verify(&[b"onetwo"], &mac[..11]) && !key.verify(&[b"onetwp"], &mac));
        assert!(!key.verify(&[b"onetwo"], &mac[1..]));
    }
}
