//! `kmsfs status`: what is mounted, and who has a volume open.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::control::{self, MountStatus};
use super::mounts::{self, FILE_SYSTEM_TYPE};
use super::output::Output;
use super::volume::{LockText, backing_of, backing_of_source, lock_holder, read_config};
use super::{daemon, mount};

/// Show what is mounted, or who has a volume open
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// A backing directory or a mountpoint [default: all mounts]
    path: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Mounts {
    mounts: Vec<Mounted>,
}

/// A mount as the kernel has it, and as its process describes it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Mounted {
    mountpoint: PathBuf,
    source: PathBuf,
    options: String,
    /// Whether a process still answers requests of the kernel.
    alive: bool,
    process: Option<MountStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct VolumeStatus {
    volume_id: String,
    backing: PathBuf,
    /// Who signed the lock last.
    lock: Option<LockText>,
    /// Whether that process runs on this machine.
    holder_runs_here: bool,
    process: Option<MountStatus>,
    /// Mountpoints whose process is gone.
    dead_mounts: Vec<PathBuf>,
    log: PathBuf,
}

pub(super) fn run(args: &StatusArgs, output: Output) -> Result<()> {
    match &args.path {
        None => output.show(&Mounts { mounts: list()? }, |all| match all.mounts.is_empty() {
            true => "Nothing is mounted.".to_owned(),
            false => all.mounts.iter().map(describe_mount).collect::<Vec<_>>().join("\n"),
        }),
        Some(path) => output.show(&of_volume(path)?, describe_volume),
    }
}

fn list() -> Result<Vec<Mounted>> {
    let mut running: Vec<MountStatus> = control::running().into_iter().map(|(_, status)| status).collect();
    let mounts = mounts::all()?.into_iter().filter(|entry| entry.kind == FILE_SYSTEM_TYPE);
    let described = mounts.map(|entry| {
        let place = running.iter().position(|status| status.mountpoint == entry.point);
        let process = place.map(|place| running.swap_remove(place));
        let alive = process.is_some() || !mount::is_stale(&entry.point);
        Mounted { mountpoint: entry.point, source: entry.source, options: entry.options, alive, process }
    });
    Ok(described.collect())
}

fn of_volume(path: &Path) -> Result<VolumeStatus> {
    let backing = backing_of(path)?;
    let config = read_config(&backing)?;
    let volume_id = config.volume_id.to_string();
    let process = control::of_backing(&backing).map(|(_, status)| status);
    let lock = lock_holder(&backing);
    let holder_runs_here = lock.as_ref().is_some_and(LockText::is_running_here);
    let is_dead = |mount: &Mounted| !mount.alive && backing_of_source(mount.source.as_os_str()) == backing;
    let dead_mounts = list()?.into_iter().filter(is_dead).map(|mount| mount.mountpoint).collect();
    let log = daemon::log_path(&volume_id)?;
    Ok(VolumeStatus { volume_id, backing, lock, holder_runs_here, process, dead_mounts, log })
}

fn describe_mount(mounted: &Mounted) -> String {
    let head =
        format!("{} on {} ({})", mounted.source.display(), mounted.mountpoint.display(), mounted.options);
    let body = match &mounted.process {
        Some(status) => describe_process(status),
        None if mounted.alive => "  its process does not answer to this user".to_owned(),
        None => "  its process is gone; `kmsfs umount` removes it".to_owned(),
    };
    format!("{head}\n{body}")
}

fn describe_process(status: &MountStatus) -> String {
    let mut lines = vec![format!("  volume   {}", status.volume), format!("  process  {}", status.pid)];
    if let Some(keystore) = &status.keystore {
        lines.push(format!("  keystore {}", keystore.display()));
    }
    if let Some(session) = status.session {
        lines.push(format!("  session  {session}"));
    }
    if let Some(log) = &status.log {
        lines.push(format!("  log      {}", log.display()));
    }
    if status.failed {
        lines.push(
            "  an fsync failed for good: the volume takes no writes until it is mounted again".to_owned(),
        );
    }
    for domain in &status.domains {
        let state = domain.unusable.as_deref().unwrap_or("usable");
        let place = domain.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
        lines.push(format!("  domain   {} under {}{place} ({state})", domain.id, domain.key));
        for other in domain.recipients.iter().skip(1) {
            lines.push(format!("           and under {other}"));
        }
    }
    lines.join("\n")
}

fn describe_volume(status: &VolumeStatus) -> String {
    let mut lines = vec![format!("{} is the volume {}", status.backing.display(), status.volume_id)];
    match (&status.process, &status.lock) {
        (Some(process), _) => {
            lines.push(format!("mounted at {}", process.mountpoint.display()));
            lines.push(describe_process(process));
        }
        (None, Some(lock)) if status.holder_runs_here => {
            lines.push(format!("in use by process {} on {}", lock.pid, lock.host));
        }
        (None, Some(lock)) if lock.host != crate::store::host_name() => {
            lines.push(format!("last opened by process {} on {}, which may still run", lock.pid, lock.host));
        }
        _ => lines.push("not in use".to_owned()),
    }
    for point in &status.dead_mounts {
        lines.push(format!(
            "the process of its mount at {} is gone; `kmsfs umount` removes it",
            point.display()
        ));
    }
    lines.push(format!("log {}", status.log.display()));
    lines.join("\n")
}
