//! DER of keys that are nothing but bytes under an object identifier: ML-DSA (RFC 9881) and ML-KEM (RFC 9935).
//!
//! Everything in front of the bytes is the same for every key of an algorithm, so it is written and compared whole.
//!
//! ```text
//! PrivateKeyInfo        30 len | 02 01 00 | 30 0b 06 09 oid | 04 len | 80 len seed
//! SubjectPublicKeyInfo  30 82 len len | 30 0b 06 09 oid | 03 82 len len | 00 key
//! ```

use zeroize::Zeroizing;

/// The content of the object identifiers of NIST's algorithms, which are nine bytes long.
pub(super) type Oid = [u8; 9];

const ALGORITHM_LEN: u8 = 13;

fn algorithm(oid: &Oid) -> [u8; ALGORITHM_LEN as usize] {
    let mut out = [0x30, 0x0b, 0x06, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    out[4..].copy_from_slice(oid);
    out
}

/// What stands in front of a seed of `LEN` bytes; seeds have 32 or 64.
fn private_prefix<const LEN: usize>(oid: &Oid) -> Vec<u8> {
    const { assert!(LEN <= 64, "lengths have one byte") };
    #[allow(clippy::cast_possible_truncation, reason = "at most 64")]
    let len = LEN as u8;
    let mut out = vec![0x30, 3 + ALGORITHM_LEN + 2 + 2 + len, 0x02, 0x01, 0x00];
    out.extend_from_slice(&algorithm(oid));
    out.extend_from_slice(&[0x04, 2 + len, 0x80, len]);
    out
}

/// A `PrivateKeyInfo` that holds a seed.
pub(super) fn encode_private<const LEN: usize>(oid: &Oid, seed: &[u8; LEN]) -> Zeroizing<Vec<u8>> {
    let prefix = private_prefix::<LEN>(oid);
    let mut out = Zeroizing::new(Vec::with_capacity(prefix.len() + LEN));
    out.extend_from_slice(&prefix);
    out.extend_from_slice(seed);
    out
}

/// The seed of a `PrivateKeyInfo`; `None` for everything that [`encode_private`] would not have written.
pub(super) fn decode_private<const LEN: usize>(oid: &Oid, der: &[u8]) -> Option<Zeroizing<[u8; LEN]>> {
    let seed = der.strip_prefix(private_prefix::<LEN>(oid).as_slice())?;
    seed.try_into().ok().map(Zeroizing::new)
}

/// A length of two bytes.
#[allow(clippy::big_endian_bytes, reason = "DER counts in big endian")]
fn long_len(len: u16) -> [u8; 2] {
    len.to_be_bytes()
}

/// A `SubjectPublicKeyInfo` that holds a key of 256 bytes or more.
pub(super) fn encode_public(oid: &Oid, key: &[u8]) -> Option<Vec<u8>> {
    let bits = u16::try_from(key.len() + 1).ok().filter(|len| *len > 255)?;
    let all = bits.checked_add(4 + u16::from(ALGORITHM_LEN))?;
    let mut out = Vec::with_capacity(key.len() + 22);
    out.extend_from_slice(&[0x30, 0x82]);
    out.extend_from_slice(&long_len(all));
    out.extend_from_slice(&algorithm(oid));
    out.extend_from_slice(&[0x03, 0x82]);
    out.extend_from_slice(&long_len(bits));
    out.push(0);
    out.extend_from_slice(key);
    Some(out)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ML_DSA_65_SIGNING, PqdsaKeyPair};

    use super::*;

    const ML_DSA_65: Oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12];

    #[test]
    fn another_implementation_writes_the_same() {
        let pair = PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, &[7; 32]).expect("expands");
        let theirs = pair.to_pkcs8v1().expect("encodes");
        assert_eq!(encode_private(&ML_DSA_65, &[7; 32]).as_slice(), theirs.as_ref());
        assert_eq!(decode_private::<32>(&ML_DSA_65, theirs.as_ref()).as_deref(), Some(&[7; 32]));
    }

    #[test]
    fn anything_else_is_refused() {
        let der = encode_private(&ML_DSA_65, &[7; 64]);
        assert!(decode_private::<64>(&ML_DSA_65, &der).is_some());
        assert!(decode_private::<32>(&ML_DSA_65, &der).is_none());
        assert!(decode_private::<64>(&ML_DSA_65, &der[..der.len() - 1]).is_none());
        assert!(decode_private::<64>(&ML_DSA_65, &[der.as_slice(), b"x"].concat()).is_none());
        assert!(encode_public(&ML_DSA_65, &[0; 254]).is_none());
        assert!(encode_public(&ML_DSA_65, &[0; 70_000]).is_none());
    }
}
