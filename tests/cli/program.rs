//! A scratch place with a keystore, a volume and a mountpoint, and the program to run on them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Found in the environment or the arguments of any process, this would be a leak.
pub(crate) const PASSPHRASE: &str = "correct-horse-battery-staple";
/// What mounts of tests write when they begin.
const JOURNAL_MIB: &str = "4";

/// A scratch place. Unmounts what is mounted in it when it is dropped.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The JSON that was printed.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless the command succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Fails unless the command ended with `code`, and said all of `words` to standard error, with an advice.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is missing in {self:?}");
        }
        assert!(self.err.contains("help: "), "{self:?}");
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Fails if `done` does not hold within half a minute.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Place {
    /// An empty place with a passphrase file, a backing directory and a mountpoint.
    pub(crate) fn empty() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        for dir in ["backing", "mount", "home", "run"] {
            std::fs::create_dir(place.path(dir)).unwrap();
        }
        std::fs::write(place.path("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
        place
    }

    /// A place with a volume.
    pub(crate) fn with_volume() -> Self {
        let place = Self::empty();
        place.run(["init", "backing"]).ok();
        place
    }

    /// A place with a mounted volume.
    pub(crate) fn with_mount() -> Self {
        let place = Self::with_volume();
        place.mount(&[]).ok();
        place
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command with nothing of the tester's own environment.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("KMSFS_KEYSTORE", self.path("keystore"))
            .env("KMSFS_PASSPHRASE_FILE", self.path("passphrase"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// The program.
    pub(crate) fn kmsfs(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_kmsfs"))
    }

    pub(crate) fn run<const LEN: usize>(&self, args: [&str; LEN]) -> Ran {
        self.kmsfs().args(args).output().unwrap().into()
    }

    /// Mounts `backing` at `mount`.
    pub(crate) fn mount(&self, more: &[&str]) -> Ran {
        let base = ["mount", "backing", "mount", "--journal-mib", JOURNAL_MIB];
        self.kmsfs().args(base).args(more).output().unwrap().into()
    }

    pub(crate) fn umount(&self) -> Ran {
        self.run(["umount", "mount"])
    }

    /// Runs a shell script here, with the program as `$KMSFS`.
    pub(crate) fn sh(&self, script: &str) -> Ran {
        let mut shell = self.command("bash");
        shell.env("KMSFS", env!("CARGO_BIN_EXE_kmsfs")).args(["-euc", script]);
        shell.output().unwrap().into()
    }

    /// The process that serves the mount.
    pub(crate) fn server(&self) -> u32 {
        let status = self.run(["status", "backing", "--json"]).json();
        u32::try_from(status["Process"]["Pid"].as_u64().unwrap()).unwrap()
    }

    /// Kills the process that serves the mount, and waits until nobody answers there.
    pub(crate) fn kill_server(&self) {
        let server = self.server().to_string();
        assert!(Command::new("kill").args(["-9", &server]).status().unwrap().success());
        let point = self.path("mount");
        // The kernel never answers this by itself.
        let answers = || Command::new("stat").arg("-f").arg(&point).output().unwrap().status.success();
        wait_for("the mount is stale", || !answers());
    }

    /// Everything below `name`, with its content or its link target, to see whether anything changed.
    pub(crate) fn snapshot(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut seen = BTreeMap::new();
        let mut open = vec![self.path(name)];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
                let content = if kind.is_dir() {
                    open.push(path.clone());
                    Vec::new()
                } else if kind.is_symlink() {
                    std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                } else {
                    std::fs::read(&path).unwrap()
                };
                seen.insert(path, content);
            }
        }
        seen
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
        for point in points.filter(|point| point.starts_with(self.dir.path())) {
            let _ = Command::new("umount").arg("--lazy").arg(point).status();
        }
    }
}
