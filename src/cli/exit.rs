//! The exit codes of `kmsfs`. They are part of its interface: a code keeps its meaning.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitStatus {
    /// All went well.
    Success,
    /// Something failed that has no code of its own.
    Failure,
    /// The command line is wrong.
    Usage,
    /// The directory is not a volume, or is not there.
    NotAVolume,
    /// The volume or keystore is of a newer format, or has unknown features.
    NewerFormat,
    /// Another process has the volume open.
    InUse,
    /// There is no keystore.
    NoKeystore,
    /// The passphrase or key file is wrong, or none was given.
    WrongPassphrase,
    /// The keystore is damaged, or accessible to others.
    BadKeystore,
    /// A KMS key cannot be used, or the service refuses it.
    KeyUnusable,
    /// The key management service refused a request.
    KmsRefused,
    /// The mountpoint is not suitable.
    BadMountpoint,
    /// The kernel's FUSE device is not there.
    NoFuse,
    /// Permission was denied.
    NoPermission,
    /// No space is left.
    NoSpace,
    /// The backing directory is read-only.
    ReadOnly,
    /// The directory is taken: a volume is in it, or it is not empty.
    Taken,
    /// Stored data is damaged or was changed from outside.
    Damaged,
    /// The mount is busy.
    Busy,
    /// Nothing of kmsfs is mounted there.
    NotMounted,
    /// Some files could not be handled; the others were.
    Incomplete,
    /// The confirmation does not name the key.
    NotConfirmed,
    /// After the erasure, data could still be read.
    NotErased,
}

/// One line of the table of exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCodeLine {
    /// The status.
    pub status: ExitStatus,
    /// The exit code.
    pub code: u8,
    /// What it means.
    pub meaning: &'static str,
}

const fn line(status: ExitStatus, code: u8, meaning: &'static str) -> ExitCodeLine {
    ExitCodeLine { status, code, meaning }
}

/// All exit codes, as `docs/cli.md` shows them.
pub const EXIT_CODES: &[ExitCodeLine] = &[
    line(ExitStatus::Success, 0, "success"),
    line(ExitStatus::Failure, 1, "a failure without a code of its own"),
    line(ExitStatus::Usage, 2, "the command line is wrong"),
    line(ExitStatus::NotAVolume, 3, "the directory is not a volume, or does not exist"),
    line(ExitStatus::NewerFormat, 4, "the volume or keystore is of a newer format or has unknown features"),
    line(ExitStatus::InUse, 5, "another process has the volume open"),
    line(ExitStatus::NoKeystore, 6, "there is no keystore, or not the one of this volume"),
    line(ExitStatus::WrongPassphrase, 7, "the passphrase or key file is wrong, or none was given"),
    line(ExitStatus::BadKeystore, 8, "the keystore is damaged, or accessible to others"),
    line(ExitStatus::KeyUnusable, 9, "a KMS key cannot be used: disabled, pending, deleted or refused"),
    line(ExitStatus::KmsRefused, 10, "the key management service refused the request"),
    line(ExitStatus::BadMountpoint, 11, "the mountpoint is not suitable"),
    line(ExitStatus::NoFuse, 12, "/dev/fuse is not available"),
    line(ExitStatus::NoPermission, 13, "permission denied"),
    line(ExitStatus::NoSpace, 14, "no space left"),
    line(ExitStatus::ReadOnly, 15, "the backing directory is read-only"),
    line(ExitStatus::Taken, 16, "the directory has a volume in it already, or is not empty"),
    line(ExitStatus::Damaged, 17, "stored data is damaged or was changed from outside"),
    line(ExitStatus::Busy, 18, "the mount is busy"),
    line(ExitStatus::NotMounted, 19, "nothing of kmsfs is mounted there"),
    line(ExitStatus::Incomplete, 20, "some files could not be handled; the others were"),
    line(ExitStatus::NotConfirmed, 21, "the confirmation does not name the key"),
    line(ExitStatus::NotErased, 22, "data can still be read after the erasure"),
];

impl ExitStatus {
    /// The exit code.
    pub fn code(self) -> u8 {
        let found = EXIT_CODES.iter().find(|line| line.status == self);
        found.map_or(1, |line| line.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_given_once_and_in_order() {
        for (index, line) in EXIT_CODES.iter().enumerate() {
            assert_eq!(usize::from(line.code), index);
            assert_eq!(line.status.code(), line.code);
        }
    }
}
