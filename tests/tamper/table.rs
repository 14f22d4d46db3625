//! The threat table, row by row: somebody with write access to the backing directory does one thing, and what a reader
//! then sees is what `docs/threat-model.md` says. And many things at random, after which nothing may read wrong.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use kms_core::client::KeyService;
use kms_core::service::EmbeddedKms;
use kmsfs::fs::{self, MountedVolume, NodeId, VolumeParts};
use kmsfs::store::simulated::{SimulatedOptions, SimulatedStore};
use kmsfs::store::{BackingStore, FileAccess, FileRef, NodeKind, NodeRef, RenameMode, XattrMode};
use kmsfs::volume::{self, InitOptions, OpenMode, OpenVolume};

use super::{Found, MODE, USER, kms_caller, open, read_all};

const PAGE: usize = 4096;

/// What a reader sees of the file that a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// An error; never a byte of it.
    Refused,
    /// What was written last.
    Unchanged,
    /// Something that was there once, or elsewhere: the page says that this is not noticed.
    Accepted,
    /// Nothing: it is as if it had never been there.
    Gone,
}

/// A volume of a clean session, an image of it, and the next clean session's changes.
struct World {
    service: Arc<dyn KeyService>,
    /// As the first session left it.
    old: Arc<SimulatedStore>,
    store: Arc<SimulatedStore>,
    /// What is read without tampering.
    truth: Found,
}

fn write(mounted: &MountedVolume, dir: NodeId, name: &str, len: usize, seed: usize) -> NodeId {
    let name = OsStr::new(name);
    let id = match mounted.lookup(dir, name).unwrap() {
        Some(entry) => entry.attr.id,
        None => mounted.create(USER, dir, name, MODE).unwrap().attr.id,
    };
    let data: Vec<u8> = (0..len).map(|at| ((at * seed + at / 250) % 251) as u8 + 1).collect();
    mounted.write(id, 0, &data, fs::WriteMode::default()).unwrap();
    id
}

fn session(
    store: &Arc<SimulatedStore>,
    service: &Arc<dyn KeyService>,
    work: impl FnOnce(&OpenVolume, &MountedVolume),
) {
    let volume = open(store, service, OpenMode::Exclusive).unwrap();
    let mounted = MountedVolume::new(VolumeParts::of(&volume, false)).unwrap();
    work(&volume, &mounted);
    mounted.finish().unwrap();
    drop(mounted);
    volume.close().unwrap();
}

impl World {
    fn new() -> Self {
        let service: Arc<dyn KeyService> = Arc::new(EmbeddedKms::in_memory().unwrap());
        let store = Arc::new(SimulatedStore::new(SimulatedOptions::default()));
        volume::init(&*store, &service, &kms_caller(), &InitOptions::default()).unwrap();
        let dir_mode = fs::NewMode { mode: 0o755, umask: 0 };
        session(&store, &service, |_, mounted| {
            for (name, seed) in [("a", 3), ("b", 5)] {
                let id = write(mounted, NodeId::ROOT, name, 30 * PAGE, seed);
                for tag in ["user.one", "user.two"] {
                    mounted.set_xattr(USER, id, OsStr::new(tag), &[seed as u8; 9], XattrMode::Any).unwrap();
                }
            }
            for name in ["d", "e"] {
                let dir = mounted.make_dir(USER, NodeId::ROOT, OsStr::new(name), dir_mode).unwrap();
                write(mounted, dir.attr.id, &format!("in-{name}"), 100, 7);
            }
            for name in ["link", "other"] {
                mounted
                    .symlink(USER, NodeId::ROOT, OsStr::new(name), format!("to-{name}").as_bytes())
                    .unwrap();
            }
        });
        let old = Arc::new(store.kill_image());
        session(&store, &service, |_, mounted| {
            let a = write(mounted, NodeId::ROOT, "a", 20 * PAGE, 11);
            mounted.set_xattr(USER, a, OsStr::new("user.one"), b"newer", XattrMode::Any).unwrap();
        });
        let truth = read_all(&Arc::new(store.kill_image()), &service, OpenMode::ReadOnly).unwrap();
        assert!(truth.values().all(Result::is_ok) && truth.len() >= 10, "{:?}", truth.keys());
        Self { service, old, store, truth }
    }

    /// What a reader sees of `path` after `tamper`, in a writable mount and in a read-only one, which have to agree.
    fn outcome(&self, path: &str, tamper: impl Fn(&Backing, &Backing)) -> Outcome {
        let seen = [OpenMode::ReadOnly, OpenMode::Exclusive].map(|mode| {
            let image = Arc::new(self.store.kill_image());
            tamper(&Backing::new(&image, self), &Backing::new(&self.old, self));
            let found =
                read_all(&image, &self.service, mode).unwrap_or_else(|error| panic!("{path}: {error}"));
            match (found.get(OsStr::new(path)), &self.truth[OsStr::new(path)]) {
                (None, _) => Outcome::Gone,
                (Some(Err(_)), _) => Outcome::Refused,
                (Some(Ok(read)), Ok(truth)) if read == truth => Outcome::Unchanged,
                (Some(Ok(_)), _) => Outcome::Accepted,
            }
        });
        assert_eq!(seen[0], seen[1], "{path}");
        seen[0]
    }
}

/// The backing directory as the adversary has it, who knows which entry is which by watching.
struct Backing {
    root: NodeRef,
    names: Vec<(String, OsString)>,
}

impl Backing {
    fn new(store: &Arc<SimulatedStore>, world: &World) -> Self {
        let root = store.root();
        let volume = open(&Arc::new(store.kill_image()), &world.service, OpenMode::ReadOnly).unwrap();
        let names = kmsfs::names::DirNames::load(
            &*root,
            &**volume.keys(),
            volume.name_mode(),
            volume.keys().root_domain(),
            true,
        )
        .unwrap();
        let names = ["a", "b", "d", "e", "link", "other"]
            .map(|plain| (plain.to_owned(), names.encrypt(OsStr::new(plain)).unwrap().name))
            .to_vec();
        Self { root, names }
    }

    fn name(&self, plain: &str) -> &OsStr {
        &self.names.iter().find(|(name, _)| name == plain).unwrap().1
    }

    fn node(&self, plain: &str) -> NodeRef {
        self.root.lookup(self.name(plain)).unwrap()
    }

    fn file(&self, plain: &str) -> FileRef {
        self.node(plain).open_file(FileAccess::ReadWrite).unwrap()
    }

    fn get(&self, plain: &str, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.file(plain).read_at(&mut bytes, at as u64).unwrap();
        bytes
    }

    fn put(&self, plain: &str, at: usize, bytes: &[u8]) {
        self.file(plain).write_at(bytes, at as u64).unwrap();
    }

    fn all(&self, plain: &str) -> Vec<u8> {
        self.get(plain, 0, self.file(plain).stat().unwrap().size as usize)
    }

    fn replace(&self, plain: &str, bytes: &[u8]) {
        self.file(plain).set_len(0).unwrap();
        self.put(plain, 0, bytes);
    }

    /// The one entry of a directory that is not kmsfs's own.
    fn inner(&self, plain: &str) -> OsString {
        let entries = self.node(plain).read_dir(0, 10).unwrap();
        let mut names = entries.into_iter().map(|entry| OsString::from_vec(entry.name));
        names.find(|name| name != ".k").unwrap()
    }

    fn relink(&self, dir: &NodeRef, name: &OsStr, target: &[u8]) {
        dir.unlink(name).unwrap();
        dir.make_symlink(name, target).unwrap();
    }
}

/// Where block `index` and its entry are.
fn block(index: usize) -> (usize, usize) {
    if index < 16 {
        (PAGE * (1 + index), 3584 + 32 * index)
    } else {
        (PAGE * (2 + index), PAGE * 17 + 32 * (index - 16))
    }
}

/// Copies block `from` with its entry from one file to block `to` of another.
fn copy_block((source, from): (&Backing, usize), (target, to): (&Backing, usize), files: [&str; 2]) {
    let ((data, entry), (data_to, entry_to)) = (block(from), block(to));
    let (data, entry) = (source.get(files[0], data, PAGE), source.get(files[0], entry, 32));
    target.put(files[1], data_to, &data);
    target.put(files[1], entry_to, &entry);
}

#[test]
fn content_is_refused_wherever_it_was_moved() {
    let world = World::new();
    let a = |tamper: &dyn Fn(&Backing, &Backing)| world.outcome("/a", tamper);
    let refused = Outcome::Refused;
    // A block and its entry to another place of the file, or from another file.
    assert_eq!(a(&|now, _| copy_block((now, 1), (now, 2), ["a", "a"])), refused);
    assert_eq!(a(&|now, _| copy_block((now, 1), (now, 20), ["a", "a"])), refused);
    assert_eq!(a(&|now, _| copy_block((now, 1), (now, 1), ["b", "a"])), refused);
    // One block, or a page of entries with its blocks, as they were in an earlier session.
    assert_eq!(a(&|now, old| copy_block((old, 3), (now, 3), ["a", "a"])), refused);
    assert_eq!(a(&|now, old| (16..30).for_each(|at| copy_block((old, at), (now, at), ["a", "a"]))), refused);
    assert_eq!(a(&|now, old| now.put("a", PAGE * 17, &old.get("a", PAGE * 17, PAGE))), refused);
    // A block, or its entry, zeroed.
    assert_eq!(a(&|now, _| now.put("a", block(5).0, &[0; PAGE])), refused);
    assert_eq!(a(&|now, _| now.put("a", block(5).1, &[0; 32])), refused);
    // Cut at a block, extended with zeros.
    assert_eq!(a(&|now, _| now.file("a").set_len(block(25).0 as u64).unwrap()), refused);
    assert_eq!(a(&|now, _| now.file("a").set_len(block(40).0 as u64).unwrap()), refused);
    assert_eq!(a(&|now, _| now.file("a").set_len(2000).unwrap()), refused);
}

#[test]
fn headers_hold_for_their_file_only() {
    let world = World::new();
    let a = |tamper: &dyn Fn(&Backing, &Backing)| world.outcome("/a", tamper);
    let refused = Outcome::Refused;
    // The seals of before over today's content, and the other way round.
    assert_eq!(a(&|now, old| now.put("a", 2560, &old.get("a", 2560, 1024))), refused);
    assert_eq!(
        a(&|now, old| now.replace("a", &[&now.get("a", 0, PAGE), &old.all("a")[PAGE..]].concat())),
        refused
    );
    // The header, the key slots or the seals of another file.
    assert_eq!(a(&|now, _| now.put("a", 0, &now.get("b", 0, PAGE))), refused);
    assert_eq!(a(&|now, _| now.put("a", 512, &now.get("b", 512, 2048))), refused);
    assert_eq!(a(&|now, _| now.put("a", 2560, &now.get("b", 2560, 1024))), refused);
    // Sectors of the header zeroed.
    for at in (0..PAGE).step_by(512).filter(|at| ![1536, 2048, 2560, 3072].contains(at)) {
        assert_eq!(a(&|now, _| now.put("a", at, &[0; 512])), refused, "sector at {at}");
    }
    assert_eq!(a(&|now, _| now.put("a", 2560, &[0; 1024])), refused);
}

/// What only a crash leaves does not pass for one in a file that outlived a clean session: it is not emptied.
#[test]
fn a_damaged_header_is_no_torn_creation_in_a_file_that_was_there_before_the_crash() {
    let world = World::new();
    // A session that crashes, and has nothing to do with the file.
    let crashed = Arc::new(world.store.kill_image());
    drop(open(&crashed, &world.service, OpenMode::Exclusive).unwrap());
    let world = World { store: crashed, ..world };
    let before = world.store.kill_image();
    for at in [0, 512, 1024] {
        let tamper = |now: &Backing, _: &Backing| now.put("a", at, &[0; 512]);
        assert_eq!(world.outcome("/a", tamper), Outcome::Refused, "sector at {at}");
    }
    assert_eq!(world.outcome("/a", |now, _| now.put("a", 2560, &[0; 1024])), Outcome::Refused);
    // It keeps every byte for whoever repairs it.
    let image = Arc::new(before);
    let size = Backing::new(&image, &world).all("a").len();
    Backing::new(&image, &world).put("a", 0, &[0; 512]);
    read_all(&image, &world.service, OpenMode::Exclusive).unwrap();
    assert_eq!(Backing::new(&world.store, &world).all("a").len(), size);
    let kept = image.root().lookup(Backing::new(&world.store, &world).name("a")).unwrap();
    assert_eq!(kept.stat().unwrap().size as usize, size);
}

#[test]
fn names_hold_for_their_directory_only() {
    let world = World::new();
    let into_d = |now: &Backing| {
        let (from, to) = (now.node("e"), now.node("d"));
        let name = now.inner("e");
        from.rename(&name, &*to, &name, RenameMode::Replace).unwrap();
    };
    // A file moved to another directory keeps a name that does not open there.
    assert_eq!(world.outcome("/e/in-e", |now, _| into_d(now)), Outcome::Gone);
    // The ids of two directories exchanged.
    let exchange = |now: &Backing, _: &Backing| {
        let id = OsStr::new(".k");
        let ids = ["d", "e"].map(|dir| now.node(dir).read_link_at(id).unwrap());
        now.relink(&now.node("d"), id, &ids[1]);
        now.relink(&now.node("e"), id, &ids[0]);
    };
    assert_eq!(world.outcome("/d/in-d", exchange), Outcome::Gone);
    assert_eq!(
        world.outcome("/d/in-d", |now, _| now.node("d").unlink(OsStr::new(".k")).unwrap()),
        Outcome::Gone
    );
    // Attributes of another file, or of another name.
    let xattrs = |now: &Backing, from: &str, to: &str, crossed: bool| {
        let (from, to) = (now.node(from), now.node(to));
        let names: Vec<OsString> = to.list_xattrs().unwrap().into_iter().map(OsString::from_vec).collect();
        let theirs: Vec<OsString> = from.list_xattrs().unwrap().into_iter().map(OsString::from_vec).collect();
        let value = from.get_xattr(&theirs[usize::from(crossed)]).unwrap();
        to.set_xattr(&names[0], &value, XattrMode::Any).unwrap();
    };
    let tags = ["/a#user.one", "/a#user.two"];
    let refused = |tamper: &dyn Fn(&Backing, &Backing)| {
        tags.map(|tag| world.outcome(tag, tamper)).contains(&Outcome::Refused)
    };
    assert!(refused(&|now, _| xattrs(now, "b", "a", false)));
    assert!(refused(&|now, _| xattrs(now, "a", "a", true)));
}

#[test]
fn nothing_of_the_backing_directory_is_followed() {
    let world = World::new();
    // A symbolic link in the place of a file or a directory, out of the volume or to another file of it.
    for target in
        [&b"/etc/passwd"[..], b"../../..", world.store.root().read_dir(0, 1).unwrap()[0].name.as_slice()]
    {
        let plant = |name: &'static str| {
            move |now: &Backing, _: &Backing| {
                let root = &now.root;
                root.rename(now.name(name), &**root, OsStr::new(".hidden"), RenameMode::Replace).unwrap();
                root.make_symlink(now.name(name), target).unwrap();
            }
        };
        assert_eq!(world.outcome("/a", plant("a")), Outcome::Refused);
        assert_eq!(world.outcome("/d/in-d", plant("d")), Outcome::Gone);
    }
    // A pipe or a device in the place of a file is shown as what it is, and not opened.
    let pipe = |now: &Backing, _: &Backing| {
        now.root.unlink(now.name("a")).unwrap();
        now.root.make_node(now.name("a"), NodeKind::Fifo, 0o644, 0).unwrap();
    };
    assert_eq!(world.outcome("/a", pipe), Outcome::Refused);
    // A link's target that was not sealed here.
    assert_eq!(
        world.outcome("/link", |now, _| now.relink(&now.root, now.name("link"), b"/etc/passwd")),
        Outcome::Refused
    );
}

/// The journal of a session that ended is never replayed.
#[test]
fn an_old_journal_changes_nothing() {
    let world = World::new();
    let dir = |backing: &Backing| {
        backing.root.lookup(OsStr::new(".kmsfs")).unwrap().lookup(OsStr::new("j")).unwrap()
    };
    let put_back = |now: &Backing, old: &Backing| {
        let spare = dir(old).lookup(OsStr::new("spare")).unwrap().open_file(FileAccess::Read).unwrap();
        let mut bytes = vec![0; spare.stat().unwrap().size as usize];
        spare.read_at(&mut bytes, 0).unwrap();
        for name in ["1", "2", "3"] {
            let (_, file) = dir(now).create_file(OsStr::new(name), 0o600).unwrap();
            file.write_at(&bytes, 0).unwrap();
        }
    };
    for path in ["/a", "/b", "/d/in-d"] {
        assert_eq!(world.outcome(path, put_back), Outcome::Unchanged);
    }
}

/// What the page says is not noticed, so that it stays true in both directions.
#[test]
fn what_is_not_noticed() {
    let world = World::new();
    // A whole file, header and all, as it was in an earlier session.
    assert_eq!(world.outcome("/a", |now, old| now.replace("a", &old.all("a"))), Outcome::Accepted);
    // Two files of a directory that change places; a copy of one in the place of the other.
    let exchange = |now: &Backing, _: &Backing| {
        now.root.rename(now.name("a"), &*now.root, now.name("b"), RenameMode::Exchange).unwrap();
    };
    assert_eq!(world.outcome("/a", exchange), Outcome::Accepted);
    assert_eq!(world.outcome("/a", |now, _| now.replace("a", &now.all("b"))), Outcome::Accepted);
    // A file cut to nothing is what a new file is.
    assert_eq!(world.outcome("/a", |now, _| now.file("a").set_len(0).unwrap()), Outcome::Accepted);
    assert_eq!(world.outcome("/a", |now, _| now.root.unlink(now.name("a")).unwrap()), Outcome::Gone);
    // The target of another link of the domain.
    let target = |now: &Backing, _: &Backing| {
        let other = now.root.read_link_at(now.name("other")).unwrap();
        now.relink(&now.root, now.name("link"), &other);
    };
    assert_eq!(world.outcome("/link", target), Outcome::Accepted);
    // An attribute removed, or as it was.
    let remove = |now: &Backing, _: &Backing| {
        for name in now.node("a").list_xattrs().unwrap() {
            now.node("a").remove_xattr(&OsString::from_vec(name)).unwrap();
        }
    };
    assert_eq!(world.outcome("/a#user.one", remove), Outcome::Gone);
    let older = |now: &Backing, old: &Backing| {
        for name in old.node("a").list_xattrs().unwrap().into_iter().map(OsString::from_vec) {
            now.node("a").set_xattr(&name, &old.node("a").get_xattr(&name).unwrap(), XattrMode::Any).unwrap();
        }
    };
    assert_eq!(world.outcome("/a#user.one", older), Outcome::Accepted);
}

/// Bytes moved, copied from before, zeroed, flipped, cut off: a few at once, at random places of two files.
#[test]
fn random_tampering_gives_no_wrong_data() {
    let count =
        std::env::var("KMSFS_TAMPERS").map_or(4000, |text| text.parse().expect("a number of instances"));
    let world = World::new();
    let mut state = 1_u64;
    let mut dice = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound.max(1)
    };
    let old = Backing::new(&world.old, &world);
    let mut refused = 0;
    for instance in 0..count {
        let image = Arc::new(world.store.kill_image());
        let now = Backing { root: image.root(), names: old.names.clone() };
        for _ in 0..1 + dice(3) {
            let (file, other) = (["a", "b"][dice(2)], ["a", "b"][dice(2)]);
            let size = now.all(file).len();
            // Small enough that no whole file moves.
            let unit = [1, 16, 32, 512, 1024, PAGE, 4 * PAGE][dice(7)];
            let at = dice(size / unit) * unit;
            let from = dice(size.min(now.all(other).len()) / unit) * unit;
            let len = unit.min(size - at);
            match dice(6) {
                0 => now.put(file, at, &vec![0; len]),
                1 => now.put(file, at, &now.get(other, from, len)),
                2 => now.put(file, at, &old.get(file, at, len)),
                3 => now.put(file, at, &old.get(other, from, len)),
                4 => now.put(file, at, &[now.get(file, at, 1)[0] ^ 1 << dice(8)]),
                _ if at > 0 => now.file(file).set_len(at as u64).unwrap(),
                _ => {}
            }
        }
        let mode = if instance % 4 == 0 { OpenMode::Exclusive } else { OpenMode::ReadOnly };
        let found = read_all(&image, &world.service, mode).unwrap();
        for (path, content) in &found {
            match content {
                Ok(content) => {
                    assert_eq!(Ok(content), world.truth[path].as_ref(), "instance {instance}: {path:?}")
                }
                Err(_) => refused += 1,
            }
        }
    }
    println!("{count} instances, {refused} refusals, nothing wrong");
    assert!(refused > count / 2);
}
