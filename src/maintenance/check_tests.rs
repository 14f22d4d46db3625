use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::*;
use crate::crypto::random;
use crate::file::EncryptedFile;
use crate::format::geometry::{data_offset, entry_offset};
use crate::format::{BlockIndex, DIR_ID_NAME, DomainId, NameMode, PAGE_U64};
use crate::keys::FileKeyProvider;
use crate::names::{DirNames, TARGETS_DIR, Targets};
use crate::store::{BackingStore, FileAccess, FileRef, NodeRef, XattrMode};
use crate::volume::world::World;
use crate::volume::{InitOptions, OpenMode, OpenVolume};

pub(super) fn quiet(_: &Progress) {}

/// A directory of the tree under test.
pub(super) struct Place {
    pub(super) node: NodeRef,
    names: DirNames,
}

impl Place {
    pub(super) fn entry(&self, name: &str) -> OsString {
        let entry = self.names.encrypt(OsStr::new(name)).unwrap();
        if let Some(long) = entry.long {
            let _ = self.node.make_symlink(&long.link, long.target.as_bytes());
        }
        entry.name
    }

    pub(super) fn open(&self, name: &str) -> FileRef {
        let entry = self.names.encrypt(OsStr::new(name)).unwrap().name;
        self.node.lookup(&entry).unwrap().open_file(FileAccess::ReadWrite).unwrap()
    }
}

pub(super) fn root_of(volume: &OpenVolume) -> Place {
    let node = volume.root();
    let root = volume.keys().root_domain();
    let names = DirNames::load(&*node, &**volume.keys(), NameMode::Encrypted, root, true).unwrap();
    Place { node, names }
}

pub(super) fn write(volume: &OpenVolume, place: &Place, name: &str, data: &[u8]) {
    let (node, file) = place.node.create_file(&place.entry(name), 0o644).unwrap();
    let ino = file.stat().unwrap().ino;
    let file = EncryptedFile::create(volume.context(), (node, file), ino, place.names.domain()).unwrap();
    file.write(0, data).unwrap();
    file.fsync(false).unwrap();
}

/// A volume with one of everything: `a` of 40 blocks, `dir/b`, a long name, two symbolic links.
fn world() -> World {
    filled(World::empty())
}

/// As [`world`], in any store.
pub(super) fn filled<S: BackingStore + 'static>(world: World<S>) -> World<S> {
    world.init(&InitOptions::default()).unwrap();
    let volume = world.open(OpenMode::Exclusive).unwrap();
    let root = root_of(&volume);
    write(&volume, &root, "a", &[1; 40 * 4096]);
    write(&volume, &root, &"long".repeat(60), b"long");
    let node = root.node.make_dir(&root.entry("dir"), 0o755).unwrap();
    let names = root.names.make_child(&*node).unwrap();
    write(&volume, &Place { node, names }, "b", b"bee");
    let targets = Targets::new(volume.volume_dir().lookup(OsStr::new(TARGETS_DIR)).unwrap());
    for (name, len) in [("short", 20), ("kept", 4000)] {
        let target = targets.seal(root.names.keys(), &vec![b'x'; len]).unwrap();
        root.node.make_symlink(&root.entry(name), target.as_bytes()).unwrap();
    }
    volume.close().unwrap();
    world
}

pub(super) fn run<S: BackingStore + 'static>(world: &World<S>) -> CheckReport {
    let volume = world.open(OpenMode::Maintenance).unwrap();
    check(&volume, CheckOptions::default(), &quiet).unwrap()
}

/// What a check finds after `damage`.
fn found(damage: impl FnOnce(&OpenVolume, &Place)) -> Vec<Finding> {
    let world = world();
    let volume = world.open(OpenMode::Maintenance).unwrap();
    damage(&volume, &root_of(&volume));
    drop(volume);
    run(&world).findings
}

fn only(findings: &[Finding]) -> (FindingKind, Option<&Path>, Option<std::ops::Range<u64>>) {
    let [finding] = findings else { panic!("{findings:?}") };
    (finding.kind, finding.plain_path.as_deref(), finding.bytes.clone())
}

#[test]
fn a_sound_volume_has_no_findings() {
    let report = run(&world());
    assert_eq!(report.findings, []);
    assert!(report.is_sound());
    assert_eq!((report.directories, report.files, report.symlinks), (2, 3, 2));
    assert_eq!(report.bytes, 40 * 4096 + 4 + 3);
}

#[test]
fn a_live_volume_is_not_checked() {
    let world = world();
    let _mounted = world.open(OpenMode::Exclusive).unwrap();
    let beside = world.open(OpenMode::Maintenance).unwrap();
    let refused = check(&beside, CheckOptions::default(), &quiet);
    assert!(matches!(refused, Err(MaintenanceError::InUse(_))));
}

#[test]
fn damaged_blocks_are_named_one_by_one() {
    let findings = found(|_, root| {
        for block in [3, 20] {
            root.open("a").write_at(&[0; 8], data_offset(BlockIndex(block)) + 100).unwrap();
        }
    });
    let ranges: Vec<_> = findings.iter().map(|finding| (finding.kind, finding.bytes.clone())).collect();
    let range = |block: u64| Some(block * PAGE_U64..(block + 1) * PAGE_U64);
    assert_eq!(ranges, [(FindingKind::Block, range(3)), (FindingKind::Block, range(20))]);
    assert_eq!(findings[0].plain_path.as_deref(), Some(Path::new("a")));
}

#[test]
fn files_that_are_not_what_was_sealed() {
    let a = Some(Path::new("a"));
    let findings = found(|_, root| root.open("a").write_at(&[0; 32], entry_offset(BlockIndex(20))).unwrap());
    assert_eq!(only(&findings), (FindingKind::Entries, a, None));
    let findings = found(|_, root| root.open("a").set_len(data_offset(BlockIndex(30))).unwrap());
    assert_eq!(only(&findings), (FindingKind::Size, a, None));
    let findings = found(|_, root| root.open("a").write_at(&[9; 8], 0).unwrap());
    assert_eq!(only(&findings), (FindingKind::Header, a, None));
    let findings = found(|_, root| root.open("a").write_at(&[9; 8], 600).unwrap());
    assert_eq!(only(&findings), (FindingKind::DataKey, a, None));
    let findings = found(|_, root| {
        let file = root.open("a");
        file.write_at(&[9; 8], 2600).unwrap();
        file.write_at(&[9; 8], 3100).unwrap();
    });
    assert_eq!(only(&findings), (FindingKind::Seal, a, None));
}

#[test]
fn a_file_from_elsewhere() {
    let findings = found(|volume, root| {
        let other = volume.keys().add_domain("alias/aws/kmsfs").unwrap();
        let identity = volume.keys().new_file(other).unwrap().identity;
        root.open("a").write_at(&identity.encode(), 0).unwrap();
    });
    assert_eq!(only(&findings), (FindingKind::Foreign, Some(Path::new("a")), None));
}

#[test]
fn names_and_directory_ids() {
    let findings = found(|_, root| {
        let name = root.entry("a");
        root.node.rename(&name, &*root.node, OsStr::new("QUJD"), crate::store::RenameMode::Replace).unwrap();
    });
    assert_eq!(only(&findings), (FindingKind::Name, None, None));
    assert_eq!(findings[0].backing_path, Path::new("QUJD"));
    let findings = found(|_, root| {
        let dir = root.node.lookup(&root.entry("dir")).unwrap();
        dir.unlink(OsStr::new(DIR_ID_NAME)).unwrap();
    });
    assert_eq!(only(&findings), (FindingKind::DirectoryId, Some(Path::new("dir")), None));
    let findings = found(|_, root| {
        let entry = root.names.encrypt(OsStr::new(&"long".repeat(60))).unwrap();
        root.node.unlink(&entry.long.unwrap().link).unwrap();
    });
    assert_eq!(only(&findings).0, FindingKind::Name);
    let findings = found(|_, root| {
        let entry = root.names.encrypt(OsStr::new(&"long".repeat(60))).unwrap();
        root.node.unlink(&entry.name).unwrap();
    });
    assert_eq!(only(&findings).0, FindingKind::OrphanLongName);
    assert!(findings[0].kind.is_harmless());
}

#[test]
fn symbolic_links_and_attributes() {
    let findings = found(|_, root| {
        let name = root.entry("short");
        root.node.unlink(&name).unwrap();
        root.node.make_symlink(&name, b"1AAAA").unwrap();
    });
    assert_eq!(only(&findings), (FindingKind::SymlinkTarget, Some(Path::new("short")), None));
    let findings = found(|_, root| root.node.unlink(&root.entry("kept")).unwrap());
    assert_eq!(only(&findings).0, FindingKind::OrphanTarget);
    let findings = found(|_, root| {
        let node = root.node.lookup(&root.entry("a")).unwrap();
        node.set_xattr(OsStr::new("user.kmsfs.AAAA"), b"junk", XattrMode::Any).unwrap();
    });
    assert_eq!(only(&findings), (FindingKind::Xattr, Some(Path::new("a")), None));
}

#[test]
fn domain_records_and_keys() {
    let record = |volume: &OpenVolume, domain: DomainId| {
        let dir = volume.volume_dir().lookup(OsStr::new(crate::keys::KEYS_DIR)).unwrap();
        dir.lookup(OsStr::new(&domain.to_string())).unwrap().open_file(FileAccess::ReadWrite).unwrap()
    };
    let findings = found(|volume, _| {
        let domain = volume.keys().add_domain("alias/aws/kmsfs").unwrap();
        record(volume, domain).write_at(&random::bytes::<8>(), 200).unwrap();
    });
    assert_eq!(only(&findings), (FindingKind::DomainRecord, None, None));
    let world = world();
    let key = world.service.new_key();
    let volume = world.open(OpenMode::Exclusive).unwrap();
    volume.keys().add_domain(&key).unwrap();
    volume.close().unwrap();
    world.service.disable(&key);
    assert_eq!(only(&run(&world).findings), (FindingKind::Key, None, None));
    assert!(!world.store.root().read_dir(0, 10).unwrap().is_empty());
}
