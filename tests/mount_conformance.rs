//! The conformance suites of others on a mounted volume. They take minutes and programs from the registry:
//!
//! `cargo install pjdfstest fsx`, then `cargo test --test mount_conformance -- --ignored` as root. The users
//! `nobody` and `tests` have to exist. `KMSFS_FSX_OPERATIONS` sets how long fsx runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::{Setup, World, in_every_setup};

const PJDFSTEST: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utimensat = {}
utime_now = {}
[settings]
naptime = 0.02
allow_remount = false
[dummy_auth]
entries = [["nobody", "nogroup"], ["tests", "tests"]]
"#;

const FSX: &str = r#"
flen = 1048576
[opsize]
max = 131072
[weights]
close_open = 1.0
invalidate = 1.0
truncate = 3.0
fsync = 0.2
fdatasync = 0.2
posix_fallocate = 2.0
read = 10.0
write = 10.0
mapread = 5.0
mapwrite = 5.0
punch_hole = 3.0
sendfile = 1.0
posix_fadvise = 1.0
copy_file_range = 2.0
"#;

/// Lets other users reach the mount, which lies in a private scratch directory.
fn open_up(world: &World) {
    for path in world.point.ancestors().take(2) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
}

#[test]
#[ignore = "needs pjdfstest from the registry"]
fn pjdfstest_has_no_failure() {
    in_every_setup(|world: &mut World| {
        open_up(world);
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), PJDFSTEST).unwrap();
        let output = Command::new("pjdfstest")
            .arg("-c")
            .arg(config.path())
            .arg("-p")
            .arg(&world.point)
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&output.stdout);
        let failed: Vec<_> = report.lines().filter(|line| line.ends_with("FAILED")).collect();
        assert!(output.status.success() && failed.is_empty(), "{:?}: {failed:#?}", world.setup);
    });
}

#[test]
#[ignore = "needs fsx from the registry"]
fn fsx_finds_no_difference() {
    let operations = std::env::var("KMSFS_FSX_OPERATIONS").unwrap_or_else(|_| "20000".to_owned());
    for write_back in [false, true] {
        let world = World::new(Setup { write_back, ..Setup::default() });
        let scratch = tempfile::tempdir().unwrap();
        let config = scratch.path().join("fsx.toml");
        std::fs::write(&config, FSX).unwrap();
        let output = Command::new("fsx")
            .arg("-f")
            .arg(&config)
            .args(["-N", &operations, "-P"])
            .arg(scratch.path())
            .arg(world.path("fsx"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{write_back}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
