//! Mount options in the syntax of mount(8): `-o ro,allow_other,fsname=x`.

use std::path::PathBuf;

use anyhow::Result;

use super::access::RemoteArgs;
use super::error::CliError;
use super::keystore::KeystoreArgs;
use crate::fuse::{AccessTimes, MountConfig};
use crate::keys::{KeyAt, PlaceError};

/// What the process that serves a mount is told.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, Default)]
pub(super) struct MountOptions {
    /// Mount read-only.
    pub(super) read_only: bool,
    /// Let users other than the one who mounts use it.
    pub(super) allow_other: bool,
    /// Honour device nodes.
    pub(super) dev: bool,
    /// Honour set-id bits.
    pub(super) suid: bool,
    /// Refuse to run programs.
    pub(super) no_exec: bool,
    /// Let the kernel collect writes.
    pub(super) write_back: bool,
    /// Each write is durable when it returns.
    pub(super) sync: bool,
    /// Each change of a directory is durable when it returns.
    pub(super) dir_sync: bool,
    /// When reading is noted.
    pub(super) access_times: AccessTimes,
    /// Reading a directory is never noted.
    pub(super) no_dir_access_times: bool,
    /// What the mount table shows as the source.
    pub(super) source: Option<String>,
    /// Let root end the mount as a crash would, with `FS_IOC_SHUTDOWN`. For tests.
    pub(super) dangerous_shutdown: bool,
}

impl MountOptions {
    /// Fills in what a mount is told.
    pub(super) fn configure(&self, config: &mut MountConfig) {
        config.allow_other = self.allow_other;
        config.read_only = self.read_only;
        config.no_suid = !self.suid;
        config.no_dev = !self.dev;
        config.no_exec = self.no_exec;
        config.write_back = self.write_back;
        config.sync = self.sync;
        config.dir_sync = self.dir_sync;
        config.access_times = self.access_times;
        config.no_dir_access_times = self.no_dir_access_times;
        config.dangerous_shutdown = self.dangerous_shutdown;
    }

    /// When reading is noted, which a read-only mount never does.
    pub(super) fn noted_accesses(&self) -> AccessTimes {
        if self.read_only { AccessTimes::Never } else { self.access_times }
    }
}

/// All that `-o` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct OptionList {
    /// What the process that serves the mount is told.
    pub(super) mount: MountOptions,
    /// Change the options of a mount that is there.
    pub(super) remount: bool,
    /// Make the volume if the backing directory is missing or empty.
    pub(super) init: bool,
    /// For `init`: the KMS key.
    pub(super) key: Option<KeyAt>,
    /// For `init`: the Region of the key, if it is a key of a service elsewhere.
    pub(super) region: Option<String>,
    /// For `init`: names stay readable.
    pub(super) plain_names: bool,
    /// For `init`: a keystore whose passphrase can be guessed fast. For tests.
    pub(super) dangerous_fast_kdf: bool,
    /// The keystore.
    pub(super) keystore: Option<PathBuf>,
    /// The database that the keystore is in.
    pub(super) store: Option<String>,
    /// The key file that opens it.
    pub(super) key_file: Option<PathBuf>,
    /// The file with the passphrase that opens it.
    pub(super) passphrase_file: Option<PathBuf>,
    /// The credential of systemd that opens it.
    pub(super) credential: Option<String>,
    /// How services elsewhere are reached.
    pub(super) remote: RemoteArgs,
    /// Length of the journal in MiB.
    pub(super) journal_mib: Option<u64>,
    /// Seconds between questions whether keys may still be used.
    pub(super) key_poll: Option<u64>,
    /// Facts of a mount that the kernel keeps, which mount(8) repeats at a remount.
    kernel_fact: Option<String>,
}

impl OptionList {
    /// Reads the values of all `-o`, each a list with commas. A later option overrides an earlier one.
    pub(super) fn parse(lists: &[String]) -> Result<Self> {
        Self::default().and(lists, false)
    }

    /// The keystore, where what these options name wins over `args`, which may come from the environment.
    pub(super) fn keystore_over(&self, args: &KeystoreArgs) -> KeystoreArgs {
        let mut all = args.clone();
        all.keystore = self.keystore.clone().or(all.keystore);
        all.store = self.store.clone().or(all.store);
        if self.credential.is_some() || self.key_file.is_some() || self.passphrase_file.is_some() {
            all.credential = self.credential.clone();
            all.key_file = self.key_file.clone();
            all.passphrase_file = self.passphrase_file.clone();
        }
        all
    }

    /// How services elsewhere are reached, where what these options name wins over `args`.
    pub(super) fn remote_over(&self, args: &RemoteArgs) -> RemoteArgs {
        RemoteArgs {
            endpoint_url: self.remote.endpoint_url.clone().or_else(|| args.endpoint_url.clone()),
            profile: self.remote.profile.clone().or_else(|| args.profile.clone()),
        }
    }

    /// As [`Self::parse`], with what mount(8) takes for granted: set-id bits and device nodes count. With `sloppy`
    /// unknown options are passed over.
    pub(super) fn parse_for_mount(lists: &[String], sloppy: bool) -> Result<Self> {
        let mut options = Self::default();
        (options.mount.dev, options.mount.suid) = (true, true);
        options.and(lists, sloppy)
    }

    fn and(mut self, lists: &[String], sloppy: bool) -> Result<Self> {
        for option in lists.iter().flat_map(|list| list.split(',')).filter(|option| !option.is_empty()) {
            let known = match option.split_once('=') {
                Some((name, value)) => self.apply_value(name, value)?,
                None => self.apply_flag(option),
            };
            if !known && !sloppy && !is_for_others(option) {
                return Err(CliError::UnknownOption(option.to_owned()).into());
            }
        }
        match self.kernel_fact.take() {
            Some(fact) if !self.remount && !sloppy => Err(CliError::UnknownOption(fact).into()),
            _ => Ok(self),
        }
    }

    /// Takes an option without a value; false if there is none of that name.
    fn apply_flag(&mut self, option: &str) -> bool {
        let mount = &mut self.mount;
        match option {
            "ro" => mount.read_only = true,
            "rw" => mount.read_only = false,
            "allow_other" => mount.allow_other = true,
            "dev" => mount.dev = true,
            "nodev" => mount.dev = false,
            "suid" => mount.suid = true,
            "nosuid" => mount.suid = false,
            "exec" => mount.no_exec = false,
            "noexec" => mount.no_exec = true,
            // mount(8): these imply the three, unless a later option says otherwise.
            "user" | "users" | "owner" | "group" => {
                (mount.dev, mount.suid, mount.no_exec) = (false, false, true);
            }
            "writeback" => mount.write_back = true,
            "nowriteback" => mount.write_back = false,
            "sync" => mount.sync = true,
            "async" => (mount.sync, mount.dir_sync) = (false, false),
            "dirsync" => mount.dir_sync = true,
            "noatime" => mount.access_times = AccessTimes::Never,
            "atime" | "relatime" | "nostrictatime" => mount.access_times = AccessTimes::Relative,
            "strictatime" | "norelatime" => mount.access_times = AccessTimes::Always,
            "nodiratime" => mount.no_dir_access_times = true,
            "diratime" => mount.no_dir_access_times = false,
            "dangerous_shutdown" => mount.dangerous_shutdown = true,
            "remount" => self.remount = true,
            "init" => self.init = true,
            "plain_names" => self.plain_names = true,
            "dangerous_fast_kdf" => self.dangerous_fast_kdf = true,
            // The kernel checks permissions always; ACLs and attributes are always there.
            "default_permissions" | "acl" | "user_xattr" => {}
            // What mount(8) and fstab(5) keep for themselves.
            "defaults" | "auto" | "noauto" | "nouser" | "nousers" | "noowner" | "nogroup" | "_netdev"
            | "nofail" | "silent" | "loud" => {}
            _ => return false,
        }
        true
    }

    /// Takes an option with a value; false if there is none of that name.
    fn apply_value(&mut self, name: &str, value: &str) -> Result<bool> {
        let number = |range: std::ops::RangeInclusive<u64>| match value.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let text = format!("{name}={value}: a number from {} to {}", range.start(), range.end());
                Err(CliError::BadArgument(text))
            }
        };
        match name {
            _ if value.is_empty() => return Ok(false),
            "fsname" => self.mount.source = Some(value.to_owned()),
            "key" => {
                let refused = |error: PlaceError| CliError::BadArgument(format!("{name}={value}: {error}"));
                self.key = Some(value.parse().map_err(refused)?);
            }
            "region" => self.region = Some(value.to_owned()),
            "endpoint_url" => self.remote.endpoint_url = Some(value.to_owned()),
            "profile" => self.remote.profile = Some(value.to_owned()),
            "credential" => self.credential = Some(value.to_owned()),
            "keystore" => self.keystore = Some(value.into()),
            "store" => self.store = Some(value.to_owned()),
            "key_file" => self.key_file = Some(value.into()),
            "passphrase_file" => self.passphrase_file = Some(value.into()),
            "journal_mib" => self.journal_mib = number(JOURNAL_MIB)?,
            "key_poll" => self.key_poll = number(KEY_POLL)?,
            "fd" | "rootmode" | "user_id" | "group_id" | "max_read" | "blksize" => {
                self.kernel_fact = Some(format!("{name}={value}"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Lengths of a journal in MiB.
pub(super) const JOURNAL_MIB: std::ops::RangeInclusive<u64> = 4..=65536;
/// Seconds between questions whether keys may still be used.
pub(super) const KEY_POLL: std::ops::RangeInclusive<u64> = 1..=30;

/// Comments, and options that other programs read in fstab(5).
fn is_for_others(option: &str) -> bool {
    ["x-", "X-", "comment="].iter().any(|prefix| option.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<OptionList> {
        OptionList::parse(&[list.to_owned()])
    }

    fn parse_for_mount(list: &str) -> Result<OptionList> {
        OptionList::parse_for_mount(&[list.to_owned()], false)
    }

    #[test]
    fn options_are_read_and_the_last_one_counts() {
        let read =
            parse("ro,allow_other,default_permissions,dev,nodev,noatime,fsname=x,writeback,x-y=z").unwrap();
        let expected = MountOptions {
            read_only: true,
            allow_other: true,
            write_back: true,
            access_times: AccessTimes::Never,
            source: Some("x".into()),
            ..MountOptions::default()
        };
        assert_eq!(read, OptionList { mount: expected, ..OptionList::default() });
        assert_eq!(parse("ro,rw,,writeback,nowriteback,noatime,relatime").unwrap(), OptionList::default());
        let read = parse("key_file=/k=1,keystore=/s,journal_mib=4,init").unwrap();
        assert_eq!(read.key_file, Some("/k=1".into()));
        assert_eq!((read.keystore, read.journal_mib, read.init), (Some("/s".into()), Some(4), true));
    }

    #[test]
    fn an_unknown_option_is_refused_by_name() {
        assert_eq!(parse("ro,bogus").unwrap_err().to_string(), "unknown mount option \"bogus\"");
        // A passphrase would be for everybody to see.
        for refused in ["fsname=", "passphrase=x", "journal_mib=3", "journal_mib=x", "user_id=0"] {
            assert!(parse(refused).is_err(), "{refused}");
        }
        let sloppy = OptionList::parse_for_mount(&["ro,bogus,user_id=0".to_owned()], true).unwrap();
        assert!(sloppy.mount.read_only);
    }

    #[test]
    fn mount_has_its_own_defaults() {
        let plain = parse_for_mount("rw").unwrap().mount;
        assert!(plain.dev && plain.suid && !plain.no_exec);
        let user = parse_for_mount("rw,user,exec").unwrap().mount;
        assert!(!user.dev && !user.suid && !user.no_exec);
        assert!(parse_for_mount("remount,ro,user_id=0,group_id=0,default_permissions").unwrap().remount);
    }
}
