//! The kernel with vectors of two blocks: AVX2, VAES and VPCLMULQDQ.

use std::arch::x86_64::{
    __m256i, _mm_xor_si128, _mm256_add_epi32, _mm256_aesenc_epi128, _mm256_aesenclast_epi128,
    _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_clmulepi64_epi128, _mm256_extracti128_si256,
    _mm256_setr_epi32, _mm256_shuffle_epi32, _mm256_xor_si256,
};

use super::narrow::Block;
use super::wide::wide_kernel;

const LANES: usize = 2;
const GROUP: usize = 8;
type Vector = __m256i;

wide_kernel!("avx,avx2,aes,pclmulqdq,vaes,vpclmulqdq");

/// The number of each lane, in the place where a counter block has its counter.
#[inline]
#[target_feature(enable = "avx2")]
fn lane_numbers() -> Vector {
    _mm256_setr_epi32(0, 0, 0, 0, 1, 0, 0, 0)
}

/// What leads from the counters of a vector to those of the next.
#[inline]
#[target_feature(enable = "avx2")]
fn next_vector() -> Vector {
    _mm256_setr_epi32(2, 0, 0, 0, 2, 0, 0, 0)
}

/// `block` in every lane.
#[inline]
#[target_feature(enable = "avx2")]
fn splat(block: Block) -> Vector {
    _mm256_broadcastsi128_si256(block)
}

/// The sum of all lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_lanes(vector: Vector) -> Block {
    _mm_xor_si128(_mm256_castsi256_si128(vector), _mm256_extracti128_si256::<1>(vector))
}

/// Adds without carry.
#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: Vector, b: Vector) -> Vector {
    _mm256_xor_si256(a, b)
}

/// Adds each 32 bits, modulo 2^32.
#[inline]
#[target_feature(enable = "avx2")]
fn add32(a: Vector, b: Vector) -> Vector {
    _mm256_add_epi32(a, b)
}

/// Exchanges the halves of each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn swap_halves(vector: Vector) -> Vector {
    _mm256_shuffle_epi32::<0x4e>(vector)
}

/// Multiplies without carry: in each lane, the half of `a` that the low digit of `HALVES` names (0 low, 1 high)
/// with the half of `b` that the high digit names.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn clmul<const HALVES: i32>(a: Vector, b: Vector) -> Vector {
    _mm256_clmulepi64_epi128::<HALVES>(a, b)
}

/// A round of AES in each lane.
#[inline]
#[target_feature(enable = "avx2,vaes")]
fn aes_round(block: Vector, key: Vector) -> Vector {
    _mm256_aesenc_epi128(block, key)
}

/// The last round of AES in each lane.
#[inline]
#[target_feature(enable = "avx2,vaes")]
fn aes_last_round(block: Vector, key: Vector) -> Vector {
    _mm256_aesenclast_epi128(block, key)
}
