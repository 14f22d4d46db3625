//! What holds for images of random sequences of calls.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::store::contract::random::{World, picture, steps};

/// A store with both kinds of tearing and of names, by `options`.
fn by_options(options: u8) -> SimulatedStore {
    SimulatedStore::new(SimulatedOptions {
        tearing: if options & 1 == 0 { Tearing::Sector } else { Tearing::Page },
        strict_names: options & 2 != 0,
    })
}

/// A change of one file.
#[derive(Debug, Clone)]
enum Change {
    /// Writes this many bytes.
    Write(u64, u64),
    /// Cuts or extends.
    SetLen(u64),
    /// Makes a hole.
    Punch(u64, u64),
    /// Makes all of it durable.
    Sync,
}

/// Changes at borders of sectors and pages, and between them.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    let place = || {
        (0u64..20, prop::sample::select(vec![0u64, 0, 0, 1, 300, 511])).prop_map(|(n, rest)| n * 512 + rest)
    };
    let change = prop_oneof![
        5 => (place(), 1u64..6000).prop_map(|(at, len)| Change::Write(at, len)),
        2 => place().prop_map(Change::SetLen),
        1 => (place(), 1u64..6000).prop_map(|(at, len)| Change::Punch(at, len)),
        1 => Just(Change::Sync),
    ];
    prop::collection::vec(change, 1..14)
}

/// What an image may have: written without the store's data structures, byte by byte.
struct Oracle {
    /// The content now.
    now: Vec<u8>,
    /// The content when it was last durable.
    durable: Vec<u8>,
    /// For each offset all values since then.
    values: Vec<BTreeSet<u8>>,
    /// All sizes since then.
    sizes: BTreeSet<usize>,
}

impl Oracle {
    /// Offsets that the oracle knows.
    const END: usize = 20_000;

    /// An empty durable file.
    fn new() -> Self {
        let values = vec![BTreeSet::from([0]); Self::END];
        Self { now: Vec::new(), durable: Vec::new(), values, sizes: BTreeSet::from([0]) }
    }

    /// Notes the state behind a change.
    fn note(&mut self) {
        for (at, values) in self.values.iter_mut().enumerate() {
            values.insert(self.now.get(at).copied().unwrap_or(0));
        }
        self.sizes.insert(self.now.len());
    }

    /// Makes a change, with `fill` as the bytes of a write.
    fn change(&mut self, change: &Change, fill: u8) {
        match *change {
            Change::Write(at, len) => {
                let end = (at + len) as usize;
                self.now.resize(self.now.len().max(end), 0);
                self.now[at as usize..end].fill(fill);
            }
            Change::SetLen(len) => self.now.resize(len as usize, 0),
            Change::Punch(at, len) => {
                let end = ((at + len) as usize).min(self.now.len());
                let at = (at as usize).min(end);
                self.now[at..end].fill(0);
            }
            Change::Sync => {
                self.durable = self.now.clone();
                self.sizes.clear();
                self.values.iter_mut().for_each(BTreeSet::clear);
            }
        }
        self.note();
    }

    /// Panics if no power cut may leave `image`.
    fn check(&self, image: &[u8]) {
        assert!(self.sizes.contains(&image.len()), "size {} of {:?}", image.len(), self.sizes);
        for (at, byte) in image.iter().enumerate() {
            assert!(self.values[at].contains(byte), "byte {byte} at {at}, not of {:?}", self.values[at]);
        }
    }
}

/// Makes a change of `file`.
fn apply(file: &dyn BackingFile, change: &Change, fill: u8) {
    match *change {
        Change::Write(at, len) => file.write_at(&vec![fill; len as usize], at).unwrap(),
        Change::SetLen(len) => file.set_len(len).unwrap(),
        Change::Punch(at, len) => file.punch_hole(at, len).unwrap(),
        Change::Sync => file.sync_data().unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_new_is_the_state_and_all_old_the_last_sync(
        before in steps(40), behind in steps(40), options in 0u8..4, seed: u64,
    ) {
        let store = by_options(options);
        let mut world = World::new(&store);
        before.iter().for_each(|step| drop(world.step(step)));
        store.sync_all().unwrap();
        let flushed = picture(&store);
        prop_assert_eq!(&flushed, &picture(&store.crash_image(&mut SeededChoice::new(seed))));
        prop_assert_eq!(&flushed, &picture(&store.kill_image()));
        let lasting: Vec<_> = behind.iter().filter(|step| !step.is_sync()).collect();
        lasting.iter().for_each(|step| drop(world.step(step)));
        let now = picture(&store);
        prop_assert_eq!(&now, &picture(&store.crash_image(&mut AllNew)));
        prop_assert_eq!(&flushed, &picture(&store.crash_image(&mut AllOld)));
        let killed = store.kill_image();
        prop_assert_eq!(&now, &picture(&killed));
        prop_assert_eq!(&flushed, &picture(&killed.crash_image(&mut AllOld)));
        drop(world);
        prop_assert_eq!(&flushed, &picture(&store.crash_image(&mut AllOld)));
        prop_assert_eq!(now, picture(&killed.crash_image(&mut AllNew)));
    }

    #[test]
    fn images_amid_any_syncs_are_whole(steps in steps(80), options in 0u8..4, seed: u64) {
        let store = by_options(options);
        let mut world = World::new(&store);
        steps.iter().for_each(|step| drop(world.step(step)));
        prop_assert_eq!(picture(&store), picture(&store.crash_image(&mut AllNew)));
        let mut choice = SeededChoice::new(seed);
        for _ in 0..20 {
            let image = store.crash_image(&mut choice);
            let first = picture(&image);
            prop_assert_eq!(&first, &picture(&image.crash_image(&mut choice)), "an image is durable");
            image.root().create_file(name("not yet there"), 0o644).unwrap();
        }
    }

    #[test]
    fn images_of_a_file_are_made_of_its_versions(changes in changes(), page: bool, seed: u64) {
        let (store, file) = with_file(if page { Tearing::Page } else { Tearing::Sector }, b"");
        let mut oracle = Oracle::new();
        let mut choice = SeededChoice::new(seed);
        for (round, change) in changes.iter().enumerate() {
            let fill = round as u8 + 1;
            apply(&*file, change, fill);
            oracle.change(change, fill);
            prop_assert!(content(&store) == oracle.now);
            prop_assert!(content(&store.crash_image(&mut AllNew)) == oracle.now);
            prop_assert!(content(&store.crash_image(&mut AllOld)) == oracle.durable);
            for _ in 0..10 {
                oracle.check(&content(&store.crash_image(&mut choice)));
            }
        }
    }
}
