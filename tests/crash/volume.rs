//! Whole volumes: names, directories, attributes, rewraps and contents together, through the file system layer and the
//! real opening of a volume, with a real key management service in memory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;

use kms_core::client::KeyService;
use kms_core::model::{AccountId, Caller};
use kms_core::service::EmbeddedKms;
use kmsfs::fs::{
    self, AllocateMode, AttrChange, FsError, MountedVolume, NewMode, NodeId, VolumeParts, WriteMode,
};
use kmsfs::maintenance::{RewrapOptions, rewrap};
use kmsfs::store::simulated::{AllNew, AllOld, SeededChoice, SimulatedOptions, SimulatedStore, Tearing};
use kmsfs::store::{BackingStore, NodeKind, RenameMode, XattrMode};
use kmsfs::volume::{self, InitOptions, OpenMode, OpenOptions, OpenVolume};

use super::dice::Dice;
use super::oracle::BLOCK;
use super::tree::{Found, FoundTree, Thing, Truth};

const USER: fs::Caller = fs::Caller { uid: 0, gid: 0, pid: 0 };
const FILE_MODE: NewMode = NewMode { mode: 0o644, umask: 0 };
const DIR_MODE: NewMode = NewMode { mode: 0o755, umask: 0 };
const TAG: &str = "user.tag";
const MAX_SIZE: u64 = 19 * BLOCK as u64;
/// Images of each moment.
const IMAGES: u64 = 3;

/// A step of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Create,
    WriteFull,
    WritePart,
    Append,
    WriteHole,
    Cut,
    Grow,
    Punch,
    Fsync,
    Fdatasync,
    Rename,
    RenameOver,
    RenameLong,
    Link,
    Unlink,
    MakeDir,
    RemoveDir,
    MoveDir,
    Symlink,
    SetTag,
    Rewrap,
    Close,
    SyncDir,
    Checkpoint,
}

pub(crate) const EVERY_OP: [Op; 24] = [
    Op::Create,
    Op::WriteFull,
    Op::WritePart,
    Op::Append,
    Op::WriteHole,
    Op::Cut,
    Op::Grow,
    Op::Punch,
    Op::Fsync,
    Op::Fdatasync,
    Op::Rename,
    Op::RenameOver,
    Op::RenameLong,
    Op::Link,
    Op::Unlink,
    Op::MakeDir,
    Op::RemoveDir,
    Op::MoveDir,
    Op::Symlink,
    Op::SetTag,
    Op::Rewrap,
    Op::Close,
    Op::SyncDir,
    Op::Checkpoint,
];

#[derive(Default, Debug)]
pub(crate) struct Counts {
    pub(crate) histories: u64,
    pub(crate) states: u64,
    pub(crate) files: u64,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A volume as it is before a history: the store, and what is in it.
pub(crate) struct Start {
    pub(crate) service: Arc<dyn KeyService>,
    store: SimulatedStore,
    truth: Truth,
}

fn open(
    store: &Arc<SimulatedStore>,
    service: &Arc<dyn KeyService>,
    mode: OpenMode,
) -> Result<OpenVolume, String> {
    let caller = Caller::service(AccountId::local(), "root", "kmsfs");
    let options = OpenOptions { journal_len: 0, ..OpenOptions::new(mode) };
    let store: Arc<dyn BackingStore> = store.clone();
    OpenVolume::open_with(store, Arc::clone(service), caller, &options).map_err(text)
}

impl Start {
    /// A volume with three files, an empty directory and one with a file, closed cleanly.
    pub(crate) fn new(tearing: Tearing) -> Self {
        let service: Arc<dyn KeyService> = Arc::new(EmbeddedKms::in_memory().unwrap());
        let store =
            Arc::new(SimulatedStore::new(SimulatedOptions { tearing, ..SimulatedOptions::default() }));
        let caller = Caller::service(AccountId::local(), "root", "kmsfs");
        volume::init(&*store, &service, &caller, &InitOptions::default()).unwrap();
        let mut life = Life::begin(store, &service, Truth::new()).unwrap();
        for dir in ["d", "e"] {
            life.make_dir(dir).unwrap();
        }
        for (path, len) in [("a", 10_000), ("d/b", 5000), ("c", 100)] {
            life.create(path).unwrap();
            life.write(0, len, 7).unwrap();
        }
        life.current = 0;
        let (store, mut truth) = life.end();
        let found = read_all(&store, &service).unwrap().0;
        truth.is_present(&found).unwrap();
        let last = truth.allows(&found).unwrap();
        truth.settle(last, &found);
        Self { service, store: store.kill_image(), truth }
    }

    pub(crate) fn life(&self) -> Result<Life, String> {
        Life::begin(Arc::new(self.store.kill_image()), &self.service, self.truth.clone())
    }

    /// Runs `ops` and cuts the power at every backing call of the last one, and behind it.
    pub(crate) fn every_moment(&self, ops: &[Op], counts: &mut Counts) -> Result<(), String> {
        let seed = ops.iter().fold(17, |seed, op| seed * 31 + *op as u64);
        let report = |moment: u64, problem: String| format!("{ops:?}, power cut at call {moment}: {problem}");
        let (last, before) = ops.split_last().unwrap();
        // Which calls the last step makes.
        let mut life = self.life()?;
        for op in before {
            life.apply(*op, &mut Dice::new(seed)).map_err(|problem| report(0, problem))?;
        }
        let first = life.store.calls();
        life.apply(*last, &mut Dice::new(seed)).map_err(|problem| report(0, problem))?;
        let end = life.store.calls();
        counts.histories += 1;
        let mut dice = Dice::new(seed);
        counts.states += 1;
        let killed = life.store.kill_image();
        verify(killed, &self.service, &life.truth, counts, true)
            .map_err(|problem| report(u64::MAX, problem))?;
        images(&life, &self.service, &mut dice, counts).map_err(|problem| report(end, problem))?;
        for moment in first..end {
            let mut life = self.life()?;
            for op in before {
                life.apply(*op, &mut Dice::new(seed)).map_err(|problem| report(moment, problem))?;
            }
            life.store.cut_power_at(moment);
            // It may fail, because the power is gone.
            let _ = life.apply(*last, &mut Dice::new(seed));
            images(&life, &self.service, &mut dice, counts).map_err(|problem| report(moment, problem))?;
        }
        Ok(())
    }

    /// A random history of up to three lives that each end in a power cut.
    pub(crate) fn random(&self, seed: u64, counts: &mut Counts) -> Result<(), String> {
        let mut dice = Dice::new(seed);
        let mut truth = self.truth.clone();
        let mut store = Arc::new(self.store.kill_image());
        let mut trace = Vec::new();
        counts.histories += 1;
        for _ in 0..1 + dice.below(3) {
            let mut life = Life::begin(store, &self.service, truth)?;
            for _ in 0..1 + dice.below(12) {
                let op = EVERY_OP[dice.below(EVERY_OP.len() as u64) as usize];
                let files: Vec<usize> = life.truth.now().files().into_iter().collect();
                if dice.below(2) == 0 && !files.is_empty() {
                    life.current = files[dice.below(files.len() as u64) as usize];
                }
                trace.push((op, life.current));
                life.apply(op, &mut dice).map_err(|problem| format!("seed {seed} {trace:?}: {problem}"))?;
                if dice.below(3) == 0 {
                    images(&life, &self.service, &mut dice, counts)
                        .map_err(|problem| format!("seed {seed} {trace:?}: {problem}"))?;
                }
            }
            // The next life goes on from what this power cut leaves.
            let image = Arc::new(life.store.crash_image(&mut SeededChoice::new(dice.below(u64::MAX))));
            truth = life.truth.clone();
            drop(life);
            let (found, survivor) = read_all(&image, &self.service)
                .map_err(|problem| format!("seed {seed} {trace:?}: {problem}"))?;
            let moment =
                truth.allows(&found).map_err(|problem| format!("seed {seed} {trace:?}: {problem}"))?;
            truth.settle(moment, &found);
            store = Arc::new(survivor);
        }
        Ok(())
    }
}

/// Takes images of this moment, recovers each, and compares.
fn images(
    life: &Life,
    service: &Arc<dyn KeyService>,
    dice: &mut Dice,
    counts: &mut Counts,
) -> Result<(), String> {
    let mut choice = SeededChoice::new(dice.below(u64::MAX));
    for number in 0..IMAGES {
        let image = match dice.below(8) {
            0 => life.store.crash_image(&mut AllOld),
            1 => life.store.crash_image(&mut AllNew),
            _ => life.store.crash_image(&mut choice),
        };
        counts.states += 1;
        if number > 0 && dice.below(3) > 0 {
            verify(image, service, &life.truth, counts, false)?;
            continue;
        }
        // The recovery crashes too, and the next one has to do.
        image.cut_power_at(image.calls() + dice.below(30));
        let image = Arc::new(image);
        let _ = open(&image, service, OpenMode::Exclusive);
        let again = image.crash_image(&mut SeededChoice::new(dice.below(u64::MAX)));
        verify(again, service, &life.truth, counts, false)?;
    }
    Ok(())
}

fn verify(
    image: SimulatedStore,
    service: &Arc<dyn KeyService>,
    truth: &Truth,
    counts: &mut Counts,
    exact: bool,
) -> Result<(), String> {
    let (found, _) = read_all(&Arc::new(image), service)?;
    counts.files += found.len() as u64;
    if exact { truth.is_present(&found) } else { truth.allows(&found).map(|_| ()) }
}

/// Opens the volume for writing, which recovers it, reads everything, and closes it; the store as it is then is
/// returned as well.
pub(crate) fn read_all(
    store: &Arc<SimulatedStore>,
    service: &Arc<dyn KeyService>,
) -> Result<(FoundTree, SimulatedStore), String> {
    let volume = open(store, service, OpenMode::Exclusive)?;
    let mounted = MountedVolume::new(VolumeParts::of(&volume, false)).map_err(text)?;
    let mut found = FoundTree::new();
    read_dir(&mounted, NodeId::ROOT, "", &mut found)?;
    mounted.finish().map_err(text)?;
    drop(mounted);
    volume.close().map_err(text)?;
    Ok((found, store.kill_image()))
}

pub(crate) fn read_dir(
    volume: &MountedVolume,
    dir: NodeId,
    below: &str,
    found: &mut FoundTree,
) -> Result<(), String> {
    let failed = |error: FsError| format!("{below}: {error}");
    let mut names = Vec::new();
    let handle = volume.open_dir(dir).map_err(failed)?;
    volume
        .list(handle, 0, &mut |name| {
            names.push(name.name.clone());
            true
        })
        .map_err(failed)?;
    volume.release_dir(handle);
    for name in names.into_iter().filter(|name| name != "." && name != "..") {
        let path = format!("{below}{}", name.to_string_lossy());
        let failed = |error: FsError| format!("{path}: {error}");
        let entry =
            volume.lookup(dir, &name).map_err(failed)?.ok_or(format!("{path} is listed and not found"))?;
        let id = entry.attr.id;
        let thing = match entry.attr.kind {
            NodeKind::Directory => {
                read_dir(volume, id, &format!("{path}/"), found)?;
                Found::Dir
            }
            NodeKind::Symlink => Found::Link(volume.read_link(id).map_err(failed)?),
            _ => read_file(volume, id, entry.attr.size).map_err(failed)?,
        };
        found.insert(path, thing);
    }
    Ok(())
}

fn read_file(volume: &MountedVolume, id: NodeId, size: u64) -> Result<Found, FsError> {
    // The size that the backing file shows may be corrected by the opening.
    let mut content = vec![0xee; size as usize + BLOCK];
    let len = volume.read(id, 0, &mut content)?;
    content.truncate(len);
    let names = volume.list_xattrs(USER, id)?;
    let tag = if names.iter().any(|name| name == TAG) {
        Some(volume.get_xattr(id, OsStr::new(TAG))?)
    } else {
        None
    };
    Ok(Found::File { content, tag })
}

/// One mount of the volume.
pub(crate) struct Life {
    pub(crate) store: Arc<SimulatedStore>,
    service: Arc<dyn KeyService>,
    pub(crate) truth: Truth,
    /// Files that the kernel knows, by their number.
    open: BTreeMap<usize, NodeId>,
    /// The file that the next step is about.
    pub(crate) current: usize,
    pub(crate) mounted: MountedVolume,
    volume: OpenVolume,
}

impl Life {
    pub(crate) fn begin(
        store: Arc<SimulatedStore>,
        service: &Arc<dyn KeyService>,
        truth: Truth,
    ) -> Result<Self, String> {
        let volume = open(&store, service, OpenMode::Exclusive)?;
        let mounted = MountedVolume::new(VolumeParts::of(&volume, false)).map_err(text)?;
        let service = Arc::clone(service);
        Ok(Self { store, service, truth, open: BTreeMap::new(), current: 0, mounted, volume })
    }

    /// Unmounts.
    fn end(self) -> (Arc<SimulatedStore>, Truth) {
        let (store, truth) = (Arc::clone(&self.store), self.truth.clone());
        self.try_end().unwrap();
        (store, truth)
    }

    /// Unmounts; the first thing that goes wrong is the answer.
    pub(crate) fn try_end(self) -> Result<(), String> {
        let outcome = self.mounted.finish().map_err(text);
        drop(self.mounted);
        outcome.and(self.volume.close().map_err(text))
    }

    fn node(&self, path: &str) -> Result<NodeId, String> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(NodeId::ROOT, |dir, name| {
            let entry = self.mounted.lookup(dir, OsStr::new(name)).map_err(text)?;
            entry.map(|entry| entry.attr.id).ok_or(format!("{path} is not there"))
        })
    }

    /// The directory of `path`, and the name in it.
    fn place<'a>(&self, path: &'a str) -> Result<(NodeId, &'a OsStr), String> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.node(dir)?, OsStr::new(name)))
    }

    /// The path of the current file; if that has none any more, another file is current.
    fn path(&mut self) -> Option<String> {
        let tree = self.truth.now();
        if tree.path_of(self.current).is_none() {
            self.current = tree.files().first().copied()?;
        }
        tree.path_of(self.current).cloned()
    }

    fn file(&mut self) -> Result<Option<NodeId>, String> {
        let Some(path) = self.path() else { return Ok(None) };
        if let Some(id) = self.open.get(&self.current) {
            return Ok(Some(*id));
        }
        let id = self.node(&path)?;
        self.open.insert(self.current, id);
        Ok(Some(id))
    }

    fn content(&self) -> &Vec<u8> {
        self.truth.files[self.current].content.now()
    }

    /// A path of `kind` that is free, of a few.
    fn free(&self, kind: &str) -> Option<String> {
        ["", "d/"].iter().map(|dir| format!("{dir}{kind}")).find(|path| {
            let dir_is_there = path.starts_with("d/").then(|| self.truth.now().paths.contains_key("d"));
            dir_is_there.unwrap_or(true) && !self.truth.now().paths.contains_key(path)
        })
    }

    pub(crate) fn apply(&mut self, op: Op, dice: &mut Dice) -> Result<(), String> {
        let fill = 1 + dice.below(255) as u8;
        let size = if self.path().is_some() { self.content().len() as u64 } else { 0 };
        let block = BLOCK as u64;
        match op {
            Op::Create => match self.free("new") {
                Some(path) => {
                    self.create(&path)?;
                    if dice.below(2) == 0 { self.write(0, 3000, fill) } else { Ok(()) }
                }
                None => Ok(()),
            },
            Op::WriteFull => self.write(dice.below(size / block + 1) * block, block, fill),
            Op::WritePart => self.write(dice.below(size + 1), 1 + dice.below(300), fill),
            Op::Append => self.write(size, 1 + dice.below(2 * block), fill),
            Op::WriteHole => self.write(17 * block + dice.below(block), 50, fill),
            Op::Cut => self.truncate(dice.below(size + 1)),
            Op::Grow => self.truncate(size + dice.below(MAX_SIZE)),
            Op::Punch => self.punch(dice.below(size + 1), 1 + dice.below(2 * block)),
            Op::Fsync | Op::Fdatasync => self.sync(op == Op::Fdatasync),
            Op::Rename => self.rename_to(self.free("moved")),
            Op::RenameLong => self.rename_to(self.free(&"long".repeat(55))),
            Op::RenameOver => self.rename_to(Some("c".to_owned())),
            Op::Link => self.link(),
            Op::Unlink => self.unlink(),
            Op::MakeDir => self.free("dir").map_or(Ok(()), |path| self.make_dir(&path)),
            Op::RemoveDir => self.remove_dir(),
            Op::MoveDir => self.move_dir(),
            Op::Symlink => self.symlink(dice.below(2) == 0),
            Op::SetTag => self.tag(fill),
            Op::Rewrap => {
                let beside = open(&self.store, &self.service, OpenMode::Maintenance)?;
                rewrap(&beside, &RewrapOptions::default(), &|_| ()).map(|_| ()).map_err(text)
            }
            Op::Close => {
                self.path();
                // All that the file system hears of it is that the kernel forgets the file.
                if let Some(id) = self.open.remove(&self.current) {
                    self.mounted.forget(id, u64::MAX);
                }
                Ok(())
            }
            Op::SyncDir => {
                self.mounted.sync_dir(NodeId::ROOT).map_err(text)?;
                self.truth.names_synced();
                Ok(())
            }
            Op::Checkpoint => self.mounted.checkpoint().map_err(text),
        }
    }

    fn create(&mut self, path: &str) -> Result<(), String> {
        let (dir, name) = self.place(path)?;
        self.current = self.truth.create(path);
        let entry = self.mounted.create(USER, dir, name, FILE_MODE).map_err(text)?;
        self.open.insert(self.current, entry.attr.id);
        Ok(())
    }

    fn write(&mut self, offset: u64, len: u64, fill: u8) -> Result<(), String> {
        let Some(id) = self.file()? else { return Ok(()) };
        let offset = offset.min(MAX_SIZE);
        let data = vec![fill; len as usize];
        self.truth.files[self.current].content.write(offset as usize, &data);
        self.mounted.write(id, offset, &data, WriteMode::default()).map_err(text)
    }

    fn truncate(&mut self, size: u64) -> Result<(), String> {
        let Some(id) = self.file()? else { return Ok(()) };
        let size = size.min(MAX_SIZE);
        self.truth.files[self.current].content.truncate(size as usize);
        let change = AttrChange { size: Some(size), ..AttrChange::default() };
        self.mounted.set_attr(USER, id, &change).map(|_| ()).map_err(text)
    }

    fn punch(&mut self, offset: u64, len: u64) -> Result<(), String> {
        let Some(id) = self.file()? else { return Ok(()) };
        self.truth.files[self.current].content.punch(offset as usize, len as usize);
        self.mounted.allocate(USER, id, offset, len, AllocateMode::PunchHole).map_err(text)
    }

    fn sync(&mut self, data_only: bool) -> Result<(), String> {
        let Some(id) = self.file()? else { return Ok(()) };
        self.mounted.sync(id, data_only).map_err(text)?;
        self.truth.synced(self.current, data_only);
        Ok(())
    }

    fn rename_to(&mut self, to: Option<String>) -> Result<(), String> {
        let (Some(from), Some(to)) = (self.path(), to) else { return Ok(()) };
        // Two names of one file stay as they are, says rename(2).
        if self.truth.now().paths.get(&to) == self.truth.now().paths.get(&from) {
            return Ok(());
        }
        self.truth.change(|tree| tree.rename(&from, &to));
        let (from, to) = (self.place(&from)?, self.place(&to)?);
        self.mounted.rename(USER, from, to, RenameMode::Replace).map_err(text)
    }

    fn link(&mut self) -> Result<(), String> {
        let (Some(id), Some(to)) = (self.file()?, self.free("link")) else { return Ok(()) };
        let thing = Thing::File(self.current);
        self.truth.change(|tree| drop(tree.paths.insert(to.clone(), thing)));
        let (dir, name) = self.place(&to)?;
        self.mounted.link(id, dir, name).map(|_| ()).map_err(text)
    }

    fn unlink(&mut self) -> Result<(), String> {
        let Some(path) = self.path() else { return Ok(()) };
        self.truth.change(|tree| drop(tree.paths.remove(&path)));
        let (dir, name) = self.place(&path)?;
        self.mounted.unlink(dir, name).map_err(text)
    }

    fn make_dir(&mut self, path: &str) -> Result<(), String> {
        self.truth.change(|tree| drop(tree.paths.insert(path.to_owned(), Thing::Dir)));
        let (dir, name) = self.place(path)?;
        self.mounted.make_dir(USER, dir, name, DIR_MODE).map(|_| ()).map_err(text)
    }

    fn remove_dir(&mut self) -> Result<(), String> {
        if self.truth.now().paths.get("e") != Some(&Thing::Dir) {
            return Ok(());
        }
        if self.truth.now().paths.keys().any(|path| path.starts_with("e/")) {
            return Ok(());
        }
        self.truth.change(|tree| drop(tree.paths.remove("e")));
        self.mounted.remove_dir(NodeId::ROOT, OsStr::new("e")).map_err(text)
    }

    /// Moves the directory with a file over the empty one.
    fn move_dir(&mut self) -> Result<(), String> {
        let paths = &self.truth.now().paths;
        if !paths.contains_key("d")
            || !paths.contains_key("e")
            || paths.keys().any(|path| path.starts_with("e/"))
        {
            return Ok(());
        }
        // The two change places first.
        self.truth.change(|tree| {
            tree.paths.remove("e");
            tree.rename("d", "e");
            tree.paths.insert("d".to_owned(), Thing::Dir);
        });
        self.truth.change(|tree| drop(tree.paths.remove("d")));
        let (from, to) = ((NodeId::ROOT, OsStr::new("d")), (NodeId::ROOT, OsStr::new("e")));
        self.mounted.rename(USER, from, to, RenameMode::Replace).map_err(text)
    }

    fn symlink(&mut self, long: bool) -> Result<(), String> {
        let Some(path) = self.free("symlink") else { return Ok(()) };
        let target = if long { b"t/".repeat(2000) } else { b"target".to_vec() };
        self.truth.change(|tree| drop(tree.paths.insert(path.clone(), Thing::Link(target.clone()))));
        let (dir, name) = self.place(&path)?;
        self.mounted.symlink(USER, dir, name, &target).map(|_| ()).map_err(text)
    }

    fn tag(&mut self, fill: u8) -> Result<(), String> {
        let Some(id) = self.file()? else { return Ok(()) };
        self.truth.tag(self.current, &[fill; 20]);
        self.mounted.set_xattr(USER, id, OsStr::new(TAG), &[fill; 20], XattrMode::Any).map_err(text)
    }
}
