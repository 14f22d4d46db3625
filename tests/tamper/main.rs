//! A flipped bit anywhere under the backing directory is an error or is healed; it is never wrong data.
//!
//! A small volume with every kind of entry is closed cleanly. Then one bit of one byte is flipped at a time, for
//! every byte of every backing file and of every symbolic link's target, and the whole volume is read again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod table;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kms_core::client::KeyService;
use kms_core::model::{AccountId, Caller};
use kms_core::service::EmbeddedKms;
use kmsfs::fs::{self, MountedVolume, NewMode, NodeId, VolumeParts};
use kmsfs::store::simulated::{SimulatedOptions, SimulatedStore};
use kmsfs::store::{BackingStore, FileAccess, NodeKind, NodeRef, XattrMode};
use kmsfs::volume::{self, InitOptions, OpenMode, OpenOptions, OpenVolume};

const USER: fs::Caller = fs::Caller { uid: 0, gid: 0, pid: 0 };
const MODE: NewMode = NewMode { mode: 0o644, umask: 0 };

fn kms_caller() -> Caller {
    Caller::service(AccountId::local(), "root", "kmsfs")
}

fn options(mode: OpenMode) -> OpenOptions {
    OpenOptions { journal_len: 0, ..OpenOptions::new(mode) }
}

fn open(
    store: &Arc<SimulatedStore>,
    service: &Arc<dyn KeyService>,
    mode: OpenMode,
) -> Result<OpenVolume, String> {
    let store: Arc<dyn BackingStore> = store.clone();
    OpenVolume::open_with(store, service.clone(), kms_caller(), &options(mode)).map_err(|e| e.to_string())
}

/// What a reader finds: by path, the content, target or attribute, or that it is an error.
type Found = BTreeMap<OsString, Result<Vec<u8>, String>>;

fn fill(volume: &MountedVolume) {
    let file = |parent, name: &str, parts: &[(u64, usize)]| {
        let entry = volume.create(USER, parent, OsStr::new(name), MODE).unwrap();
        for (offset, len) in parts {
            let data: Vec<u8> = (0..*len).map(|i| (i % 251) as u8 + 1).collect();
            volume.write(entry.attr.id, *offset, &data, fs::WriteMode::default()).unwrap();
        }
        entry.attr.id
    };
    let root = NodeId::ROOT;
    file(root, "empty", &[]);
    let tagged = file(root, "short", &[(0, 10)]);
    volume.set_xattr(USER, tagged, OsStr::new("user.tag"), b"value", XattrMode::Any).unwrap();
    file(root, "two blocks, written twice", &[(0, 5000), (4000, 200)]);
    file(root, "sparse into the second group", &[(0, 4096), (17 * 4096, 100)]);
    file(root, &"long ".repeat(45), &[(0, 20)]);
    volume.symlink(USER, root, OsStr::new("link"), b"two blocks, written twice").unwrap();
    volume.symlink(USER, root, OsStr::new("far link"), &b"a/".repeat(1800)).unwrap();
    let dir = volume.make_dir(USER, root, OsStr::new("dir"), NewMode { mode: 0o755, umask: 0 }).unwrap();
    file(dir.attr.id, "inner", &[(0, 30)]);
}

fn read_tree(volume: &MountedVolume, dir: NodeId, path: &OsStr, found: &mut Found) {
    let mut names = Vec::new();
    let listed = volume.open_dir(dir).and_then(|handle| {
        let outcome = volume.list(handle, 0, &mut |name| {
            names.push(name.clone());
            true
        });
        volume.release_dir(handle);
        outcome
    });
    if let Err(error) = listed {
        found.insert(path.to_owned(), Err(error.to_string()));
    }
    for name in names.into_iter().filter(|name| name.name != "." && name.name != "..") {
        let mut path = path.to_owned();
        path.push("/");
        path.push(&name.name);
        match volume.lookup(dir, &name.name) {
            Ok(Some(entry)) => read_entry(volume, entry.attr, &path, found),
            Ok(None) => drop(found.insert(path, Err("not found".into()))),
            Err(error) => drop(found.insert(path, Err(error.to_string()))),
        }
    }
}

fn read_entry(volume: &MountedVolume, attr: fs::Attr, path: &OsStr, found: &mut Found) {
    let text = |error: fs::FsError| error.to_string();
    match attr.kind {
        NodeKind::Directory => {
            found.insert(path.to_owned(), Ok(Vec::new()));
            read_tree(volume, attr.id, path, found);
        }
        NodeKind::Symlink => drop(found.insert(path.to_owned(), volume.read_link(attr.id).map_err(text))),
        _ => {
            // More than the size says, so that a wrong size shows as well.
            let mut content = vec![0; 200_000];
            let read = volume.read(attr.id, 0, &mut content);
            let content = read.map(|len| content[..len].to_vec());
            found.insert(path.to_owned(), content.map_err(text));
            let mut key = path.to_owned();
            key.push("#");
            let names = volume.list_xattrs(USER, attr.id).map_err(text).unwrap_or_else(|error| {
                found.insert(key.clone(), Err(error));
                Vec::new()
            });
            for name in names {
                let mut key = key.clone();
                key.push(&name);
                found.insert(key, volume.get_xattr(attr.id, &name).map_err(text));
            }
        }
    }
}

fn read_all(
    store: &Arc<SimulatedStore>,
    service: &Arc<dyn KeyService>,
    mode: OpenMode,
) -> Result<Found, String> {
    let volume = open(store, service, mode)?;
    let mounted = MountedVolume::new(VolumeParts::of(&volume, false)).map_err(|error| error.to_string())?;
    let mut found = Found::new();
    read_tree(&mounted, NodeId::ROOT, OsStr::new(""), &mut found);
    drop(mounted);
    volume.close().map_err(|error| error.to_string())?;
    Ok(found)
}

/// A place that can be flipped: a byte of a file, or of a symbolic link's target.
enum Place {
    File { path: Vec<OsString>, offset: u64 },
    Link { path: Vec<OsString>, at: usize },
}

fn walk(dir: &NodeRef, path: &[OsString], places: &mut Vec<Place>) {
    for entry in dir.read_dir(0, 10_000).unwrap() {
        let name = OsString::from_vec(entry.name);
        let node = dir.lookup(&name).unwrap();
        let mut path = path.to_vec();
        path.push(name.clone());
        let stat = node.stat().unwrap();
        match stat.kind {
            NodeKind::Directory => walk(&node, &path, places),
            NodeKind::Symlink => {
                let len = node.read_link().unwrap().len();
                places.extend((0..len).map(|at| Place::Link { path: path.clone(), at }));
            }
            // A clean volume's spare journal holds nothing that is read: a sample of it will do.
            _ if name == "spare" => places.extend(
                (0..stat.size).step_by(4099).map(|offset| Place::File { path: path.clone(), offset }),
            ),
            _ => places.extend((0..stat.size).map(|offset| Place::File { path: path.clone(), offset })),
        }
    }
}

fn descend(store: &SimulatedStore, path: &[OsString]) -> NodeRef {
    path.iter().fold(store.root(), |dir, name| dir.lookup(name).unwrap())
}

/// Flips one bit; false where the flipped target could not be the target of any link.
fn flip(store: &SimulatedStore, place: &Place) -> bool {
    match place {
        Place::File { path, offset } => {
            let file = descend(store, path).open_file(FileAccess::ReadWrite).unwrap();
            let mut byte = [0];
            file.read_at(&mut byte, *offset).unwrap();
            file.write_at(&[byte[0] ^ 1 << (offset % 8)], *offset).unwrap();
            true
        }
        Place::Link { path, at } => {
            let (name, dir) = path.split_last().unwrap();
            let dir = descend(store, dir);
            let mut target = dir.read_link_at(name).unwrap();
            target[*at] ^= 1 << (at % 7);
            if target.contains(&0) {
                return false;
            }
            dir.unlink(name).unwrap();
            dir.make_symlink(name, &target).unwrap();
            true
        }
    }
}

impl Place {
    fn describe(&self) -> String {
        let (path, at) = match self {
            Self::File { path, offset } => (path, *offset),
            Self::Link { path, at } => (path, *at as u64),
        };
        format!("{} byte {at}", path.join(OsStr::from_bytes(b"/")).to_string_lossy())
    }
}

fn compare(place: &Place, truth: &Found, found: &Found) -> Result<(), String> {
    for (path, content) in found {
        let Ok(content) = content else { continue };
        if truth.get(path) != Some(&Ok(content.clone())) {
            return Err(format!("{}: {} reads wrong", place.describe(), path.to_string_lossy()));
        }
    }
    Ok(())
}

#[test]
fn no_flipped_bit_gives_wrong_data() {
    let service: Arc<dyn KeyService> = Arc::new(EmbeddedKms::in_memory().unwrap());
    let store = Arc::new(SimulatedStore::new(SimulatedOptions::default()));
    volume::init(&*store, &service, &kms_caller(), &InitOptions::default()).unwrap();
    let volume = open(&store, &service, OpenMode::Exclusive).unwrap();
    let mounted = MountedVolume::new(VolumeParts::of(&volume, false)).unwrap();
    fill(&mounted);
    mounted.finish().unwrap();
    drop(mounted);
    volume.close().unwrap();
    let truth = read_all(&Arc::new(store.kill_image()), &service, OpenMode::ReadOnly).unwrap();
    let errors: Vec<_> = truth.iter().filter(|(_, content)| content.is_err()).collect();
    assert_eq!((truth.len(), errors.len()), (10, 0), "{errors:?} {:?}", truth.keys());

    let mut places = Vec::new();
    walk(&store.root(), &[], &mut places);
    let (refused, seen, unseen) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let check = |(index, place): (usize, &Place)| {
        let image = Arc::new(store.kill_image());
        if !flip(&image, place) {
            return;
        }
        let mode = if index % 16 == 0 { OpenMode::Exclusive } else { OpenMode::ReadOnly };
        match read_all(&image, &service, mode) {
            Err(_) => drop(refused.fetch_add(1, Ordering::Relaxed)),
            Ok(found) => {
                compare(place, &truth, &found).unwrap();
                let counter = if found == truth { &unseen } else { &seen };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (places, check) = (&places, &check);
            scope.spawn(move || places.iter().enumerate().skip(half).step_by(2).for_each(check));
        }
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} places: {} refuse the volume, {} damage an entry, {} hit what is redundant or unused",
        places.len(),
        count(&refused),
        count(&seen),
        count(&unseen)
    );
    assert!(places.len() > 100_000 && count(&seen) > 20_000);
}
