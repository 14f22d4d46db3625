//! The targets of `tests/fuzz` under libFuzzer. The first byte chooses the target.
#![no_main]

#[path = "../../tests/fuzz/targets.rs"]
mod targets;

use libfuzzer_sys::fuzz_target;
use targets::TARGETS;

fuzz_target!(|data: &[u8]| {
    if let Some((choice, data)) = data.split_first() {
        let (_, target) = TARGETS[usize::from(*choice) % TARGETS.len()];
        target(data);
    }
});
