//! `kmsfs mount`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::Errno;

use super::access::{AccessArgs, TierArg};
use super::error::CliError;
use super::further_seals::FurtherSealsArgs;
use super::init::{self, InitArgs};
use super::keystore::Secret;
use super::mounts::{self, FILE_SYSTEM_TYPE};
use super::options::{JOURNAL_MIB, KEY_POLL, OptionList};
use super::output::{Output, note};
use super::serve::{Ready, ServeRequest, serve};
use super::volume::{backing_of_source, lock_holder, read_config, resolve_backing};
use super::{control, daemon, paths, remount, umount};
use crate::telemetry;
use crate::volume::VolumeError;

const MIB: u64 = 1 << 20;
const JOURNAL_MIB_DEFAULT: u64 = 64;
const KEY_POLL_DEFAULT: u64 = 15;
/// How long a mount waits for one that is about to end.
const LEAVING_MAX: Duration = Duration::from_secs(30);
const LEAVING_PAUSE: Duration = Duration::from_millis(10);

/// Mount a volume; returns when the mount is up
#[derive(Debug, clap::Args)]
pub(super) struct MountArgs {
    /// The backing directory
    backing: PathBuf,
    /// Where: an empty directory
    mountpoint: PathBuf,
    /// Stay in the foreground and log to standard error
    #[arg(long, short)]
    foreground: bool,
    /// Options as of mount(8), with commas: ro, allow_other, dev, suid, noexec, sync, noatime, strictatime, remount,
    /// fsname=NAME, writeback; docs/cli.md has them all
    #[arg(short = 'o', long = "options", value_name = "OPTIONS")]
    options: Vec<String>,
    /// Length of the journal, which the mount writes once when it begins, in MiB [default: 64]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(JOURNAL_MIB))]
    journal_mib: Option<u64>,
    /// Seconds between questions to the key management service whether the keys in use may still be used
    ///
    /// [default: 15]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(KEY_POLL))]
    key_poll: Option<u64>,
    #[command(flatten)]
    access: AccessArgs,
}

pub(super) fn run(args: &MountArgs, output: Output) -> Result<()> {
    let mut options = OptionList::parse(&args.options)?;
    options.journal_mib = args.journal_mib.or(options.journal_mib);
    options.key_poll = args.key_poll.or(options.key_poll);
    let access = AccessArgs {
        keystore: options.keystore_over(&args.access.keystore),
        remote: options.remote_over(&args.access.remote),
    };
    let wish = Wish { backing: &args.backing, mountpoint: &args.mountpoint, options, access };
    if wish.options.remount {
        return remount::run(&wish);
    }
    let (request, secret) = wish.prepare(true)?;
    if args.foreground {
        telemetry::start("info");
        return serve(&request, secret, |ready| show(ready, output)).map_err(|error| at(&request, error));
    }
    show(&wish.start(request, secret.as_ref())?, output)
}

/// A mount that somebody wishes for.
pub(super) struct Wish<'a> {
    /// The backing directory, as it was named.
    pub(super) backing: &'a Path,
    /// Where, as it was named.
    pub(super) mountpoint: &'a Path,
    /// What `-o` said.
    pub(super) options: OptionList,
    /// What opens the volume.
    pub(super) access: AccessArgs,
}

impl Wish<'_> {
    /// Checks everything that can be checked without a key, and makes the volume if that is asked for. The mountpoint
    /// has to be empty if `empty`. Asks for what opens the keystore last, and only if a key is in it.
    pub(super) fn prepare(&self, empty: bool) -> Result<(ServeRequest, Option<Secret>)> {
        let options = &self.options;
        if options.init && needs_init(self.backing)? {
            init::make(&self.init_args())?;
        }
        let backing = resolve_backing(self.backing)?;
        let config = read_config(&backing)?;
        if !options.mount.read_only {
            config.require_writable().map_err(|_| unknown_feature(&backing, &config))?;
        }
        let mountpoint = check_mountpoint(self.mountpoint, &backing, empty)?;
        check_device()?;
        wait_for_leaving(&backing);
        let (keystore, secret) = self.access.secret(&backing)?.unzip();
        let request = ServeRequest {
            backing,
            mountpoint,
            keystore,
            remote: self.access.remote.clone(),
            options: options.mount.clone(),
            journal_len: options.journal_mib.unwrap_or(JOURNAL_MIB_DEFAULT) * MIB,
            key_poll_secs: options.key_poll.unwrap_or(KEY_POLL_DEFAULT),
            log: None,
        };
        Ok((request, secret))
    }

    /// Starts the process that serves the mount, and returns when the mount is up.
    pub(super) fn start(&self, mut request: ServeRequest, secret: Option<&Secret>) -> Result<Ready> {
        let config = read_config(&request.backing)?;
        request.log = Some(daemon::log_path(&config.volume_id.to_string())?);
        daemon::start(request.clone(), secret).map_err(|error| at(&request, error))
    }

    fn init_args(&self) -> InitArgs {
        InitArgs {
            backing: self.backing.to_owned(),
            key: self.options.key.clone(),
            recipient: Vec::new(),
            region: self.options.region.clone(),
            key_tier: TierArg::Kms,
            plain_names: self.options.plain_names,
            dangerous_fast_kdf: self.options.dangerous_fast_kdf,
            access: self.access.clone(),
            // A mount shows nothing but errors.
            further: FurtherSealsArgs::none(),
        }
    }
}

/// Whether a volume is to be made in `backing`: it is missing, or empty.
fn needs_init(backing: &Path) -> Result<bool> {
    match std::fs::read_dir(backing) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", backing.display())),
    }
}

/// Waits for the process of a mount of the same volume that is gone from the tree: umount(8) does not wait until the
/// volume is closed. Whoever does not go in time is found to have the volume open.
fn wait_for_leaving(backing: &Path) {
    let deadline = Instant::now() + LEAVING_MAX;
    while is_leaving(backing) && Instant::now() < deadline {
        std::thread::sleep(LEAVING_PAUSE);
    }
}

fn is_leaving(backing: &Path) -> bool {
    let Some(holder) = lock_holder(backing).filter(|holder| holder.holds_lock(backing)) else { return false };
    // The mount table is all there is to see of a process whose socket is somewhere else.
    let shown = mounts::all().unwrap_or_default();
    let of_volume = |entry: &mounts::MountEntry| {
        entry.kind == FILE_SYSTEM_TYPE && backing_of_source(entry.source.as_os_str()) == backing
    };
    if shown.iter().any(of_volume) {
        return false;
    }
    match control::of_backing(backing) {
        // Its control socket goes first when a mount ends, and comes last when it begins.
        None => is_daemon(holder.pid),
        Some((_, status)) => !mounts::at(&status.mountpoint)
            .is_ok_and(|entry| entry.is_some_and(|entry| entry.kind == FILE_SYSTEM_TYPE)),
    }
}

fn at(request: &ServeRequest, error: anyhow::Error) -> anyhow::Error {
    error.context(format!("cannot mount {} at {}", request.backing.display(), request.mountpoint.display()))
}

fn show(ready: &Ready, output: Output) -> Result<()> {
    ready.notes.iter().for_each(|text| note(text));
    // Silent like mount(8): the mount is there.
    output.show(&ready.status, |_| String::new())
}

fn unknown_feature(backing: &Path, config: &crate::config::VolumeConfig) -> CliError {
    let bits = config.superblock().ro_compat & !crate::config::KNOWN_RO_COMPAT;
    CliError::Volume {
        path: backing.to_owned(),
        source: VolumeError::UnknownFeature { bits, readable: true },
    }
}

/// The mountpoint without symbolic links, if a volume can be mounted there. A mount whose process is gone is removed
/// first.
fn check_mountpoint(path: &Path, backing: &Path, empty: bool) -> Result<PathBuf> {
    let point = paths::resolve_mountpoint(path);
    clear_stale(&point)?;
    let found = match std::fs::metadata(&point) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(CliError::MountpointMissing(point).into());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", point.display())),
    };
    if !found.is_dir() {
        return Err(CliError::MountpointNotADirectory(point).into());
    }
    if let Some(entry) = mounts::at(&point)?
        && entry.kind == FILE_SYSTEM_TYPE
    {
        return Err(CliError::MountedAlready { point, from: entry.source.display().to_string() }.into());
    }
    let (point, backing) = (point, backing.to_owned());
    if point.starts_with(&backing) {
        return Err(CliError::MountpointInBacking { point, backing }.into());
    }
    if backing.starts_with(&point) {
        return Err(CliError::BackingInMountpoint { point, backing }.into());
    }
    if !empty {
        return Ok(point);
    }
    let mut entries =
        std::fs::read_dir(&point).with_context(|| format!("cannot read {}", point.display()))?;
    match entries.next() {
        Some(_) => Err(CliError::MountpointNotEmpty(point).into()),
        None => Ok(point),
    }
}

/// Whether the process serves a mount in the background: whoever checks or rewraps a volume takes longer.
fn is_daemon(pid: u32) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).nth(1) == Some(daemon::VERB.as_bytes())
}

/// Removes a mount of kmsfs at `point` whose process is gone.
fn clear_stale(point: &Path) -> Result<()> {
    if !is_stale(point) {
        return Ok(());
    }
    match mounts::at(point)? {
        Some(entry) if entry.kind == FILE_SYSTEM_TYPE => {
            umount::detach(point)?;
            note(&format!("the process that served {} is gone; its mount was removed", point.display()));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether nobody answers at `point` any more. Asks for what the kernel never answers by itself: attributes may
/// still be in its cache.
pub(super) fn is_stale(point: &Path) -> bool {
    // The second one is for a request that was under way when the process died.
    matches!(rustix::fs::statvfs(point), Err(Errno::NOTCONN | Errno::CONNABORTED))
}

fn check_device() -> Result<()> {
    match std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(_) => Ok(()),
        Err(error) => Err(CliError::NoFuse(error).into()),
    }
}
