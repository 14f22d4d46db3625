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

mod dice;
mod explorer;
mod faults;
mod keys;
mod oracle;
mod tree;
mod volume;

use explorer::{Explorer, Findings};
use faults::{EVERY_FAULT, Outcomes, one_fault};
use kmsfs::file::Rules;
use kmsfs::store::simulated::Tearing;
use volume::{Counts, EVERY_OP, Start};

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

/// Every sequence of one and of two operations, with the power cut at every backing call of the last one.
fn short_histories(tearing: Tearing) {
    let start = Start::new(tearing);
    let mut counts = Counts::default();
    for first in EVERY_OP {
        start.every_moment(&[first], &mut counts).unwrap();
    }
    // Where the states are few, as in a test run that only shows that all this works, one operation has to do.
    if states() >= 100_000 {
        for ops in EVERY_OP.iter().flat_map(|first| EVERY_OP.map(|second| [*first, second])) {
            start.every_moment(&ops, &mut counts).unwrap();
        }
    }
    println!("whole volume, short histories: {counts:?}");
}

#[test]
fn no_short_history_loses_anything_with_torn_sectors() {
    short_histories(Tearing::Sector);
}

#[test]
fn no_short_history_loses_anything_with_torn_pages() {
    short_histories(Tearing::Page);
}

#[test]
fn no_long_history_of_a_volume_loses_anything() {
    let start = Start::new(Tearing::Sector);
    let mut counts = Counts::default();
    for seed in 1.. {
        if counts.states >= states() / 10 {
            break;
        }
        start.random(seed, &mut counts).unwrap();
    }
    println!("whole volume, long histories: {counts:?}");
}

/// Each backing call of the reference workload fails once, in every way.
#[test]
fn no_fault_loses_anything() {
    let start = Start::new(Tearing::Sector);
    for fault in EVERY_FAULT {
        let mut outcomes = Outcomes::default();
        let mut n = 1;
        while one_fault(&start, fault, n, &mut outcomes)
            .unwrap_or_else(|problem| panic!("{fault:?}, call {n}: {problem}"))
        {
            n += 1;
        }
        println!("{fault:?}: {outcomes:?}");
        // Only what nobody has to know about goes unreported: caches, hints, and what a later step makes up for.
        assert!(outcomes.faults > 20 && outcomes.reported * 10 > outcomes.faults * 5, "{outcomes:?}");
    }
}
