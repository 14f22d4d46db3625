//! What is mounted where, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
//!
//! Asking the mount point itself would send a request to this very process.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Number of the field with `major:minor`, and of the one with the mount point.
const DEVICE_FIELD: usize = 2;
const POINT_FIELD: usize = 4;
const READ_STEP: usize = 64 * 1024;

/// The device of the topmost mount at `point`, as `major:minor`; `None` if nothing is mounted there.
pub(super) fn device_at(point: &Path) -> Result<Option<String>, Errno> {
    Ok(find(&read_all()?, point))
}

fn read_all() -> Result<Vec<u8>, Errno> {
    let file = rustix::fs::open("/proc/self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::new();
    let mut buf = vec![0; READ_STEP];
    loop {
        match rustix::io::read(&file, &mut buf[..]) {
            Ok(0) => return Ok(text),
            Ok(len) => text.extend_from_slice(&buf[..len]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The last line that names `point` is the topmost mount.
fn find(text: &[u8], point: &Path) -> Option<String> {
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let device = fields.nth(DEVICE_FIELD)?;
            let at = fields.nth(POINT_FIELD - DEVICE_FIELD - 1)?;
            (unescape(at).as_bytes() == point.as_os_str().as_bytes())
                .then(|| String::from_utf8_lossy(device).into_owned())
        })
        .next_back()
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| tail.get(..3)).flatten().and_then(|digits| {
            digits.iter().try_fold(0u8, |value, digit| {
                (b'0'..=b'7').contains(digit).then(|| value << 3 | (digit - b'0'))
            })
        });
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
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
    fn the_topmost_mount_counts() {
        let text = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 0:40 / /mnt/a\\040b rw - tmpfs x rw\n\
            31 30 0:52 / /mnt/a\\040b rw - fuse.kmsfs x rw\n";
        assert_eq!(find(text, Path::new("/mnt/a b")).as_deref(), Some("0:52"));
        assert_eq!(find(text, Path::new("/")).as_deref(), Some("8:1"));
        assert_eq!(find(text, Path::new("/mnt")), None);
    }
}
