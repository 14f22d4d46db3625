//! Every kernel that this machine has, against the vectors of RFC 8452 and against `aes-gcm-siv`.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;

use super::*;

/// How many random messages are compared; an environment variable asks for more.
const CASES_VARIABLE: &str = "KMSFS_AEAD_CASES";
const DEFAULT_CASES: u64 = 20_000;
const SEED: u64 = 8452;

/// Nonces, as numbers, and how many blocks the counter takes to its last value: for the key of 32 bytes 7 and a
/// message of 1000 zero bytes.
const WRAPPING: [(u64, u32); 4] =
    [(138_411_410, 21), (171_538_046, 13), (183_714_987, 25), (292_106_326, 31)];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn random_bytes(random: &mut ChaCha12Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    random.fill_bytes(&mut bytes);
    bytes
}

fn below(random: &mut ChaCha12Rng, bound: usize) -> usize {
    (random.next_u64() % bound as u64) as usize
}

fn keys(key: &[u8]) -> Vec<(Kernel, SivKey)> {
    let key = SecretKey::from_slice(key).unwrap();
    Kernel::available().into_iter().map(|kernel| (kernel, SivKey::new(kernel, &key))).collect()
}

/// A message, and room for what becomes of it, anywhere in memory.
struct Case<'a> {
    nonce: Nonce,
    aad: &'a [u8],
    plain: &'a [u8],
}

impl Case<'_> {
    /// Seals with `key` into `cipher`, opens that into `opened`, and returns the tag.
    fn run(&self, key: &SivKey, cipher: &mut [u8], opened: &mut [u8]) -> Tag {
        let tag = key.seal(&self.nonce, self.aad, self.plain, cipher);
        opened.fill(0xa5);
        assert!(key.open(&self.nonce, self.aad, cipher, &tag, opened));
        assert!(opened == self.plain);
        tag
    }
}

/// RFC 8452, appendix C.2 (AES-256) and C.3 (the counter wraps).
#[test]
fn vectors_of_the_rfc() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("rfc8452.json")).unwrap();
    assert_eq!(cases.len(), 26);
    for case in &cases {
        let field = |name: &str| hex(case[name].as_str().unwrap());
        let (plain, aad) = (field("plain"), field("aad"));
        let message = Case { nonce: field("nonce").try_into().unwrap(), aad: &aad, plain: &plain };
        for (kernel, key) in keys(&field("key")) {
            let (mut cipher, mut opened) = (vec![0; plain.len()], vec![0; plain.len()]);
            let tag = message.run(&key, &mut cipher, &mut opened);
            assert_eq!((cipher, tag.to_vec()), (field("cipher"), field("tag")), "{kernel}");
        }
    }
}

/// Compares all kernels with the portable one on one message of `len` bytes; every buffer begins anywhere.
fn compare(random: &mut ChaCha12Rng, keys: &[(Kernel, SivKey)], len: usize) {
    let aad_len = if below(random, 4) == 0 { below(random, 300) } else { below(random, 50) };
    let offsets = [(); 4].map(|()| below(random, 64));
    let aad = random_bytes(random, offsets[0] + aad_len);
    let plain = random_bytes(random, offsets[1] + len);
    let nonce = random_bytes(random, 12).try_into().unwrap();
    let message = Case { nonce, aad: &aad[offsets[0]..], plain: &plain[offsets[1]..] };
    let mut results = keys.iter().map(|(kernel, key)| {
        let (mut cipher, mut opened) = (vec![0; offsets[2] + len], vec![0; offsets[3] + len]);
        let tag = message.run(key, &mut cipher[offsets[2]..], &mut opened[offsets[3]..]);
        (kernel, cipher, tag)
    });
    let (_, cipher, tag) = results.next().unwrap();
    for (kernel, other_cipher, other_tag) in results {
        assert!(other_tag == tag && other_cipher == cipher, "{kernel}, {len} bytes, {aad_len} associated");
    }
}

#[test]
fn every_short_length_and_those_around_a_block() {
    let mut random = ChaCha12Rng::seed_from_u64(SEED);
    let keys = keys(&random_bytes(&mut random, 32));
    for len in (0..=600).chain(4060..=4130).chain([128 << 10, (128 << 10) + 1]) {
        compare(&mut random, &keys, len);
    }
}

#[test]
fn random_messages() {
    let cases = std::env::var(CASES_VARIABLE).map_or(DEFAULT_CASES, |cases| cases.parse().unwrap());
    let mut random = ChaCha12Rng::seed_from_u64(SEED + 1);
    let mut expanded = keys(&random_bytes(&mut random, 32));
    for case in 0..cases {
        if case % 64 == 0 {
            expanded = keys(&random_bytes(&mut random, 32));
        }
        let bound = [17, 260, 1100, 4200][below(&mut random, 4)];
        let len = below(&mut random, bound);
        compare(&mut random, &expanded, len);
    }
}

/// The tags of these messages begin with a number so near to 2^32 that the counter wraps within the message, in
/// another place each time. The nonces were found by trying.
#[test]
fn the_counter_wraps_anywhere_in_a_message() {
    for (number, left) in WRAPPING {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&number.to_le_bytes());
        let message = Case { nonce, aad: &[], plain: &[0; 1000] };
        let mut results = keys(&[7; 32]).into_iter().map(|(kernel, key)| {
            let (mut cipher, mut opened) = ([0; 1000], [0; 1000]);
            let tag = message.run(&key, &mut cipher, &mut opened);
            assert_eq!(u32::MAX - u32::from_le_bytes(tag[..4].try_into().unwrap()), left, "{kernel}");
            (kernel, cipher)
        });
        let (_, cipher) = results.next().unwrap();
        results.for_each(|(kernel, other)| assert!(other == cipher, "{kernel}"));
    }
}

#[test]
fn what_was_changed_is_refused_and_wiped() {
    let mut random = ChaCha12Rng::seed_from_u64(SEED + 2);
    for (kernel, key) in keys(&random_bytes(&mut random, 32)) {
        for len in [0, 1, 16, 63, 200, 600, 4096] {
            let (plain, aad) = (random_bytes(&mut random, len), random_bytes(&mut random, 21));
            let mut cipher = vec![0; len];
            let tag = key.seal(&[9; 12], &aad, &plain, &mut cipher);
            let refused = |nonce: &Nonce, aad: &[u8], cipher: &[u8], tag: &Tag| {
                let mut opened = vec![0xa5; len];
                assert!(!key.open(nonce, aad, cipher, tag, &mut opened), "{kernel}, {len} bytes");
                assert!(opened.iter().all(|byte| *byte == 0), "{kernel}, {len} bytes");
            };
            refused(&[8; 12], &aad, &cipher, &tag);
            refused(&[9; 12], &aad[1..], &cipher, &tag);
            for bit in 0..128 {
                let mut broken = tag;
                broken[bit / 8] ^= 1 << (bit % 8);
                refused(&[9; 12], &aad, &cipher, &broken);
            }
            for bit in (0..len * 8).step_by(len.div_ceil(40).max(1)) {
                let mut broken = cipher.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                refused(&[9; 12], &aad, &broken, &tag);
            }
            for bit in 0..aad.len() * 8 {
                let mut broken = aad.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                refused(&[9; 12], &broken, &cipher, &tag);
            }
        }
    }
}

#[test]
fn a_kernel_is_chosen_by_name_and_else_the_portable_one() {
    let available = Kernel::available();
    assert_eq!(available.first(), Some(&Kernel::PORTABLE));
    assert_eq!(Kernel::choose(None), *available.last().unwrap());
    for kernel in available {
        assert_eq!(Kernel::choose(Some(kernel.name())), kernel);
    }
    for name in ["", "AVX2", "avx1024", "none"] {
        assert_eq!(Kernel::choose(Some(name)), Kernel::PORTABLE);
    }
}

#[test]
#[should_panic(expected = "one length")]
fn buffers_of_two_lengths_are_a_mistake_of_the_caller() {
    let key = SivKey::new(Kernel::chosen(), &SecretKey::from_slice(&[1; 32]).unwrap());
    let _ = key.seal(&[0; 12], &[], &[0; 16], &mut [0; 15]);
}
