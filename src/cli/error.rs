//! What goes wrong in the command line itself.

use std::path::PathBuf;

use kms_core::KmsError;

use super::exit::ExitStatus;
use crate::fs::FsError;
use crate::volume::VolumeError;

/// What goes wrong in the command line itself. `advice` says what to do about each.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("{}: {source}", path.display())]
    Volume { path: PathBuf, source: VolumeError },
    #[error("the mountpoint {} does not exist", .0.display())]
    MountpointMissing(PathBuf),
    #[error("the mountpoint {} is not a directory", .0.display())]
    MountpointNotADirectory(PathBuf),
    #[error("the mountpoint {} is not empty", .0.display())]
    MountpointNotEmpty(PathBuf),
    #[error("the mountpoint {} is inside the backing directory {}", point.display(), backing.display())]
    MountpointInBacking { point: PathBuf, backing: PathBuf },
    #[error("the backing directory {} is inside the mountpoint {}", backing.display(), point.display())]
    BackingInMountpoint { point: PathBuf, backing: PathBuf },
    #[error("{} is mounted already, from {from}", point.display())]
    MountedAlready { point: PathBuf, from: String },
    #[error("/dev/fuse is not available: {0}")]
    NoFuse(std::io::Error),
    #[error("unknown mount option {0:?}")]
    UnknownOption(String),
    #[error("{} was mounted read-only, and its volume is not open for writing", .0.display())]
    OpenedReadOnly(PathBuf),
    #[error("{} can be read by others than its owner", .0.display())]
    OpenPassphraseFile(PathBuf),
    #[error("no kmsfs volume is mounted at {}", .0.display())]
    NotMounted(PathBuf),
    #[error("{} is in use", .0.display())]
    Busy(PathBuf),
    #[error("the process that served {} ended without an answer", .0.display())]
    DaemonVanished(PathBuf),
    #[error("no passphrase was given, and there is no terminal to ask for it")]
    NoTerminal,
    #[error("the two passphrases differ")]
    PassphrasesDiffer,
    #[error("neither HOME nor XDG_DATA_HOME says where the keystore is")]
    NoHome,
    #[error("{} belongs to somebody else or is open to others", .0.display())]
    UnsafeDirectory(PathBuf),
    #[error("{0}")]
    BadArgument(String),
    #[error("the key {0:?} was not confirmed")]
    NotConfirmed(String),
    #[error("the directory {} is not inside a mounted volume, and not inside a volume", .0.display())]
    OutsideVolume(PathBuf),
    /// Worded as the AWS command line does.
    #[error("An error occurred ({}) when calling the {operation} operation: {}", refusal.code(), refusal.message())]
    Kms { operation: &'static str, refusal: KmsError },
    #[error("the process that serves {} does not answer", .0.display())]
    NoControl(PathBuf),
    #[error("the directory {} cannot be protected: {source}", path.display())]
    Protect { path: PathBuf, source: FsError },
    #[error("{}: the check found {count} things that are wrong", backing.display())]
    CheckFailed { backing: PathBuf, count: u64 },
    #[error("the audit log is not as it was written: {count} problems")]
    AuditBroken { count: usize },
    #[error("{what}")]
    Incomplete { what: String },
    /// An error of the process that serves a mount, explained there.
    #[error("{message}")]
    Remote { message: String, advice: Option<String>, status: ExitStatus },
}

impl CliError {
    /// An argument in which the key management service found a mistake.
    pub(super) fn bad_argument(refusal: KmsError) -> Self {
        Self::BadArgument(refusal.message().to_owned())
    }
}
