//! The simulated store keeps the contract, and its images are those of the model.

mod faults;
mod properties;

use super::*;
use crate::store::contract::{contract_suite, list, name};
use crate::store::{BackingFile, FileAccess, RenameMode};

mod suite {
    use super::*;
    contract_suite!({
        let store: Box<dyn BackingStore> = Box::new(SimulatedStore::new(SimulatedOptions::default()));
        store
    });
}

/// A store whose pages do or do not tear.
fn store(tearing: Tearing) -> SimulatedStore {
    SimulatedStore::new(SimulatedOptions { tearing, ..SimulatedOptions::default() })
}

/// The content of the file `f`.
fn content(store: &SimulatedStore) -> Vec<u8> {
    let file = store.root().lookup(name("f")).unwrap().open_file(FileAccess::Read).unwrap();
    let mut bytes = vec![0xee; file.stat().unwrap().size as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// A store in which the file `f` is durable with `bytes`.
fn with_file(tearing: Tearing, bytes: &[u8]) -> (SimulatedStore, crate::store::FileRef) {
    let store = store(tearing);
    let (_, file) = store.root().create_file(name("f"), 0o644).unwrap();
    file.write_at(bytes, 0).unwrap();
    store.sync_all().unwrap();
    (store, file)
}

/// All different results of `look` over every possible image.
fn every<T: Ord>(store: &SimulatedStore, look: impl Fn(&SimulatedStore) -> T) -> Vec<T> {
    let mut choice = EveryChoice::default();
    let mut all = Vec::new();
    loop {
        all.push(look(&store.crash_image(&mut choice)));
        if !choice.advance() {
            break;
        }
    }
    all.sort();
    all.dedup();
    all
}

/// First byte of each sector.
fn sectors(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().step_by(512).copied().collect()
}

#[test]
fn each_sector_has_any_of_its_versions() {
    let (store, file) = with_file(Tearing::Sector, &[1; 1024]);
    file.write_at(&[2; 1024], 0).unwrap();
    file.write_at(&[3; 512], 512).unwrap();
    assert_eq!(store.pending().units, 2);
    let images = every(&store, |image| sectors(&content(image)));
    assert_eq!(images, [[1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3]]);
}

#[test]
fn a_page_is_of_one_moment_if_pages_do_not_tear() {
    let (store, file) = with_file(Tearing::Page, &[1; 8192]);
    file.write_at(&[2; 1024], 3584).unwrap();
    file.write_at(&[3; 512], 0).unwrap();
    let look = |image: &SimulatedStore| {
        let bytes = content(image);
        [bytes[0], bytes[3584], bytes[4096]]
    };
    assert_eq!(every(&store, look), [[1, 1, 1], [1, 1, 2], [1, 2, 1], [1, 2, 2], [3, 2, 1], [3, 2, 2]]);
}

#[test]
fn sizes_persist_in_order() {
    let (store, file) = with_file(Tearing::Sector, b"");
    file.write_at(&[1; 512], 0).unwrap();
    file.write_at(&[2; 512], 512).unwrap();
    let images = every(&store, |image| sectors(&content(image)));
    let expected: [&[u8]; 7] = [&[], &[0], &[0, 0], &[0, 2], &[1], &[1, 0], &[1, 2]];
    assert_eq!(images, expected);
}

#[test]
fn a_durable_cut_does_not_come_back() {
    let (store, file) = with_file(Tearing::Sector, &[1; 2048]);
    file.write_at(&[2; 512], 1024).unwrap();
    file.set_len(512).unwrap();
    file.set_len(2048).unwrap();
    let images = every(&store, |image| sectors(&content(image)));
    // The zeros behind the new end may reach the disk before the cut does.
    assert!(images.contains(&vec![1, 0, 2, 1]));
    assert!(images.contains(&vec![1, 1, 1, 1]));
    assert!(images.contains(&vec![1]));
    assert!(images.contains(&vec![1, 0, 0, 0]));
    struct AllSizes;
    impl CrashChoice for AllSizes {
        fn persisted(&mut self, unit: Unit, times: &[u64]) -> usize {
            // The write that the cut took persists, the zeros of the cut do not.
            if matches!(unit, Unit::Size { .. }) { times.len() } else { 1 }
        }
    }
    assert_eq!(sectors(&content(&store.crash_image(&mut AllSizes))), [1, 0, 0, 0]);
}

#[test]
fn a_hole_is_a_version() {
    let (store, file) = with_file(Tearing::Sector, &[1; 8192]);
    file.punch_hole(3584, 4608).unwrap();
    let images = every(&store, |image| content(image).iter().filter(|byte| **byte == 0).count() / 512);
    assert_eq!(images, (0..=9).collect::<Vec<_>>());
    file.sync_data().unwrap();
    assert_eq!(every(&store, |image| sectors(&content(image))).len(), 1);
}

#[test]
fn names_persist_in_order() {
    let store = store(Tearing::Sector);
    let root = store.root();
    root.create_file(name("a"), 0o644).unwrap();
    root.rename(name("a"), &*root, name("b"), RenameMode::Replace).unwrap();
    root.make_dir(name("d"), 0o755).unwrap();
    root.unlink(name("b")).unwrap();
    let images = every(&store, |image| list(&*image.root(), 9).join(" "));
    assert_eq!(images, ["", "a", "b", "b d", "d"]);
    root.sync_dir().unwrap();
    assert_eq!(every(&store, |image| list(&*image.root(), 9).join(" ")), ["d"]);
}

#[test]
fn the_sync_of_a_file_covers_its_name_unless_strict() {
    for strict_names in [false, true] {
        let store = SimulatedStore::new(SimulatedOptions { strict_names, ..SimulatedOptions::default() });
        let root = store.root();
        let look = || every(&store, |image| list(&*image.root(), 9).join(" "));
        root.make_dir(name("d"), 0o755).unwrap();
        let (_, file) = root.create_file(name("a"), 0o644).unwrap();
        root.rename(name("a"), &*root, name("b"), RenameMode::Replace).unwrap();
        root.make_dir(name("e"), 0o755).unwrap();
        file.sync_data().unwrap();
        let (created, all) = (["a d", "b d", "b d e"], ["", "a d", "b d", "b d e", "d"]);
        assert_eq!(look(), if strict_names { all.to_vec() } else { created.to_vec() });
        file.sync_all().unwrap();
        assert_eq!(look(), if strict_names { all.to_vec() } else { created[1..].to_vec() });
    }
}

#[test]
fn a_file_keeps_its_content_until_its_removal_is_durable() {
    let (store, file) = with_file(Tearing::Sector, &[1; 512]);
    file.write_at(&[2; 512], 0).unwrap();
    let root = store.root();
    root.unlink(name("f")).unwrap();
    drop(file);
    let look = |image: &SimulatedStore| {
        if list(&*image.root(), 9).is_empty() { Vec::new() } else { sectors(&content(image)) }
    };
    let expected: [&[u8]; 3] = [&[], &[1], &[2]];
    assert_eq!(every(&store, look), expected);
    assert_eq!(every(&store.kill_image(), look), expected);
    root.sync_dir().unwrap();
    assert_eq!(every(&store, look), expected[..1]);
    assert_eq!(store.pending().files, 0);
}

#[test]
fn an_unnamed_file_is_gone_unless_its_link_persisted() {
    let store = store(Tearing::Sector);
    let root = store.root();
    let (node, file) = root.create_unnamed(0o600).unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync_all().unwrap();
    let handle = node.handle().unwrap().unwrap();
    let is_there = |image: &SimulatedStore| image.open_handle(&handle).is_ok();
    assert_eq!((is_there(&store), is_there(&store.kill_image())), (true, false));
    root.link(&*node, name("f")).unwrap();
    assert_eq!(every(&store, is_there), [false, true]);
    assert_eq!(every(&store, |image| list(&*image.root(), 9).join(" ")), ["", "f"]);
    assert_eq!(content(&store.crash_image(&mut AllNew)), b"x");
}

#[test]
fn a_killed_process_leaves_the_page_cache() {
    let (store, file) = with_file(Tearing::Sector, &[1; 512]);
    file.write_at(&[2; 512], 0).unwrap();
    let survivor = store.kill_image();
    assert_eq!(sectors(&content(&survivor)), [2]);
    assert_eq!(every(&survivor, |image| sectors(&content(image))), [[1], [2]]);
    let again = survivor.root().lookup(name("f")).unwrap().open_file(FileAccess::ReadWrite).unwrap();
    again.write_at(&[3; 512], 0).unwrap();
    assert_eq!(every(&survivor, |image| sectors(&content(image))), [[1], [2], [3]]);
    assert_eq!(sectors(&content(&store)), [2], "the store that the image was taken from goes its own way");
}

#[test]
fn an_image_is_a_durable_store_of_its_own() {
    let (store, file) = with_file(Tearing::Sector, &[1; 512]);
    file.write_at(&[2; 512], 0).unwrap();
    let image = store.crash_image(&mut AllNew);
    assert_eq!(image.pending(), Pending::default());
    let root = image.root();
    root.lookup(name("f")).unwrap().open_file(FileAccess::ReadWrite).unwrap().write_at(&[9; 4], 0).unwrap();
    root.create_file(name("new"), 0o644).unwrap();
    assert_eq!(sectors(&content(&store)), [2]);
    assert_eq!(list(&*store.root(), 9), ["f"]);
    assert_eq!(every(&image, |image| sectors(&content(image))), [[2], [9]]);
}

#[test]
fn the_same_seed_gives_the_same_images() {
    let (store, file) = with_file(Tearing::Sector, &[1; 40_000]);
    for round in 2..9 {
        file.write_at(&vec![round; 30_000], u64::from(round) * 700).unwrap();
        store.root().create_file(name(&format!("n{round}")), 0o644).unwrap();
    }
    let take = |seed| {
        let mut choice = SeededChoice::new(seed);
        let look = |image: &SimulatedStore| (sectors(&content(image)), list(&*image.root(), 99));
        (0..50).map(|_| look(&store.crash_image(&mut choice))).collect::<Vec<_>>()
    };
    assert_eq!(take(7), take(7));
    let mut different = take(8);
    different.sort();
    different.dedup();
    assert!(different.len() > 25, "only {} different images of 50", different.len());
}
