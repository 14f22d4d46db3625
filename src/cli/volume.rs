//! A volume as the command line sees it before any key is asked for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::error::CliError;
use super::mounts::{self, FILE_SYSTEM_TYPE};
use super::{control, paths};
use crate::config::VolumeConfig;
use crate::format::{SUPERBLOCK_LEN, VOLUME_DIR};
use crate::volume::VolumeError;

/// The backing directory `path` without symbolic links.
pub(super) fn resolve_backing(path: &Path) -> Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Ok(found) if found.is_dir() => Ok(found),
        Ok(found) => Err(CliError::NotADirectory(found).into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(CliError::Missing(path.to_owned()).into())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The configuration of the volume in `backing`. Nothing is authenticated; it decides whether it is worth asking
/// for a passphrase.
pub(super) fn read_config(backing: &Path) -> Result<VolumeConfig> {
    let of_volume = |source| CliError::Volume { path: backing.to_owned(), source };
    let path = backing.join(VOLUME_DIR).join("volume");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(of_volume(VolumeError::NotAVolume).into());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let page = bytes.get(..SUPERBLOCK_LEN).unwrap_or(&bytes);
    Ok(VolumeConfig::parse(page).map_err(|error| of_volume(error.into()))?)
}

/// The process that a volume's lock names, if it runs on this machine. The text outlives its process.
pub(super) fn lock_holder(backing: &Path) -> Option<LockText> {
    let text = std::fs::read_to_string(backing.join(VOLUME_DIR).join("lock")).ok()?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(line.to_owned())
    };
    Some(LockText {
        host: value("host")?,
        pid: value("pid")?.parse().ok()?,
        session: value("session")?.parse().ok()?,
    })
}

/// The text of a lock.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LockText {
    /// Name of the machine.
    pub(super) host: String,
    /// Process id there.
    pub(super) pid: u32,
    /// The session; 0 for maintenance.
    pub(super) session: u32,
}

impl LockText {
    /// Whether a process of that number runs on this machine.
    pub(super) fn is_running_here(&self) -> bool {
        self.host == crate::store::host_name() && is_running(self.pid)
    }
}

/// Whether a process of this number runs.
pub(super) fn is_running(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The backing directory that `path` names: itself, or that of the volume that is mounted there.
pub(super) fn backing_of(path: &Path) -> Result<PathBuf> {
    let point = paths::resolve_mountpoint(path);
    match mounts::at(&point)?.filter(|entry| entry.kind == FILE_SYSTEM_TYPE) {
        Some(entry) => match control::at(&point) {
            Some((_, status)) => Ok(status.backing),
            None => Ok(entry.source),
        },
        None => resolve_backing(path),
    }
}
