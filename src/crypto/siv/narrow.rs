//! What GCM-SIV does once per message, block by block: AES-256 (FIPS 197), multiplication of POLYVAL
//! (RFC 8452, section 3) and the keys of a nonce (section 4).
//!
//! Both are instructions whose time does not depend on data, and nothing here branches on a secret or looks
//! one up.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_andnot_si128, _mm_clmulepi64_si128,
    _mm_or_si128, _mm_set_epi64x, _mm_set1_epi32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_slli_si128,
    _mm_testz_si128, _mm_unpacklo_epi64, _mm_xor_si128,
};

use zerocopy::transmute;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto::Nonce;

/// 16 bytes in a register.
pub(super) type Block = __m128i;

/// Nothing.
pub(super) const ZERO: Block = transmute!([0_u8; 16]);

/// Round keys of AES-256: one before the first round, one for each of 14 rounds.
pub(super) const ROUND_KEYS: usize = 15;

/// An expanded AES-256 key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct RoundKeys(pub(super) [Block; ROUND_KEYS]);

impl RoundKeys {
    /// Expands `key`.
    #[target_feature(enable = "avx,aes")]
    pub(super) fn of(key: &[u8; 32]) -> Self {
        Self::expand(transmute!(*key))
    }

    /// Expands the key that consists of two halves.
    ///
    /// SubWord is the last round of AES on a block of four equal columns, where ShiftRows changes nothing: it has
    /// half the latency of the instruction that is meant for it.
    #[inline]
    #[target_feature(enable = "avx,aes")]
    pub(super) fn expand([mut even, mut odd]: [Block; 2]) -> Self {
        let rotate_last_word = _mm_set1_epi32(0x0c0f_0e0d);
        let mut round_constant = _mm_set1_epi32(1);
        let mut this = Self([ZERO; ROUND_KEYS]);
        this.0[0] = even;
        for pair in this.0[1..].as_chunks_mut::<2>().0 {
            let rotated = _mm_shuffle_epi8(odd, rotate_last_word);
            even = _mm_xor_si128(sums_of_words(even), _mm_aesenclast_si128(rotated, round_constant));
            round_constant = _mm_add_epi32(round_constant, round_constant);
            *pair = [odd, even];
            let repeated = _mm_shuffle_epi32::<0xff>(even);
            odd = _mm_xor_si128(sums_of_words(odd), _mm_aesenclast_si128(repeated, ZERO));
        }
        this
    }

    /// Encrypts one block.
    #[inline]
    #[target_feature(enable = "avx,aes")]
    fn encrypt(&self, block: Block) -> Block {
        let [first, middle @ .., last] = &self.0;
        let mut block = _mm_xor_si128(block, *first);
        for key in middle {
            block = _mm_aesenc_si128(block, *key);
        }
        _mm_aesenclast_si128(block, *last)
    }
}

/// Each word of `key` added to those before it.
#[inline]
#[target_feature(enable = "avx")]
fn sums_of_words(key: Block) -> Block {
    let pairs = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    _mm_xor_si128(pairs, _mm_slli_si128::<8>(pairs))
}

/// The key-generating blocks of a nonce, of which `derive_keys` (RFC 8452, section 4) takes the first halves: the
/// message-authentication key and both halves of the message-encryption key.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn derived_keys([a, b, c, d, e, f]: [Block; 6]) -> (Block, [Block; 2]) {
    (_mm_unpacklo_epi64(a, b), [_mm_unpacklo_epi64(c, d), _mm_unpacklo_epi64(e, f)])
}

/// The tag: the POLYVAL value with the nonce added and its last bit cleared, encrypted.
#[inline]
#[target_feature(enable = "avx,aes")]
pub(super) fn tag(encryption: &RoundKeys, polyval: Block, nonce: &Nonce) -> Block {
    let mut padded = [0; 16];
    padded[..12].copy_from_slice(nonce);
    let input = _mm_andnot_si128(last_bit(), _mm_xor_si128(polyval, transmute!(padded)));
    encryption.encrypt(input)
}

/// Whether two blocks are equal; looks at all bits at once.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn equal(a: Block, b: Block) -> bool {
    let difference = _mm_xor_si128(a, b);
    _mm_testz_si128(difference, difference) == 1
}

/// The counter block that follows from a tag.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn first_counter(tag: Block) -> Block {
    _mm_or_si128(tag, last_bit())
}

/// The block with nothing but the most significant bit of its last byte.
#[inline]
#[target_feature(enable = "avx")]
fn last_bit() -> Block {
    _mm_set_epi64x(i64::MIN, 0)
}

/// The block of both lengths, in bits, that ends the input of POLYVAL.
pub(super) fn length_block(aad: &[u8], plain: &[u8]) -> [u8; 16] {
    let lengths = [aad, plain].map(|part| (part.len() as u64 * 8).to_le_bytes());
    transmute!(lengths)
}

/// The polynomial of POLYVAL, x^128 + x^127 + x^126 + x^121 + 1, without its first and last term, divided by x^64.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn polynomial() -> Block {
    _mm_set_epi64x(0, 0xc2_i64 << 56)
}

/// `dot` of RFC 8452, section 3: `a * b * x^-128` in the field of POLYVAL.
#[inline]
#[target_feature(enable = "avx,pclmulqdq")]
pub(super) fn dot(a: Block, b: Block) -> Block {
    let low = _mm_clmulepi64_si128::<0x00>(a, b);
    let middle = _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
    let high = _mm_clmulepi64_si128::<0x11>(a, b);
    // The product is high * x^128 + middle * x^64 + low. A multiple of the polynomial clears its lowest 64 bits,
    // and a second one the next 64; what is left, divided by x^128, is the result.
    let polynomial = polynomial();
    let cleared = _mm_clmulepi64_si128::<0x00>(low, polynomial);
    let middle = _mm_xor_si128(_mm_xor_si128(middle, _mm_shuffle_epi32::<0x4e>(low)), cleared);
    let cleared = _mm_clmulepi64_si128::<0x00>(middle, polynomial);
    _mm_xor_si128(_mm_xor_si128(high, _mm_shuffle_epi32::<0x4e>(middle)), cleared)
}
