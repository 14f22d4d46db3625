//! Rules of file content.

use std::io::IoSlice;

use super::{kind_of, name, scratch};
use crate::store::{
    BackingFile, BackingStore, FileAccess, FileRef, NodeKind, NodeRef, StoreErrorKind as Kind,
};

/// A fresh empty file.
fn fresh(store: &dyn BackingStore) -> (NodeRef, FileRef) {
    scratch(store).create_file(name("f"), 0o644).unwrap()
}

/// The whole content.
fn content(file: &dyn BackingFile) -> Vec<u8> {
    let mut all = vec![0xee; file.stat().unwrap().size as usize + 10];
    let len = file.read_at(&mut all, 0).unwrap();
    all.truncate(len);
    all
}

pub(in crate::store) fn reads_stop_at_the_end(store: &dyn BackingStore) {
    let (_, file) = fresh(store);
    let mut buf = [9; 8];
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 0);
    file.write_at(b"hello", 0).unwrap();
    assert_eq!(file.read_at(&mut buf, 2).unwrap(), 3);
    assert_eq!(&buf, b"llo\x09\x09\x09\x09\x09");
    assert_eq!(file.read_at(&mut buf, 5).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
    assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
}

pub(in crate::store) fn writes_extend_and_leave_zeros(store: &dyn BackingStore) {
    let (node, file) = fresh(store);
    file.write_at(&[1; 5000], 10_000).unwrap();
    assert_eq!(node.stat().unwrap().size, 15_000);
    file.write_at(&[2; 100], 4090).unwrap();
    let mut expected = vec![0; 15_000];
    expected[10_000..].fill(1);
    expected[4090..4190].fill(2);
    assert!(content(&*file) == expected);
    let other = node.open_file(FileAccess::Read).unwrap();
    assert!(content(&*other) == expected);
}

pub(in crate::store) fn vectored_writes_are_contiguous(store: &dyn BackingStore) {
    let (_, file) = fresh(store);
    let parts: Vec<Vec<u8>> = (0..1500usize).map(|i| vec![i as u8; i % 7]).collect();
    let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    file.write_vectored_at(&slices, 3).unwrap();
    let mut expected = vec![0; 3];
    expected.extend(parts.concat());
    assert!(content(&*file) == expected, "more slices than one system call takes");
}

pub(in crate::store) fn empty_writes_change_nothing(store: &dyn BackingStore) {
    let (_, file) = fresh(store);
    file.write_at(&[], 100).unwrap();
    file.write_vectored_at(&[], 100).unwrap();
    file.write_vectored_at(&[IoSlice::new(&[])], 100).unwrap();
    file.punch_hole(0, 0).unwrap();
    file.allocate(0, 0).unwrap();
    assert_eq!(file.stat().unwrap().size, 0);
}

pub(in crate::store) fn a_cut_reads_zero_after_growth(store: &dyn BackingStore) {
    let (_, file) = fresh(store);
    file.write_at(&[7; 10_000], 0).unwrap();
    file.set_len(5000).unwrap();
    assert_eq!(file.stat().unwrap().size, 5000);
    file.set_len(9000).unwrap();
    let mut expected = vec![7; 5000];
    expected.resize(9000, 0);
    assert!(content(&*file) == expected);
    file.set_len(3).unwrap();
    file.write_at(&[1], 600).unwrap();
    let mut expected = vec![7; 3];
    expected.resize(600, 0);
    expected.push(1);
    assert!(content(&*file) == expected);
}

pub(in crate::store) fn holes_are_found(store: &dyn BackingStore) {
    let (_, file) = fresh(store);
    file.set_len(1 << 20).unwrap();
    assert_eq!(file.next_data(0).unwrap(), None);
    file.write_at(&[1; 4096], 65536).unwrap();
    file.write_at(&[1; 8192], 131_072).unwrap();
    assert_eq!(file.next_data(0).unwrap(), Some(65536));
    assert_eq!(file.next_data(65536).unwrap(), Some(65536));
    assert_eq!(file.next_data(66000).unwrap(), Some(66000));
    assert_eq!(file.next_data(65536 + 4096).unwrap(), Some(131_072));
    assert_eq!(file.next_data(131_072 + 8192).unwrap(), None);
    assert_eq!(file.next_data(1 << 20).unwrap(), None);
    assert_eq!(file.next_data(1 << 30).unwrap(), None);
    file.punch_hole(65536, 4096).unwrap();
    assert_eq!(file.next_data(0).unwrap(), Some(131_072));
    file.punch_hole(131_072 + 100, 50).unwrap();
    let mut part = [9; 52];
    assert_eq!(file.read_at(&mut part, 131_072 + 99).unwrap(), 52);
    assert_eq!((part[0], part[1], part[50], part[51]), (1, 0, 0, 1));
    file.punch_hole(131_072, 1 << 30).unwrap();
    assert_eq!(file.stat().unwrap().size, 1 << 20, "a hole behind the end leaves the size");
    assert!(content(&*file).iter().all(|byte| *byte == 0));
}

pub(in crate::store) fn sizes_beyond_a_tebibyte(store: &dyn BackingStore) {
    let (_, file) = fresh(store);
    let far = 3 << 40;
    file.write_at(b"far", far).unwrap();
    assert_eq!(file.stat().unwrap().size, far + 3);
    assert!(file.stat().unwrap().blocks < 100, "the file is sparse");
    let mut buf = [9; 4];
    assert_eq!(file.read_at(&mut buf, far - 1).unwrap(), 4);
    assert_eq!(&buf, b"\0far");
    file.set_len(far + 1).unwrap();
    file.set_len(1).unwrap();
    assert_eq!(file.stat().unwrap().size, 1);
    assert_eq!(kind_of(file.write_at(b"x", u64::MAX - 10)), Kind::Invalid);
    assert_eq!(kind_of(file.read_at(&mut buf, u64::MAX - 10)), Kind::Invalid);
    assert_eq!(kind_of(file.set_len(u64::MAX)), Kind::Invalid);
    // Where the limit lies is up to the file system; tmpfs has none.
    if let Err(failure) = file.set_len(i64::MAX as u64) {
        assert_eq!(failure.kind, Kind::TooLarge);
    }
}

pub(in crate::store) fn allocation_keeps_the_size(store: &dyn BackingStore) {
    let (_, file) = fresh(store);
    file.write_at(b"x", 0).unwrap();
    match file.allocate(0, 65536) {
        Err(failure) if failure.kind == Kind::Unsupported => return,
        outcome => outcome.unwrap(),
    }
    assert_eq!(file.stat().unwrap().size, 1);
    file.set_len(65536).unwrap();
    let mut expected = vec![0; 65536];
    expected[0] = b'x';
    assert!(content(&*file) == expected);
}

pub(in crate::store) fn a_reading_file_cannot_write(store: &dyn BackingStore) {
    let (node, file) = fresh(store);
    file.write_at(b"kept", 0).unwrap();
    let reading = node.open_file(FileAccess::Read).unwrap();
    assert_eq!(kind_of(reading.write_at(b"x", 0)), Kind::Invalid);
    assert_eq!(kind_of(reading.write_vectored_at(&[IoSlice::new(b"x")], 0)), Kind::Invalid);
    assert_eq!(kind_of(reading.set_len(0)), Kind::Invalid);
    assert_eq!(kind_of(reading.allocate(0, 4096)), Kind::Invalid);
    assert_eq!(kind_of(reading.punch_hole(0, 4096)), Kind::Invalid);
    assert_eq!(kind_of(reading.try_lock()), Kind::Invalid);
    assert_eq!(content(&*reading), b"kept");
    reading.sync_all().unwrap();
}

pub(in crate::store) fn only_regular_files_open(store: &dyn BackingStore) {
    let dir = scratch(store);
    for access in [FileAccess::Read, FileAccess::ReadWrite] {
        assert_eq!(kind_of(dir.open_file(access)), Kind::IsADirectory);
    }
    for kind in [NodeKind::Fifo, NodeKind::Socket] {
        let made = dir.make_node(name("n"), kind, 0o666, 0).unwrap();
        let found = dir.lookup(name("n")).unwrap();
        for access in [FileAccess::Read, FileAccess::ReadWrite] {
            assert_eq!(kind_of(made.open_file(access)), Kind::NoDevice);
            assert_eq!(kind_of(found.open_file(access)), Kind::NoDevice);
        }
        dir.unlink(name("n")).unwrap();
    }
}

pub(in crate::store) fn permission_bits_do_not_stop_the_owner(store: &dyn BackingStore) {
    let (node, file) = fresh(store);
    file.write_at(b"kept", 0).unwrap();
    for mode in [0, 0o400, 0o200, 0o077] {
        node.set_mode(mode).unwrap();
        let again = node.open_file(FileAccess::ReadWrite).unwrap();
        again.write_at(b"K", 0).unwrap();
        assert_eq!(content(&*again), b"Kept");
        assert_eq!(content(&*node.open_file(FileAccess::Read).unwrap()), b"Kept");
        assert_eq!(node.stat().unwrap().mode, mode);
    }
}

pub(in crate::store) fn an_unlinked_file_keeps_its_content(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (node, file) = dir.create_file(name("f"), 0o644).unwrap();
    drop(node);
    file.write_at(b"before", 0).unwrap();
    dir.unlink(name("f")).unwrap();
    let (_, other) = dir.create_file(name("f"), 0o644).unwrap();
    file.write_at(b"after", 6).unwrap();
    assert_eq!(content(&*file), b"beforeafter");
    assert_eq!(file.stat().unwrap().nlink, 0);
    assert!(content(&*other).is_empty());
}

pub(in crate::store) fn locks_exclude_and_end_with_the_file(store: &dyn BackingStore) {
    let (node, file) = fresh(store);
    let other = node.open_file(FileAccess::ReadWrite).unwrap();
    assert!(file.try_lock().unwrap());
    assert!(file.try_lock().unwrap(), "a lock is taken again by its holder");
    assert!(!other.try_lock().unwrap());
    drop(file);
    assert!(other.try_lock().unwrap(), "although the node that was made with the file is still there");
}

pub(in crate::store) fn syncs_succeed(store: &dyn BackingStore) {
    let (node, file) = fresh(store);
    file.write_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    store.root().sync_dir().unwrap();
    store.sync_all().unwrap();
    assert_eq!(node.stat().unwrap().size, 1);
    let space = store.space().unwrap();
    assert!(space.block_size > 0 && space.blocks >= space.free);
}
