//! `kmsfs umount`: waits until the volume is clean and its process is gone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::mount::UnmountFlags;

use super::control::{self, Client, MountStatus, Request};
use super::error::CliError;
use super::mounts::{self, FILE_SYSTEM_TYPE, MountEntry};
use super::output::{Output, note};
use super::volume::{backing_of_source, is_running, lock_holder};
use super::{mount, paths};

/// The helper through which users other than root unmount.
const HELPER: &str = "fusermount3";
/// Time between looks at a process that is about to end.
const PAUSE: Duration = Duration::from_millis(10);

/// Unmount; waits until everything is durable and the volume is clean
#[derive(Debug, clap::Args)]
pub(super) struct UmountArgs {
    /// Where the volume is mounted
    pub(super) mountpoint: PathBuf,
    /// Remove the mount from the tree now, although it is in use, and do not wait
    #[arg(long, short)]
    pub(super) lazy: bool,
}

pub(super) fn run(args: &UmountArgs, _output: Output) -> Result<()> {
    let point = paths::resolve_mountpoint(&args.mountpoint);
    let entry = mounts::at(&point)?.filter(|entry| entry.kind == FILE_SYSTEM_TYPE);
    let Some(entry) = entry else { return Err(CliError::NotMounted(point).into()) };
    if mount::is_stale(&point) {
        detach(&point)?;
        note(&format!(
            "the process that served {} was gone; the next mount recovers the volume",
            point.display()
        ));
        return Ok(());
    }
    if args.lazy {
        return detach(&point);
    }
    match control::at(&point) {
        Some((client, status)) => unmount_and_wait(&point, client, &status),
        None => unmount_unknown(&point, &entry),
    }
}

fn unmount_and_wait(point: &Path, mut client: Client, status: &MountStatus) -> Result<()> {
    client.ask(&Request::Wait, None)?;
    unmount(point)?;
    client.wait_long()?;
    let end = client.next()?;
    wait_for_process(status.pid);
    match end {
        Some(_) => Ok(()),
        None => Err(CliError::DaemonVanished(point.to_owned()).into()),
    }
}

/// A mount whose process does not answer to this user: the lock of its volume names the process.
fn unmount_unknown(point: &Path, entry: &MountEntry) -> Result<()> {
    let holder =
        lock_holder(&backing_of_source(entry.source.as_os_str())).filter(|holder| holder.is_running_here());
    unmount(point)?;
    if let Some(holder) = holder {
        wait_for_process(holder.pid);
    }
    Ok(())
}

fn wait_for_process(pid: u32) {
    while is_running(pid) {
        thread::sleep(PAUSE);
    }
}

fn unmount(point: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return helper(point, &[]);
    }
    match rustix::mount::unmount(point, UnmountFlags::NOFOLLOW).map_err(std::io::Error::from) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
            Err(CliError::Busy(point.to_owned()).into())
        }
        Err(error) => Err(error).with_context(|| format!("cannot unmount {}", point.display())),
    }
}

/// Removes a mount from the tree, whatever uses it.
pub(super) fn detach(point: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return helper(point, &["-z"]);
    }
    rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(std::io::Error::from)
        .with_context(|| format!("cannot detach {}", point.display()))
}

fn helper(point: &Path, options: &[&str]) -> Result<()> {
    let status = Command::new(HELPER)
        .args(["-u", "-q"])
        .args(options)
        .arg("--")
        .arg(point)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {HELPER}; it is part of the package fuse3"))?;
    if status.success() { Ok(()) } else { Err(CliError::Busy(point.to_owned()).into()) }
}
