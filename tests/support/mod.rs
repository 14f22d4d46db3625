//! A volume in a scratch directory, mounted by this very process, with an embedded key management service in
//! memory.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses its part, and a failed step ends the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kms_core::client::KeyService;
use kms_core::model::{AccountId, Caller, CreateKeyRequest, KeyOnlyRequest, KeyRef};
use kms_core::service::EmbeddedKms;
use kmsfs::format::NameMode;
use kmsfs::fs::{MountedVolume, VolumeParts};
use kmsfs::fuse::{MountConfig, MountError, Session, Unmounter};
use kmsfs::store::BackingStore;
use kmsfs::store::posix::PosixStore;
use kmsfs::volume::{self, InitOptions, OpenMode, OpenOptions, OpenVolume};

/// Short, so that tests see several checkpoints and key polls.
const TICK: Duration = Duration::from_millis(300);
const JOURNAL_LEN: u64 = 16 << 20;

/// How a test volume is made and mounted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub names: NameMode,
    pub write_back: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { names: NameMode::Encrypted, write_back: false }
    }
}

/// Every way to mount that a user can choose.
pub(crate) const EVERY_SETUP: [Setup; 3] = [
    Setup { names: NameMode::Encrypted, write_back: false },
    Setup { names: NameMode::Encrypted, write_back: true },
    Setup { names: NameMode::Plain, write_back: false },
];

/// Runs `test` on a fresh volume for every way to mount.
pub(crate) fn in_every_setup(test: impl Fn(&mut World)) {
    for setup in EVERY_SETUP {
        let mut world = World::new(setup);
        test(&mut world);
        world.unmount();
    }
}

/// A volume, mounted or not.
pub(crate) struct World {
    pub setup: Setup,
    pub service: Arc<EmbeddedKms>,
    pub key: String,
    pub backing: PathBuf,
    pub point: PathBuf,
    running: Option<Running>,
    _scratch: Option<tempfile::TempDir>,
}

struct Running {
    unmounter: Unmounter,
    thread: JoinHandle<Result<(), MountError>>,
    volume: Arc<OpenVolume>,
    store: Arc<PosixStore>,
}

/// As the file system calls the service.
pub(crate) fn caller() -> Caller {
    Caller::service(AccountId::local(), "root", "kmsfs")
}

/// A log to standard error for whoever sets `KMSFS_LOG`.
pub(crate) fn start_log() {
    if let Ok(filter) = std::env::var("KMSFS_LOG") {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
            .with_writer(std::io::stderr)
            .try_init();
    }
}

impl World {
    /// A fresh volume in a scratch directory, mounted.
    pub(crate) fn new(setup: Setup) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let (backing, point) = (scratch.path().join("backing"), scratch.path().join("mount"));
        std::fs::create_dir(&backing).unwrap();
        std::fs::create_dir(&point).unwrap();
        let mut world = Self::at(setup, backing, point);
        world._scratch = Some(scratch);
        world
    }

    /// A fresh volume in the empty directory `backing`, mounted at `point`.
    pub(crate) fn at(setup: Setup, backing: PathBuf, point: PathBuf) -> Self {
        start_log();
        let service = Arc::new(EmbeddedKms::in_memory().unwrap());
        let key = service.create_key(&caller(), &CreateKeyRequest::default()).unwrap();
        let key = key.key_metadata.arn.to_string();
        let store = PosixStore::open(&backing).unwrap();
        let options =
            InitOptions { key: Some(key.clone()), name_mode: setup.names, ..InitOptions::default() };
        volume::init(&store, &(service.clone() as Arc<dyn KeyService>), &caller(), &options).unwrap();
        let mut world = Self { setup, service, key, backing, point, running: None, _scratch: None };
        world.mount();
        world
    }

    /// Mounts the volume.
    pub(crate) fn mount(&mut self) {
        let posix = Arc::new(PosixStore::open(&self.backing).unwrap());
        let store: Arc<dyn BackingStore> = posix.clone();
        let options = OpenOptions { journal_len: JOURNAL_LEN, ..OpenOptions::new(OpenMode::Exclusive) };
        let volume = OpenVolume::open_with(store, self.service.clone(), caller(), &options).unwrap();
        let volume = Arc::new(volume);
        let mounted = Arc::new(MountedVolume::new(VolumeParts::of(&volume, true)).unwrap());
        let mut config = MountConfig::new(self.point.clone(), self.backing.display().to_string());
        config.allow_other = true;
        config.write_back = self.setup.write_back;
        config.checkpoint_interval = TICK;
        config.key_poll_interval = TICK;
        let session = Session::mount(mounted, &config).unwrap();
        let unmounter = session.unmounter();
        let thread = std::thread::spawn(move || session.run());
        self.running = Some(Running { unmounter, thread, volume, store: posix });
    }

    /// Unmounts and closes the volume; panics if anything fails.
    pub(crate) fn unmount(&mut self) {
        let Some(running) = self.running.take() else { return };
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match running.unmounter.unmount(false) {
                Ok(()) => break,
                Err(MountError::Busy(_)) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => {
                    running.unmounter.unmount(true).unwrap();
                    panic!("{error}");
                }
            }
        }
        running.thread.join().unwrap().unwrap();
        let volume = Arc::into_inner(running.volume).expect("the session gave its part back");
        volume.close().unwrap();
    }

    /// Unmounts and mounts again, so that nothing is left in any cache.
    pub(crate) fn remount(&mut self) {
        self.unmount();
        self.mount();
    }

    /// Waits until the mount is gone, however that comes.
    pub(crate) fn wait(&mut self) {
        if let Some(running) = self.running.take() {
            running.thread.join().unwrap().unwrap();
            Arc::into_inner(running.volume).unwrap().close().unwrap();
        }
    }

    /// How many contents are open.
    pub(crate) fn open_contents(&self) -> usize {
        self.running.as_ref().unwrap().volume.context().all_live().len()
    }

    /// How many system calls the mount has made on the backing directory.
    pub(crate) fn backing_calls(&self) -> u64 {
        self.running.as_ref().unwrap().store.counts().total()
    }

    pub(crate) fn unmounter(&self) -> Unmounter {
        self.running.as_ref().unwrap().unmounter.clone()
    }

    fn key_ref(&self) -> KeyRef {
        self.key.parse().unwrap()
    }

    pub(crate) fn disable_key(&self) {
        self.service.disable_key(&caller(), &KeyOnlyRequest::new(self.key_ref())).unwrap();
    }

    pub(crate) fn enable_key(&self) {
        self.service.enable_key(&caller(), &KeyOnlyRequest::new(self.key_ref())).unwrap();
    }

    /// A path in the mount.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.point.join(name)
    }

    /// Runs a shell script with the mount as its working directory and returns what it printed.
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        assert!(
            output.status.success(),
            "{script}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a Python script with the mount as its working directory.
    pub(crate) fn python(&self, script: &str) {
        let mut command = Command::new("python3");
        let output = command.args(["-c", script]).current_dir(&self.point).output().unwrap();
        assert!(
            output.status.success(),
            "{:?}\n{}{}",
            self.setup,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
    }

    /// As [`Self::sh`], for a script that may fail.
    pub(crate) fn try_sh(&self, script: &str) -> Output {
        Command::new("bash").args(["-ec", script]).current_dir(&self.point).output().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Some(running) = self.running.take() {
                let _ = running.unmounter.unmount(true);
            }
        } else {
            self.unmount();
        }
    }
}
