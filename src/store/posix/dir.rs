//! Listing a directory by cookies.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{RawDir, SeekFrom};

use super::counts::CallKind;
use super::errno::error;
use super::{Shared, times};
use crate::store::{DirEntry, StoreErrorKind, StoreResult};

/// Room for one entry with the longest name.
const BUFFER_MIN: usize = 1024;
/// More than this the kernel does not fill for most file systems.
const BUFFER_MAX: usize = 32 * 1024;
/// Guess at the size of an entry: 19 bytes of fixed part, the padding, and a backing name of 43 bytes or more.
const ENTRY_GUESS: usize = 72;

/// An open directory and where its next read continues.
pub(super) struct Listing {
    /// The directory, open for reading.
    fd: OwnedFd,
    /// The cookie that the descriptor stands at; `None` if a read took more than was handed out.
    at: Option<u64>,
}

impl Listing {
    /// A listing of the directory behind `fd`, from its start.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd, at: Some(0) }
    }

    /// At most `limit` entries behind `cookie`.
    ///
    /// Nothing that the kernel returned is kept for a later call, so that an entry removed between two calls
    /// is never listed by the second.
    pub(super) fn read(&mut self, shared: &Shared, cookie: u64, limit: usize) -> StoreResult<Vec<DirEntry>> {
        // A cookie of 0 seeks even where the descriptor stands there: that is what refreshes the listing of
        // file systems that take a copy of the directory when it is opened or rewound.
        if self.at != Some(cookie) || cookie == 0 {
            let to = SeekFrom::Start(cookie);
            shared.call(CallKind::Other, "read directory", || rustix::fs::seek(&self.fd, to))?;
        }
        self.at = None;
        let room = limit.saturating_mul(ENTRY_GUESS).clamp(BUFFER_MIN, BUFFER_MAX);
        let mut buffer = vec![MaybeUninit::uninit(); room];
        let mut entries = Vec::new();
        let mut reached = cookie;
        let mut raw = RawDir::new(&self.fd, &mut buffer);
        loop {
            if raw.is_buffer_empty() {
                // One full buffer is a good answer; only dots in it are none.
                if !entries.is_empty() {
                    self.at = Some(reached);
                    break;
                }
                shared.counters.count(CallKind::Other);
            }
            if entries.len() == limit {
                break;
            }
            match raw.next() {
                None => break,
                Some(Ok(entry)) => {
                    reached = entry.next_entry_cookie();
                    let name = entry.file_name().to_bytes();
                    if name != b"." && name != b".." {
                        let kind = times::kind_from(entry.file_type());
                        entries.push(DirEntry {
                            name: name.to_vec(),
                            ino: entry.ino(),
                            kind,
                            cookie: reached,
                        });
                    }
                }
                Some(Err(rustix::io::Errno::INTR)) => {}
                Some(Err(errno)) => {
                    let failure = error("read directory", errno);
                    // A directory that has been removed has no entries.
                    if failure.kind == StoreErrorKind::NotFound {
                        break;
                    }
                    return Err(failure);
                }
            }
        }
        Ok(entries)
    }
}
