//! The kernel with vectors of four blocks: AVX-512, VAES and VPCLMULQDQ.

use std::arch::x86_64::{
    __m512i, _mm_xor_si128, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_xor_si256,
    _mm512_add_epi32, _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_broadcast_i32x4,
    _mm512_castsi512_si256, _mm512_clmulepi64_epi128, _mm512_extracti64x4_epi64, _mm512_setr_epi32,
    _mm512_shuffle_epi32, _mm512_xor_si512,
};

use super::narrow::Block;
use super::wide::wide_kernel;

const LANES: usize = 4;
const GROUP: usize = 4;
type Vector = __m512i;

wide_kernel!("avx,avx2,aes,pclmulqdq,avx512f,avx512vl,vaes,vpclmulqdq");

/// The number of each lane, in the place where a counter block has its counter.
#[inline]
#[target_feature(enable = "avx512f")]
fn lane_numbers() -> Vector {
    _mm512_setr_epi32(0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0)
}

/// What leads from the counters of a vector to those of the next.
#[inline]
#[target_feature(enable = "avx512f")]
fn next_vector() -> Vector {
    _mm512_setr_epi32(4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0)
}

/// `block` in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn splat(block: Block) -> Vector {
    _mm512_broadcast_i32x4(block)
}

/// The sum of all lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_lanes(vector: Vector) -> Block {
    let half = _mm256_xor_si256(_mm512_castsi512_si256(vector), _mm512_extracti64x4_epi64::<1>(vector));
    _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}

/// Adds without carry.
#[inline]
#[target_feature(enable = "avx512f")]
fn xor(a: Vector, b: Vector) -> Vector {
    _mm512_xor_si512(a, b)
}

/// Adds each 32 bits, modulo 2^32.
#[inline]
#[target_feature(enable = "avx512f")]
fn add32(a: Vector, b: Vector) -> Vector {
    _mm512_add_epi32(a, b)
}

/// Exchanges the halves of each lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn swap_halves(vector: Vector) -> Vector {
    _mm512_shuffle_epi32::<0x4e>(vector)
}

/// Multiplies without carry: in each lane, the half of `a` that the low digit of `HALVES` names (0 low, 1 high)
/// with the half of `b` that the high digit names.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn clmul<const HALVES: i32>(a: Vector, b: Vector) -> Vector {
    _mm512_clmulepi64_epi128::<HALVES>(a, b)
}

/// A round of AES in each lane.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn aes_round(block: Vector, key: Vector) -> Vector {
    _mm512_aesenc_epi128(block, key)
}

/// The last round of AES in each lane.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn aes_last_round(block: Vector, key: Vector) -> Vector {
    _mm512_aesenclast_epi128(block, key)
}
