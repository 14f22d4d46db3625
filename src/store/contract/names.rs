//! Rules of the name space.

use super::{kind_of, list, name, scratch};
use crate::store::{BackingStore, FileAccess, NodeKind, RenameMode, StoreErrorKind as Kind};

pub(in crate::store) fn a_created_file_is_found(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (node, file) = dir.create_file(name("a"), 0o640).unwrap();
    let found = dir.lookup(name("a")).unwrap().stat().unwrap();
    assert_eq!(found.ino, node.stat().unwrap().ino);
    assert_eq!(found.ino, file.stat().unwrap().ino);
    assert_eq!(found.ino, dir.stat_at(name("a")).unwrap().ino);
    assert_eq!((found.kind, found.nlink, found.size), (NodeKind::File, 1, 0));
    let sub = dir.make_dir(name("d"), 0o700).unwrap().stat().unwrap();
    assert_eq!((sub.kind, sub.nlink), (NodeKind::Directory, 2));
    assert_eq!(dir.stat().unwrap().nlink, 3, "a directory counts the dots of its children");
    assert_eq!(found.dev, sub.dev);
}

pub(in crate::store) fn names_that_lead_elsewhere_are_refused(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (node, _) = dir.create_file(name("a"), 0o644).unwrap();
    for bad in ["", ".", "..", "x/y", "/etc", "a/"] {
        let bad = name(bad);
        assert_eq!(kind_of(dir.lookup(bad)), Kind::Invalid);
        assert_eq!(kind_of(dir.stat_at(bad)), Kind::Invalid);
        assert_eq!(kind_of(dir.create_file(bad, 0o644)), Kind::Invalid);
        assert_eq!(kind_of(dir.make_dir(bad, 0o755)), Kind::Invalid);
        assert_eq!(kind_of(dir.make_node(bad, NodeKind::Fifo, 0o644, 0)), Kind::Invalid);
        assert_eq!(kind_of(dir.make_symlink(bad, b"t")), Kind::Invalid);
        assert_eq!(kind_of(dir.read_link_at(bad)), Kind::Invalid);
        assert_eq!(kind_of(dir.link(&*node, bad)), Kind::Invalid);
        assert_eq!(kind_of(dir.rename(bad, &*dir, name("b"), RenameMode::Replace)), Kind::Invalid);
        assert_eq!(kind_of(dir.rename(name("a"), &*dir, bad, RenameMode::Replace)), Kind::Invalid);
        assert_eq!(kind_of(dir.unlink(bad)), Kind::Invalid);
        assert_eq!(kind_of(dir.remove_dir(bad)), Kind::Invalid);
    }
    assert_eq!(kind_of(dir.lookup(name("a\0b"))), Kind::Invalid);
    assert_eq!(list(&*dir, 8), ["a"]);
}

pub(in crate::store) fn creation_refuses_an_existing_name(store: &dyn BackingStore) {
    let dir = scratch(store);
    dir.make_symlink(name("s"), b"nowhere").unwrap();
    let (node, _) = dir.create_file(name("a"), 0o644).unwrap();
    for taken in [name("a"), name("s")] {
        assert_eq!(kind_of(dir.create_file(taken, 0o644)), Kind::Exists);
        assert_eq!(kind_of(dir.make_dir(taken, 0o755)), Kind::Exists);
        assert_eq!(kind_of(dir.make_node(taken, NodeKind::Fifo, 0o644, 0)), Kind::Exists);
        assert_eq!(kind_of(dir.make_symlink(taken, b"t")), Kind::Exists);
        assert_eq!(kind_of(dir.link(&*node, taken)), Kind::Exists);
    }
    assert_eq!(kind_of(dir.make_symlink(name("e"), b"")), Kind::NotFound);
    assert_eq!(kind_of(dir.make_node(name("e"), NodeKind::Directory, 0o755, 0)), Kind::Invalid);
    assert_eq!(kind_of(dir.make_node(name("e"), NodeKind::Symlink, 0o755, 0)), Kind::Invalid);
}

pub(in crate::store) fn a_missing_name_is_not_found(store: &dyn BackingStore) {
    let dir = scratch(store);
    let no = name("missing");
    assert!(dir.lookup(no).err().unwrap().is_not_found());
    assert_eq!(kind_of(dir.stat_at(no)), Kind::NotFound);
    assert_eq!(kind_of(dir.read_link_at(no)), Kind::NotFound);
    assert_eq!(kind_of(dir.unlink(no)), Kind::NotFound);
    assert_eq!(kind_of(dir.remove_dir(no)), Kind::NotFound);
    for mode in [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange] {
        assert_eq!(kind_of(dir.rename(no, &*dir, name("x"), mode)), Kind::NotFound);
    }
    dir.create_file(name("a"), 0o644).unwrap();
    assert_eq!(kind_of(dir.rename(name("a"), &*dir, no, RenameMode::Exchange)), Kind::NotFound);
}

pub(in crate::store) fn calls_on_names_need_a_directory(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (node, _) = dir.create_file(name("a"), 0o644).unwrap();
    for place in [node.clone(), dir.lookup(name("a")).unwrap()] {
        assert_eq!(kind_of(place.lookup(name("x"))), Kind::NotADirectory);
        assert_eq!(kind_of(place.stat_at(name("x"))), Kind::NotADirectory);
        assert_eq!(kind_of(place.read_dir(0, 8)), Kind::NotADirectory);
        assert_eq!(kind_of(place.create_file(name("x"), 0o644)), Kind::NotADirectory);
        assert_eq!(kind_of(place.create_unnamed(0o644)), Kind::NotADirectory);
        assert_eq!(kind_of(place.make_dir(name("x"), 0o755)), Kind::NotADirectory);
        assert_eq!(kind_of(place.link(&*node, name("x"))), Kind::NotADirectory);
        assert_eq!(kind_of(place.unlink(name("x"))), Kind::NotADirectory);
        assert_eq!(kind_of(place.remove_dir(name("x"))), Kind::NotADirectory);
        assert_eq!(kind_of(place.sync_dir()), Kind::NotADirectory);
        assert_eq!(
            kind_of(dir.rename(name("a"), &*place, name("b"), RenameMode::Replace)),
            Kind::NotADirectory
        );
    }
}

pub(in crate::store) fn special_nodes_keep_kind_and_device(store: &dyn BackingStore) {
    let dir = scratch(store);
    for (kind, rdev) in
        [(NodeKind::Fifo, 0), (NodeKind::Socket, 0), (NodeKind::File, 0), (NodeKind::CharDevice, 0x103)]
    {
        let node = match dir.make_node(name("n"), kind, 0o604, rdev) {
            // Only root makes devices.
            Err(failure) if failure.kind == Kind::NotPermitted && kind == NodeKind::CharDevice => continue,
            made => made.unwrap(),
        };
        let stat = node.stat().unwrap();
        assert_eq!((stat.kind, stat.mode, stat.rdev), (kind, 0o604, rdev));
        assert_eq!(dir.read_dir(0, 8).unwrap()[0].kind, Some(kind));
        dir.unlink(name("n")).unwrap();
    }
}

pub(in crate::store) fn symlinks_are_returned_and_not_followed(store: &dyn BackingStore) {
    let dir = scratch(store);
    dir.create_file(name("target"), 0o644).unwrap();
    let made = dir.make_symlink(name("s"), b"target").unwrap();
    let found = dir.lookup(name("s")).unwrap();
    for node in [&made, &found] {
        assert_eq!(node.stat().unwrap().kind, NodeKind::Symlink);
        assert_eq!(node.stat().unwrap().size, 6);
        assert_eq!(node.read_link().unwrap(), b"target");
        assert_eq!(kind_of(node.open_file(FileAccess::Read)), Kind::Loop);
    }
    assert_eq!(dir.read_link_at(name("s")).unwrap(), b"target");
    assert_eq!(dir.stat_at(name("s")).unwrap().kind, NodeKind::Symlink);
    assert_eq!(kind_of(dir.read_link_at(name("target"))), Kind::Invalid);
    assert_eq!(kind_of(dir.lookup(name("target")).unwrap().read_link()), Kind::Invalid);
    let long = vec![b'x'; 4095];
    dir.make_symlink(name("long"), &long).unwrap();
    assert_eq!(dir.read_link_at(name("long")).unwrap(), long);
    assert_eq!(kind_of(dir.make_symlink(name("longer"), &[b'x'; 4096])), Kind::NameTooLong);
}

pub(in crate::store) fn links_count_names(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (node, file) = dir.create_file(name("a"), 0o644).unwrap();
    dir.link(&*node, name("b")).unwrap();
    dir.link(&*dir.lookup(name("b")).unwrap(), name("c")).unwrap();
    assert_eq!(file.stat().unwrap().nlink, 3);
    assert_eq!(dir.stat_at(name("c")).unwrap().ino, node.stat().unwrap().ino);
    dir.unlink(name("a")).unwrap();
    assert_eq!(node.stat().unwrap().nlink, 2);
    let symlink = dir.make_symlink(name("s"), b"a").unwrap();
    dir.link(&*symlink, name("t")).unwrap();
    assert_eq!(dir.read_link_at(name("t")).unwrap(), b"a");
    assert_eq!(list(&*dir, 2), ["b", "c", "s", "t"]);
}

pub(in crate::store) fn links_refuse_directories_and_dead_nodes(store: &dyn BackingStore) {
    let dir = scratch(store);
    let sub = dir.make_dir(name("d"), 0o755).unwrap();
    assert_eq!(kind_of(dir.link(&*sub, name("e"))), Kind::NotPermitted);
    let (node, _file) = dir.create_file(name("a"), 0o644).unwrap();
    dir.unlink(name("a")).unwrap();
    assert_eq!(kind_of(dir.link(&*node, name("b"))), Kind::NotFound);
}

pub(in crate::store) fn an_unnamed_file_gets_its_name_later(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (node, file) = dir.create_unnamed(0o604).unwrap();
    file.write_at(b"content", 0).unwrap();
    assert_eq!((node.stat().unwrap().nlink, node.stat().unwrap().mode), (0, 0o604));
    assert!(list(&*dir, 8).is_empty());
    dir.link(&*node, name("a")).unwrap();
    assert_eq!(file.stat().unwrap().nlink, 1);
    let mut content = [0; 7];
    let again = dir.lookup(name("a")).unwrap().open_file(FileAccess::Read).unwrap();
    assert_eq!(again.read_at(&mut content, 0).unwrap(), 7);
    assert_eq!(&content, b"content");
}

pub(in crate::store) fn unlink_and_rmdir_tell_kinds_apart(store: &dyn BackingStore) {
    let dir = scratch(store);
    let sub = dir.make_dir(name("d"), 0o755).unwrap();
    dir.create_file(name("a"), 0o644).unwrap();
    sub.create_file(name("x"), 0o644).unwrap();
    assert_eq!(kind_of(dir.unlink(name("d"))), Kind::IsADirectory);
    assert_eq!(kind_of(dir.remove_dir(name("a"))), Kind::NotADirectory);
    assert_eq!(kind_of(dir.remove_dir(name("d"))), Kind::NotEmpty);
    sub.unlink(name("x")).unwrap();
    dir.remove_dir(name("d")).unwrap();
    dir.unlink(name("a")).unwrap();
    assert!(list(&*dir, 8).is_empty());
    assert_eq!(dir.stat().unwrap().nlink, 2);
}

pub(in crate::store) fn rename_replaces(store: &dyn BackingStore) {
    let dir = scratch(store);
    let sub = dir.make_dir(name("d"), 0o755).unwrap();
    let (a, _) = dir.create_file(name("a"), 0o644).unwrap();
    let (b, _) = sub.create_file(name("b"), 0o644).unwrap();
    dir.rename(name("a"), &*sub, name("b"), RenameMode::Replace).unwrap();
    assert_eq!(list(&*dir, 8), ["d"]);
    assert_eq!(sub.stat_at(name("b")).unwrap().ino, a.stat().unwrap().ino);
    assert_eq!(b.stat().unwrap().nlink, 0);
    // Directories replace empty directories, and take their dots along.
    let (from, to) = (dir.make_dir(name("from"), 0o755).unwrap(), sub.make_dir(name("to"), 0o755).unwrap());
    from.create_file(name("inside"), 0o644).unwrap();
    dir.rename(name("from"), &*sub, name("to"), RenameMode::Replace).unwrap();
    assert_eq!((dir.stat().unwrap().nlink, sub.stat().unwrap().nlink), (3, 3));
    assert_eq!(list(&*sub.lookup(name("to")).unwrap(), 8), ["inside"]);
    assert!(list(&*to, 8).is_empty());
}

pub(in crate::store) fn rename_refuses_what_does_not_fit(store: &dyn BackingStore) {
    let dir = scratch(store);
    dir.create_file(name("a"), 0o644).unwrap();
    dir.make_dir(name("d"), 0o755).unwrap();
    let full = dir.make_dir(name("full"), 0o755).unwrap();
    full.create_file(name("x"), 0o644).unwrap();
    let rename = |from, to| dir.rename(name(from), &*dir, name(to), RenameMode::Replace);
    assert_eq!(kind_of(rename("a", "d")), Kind::IsADirectory);
    assert_eq!(kind_of(rename("d", "a")), Kind::NotADirectory);
    assert_eq!(kind_of(rename("d", "full")), Kind::NotEmpty);
    assert_eq!(list(&*dir, 1), ["a", "d", "full"]);
}

pub(in crate::store) fn rename_without_replacement(store: &dyn BackingStore) {
    let dir = scratch(store);
    dir.create_file(name("a"), 0o644).unwrap();
    dir.create_file(name("b"), 0o644).unwrap();
    assert_eq!(kind_of(dir.rename(name("a"), &*dir, name("b"), RenameMode::NoReplace)), Kind::Exists);
    dir.rename(name("a"), &*dir, name("c"), RenameMode::NoReplace).unwrap();
    assert_eq!(list(&*dir, 8), ["b", "c"]);
}

pub(in crate::store) fn rename_exchanges(store: &dyn BackingStore) {
    let dir = scratch(store);
    let sub = dir.make_dir(name("d"), 0o755).unwrap();
    let (a, _) = dir.create_file(name("a"), 0o644).unwrap();
    let inner = sub.make_dir(name("inner"), 0o755).unwrap();
    inner.create_file(name("x"), 0o644).unwrap();
    dir.rename(name("a"), &*sub, name("inner"), RenameMode::Exchange).unwrap();
    assert_eq!(sub.stat_at(name("inner")).unwrap().ino, a.stat().unwrap().ino);
    assert_eq!(list(&*dir.lookup(name("a")).unwrap(), 8), ["x"]);
    assert_eq!((dir.stat().unwrap().nlink, sub.stat().unwrap().nlink), (4, 2));
}

pub(in crate::store) fn rename_of_one_file_to_its_other_name_does_nothing(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (a, _) = dir.create_file(name("a"), 0o644).unwrap();
    dir.link(&*a, name("b")).unwrap();
    dir.rename(name("a"), &*dir, name("b"), RenameMode::Replace).unwrap();
    dir.rename(name("a"), &*dir, name("a"), RenameMode::Replace).unwrap();
    assert_eq!(list(&*dir, 8), ["a", "b"]);
    assert_eq!(a.stat().unwrap().nlink, 2);
}

pub(in crate::store) fn a_directory_cannot_move_into_itself(store: &dyn BackingStore) {
    let dir = scratch(store);
    let a = dir.make_dir(name("a"), 0o755).unwrap();
    let b = a.make_dir(name("b"), 0o755).unwrap();
    for mode in [RenameMode::Replace, RenameMode::NoReplace] {
        assert_eq!(kind_of(dir.rename(name("a"), &*b, name("c"), mode)), Kind::Invalid);
        assert_eq!(kind_of(dir.rename(name("a"), &*a, name("c"), mode)), Kind::Invalid);
    }
    b.create_file(name("x"), 0o644).unwrap();
    assert_eq!(kind_of(dir.rename(name("a"), &*b, name("x"), RenameMode::Exchange)), Kind::Invalid);
    assert_eq!(kind_of(b.rename(name("x"), &*dir, name("a"), RenameMode::Replace)), Kind::NotEmpty);
    assert_eq!(kind_of(b.rename(name("x"), &*dir, name("a"), RenameMode::Exchange)), Kind::Invalid);
}

pub(in crate::store) fn listing_in_pieces_is_complete(store: &dyn BackingStore) {
    let dir = scratch(store);
    let mut expected: Vec<String> =
        (0..300).map(|i| format!("entry-{i:04}-{}", "x".repeat(i % 90))).collect();
    for entry in &expected {
        dir.create_file(name(entry), 0o644).unwrap();
    }
    expected.sort();
    for limit in [1, 7, 100, 10_000] {
        assert_eq!(list(&*dir, limit), expected);
    }
    for entry in dir.read_dir(0, 1000).unwrap() {
        let stat = dir.stat_at(name(std::str::from_utf8(&entry.name).unwrap())).unwrap();
        assert_eq!(entry.ino, stat.ino);
        assert_eq!(entry.kind, Some(NodeKind::File));
    }
}

pub(in crate::store) fn cookies_survive_removal_and_insertion(store: &dyn BackingStore) {
    let dir = scratch(store);
    for i in 0..200 {
        dir.create_file(name(&format!("old-{i}")), 0o644).unwrap();
    }
    let first = dir.read_dir(0, 50).unwrap();
    let other = dir.read_dir(first.last().unwrap().cookie, 500).unwrap();
    let removed = std::str::from_utf8(&other[3].name).unwrap().to_owned();
    for entry in &first {
        dir.unlink(name(std::str::from_utf8(&entry.name).unwrap())).unwrap();
    }
    dir.unlink(name(&removed)).unwrap();
    for i in 0..50 {
        dir.create_file(name(&format!("new-{i}")), 0o644).unwrap();
    }
    let mut rest = Vec::new();
    let mut cookie = first.last().unwrap().cookie;
    loop {
        let entries = dir.read_dir(cookie, 30).unwrap();
        let Some(last) = entries.last() else { break };
        cookie = last.cookie;
        rest.extend(entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()));
    }
    rest.retain(|entry| entry.starts_with("old-"));
    rest.sort();
    let mut expected: Vec<String> =
        other.iter().map(|entry| String::from_utf8(entry.name.clone()).unwrap()).collect();
    expected.retain(|entry| *entry != removed);
    expected.sort();
    assert_eq!(rest, expected, "each entry that stayed is listed exactly once, and the removed one is not");
}

pub(in crate::store) fn a_removed_directory_takes_and_lists_nothing(store: &dyn BackingStore) {
    let dir = scratch(store);
    let sub = dir.make_dir(name("d"), 0o755).unwrap();
    dir.remove_dir(name("d")).unwrap();
    assert!(sub.read_dir(0, 8).unwrap().is_empty());
    assert_eq!(sub.stat().unwrap().nlink, 0);
    assert_eq!(kind_of(sub.create_file(name("x"), 0o644)), Kind::NotFound);
    assert_eq!(kind_of(sub.make_dir(name("x"), 0o755)), Kind::NotFound);
    assert_eq!(kind_of(sub.lookup(name("x"))), Kind::NotFound);
}

pub(in crate::store) fn long_names(store: &dyn BackingStore) {
    let dir = scratch(store);
    let longest = "n".repeat(255);
    dir.create_file(name(&longest), 0o644).unwrap();
    assert_eq!(list(&*dir, 1), [longest]);
    let longer = "n".repeat(256);
    assert_eq!(kind_of(dir.create_file(name(&longer), 0o644)), Kind::NameTooLong);
    assert_eq!(kind_of(dir.lookup(name(&longer))), Kind::NameTooLong);
    assert_eq!(store.space().unwrap().name_max, 255);
}

pub(in crate::store) fn handles_follow_the_node_and_go_stale(store: &dyn BackingStore) {
    let dir = scratch(store);
    let (node, file) = dir.create_file(name("a"), 0o644).unwrap();
    let ino = node.stat().unwrap().ino;
    let Some(handle) = node.handle().unwrap() else { return };
    assert_eq!(dir.lookup(name("a")).unwrap().handle().unwrap(), Some(handle));
    dir.rename(name("a"), &*dir, name("b"), RenameMode::Replace).unwrap();
    match store.open_handle(&handle) {
        Err(failure) if failure.kind == Kind::NotPermitted => return,
        opened => assert_eq!(opened.unwrap().stat().unwrap().ino, ino),
    }
    dir.unlink(name("b")).unwrap();
    drop((node, file));
    assert_eq!(kind_of(store.open_handle(&handle)), Kind::Stale);
    let root = store.root().handle().unwrap().unwrap();
    assert_eq!(store.open_handle(&root).unwrap().stat().unwrap().ino, store.root().stat().unwrap().ino);
}
