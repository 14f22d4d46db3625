//! What only a real directory shows: the suite, planted objects, and numbers of system calls.

use std::ops::Deref;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::store::contract::{contract_suite, kind_of, list, name};
use crate::store::{FileAccess, NodeKind, TimeChange, XattrMode};

/// A store over a directory that goes away with it.
pub(in crate::store) struct Scratch {
    /// The store.
    pub(in crate::store) store: PosixStore,
    /// Its directory.
    dir: TempDir,
}

impl Scratch {
    /// A fresh store.
    pub(in crate::store) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self { store: PosixStore::open(dir.path()).unwrap(), dir }
    }

    /// A fresh store that does without `/proc`.
    fn without_proc() -> Self {
        let dir = TempDir::new().unwrap();
        Self { store: PosixStore::open_with(dir.path(), false).unwrap(), dir }
    }
}

impl Deref for Scratch {
    type Target = dyn BackingStore;

    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

mod suite {
    use super::*;
    contract_suite!(Scratch::new());
}

mod suite_without_proc {
    use super::*;
    // What replaces the magic links needs the rights of root.
    contract_suite!(if rustix::process::geteuid().is_root() {
        Scratch::without_proc()
    } else {
        Scratch::new()
    });
}

#[test]
fn the_backing_directory_must_be_one() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("f"), "x").unwrap();
    let failure = |path: &Path| PosixStore::open(path).err().unwrap().kind;
    assert_eq!(failure(&dir.path().join("f")), StoreErrorKind::NotADirectory);
    assert_eq!(failure(&dir.path().join("missing")), StoreErrorKind::NotFound);
}

#[test]
fn planted_symlinks_lead_nowhere() {
    let outside = TempDir::new().unwrap();
    std::fs::write(outside.path().join("secret"), "outside").unwrap();
    let scratch = Scratch::new();
    symlink(outside.path().join("secret"), scratch.dir.path().join("file")).unwrap();
    symlink(outside.path(), scratch.dir.path().join("dir")).unwrap();
    let root = scratch.root();
    let file = root.lookup(name("file")).unwrap();
    assert_eq!(kind_of(file.open_file(FileAccess::ReadWrite)), StoreErrorKind::Loop);
    assert_eq!(kind_of(root.create_file(name("file"), 0o644)), StoreErrorKind::Exists);
    let dir = root.lookup(name("dir")).unwrap();
    assert_eq!(kind_of(dir.lookup(name("secret"))), StoreErrorKind::NotADirectory);
    assert_eq!(kind_of(dir.read_dir(0, 8)), StoreErrorKind::NotADirectory);
    file.set_times(TimeChange::Now, TimeChange::At(std::time::UNIX_EPOCH)).unwrap();
    let _ = file.set_mode(0);
    let secret = std::fs::metadata(outside.path().join("secret")).unwrap();
    assert!(secret.modified().unwrap() > std::time::UNIX_EPOCH);
    assert!(!secret.permissions().readonly());
}

#[test]
fn a_planted_pipe_does_not_block() {
    let scratch = Scratch::new();
    let root = scratch.root();
    root.make_node(name("pipe"), NodeKind::Fifo, 0o666, 0).unwrap();
    let pipe = root.lookup(name("pipe")).unwrap();
    assert_eq!(kind_of(pipe.open_file(FileAccess::Read)), StoreErrorKind::NoDevice);
    assert_eq!(kind_of(pipe.open_file(FileAccess::ReadWrite)), StoreErrorKind::NoDevice);
}

#[test]
fn a_node_survives_the_renaming_of_its_parents() {
    let scratch = Scratch::new();
    let dir = scratch.root().make_dir(name("a"), 0o755).unwrap();
    std::fs::rename(scratch.dir.path().join("a"), scratch.dir.path().join("b")).unwrap();
    dir.create_file(name("f"), 0o644).unwrap();
    assert!(scratch.dir.path().join("b/f").exists());
}

#[test]
fn access_times_stay() {
    let scratch = Scratch::new();
    let (node, file) = scratch.root().create_file(name("f"), 0o644).unwrap();
    file.write_at(b"x", 0).unwrap();
    let stamp = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    node.set_times(TimeChange::At(stamp), TimeChange::Omit).unwrap();
    node.open_file(FileAccess::Read).unwrap().read_at(&mut [0], 0).unwrap();
    assert_eq!(node.stat().unwrap().atime, stamp);
}

#[test]
fn system_calls_per_operation() {
    let scratch = Scratch::new();
    let root = scratch.root();
    let mut last = scratch.store.counts();
    let mut spent = || {
        let now = scratch.store.counts();
        let spent = now.since(&last);
        last = now;
        spent
    };
    let none = CallCounts::default();
    let (node, file) = root.create_file(name("f"), 0o644).unwrap();
    assert_eq!(spent(), CallCounts { opens: 1, ..none }, "create");
    file.write_vectored_at(&[std::io::IoSlice::new(&[1; 4096]), std::io::IoSlice::new(b"tail")], 0).unwrap();
    assert_eq!(spent(), CallCounts { writes: 1, ..none }, "vectored write");
    node.set_xattr(name("user.x"), b"v", XattrMode::Any).unwrap();
    node.get_xattr(name("user.x")).unwrap();
    assert_eq!(spent(), CallCounts { others: 2, ..none }, "xattr");
    drop((node, file));
    let node = root.lookup(name("f")).unwrap();
    assert_eq!(spent(), CallCounts { opens: 1, ..none }, "lookup");
    node.stat().unwrap();
    assert_eq!(spent(), CallCounts { stats: 1, ..none }, "stat");
    let file = node.open_file(FileAccess::ReadWrite).unwrap();
    assert_eq!(spent(), CallCounts { opens: 1, ..none }, "open behind a stat");
    file.read_at(&mut [0; 100], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(spent(), CallCounts { reads: 1, syncs: 1, ..none }, "read and sync");
    root.lookup(name("f")).unwrap().open_file(FileAccess::Read).unwrap();
    assert_eq!(spent(), CallCounts { opens: 2, stats: 1, ..none }, "open without a stat before");
    node.set_mode(0o600).unwrap();
    node.set_times(TimeChange::Now, TimeChange::Now).unwrap();
    assert_eq!(spent(), CallCounts { others: 2, ..none }, "attributes");
    root.make_dir(name("d"), 0o755).unwrap().sync_dir().unwrap();
    assert_eq!(spent(), CallCounts { opens: 2, others: 1, syncs: 1, ..none }, "mkdir and sync");
    assert_eq!(list(&*root, 100), ["d", "f"]);
    assert_eq!(spent().opens, 1, "a listing opens the directory once");
}
