//! A volume as the command line sees it before any key is asked for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
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

/// The backing directory in the source of a mount: a path, or one behind a name as in `kmsfs:/srv/backing`.
pub(super) fn backing_of_source(source: &OsStr) -> PathBuf {
    let bytes = source.as_bytes();
    let named =
        bytes.windows(2).position(|pair| pair == b":/").filter(|colon| !bytes[..*colon].contains(&b'/'));
    match named {
        Some(colon) if std::fs::symlink_metadata(source).is_err() => {
            OsStr::from_bytes(&bytes[colon + 1..]).into()
        }
        _ => source.into(),
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
    /// Whether that process has the lock file of the volume in `backing` open. Nothing is known of processes of other
    /// users or machines.
    pub(super) fn holds_lock(&self, backing: &Path) -> bool {
        let id = |found: std::fs::Metadata| (found.dev(), found.ino());
        let Ok(lock) = std::fs::metadata(backing.join(VOLUME_DIR).join("lock")).map(id) else { return false };
        let Ok(open) = std::fs::read_dir(format!("/proc/{}/fd", self.pid)) else { return false };
        self.host == crate::store::host_name()
            && open.flatten().any(|fd| std::fs::metadata(fd.path()).is_ok_and(|found| id(found) == lock))
    }

    /// Whether a process of that number runs on this machine.
    pub(super) fn is_running_here(&self) -> bool {
        self.host == crate::store::host_name() && is_running(self.pid)
    }
}

/// Whether a process of this number runs. One that has ended and whose parent has not asked how holds nothing any more.
pub(super) fn is_running(pid: u32) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { return false };
    // proc_pid_stat(5): the state stands behind the name, which may hold anything.
    let behind_name = stat.iter().rposition(|byte| *byte == b')').unwrap_or(0);
    !matches!(stat.get(behind_name + 2), Some(b'Z' | b'X'))
}

/// The backing directory that `path` names: itself, or that of the volume that is mounted there.
pub(super) fn backing_of(path: &Path) -> Result<PathBuf> {
    let point = paths::resolve_mountpoint(path);
    match mounts::at(&point)?.filter(|entry| entry.kind == FILE_SYSTEM_TYPE) {
        Some(entry) => match control::at(&point) {
            Some((_, status)) => Ok(status.backing),
            None => Ok(backing_of_source(entry.source.as_os_str())),
        },
        None => resolve_backing(path),
    }
}
