//! `mount.fuse.kmsfs` and `umount.fuse.kmsfs`: what mount(8) and umount(8) run for the types `fuse.kmsfs` and `kmsfs`.
//!
//! They are this program under another name, in `/sbin`. They take the options of mount(8), print nothing when all
//! goes well, and end with its exit codes.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

use super::access::AccessArgs;
use super::advice::Explanation;
use super::error::CliError;
use super::exit::ExitStatus;
use super::keystore::KeystoreArgs;
use super::mount::Wish;
use super::options::OptionList;
use super::output::Output;
use super::umount::UmountArgs;
use super::volume::backing_of_source;
use super::{remount, umount};

/// Exit codes of mount(8).
const USAGE: u8 = 1;
const FAILURE: u8 = 32;
/// Names of the credentials that systemd hands to a mount unit.
const KEY_CREDENTIAL: &str = "kmsfs.key";
const PASSPHRASE_CREDENTIAL: &str = "kmsfs.passphrase";

/// Which of the helpers this program was called as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Helper {
    Mount,
    Umount,
}

impl Helper {
    /// The helper that is called `program`, if that is the name of one.
    pub(super) fn called(program: &Path) -> Option<Self> {
        match program.file_name()?.to_str()? {
            "mount.fuse.kmsfs" | "mount.kmsfs" => Some(Self::Mount),
            "umount.fuse.kmsfs" | "umount.kmsfs" => Some(Self::Umount),
            _ => None,
        }
    }

    /// Does what mount(8) or umount(8) asks for, and returns the exit code.
    pub(super) fn run(self, args: &[OsString]) -> u8 {
        let outcome = match self {
            Self::Mount => MountHelperArgs::try_parse_from(args).map(|args| args.run()),
            Self::Umount => UmountHelperArgs::try_parse_from(args).map(|args| args.run()),
        };
        match outcome {
            Ok(Ok(())) => 0,
            Ok(Err(error)) => {
                let Explanation { message, advice, status } = Explanation::of(&error);
                eprintln!("kmsfs: {message}");
                if let Some(advice) = advice {
                    eprintln!("  help: {advice}");
                }
                if status == ExitStatus::Usage { USAGE } else { FAILURE }
            }
            Err(error) => {
                // A failure to print help or usage leaves nothing to say.
                let _ = error.print();
                if error.use_stderr() { USAGE } else { 0 }
            }
        }
    }
}

/// Mount a volume of kmsfs; called by mount(8)
#[derive(Debug, Parser)]
struct MountHelperArgs {
    /// The backing directory, or a name and a colon before it
    source: String,
    /// Where
    mountpoint: PathBuf,
    /// Options, with commas
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<String>,
    /// Pass over unknown options
    #[arg(short = 's')]
    sloppy: bool,
    /// Do everything but mount
    #[arg(short = 'f')]
    fake: bool,
    #[command(flatten)]
    ignored: Ignored,
}

/// What mount(8) and umount(8) may say beside.
#[derive(Debug, clap::Args)]
struct Ignored {
    /// Leave /etc/mtab alone, as always
    #[arg(short = 'n')]
    no_mtab: bool,
    /// Say more
    #[arg(short = 'v')]
    verbose: bool,
    /// The type of the file system
    #[arg(short = 't')]
    kind: Option<String>,
}

impl MountHelperArgs {
    fn run(&self) -> Result<()> {
        let mut options = OptionList::parse_for_mount(&self.options, self.sloppy)?;
        // Shown as it was given: what looks for a mount looks for that.
        options.mount.source.get_or_insert_with(|| self.source.clone());
        let access = AccessArgs { keystore: keystore_of(&options)?, remote: options.remote.clone() };
        let backing = backing_of_source(self.source.as_ref());
        let wish = Wish { backing: &backing, mountpoint: &self.mountpoint, options, access };
        if self.fake {
            return Ok(());
        }
        if wish.options.remount {
            return remount::run(&wish);
        }
        // As with mount(8), what is in the mountpoint is hidden while the mount lasts.
        let (request, secret) = wish.prepare(false)?;
        wish.start(request, secret.as_ref())?;
        Ok(())
    }
}

/// The keystore, and what opens it: what the options name, else a credential of systemd, else what the environment
/// names.
fn keystore_of(options: &OptionList) -> Result<KeystoreArgs> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut args = options.keystore_over(&KeystoreArgs {
        keystore: variable("KMSFS_KEYSTORE"),
        store: std::env::var("KMSFS_STORE").ok(),
        ..KeystoreArgs::default()
    });
    if !args.has_secret() {
        let credential =
            |name| Some(variable("CREDENTIALS_DIRECTORY")?.join(name)).filter(|path| path.exists());
        args.key_file = credential(KEY_CREDENTIAL);
        args.passphrase_file = credential(PASSPHRASE_CREDENTIAL);
    }
    if !args.has_secret() {
        args.key_file = variable("KMSFS_KEY_FILE");
        args.passphrase_file = variable("KMSFS_PASSPHRASE_FILE");
    }
    if let Some(path) = args.passphrase_file.as_deref().filter(|_| args.key_file.is_none()) {
        check_private(path)?;
    }
    Ok(args)
}

/// Refuses a passphrase that others can read. A key file is looked at where it is opened.
fn check_private(path: &Path) -> Result<()> {
    let found = std::fs::metadata(path)
        .with_context(|| format!("cannot read the passphrase file {}", path.display()))?;
    if found.is_file() && found.permissions().mode() & 0o077 != 0 {
        return Err(CliError::OpenPassphraseFile(path.to_owned()).into());
    }
    Ok(())
}

/// Unmount a volume of kmsfs; called by umount(8)
#[derive(Debug, Parser)]
struct UmountHelperArgs {
    /// Where it is mounted
    mountpoint: PathBuf,
    /// Take the mount out of the tree now, although it is in use
    #[arg(short = 'l')]
    lazy: bool,
    /// Do everything but unmount
    #[arg(long)]
    fake: bool,
    /// Of no use here: the process of a mount always answers, or is gone
    #[arg(short = 'f')]
    force: bool,
    /// Refused: see `mount -o remount,ro`
    #[arg(short = 'r')]
    read_only: bool,
    #[command(flatten)]
    ignored: Ignored,
}

impl UmountHelperArgs {
    fn run(&self) -> Result<()> {
        if self.fake {
            return Ok(());
        }
        let args = UmountArgs { mountpoint: self.mountpoint.clone(), lazy: self.lazy };
        umount::run(&args, Output { json: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_decides() {
        assert_eq!(Helper::called(Path::new("/sbin/mount.fuse.kmsfs")), Some(Helper::Mount));
        assert_eq!(Helper::called(Path::new("umount.kmsfs")), Some(Helper::Umount));
        assert_eq!(Helper::called(Path::new("/usr/bin/kmsfs")), None);
        assert_eq!(Helper::called(Path::new("/")), None);
    }

    #[test]
    fn arguments_are_those_of_mount() {
        let args = ["mount.kmsfs", "k:/a b", "/mnt", "-sfnv", "-o", "rw,ro", "-o", "x-a", "-t", "fuse.kmsfs"];
        let args = MountHelperArgs::try_parse_from(args).unwrap();
        assert_eq!(
            (args.source.as_str(), args.options.len(), args.sloppy, args.fake),
            ("k:/a b", 2, true, true)
        );
        assert_eq!(backing_of_source("k:/a b".as_ref()), Path::new("/a b"));
        assert_eq!(backing_of_source("/x/k:/a".as_ref()), Path::new("/x/k:/a"));
        assert_eq!(backing_of_source("plain".as_ref()), Path::new("plain"));
    }
}
