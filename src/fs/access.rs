//! Access times.
//!
//! The backing file system notes them, by its own rules: writing a time of access down would change the time of
//! change too, and backups would take every file that was read for a changed one. This only decides when to let it,
//! because kmsfs's own reading, of headers for example, must not count.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::MountedVolume;
use super::inode::Inode;
use crate::store::{NodeKind, NodeStat};

/// When `relatime` notes an access although nothing has changed.
const RELATIVE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// When reading is noted: the atime options of mount(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessTimes {
    /// If the file has changed since it was read last, or a day has passed.
    #[default]
    Relative,
    /// Always, as far as the backing file system does.
    Always,
    /// Never.
    Never,
}

/// The rule of a mounted volume, which a remount changes.
#[derive(Debug, Default)]
pub(super) struct AccessRule {
    times: AtomicU8,
    no_dirs: AtomicBool,
}

impl AccessRule {
    fn set(&self, times: AccessTimes, no_dirs: bool) {
        self.times.store(times as u8, Ordering::Relaxed);
        self.no_dirs.store(no_dirs, Ordering::Relaxed);
    }

    fn of(&self, kind: NodeKind) -> AccessTimes {
        let times = self.times.load(Ordering::Relaxed);
        if times == AccessTimes::Never as u8
            || kind == NodeKind::Directory && self.no_dirs.load(Ordering::Relaxed)
        {
            AccessTimes::Never
        } else if times == AccessTimes::Always as u8 {
            AccessTimes::Always
        } else {
            AccessTimes::Relative
        }
    }
}

/// Until when the access time of an inode is recent enough for `relatime`, in seconds since 1970.
#[derive(Debug)]
pub(super) struct AccessNoted(AtomicU64);

impl AccessNoted {
    /// What `stat` says.
    pub(super) fn of(stat: &NodeStat) -> Self {
        let recent = stat.atime > stat.mtime && stat.atime > stat.ctime;
        Self(AtomicU64::new(if recent { until(stat.atime) } else { 0 }))
    }

    /// The inode has changed.
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

fn until(noted: SystemTime) -> u64 {
    (noted + RELATIVE_MAX).duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl MountedVolume {
    /// Reading is noted by this rule from now on.
    pub fn set_access_times(&self, times: AccessTimes, no_dirs: bool) {
        self.access_rule.set(times, no_dirs);
    }

    /// `inode` was read by a user just now.
    pub(super) fn note_access(&self, inode: &Inode) {
        let now = SystemTime::now();
        match self.access_rule.of(inode.kind) {
            AccessTimes::Never => return,
            AccessTimes::Always => {}
            AccessTimes::Relative => {
                let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                if now < inode.access_noted.0.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
        // A change that comes in between counts as one that comes after the reading.
        inode.access_noted.0.store(until(now), Ordering::Relaxed);
        if let Err(error) = inode.node().and_then(|node| Ok(node.note_access()?)) {
            tracing::debug!(inode = inode.id.0, %error, "an access was not noted");
        }
    }
}
