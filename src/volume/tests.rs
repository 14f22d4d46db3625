use std::ffi::OsStr;
use std::sync::Arc;

use super::world::{World, read_file, write_file};
use super::*;
use crate::file::EncryptedFile;
use crate::format::{NameMode, SessionNumber, VOLUME_DIR};
use crate::keys::fake::TestService;
use crate::keys::{KeyError, write_durably};
use crate::store::simulated::{AllNew, AllOld, CallFilter, SeededChoice, SimulatedOptions, SimulatedStore};
use crate::store::{BackingStore, FileAccess, StoreErrorKind};

#[test]
fn what_is_written_is_there_after_the_next_open() {
    let world = World::new();
    let volume = world.open(OpenMode::Exclusive).unwrap();
    assert_eq!(volume.session(), Some(SessionNumber(1)));
    write_file(&volume, "a", &[7; 10_000]);
    volume.close().unwrap();
    for mode in [OpenMode::Exclusive, OpenMode::ReadOnly, OpenMode::Maintenance] {
        let volume = world.open(mode).unwrap();
        assert!(volume.recovered().is_none());
        assert_eq!(read_file(&volume, "a"), [7; 10_000]);
        volume.close().unwrap();
    }
    assert_eq!(world.open(OpenMode::Exclusive).unwrap().session(), Some(SessionNumber(3)));
}

#[test]
fn a_crashed_session_is_recovered_once() {
    let world = World::new();
    let volume = world.open(OpenMode::Exclusive).unwrap();
    write_file(&volume, "a", &[7; 10_000]);
    drop(volume);
    let volume = world.open(OpenMode::ReadOnly).unwrap();
    assert_eq!(volume.recovered().unwrap().session, SessionNumber(1));
    assert_eq!(read_file(&volume, "a"), [7; 10_000]);
    drop(volume);
    let volume = world.open(OpenMode::Exclusive).unwrap();
    assert!(volume.recovered().is_none());
    assert_eq!(volume.session(), Some(SessionNumber(2)));
    assert_eq!(read_file(&volume, "a"), [7; 10_000]);
}

#[test]
fn a_second_open_names_the_first() {
    let world = World::new();
    let first = world.open(OpenMode::Exclusive).unwrap();
    for mode in [OpenMode::Exclusive, OpenMode::ReadOnly] {
        match world.open(mode) {
            Err(VolumeError::InUse(holder)) => {
                assert_eq!((holder.pid, holder.session), (std::process::id(), SessionNumber(1)));
                assert!(!holder.host.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
    let beside = world.open(OpenMode::Maintenance).unwrap();
    assert!(beside.live().is_some() && !beside.is_exclusive() && beside.recovered().is_none());
    beside.close().unwrap();
    first.close().unwrap();
    assert!(world.open(OpenMode::Maintenance).unwrap().is_exclusive());
}

#[test]
fn init_refuses_what_is_not_empty_and_cleans_up_after_itself() {
    let world = World::empty();
    assert!(matches!(world.open(OpenMode::Exclusive), Err(VolumeError::NotAVolume)));
    let unknown = InitOptions { key: Some("alias/none".into()), ..InitOptions::default() };
    assert!(matches!(world.init(&unknown), Err(VolumeError::Key(KeyError::Unusable { .. }))));
    assert!(world.names().is_empty());
    let root = world.store.root();
    root.make_dir(OsStr::new(".kmsfs.new-0"), 0o700).unwrap().create_file(OsStr::new("x"), 0o600).unwrap();
    root.create_file(OsStr::new("mine"), 0o600).unwrap();
    assert!(
        matches!(world.init(&InitOptions::default()), Err(VolumeError::NotEmpty { entry }) if entry == "mine")
    );
    root.unlink(OsStr::new("mine")).unwrap();
    root.make_symlink(OsStr::new(".k"), b"not an id").unwrap();
    assert!(
        matches!(world.init(&InitOptions::default()), Err(VolumeError::NotEmpty { entry }) if entry == ".k")
    );
    root.unlink(OsStr::new(".k")).unwrap();
    world.init(&InitOptions::default()).unwrap();
    let mut names = world.names();
    names.sort();
    assert_eq!(names, [".k", ".kmsfs"]);
    assert!(matches!(world.init(&InitOptions::default()), Err(VolumeError::AlreadyAVolume)));
}

#[test]
fn a_volume_with_plain_names_has_no_directory_ids() {
    let world = World::empty();
    world.init(&InitOptions { name_mode: NameMode::Plain, ..InitOptions::default() }).unwrap();
    assert_eq!(world.names(), [".kmsfs"]);
    assert_eq!(world.open(OpenMode::ReadOnly).unwrap().name_mode(), NameMode::Plain);
}

#[test]
fn a_superblock_that_was_changed_is_refused() {
    let world = World::new();
    let volume_dir = world.store.root().lookup(OsStr::new(VOLUME_DIR)).unwrap();
    let original = *world.open(OpenMode::ReadOnly).unwrap().superblock();
    let with = |change: &dyn Fn(&mut crate::format::Superblock)| {
        let mut changed = original;
        change(&mut changed);
        write_durably(&*volume_dir, OsStr::new("volume"), &changed.encode()).unwrap();
        (world.open(OpenMode::Exclusive), world.open(OpenMode::ReadOnly))
    };
    let (write, read) = with(&|superblock| superblock.name_mode = NameMode::Plain);
    assert!(matches!(write, Err(VolumeError::Tampered { .. })));
    assert!(matches!(read, Err(VolumeError::Tampered { .. })));
    let (write, read) = with(&|superblock| superblock.incompat = 8);
    assert!(matches!(write, Err(VolumeError::UnknownFeature { bits: 8, readable: false })));
    assert!(matches!(read, Err(VolumeError::UnknownFeature { bits: 8, readable: false })));
    let (write, _) = with(&|superblock| superblock.ro_compat = 2);
    assert!(matches!(write, Err(VolumeError::UnknownFeature { bits: 2, readable: true })));
    let file = volume_dir.lookup(OsStr::new("volume")).unwrap().open_file(FileAccess::ReadWrite).unwrap();
    file.write_at(&[2], 8).unwrap();
    assert!(matches!(world.open(OpenMode::ReadOnly), Err(VolumeError::NewerFormat { version: 2 })));
    file.set_len(100).unwrap();
    assert!(matches!(world.open(OpenMode::ReadOnly), Err(VolumeError::Damaged { .. })));
}

#[test]
fn the_key_decides() {
    let world = World::empty();
    let arn = world.service.new_key();
    let made = world.init(&InitOptions { key: Some(arn.clone()), ..InitOptions::default() }).unwrap();
    assert_eq!(made.key, arn);
    world.service.disable(&arn);
    let refused = world.open(OpenMode::Exclusive);
    assert!(matches!(refused, Err(VolumeError::Key(KeyError::Unusable { key, .. })) if key == arn));
    world.service.enable(&arn);
    world.open(OpenMode::Exclusive).unwrap().close().unwrap();
    let elsewhere = World { store: Arc::clone(&world.store), service: TestService::new() };
    assert!(
        matches!(elsewhere.open(OpenMode::Exclusive), Err(VolumeError::WrongKeystore { key }) if key == arn)
    );
}

fn simulated() -> World<SimulatedStore> {
    let store = Arc::new(SimulatedStore::new(SimulatedOptions::default()));
    World { store, service: TestService::new() }
}

/// States that a power cut now may leave.
fn images(world: &World<SimulatedStore>) -> impl Iterator<Item = World<SimulatedStore>> {
    (0..6).map(|seed| {
        let store = match seed {
            0 => world.store.crash_image(&mut AllOld),
            1 => world.store.crash_image(&mut AllNew),
            seed => world.store.crash_image(&mut SeededChoice::new(seed)),
        };
        World { store: Arc::new(store), service: Arc::clone(&world.service) }
    })
}

#[test]
fn an_init_that_fails_leaves_nothing_behind() {
    let mut failed = 0;
    loop {
        let world = simulated();
        world.store.fail_nth(CallFilter::changes(), failed + 1, StoreErrorKind::NoSpace);
        match world.init(&InitOptions::default()) {
            Ok(_) => break,
            Err(
                VolumeError::Store(_) | VolumeError::Key(_) | VolumeError::Journal(_) | VolumeError::Name(_),
            ) => {}
            Err(other) => panic!("{other}"),
        }
        // The last call makes a volume durable that is complete: that one may stay.
        let names = world.store.root().read_dir(0, 10).unwrap();
        assert!(names.is_empty() || world.open(OpenMode::Exclusive).is_ok(), "call {failed}: {names:?}");
        failed += 1;
    }
    assert!(failed > 15);
}

#[test]
fn a_power_cut_during_init_leaves_a_volume_or_room_for_one() {
    let mut cut = 0;
    loop {
        let world = simulated();
        world.store.cut_power_at(cut);
        let made = world.init(&InitOptions::default()).is_ok();
        for after in images(&world) {
            match after.open(OpenMode::Exclusive) {
                Ok(_) => {}
                Err(VolumeError::NotAVolume) => {
                    assert!(!made, "a volume that was made is durable");
                    after.init(&InitOptions::default()).unwrap();
                    after.open(OpenMode::Exclusive).unwrap();
                }
                Err(other) => panic!("cut {cut}: {other}"),
            }
        }
        if made {
            break;
        }
        cut += 1;
    }
}

#[test]
fn a_power_cut_at_any_call_of_a_session_leaves_a_volume_that_opens() {
    let base = simulated();
    base.init(&InitOptions::default()).unwrap();
    let mut cut = 0;
    loop {
        let world = images(&base).next().unwrap();
        world.store.cut_power_at(world.store.calls() + cut);
        let mut synced = false;
        let ended = world.open(OpenMode::Exclusive).is_ok_and(|volume| {
            synced = try_write(&volume, "a", &[7; 9000]);
            volume.close().is_ok()
        });
        for after in images(&world) {
            for _ in 0..2 {
                let volume =
                    after.open(OpenMode::Exclusive).unwrap_or_else(|error| panic!("cut {cut}: {error}"));
                if synced {
                    assert_eq!(read_file(&volume, "a"), [7; 9000], "cut {cut}");
                }
                volume.close().unwrap();
            }
        }
        if ended {
            break;
        }
        cut += 1;
    }
    assert!(cut > 10, "a session makes more than {cut} calls");
}

fn try_write(volume: &OpenVolume, name: &str, data: &[u8]) -> bool {
    let Ok((node, file)) = volume.root().create_file(OsStr::new(name), 0o644) else { return false };
    let domain = volume.keys().root_domain();
    let Ok(stat) = file.stat() else { return false };
    let Ok(file) = EncryptedFile::create(volume.context(), (node, file), stat.ino, domain) else {
        return false;
    };
    file.write(0, data).is_ok() && file.fsync(false).is_ok() && volume.root().sync_dir().is_ok()
}
