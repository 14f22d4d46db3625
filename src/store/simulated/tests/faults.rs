//! Calls fail as they are told to, and a failed sync loses what Linux would lose.

use super::*;
use crate::store::StoreErrorKind as Kind;
use crate::store::contract::kind_of;

#[test]
fn the_nth_call_fails_once_or_for_ever() {
    let (store, file) = with_file(Tearing::Sector, &[1; 512]);
    store.fail_nth(CallFilter::calls(&[Call::Write]), 2, Kind::NoSpace);
    file.write_at(&[2; 512], 0).unwrap();
    assert_eq!(kind_of(file.write_at(&[3; 512], 0)), Kind::NoSpace);
    assert_eq!(sectors(&content(&store)), [2]);
    file.write_at(&[4; 512], 0).unwrap();
    store.fail_from_nth(CallFilter::syncs(), 1, Kind::Io);
    assert_eq!(kind_of(file.sync_data()), Kind::Io);
    assert_eq!(kind_of(store.root().sync_dir()), Kind::Io);
    store.clear_faults();
    store.sync_all().unwrap();
}

#[test]
fn a_filter_tells_inodes_apart() {
    let (store, file) = with_file(Tearing::Sector, &[1; 512]);
    let (_, other) = store.root().create_file(name("g"), 0o644).unwrap();
    store.fail_nth(CallFilter::any().on(file.stat().unwrap().ino), 1, Kind::Io);
    other.write_at(b"x", 0).unwrap();
    assert_eq!(kind_of(file.read_at(&mut [0], 0)), Kind::Io);
    store.fail_nth(CallFilter::changes(), 1, Kind::Io);
    file.read_at(&mut [0], 0).unwrap();
    assert_eq!(kind_of(store.root().make_dir(name("d"), 0o755)), Kind::Io);
}

#[test]
fn a_short_write_stores_its_first_bytes() {
    let (store, file) = with_file(Tearing::Sector, &[1; 1024]);
    store.short_nth(CallFilter::changes(), 1, 600, Kind::NoSpace);
    let halves = [std::io::IoSlice::new(&[2; 512]), std::io::IoSlice::new(&[2; 512])];
    assert_eq!(kind_of(file.write_vectored_at(&halves, 0)), Kind::NoSpace);
    let bytes = content(&store);
    assert_eq!((bytes[599], bytes[600]), (2, 1));
    store.short_nth(CallFilter::syncs(), 1, 600, Kind::NoSpace);
    file.sync_all().unwrap();
}

#[test]
fn nothing_happens_after_the_power_is_gone() {
    let run = |cut: Option<u64>| {
        let (store, file) = with_file(Tearing::Sector, &[1; 512]);
        let start = store.calls();
        if let Some(cut) = cut {
            store.cut_power_at(start + cut);
        }
        let outcome = file
            .write_at(&[2; 512], 0)
            .and_then(|()| file.sync_data())
            .and_then(|()| store.root().make_dir(name("d"), 0o755).map(|_| ()))
            .and_then(|()| file.write_at(&[3; 512], 0));
        if cut.is_some() {
            assert_eq!(kind_of(file.read_at(&mut [0], 0)), Kind::Io);
            assert_eq!(kind_of(store.root().stat()), Kind::Io);
        }
        let image =
            |image: &SimulatedStore| format!("{:?} {:?}", sectors(&content(image)), list(&*image.root(), 9));
        (outcome.is_ok(), store.calls() - start, every(&store, image))
    };
    let old_names = |sector| format!("[{sector}] [\"f\"]");
    assert_eq!(run(Some(0)), (false, 0, vec![old_names(1)]));
    assert_eq!(run(Some(1)), (false, 1, vec![old_names(1), old_names(2)]));
    assert_eq!(run(Some(2)), (false, 2, vec![old_names(2)]));
    assert_eq!(run(Some(3)).2.len(), 2);
    assert_eq!(run(None).1, 4);
    assert_eq!(run(Some(4)), run(None));
}

#[test]
fn a_failed_sync_is_not_made_up_for_by_a_later_one() {
    let (store, file) = with_file(Tearing::Sector, &[1; 1536]);
    file.write_at(&[2; 1024], 0).unwrap();
    store.fail_nth(CallFilter::syncs(), 1, Kind::Io);
    assert_eq!(kind_of(file.sync_data()), Kind::Io);
    assert_eq!(sectors(&content(&store)), [2, 2, 1], "the page cache still has it");
    file.sync_data().unwrap();
    let look = || every(&store, |image| sectors(&content(image)));
    assert_eq!(look(), [[1, 1, 1], [1, 2, 1], [2, 1, 1], [2, 2, 1]]);
    file.write_at(&[3; 1024], 512).unwrap();
    store.sync_all().unwrap();
    assert_eq!(look(), [[1, 3, 3], [2, 3, 3]]);
    file.write_at(&[4; 512], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(look(), [[4, 3, 3]]);
    assert_eq!(store.pending().files, 0);
}

#[test]
fn a_size_lost_by_a_failed_sync_comes_with_later_content() {
    let (store, file) = with_file(Tearing::Sector, b"");
    file.write_at(&[1; 1024], 0).unwrap();
    store.fail_nth(CallFilter::syncs(), 1, Kind::Io);
    assert_eq!(kind_of(file.sync_all()), Kind::Io);
    file.sync_all().unwrap();
    let look = || every(&store, |image| sectors(&content(image)));
    let uncertain: [&[u8]; 5] = [&[], &[0, 0], &[0, 1], &[1, 0], &[1, 1]];
    assert_eq!(look(), uncertain);
    file.write_at(&[2; 512], 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(look(), [[2, 0], [2, 1]]);
}

#[test]
fn a_cut_behind_a_failed_sync_ends_what_it_lost() {
    let (store, file) = with_file(Tearing::Sector, &[1; 2048]);
    file.write_at(&[2; 2048], 0).unwrap();
    store.fail_nth(CallFilter::syncs(), 1, Kind::Io);
    assert_eq!(kind_of(file.sync_data()), Kind::Io);
    file.set_len(600).unwrap();
    file.set_len(2048).unwrap();
    file.sync_data().unwrap();
    assert_eq!(every(&store, |image| sectors(&content(image))), [[1, 2, 0, 0], [2, 2, 0, 0]]);
    assert!(
        every(&store, |image| content(image)[600..].iter().all(|byte| *byte == 0)).iter().all(|zero| *zero)
    );
}

#[test]
fn a_failed_sync_of_names_leaves_them_pending() {
    let store = store(Tearing::Sector);
    store.root().make_dir(name("d"), 0o755).unwrap();
    store.fail_nth(CallFilter::syncs(), 1, Kind::Io);
    assert_eq!(kind_of(store.root().sync_dir()), Kind::Io);
    assert_eq!(every(&store, |image| list(&*image.root(), 9).len()), [0, 1]);
    store.root().sync_dir().unwrap();
    assert_eq!(every(&store, |image| list(&*image.root(), 9).len()), [1]);
}
