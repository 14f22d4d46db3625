//! What happens to a mounted volume when its KMS key can no longer be used, and how a mount ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use support::{Setup, World};

/// `ENOKEY`, "Required key not available".
const NO_KEY: i32 = 126;

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn read_error(world: &World, name: &str) -> Option<i32> {
    std::fs::read(world.path(name)).err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_disabled_key_closes_contents_and_leaves_names() {
    let world = World::new(Setup::default());
    world.sh("mkdir d; echo secret > d/f; echo other > g; ln -s d/f l; setfattr -n user.x -v y d/f");
    let held = std::fs::File::open(world.path("d/f")).unwrap();
    assert_eq!(std::fs::read(world.path("d/f")).unwrap(), b"secret\n");
    world.disable_key();
    wait_for("the content is still readable", || read_error(&world, "d/f") == Some(NO_KEY));
    let mut buf = [0; 7];
    let error = std::os::unix::fs::FileExt::read_at(&held, &mut buf, 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(NO_KEY), "cached pages are gone too");
    let refused = std::fs::write(world.path("new"), b"x").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(NO_KEY));
    world.sh("ls -la . d > /dev/null; test $(readlink l) = d/f; test $(stat -c %s d/f) = 7; mv g h; rm h new; mkdir e; rmdir e");
    assert!(!world.try_sh("getfattr -d d/f | grep -q user.x").status.success());
    world.enable_key();
    wait_for("the content does not come back", || read_error(&world, "d/f").is_none());
    assert_eq!(std::fs::read(world.path("d/f")).unwrap(), b"secret\n");
    world.sh("getfattr -d d/f | grep -q user.x");
}

#[test]
fn a_mount_in_use_is_busy_and_ends_when_it_is_free() {
    let mut world = World::new(Setup::default());
    let file = std::fs::File::create(world.path("f")).unwrap();
    assert!(world.unmounter().unmount(false).is_err());
    std::io::Write::write_all(&mut &file, b"still works").unwrap();
    drop(file);
    world.remount();
    assert_eq!(std::fs::read(world.path("f")).unwrap(), b"still works");
}

#[test]
fn umount_by_hand_loses_nothing() {
    let mut world = World::new(Setup::default());
    world.sh("seq 100000 > f; sha256sum f > /dev/null; sed -i s/1/one/ f; sync f; sed -i s/2/two/ f");
    let sum = world.sh("sha256sum f");
    let point = world.point.clone();
    wait_for("umount fails", || {
        std::process::Command::new("umount").arg(&point).output().unwrap().status.success()
    });
    world.wait();
    world.mount();
    assert_eq!(world.sh("sha256sum f"), sum);
}

#[test]
fn a_detached_mount_goes_on_until_its_last_file_is_closed() {
    let mut world = World::new(Setup::default());
    let mut file = std::fs::File::create(world.path("f")).unwrap();
    world.unmounter().unmount(true).unwrap();
    std::io::Write::write_all(&mut file, &[7; 100_000]).unwrap();
    assert!(!world.path("f").exists());
    drop(file);
    world.wait();
    world.mount();
    assert_eq!(std::fs::read(world.path("f")).unwrap(), vec![7; 100_000]);
}

#[test]
fn an_unmounter_leaves_a_later_mount_alone() {
    let mut world = World::new(Setup::default());
    let stale = world.unmounter();
    world.remount();
    stale.unmount(true).unwrap();
    world.sh("echo alive > f; grep -q alive f");
}
