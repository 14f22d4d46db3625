//! The backing directory as the operating system has it.
//!
//! Every object is held by a descriptor and every call is relative to one, so that a renamed parent or a
//! symbolic link planted in the backing directory can never lead a call elsewhere. Descriptors are
//! `O_PATH | O_NOFOLLOW`; where a call does not take those, it goes through the magic link
//! `/proc/self/fd/N`, which leads to the object itself and to nothing else. Without a mounted `/proc` the
//! `AT_EMPTY_PATH` forms and file handles take its place where the kernel has them.

mod counts;
mod dir;
mod errno;
mod file;
mod node;
#[cfg(test)]
pub(in crate::store) mod tests;
mod times;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};

pub use counts::CallCounts;

use crate::store::{
    BackingStore, NodeHandle, NodeRef, StoreError, StoreErrorKind, StoreResult, StoreSpace, sys,
};
use counts::{CallKind, Counters};
use errno::error;
use node::PosixNode;

/// File systems with one journal for all names (ext2 to ext4, xfs), or with nothing that a crash could leave (tmpfs).
const ORDERED: [rustix::fs::FsWord; 3] = [0xEF53, 0x5846_5342, 0x0102_1994];
/// Further file systems whose handles are made of numbers on the disk: btrfs, f2fs, zfs, and nfs with those of its server.
const HANDLES_LAST: [rustix::fs::FsWord; 4] = [0x9123_683E, 0xF2F5_2010, 0x2FC1_2FC1, 0x6969];
/// File systems in user space.
const FUSE: rustix::fs::FsWord = 0x6573_5546;

/// A directory of the operating system as a backing directory.
pub struct PosixStore {
    /// What all nodes share.
    shared: Arc<Shared>,
}

/// What the store and all its nodes and files share.
struct Shared {
    /// The backing directory, open for reading: `syncfs` and `open_by_handle_at` take no `O_PATH` descriptor.
    root: Arc<OwnedFd>,
    /// System calls made so far.
    counters: Counters,
    /// Whether `/proc/self/fd` is there.
    proc: bool,
    /// Whether the backing file system makes names durable in the order in which they were made.
    keeps_order: bool,
    /// Whether `syncfs` reaches its device.
    syncs_all: bool,
    /// Whether its handles hold for as long as their nodes.
    handles_last: bool,
    /// Held while permission bits are widened for an open, and while they are set, so that restoring them
    /// cannot undo a change made meanwhile.
    modes: Mutex<()>,
}

impl PosixStore {
    /// Opens the directory `path`.
    ///
    /// Sets the umask of the process to 0: the modes that this store is given are those that the caller of
    /// the file system asked for, whose own umask has been applied already.
    pub fn open(path: &Path) -> StoreResult<Self> {
        let proc =
            rustix::fs::statat(rustix::fs::CWD, c"/proc/self/fd", rustix::fs::AtFlags::empty()).is_ok();
        Self::open_with(path, proc)
    }

    /// Opens the directory `path`; `proc` says whether `/proc/self/fd` may be used.
    fn open_with(path: &Path, proc: bool) -> StoreResult<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())
            .map_err(|errno| error("open", errno))?;
        rustix::process::umask(Mode::empty());
        let kind = rustix::fs::fstatfs(&root).map_err(|errno| error("statfs", errno))?.f_type;
        let shared = Shared {
            root: Arc::new(root),
            counters: Counters::default(),
            proc,
            keeps_order: ORDERED.contains(&kind),
            syncs_all: kind != FUSE,
            handles_last: ORDERED.contains(&kind) || HANDLES_LAST.contains(&kind),
            modes: Mutex::new(()),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// System calls made so far. Closing a descriptor is not counted.
    pub fn counts(&self) -> CallCounts {
        self.shared.counters.read()
    }
}

impl Shared {
    /// Makes one system call: counts it, repeats it if a signal came first, and names the error.
    fn call<T>(
        &self,
        kind: CallKind,
        verb: &'static str,
        mut system_call: impl FnMut() -> rustix::io::Result<T>,
    ) -> StoreResult<T> {
        loop {
            self.counters.count(kind);
            match system_call() {
                Err(rustix::io::Errno::INTR) => {}
                outcome => return outcome.map_err(|errno| error(verb, errno)),
            }
        }
    }

    /// The backing directory.
    fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl BackingStore for PosixStore {
    fn root(&self) -> NodeRef {
        Arc::new(PosixNode::root(&self.shared))
    }

    fn open_handle(&self, handle: &NodeHandle) -> StoreResult<NodeRef> {
        let bytes = handle
            .bytes
            .get(..usize::from(handle.len))
            .ok_or(StoreError::new("open handle", StoreErrorKind::Invalid))?;
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let fd = self.shared.call(CallKind::Open, "open handle", || {
            sys::open_handle(self.shared.root(), handle.kind, bytes, flags)
        })?;
        Ok(Arc::new(PosixNode::by_path(fd, &self.shared)))
    }

    fn handles_last(&self) -> bool {
        self.shared.handles_last
    }

    fn syncs_all(&self) -> bool {
        self.shared.syncs_all
    }

    fn sync_all(&self) -> StoreResult<()> {
        self.shared.call(CallKind::Sync, "sync", || rustix::fs::syncfs(self.shared.root()))
    }

    fn space(&self) -> StoreResult<StoreSpace> {
        let found =
            self.shared.call(CallKind::Stat, "statfs", || rustix::fs::fstatvfs(self.shared.root()))?;
        Ok(StoreSpace {
            block_size: u32::try_from(found.f_frsize).unwrap_or(u32::MAX),
            blocks: found.f_blocks,
            free: found.f_bfree,
            available: found.f_bavail,
            files: found.f_files,
            free_files: found.f_ffree,
            name_max: u32::try_from(found.f_namemax).unwrap_or(u32::MAX),
        })
    }
}
