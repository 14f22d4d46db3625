//! `kmsfs mount`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::io::Errno;

use super::access::AccessArgs;
use super::error::CliError;
use super::mounts::{self, FILE_SYSTEM_TYPE};
use super::options::MountOptions;
use super::output::{Output, note};
use super::serve::{Ready, ServeRequest, serve};
use super::volume::{read_config, resolve_backing};
use super::{daemon, paths, umount};
use crate::telemetry;
use crate::volume::VolumeError;

const MIB: u64 = 1 << 20;

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
    /// Options as of mount(8), with commas: ro, allow_other, default_permissions, dev, suid, noexec, noatime,
    /// fsname=NAME, writeback, nowriteback
    #[arg(short = 'o', long = "options", value_name = "OPTIONS")]
    options: Vec<String>,
    /// Length of the journal, which the mount writes once when it begins, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(4..=65536))]
    journal_mib: u64,
    /// Seconds between questions to the key management service whether the keys in use may still be used
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=30))]
    key_poll: u64,
    #[command(flatten)]
    access: AccessArgs,
}

pub(super) fn run(args: &MountArgs, output: Output) -> Result<()> {
    let options = MountOptions::parse(&args.options)?;
    let backing = resolve_backing(&args.backing)?;
    let config = read_config(&backing)?;
    if !options.read_only {
        config.require_writable().map_err(|_| unknown_feature(&backing, &config))?;
    }
    let mountpoint = check_mountpoint(&args.mountpoint, &backing)?;
    check_device()?;
    let (keystore, secret) = args.access.secret(&backing)?.unzip();
    let mut request = ServeRequest {
        backing,
        mountpoint,
        keystore,
        remote: args.access.remote.clone(),
        options,
        journal_len: args.journal_mib * MIB,
        key_poll_secs: args.key_poll,
        log: None,
    };
    if args.foreground {
        telemetry::start("info");
        return serve(&request, secret, |ready| show(ready, output)).map_err(|error| at(&request, error));
    }
    request.log = Some(daemon::log_path(&config.volume_id.to_string())?);
    let ready = daemon::start(request.clone(), secret.as_ref()).map_err(|error| at(&request, error))?;
    show(&ready, output)
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
fn check_mountpoint(path: &Path, backing: &Path) -> Result<PathBuf> {
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
    let mut entries =
        std::fs::read_dir(&point).with_context(|| format!("cannot read {}", point.display()))?;
    match entries.next() {
        Some(_) => Err(CliError::MountpointNotEmpty(point).into()),
        None => Ok(point),
    }
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
