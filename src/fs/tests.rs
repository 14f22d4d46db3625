//! The file system over a volume in memory, without a kernel.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use kms_core::client::KeyService;

use super::*;
use crate::format::NameMode;
use crate::keys::fake::TestService;
use crate::names::NameError;
use crate::store::memory::MemoryStore;
use crate::store::{BackingStore, NodeKind, RenameMode, StoreErrorKind, XattrMode};
use crate::volume::{self, InitOptions, OpenMode as VolumeMode, OpenOptions, OpenVolume};

const ROOT: Caller = Caller { uid: 0, gid: 0, pid: 0 };
const MODE: NewMode = NewMode { mode: 0o666, umask: 0o022 };

/// A mounted volume in memory.
struct World {
    store: Arc<MemoryStore>,
    service: Arc<TestService>,
    key: String,
    _volume: OpenVolume,
    fs: MountedVolume,
}

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

impl World {
    fn new() -> Self {
        Self::with_names(NameMode::Encrypted)
    }

    fn with_names(name_mode: NameMode) -> Self {
        let (store, service) = (Arc::new(MemoryStore::new()), TestService::new());
        let key = service.new_key();
        let options = InitOptions { key: Some(key.clone()), name_mode, ..InitOptions::default() };
        let as_service: Arc<dyn KeyService> = service.clone();
        volume::init(&*store, &as_service, &TestService::caller(), &options).unwrap();
        let options = OpenOptions { journal_len: 1, ..OpenOptions::new(VolumeMode::Exclusive) };
        let volume =
            OpenVolume::open_with(store.clone(), as_service, TestService::caller(), &options).unwrap();
        let fs = MountedVolume::new(VolumeParts::of(&volume, true)).unwrap();
        Self { store, service, key, _volume: volume, fs }
    }

    fn file(&self, parent: NodeId, text: &str, data: &[u8]) -> NodeId {
        let id = self.fs.create(ROOT, parent, name(text), MODE).unwrap().attr.id;
        self.fs.write(id, 0, data, WriteMode::default()).unwrap();
        id
    }

    fn dir(&self, parent: NodeId, text: &str) -> NodeId {
        self.fs.make_dir(ROOT, parent, name(text), MODE).unwrap().attr.id
    }

    fn read(&self, id: NodeId) -> FsResult<Vec<u8>> {
        let mut buf = vec![0; 1 << 16];
        let len = self.fs.read(id, 0, &mut buf)?;
        buf.truncate(len);
        Ok(buf)
    }

    fn names(&self, dir: NodeId) -> Vec<OsString> {
        let handle = self.fs.open_dir(dir).unwrap();
        let mut names = Vec::new();
        self.fs
            .list(handle, 0, &mut |entry| {
                names.push(entry.name.clone());
                true
            })
            .unwrap();
        self.fs.release_dir(handle);
        names.retain(|name| name != "." && name != "..");
        names.sort();
        names
    }

    fn stored_names(&self) -> Vec<Vec<u8>> {
        self.store.root().read_dir(0, 1000).unwrap().into_iter().map(|entry| entry.name).collect()
    }
}

fn kind_of(error: &FsError) -> Option<StoreErrorKind> {
    match error {
        FsError::Store(error) => Some(error.kind),
        _ => None,
    }
}

#[test]
fn attributes_carry_the_size_in_the_clear_everywhere() {
    let world = World::new();
    let id = world.file(NodeId::ROOT, "f", &[7; 10_000]);
    assert_eq!(world.fs.attr(id).unwrap().size, 10_000);
    assert_eq!(world.fs.lookup(NodeId::ROOT, name("f")).unwrap().unwrap().attr.size, 10_000);
    let change = AttrChange { size: Some(5), ..AttrChange::default() };
    assert_eq!(world.fs.set_attr(ROOT, id, &change).unwrap().size, 5);
    assert_eq!(world.fs.link(id, NodeId::ROOT, name("g")).unwrap().attr.size, 5);
    let handle = world.fs.open_dir(NodeId::ROOT).unwrap();
    let mut sizes = Vec::new();
    world
        .fs
        .list_with_attrs(handle, 0, &mut |entry, found| {
            if entry.kind == NodeKind::File {
                sizes.push(found.attr.size);
            }
            true
        })
        .unwrap();
    assert_eq!(sizes, [5, 5]);
    assert!(world.fs.lookup(NodeId::ROOT, name("h")).unwrap().is_none());
}

#[test]
fn the_kernels_references_decide_how_long_an_inode_is_known() {
    let world = World::new();
    let id = world.file(NodeId::ROOT, "f", b"x");
    world.fs.lookup(NodeId::ROOT, name("f")).unwrap();
    world.fs.forget(id, 1);
    assert!(world.fs.attr(id).is_ok());
    world.fs.forget(id, 1);
    assert!(matches!(world.fs.attr(id), Err(FsError::UnknownInode(_))));
    assert_eq!(world.fs.table.len(), 0);
    let handle = world.fs.open_dir(NodeId::ROOT).unwrap();
    // What did not fit holds no reference.
    world.fs.list_with_attrs(handle, 0, &mut |entry, _| entry.name == "." || entry.name == "..").unwrap();
    assert_eq!(world.fs.table.len(), 0);
}

#[test]
fn long_names_come_and_go_with_their_links() {
    let world = World::new();
    let (long, other) = ("a".repeat(255), "b".repeat(200));
    let before = world.stored_names().len();
    world.file(NodeId::ROOT, &long, b"1");
    assert_eq!(world.names(NodeId::ROOT), [OsString::from(&long)]);
    let refused = world.fs.make_dir(ROOT, NodeId::ROOT, name(&long), MODE).unwrap_err();
    assert_eq!(kind_of(&refused), Some(StoreErrorKind::Exists));
    assert_eq!(world.stored_names().len(), before + 2);
    let rename = |a: &str, b: &str, mode| {
        world.fs.rename(ROOT, (NodeId::ROOT, name(a)), (NodeId::ROOT, name(b)), mode)
    };
    rename(&long, &other, RenameMode::NoReplace).unwrap();
    assert_eq!(world.stored_names().len(), before + 2);
    rename(&other, "short", RenameMode::Replace).unwrap();
    assert_eq!(world.stored_names().len(), before + 1);
    rename("short", &long, RenameMode::Replace).unwrap();
    world.fs.unlink(NodeId::ROOT, name(&long)).unwrap();
    assert_eq!(world.stored_names().len(), before);
    let too_long = world.fs.lookup(NodeId::ROOT, name(&"c".repeat(256)));
    assert!(matches!(too_long, Err(FsError::Name(NameError::TooLong))));
}

#[test]
fn directories_are_removed_and_replaced_with_their_ids() {
    let world = World::new();
    let (a, b) = (world.dir(NodeId::ROOT, "a"), world.dir(NodeId::ROOT, "b"));
    let inner = world.file(a, "f", b"1");
    assert!(matches!(world.fs.remove_dir(NodeId::ROOT, name("a")), Err(FsError::NotEmpty)));
    let onto = |from: &str, to: &str| {
        world.fs.rename(ROOT, (NodeId::ROOT, name(from)), (NodeId::ROOT, name(to)), RenameMode::Replace)
    };
    assert!(matches!(onto("b", "a"), Err(FsError::NotEmpty)));
    onto("a", "b").unwrap();
    assert_eq!(world.names(NodeId::ROOT), ["b"]);
    assert_eq!(world.fs.attr(b).unwrap().nlink, 0, "the replaced directory is gone");
    assert_eq!(world.fs.lookup(a, name("f")).unwrap().unwrap().attr.id, inner);
    world.fs.unlink(a, name("f")).unwrap();
    world.fs.remove_dir(NodeId::ROOT, name("b")).unwrap();
    assert!(world.fs.trash.read_dir(0, 10).unwrap().is_empty());
    assert!(world.names(NodeId::ROOT).is_empty());
}

#[test]
fn a_directory_without_its_id_is_repaired_only_if_it_is_empty() {
    let world = World::new();
    let made = |text: &str, full: bool| {
        let id = world.dir(NodeId::ROOT, text);
        if full {
            world.file(id, "f", b"");
        }
        let names = world.fs.names_of(&world.fs.table.get(NodeId::ROOT).unwrap()).unwrap();
        let stored = names.encrypt(name(text)).unwrap().name;
        let node = world.store.root().lookup(&stored).unwrap();
        node.unlink(name(".k")).unwrap();
        world.fs.forget(id, 1);
        world.fs.lookup(NodeId::ROOT, name(text)).unwrap().unwrap().attr.id
    };
    let empty = made("empty", false);
    world.file(empty, "works", b"");
    let full = made("full", true);
    assert!(matches!(world.fs.open_dir(full), Err(FsError::Name(NameError::NoDirectoryId))));
}

#[test]
fn a_name_that_was_not_made_here_hides_nothing_else() {
    let world = World::new();
    world.file(NodeId::ROOT, "f", b"");
    world.store.root().create_file(name("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo"), 0o600).unwrap();
    world.store.root().create_file(name("not base64!"), 0o600).unwrap();
    assert_eq!(world.names(NodeId::ROOT), ["f"]);
}

#[test]
fn an_attribute_moved_to_another_name_or_file_does_not_open() {
    let world = World::new();
    let (a, b) = (world.file(NodeId::ROOT, "a", b"1"), world.file(NodeId::ROOT, "b", b"1"));
    for id in [a, b] {
        world.fs.set_xattr(ROOT, id, name("user.x"), b"value", XattrMode::Any).unwrap();
    }
    assert_eq!(world.fs.list_xattrs(ROOT, a).unwrap(), ["user.x"]);
    let node = |id| world.fs.table.get(id).unwrap().node().unwrap();
    let stored = node(a).list_xattrs().unwrap().remove(0);
    let stored = OsStr::new(std::str::from_utf8(&stored).unwrap()).to_owned();
    assert!(
        !node(b).list_xattrs().unwrap().iter().any(|other| other.as_slice() == stored.as_encoded_bytes())
    );
    let sealed = node(a).get_xattr(&stored).unwrap();
    node(b).set_xattr(&stored, &sealed, XattrMode::Any).unwrap();
    let moved = world.fs.list_xattrs(ROOT, b);
    assert!(matches!(moved, Err(FsError::Name(NameError::Tampered(_)))));
}

#[test]
fn fencing_closes_the_files_of_a_domain_whose_key_is_gone() {
    let world = World::new();
    let id = world.file(NodeId::ROOT, "f", b"secret");
    assert_eq!(world.read(id).unwrap(), b"secret");
    assert!(world.fs.fence_unusable().is_empty());
    world.service.disable(&world.key);
    assert_eq!(world.fs.fence_unusable(), [id]);
    assert!(world.fs.fence_unusable().is_empty(), "reported once");
    assert!(matches!(world.read(id), Err(FsError::File(crate::file::FileError::Key(_)))));
    assert_eq!(world.names(NodeId::ROOT), ["f"]);
    assert_eq!(world.fs.attr(id).unwrap().size, 6);
    world.service.enable(&world.key);
    world.fs.fence_unusable();
    assert_eq!(world.read(id).unwrap(), b"secret");
}

#[test]
fn domains_are_a_border_for_renames_and_links() {
    let world = World::new();
    let outside = world.file(NodeId::ROOT, "f", b"x");
    let dir = world.dir(NodeId::ROOT, "own");
    // The directory is given another domain, as `kmsfs` does when a subtree gets its own key.
    let inode = world.fs.table.get(dir).unwrap();
    let domain = world._volume.keys().add_domain(&world.service.new_key()).unwrap();
    inode.node().unwrap().unlink(name(".k")).unwrap();
    let keys = world._volume.keys().domain_keys(domain).unwrap();
    crate::names::DirNames::make(&*inode.node().unwrap(), domain, keys, false).unwrap();
    world.fs.forget(dir, 1);
    drop(inode);
    let dir = world.fs.lookup(NodeId::ROOT, name("own")).unwrap().unwrap().attr.id;
    let inside = world.file(dir, "g", b"y");
    let (from, to) = ((NodeId::ROOT, name("f")), (dir, name("g")));
    for mode in [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange] {
        assert!(matches!(world.fs.rename(ROOT, from, to, mode), Err(FsError::CrossDomain)));
    }
    assert!(matches!(world.fs.link(outside, dir, name("h")), Err(FsError::CrossDomain)));
    assert!(matches!(world.fs.link(inside, NodeId::ROOT, name("h")), Err(FsError::CrossDomain)));
    world
        .fs
        .rename(ROOT, (NodeId::ROOT, name("own")), (NodeId::ROOT, name("moved")), RenameMode::Replace)
        .unwrap();
    assert_eq!(world.names(dir), ["g"]);
}

#[test]
fn plain_names_reserve_only_the_volume_directory() {
    let world = World::with_names(NameMode::Plain);
    for text in [".k", ".nX", "plain"] {
        world.file(NodeId::ROOT, text, b"1");
    }
    assert_eq!(world.names(NodeId::ROOT), [".k", ".nX", "plain"]);
    assert!(world.stored_names().contains(&b"plain".to_vec()));
    assert!(world.fs.lookup(NodeId::ROOT, name(".kmsfs")).unwrap().is_none());
    let refused = world.fs.make_dir(ROOT, NodeId::ROOT, name(".kmsfs"), MODE);
    assert!(matches!(refused, Err(FsError::Name(NameError::Reserved))));
    let dir = world.dir(NodeId::ROOT, "d");
    world.file(dir, ".kmsfs", b"");
    assert!(matches!(
        world.fs.rename(ROOT, (NodeId::ROOT, name("plain")), (NodeId::ROOT, name("d")), RenameMode::Replace),
        Err(FsError::Store(_))
    ));
}

#[test]
fn closed_nodes_are_opened_again_and_those_without_a_name_stay_open() {
    let store: Arc<dyn BackingStore> = Arc::new(MemoryStore::new());
    let pool = pool::NodePool::with_limit(Arc::clone(&store), 2);
    let root = store.root();
    let held: Vec<_> = (0..4)
        .map(|i| pool.hold(root.make_node(name(&i.to_string()), NodeKind::File, 0o600, 0).unwrap()))
        .collect();
    let open = |held: &[Arc<pool::PooledNode>]| held.iter().map(|node| node.is_open()).collect::<Vec<_>>();
    assert_eq!(open(&held), [false, false, true, true]);
    let again = held[0].node().unwrap();
    assert_eq!(again.stat().unwrap().ino, root.stat_at(name("0")).unwrap().ino);
    assert_eq!(open(&held), [true, false, false, true]);
    held[1].pin().unwrap();
    root.unlink(name("1")).unwrap();
    held[2].node().unwrap();
    held[3].node().unwrap();
    held[0].node().unwrap();
    assert!(held[1].is_open(), "pinned");
    assert_eq!(held[1].node().unwrap().stat().unwrap().nlink, 0);
}
