//! An open regular file.

use std::io::IoSlice;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, AtFlags, FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;

use super::counts::CallKind;
use super::{Shared, times};
use crate::store::{BackingFile, NodeStat, StoreError, StoreErrorKind, StoreResult, sys};

/// An open regular file of the backing directory. Never `O_APPEND`: Linux would ignore the offsets.
pub(super) struct PosixFile {
    /// The descriptor. The node of a file that was created with it shares it.
    fd: Arc<OwnedFd>,
    /// Whether this file has taken the lock.
    locked: AtomicBool,
    /// Whether reading shows in the access time, and somebody has yet to read.
    noted: AtomicBool,
    /// Store-wide state.
    shared: Arc<Shared>,
}

impl PosixFile {
    /// A file over `fd`.
    pub(super) fn new(fd: Arc<OwnedFd>, shared: &Arc<Shared>) -> Self {
        Self::with(fd, false, shared)
    }

    fn with(fd: Arc<OwnedFd>, noted: bool, shared: &Arc<Shared>) -> Self {
        let (locked, noted) = (AtomicBool::new(false), AtomicBool::new(noted));
        Self { fd, locked, noted, shared: Arc::clone(shared) }
    }

    /// A file over `fd`, which was opened without `O_NOATIME`.
    pub(super) fn noted(fd: Arc<OwnedFd>, shared: &Arc<Shared>) -> Self {
        Self::with(fd, true, shared)
    }

    /// Keeps reading out of the access time from now on, if the kernel lets this process ask for that.
    fn stop_noting(&self) {
        let set = self
            .shared
            .call(CallKind::Other, "set flags", || rustix::fs::fcntl_setfl(&*self.fd, OFlags::NOATIME));
        if let Err(error) = set {
            tracing::debug!(%error, "reading a file of another user shows in its access time");
        }
    }

    /// `fallocate` in `mode`.
    fn fallocate(&self, verb: &'static str, mode: FallocateFlags, offset: u64, len: u64) -> StoreResult<()> {
        // The kernel calls an empty range an error; here it is nothing to do.
        if len == 0 {
            return Ok(());
        }
        self.shared.call(CallKind::Other, verb, || rustix::fs::fallocate(&*self.fd, mode, offset, len))
    }

    /// Goes on with a vectored write of which the kernel took `written` bytes.
    fn write_rest(&self, bufs: &[IoSlice<'_>], offset: u64, written: usize) -> StoreResult<()> {
        let mut rest = bufs.to_vec();
        let mut rest = rest.as_mut_slice();
        IoSlice::advance_slices(&mut rest, written);
        let mut at = advance(offset, written)?;
        while !rest.is_empty() {
            let step =
                self.shared.call(CallKind::Write, "write", || rustix::io::pwritev(&*self.fd, rest, at))?;
            at = advance(at, some_progress(step)?)?;
            IoSlice::advance_slices(&mut rest, step);
        }
        Ok(())
    }
}

/// The offset `by` bytes on.
fn advance(offset: u64, by: usize) -> StoreResult<u64> {
    offset.checked_add(by as u64).ok_or(StoreError::new("write", StoreErrorKind::TooLarge))
}

/// A write that took nothing and names no error would repeat for ever.
fn some_progress(written: usize) -> StoreResult<usize> {
    if written == 0 { Err(StoreError::new("write", StoreErrorKind::Io)) } else { Ok(written) }
}

impl BackingFile for PosixFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> StoreResult<usize> {
        if self.noted.load(Ordering::Relaxed) && self.noted.swap(false, Ordering::Relaxed) {
            self.stop_noting();
        }
        let mut filled = 0;
        while filled < buf.len() {
            let rest = &mut buf[filled..];
            let at = advance(offset, filled)?;
            let step = self
                .shared
                .call(CallKind::Read, "read", || rustix::io::pread(&*self.fd, &mut rest[..], at))?;
            if step == 0 {
                break;
            }
            filled += step;
        }
        Ok(filled)
    }

    fn will_need(&self, offset: u64, len: u64) {
        // Where the system cannot take the hint, reading is only slower.
        let _ = rustix::fs::fadvise(&*self.fd, offset, NonZeroU64::new(len), Advice::WillNeed);
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> StoreResult<()> {
        let mut written = 0;
        while written < buf.len() {
            let rest = &buf[written..];
            let at = advance(offset, written)?;
            let step =
                self.shared.call(CallKind::Write, "write", || rustix::io::pwrite(&*self.fd, rest, at))?;
            written += some_progress(step)?;
        }
        Ok(())
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> StoreResult<()> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if total == 0 {
            return Ok(());
        }
        let written =
            self.shared.call(CallKind::Write, "write", || rustix::io::pwritev(&*self.fd, bufs, offset))?;
        if written == total { Ok(()) } else { self.write_rest(bufs, offset, some_progress(written)?) }
    }

    fn set_len(&self, len: u64) -> StoreResult<()> {
        self.shared.call(CallKind::Other, "truncate", || rustix::fs::ftruncate(&*self.fd, len))
    }

    fn allocate(&self, offset: u64, len: u64) -> StoreResult<()> {
        self.fallocate("allocate", FallocateFlags::KEEP_SIZE, offset, len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> StoreResult<()> {
        self.fallocate("punch hole", FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)
    }

    fn next_data(&self, offset: u64) -> StoreResult<Option<u64>> {
        self.shared.call(CallKind::Other, "seek", || {
            match rustix::fs::seek(&*self.fd, SeekFrom::Data(offset)) {
                Ok(found) => Ok(Some(found)),
                Err(Errno::NXIO) => Ok(None),
                Err(errno) => Err(errno),
            }
        })
    }

    fn stat(&self) -> StoreResult<NodeStat> {
        let found = self.shared.call(CallKind::Stat, "stat", || {
            rustix::fs::statx(&*self.fd, c"", AtFlags::EMPTY_PATH, times::WANTED)
        })?;
        times::stat_from(&found)
    }

    fn sync_data(&self) -> StoreResult<()> {
        self.shared.call(CallKind::Sync, "sync", || rustix::fs::fdatasync(&*self.fd))
    }

    fn sync_all(&self) -> StoreResult<()> {
        self.shared.call(CallKind::Sync, "sync", || rustix::fs::fsync(&*self.fd))
    }

    fn try_lock(&self) -> StoreResult<bool> {
        let taken = self.shared.call(CallKind::Other, "lock", || sys::try_lock(self.fd.as_fd()))?;
        if taken {
            self.locked.store(true, Ordering::Relaxed);
        }
        Ok(taken)
    }
}

impl Drop for PosixFile {
    fn drop(&mut self) {
        // The lock belongs to the open file description, which the node may keep alive, and for a moment also a
        // child of this process between fork and exec.
        if self.locked.load(Ordering::Relaxed) {
            let unlocked = self.shared.call(CallKind::Other, "unlock", || sys::unlock(self.fd.as_fd()));
            debug_assert!(
                unlocked.is_ok(),
                "unlocking needs no memory and cannot fail on a valid descriptor"
            );
        }
    }
}
