//! Bad input: a clear error that names the thing and the cure, a code of its own, and nothing changed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kmsfs::format::Superblock;

use crate::program::{Place, Ran};

/// Runs a mount that has to be refused, and checks that it changed nothing.
#[track_caller]
fn refused_mount(place: &Place, more: &[&str], code: i32, words: &[&str]) -> Ran {
    let before = place.snapshot("backing");
    let ran = place.mount(more).refused(code, words);
    assert_eq!(place.snapshot("backing"), before);
    ran
}

fn chmod(path: impl AsRef<Path>, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn change_superblock(place: &Place, change: impl FnOnce(&mut Superblock)) {
    let path = place.path("backing/.kmsfs/volume");
    let mut superblock = Superblock::parse(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut superblock);
    std::fs::write(path, superblock.encode()).unwrap();
}

#[test]
fn a_directory_that_is_not_a_volume() {
    let place = Place::empty();
    refused_mount(&place, &[], 3, &["backing", "not a kmsfs volume", "kmsfs init"]);
    place.run(["mount", "nowhere", "mount"]).refused(3, &["nowhere does not exist", "mkdir"]);
    place.run(["mount", "passphrase", "mount"]).refused(3, &["is not a directory"]);
    for verb in ["info", "check", "rewrap", "status"] {
        place.run([verb, "backing"]).refused(3, &["not a kmsfs volume"]);
    }
}

#[test]
fn a_volume_of_a_newer_format() {
    let place = Place::with_volume();
    let path = place.path("backing/.kmsfs/volume");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 2;
    std::fs::write(path, bytes).unwrap();
    refused_mount(&place, &[], 4, &["format version 2", "newer version of kmsfs"]);
}

#[test]
fn a_volume_with_an_unknown_feature() {
    let place = Place::with_volume();
    change_superblock(&place, |superblock| superblock.incompat = 1 << 33);
    refused_mount(&place, &[], 4, &["features that this program does not know", "0x200000000"]);
    change_superblock(&place, |superblock| {
        superblock.incompat = 0;
        superblock.ro_compat = 2;
    });
    refused_mount(&place, &[], 4, &["0x2", "-o ro"]);
}

#[test]
fn a_damaged_and_a_tampered_superblock() {
    let place = Place::with_volume();
    change_superblock(&place, |superblock| superblock.created += 1);
    refused_mount(&place, &[], 17, &["superblock", "authentication", "backup"]);
    let path = place.path("backing/.kmsfs/volume");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4095] ^= 1;
    std::fs::write(path, bytes).unwrap();
    refused_mount(&place, &[], 17, &["superblock"]);
}

#[test]
fn a_wrong_passphrase() {
    let place = Place::with_volume();
    std::fs::write(place.path("passphrase"), "another").unwrap();
    refused_mount(&place, &[], 7, &["wrong passphrase", "keystore"]);
    std::fs::remove_file(place.path("passphrase")).unwrap();
    place.mount(&[]);
    let ran: Ran = place
        .kmsfs()
        .env_remove("KMSFS_PASSPHRASE_FILE")
        .args(["mount", "backing", "mount"])
        .output()
        .unwrap()
        .into();
    ran.refused(7, &["no passphrase was given", "--passphrase-file"]);
}

#[test]
fn a_keystore_that_is_missing_damaged_open_to_others_or_another_one() {
    let place = Place::with_volume();
    let keystore = place.path("keystore");
    refused_mount(&place, &["--keystore", "nowhere"], 6, &["no keystore at", "nowhere", "KMSFS_KEYSTORE"]);
    chmod(&keystore, 0o755);
    refused_mount(&place, &[], 8, &["accessible to others", "chmod"]);
    chmod(&keystore, 0o700);
    let header = keystore.join("keystore.json");
    let sound = std::fs::read(&header).unwrap();
    std::fs::write(&header, b"{}").unwrap();
    refused_mount(&place, &[], 8, &["damaged"]);
    std::fs::write(&header, sound).unwrap();
    // Any other keystore does not have the key.
    place.run(["init", "other", "--keystore", "keystore2"]).ok();
    refused_mount(&place, &["--keystore", "keystore2"], 6, &["does not have", "arn:aws:kms:", "--keystore"]);
    place.mount(&[]).ok();
    place.umount().ok();
}

#[test]
fn a_mountpoint_that_does_not_fit() {
    let place = Place::with_volume();
    let to = |point: &str| place.run(["mount", "backing", point]);
    to("nowhere").refused(11, &["mountpoint", "nowhere", "mkdir"]);
    to("passphrase").refused(11, &["not a directory"]);
    to(".").refused(11, &["backing directory", "is inside the mountpoint"]);
    std::fs::create_dir(place.path("full")).unwrap();
    std::fs::write(place.path("full/file"), b"x").unwrap();
    to("full").refused(11, &["not empty"]);
    to("backing").refused(11, &["inside the backing directory"]);
    std::os::unix::fs::symlink(place.path("backing"), place.path("link")).unwrap();
    to("link/.kmsfs/j").refused(11, &["inside the backing directory"]);
}

#[test]
fn no_fuse_device() {
    let place = Place::with_volume();
    let before = place.snapshot("backing");
    let ran =
        place.sh("exec unshare -m bash -c 'mount -t tmpfs none /dev && exec $KMSFS mount backing mount'");
    ran.refused(12, &["/dev/fuse", "modprobe fuse"]);
    assert_eq!(place.snapshot("backing"), before);
}

#[test]
fn no_permission() {
    let place = Place::with_volume();
    chmod(place.path("."), 0o755);
    chmod(place.path("backing"), 0o700);
    // The tester's own build directory may be closed to others.
    std::fs::copy(env!("CARGO_BIN_EXE_kmsfs"), place.path("kmsfs")).unwrap();
    let ran = place.sh("exec setpriv --reuid 65534 --regid 65534 --clear-groups ./kmsfs mount backing mount");
    ran.refused(13, &["backing", "ermission denied"]);
    let ran = place.sh("exec setpriv --reuid 65534 --regid 65534 --clear-groups ./kmsfs init new");
    ran.refused(13, &["new", "ermission denied"]);
    assert!(!place.path("new").exists());
}

#[test]
fn a_full_disk() {
    let place = Place::empty();
    place.sh("mount -t tmpfs -o size=1m none backing").ok();
    place.run(["init", "backing"]).ok();
    let entries = |place: &Place| place.snapshot("backing").into_keys().collect::<Vec<_>>();
    let before = entries(&place);
    place.mount(&[]).refused(14, &["no space left", "Make room"]);
    assert!(
        entries(&place).iter().all(|path| before.contains(path) || path.to_string_lossy().contains("/j/"))
    );
    // With room again, the volume mounts.
    place.sh("mount -o remount,size=64m backing").ok();
    place.mount(&[]).ok();
    place.umount().ok();
    std::fs::create_dir(place.path("full")).unwrap();
    place.sh("mount -t tmpfs -o size=4k none full").ok();
    let before = place.snapshot("full");
    place.run(["init", "full"]).refused(14, &["full", "no space left"]);
    assert_eq!(place.snapshot("full"), before);
}

#[test]
fn a_read_only_backing_directory() {
    let place = Place::with_volume();
    place.mount(&[]).ok();
    std::fs::write(place.path("mount/file"), b"content").unwrap();
    place.umount().ok();
    place.sh("mount --bind backing backing && mount -o remount,ro,bind backing").ok();
    refused_mount(&place, &[], 15, &["read-only", "-o ro"]);
    place.mount(&["-o", "ro"]).ok();
    assert_eq!(std::fs::read(place.path("mount/file")).unwrap(), b"content");
    assert!(std::fs::write(place.path("mount/file"), b"other").is_err());
    place.umount().ok();
    place.sh("mkdir empty && mount -t tmpfs -o ro none empty").ok();
    place.run(["init", "empty"]).refused(15, &["read-only"]);
}

#[test]
fn init_where_something_is_already() {
    let place = Place::with_volume();
    let before = place.snapshot("backing");
    place.run(["init", "backing"]).refused(16, &["volume already", "kmsfs mount"]);
    assert_eq!(place.snapshot("backing"), before);
    std::fs::create_dir(place.path("full")).unwrap();
    std::fs::write(place.path("full/file"), b"x").unwrap();
    place.run(["init", "full"]).refused(16, &["not empty", "\"file\""]);
    assert_eq!(place.snapshot("full").len(), 1);
}

#[test]
fn init_that_fails_leaves_nothing() {
    let place = Place::empty();
    place.run(["init", "new", "--key", "alias/none"]).refused(9, &["alias/none", "list-aliases"]);
    for name in ["new", "keystore"] {
        assert!(!place.path(name).exists(), "{name}");
    }
    place.run(["init", "new", "--key-file", "key", "--key", "nonsense"]);
    assert!(!place.path("key").exists());
}

#[test]
fn a_wrong_command_line() {
    let place = Place::with_volume();
    refused_mount(&place, &["-o", "ro,bogus"], 2, &["bogus", "allow_other"]);
    assert_eq!(place.run(["mount"]).code, 2);
    assert_eq!(place.run(["bogus"]).code, 2);
    assert_eq!(place.run(["mount", "--passphrase", "x"]).code, 2);
    assert_eq!(place.run(["--help"]).code, 0);
}

#[test]
fn a_mount_that_is_not_there_or_is_busy() {
    let place = Place::with_mount();
    place.run(["umount", "home"]).refused(19, &["no kmsfs volume is mounted", "kmsfs status"]);
    place.sh("cd mount && $KMSFS umount ../mount").refused(18, &["in use", "fuser", "--lazy"]);
    place.umount().ok();
    place.umount().refused(19, &[]);
}
