//! Makes the volumes: two sessions, a protected directory, a rewrap.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use kms_core::client::KeyService;
use kms_core::keystore::{Keystore, RootKeySource};
use kms_core::model::CreateKeyRequest;
use kms_core::service::EmbeddedKms;
use kmsfs::format::NameMode;
use kmsfs::fs::{AttrChange, Caller, MountedVolume, NewMode, NodeId, WriteMode};
use kmsfs::maintenance::{self, RewrapOptions};
use kmsfs::store::posix::PosixStore;
use kmsfs::store::{BackingStore, NodeKind, XattrMode};
use kmsfs::volume::{self, InitOptions, OpenMode};
use serde_json::{Map, Value, json};

use super::read::{describe, file_line, hex};
use super::{KEY_FILE, KEYSTORE, VOLUMES, caller, mounted, open};

const USER: Caller = Caller { uid: 0, gid: 0, pid: 0 };
const FILE_MODE: NewMode = NewMode { mode: 0o640, umask: 0 };
const DIR_MODE: NewMode = NewMode { mode: 0o750, umask: 0 };

/// A volume that is being filled, and what is expected of it.
struct Filling<'a> {
    volume: &'a MountedVolume,
    list: &'a mut Map<String, Value>,
    /// Size of the largest file: beyond the head in one of the volumes is enough.
    large: usize,
}

const LARGE: &str = "large";

/// Bytes that differ from place to place and from file to file.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 31 + at / 251 + seed * 7) % 256) as u8).collect()
}

impl Filling<'_> {
    /// A file of `len` bytes in which `data` stands at the given places and zeros elsewhere.
    fn file(
        &mut self,
        (parent, path): (NodeId, &str),
        name: &str,
        len: usize,
        data: &[(usize, usize)],
    ) -> NodeId {
        let made = self.volume.create(USER, parent, OsStr::new(name), FILE_MODE).unwrap();
        let mut content = vec![0; len];
        for (at, count) in data {
            let bytes = pattern(*count, at + len);
            self.volume.write(made.attr.id, *at as u64, &bytes, WriteMode::default()).unwrap();
            content[*at..at + count].copy_from_slice(&bytes);
        }
        let mut line = file_line(&content);
        line["mode"] = json!("0640");
        self.list.insert(format!("{path}/{name}"), line);
        made.attr.id
    }

    fn tag(&mut self, id: NodeId, path: &str, name: &str, value: &[u8]) {
        self.volume.set_xattr(USER, id, OsStr::new(name), value, XattrMode::Any).unwrap();
        self.list[path][format!("xattr {name}")] = json!(hex(value));
    }

    fn dir(&mut self, (parent, path): (NodeId, &str), name: &str) -> NodeId {
        let made = self.volume.make_dir(USER, parent, OsStr::new(name), DIR_MODE).unwrap();
        self.list.insert(format!("{path}/{name}"), json!({ "kind": "directory", "mode": "0750" }));
        made.attr.id
    }

    fn link(&mut self, (parent, path): (NodeId, &str), name: &str, target: &[u8]) {
        self.volume.symlink(USER, parent, OsStr::new(name), target).unwrap();
        self.list.insert(format!("{path}/{name}"), json!({ "kind": "link", "target": hex(target) }));
    }

    fn first_session(&mut self) {
        let root = (NodeId::ROOT, "");
        self.file(root, "empty", 0, &[]);
        let one = self.file(root, "one byte", 1, &[(0, 1)]);
        self.tag(one, "/one byte", "user.comment", b"the smallest");
        self.file(root, "4096", 4096, &[(0, 4096)]);
        self.file(root, "5000", 5000, &[(0, 5000)]);
        self.file(root, LARGE, self.large, &[(0, self.large)]);
        self.file(root, "600000, sparse, in the second group", 600_000, &[(100, 50), (590_000, 10_000)]);
        self.file(root, &"long name ".repeat(25), 10, &[(0, 10)]);
        self.link(root, "link", b"5000");
        self.link(root, "far link", &b"away/".repeat(800));
        let dir = self.dir(root, "directory");
        self.tag(dir, "/directory", "user.comment", b"of a directory");
        self.file((dir, "/directory"), "inner", 300, &[(0, 300)]);
        let pipe = NodeKind::Fifo;
        self.volume.make_node(USER, NodeId::ROOT, OsStr::new("pipe"), pipe, FILE_MODE, 0).unwrap();
        self.list.insert("/pipe".into(), json!({ "kind": "pipe", "mode": "0640" }));
    }

    /// Overwrites through the journal, cuts a file, and writes a new one.
    fn second_session(&mut self) {
        let id = |name: &str| self.volume.lookup(NodeId::ROOT, OsStr::new(name)).unwrap().unwrap().attr.id;
        let (overwritten, cut) = (id(LARGE), id("5000"));
        let mut content = pattern(self.large, self.large);
        let from = self.large - 10_000;
        content[from..from + 9_000].copy_from_slice(&pattern(9_000, 1));
        self.volume.write(overwritten, from as u64, &pattern(9_000, 1), WriteMode::default()).unwrap();
        let mut line = file_line(&content);
        line["mode"] = json!("0640");
        self.list.insert(format!("/{LARGE}"), line);
        let to_nothing = AttrChange { size: Some(0), ..AttrChange::default() };
        self.volume.set_attr(USER, cut, &to_nothing).unwrap();
        self.volume.write(cut, 4990, b"ten bytes.", WriteMode::default()).unwrap();
        let mut content = vec![0; 4990];
        content.extend_from_slice(b"ten bytes.");
        let mut line = file_line(&content);
        line["mode"] = json!("0640");
        self.list.insert("/5000".into(), line);
        self.file((NodeId::ROOT, ""), "of the second session", 9000, &[(0, 9000)]);
    }
}

fn new_key(service: &EmbeddedKms) -> String {
    let key = service.create_key(&caller(), &CreateKeyRequest::default()).unwrap();
    key.key_metadata.arn.to_string()
}

fn session(backing: &Path, service: &Arc<EmbeddedKms>, work: impl FnOnce(&MountedVolume)) {
    let volume = open(backing, service, OpenMode::Exclusive);
    let tree = mounted(&volume);
    work(&tree);
    tree.finish().unwrap();
    drop(tree);
    volume.close().unwrap();
}

/// Puts the only directory of the new volume under a key of its own.
fn protect(backing: &Path, service: &Arc<EmbeddedKms>, key: &str) {
    let volume = open(backing, service, OpenMode::Maintenance);
    let root = volume.root();
    let found =
        root.read_dir(0, 10).unwrap().into_iter().find(|entry| !entry.name.starts_with(b".")).unwrap();
    let name: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(found.name.as_slice());
    maintenance::protect(&volume, &*root.lookup(name).unwrap(), key).unwrap();
    volume.close().unwrap();
}

fn make_volume(dir: &Path, service: &Arc<EmbeddedKms>, name: &str, name_mode: NameMode) -> Value {
    let backing = dir.join(name);
    std::fs::create_dir(&backing).unwrap();
    let store = PosixStore::open(&backing).unwrap();
    let options = InitOptions { key: Some(new_key(service)), name_mode, ..InitOptions::default() };
    let trait_object: Arc<dyn KeyService> = service.clone();
    volume::init(&store, &trait_object, &caller(), &options).unwrap();
    drop(store.root());
    let large = if name_mode == NameMode::Encrypted { 70_000 } else { 12_000 };
    let mut list = Map::new();
    if name_mode == NameMode::Encrypted {
        session(&backing, service, |volume| {
            Filling { volume, list: &mut list, large }.dir((NodeId::ROOT, ""), "protected");
        });
        protect(&backing, service, &new_key(service));
        session(&backing, service, |volume| {
            let id = volume.lookup(NodeId::ROOT, OsStr::new("protected")).unwrap().unwrap().attr.id;
            let mut filling = Filling { volume, list: &mut list, large };
            filling.file((id, "/protected"), "secret", 3000, &[(0, 3000)]);
            filling.link((id, "/protected"), "link", b"secret");
        });
    }
    session(&backing, service, |volume| Filling { volume, list: &mut list, large }.first_session());
    let volume = open(&backing, service, OpenMode::Maintenance);
    let to_another = RewrapOptions { key: Some(new_key(service)), ..RewrapOptions::default() };
    let report = maintenance::rewrap(&volume, &to_another, &|_| ()).unwrap();
    assert!(report.rewrapped > 5 && report.failed_count == 0, "{report:?}");
    volume.close().unwrap();
    session(&backing, service, |volume| Filling { volume, list: &mut list, large }.second_session());
    session(&backing, service, |volume| assert_eq!(describe(volume), Value::Object(list.clone())));
    Value::Object(list)
}

/// Makes keystore, key file and volumes in `dir`; returns what is in the volumes.
pub(crate) fn make(dir: &Path) -> Value {
    let key_file = dir.join(KEY_FILE);
    Keystore::create_key_file(&key_file).unwrap();
    let service = Keystore::create(&dir.join(KEYSTORE), &RootKeySource::key_file(key_file)).unwrap();
    let service = Arc::new(service);
    let mut list = Map::new();
    for (name, mode) in VOLUMES.into_iter().zip([NameMode::Encrypted, NameMode::Plain]) {
        list.insert(name.to_owned(), make_volume(dir, &service, name, mode));
    }
    Value::Object(list)
}
