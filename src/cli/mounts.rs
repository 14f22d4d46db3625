//! What is mounted: `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The type of kmsfs's mounts.
pub(super) const FILE_SYSTEM_TYPE: &str = "fuse.kmsfs";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountEntry {
    /// Where.
    pub(super) point: PathBuf,
    /// The type of the file system.
    pub(super) kind: String,
    /// Its source.
    pub(super) source: PathBuf,
    /// Options of the mount and of the file system, with commas.
    pub(super) options: String,
}

/// All mounts, in the order in which they were made.
pub(super) fn all() -> Result<Vec<MountEntry>> {
    let table = std::fs::read("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// The topmost mount at `point`.
pub(super) fn at(point: &Path) -> Result<Option<MountEntry>> {
    Ok(all()?.into_iter().rfind(|entry| entry.point == point))
}

fn parse(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = unescape(fields.nth(4)?);
    let mount_options = String::from_utf8_lossy(fields.next()?).into_owned();
    let mut tail = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(tail.next()?).into_owned();
    let source = unescape(tail.next()?);
    let own_options = String::from_utf8_lossy(tail.next().unwrap_or_default()).into_owned();
    let options = format!("{mount_options},{own_options}");
    Some(MountEntry { point: point.into(), kind, source: source.into(), options })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match digits {
            Some(digits) if *first == b'\\' => {
                out.push(digits.iter().fold(0u8, |value, digit| value << 3 | (digit - b'0')));
                rest = &tail[3..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes() {
        let line = b"30 22 0:40 / /mnt/a\\040b rw,nosuid shared:1 - fuse.kmsfs /srv/x\\134y rw,user_id=0";
        let entry = parse(line).unwrap();
        assert_eq!(entry.point, Path::new("/mnt/a b"));
        assert_eq!(entry.source, Path::new("/srv/x\\y"));
        assert_eq!(
            (entry.kind.as_str(), entry.options.as_str()),
            (FILE_SYSTEM_TYPE, "rw,nosuid,rw,user_id=0")
        );
        assert_eq!(parse(b""), None);
    }
}
