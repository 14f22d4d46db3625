//! The process that serves the mount is killed in the middle of writes, again and again. What the writers know to
//! be written is the oracle: they live outside.
//!
//! Written through, each acknowledged byte is there afterwards. With collected writes each byte that an fsync
//! covered is, or a later one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::program::Place;

/// Kills in each cache mode.
const ROUNDS: u64 = 25;
const WRITERS: u64 = 4;
/// The files reach beyond the blocks whose entries are in the header.
const SIZE_MAX: u64 = 200_000;
/// A writer waits for the device after so many changes, so that few contents are possible at any time.
const CHANGES_PER_SYNC: usize = 12;

/// A small generator, so that a round can be repeated from its number.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What one file may hold: the content of the last fsync, and what each change since made of it. The last change
/// may have been cut short.
struct Oracle {
    possible: Vec<Vec<u8>>,
    /// Whether the last change was acknowledged.
    acknowledged: bool,
}

impl Oracle {
    fn latest(&self) -> &Vec<u8> {
        self.possible.last().expect("there is always a content")
    }

    /// Fails unless each byte of `found` is that of a content which may be there.
    fn check(&self, found: &[u8], written_through: bool, what: &str) {
        let keep = if self.acknowledged { 1 } else { 2 };
        let from = if written_through { self.possible.len().saturating_sub(keep) } else { 0 };
        let allowed = &self.possible[from..];
        let (shortest, longest) = allowed
            .iter()
            .fold((usize::MAX, 0), |(low, high), content| (low.min(content.len()), high.max(content.len())));
        assert!((shortest..=longest).contains(&found.len()), "{what}: {} bytes", found.len());
        for (at, byte) in found.iter().enumerate() {
            let fits = allowed.iter().any(|content| content.get(at).copied().unwrap_or(0) == *byte);
            assert!(fits, "{what}: byte {at} of {} is {byte}, which nobody wrote there", found.len());
        }
    }
}

/// Changes a file until the mount is gone.
fn write_until_killed(file: &File, oracle: &mut Oracle, dice: &mut Dice, killed: &AtomicBool) {
    while !killed.load(Ordering::Relaxed) {
        if oracle.possible.len() > CHANGES_PER_SYNC {
            if file.sync_data().is_err() {
                return;
            }
            oracle.possible.drain(..oracle.possible.len() - 1);
            continue;
        }
        let mut content = oracle.latest().clone();
        let size = content.len() as u64;
        let done = if dice.below(12) == 0 {
            let len = dice.below(size + 1);
            content.resize(len as usize, 0);
            oracle.possible.push(content);
            oracle.acknowledged = false;
            file.set_len(len)
        } else {
            let at = if dice.below(3) == 0 { size } else { dice.below(size + 1) };
            let len = (1 + dice.below(30_000)).min(SIZE_MAX.saturating_sub(at));
            let data: Vec<u8> = (0..len).map(|_| 1 + dice.below(255) as u8).collect();
            content.resize(content.len().max((at + len) as usize), 0);
            content[at as usize..][..len as usize].copy_from_slice(&data);
            oracle.possible.push(content);
            oracle.acknowledged = false;
            file.write_all_at(&data, at)
        };
        if done.is_err() {
            return;
        }
        oracle.acknowledged = true;
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// One life of the mount: writers at work until it is killed.
fn live_and_die(place: &Place, oracles: &mut [Oracle], round: u64) {
    let killed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (number, oracle) in oracles.iter_mut().enumerate() {
            let file = open(&place.path(format!("mount/file-{number}")));
            let killed = &killed;
            let mut dice = Dice(round * WRITERS + number as u64);
            scope.spawn(move || write_until_killed(&file, oracle, &mut dice, killed));
        }
        std::thread::sleep(Duration::from_millis(20 + round * 37 % 300));
        place.kill_server();
        killed.store(true, Ordering::Relaxed);
    });
}

fn nothing_is_lost(mode: &str) {
    let written_through = mode == "nowriteback";
    let place = Place::with_volume();
    let empty = || Oracle { possible: vec![Vec::new()], acknowledged: true };
    let mut oracles: Vec<_> = (0..WRITERS).map(|_| empty()).collect();
    for round in 0..ROUNDS {
        place.mount(&["-o", mode]).ok();
        for (number, oracle) in oracles.iter_mut().enumerate() {
            let path = place.path(format!("mount/file-{number}"));
            let found = if path.exists() { std::fs::read(&path).unwrap() } else { Vec::new() };
            oracle.check(&found, written_through, &format!("{mode}, round {round}, file {number}"));
            // Only with an fsync is it certain that this is what a later crash leaves.
            open(&path).sync_all().unwrap();
            *oracle = Oracle { possible: vec![found], acknowledged: true };
        }
        live_and_die(&place, &mut oracles, round);
    }
    place.mount(&[]).ok();
    place.umount().ok();
    place.run(["check", "backing"]).ok();
}

#[test]
fn kills_lose_no_acknowledged_byte() {
    nothing_is_lost("nowriteback");
}

#[test]
fn kills_lose_no_synced_byte_with_collected_writes() {
    nothing_is_lost("writeback");
}
