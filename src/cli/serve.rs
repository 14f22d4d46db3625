//! The process that serves a mount, in the foreground or as a daemon.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use kms_core::service::EmbeddedKms;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::access::{self, RemoteArgs, Services};
use super::advice::Explanation;
use super::control::{Answer, Control, DomainStatus, Handler, MountStatus, Request};
use super::error::CliError;
use super::keystore::{self, Secret};
use super::options::MountOptions;
use super::{memory, protect};
use crate::crypto::Kernel;
use crate::fs::{MountedVolume, VolumeParts};
use crate::fuse::{EntryNotifier, MountConfig, MountError, Session};
use crate::keys::{KeyAt, KeyRingOptions, KeyServices};
use crate::store::BackingStore;
use crate::store::posix::PosixStore;
use crate::volume::{OpenMode, OpenOptions, OpenVolume};

/// How often the keystore carries out what is due, such as rotations and deletions.
const DUE_INTERVAL: Duration = Duration::from_secs(60);

/// Worker threads of a mount whose keys are elsewhere.
const REMOTE_THREADS: usize = 16;

const ENDING: &str = "the mount is about to end";

/// What is to be mounted. No secret is part of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ServeRequest {
    /// The backing directory, without symbolic links.
    pub(super) backing: PathBuf,
    /// The mountpoint, without symbolic links.
    pub(super) mountpoint: PathBuf,
    /// The keystore, if a key is in it.
    pub(super) keystore: Option<PathBuf>,
    /// How services elsewhere are reached.
    pub(super) remote: RemoteArgs,
    /// Options.
    pub(super) options: MountOptions,
    /// Length of the journal in bytes.
    pub(super) journal_len: u64,
    /// Time between questions whether keys may still be used, in seconds.
    pub(super) key_poll_secs: u64,
    /// The log file; none in the foreground.
    pub(super) log: Option<PathBuf>,
}

/// What is told when the mount is up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ready {
    /// The mount.
    pub(super) status: MountStatus,
    /// What the user should know, as sentences.
    pub(super) notes: Vec<String>,
}

/// Opens the volume, mounts it, calls `on_ready`, and serves it until it is unmounted.
pub(super) fn serve(
    request: &ServeRequest,
    secret: Option<Secret>,
    on_ready: impl FnOnce(&Ready) -> Result<()>,
) -> Result<()> {
    memory::keep_from_swap();
    let opened = request.keystore.as_ref().zip(secret.as_ref());
    let keystore = opened.map(|(dir, secret)| keystore::open(dir, secret)).transpose()?;
    drop(secret);
    let remote = access::is_remote(&request.backing)?;
    let services = Services::new(keystore.clone(), request.remote.clone());
    let volume = open_volume(request, Arc::new(services), remote)?;
    keystore.as_ref().map(carry_out_due).transpose()?;
    let mounted = match MountedVolume::new(VolumeParts::of(&volume, rustix::process::geteuid().is_root())) {
        Ok(mounted) => Arc::new(mounted),
        Err(error) => return Err(abandon(volume, error.into())),
    };
    let weak = Arc::downgrade(&mounted);
    let session = match Session::mount(mounted, &mount_config(request, remote)) {
        Ok(session) => session,
        Err(error) => return Err(abandon(volume, error.into())),
    };
    let notes = notes_of(&volume);
    let served = Arc::new(Served::new(request, volume, weak, session.entry_notifier()));
    let control = match Control::listen(&served.socket_name(), Arc::clone(&served) as _) {
        Ok(control) => Some(control),
        Err(error) => {
            tracing::warn!(%error, "there is no control socket: status, protect and a waiting unmount miss it");
            None
        }
    };
    session.unmounter().on_signals(true)?;
    if let Some(status) = served.status() {
        let (mountpoint, cipher_kernel) = (status.mountpoint.display(), Kernel::chosen());
        tracing::info!(volume = %status.volume, %mountpoint, %cipher_kernel, "mounted");
        on_ready(&Ready { status, notes })?;
    }
    let outcome = finish(session, &served, control.as_ref());
    if let Some(control) = control {
        let answer = match &outcome {
            Ok(()) => Answer::Ended,
            Err(error) => Answer::Failed(Explanation::of(error)),
        };
        control.tell_end(&answer);
    }
    outcome
}

/// Serves until the mount is gone, then closes the volume.
fn finish(session: Session, served: &Served, control: Option<&Control>) -> Result<()> {
    let ended = session.run();
    if let Some(control) = control {
        control.close();
    }
    let volume = served.volume.write().take();
    if matches!(ended, Err(MountError::ShutDown)) {
        // Dropped, not closed: that is what a crash is.
        tracing::warn!("unmounted after a shutdown");
        return Ok(());
    }
    let run = ended.context("the mount ended with an error");
    let Some(volume) = volume else { return run };
    let closed = volume.close().context("the volume could not be closed; the next mount recovers it");
    tracing::info!(clean = closed.is_ok(), "unmounted");
    run.and(closed)
}

/// Closes a volume that could not be mounted, and returns why.
fn abandon(volume: OpenVolume, error: anyhow::Error) -> anyhow::Error {
    if let Err(second) = volume.close() {
        tracing::error!(error = %second, "the volume could not be closed");
    }
    error
}

fn open_volume(request: &ServeRequest, services: Arc<dyn KeyServices>, remote: bool) -> Result<OpenVolume> {
    let backing = &request.backing;
    let store = PosixStore::open(backing).with_context(|| format!("cannot open {}", backing.display()))?;
    let store: Arc<dyn BackingStore> = Arc::new(store);
    let mode = if request.options.read_only { OpenMode::ReadOnly } else { OpenMode::Exclusive };
    let keys = if remote { KeyRingOptions::remote() } else { KeyRingOptions::default() };
    let options = OpenOptions { journal_len: request.journal_len, keys, ..OpenOptions::new(mode) };
    let volume = OpenVolume::open_at(store, services, &options);
    Ok(volume.map_err(|source| CliError::Volume { path: backing.clone(), source })?)
}

fn mount_config(request: &ServeRequest, remote: bool) -> MountConfig {
    let options = &request.options;
    let source = options.source.clone().unwrap_or_else(|| request.backing.display().to_string());
    let mut config = MountConfig::new(request.mountpoint.clone(), source);
    options.configure(&mut config);
    config.key_poll_interval = Duration::from_secs(request.key_poll_secs);
    // So many opens may wait for a service elsewhere while others go on.
    config.threads = remote.then_some(REMOTE_THREADS);
    config
}

fn notes_of(volume: &OpenVolume) -> Vec<String> {
    let recovered = volume.recovered().map(|recovered| {
        format!(
            "session {} had crashed; its journal was replayed ({} blocks of {} files)",
            recovered.session.0, recovered.report.blocks, recovered.report.files
        )
    });
    recovered.into_iter().collect()
}

/// Lets the keystore do what is due, for as long as somebody uses it.
fn carry_out_due(service: &Arc<EmbeddedKms>) -> Result<()> {
    let service = Arc::downgrade(service);
    std::thread::Builder::new().name("kmsfs-due".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(DUE_INTERVAL);
            let Some(service) = service.upgrade() else { return };
            if let Err(error) = service.run_due() {
                tracing::warn!(%error, "the keystore could not carry out what is due");
            }
        }
    })?;
    Ok(())
}

/// What the control socket shows of a mount.
struct Served {
    request: ServeRequest,
    since: u64,
    /// As it was mounted, or remounted last.
    read_only: AtomicBool,
    mounted: Weak<MountedVolume>,
    notifier: EntryNotifier,
    /// Taken out when the mount ends. Requests hold it for reading while they work.
    volume: RwLock<Option<OpenVolume>>,
}

impl Served {
    fn new(
        request: &ServeRequest,
        volume: OpenVolume,
        mounted: Weak<MountedVolume>,
        notifier: EntryNotifier,
    ) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            request: request.clone(),
            since,
            read_only: AtomicBool::new(request.options.read_only),
            mounted,
            notifier,
            volume: RwLock::new(Some(volume)),
        }
    }

    /// A volume that cannot be locked may be mounted several times.
    fn socket_name(&self) -> String {
        let volume = self.volume.read();
        let id = volume.as_ref().map(|volume| volume.volume_id().to_string()).unwrap_or_default();
        match volume.as_ref().is_some_and(OpenVolume::is_exclusive) {
            true => id,
            false => format!("{id}-{}", std::process::id()),
        }
    }

    fn status(&self) -> Option<MountStatus> {
        let volume = self.volume.read();
        let volume = volume.as_ref()?;
        let domains = volume.keys().domains().into_iter().map(|domain| DomainStatus {
            id: domain.id.to_string(),
            key: domain.keys.first().cloned().unwrap_or_default(),
            place: domain.places.first().map(ToString::to_string).filter(|place| !place.is_empty()),
            recipients: domain.keys.iter().take(domain.recipients).cloned().collect(),
            epoch: domain.epoch,
            unusable: domain.unusable.map(|error| error.to_string()),
        });
        Some(MountStatus {
            pid: std::process::id(),
            volume: volume.volume_id().to_string(),
            backing: self.request.backing.clone(),
            mountpoint: self.request.mountpoint.clone(),
            read_only: self.read_only.load(Ordering::Relaxed),
            session: volume.session().map(|session| session.0),
            keystore: self.request.keystore.clone(),
            log: self.request.log.clone(),
            since: self.since,
            failed: volume.context().is_failed(),
            domains: domains.collect(),
        })
    }

    fn protect(&self, path: &Path, keys: &[String]) -> Result<Answer> {
        let keys = keys.iter().map(|key| key.parse()).collect::<Result<Vec<KeyAt>, _>>()?;
        let volume = self.volume.read();
        let (volume, mounted) = volume.as_ref().zip(self.mounted.upgrade()).context(ENDING)?;
        let (domain, replaced) = protect::in_volume(volume, &mounted, path, &keys)?;
        self.notifier.entry_changed(replaced.parent, &replaced.name)?;
        Ok(Answer::Protected { domain })
    }

    /// The kernel's part of a remount is done.
    fn remounted(&self, options: &MountOptions) -> Result<Answer> {
        let mounted = self.mounted.upgrade().context(ENDING)?;
        self.read_only.store(options.read_only, Ordering::Relaxed);
        mounted.set_access_times(options.noted_accesses(), options.no_dir_access_times);
        mounted.set_dir_sync(options.sync || options.dir_sync);
        if options.read_only {
            mounted.checkpoint()?;
        }
        Ok(Answer::Done)
    }

    fn reload(&self) -> Result<Answer> {
        if let Some(volume) = self.volume.read().as_ref() {
            volume.keys().reload()?;
        }
        for inode in self.mounted.upgrade().map(|mounted| mounted.fence_unusable()).unwrap_or_default() {
            self.notifier.content_gone(inode)?;
        }
        Ok(Answer::Done)
    }
}

impl Handler for Served {
    fn answer(&self, request: Request) -> Answer {
        let answer = match request {
            Request::Status => {
                let status = self.status().map(|status| Answer::Status(Box::new(status)));
                status.context(ENDING)
            }
            Request::Protect { path, keys } => self.protect(&path, &keys),
            Request::Reload => self.reload(),
            Request::Remounted { options } => self.remounted(&options),
            Request::Wait => Ok(Answer::Done),
        };
        answer.unwrap_or_else(|error| Answer::Failed(Explanation::of(&error)))
    }
}
