//! The life of a mount: mounting, worker threads, the tick, signals, unmounting.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::{INodeNo, MountOption, Notifier, SessionACL};
use parking_lot::{Condvar, Mutex};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::adapter::Adapter;
use super::mountinfo;
use crate::fs::{AccessTimes, MountedVolume, NodeId};

const DEVICE: &str = "/dev/fuse";
const FILE_SYSTEM_TYPE: &str = "fuse.kmsfs";
const SUBTYPE: &str = "kmsfs";
const UNMOUNT_HELPER: &str = "fusermount3";
/// Fewest worker threads: one may wait for the key management service.
const MIN_THREADS: usize = 2;

/// How a volume is mounted.
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// Where. An absolute path without symbolic links.
    pub mountpoint: PathBuf,
    /// What the mount table shows as the source.
    pub source: String,
    /// Whether users other than the one who mounts may use it. Permissions are checked by the kernel anyway.
    pub allow_other: bool,
    /// Mount read-only.
    pub read_only: bool,
    /// Ignore set-id bits.
    pub no_suid: bool,
    /// Ignore device nodes.
    pub no_dev: bool,
    /// Refuse to run programs.
    pub no_exec: bool,
    /// Let the kernel collect writes. Faster for small ones; errors of the backing directory surface at fsync(2)
    /// and close(2) then.
    pub write_back: bool,
    /// Each write is durable when it returns, and each change of a directory.
    pub sync: bool,
    /// Each change of a directory is durable when it returns.
    pub dir_sync: bool,
    /// When reading is noted.
    pub access_times: AccessTimes,
    /// Reading a directory is never noted.
    pub no_dir_access_times: bool,
    /// Root may end the mount as a crash would, with `FS_IOC_SHUTDOWN`: for tests of what a crash leaves.
    pub dangerous_shutdown: bool,
    /// Worker threads; `None` is one per core, and two at least.
    pub threads: Option<usize>,
    /// Time between checkpoints.
    pub checkpoint_interval: Duration,
    /// Time between questions to the key management service whether the keys in use may still be used.
    pub key_poll_interval: Duration,
}

impl MountConfig {
    /// The defaults for a mount of `source` at `mountpoint`.
    pub fn new(mountpoint: PathBuf, source: String) -> Self {
        Self {
            mountpoint,
            source,
            allow_other: false,
            read_only: false,
            no_suid: false,
            no_dev: false,
            no_exec: false,
            write_back: false,
            sync: false,
            dir_sync: false,
            access_times: AccessTimes::default(),
            no_dir_access_times: false,
            dangerous_shutdown: false,
            threads: None,
            checkpoint_interval: Duration::from_secs(5),
            key_poll_interval: Duration::from_secs(15),
        }
    }

    fn thread_count(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(MIN_THREADS, usize::from);
        self.threads.unwrap_or(cores.max(MIN_THREADS)).max(1)
    }

    fn acl(&self) -> SessionACL {
        if self.allow_other { SessionACL::All } else { SessionACL::Owner }
    }

    /// Gives the mount at the mountpoint the options of this configuration that can change.
    ///
    /// # Errors
    /// [`MountError::Mount`]; busy if files are open for writing and it is to be read-only.
    pub fn remount(&self) -> Result<(), MountError> {
        rustix::mount::mount_remount(&self.mountpoint, self.mount_flags(), c"")
            .map_err(|errno| MountError::Mount { point: self.mountpoint.clone(), source: errno.into() })
    }

    fn mount_flags(&self) -> MountFlags {
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::RDONLY, self.read_only);
        flags.set(MountFlags::NOSUID, self.no_suid);
        flags.set(MountFlags::NODEV, self.no_dev);
        flags.set(MountFlags::NOEXEC, self.no_exec);
        flags.set(MountFlags::SYNCHRONOUS, self.sync);
        flags.set(MountFlags::DIRSYNC, self.dir_sync);
        flags.set(MountFlags::NODIRATIME, self.no_dir_access_times);
        flags |= match self.access_times {
            AccessTimes::Relative => MountFlags::RELATIME,
            AccessTimes::Always => MountFlags::STRICTATIME,
            AccessTimes::Never => MountFlags::NOATIME,
        };
        flags
    }
}

/// Why a mount or an unmount failed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The device of the kernel's file systems in user space cannot be opened.
    #[error("{DEVICE} cannot be opened: {0}")]
    Device(Errno),
    /// The mount was refused.
    #[error("mounting at {point} failed: {source}")]
    Mount {
        /// Where.
        point: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Files are open or directories are in use.
    #[error("{0} is in use")]
    Busy(PathBuf),
    /// The unmount failed otherwise.
    #[error("unmounting {point} failed: {source}")]
    Unmount {
        /// Where.
        point: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The connection to the kernel broke.
    #[error("the connection to the kernel failed: {0}")]
    Connection(std::io::Error),
    /// A thread could not be started, or signals could not be watched.
    #[error("threads or signals: {0}")]
    System(std::io::Error),
    /// The volume was shut down as a crash would, by a test: it has to be dropped, not closed.
    #[error("the volume was shut down")]
    ShutDown,
    /// What was written could not be made durable at the end.
    #[error("the last writes could not be made durable: {0}")]
    Finish(#[from] crate::fs::FsError),
}

/// A mounted volume that is served by [`Session::run`].
pub struct Session {
    inner: fuser::Session<Adapter>,
    volume: Arc<MountedVolume>,
    unmounter: Unmounter,
    checkpoint_interval: Duration,
    key_poll_interval: Duration,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("unmounter", &self.unmounter).finish_non_exhaustive()
    }
}

impl Session {
    /// Mounts `volume`. Requests wait until [`Self::run`].
    ///
    /// # Errors
    /// [`MountError`].
    pub fn mount(volume: Arc<MountedVolume>, config: &MountConfig) -> Result<Self, MountError> {
        let noted = if config.read_only { AccessTimes::Never } else { config.access_times };
        volume.set_access_times(noted, config.no_dir_access_times);
        volume.set_dir_sync(config.sync || config.dir_sync);
        let adapter = Adapter::new(Arc::clone(&volume), config);
        let failed = |source| MountError::Mount { point: config.mountpoint.clone(), source };
        let privileged = rustix::process::geteuid().is_root();
        let inner = if privileged {
            mount_directly(adapter, config)?
        } else {
            // Only the set-user-id helper may mount for others than root, and `fuser` knows how to ask it.
            fuser::Session::new(adapter, &config.mountpoint, &helper_config(config)).map_err(failed)?
        };
        let device =
            mountinfo::device_at(&config.mountpoint).map_err(|errno| failed(errno.into()))?.ok_or_else(
                || failed(std::io::Error::new(std::io::ErrorKind::NotFound, "it was unmounted at once")),
            )?;
        let unmounter = Unmounter { point: config.mountpoint.clone(), device, privileged };
        Ok(Self {
            inner,
            volume,
            unmounter,
            checkpoint_interval: config.checkpoint_interval,
            key_poll_interval: config.key_poll_interval,
        })
    }

    /// What ends this mount from another thread.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// What tells the kernel that entries have changed behind it.
    pub fn entry_notifier(&self) -> EntryNotifier {
        EntryNotifier { notifier: self.inner.notifier() }
    }

    /// Serves requests until the mount is gone, then makes everything durable.
    ///
    /// # Errors
    /// [`MountError::Connection`], [`MountError::Finish`].
    pub fn run(self) -> Result<(), MountError> {
        let stop = Arc::new(Stop::default());
        let tick = Tick {
            volume: Arc::clone(&self.volume),
            notifier: self.inner.notifier(),
            stop: Arc::clone(&stop),
            checkpoint_interval: self.checkpoint_interval,
            key_poll_interval: self.key_poll_interval,
        };
        let ticker = std::thread::Builder::new()
            .name("kmsfs-tick".to_owned())
            .spawn(move || tick.run())
            .map_err(MountError::System)?;
        // After the ticker, which puts in place what was promised before. The workers inherit it from this thread.
        obey_quotas();
        let served = self.inner.run();
        stop.raise();
        if ticker.join().is_err() {
            tracing::error!("the tick thread panicked");
        }
        if self.volume.is_shut_down() {
            return Err(MountError::ShutDown);
        }
        // What was written goes first, whatever became of the connection.
        self.volume.finish()?;
        served.map_err(MountError::Connection)
    }
}

/// Makes this thread, and those that it starts, obey quotas, from which root is exempt by a capability: files of users
/// are written by this process.
fn obey_quotas() {
    let dropped = rustix::thread::capabilities(None).and_then(|mut sets| {
        sets.effective.remove(CapabilitySet::SYS_RESOURCE);
        rustix::thread::set_capabilities(None, sets)
    });
    if let Err(errno) = dropped {
        tracing::warn!(%errno, "quotas of the backing file system may not be obeyed");
    }
}

/// Opens the device and mounts, without the helper.
fn mount_directly(adapter: Adapter, config: &MountConfig) -> Result<fuser::Session<Adapter>, MountError> {
    let device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(MountError::Device)?;
    let failed = |source| MountError::Mount { point: config.mountpoint.clone(), source };
    let options = mount_options(&device, config);
    let options = CString::new(options).map_err(|error| failed(error.into()))?;
    rustix::mount::mount(
        config.source.as_str(),
        &config.mountpoint,
        FILE_SYSTEM_TYPE,
        config.mount_flags(),
        options.as_c_str(),
    )
    .map_err(|errno| failed(errno.into()))?;
    fuser::Session::from_fd(adapter, device, config.acl(), thread_config(config)).map_err(|error| {
        // Nobody would ever answer at this mount.
        let _ = rustix::mount::unmount(&config.mountpoint, UnmountFlags::DETACH);
        failed(error)
    })
}

fn mount_options(device: &OwnedFd, config: &MountConfig) -> String {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let mut options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        uid.as_raw(),
        gid.as_raw(),
    );
    if config.allow_other {
        options.push_str(",allow_other");
    }
    options
}

fn thread_config(config: &MountConfig) -> fuser::Config {
    let mut threads = fuser::Config::default();
    threads.acl = config.acl();
    threads.n_threads = Some(config.thread_count());
    threads.clone_fd = true;
    threads
}

fn helper_config(config: &MountConfig) -> fuser::Config {
    let mut helper = thread_config(config);
    helper.mount_options = vec![
        MountOption::FSName(config.source.clone()),
        MountOption::Subtype(SUBTYPE.to_owned()),
        MountOption::DefaultPermissions,
        if config.read_only { MountOption::RO } else { MountOption::RW },
    ];
    let flags = [
        (config.no_exec, MountOption::NoExec),
        (config.sync, MountOption::Sync),
        (config.dir_sync, MountOption::DirSync),
        (config.access_times == AccessTimes::Never, MountOption::NoAtime),
    ];
    helper.mount_options.extend(flags.into_iter().filter(|(wanted, _)| *wanted).map(|(_, option)| option));
    helper
}

/// Tells the kernel that entries have changed behind it.
#[derive(Clone)]
pub struct EntryNotifier {
    notifier: Notifier,
}

impl std::fmt::Debug for EntryNotifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EntryNotifier(..)")
    }
}

impl EntryNotifier {
    /// The kernel has to drop what it keeps of the content of `inode`. One that it does not know is no error.
    ///
    /// # Errors
    /// [`MountError::Connection`].
    pub fn content_gone(&self, inode: NodeId) -> Result<(), MountError> {
        // A length of 0 means all of the content.
        match self.notifier.inval_inode(INodeNo(inode.0), 0, 0) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(MountError::Connection),
        }
    }

    /// The entry `name` of `parent` has to be looked up again. One that the kernel does not know is no error. Must not
    /// be called by a thread that a request waits for.
    ///
    /// # Errors
    /// [`MountError::Connection`].
    pub fn entry_changed(&self, parent: NodeId, name: &OsStr) -> Result<(), MountError> {
        match self.notifier.inval_entry(INodeNo(parent.0), name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(MountError::Connection),
        }
    }
}

/// Ends a mount. Never touches another file system that was mounted at the same place later.
#[derive(Debug, Clone)]
pub struct Unmounter {
    point: PathBuf,
    device: String,
    privileged: bool,
}

impl Unmounter {
    /// Where the mount is.
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// Unmounts. With `detach` a mount in use vanishes from the tree, and ends when its last file is closed.
    /// A mount that is gone already is no error.
    ///
    /// # Errors
    /// [`MountError::Busy`], [`MountError::Unmount`].
    pub fn unmount(&self, detach: bool) -> Result<(), MountError> {
        let failed = |source| MountError::Unmount { point: self.point.clone(), source };
        let mounted = mountinfo::device_at(&self.point).map_err(|errno| failed(errno.into()))?;
        if mounted.as_deref() != Some(self.device.as_str()) {
            return Ok(());
        }
        if !self.privileged {
            return self.unmount_by_helper(detach);
        }
        let flags = if detach { UnmountFlags::DETACH } else { UnmountFlags::empty() };
        match rustix::mount::unmount(&self.point, flags | UnmountFlags::NOFOLLOW) {
            Ok(()) => Ok(()),
            Err(Errno::BUSY) => Err(MountError::Busy(self.point.clone())),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    fn unmount_by_helper(&self, detach: bool) -> Result<(), MountError> {
        let mut command = Command::new(UNMOUNT_HELPER);
        command.arg("-u").arg("-q");
        if detach {
            command.arg("-z");
        }
        let status = command
            .arg("--")
            .arg(&self.point)
            .status()
            .map_err(|source| MountError::Unmount { point: self.point.clone(), source })?;
        if status.success() { Ok(()) } else { Err(MountError::Busy(self.point.clone())) }
    }

    /// From now on SIGTERM and SIGINT unmount. A mount in use is detached if `detach_when_busy`, and else stays
    /// with a line in the log until the next signal.
    ///
    /// # Errors
    /// [`MountError::System`].
    pub fn on_signals(self, detach_when_busy: bool) -> Result<(), MountError> {
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(MountError::System)?;
        std::thread::Builder::new()
            .name("kmsfs-signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    tracing::info!(signal, "unmounting");
                    match self.unmount(false) {
                        Err(MountError::Busy(_)) if detach_when_busy => {
                            if let Err(error) = self.unmount(true) {
                                tracing::error!(%error, "the mount stays");
                            }
                        }
                        Err(error) => tracing::error!(%error, "the mount stays"),
                        Ok(()) => {}
                    }
                }
            })
            .map(|_| ())
            .map_err(MountError::System)
    }
}

/// Tells the tick to end.
#[derive(Default)]
struct Stop {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn raise(&self) {
        *self.raised.lock() = true;
        self.changed.notify_all();
    }

    /// Waits for `time`; true if it is time to end.
    fn wait(&self, time: Duration) -> bool {
        let mut raised = self.raised.lock();
        if !*raised {
            self.changed.wait_for(&mut raised, time);
        }
        *raised
    }
}

/// What happens without a request: checkpoints, and the question whether keys may still be used.
struct Tick {
    volume: Arc<MountedVolume>,
    notifier: Notifier,
    stop: Arc<Stop>,
    checkpoint_interval: Duration,
    key_poll_interval: Duration,
}

impl Tick {
    fn run(&self) {
        let start = Instant::now();
        let (mut checkpoint_at, mut poll_at) =
            (start + self.checkpoint_interval, start + self.key_poll_interval);
        loop {
            let next = checkpoint_at.min(poll_at);
            if self.stop.wait(next.saturating_duration_since(Instant::now())) {
                return;
            }
            let now = Instant::now();
            if now >= checkpoint_at {
                if let Err(error) = self.volume.checkpoint() {
                    tracing::error!(%error, "a checkpoint failed");
                }
                checkpoint_at = Instant::now() + self.checkpoint_interval;
            }
            if now >= poll_at {
                self.fence();
                poll_at = Instant::now() + self.key_poll_interval;
            }
        }
    }

    /// Drops the keys that may not be used any more, here and with them what the kernel keeps of the files.
    fn fence(&self) {
        for id in self.volume.fence_unusable() {
            // A length of 0 means all of the content.
            if let Err(error) = self.notifier.inval_inode(INodeNo(id.0), 0, 0) {
                tracing::warn!(inode = id.0, %error, "the kernel may still hold content of a fenced file");
            }
        }
    }
}
