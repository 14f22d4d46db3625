//! Every parser against mutated and arbitrary bytes: `KMSFS_FUZZ_CASES` for each (20,000 by default), always the same ones.
//!
//! The seeds are the vectors of the format page and what stands in `fuzz/corpus`: `scripts/fuzz` runs the same targets
//! under libFuzzer and keeps there what reaches new code.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod targets;

use std::panic::catch_unwind;
use std::path::Path;

use kms_core::model::{AccountId, Caller};
use kms_core::service::EmbeddedKms;
use serde_json::Value;
use targets::TARGETS;

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ (value >> 31)) % bound.max(1) as u64) as usize
    }
}

fn cases() -> usize {
    std::env::var("KMSFS_FUZZ_CASES").map_or(20_000, |text| text.parse().expect("a number of cases"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text of a vector that is bytes in hexadecimal, as bytes, and every other text as it is.
fn collect(value: &Value, seeds: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) => {
            let digits = |text: &str| {
                text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            };
            if digits(text) {
                let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
                seeds.push((0..text.len()).step_by(2).map(byte).collect());
            }
            seeds.push(text.clone().into_bytes());
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, seeds)),
        Value::Object(members) => members.values().for_each(|value| collect(value, seeds)),
        _ => {}
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new()];
    for dir in ["tests/vectors", "kms-core/tests/vectors"] {
        for entry in std::fs::read_dir(root().join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "json") {
                collect(&serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap(), &mut seeds);
            }
        }
    }
    for policy in ["default_key_policy.json", "managed_key_policy.json"] {
        seeds.push(std::fs::read(root().join("kms-core/src/policy").join(policy)).unwrap());
    }
    for entry in std::fs::read_dir(root().join("fuzz/corpus/parsers")).into_iter().flatten() {
        // The first byte chose the target.
        seeds.push(std::fs::read(entry.unwrap().path()).unwrap().split_off(1));
    }
    seeds.sort();
    seeds.dedup();
    seeds
}

fn mutated(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..dice.below(6) {
        let at = dice.below(bytes.len());
        match dice.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, dice.below(256) as u8),
            4 if !bytes.is_empty() => drop(bytes.remove(at)),
            5 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len());
                let len = dice.below(other.len() - from.min(other.len()) + 1).min(64);
                let piece: Vec<u8> = other.iter().skip(from).take(len).copied().collect();
                bytes.splice(at..(at + piece.len()).min(bytes.len()), piece);
            }
            _ => {
                let block: Vec<u8> = bytes.iter().skip(at).take(32).copied().collect();
                bytes.splice(at..at, block);
            }
        }
    }
    bytes.truncate(1 << 16);
    bytes
}

#[test]
fn no_bytes_make_a_parser_panic_or_accept_what_nobody_writes() {
    let seeds = seeds();
    assert!(seeds.len() > 100);
    for (number, (name, target)) in TARGETS.iter().enumerate() {
        let mut dice = Dice(number as u64);
        for seed in &seeds {
            target(seed);
        }
        for case in 0..cases() {
            let bytes = mutated(&seeds, &mut dice);
            let outcome = catch_unwind(|| target(&bytes));
            assert!(outcome.is_ok(), "{name}, case {case}: {bytes:?}");
        }
    }
}

/// The requests of AWS clients: whatever the body, each operation answers or refuses.
#[test]
fn no_request_makes_the_service_panic() {
    let service = EmbeddedKms::in_memory().unwrap();
    let caller = Caller::service(AccountId::local(), "root", "kmsfs");
    let words = [
        "KeyId",
        "Plaintext",
        "CiphertextBlob",
        "EncryptionContext",
        "Policy",
        "alias/x",
        "\"AA==\"",
        "{}",
        "[]",
        "null",
        "true",
        "-1",
        "1e400",
        "\"\\ud800\"",
        "Limit",
        "Marker",
        "KeySpec",
        "\"AES_256\"",
        "NumberOfBytes",
        "1024",
        "GrantTokens",
        "Operations",
        "Tags",
        "TagKey",
        ":",
        ",",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "Message",
        "KeyUsage",
    ];
    let mut dice = Dice(99);
    let operations: Vec<_> = kms_core::wire::operations().collect();
    for case in 0..cases() {
        let mut body = String::from("{");
        for _ in 0..dice.below(5) {
            let (name, value) = (words[dice.below(words.len())], words[dice.below(words.len())]);
            body.push_str(&format!("\"{}\":{value},", name.replace('"', "")));
        }
        body.pop();
        body.push('}');
        if dice.below(4) == 0 {
            body.insert_str(dice.below(body.len()), words[dice.below(words.len())]);
        }
        let operation = operations[dice.below(operations.len())];
        let outcome = catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = operation.call(&service, &caller, body.as_bytes());
        }));
        assert!(outcome.is_ok(), "{}, case {case}: {body}", operation.name());
    }
}
