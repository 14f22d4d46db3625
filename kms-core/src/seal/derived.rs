//! Authenticated encryption under a key that is used once.
//!
//! Every message gets its own AES-256-GCM key: HKDF-SHA256 of the long-lived secret with 32 fresh random bytes as the
//! salt. A repeated nonce is then not a matter of counting messages, so the limit of 2^32 messages per GCM key, and
//! the fixed nonce below, do not matter.
//!
//! Layout: `random (32) | ciphertext | tag (16)`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use super::SealError;

/// The random bytes in front.
pub(crate) const RANDOM_LEN: usize = 32;
/// The tag at the end.
pub(crate) const TAG_LEN: usize = 16;
/// What a sealed message has beyond its plaintext.
pub(crate) const OVERHEAD: usize = RANDOM_LEN + TAG_LEN;

/// Seals `plaintext` under a key derived from `secret` for `info`, bound to `aad`.
pub(crate) fn seal(
    secret: &[u8],
    info: &[&[u8]],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut random = [0; RANDOM_LEN];
    super::fill_random(&mut random)?;
    seal_with_random(secret, info, aad, plaintext, &random)
}

/// The same with given random bytes, for vectors. Using the same ones for two messages breaks both.
pub(crate) fn seal_with_random(
    secret: &[u8],
    info: &[&[u8]],
    aad: &[u8],
    plaintext: &[u8],
    random: &[u8; RANDOM_LEN],
) -> Result<Vec<u8>, SealError> {
    let key = derive_key(secret, random, info)?;
    let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD);
    out.extend_from_slice(random);
    out.extend_from_slice(plaintext);
    let tag = key
        .seal_in_place_separate_tag(fixed_nonce(), Aad::from(aad), &mut out[RANDOM_LEN..])
        .map_err(|_| SealError::Internal)?;
    out.extend_from_slice(tag.as_ref());
    Ok(out)
}

/// Opens what [`seal`] made. Anything that differs is [`SealError::Unauthentic`].
pub(crate) fn open(
    secret: &[u8],
    info: &[&[u8]],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (random, body) = sealed.split_first_chunk::<RANDOM_LEN>().ok_or(SealError::Unauthentic)?;
    if body.len() < TAG_LEN {
        return Err(SealError::Unauthentic);
    }
    let key = derive_key(secret, random, info)?;
    let mut buffer = Zeroizing::new(body.to_vec());
    let plain_len = key
        .open_in_place(fixed_nonce(), Aad::from(aad), &mut buffer)
        .map_err(|_| SealError::Unauthentic)?
        .len();
    buffer.truncate(plain_len);
    Ok(buffer)
}

fn fixed_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn derive_key(secret: &[u8], random: &[u8; RANDOM_LEN], info: &[&[u8]]) -> Result<LessSafeKey, SealError> {
    let mut bytes = Zeroizing::new([0; 32]);
    Salt::new(HKDF_SHA256, random)
        .extract(secret)
        .expand(info, HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut bytes[..]))
        .map_err(|_| SealError::Internal)?;
    UnboundKey::new(&AES_256_GCM, &bytes[..]).map(LessSafeKey::new).map_err(|_| SealError::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_unauthentic() {
        let sealed = seal(b"secret", &[b"info"], b"aad", b"plain").expect("seals");
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert_eq!(open(b"secret", &[b"info"], b"aad", &changed), Err(SealError::Unauthentic));
        }
        assert_eq!(open(b"secret", &[b"info"], b"aad", &sealed).expect("opens").as_slice(), b"plain");
    }

    #[test]
    fn secret_info_and_aad_are_bound() {
        let sealed = seal(b"secret", &[b"info"], b"aad", b"plain").expect("seals");
        assert!(open(b"other", &[b"info"], b"aad", &sealed).is_err());
        assert!(open(b"secret", &[b"other"], b"aad", &sealed).is_err());
        assert!(open(b"secret", &[b"info"], b"other", &sealed).is_err());
    }

    #[test]
    fn short_input_is_unauthentic() {
        for len in 0..OVERHEAD {
            assert_eq!(open(b"s", &[b"i"], b"", &vec![0; len]), Err(SealError::Unauthentic));
        }
    }
}
