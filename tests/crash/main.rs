//! Power cuts, simulated: the real file layer and the real recovery against a byte oracle.
//!
//! Each history runs random operations on a few files over the simulated store. After random operations the
//! store gives images of what a power cut at that moment may leave; each is recovered and read, and every
//! byte must be one that may be there. `KMSFS_CRASH_STATES` sets the number of images (200,000 by default).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and reports its counts"
)]

mod explorer;
mod keys;
mod oracle;

use explorer::{Explorer, Findings};
use kmsfs::file::Rules;
use kmsfs::store::simulated::Tearing;

fn states() -> u64 {
    std::env::var("KMSFS_CRASH_STATES").map_or(200_000, |text| text.parse().expect("a number of states"))
}

fn explore(rules: Rules, tearing: Tearing, states: u64, seeds: std::ops::Range<u64>) -> Findings {
    let mut findings = Findings::default();
    for seed in seeds {
        if findings.states >= states || findings.first.is_some() {
            break;
        }
        Explorer::new(seed, rules, tearing).run(&mut findings);
    }
    findings
}

fn explore_all(tearing: Tearing, first_seed: u64) {
    let findings = explore(Rules::default(), tearing, states() / 2, first_seed..u64::MAX);
    println!("{} states, {} files read, {} healed", findings.states, findings.files, findings.crashes);
    assert_eq!(findings.first, None);
    assert!(findings.states >= states() / 2);
}

#[test]
fn nothing_durable_is_lost_with_torn_sectors() {
    explore_all(Tearing::Sector, 1);
}

#[test]
fn nothing_durable_is_lost_with_torn_pages() {
    explore_all(Tearing::Page, 1 << 40);
}

/// Each rule of the write protocol is needed, and this explorer would notice its absence.
#[test]
fn an_overwrite_before_its_image_is_durable_is_noticed() {
    let findings = explore(Rules::dangerous_without_write_ahead(), Tearing::Sector, 100_000, 0..u64::MAX);
    assert!(findings.first.is_some(), "{} states", findings.states);
}

#[test]
fn a_file_that_leaves_the_journal_before_its_cut_is_retired_is_noticed() {
    let findings = explore(Rules::dangerous_without_retire(), Tearing::Sector, 1_000_000, 0..u64::MAX);
    assert!(findings.first.is_some(), "{} states", findings.states);
}

#[test]
fn a_cut_apart_from_its_tail_is_noticed() {
    let findings = explore(Rules::dangerous_with_split_cut(), Tearing::Sector, 1_000_000, 0..u64::MAX);
    assert!(findings.first.is_some(), "{} states", findings.states);
}
