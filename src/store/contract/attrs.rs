//! Rules of attributes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{kind_of, name, scratch};
use crate::store::{BackingStore, FileAccess, NodeKind, StoreErrorKind as Kind, TimeChange, XattrMode};

pub(in crate::store) fn modes_are_exact(store: &dyn BackingStore) {
    let dir = scratch(store);
    for mode in [0, 0o400, 0o666, 0o777, 0o1751] {
        let (node, _) = dir.create_file(name("f"), mode).unwrap();
        assert_eq!(node.stat().unwrap().mode, mode);
        dir.unlink(name("f")).unwrap();
        assert_eq!(dir.make_dir(name("d"), mode).unwrap().stat().unwrap().mode, mode);
        dir.remove_dir(name("d")).unwrap();
    }
    let (node, _) = dir.create_file(name("f"), 0o644).unwrap();
    let found = dir.lookup(name("f")).unwrap();
    for mode in [0, 0o4711, 0o2755, 0o7777, 0o600] {
        node.set_mode(mode).unwrap();
        assert_eq!(found.stat().unwrap().mode, mode);
        found.set_mode(mode ^ 0o55).unwrap();
        assert_eq!(node.stat().unwrap().mode, mode ^ 0o55);
    }
    dir.set_mode(0o1700).unwrap();
    assert_eq!(dir.stat().unwrap().mode, 0o1700);
    let fifo = dir.make_node(name("p"), NodeKind::Fifo, 0o600, 0).unwrap();
    fifo.set_mode(0o622).unwrap();
    assert_eq!(fifo.stat().unwrap().mode, 0o622);
}

pub(in crate::store) fn the_group_bit_of_a_directory_is_inherited(store: &dyn BackingStore) {
    let dir = scratch(store);
    if dir.set_owner(None, Some(1234)).is_err() {
        return;
    }
    dir.set_mode(0o2775).unwrap();
    let sub = dir.make_dir(name("d"), 0o755).unwrap().stat().unwrap();
    assert_eq!((sub.mode, sub.gid), (0o2755, 1234));
    let (node, _) = dir.create_file(name("f"), 0o644).unwrap();
    assert_eq!((node.stat().unwrap().mode, node.stat().unwrap().gid), (0o644, 1234));
}

pub(in crate::store) fn owner_and_group_change_apart(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (node, _) = dir.create_file(name("f"), 0o644).unwrap();
    if kind_of_owner_change_is_refused(&*node) {
        return;
    }
    node.set_owner(None, Some(8)).unwrap();
    let stat = node.stat().unwrap();
    assert_eq!((stat.uid, stat.gid), (7, 8));
    node.set_owner(Some(9), Some(10)).unwrap();
    node.set_owner(None, None).unwrap();
    let stat = dir.stat_at(name("f")).unwrap();
    assert_eq!((stat.uid, stat.gid), (9, 10));
    assert_eq!(kind_of(node.set_owner(Some(u32::MAX), None)), Kind::Invalid);
    // A change of owner takes the set-id bits of an executable away.
    node.set_mode(0o6755).unwrap();
    node.set_owner(Some(11), None).unwrap();
    assert_eq!(node.stat().unwrap().mode, 0o755);
    let symlink = dir.make_symlink(name("s"), b"f").unwrap();
    symlink.set_owner(Some(3), None).unwrap();
    assert_eq!((dir.stat_at(name("s")).unwrap().uid, node.stat().unwrap().uid), (3, 11));
}

/// Whether this process may not give files away.
fn kind_of_owner_change_is_refused(node: &dyn crate::store::BackingNode) -> bool {
    node.set_owner(Some(7), None).is_err_and(|failure| failure.kind == Kind::NotPermitted)
}

pub(in crate::store) fn times_to_the_nanosecond(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (node, _) = dir.create_file(name("f"), 0o644).unwrap();
    let early = UNIX_EPOCH - Duration::new(86_400, 0) + Duration::from_nanos(123_456_789);
    let late = UNIX_EPOCH + Duration::new(4_000_000_000, 987_654_321);
    node.set_times(TimeChange::At(early), TimeChange::At(late)).unwrap();
    let stat = node.stat().unwrap();
    assert_eq!((stat.atime, stat.mtime), (early, late));
    node.set_times(TimeChange::Omit, TimeChange::At(early)).unwrap();
    assert_eq!((node.stat().unwrap().atime, node.stat().unwrap().mtime), (early, early));
    let before = SystemTime::now() - Duration::from_secs(2);
    node.set_times(TimeChange::Now, TimeChange::Omit).unwrap();
    let stat = node.stat().unwrap();
    assert!(stat.atime > before && stat.mtime == early && stat.ctime > before);
    assert!(stat.btime.is_none_or(|btime| btime > before));
    let symlink = dir.make_symlink(name("s"), b"f").unwrap();
    symlink.set_times(TimeChange::At(early), TimeChange::At(late)).unwrap();
    assert_eq!(dir.stat_at(name("s")).unwrap().mtime, late);
    assert_eq!(node.stat().unwrap().mtime, early, "the target of the link keeps its own");
}

pub(in crate::store) fn changes_of_content_move_mtime(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (node, file) = dir.create_file(name("f"), 0o644).unwrap();
    let long_ago = UNIX_EPOCH + Duration::from_secs(1000);
    let reset = || node.set_times(TimeChange::Omit, TimeChange::At(long_ago)).unwrap();
    let moved = || node.stat().unwrap().mtime > long_ago;
    reset();
    file.write_at(b"x", 0).unwrap();
    assert!(moved());
    reset();
    file.set_len(8192).unwrap();
    assert!(moved());
    reset();
    file.punch_hole(0, 4096).unwrap();
    assert!(moved());
    dir.set_times(TimeChange::Omit, TimeChange::At(long_ago)).unwrap();
    dir.unlink(name("f")).unwrap();
    assert!(dir.stat().unwrap().mtime > long_ago);
}

pub(in crate::store) fn xattrs_have_their_modes(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (created, _) = dir.create_file(name("f"), 0o644).unwrap();
    for node in [created, dir.lookup(name("f")).unwrap(), dir.clone()] {
        let key = name("user.kmsfs.test");
        assert_eq!(kind_of(node.get_xattr(key)), Kind::NoAttribute);
        assert_eq!(kind_of(node.remove_xattr(key)), Kind::NoAttribute);
        assert_eq!(kind_of(node.set_xattr(key, b"v", XattrMode::Replace)), Kind::NoAttribute);
        node.set_xattr(key, b"one", XattrMode::Create).unwrap();
        assert_eq!(kind_of(node.set_xattr(key, b"v", XattrMode::Create)), Kind::Exists);
        node.set_xattr(key, b"", XattrMode::Replace).unwrap();
        assert!(node.get_xattr(key).unwrap().is_empty());
        node.set_xattr(key, &[7; 2000], XattrMode::Any).unwrap();
        assert_eq!(node.get_xattr(key).unwrap(), [7; 2000]);
        node.set_xattr(name("user.other"), b"2", XattrMode::Any).unwrap();
        let mut names = node.list_xattrs().unwrap();
        names.retain(|listed| listed.starts_with(b"user."));
        names.sort();
        assert_eq!(names, [b"user.kmsfs.test".to_vec(), b"user.other".to_vec()]);
        node.remove_xattr(key).unwrap();
        assert_eq!(kind_of(node.get_xattr(key)), Kind::NoAttribute);
        node.remove_xattr(name("user.other")).unwrap();
    }
}

pub(in crate::store) fn xattrs_have_their_limits(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (node, _) = dir.create_file(name("f"), 0o644).unwrap();
    let longest = format!("user.{}", "k".repeat(250));
    node.set_xattr(name(&longest), b"v", XattrMode::Any).unwrap();
    assert_eq!(node.get_xattr(name(&longest)).unwrap(), b"v");
    let longer = format!("user.{}", "k".repeat(251));
    assert_eq!(kind_of(node.set_xattr(name(&longer), b"v", XattrMode::Any)), Kind::Range);
    let value = vec![0; 65537];
    assert_eq!(kind_of(node.set_xattr(name("user.big"), &value, XattrMode::Any)), Kind::Range);
    assert_eq!(kind_of(node.set_xattr(name("nonsense"), b"v", XattrMode::Any)), Kind::Unsupported);
    assert_eq!(kind_of(node.get_xattr(name("nonsense"))), Kind::Unsupported);
    // More names than fit into the first guess.
    for i in 0..40 {
        node.set_xattr(name(&format!("user.filler-{i:020}")), b"", XattrMode::Any).unwrap();
    }
    assert!(node.list_xattrs().unwrap().len() >= 41);
}

pub(in crate::store) fn special_nodes_have_no_user_xattrs(store: &dyn BackingStore) {
    let dir = scratch(store);
    let symlink = dir.make_symlink(name("s"), b"t").unwrap();
    let fifo = dir.make_node(name("p"), NodeKind::Fifo, 0o644, 0).unwrap();
    for node in [symlink, fifo] {
        match kind_of(node.set_xattr(name("user.x"), b"v", XattrMode::Any)) {
            // What the posix store can do without /proc.
            Kind::Unsupported => continue,
            refusal => assert_eq!(refusal, Kind::NotPermitted),
        }
        assert_eq!(kind_of(node.get_xattr(name("user.x"))), Kind::NoAttribute);
        assert!(node.list_xattrs().unwrap().iter().all(|listed| !listed.starts_with(b"user.")));
    }
}

pub(in crate::store) fn an_unlinked_node_stays_usable(store: &dyn BackingStore) {
    let dir = scratch(store);
    dir.create_file(name("f"), 0o644).unwrap().1.write_at(b"kept", 0).unwrap();
    let node = dir.lookup(name("f")).unwrap();
    dir.unlink(name("f")).unwrap();
    node.set_mode(0o604).unwrap();
    let stamp = UNIX_EPOCH + Duration::from_secs(77);
    node.set_xattr(name("user.x"), b"v", XattrMode::Any).unwrap();
    assert_eq!(node.get_xattr(name("user.x")).unwrap(), b"v");
    node.set_times(TimeChange::At(stamp), TimeChange::At(stamp)).unwrap();
    let before = node.stat().unwrap();
    node.set_owner(Some(before.uid), Some(before.gid)).unwrap();
    assert_eq!((before.mode, before.nlink, before.mtime), (0o604, 0, stamp));
    let mut content = [0; 4];
    assert_eq!(node.open_file(FileAccess::ReadWrite).unwrap().read_at(&mut content, 0).unwrap(), 4);
    assert_eq!(&content, b"kept");
}
