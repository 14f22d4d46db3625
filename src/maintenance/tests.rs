use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::header::{HeaderPage, read_header};
use super::*;
use crate::format::{DomainId, KeySlot, NameMode, SLOT_LEN, SLOT_OFFSETS};
use crate::keys::fake::TestService;
use crate::keys::{FileKeyProvider, KeyError, RecipientChange};
use crate::names::{DirNames, XattrSealer};
use crate::store::simulated::{AllNew, AllOld, SeededChoice, SimulatedOptions, SimulatedStore};
use crate::store::{BackingStore, FileAccess, XattrMode};
use crate::volume::world::{World, read_file, read_in, write_file, write_in};
use crate::volume::{InitOptions, OpenMode, OpenVolume, VolumeError};

fn quiet(_: &Progress) {}

fn to(key: &str) -> RecipientChange {
    RecipientChange { to: Some(key.parse().unwrap()), ..RecipientChange::default() }
}

fn all_domains(key: Option<&str>) -> RewrapOptions {
    RewrapOptions { key: key.map(str::to_owned), ..RewrapOptions::default() }
}

/// A volume under a key of its own with `files` files.
fn filled(files: usize) -> (World, String) {
    let world = World::empty();
    let arn = world.service.new_key();
    world.init_under(&arn);
    let volume = world.open(OpenMode::Exclusive).unwrap();
    for index in 0..files {
        write_file(&volume, &format!("f{index}"), &[index as u8; 5000]);
    }
    volume.close().unwrap();
    (world, arn)
}

fn assert_readable<S: BackingStore + 'static>(world: &World<S>, files: usize) {
    let volume = world.open(OpenMode::ReadOnly).unwrap();
    for index in 0..files {
        assert_eq!(read_file(&volume, &format!("f{index}")), vec![index as u8; 5000]);
    }
}

#[test]
fn the_inventory_counts_files_by_key_and_epoch() {
    let (world, arn) = filled(5);
    let volume = world.open(OpenMode::Exclusive).unwrap();
    let root = volume.root();
    root.create_file(OsStr::new("empty"), 0o644).unwrap();
    root.link(&*root.lookup(OsStr::new("f0")).unwrap(), OsStr::new("again")).unwrap();
    root.create_file(OsStr::new("junk"), 0o644).unwrap().1.write_at(&[1; 9000], 0).unwrap();
    root.make_symlink(OsStr::new("link"), b"x").unwrap();
    let dir = root.make_dir(OsStr::new("dir"), 0o755).unwrap();
    write_in(&volume, &*dir, volume.keys().root_domain(), "deep", &[1; 100]);
    let seen = AtomicU64::new(0);
    let counted = inventory(&volume, &|progress: &Progress| seen.store(progress.files, Ordering::SeqCst));
    assert_eq!((counted.directories, counted.symlinks, counted.nascent, counted.damaged), (1, 1, 1, 1));
    let [group] = &counted.groups[..] else { panic!("{counted:?}") };
    assert_eq!((group.files, group.bytes, group.epoch, group.current), (6, 25_100, 1, true));
    assert_eq!(group.key.as_deref(), Some(arn.as_str()));
    assert_eq!(seen.load(Ordering::SeqCst), 9);
}

#[test]
fn a_rewrap_to_another_key_moves_every_file_and_drops_the_old_key() {
    let (world, old) = filled(300);
    let new = world.service.new_key();
    let volume = world.open(OpenMode::Maintenance).unwrap();
    let report = rewrap(&volume, &all_domains(Some(&new)), &quiet).unwrap();
    assert_eq!((report.rewrapped, report.failed_count, report.resumed), (300, 0, false));
    assert_eq!((report.domains[0].key.as_str(), report.domains[0].former_keys.len()), (new.as_str(), 0));
    let counted = inventory(&volume, &quiet);
    assert_eq!(counted.groups.len(), 1);
    assert!(counted.groups[0].current && counted.groups[0].key.as_deref() == Some(new.as_str()));
    volume.close().unwrap();
    world.service.disable(&old);
    assert_readable(&world, 300);
}

#[test]
fn a_rewrap_asks_for_many_files_at_once_and_one_that_is_damaged_fails_alone() {
    let (world, _) = filled(100);
    let new = world.service.new_key();
    let volume = world.open(OpenMode::Maintenance).unwrap();
    let node = volume.root().lookup(OsStr::new("f7")).unwrap();
    let file = node.open_file(FileAccess::ReadWrite).unwrap();
    // The wrap of the only slot, with a checksum that is right.
    let mut slot = [0; SLOT_LEN];
    file.read_at(&mut slot, SLOT_OFFSETS[0] as u64).unwrap();
    let mut parsed = KeySlot::parse(&slot).unwrap();
    parsed.recipients[0].payload[40] ^= 1;
    file.write_at(&parsed.encode().unwrap(), SLOT_OFFSETS[0] as u64).unwrap();
    let report = rewrap(&volume, &all_domains(Some(&new)), &quiet).unwrap();
    assert_eq!((report.rewrapped, report.failed_count), (99, 1));
    assert!(report.failed[0].path.ends_with("f7"), "{report:?}");
    let calls = world.service.together.load(Ordering::SeqCst);
    assert!((2..=10).contains(&calls), "{calls} calls");
}

#[test]
fn a_rewrap_under_the_same_key_begins_an_epoch_and_scrubs_the_old_slots() {
    let (world, arn) = filled(3);
    let volume = world.open(OpenMode::Maintenance).unwrap();
    for epoch in 2..5 {
        let report = rewrap(&volume, &all_domains(None), &quiet).unwrap();
        assert_eq!((report.rewrapped, report.domains[0].epoch), (3, epoch));
        let node = volume.root().lookup(OsStr::new("f1")).unwrap();
        let HeaderPage::Sound(sound) = read_header(&node.open_file(FileAccess::Read).unwrap()).unwrap()
        else {
            panic!("the header is sound")
        };
        let scrubbed: Vec<bool> = (0..2).map(|place| sound.is_scrubbed(place)).collect();
        assert_eq!(scrubbed, [epoch % 2 == 0, epoch % 2 == 1]);
        assert_eq!(report.domains[0].key, arn);
    }
    assert_eq!(volume.keys().domains()[0].generation, 4);
    volume.close().unwrap();
    assert_readable(&world, 3);
}

#[test]
fn a_rewrap_goes_on_where_an_outage_stopped_it() {
    let (world, _) = filled(10);
    let volume = world.open(OpenMode::Maintenance).unwrap();
    let new = world.service.new_key();
    // The record moves, then every header fails.
    volume.keys().begin_rewrap(volume.keys().root_domain(), &to(&new)).unwrap();
    let mut run = rewrap_run::Run::open(&*volume.volume_dir()).unwrap();
    let id = volume.keys().root_domain();
    run.save(vec![rewrap_run::RunDomain { id, epoch: 2, key: Some(new.clone()) }]).unwrap();
    drop(run);
    world.service.outage.store(true, Ordering::SeqCst);
    let outcome = rewrap(&volume, &all_domains(Some(&new)), &quiet);
    assert!(matches!(outcome, Err(MaintenanceError::Key(KeyError::Service(_)))), "{outcome:?}");
    world.service.outage.store(false, Ordering::SeqCst);
    let report = rewrap(&volume, &all_domains(Some(&new)), &quiet).unwrap();
    assert_eq!((report.resumed, report.rewrapped, report.domains[0].epoch), (true, 10, 2));
    assert!(report.domains[0].former_keys.is_empty());
}

#[test]
fn a_rewrap_beside_a_mount_keeps_the_old_key_and_both_go_on() {
    let (world, old) = filled(4);
    let mounted = world.open(OpenMode::Exclusive).unwrap();
    assert_eq!(read_file(&mounted, "f0"), [0; 5000]);
    let new = world.service.new_key();
    let beside = world.open(OpenMode::Maintenance).unwrap();
    let report = rewrap(&beside, &all_domains(Some(&new)), &quiet).unwrap();
    assert_eq!((report.rewrapped, &report.domains[0].former_keys), (4, &vec![old.clone()]));
    write_file(&mounted, "late", &[9; 10]);
    assert_eq!(read_file(&mounted, "f3"), [3; 5000]);
    mounted.close().unwrap();
    drop(beside);
    let alone = world.open(OpenMode::Maintenance).unwrap();
    let report = rewrap(&alone, &all_domains(None), &quiet).unwrap();
    assert_eq!((report.rewrapped, report.domains[0].former_keys.len()), (5, 0));
    world.service.disable(&old);
    drop(alone);
    assert_readable(&world, 4);
}

#[test]
fn damaged_and_locked_files_are_reported_and_keep_the_old_key_alive() {
    let (world, old) = filled(4);
    let volume = world.open(OpenMode::Maintenance).unwrap();
    let open = |name: &str| {
        volume.root().lookup(OsStr::new(name)).unwrap().open_file(FileAccess::ReadWrite).unwrap()
    };
    open("f1").write_at(&[0xff; 64], SLOT_OFFSETS[0] as u64 + 200).unwrap();
    let held = open("f2");
    assert!(held.try_lock().unwrap());
    let new = world.service.new_key();
    let report = rewrap(&volume, &all_domains(Some(&new)), &quiet).unwrap();
    assert_eq!((report.rewrapped, report.failed_count), (2, 2));
    assert_eq!(report.domains[0].former_keys, [old]);
    let mut reasons: Vec<String> = report.failed.iter().map(|failed| failed.reason.to_string()).collect();
    reasons.sort();
    assert!(reasons[0].starts_with("file ") && reasons[1].contains("locked"), "{reasons:?}");
    drop(held);
    let report = rewrap(&volume, &all_domains(Some(&new)), &quiet).unwrap();
    assert_eq!((report.resumed, report.rewrapped, report.skipped, report.failed_count), (true, 1, 2, 1));
}

/// A power cut after every call of a rewrap to another key: each file opens afterwards, and rewrapping again
/// ends well.
#[test]
fn a_power_cut_during_a_rewrap_loses_no_key() {
    const FILES: usize = 3;
    let service = TestService::new();
    let (old, new) = (service.new_key(), service.new_key());
    let store = Arc::new(SimulatedStore::new(SimulatedOptions::default()));
    let world = World { store, service };
    world.init_under(&old);
    let volume = world.open(OpenMode::Exclusive).unwrap();
    for index in 0..FILES {
        write_file(&volume, &format!("f{index}"), &[index as u8; 5000]);
    }
    volume.root().sync_dir().unwrap();
    volume.close().unwrap();
    world.store.sync_all().unwrap();
    let image = |store: &SimulatedStore, seed: u64| match seed {
        0 => store.crash_image(&mut AllOld),
        1 => store.crash_image(&mut AllNew),
        seed => store.crash_image(&mut SeededChoice::new(seed)),
    };
    let mut cut = 0;
    loop {
        let run = World { store: Arc::new(image(&world.store, 1)), service: world.service.clone() };
        run.store.cut_power_at(run.store.calls() + cut);
        let ended = run
            .open(OpenMode::Maintenance)
            .map_err(|error| error.to_string())
            .and_then(|volume| {
                rewrap(&volume, &all_domains(Some(&new)), &quiet).map_err(|error| error.to_string())
            })
            .is_ok_and(|report| report.failed_count == 0);
        for seed in 0..6 {
            let after = World { store: Arc::new(image(&run.store, seed)), service: world.service.clone() };
            assert_readable(&after, FILES);
            let volume = after.open(OpenMode::Maintenance).unwrap();
            let report = rewrap(&volume, &all_domains(Some(&new)), &quiet).unwrap();
            assert_eq!((report.failed_count, report.domains[0].former_keys.len()), (0, 0), "cut {cut}");
            drop(volume);
            assert_readable(&after, FILES);
        }
        if ended {
            break;
        }
        cut += 1;
    }
    assert!(cut > 20, "a rewrap makes more than {cut} calls");
}

#[test]
fn a_protected_directory_is_under_its_own_key() {
    let (world, _) = filled(1);
    let volume = world.open(OpenMode::Exclusive).unwrap();
    let root_domain = volume.keys().root_domain();
    let dir = volume.root().make_dir(OsStr::new("dir"), 0o755).unwrap();
    let before =
        DirNames::make(&*dir, root_domain, volume.keys().domain_keys(root_domain).unwrap(), false).unwrap();
    let sealer = XattrSealer::new(&before.keys().xattr, before.context());
    let stored = sealer.seal_name(OsStr::new("user.colour")).unwrap();
    dir.set_xattr(&stored, &sealer.seal_value(&stored, b"blue"), XattrMode::Any).unwrap();
    let key = world.service.new_key();
    let domain = protect(&volume, &*dir, &key).unwrap();
    let after = DirNames::load(&*dir, &**volume.keys(), NameMode::Encrypted, root_domain, false).unwrap();
    let sealer = XattrSealer::new(&after.keys().xattr, after.context());
    let stored = sealer.seal_name(OsStr::new("user.colour")).unwrap();
    assert_eq!(sealer.open_value(&stored, &dir.get_xattr(&stored).unwrap()).unwrap(), b"blue");
    assert_eq!(dir.list_xattrs().unwrap().len(), 1);
    let names = |volume: &OpenVolume| {
        DirNames::load(&*dir, &**volume.keys(), NameMode::Encrypted, root_domain, false).unwrap().domain()
    };
    assert_eq!(names(&volume), domain);
    write_in(&volume, &*dir, domain, "inner", b"secret");
    assert!(matches!(
        protect(&volume, &*dir, &key),
        Err(MaintenanceError::Volume(VolumeError::DirectoryNotEmpty))
    ));
    let inner: Vec<Vec<u8>> =
        volume.volume_dir().read_dir(0, 100).unwrap().into_iter().map(|entry| entry.name).collect();
    assert!(inner.iter().all(|name| !name.starts_with(b".tmp")), "{inner:?}");
    volume.close().unwrap();
    let volume = world.open(OpenMode::ReadOnly).unwrap();
    assert_eq!(names(&volume), domain);
    assert_eq!(read_in(&volume, &*dir, domain, "inner"), b"secret");
    world.service.disable(&key);
    assert_eq!(volume.keys().poll_usability(), [domain]);
    assert!(volume.keys().check_usable(domain).is_err());
    assert_eq!(read_file(&volume, "f0"), [0; 5000]);
}

#[test]
fn a_volume_with_plain_names_has_one_domain() {
    let world = World::empty();
    world.init(&InitOptions { name_mode: NameMode::Plain, ..InitOptions::default() }).unwrap();
    let volume = world.open(OpenMode::Exclusive).unwrap();
    let dir = volume.root().make_dir(OsStr::new("dir"), 0o755).unwrap();
    let outcome = protect(&volume, &*dir, &world.service.new_key());
    assert!(matches!(outcome, Err(MaintenanceError::Volume(VolumeError::PlainNames))));
}

#[test]
fn what_is_under_a_destroyed_key_opens_no_more() {
    let (world, arn) = filled(20);
    let volume = world.open(OpenMode::Maintenance).unwrap();
    let options = |key: &str| EraseOptions { key: key.to_owned(), pending_window_days: Some(7), sample: 8 };
    let unused = world.service.new_key();
    assert!(matches!(
        erase(&volume, &options(&unused), &quiet),
        Err(MaintenanceError::KeyNotUsed { key }) if key == unused
    ));
    let receipt = erase(&volume, &options(&arn), &quiet).unwrap();
    assert!(matches!(receipt.method, EraseMethod::DeletionScheduled { date: Some(_) }));
    assert_eq!((receipt.files, receipt.bytes), (20, 100_000));
    assert_eq!((receipt.opened_before, receipt.refused_after), (8, 8));
    assert_eq!((receipt.domains.len(), receipt.key), (1, arn));
    drop(volume);
    let refused = world.open(OpenMode::ReadOnly);
    assert!(matches!(refused, Err(VolumeError::Key(KeyError::Unusable { .. }))), "{refused:?}");
}

#[test]
fn a_domain_that_is_not_known_is_refused() {
    let (world, _) = filled(1);
    let volume = world.open(OpenMode::Maintenance).unwrap();
    let options = RewrapOptions { domains: vec![DomainId([1; 16])], ..RewrapOptions::default() };
    assert!(matches!(
        rewrap(&volume, &options, &quiet),
        Err(MaintenanceError::Key(KeyError::UnknownDomain(_)))
    ));
}

/// Erasing one domain leaves the others alone, and the receipt's warning is true: who imports the material again
/// reads the data again.
#[test]
fn deleted_key_material_takes_its_domain_and_nothing_else() {
    let (world, _) = filled(2);
    let key = world.service.new_external_key();
    world.service.import(&key, [5; 32]);
    let volume = world.open(OpenMode::Exclusive).unwrap();
    let root_domain = volume.keys().root_domain();
    let dir = volume.root().make_dir(OsStr::new("dir"), 0o755).unwrap();
    DirNames::make(&*dir, root_domain, volume.keys().domain_keys(root_domain).unwrap(), false).unwrap();
    let domain = protect(&volume, &*dir, &key).unwrap();
    write_in(&volume, &*dir, domain, "inner", b"secret");
    let options = EraseOptions { key: key.clone(), pending_window_days: None, sample: 10 };
    let receipt = erase(&volume, &options, &quiet).unwrap();
    assert_eq!(receipt.method, EraseMethod::MaterialDeleted);
    assert_eq!((receipt.files, receipt.opened_before, receipt.refused_after), (1, 1, 1));
    assert_eq!(receipt.domains, [domain]);
    assert!(volume.keys().check_usable(domain).is_err());
    assert_eq!(read_file(&volume, "f1"), vec![1; 5000]);
    volume.close().unwrap();
    let volume = world.open(OpenMode::ReadOnly).unwrap();
    assert!(matches!(volume.keys().domain_keys(domain), Err(KeyError::Unusable { .. })));
    world.service.import(&key, [5; 32]);
    assert_eq!(read_in(&volume, &*dir, domain, "inner"), b"secret");
}

#[test]
fn a_new_key_without_named_domains_is_for_the_root_domain_alone() {
    let (world, _) = filled(1);
    let volume = world.open(OpenMode::Maintenance).unwrap();
    let (own, new) = (world.service.new_key(), world.service.new_key());
    let domain = volume.keys().add_domain(&own).unwrap();
    let report = rewrap(&volume, &all_domains(Some(&new)), &quiet).unwrap();
    let moved: Vec<DomainId> = report.domains.iter().map(|done| done.id).collect();
    assert_eq!(moved, [volume.keys().root_domain()]);
    let report = rewrap(&volume, &all_domains(None), &quiet).unwrap();
    assert_eq!(report.domains.len(), 2);
    let keys = volume.keys().domains();
    assert!(keys.iter().any(|summary| summary.id == domain && summary.keys == [own.clone()]));
}
