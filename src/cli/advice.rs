//! From an error to an exit code and to what to do about it. The one place where that is decided.

use anyhow::Error;
use kms_core::KmsError;
use kms_core::audit::AuditError;
use kms_core::keystore::KeystoreError;
use kms_core::store::StoreError as KeyDatabaseError;
use serde::{Deserialize, Serialize};

use super::error::CliError;
use super::exit::ExitStatus;
use crate::file::FileError;
use crate::fs::FsError;
use crate::fuse::MountError;
use crate::journal::JournalError;
use crate::keys::KeyError;
use crate::maintenance::MaintenanceError;
use crate::names::NameError;
use crate::serve::ServeError;
use crate::store::{StoreError, StoreErrorKind};
use crate::volume::VolumeError;

/// An error as it is shown, and as it goes from the daemon to the command that started it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Explanation {
    /// What happened, to which thing.
    pub(super) message: String,
    /// What to do.
    pub(super) advice: Option<String>,
    /// The status of the command.
    pub(super) status: ExitStatus,
}

/// A status and an advice.
type Verdict = (ExitStatus, Option<String>);

fn say(status: ExitStatus, advice: impl Into<String>) -> Verdict {
    (status, Some(advice.into()))
}

fn bare(status: ExitStatus) -> Verdict {
    (status, None)
}

impl Explanation {
    /// Explains `error` by the first of its causes that is known here.
    pub(super) fn of(error: &Error) -> Self {
        let (status, advice) = error.chain().find_map(judge).unwrap_or(bare(ExitStatus::Failure));
        Self { message: message(error), advice, status }
    }

    /// The error that shows this explanation again.
    pub(super) fn into_error(self) -> Error {
        let Self { message, advice, status } = self;
        CliError::Remote { message, advice, status }.into()
    }
}

/// The causes, each once: some errors repeat their source in their own text.
fn message(error: &Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn judge(cause: &(dyn std::error::Error + 'static)) -> Option<Verdict> {
    cause
        .downcast_ref()
        .map(cli)
        .or_else(|| cause.downcast_ref().map(volume))
        .or_else(|| cause.downcast_ref().map(maintenance))
        .or_else(|| cause.downcast_ref().map(keystore))
        .or_else(|| cause.downcast_ref().map(key))
        .or_else(|| cause.downcast_ref().map(kms))
        .or_else(|| cause.downcast_ref().map(audit))
        .or_else(|| cause.downcast_ref().map(mount))
        .or_else(|| cause.downcast_ref().map(serve))
        .or_else(|| cause.downcast_ref().map(fs))
        .or_else(|| cause.downcast_ref().map(file))
        .or_else(|| cause.downcast_ref().map(journal))
        .or_else(|| cause.downcast_ref().map(name))
        .or_else(|| cause.downcast_ref().map(store))
        .or_else(|| cause.downcast_ref().and_then(io))
}

fn cli(error: &CliError) -> Verdict {
    use ExitStatus as S;
    match error {
        CliError::Missing(path) => {
            say(S::NotAVolume, format!("Check the path, or make it with `mkdir {}`.", path.display()))
        }
        CliError::NotADirectory(_) => say(S::NotAVolume, "Name a directory."),
        CliError::Volume { path, source } => volume_at(source, &path.display().to_string()),
        CliError::MountpointMissing(path) => {
            say(S::BadMountpoint, format!("Make it with `mkdir {}`.", path.display()))
        }
        CliError::MountpointNotADirectory(_) => say(S::BadMountpoint, "Name a directory."),
        CliError::MountpointNotEmpty(_) => {
            say(S::BadMountpoint, "Name an empty directory: a mount would hide what is in this one.")
        }
        CliError::MountpointInBacking { .. } | CliError::BackingInMountpoint { .. } => {
            say(S::BadMountpoint, "Neither may be inside the other. Mount it somewhere else.")
        }
        CliError::MountedAlready { point, .. } => say(
            S::BadMountpoint,
            format!("Unmount it with `kmsfs umount {}`, or mount elsewhere.", point.display()),
        ),
        CliError::NoFuse(_) => say(S::NoFuse, NO_FUSE),
        CliError::UnknownOption(_) => say(S::Usage, KNOWN_OPTIONS),
        CliError::OpenedReadOnly(_) => say(S::ReadOnly, "Unmount it, and mount it again without `ro`."),
        CliError::OpenPassphraseFile(_) => say(S::BadKeystore, "Keep it for its owner with `chmod 600`."),
        CliError::NotMounted(_) => say(S::NotMounted, "`kmsfs status` lists what is mounted."),
        CliError::Busy(path) => say(
            S::Busy,
            format!(
                "Close what uses it (`fuser -vm {0}` shows it), or detach it with `kmsfs umount --lazy {0}`.",
                path.display()
            ),
        ),
        CliError::DaemonVanished(_) => {
            say(S::Failure, "Mount the volume again: what was not yet in place is replayed from its journal.")
        }
        CliError::NoTerminal => say(
            S::WrongPassphrase,
            "Give --passphrase-file FILE (or KMSFS_PASSPHRASE_FILE), or --key-file FILE.",
        ),
        CliError::PassphrasesDiffer => say(S::WrongPassphrase, "Try again."),
        CliError::NoHome => say(S::NoKeystore, "Name the keystore with --keystore DIR or KMSFS_KEYSTORE."),
        CliError::UnsafeDirectory(_) => {
            say(S::NoPermission, "It has to belong to you, and nobody else may write in it.")
        }
        CliError::BadArgument(_) => bare(S::Usage),
        CliError::NotConfirmed(_) => say(S::NotConfirmed, "Nothing was erased."),
        CliError::OutsideVolume(_) => {
            say(S::NotMounted, "Name a directory inside a mount, or mount the volume first.")
        }
        CliError::NoControl(_) => {
            say(S::Failure, "Run the command as the user who mounted it, or unmount the volume first.")
        }
        CliError::Protect { source: FsError::NotEmpty, .. } => say(
            S::Taken,
            "Only an empty directory can get a key of its own. Make a new one, protect it, and move the files into it.",
        ),
        CliError::Protect { source, .. } => fs(source),
        CliError::CheckFailed { .. } => {
            say(S::Damaged, "Restore what is listed from a backup; everything else is as it was written.")
        }
        CliError::AuditBroken { .. } => say(S::Damaged, BROKEN_LOG),
        CliError::Kms { .. } => bare(S::KmsRefused),
        CliError::Incomplete { .. } => bare(S::Incomplete),
        CliError::Remote { advice, status, .. } => (*status, advice.clone()),
    }
}

const BROKEN_LOG: &str = "Keep the log as it is: it is evidence. What is listed was done by somebody who can write where it is stored.";
const KNOWN_OPTIONS: &str = "Known are ro, rw, allow_other, default_permissions, dev, nodev, suid, nosuid, exec, noexec, \
                             sync, async, dirsync, noatime, nodiratime, relatime, strictatime, writeback, nowriteback, \
                             remount, fsname=NAME, keystore=DIR, store=ADDRESS, key_file=FILE, passphrase_file=FILE, \
                             journal_mib=N, key_poll=N, init, key=KEY and plain_names.";

const NO_FUSE: &str = "Load the kernel's module with `modprobe fuse`; in a container, start it with `--device /dev/fuse` \
                       and the capability SYS_ADMIN.";

fn volume(error: &VolumeError) -> Verdict {
    volume_at(error, "BACKING")
}

fn volume_at(error: &VolumeError, path: &str) -> Verdict {
    use ExitStatus as S;
    match error {
        VolumeError::NotAVolume => say(
            S::NotAVolume,
            format!("Make a volume with `kmsfs init {path}`, or name the backing directory."),
        ),
        VolumeError::AlreadyAVolume => say(
            S::Taken,
            format!("Mount it with `kmsfs mount {path} MOUNTPOINT`, or name another directory."),
        ),
        VolumeError::NotEmpty { .. } => {
            say(S::Taken, "A volume is made in an empty directory. Copy files in through its mount.")
        }
        VolumeError::NewerFormat { .. } => say(S::NewerFormat, "Use a newer version of kmsfs."),
        VolumeError::UnknownFeature { readable: true, .. } => {
            say(S::NewerFormat, "Use a newer version of kmsfs, or mount it read-only with `-o ro`.")
        }
        VolumeError::UnknownFeature { readable: false, .. } => {
            say(S::NewerFormat, "Use a newer version of kmsfs.")
        }
        VolumeError::InUse(_) => say(S::InUse, "Unmount it there first. A lock never outlives its process."),
        VolumeError::WrongKeystore { .. } => say(
            S::NoKeystore,
            "Name the keystore that the volume was made with: --keystore DIR or KMSFS_KEYSTORE.",
        ),
        VolumeError::Tampered { .. } | VolumeError::Damaged { .. } => {
            say(S::Damaged, format!("Restore {path}/.kmsfs from a backup."))
        }
        VolumeError::ReadOnlyBacking => say(
            S::ReadOnly,
            "Mount the volume read-only with `-o ro`, or make the backing file system writable.",
        ),
        VolumeError::NeedsRecovery { .. } => say(
            S::ReadOnly,
            "Make the backing file system writable once, so that the journal can be replayed.",
        ),
        VolumeError::NoSessionsLeft => say(S::Failure, "Copy the files into a new volume."),
        VolumeError::DirectoryNotEmpty => say(
            S::Taken,
            "Name an empty directory: what is in it already stays under its old key. Copy files into it afterwards.",
        ),
        VolumeError::PlainNames => bare(S::Failure),
        VolumeError::Key(error) => key(error),
        VolumeError::Journal(error) => journal(error),
        VolumeError::File(error) => file(error),
        VolumeError::Name(error) => name(error),
        VolumeError::Store(error) => store(error),
    }
}

fn maintenance(error: &MaintenanceError) -> Verdict {
    use ExitStatus as S;
    match error {
        MaintenanceError::InUse(_) => say(S::InUse, "Unmount it there first."),
        MaintenanceError::RewrapRunning => say(S::InUse, "Wait until it has ended."),
        MaintenanceError::KeyNotUsed { .. } => {
            say(S::KeyUnusable, "Nothing was erased. `kmsfs info BACKING` shows the keys of the volume.")
        }
        MaintenanceError::AlsoOpens { .. } => say(
            S::KeyUnusable,
            "Nothing was erased. Take the key away from the other recipients, or them from it, with `kmsfs rewrap BACKING \
             --remove-recipient KEY`.",
        ),
        MaintenanceError::StillOpens { .. } => say(
            S::NotErased,
            "Run the command again; if it stays so, the key management service did not do its work.",
        ),
        MaintenanceError::Service { .. } => say(S::KmsRefused, "Nothing was erased."),
        MaintenanceError::Key(error) => key(error),
        MaintenanceError::Volume(error) => volume(error),
        MaintenanceError::Store(error) => store(error),
    }
}

fn keystore(error: &KeystoreError) -> Verdict {
    use ExitStatus as S;
    match error {
        KeystoreError::Missing { .. } => say(
            S::NoKeystore,
            "Name the keystore with --keystore DIR or KMSFS_KEYSTORE; `kmsfs init` makes the first one.",
        ),
        KeystoreError::AlreadyExists { .. } => say(S::Taken, "Name another directory."),
        KeystoreError::WrongPassphrase => {
            say(S::WrongPassphrase, "Try again. A lost passphrase cannot be recovered.")
        }
        KeystoreError::WrongKeyFile => {
            say(S::WrongPassphrase, "Name the key file that the keystore was made with.")
        }
        KeystoreError::WrongSource { .. } => say(
            S::WrongPassphrase,
            "`kmsfs keystore info` shows what opens it: --key-file FILE, --credential NAME, --recovery-key-file FILE, \
             --share-file FILE, or a passphrase without an option.",
        ),
        KeystoreError::WrongCredential => {
            say(S::WrongPassphrase, "Pass the credential that the keystore was sealed with.")
        }
        KeystoreError::NoCredential { name } => say(
            S::WrongPassphrase,
            format!(
                "Run it as a service with LoadCredential={name}:PATH or LoadCredentialEncrypted={name}:PATH."
            ),
        ),
        KeystoreError::WrongRecoveryKey | KeystoreError::WrongShares => {
            say(S::WrongPassphrase, "Copy it again, one line to a file; a slip of the pen is noticed.")
        }
        KeystoreError::TooFewShares { .. } => {
            say(S::WrongPassphrase, "Give --share-file FILE once for each share.")
        }
        KeystoreError::KeyFile { .. } => {
            say(S::WrongPassphrase, "Name the right key file with --key-file FILE.")
        }
        KeystoreError::Unsuitable(_) => say(S::WrongPassphrase, "Give another passphrase."),
        KeystoreError::Corrupt { .. } => say(S::BadKeystore, "Restore the keystore from a backup."),
        KeystoreError::NewerVersion { .. } => say(S::NewerFormat, "Use a newer version of kmsfs."),
        KeystoreError::Permissions { path, .. } => {
            say(S::BadKeystore, format!("Close it with `chmod go= {}`.", path.display()))
        }
        KeystoreError::Io { error, .. } => io(error).unwrap_or(bare(S::BadKeystore)),
        KeystoreError::Store(KeyDatabaseError::Unavailable { .. }) => {
            say(S::NoKeystore, "Start the database, or correct its address: --store ADDRESS or KMSFS_STORE.")
        }
        KeystoreError::Store(KeyDatabaseError::NewerVersion { .. }) => {
            say(S::NewerFormat, "Use a newer version of kmsfs.")
        }
        KeystoreError::Store(_) | KeystoreError::Seal(_) | KeystoreError::Service(_) => {
            say(S::BadKeystore, "If it stays so, restore the keystore from a backup.")
        }
    }
}

fn key(error: &KeyError) -> Verdict {
    use ExitStatus as S;
    match error {
        KeyError::Unusable { source: KmsError::NotFound(_), .. } => say(
            S::KeyUnusable,
            "`kmsfs key list-keys` and `kmsfs key list-aliases` show the keys that there are.",
        ),
        KeyError::Unusable { key, .. } => say(
            S::KeyUnusable,
            format!(
                "`kmsfs key describe-key --key-id {key}` shows its state; enable it, cancel its deletion, or connect its custom key store."
            ),
        ),
        KeyError::Denied { .. } => {
            say(S::KeyUnusable, "The policy of the key has to allow its use by kmsfs.")
        }
        KeyError::Service(error) => kms(error),
        KeyError::NotARecipient(_) => say(S::Usage, "`kmsfs info BACKING` shows the recipients."),
        KeyError::LastRecipient(_) => say(
            S::Usage,
            "Go to another key with `kmsfs rewrap BACKING --to KEY`, or destroy it with `kmsfs erase`.",
        ),
        KeyError::Place(_) => bare(S::Usage),
        KeyError::Tampered { .. } | KeyError::DomainTampered { .. } | KeyError::Format(_) => {
            say(S::Damaged, "Restore it from a backup.")
        }
        KeyError::ForeignKey { .. } | KeyError::UnknownDomain(_) | KeyError::UnknownDomainKey(_) => {
            say(S::Damaged, "The file comes from another volume, or the record of its domain is lost.")
        }
        KeyError::Store(error) => store(error),
    }
}

fn kms(error: &KmsError) -> Verdict {
    use ExitStatus as S;
    match error {
        KmsError::CorruptRecord(_) => say(S::BadKeystore, "Restore the keystore from a backup."),
        error if error.is_key_unusable() => bare(S::KeyUnusable),
        KmsError::DependencyTimeout(_) => say(
            S::KmsRefused,
            "Check the network, the endpoint (`kmsfs info BACKING` shows it, --endpoint-url URL names another) and the \
             credentials (`aws sts get-caller-identity`).",
        ),
        _ => bare(S::KmsRefused),
    }
}

fn audit(error: &AuditError) -> Verdict {
    use ExitStatus as S;
    match error {
        AuditError::Missing | AuditError::Forged => say(
            S::Damaged,
            "Move audit.sqlite out of the keystore and keep it: it is evidence. A new log begins, and says so.",
        ),
        AuditError::Busy | AuditError::Backend(_) => bare(S::BadKeystore),
    }
}

fn mount(error: &MountError) -> Verdict {
    use ExitStatus as S;
    match error {
        MountError::Device(_) => say(S::NoFuse, NO_FUSE),
        MountError::Mount { source, .. } | MountError::Unmount { source, .. } => match io(source) {
            Some((S::NoPermission, _)) => say(
                S::NoPermission,
                "Mounting needs root, or fusermount3 of the package fuse3; allow_other needs user_allow_other in \
                 /etc/fuse.conf.",
            ),
            other => other.unwrap_or(bare(S::Failure)),
        },
        MountError::Busy(_) => bare(S::Busy),
        MountError::Connection(_) | MountError::System(_) | MountError::ShutDown => bare(S::Failure),
        MountError::Finish(error) => fs(error),
    }
}

fn serve(error: &ServeError) -> Verdict {
    use ExitStatus as S;
    match error {
        ServeError::InTheClear(_) => say(
            S::Usage,
            "Give --tls-cert FILE and --tls-key FILE: answers hold data keys, which must not cross a network in the clear.",
        ),
        ServeError::Listen { source, .. } => match io(source) {
            Some((S::NoPermission, _)) => say(S::NoPermission, "Choose a port of 1024 or above."),
            _ => say(S::Failure, "Choose another address with --listen ADDR:PORT."),
        },
        ServeError::Region(_) => bare(S::Usage),
        ServeError::Identity(_) => {
            say(S::Usage, "Both files are PEM, and the key is that of the first certificate.")
        }
        ServeError::Start(_) => bare(S::Failure),
    }
}

fn fs(error: &FsError) -> Verdict {
    match error {
        FsError::Store(error) => store(error),
        FsError::File(error) => file(error),
        FsError::Name(error) => name(error),
        FsError::Key(error) => key(error),
        _ => bare(ExitStatus::Failure),
    }
}

fn file(error: &FileError) -> Verdict {
    match error {
        FileError::Key(error) => key(error),
        FileError::Store(error) => store(error),
        FileError::Journal(error) => journal(error),
        FileError::ReadOnly => bare(ExitStatus::ReadOnly),
        FileError::Damaged { .. } | FileError::Format(_) => {
            say(ExitStatus::Damaged, "Restore it from a backup.")
        }
        _ => bare(ExitStatus::Failure),
    }
}

fn journal(error: &JournalError) -> Verdict {
    match error {
        JournalError::Store(error) => store(error),
        _ => bare(ExitStatus::Damaged),
    }
}

fn name(error: &NameError) -> Verdict {
    match error {
        NameError::Store(error) => store(error),
        NameError::Key(error) => key(error),
        _ => bare(ExitStatus::Damaged),
    }
}

const NO_PERMISSION: &str = "Run the command as the owner of the directory, or change its permissions.";
const NO_SPACE: &str = "Make room on the file system and try again.";

fn store(error: &StoreError) -> Verdict {
    use ExitStatus as S;
    match error.kind {
        StoreErrorKind::NoSpace | StoreErrorKind::QuotaExceeded => say(S::NoSpace, NO_SPACE),
        StoreErrorKind::ReadOnly => say(S::ReadOnly, "Make the backing file system writable."),
        StoreErrorKind::AccessDenied | StoreErrorKind::NotPermitted => say(S::NoPermission, NO_PERMISSION),
        _ => bare(S::Failure),
    }
}

fn io(error: &std::io::Error) -> Option<Verdict> {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::PermissionDenied => Some(say(ExitStatus::NoPermission, NO_PERMISSION)),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(say(ExitStatus::NoSpace, NO_SPACE)),
        ErrorKind::ReadOnlyFilesystem => Some(say(ExitStatus::ReadOnly, "Make the file system writable.")),
        _ => None,
    }
}
