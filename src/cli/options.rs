//! Mount options in the syntax of mount(8): `-o ro,allow_other,fsname=x`.

use anyhow::Result;

use super::error::CliError;

/// What `-o` says.
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
    /// What the mount table shows as the source.
    pub(super) source: Option<String>,
}

impl MountOptions {
    /// Reads the values of all `-o`, each a list with commas. A later option overrides an earlier one.
    pub(super) fn parse(lists: &[String]) -> Result<Self> {
        let mut options = Self::default();
        for option in lists.iter().flat_map(|list| list.split(',')).filter(|option| !option.is_empty()) {
            options.apply(option)?;
        }
        Ok(options)
    }

    fn apply(&mut self, option: &str) -> Result<()> {
        match option {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "allow_other" => self.allow_other = true,
            "dev" => self.dev = true,
            "nodev" => self.dev = false,
            "suid" => self.suid = true,
            "nosuid" => self.suid = false,
            "exec" => self.no_exec = false,
            "noexec" => self.no_exec = true,
            "writeback" => self.write_back = true,
            "nowriteback" => self.write_back = false,
            // The kernel checks permissions always, and access times are those of the backing files.
            "default_permissions" | "noatime" | "nodiratime" | "relatime" => {}
            // What mount(8) and fstab(5) keep for themselves.
            "defaults" | "auto" | "noauto" | "user" | "users" | "nouser" | "_netdev" | "nofail" => {}
            other => match other.split_once('=') {
                Some(("fsname", source)) if !source.is_empty() => self.source = Some(source.to_owned()),
                _ if other.starts_with("x-") => {}
                _ => return Err(CliError::UnknownOption(other.to_owned()).into()),
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<MountOptions> {
        MountOptions::parse(&[list.to_owned()])
    }

    #[test]
    fn options_are_read_and_the_last_one_counts() {
        let read =
            parse("ro,allow_other,default_permissions,dev,nodev,noatime,fsname=x,writeback,x-y=z").unwrap();
        let expected = MountOptions {
            read_only: true,
            allow_other: true,
            write_back: true,
            source: Some("x".into()),
            ..MountOptions::default()
        };
        assert_eq!(read, expected);
        assert_eq!(parse("ro,rw,,writeback,nowriteback").unwrap(), MountOptions::default());
    }

    #[test]
    fn an_unknown_option_is_refused_by_name() {
        assert_eq!(parse("ro,bogus").unwrap_err().to_string(), "unknown mount option \"bogus\"");
        assert!(parse("fsname=").is_err());
    }
}
