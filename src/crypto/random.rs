//! Random numbers.
//!
//! Identifiers and keys come from the operating system. Nonces come from a thread-local ChaCha12 generator
//! seeded by it, because a system call for each block costs more than the cipher; it is seeded anew after
//! every 2^20 nonces.

use std::cell::RefCell;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

/// Nonces drawn from one seed.
const NONCES_PER_SEED: u32 = 1 << 20;

struct NonceSource {
    generator: ChaCha12Rng,
    left: u32,
}

thread_local! {
    static NONCES: RefCell<Option<NonceSource>> = const { RefCell::new(None) };
}

/// Fills `out` from the operating system.
///
/// # Panics
/// If the operating system has no random numbers, because nothing can be encrypted safely then.
pub fn fill(out: &mut [u8]) {
    getrandom::fill(out).expect("the operating system provides random numbers");
}

/// `N` bytes from the operating system.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}

/// Fills `out` with nonce bytes from the thread's generator.
pub fn fill_nonce(out: &mut [u8]) {
    NONCES.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|source| source.left == 0) {
            let seed: Zeroizing<[u8; 32]> = Zeroizing::new(bytes());
            *slot = Some(NonceSource { generator: ChaCha12Rng::from_seed(*seed), left: NONCES_PER_SEED });
        }
        if let Some(source) = slot {
            source.left -= 1;
            source.generator.fill_bytes(out);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nonces_differ_within_and_between_threads() {
        let draw = || {
            (0..1000)
                .map(|_| {
                    let mut nonce = [0u8; 12];
                    fill_nonce(&mut nonce);
                    nonce
                })
                .collect::<Vec<_>>()
        };
        let mut all = draw();
        all.extend(std::thread::spawn(draw).join().unwrap());
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 2000);
    }
}
