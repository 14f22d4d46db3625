//! What happens at the limits of the backing file system.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::process::Command;

use support::{EVERY_SETUP, Setup, World};

/// A small ext4 in a file, mounted.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn new(mib: u64, options: &str) -> Self {
        let disk = Self { dir: tempfile::tempdir().unwrap() };
        let image = disk.dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        for dir in ["disk", "mount"] {
            std::fs::create_dir(disk.dir.path().join(dir)).unwrap();
        }
        disk.run(&format!(
            "mkfs.ext4 -q -F {options} image && mount -o loop image disk && mkdir disk/backing"
        ));
        disk
    }

    fn run(&self, script: &str) {
        let ran = Command::new("bash").args(["-euc", script]).current_dir(self.dir.path()).output().unwrap();
        assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    fn world(&self, setup: Setup) -> World {
        World::at(setup, self.path("disk/backing"), self.path("mount"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path("disk")).status();
    }
}

fn on_small_disks(mib: u64, options: &str, test: impl Fn(&Disk, &mut World)) {
    for setup in EVERY_SETUP {
        let disk = Disk::new(mib, options);
        let mut world = disk.world(setup);
        test(&disk, &mut world);
        world.unmount();
    }
}

/// Writes until the disk is full, over what is there and new; prints what was acknowledged by an fsync.
const FILL: &str = r#"
import os, errno, hashlib
def full(call, *args):
    try: call(*args)
    except OSError as e: assert e.errno == errno.ENOSPC, e; return True
    return False
kept = {}
ended = False
for i in range(400):
    name = 'f%d' % (i % 70)
    data = os.urandom(1 << 20)
    try: fd = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    except OSError as e: assert e.errno == errno.ENOSPC, e; ended = True; break
    kept.pop(name, None)
    failed = full(os.write, fd, data) or full(os.fsync, fd)
    failed = full(os.close, fd) or failed
    if failed: ended = True; break
    kept[name] = hashlib.sha256(data).hexdigest()
assert ended, 'the disk was never full'
with open('/tmp/MARK', 'w') as f: f.write(repr(kept))
"#;

/// Compares with what was printed, and writes again after something was removed.
const CHECK: &str = r#"
import os, hashlib
kept = eval(open('/tmp/MARK').read())
for name, digest in kept.items():
    assert hashlib.sha256(open(name, 'rb').read()).hexdigest() == digest, name
for name in list(os.listdir('.'))[:8]: os.unlink(name)
fd = os.open('after', os.O_CREAT | os.O_WRONLY); os.write(fd, b'x' * 100000); os.fsync(fd); os.close(fd)
assert os.stat('after').st_size == 100000
"#;

#[test]
fn a_full_disk_is_an_error_at_once_and_never_at_a_checkpoint_or_an_unmount() {
    on_small_disks(64, "-m 0", |disk, world| {
        let mark = disk.path("kept").display().to_string();
        world.python(&FILL.replace("/tmp/MARK", &mark));
        // Every checkpoint, the close of the volume, and the next mount have to find their space.
        std::thread::sleep(std::time::Duration::from_millis(700));
        world.remount();
        world.python(&CHECK.replace("/tmp/MARK", &mark));
    });
}

#[test]
fn a_size_that_the_backing_cannot_have_is_refused_when_it_is_asked_for() {
    on_small_disks(64, "-b 4096", |_, world| {
        world.python(
            r"
import os, errno, time
def refused(call, *args):
    try: call(*args)
    except OSError as e: assert e.errno == errno.EFBIG, e; return
    assert False, (call, args)
fd = os.open('f', os.O_CREAT | os.O_RDWR)
for fresh in (True, False):
    # A file that was cut a moment ago has its changes in the journal.
    os.pwrite(fd, b'x' * 20000, 0); os.fsync(fd); os.ftruncate(fd, 100)
    for offset in (1 << 44, 1 << 50, 1 << 62):
        refused(lambda: (os.pwrite(fd, b'x', offset), os.fsync(fd))); refused(os.ftruncate, fd, offset)
        refused(os.posix_fallocate, fd, offset, 10)
    time.sleep(0.7)
    os.ftruncate(fd, 1 << 43); os.ftruncate(fd, 100); assert os.pread(fd, 200, 0) == b'x' * 100
os.close(fd)",
        );
        world.remount();
        world.sh("[ $(stat -c %s f) = 100 ]; echo x > more");
    });
}

#[test]
fn hard_links_up_to_the_limit_of_the_backing() {
    let disk = Disk::new(256, "-N 4000 -O ^metadata_csum");
    let mut world = disk.world(Setup::default());
    world.python(
        r"
import os, errno
open('f', 'w').write('linked')
for name in ('a', 'b'): os.mkdir(name)
for i in range(100000):
    try: os.link('f', '%s/%d' % ('ab'[i % 2], i))
    except OSError as e: assert e.errno == errno.EMLINK and i == 65000 - 1, (e, i); break
else: assert False
assert os.stat('f').st_nlink == 65000 and os.stat('a/64998').st_size == 6
for i in range(0, 64999, 3): os.unlink('%s/%d' % ('ab'[i % 2], i))
",
    );
    world.remount();
    world.sh(r#"[ $(stat -c %h f) = 43333 ]; [ $(stat -c %h b/1) = 43333 ]; [ "$(cat b/1)" = linked ]"#);
}
