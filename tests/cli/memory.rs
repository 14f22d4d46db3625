//! Memory of the process that serves a mount, as the kernel counts it.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::program::Place;

const MIB: u64 = 1 << 20;

/// A value of `/proc/PID/status`, in bytes.
fn status(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Makes `count` empty files in `dir` without opening them.
fn make_files(dir: &Path, count: usize) {
    let script = format!(
        "import os\nfor i in range({count}): os.mknod('file-%06d' % i, 0o100644)\nassert len(os.listdir('.')) == {count}"
    );
    let ran = std::process::Command::new("python3").args(["-c", &script]).current_dir(dir).status().unwrap();
    assert!(ran.success());
}

#[test]
fn an_idle_mount_with_100_000_known_inodes_takes_at_most_64_mib() {
    let place = Place::with_mount();
    let (server, dir) = (place.server(), place.path("mount/many"));
    let fresh = status(server, "VmRSS");
    std::fs::create_dir(&dir).unwrap();
    make_files(&dir, 100_000);
    let idle = status(server, "VmRSS");
    // Else the kernel has forgotten them, and this shows nothing.
    assert!(idle > fresh + 100_000 * 100, "{} KiB for the inodes", (idle - fresh) / 1024);
    assert!(idle <= 64 * MIB, "{} KiB resident", idle / 1024);
    place.umount().ok();
}

#[test]
fn a_busy_mount_takes_at_most_256_mib() {
    let place = Place::with_mount();
    let server = place.server();
    std::thread::scope(|scope| {
        for worker in 0..16u64 {
            let dir = place.path(format!("mount/{worker}"));
            scope.spawn(move || {
                std::fs::create_dir(&dir).unwrap();
                load(&dir, worker);
            });
        }
    });
    let peak = status(server, "VmHWM");
    assert!(peak <= 256 * MIB, "{} KiB at the peak", peak / 1024);
    place.umount().ok();
}

/// Streams, overwrites at random places, small files, reading of everything, and no pauses.
fn load(dir: &Path, worker: u64) {
    let chunk = vec![worker as u8; MIB as usize];
    let mut big = std::fs::File::create(dir.join("big")).unwrap();
    (0..24).for_each(|_| big.write_all(&chunk).unwrap());
    let big = std::fs::File::options().read(true).write(true).open(dir.join("big")).unwrap();
    for step in 0..400u64 {
        let at = step.wrapping_mul(2_654_435_761) % (24 * MIB - 4096);
        big.write_at(&chunk[..4096], at).unwrap();
    }
    big.sync_all().unwrap();
    for file in 0..150 {
        std::fs::write(dir.join(format!("small-{file}")), &chunk[..3000]).unwrap();
    }
    for entry in std::fs::read_dir(dir).unwrap() {
        let _ = std::fs::read(entry.unwrap().path()).unwrap();
    }
}
