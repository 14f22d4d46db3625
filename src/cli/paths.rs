//! Where files of the user and of running mounts are.

use std::fs::{DirBuilder, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::error::CliError;

const APP: &str = "kmsfs";

fn absolute_from(variable: &str) -> Option<PathBuf> {
    // The base directory specification says that relative paths are to be ignored.
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn home() -> Result<PathBuf> {
    match absolute_from("HOME") {
        Some(home) => Ok(home),
        // Mounts of fstab(5) are made by a root whose environment is empty.
        None if rustix::process::geteuid().is_root() => Ok("/root".into()),
        None => Err(CliError::NoHome.into()),
    }
}

/// The keystore that is used if nobody names another one.
pub(super) fn default_keystore() -> Result<PathBuf> {
    match absolute_from("XDG_DATA_HOME") {
        Some(data) => Ok(data.join(APP)),
        None => Ok(home()?.join(".local/share").join(APP)),
    }
}

/// The directory of log files, made if it is missing.
pub(super) fn state_dir() -> Result<PathBuf> {
    let dir = match absolute_from("XDG_STATE_HOME") {
        Some(state) => state.join(APP),
        None => home()?.join(".local/state").join(APP),
    };
    make_private_dir(&dir)?;
    Ok(dir)
}

/// The directory of control sockets, which may not be there.
pub(super) fn runtime_dir() -> PathBuf {
    if let Some(runtime) = absolute_from("XDG_RUNTIME_DIR") {
        return runtime.join(APP);
    }
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        PathBuf::from("/run").join(APP)
    } else {
        format!("/tmp/{APP}-{}", uid.as_raw()).into()
    }
}

/// Where control sockets of this user may be: a root who has logged in also looks for those of fstab(5).
pub(super) fn runtime_dirs() -> Vec<PathBuf> {
    let mut dirs = vec![runtime_dir()];
    let of_system = PathBuf::from("/run").join(APP);
    if rustix::process::geteuid().is_root() && dirs[0] != of_system {
        dirs.push(of_system);
    }
    dirs
}

/// Makes `dir` with its parents, for this user alone; refuses one that others own or may write.
pub(super) fn make_private_dir(dir: &Path) -> Result<()> {
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => other.with_context(|| format!("cannot make {}", dir.display()))?,
    }
    let found = std::fs::symlink_metadata(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    if is_private(&found) { Ok(()) } else { Err(CliError::UnsafeDirectory(dir.to_owned()).into()) }
}

fn is_private(found: &Metadata) -> bool {
    found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
}

/// `path` without symbolic links, but for its last part: that may be a mount whose process is gone, about which
/// nothing can be asked.
pub(super) fn resolve_mountpoint(path: &Path) -> PathBuf {
    if let Ok(resolved) = std::fs::canonicalize(path) {
        return resolved;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (absolute.parent().and_then(|parent| std::fs::canonicalize(parent).ok()), absolute.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => absolute,
    }
}
