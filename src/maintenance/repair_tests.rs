use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use super::check_tests::{filled, quiet, root_of, run};
use super::*;
use crate::format::geometry::data_offset;
use crate::format::{BlockIndex, DIR_ID_NAME};
use crate::keys::fake::TestService;
use crate::store::simulated::{SimulatedOptions, SimulatedStore};
use crate::store::{BackingStore, FileAccess, NodeRef, RenameMode};
use crate::volume::world::{World, read_in};
use crate::volume::{OpenMode, OpenVolume};

/// A volume with everything that can be repaired or put aside, and a damaged block.
fn damaged() -> World<SimulatedStore> {
    let store = Arc::new(SimulatedStore::new(SimulatedOptions::default()));
    let world = filled(World { store, service: TestService::new() });
    let volume = world.open(OpenMode::Maintenance).unwrap();
    let root = root_of(&volume);
    let dir = root.node.lookup(&root.entry("dir")).unwrap();
    dir.unlink(OsStr::new(DIR_ID_NAME)).unwrap();
    let long = root.entry(&"long".repeat(60));
    root.node.rename(&long, &*root.node, OsStr::new("QUJD"), RenameMode::Replace).unwrap();
    root.node.unlink(&root.entry("short")).unwrap();
    root.node.make_symlink(&root.entry("short"), b"1AAAA").unwrap();
    root.node.unlink(&root.entry("kept")).unwrap();
    root.open("a").write_at(&[9; 8], data_offset(BlockIndex(3)) + 100).unwrap();
    drop(volume);
    world.store.sync_all().unwrap();
    world
}

fn repaired(world: &World<SimulatedStore>) -> Result<Vec<(FindingKind, Remedy)>, MaintenanceError> {
    let volume = world.open(OpenMode::Exclusive)?;
    let report = check(&volume, CheckOptions::default(), &quiet)?;
    let remedies = repair(&volume, &report.findings)?;
    volume.close()?;
    Ok(report.findings.iter().map(|finding| finding.kind).zip(remedies).collect())
}

/// The names in a directory that are not kmsfs's own.
fn entries(dir: &NodeRef) -> Vec<OsString> {
    let entries = dir.read_dir(0, 100).unwrap();
    let names = entries.into_iter().map(|entry| OsString::from_vec(entry.name));
    names.filter(|name| !name.to_str().is_some_and(|name| name.starts_with('.'))).collect()
}

fn contents_of(volume: &OpenVolume, dir: &NodeRef) -> Vec<Vec<u8>> {
    let domain = volume.keys().root_domain();
    entries(dir).iter().map(|name| read_in(volume, &**dir, domain, name.to_str().unwrap())).collect()
}

#[test]
fn what_can_be_restored_is_and_the_rest_is_put_aside() {
    let world = damaged();
    let mut remedies = repaired(&world).unwrap();
    remedies.sort();
    let expected = [
        (FindingKind::DirectoryId, Remedy::Restored),
        (FindingKind::Name, Remedy::Restored),
        (FindingKind::OrphanLongName, Remedy::Quarantined),
        (FindingKind::SymlinkTarget, Remedy::Quarantined),
        (FindingKind::OrphanTarget, Remedy::Quarantined),
        (FindingKind::Block, Remedy::Kept),
    ];
    assert_eq!(remedies, expected);
    // What is left is what a backup has to bring back.
    let kinds: Vec<_> = run(&world).findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::Block]);
    // The file whose directory lost its names is whole, and so is the one whose own name was lost.
    let volume = world.open(OpenMode::ReadOnly).unwrap();
    let root = root_of(&volume);
    let dir = root.node.lookup(&root.entry("dir")).unwrap();
    assert_eq!(contents_of(&volume, &dir), [b"bee"]);
    let substitute = root.entry(export::substitute_name(b"QUJD").to_str().unwrap());
    let domain = volume.keys().root_domain();
    assert_eq!(read_in(&volume, &*root.node, domain, substitute.to_str().unwrap()), b"long");
}

#[test]
fn a_file_that_nobody_can_open_is_moved_and_not_deleted() {
    let world = damaged();
    let volume = world.open(OpenMode::Maintenance).unwrap();
    let root = root_of(&volume);
    let size = root.open("a").stat().unwrap().size;
    root.open("a").write_at(&[9; 8], 0).unwrap();
    drop(volume);
    assert!(repaired(&world).unwrap().contains(&(FindingKind::Header, Remedy::Quarantined)));
    assert_eq!(run(&world).findings, []);
    let kept =
        world.store.root().lookup(OsStr::new(".kmsfs")).unwrap().lookup(OsStr::new("quarantine")).unwrap();
    let sizes = |name: &OsString| kept.lookup(name).unwrap().stat().unwrap().size;
    assert!(entries(&kept).iter().map(sizes).any(|found| found == size));
}

/// The power goes at each call of the repair: the next repair ends where an undisturbed one does.
#[test]
fn an_interrupted_repair_is_finished_by_the_next() {
    let world = damaged();
    let from = |store: SimulatedStore| World { store: Arc::new(store), service: world.service.clone() };
    let whole = from(world.store.kill_image());
    let first = whole.store.calls();
    repaired(&whole).unwrap();
    let last = whole.store.calls();
    assert!(last - first > 15);
    for moment in first..last {
        let cut = from(world.store.kill_image());
        cut.store.cut_power_at(moment);
        assert!(repaired(&cut).is_err());
        let next = from(cut.store.kill_image());
        repaired(&next).unwrap();
        let kinds: Vec<_> = run(&next).findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [FindingKind::Block], "power cut at call {moment}");
        let volume = next.open(OpenMode::ReadOnly).unwrap();
        let root = root_of(&volume);
        let dir = root.node.lookup(&root.entry("dir")).unwrap();
        assert_eq!(contents_of(&volume, &dir), [b"bee"], "power cut at call {moment}");
        assert!(
            repaired(&from(next.store.kill_image()))
                .unwrap()
                .iter()
                .all(|(_, remedy)| *remedy == Remedy::Kept)
        );
    }
}

/// Everything but the damaged block comes out, also what no mount would show.
#[test]
fn an_export_brings_what_can_be_read() {
    let world = damaged();
    let volume = world.open(OpenMode::Maintenance).unwrap();
    // A file whose seals are gone.
    root_of(&volume).open("a").write_at(&[0; 1024], 2560).unwrap();
    drop(volume);
    let volume = world.open(OpenMode::ReadOnly).unwrap();
    let dest = SimulatedStore::new(SimulatedOptions::default());
    let report = export(&volume, dest.root(), &quiet).unwrap();
    assert!(!report.is_sound());
    let read = |dir: &NodeRef, name: &OsStr| {
        let file = dir.lookup(name).unwrap().open_file(FileAccess::Read).unwrap();
        let mut content = vec![7; file.stat().unwrap().size as usize];
        file.read_at(&mut content, 0).unwrap();
        content
    };
    let mut expected = vec![1; 40 * 4096];
    expected[3 * 4096..4 * 4096].fill(0);
    assert!(read(&dest.root(), OsStr::new("a")) == expected);
    assert_eq!(read(&dest.root(), &export::substitute_name(b"QUJD")), b"long");
    let dir = dest.root().lookup(OsStr::new("dir")).unwrap();
    assert_eq!(entries(&dir).iter().map(|name| read(&dir, name)).collect::<Vec<_>>(), [b"bee"]);
    assert_eq!(report.bytes, 39 * 4096 + 4 + 3);
}
