//! A node held by descriptor.

use std::any::Any;
use std::ffi::{CStr, OsStr};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Uid, XattrFlags};

use super::counts::CallKind;
use super::dir::Listing;
use super::file::PosixFile;
use super::{Shared, times};
use crate::store::{
    BackingNode, DirEntry, FileAccess, FileRef, NodeHandle, NodeKind, NodeRef, NodeStat, RenameMode,
    StoreError, StoreErrorKind, StoreResult, TimeChange, XattrMode, sys,
};

/// Room for the value of an attribute or a list of names in the first call; longer ones cost two more.
const XATTR_GUESS: usize = 512;

/// An object of the backing directory.
pub(super) struct PosixNode {
    /// The object. Shared with the open file where the same call created both.
    fd: Arc<OwnedFd>,
    /// Whether `fd` is a full descriptor, on which the `f...` calls work, and not an `O_PATH` one.
    is_open: bool,
    /// What the object is, once known: that never changes.
    kind: OnceLock<NodeKind>,
    /// Store-wide state.
    shared: Arc<Shared>,
    /// The running listing of a directory.
    listing: Mutex<Option<Listing>>,
}

/// The path of the magic link of a descriptor, on the stack.
struct ProcPath([u8; 32]);

impl ProcPath {
    /// The magic link of `fd`.
    fn of(fd: BorrowedFd<'_>) -> Self {
        let mut bytes = [0; 32];
        // 14 bytes of prefix and at most 10 digits leave room for the NUL.
        let written = write!(&mut bytes[..31], "/proc/self/fd/{}", fd.as_raw_fd());
        debug_assert!(written.is_ok());
        Self(bytes)
    }

    /// As a path argument.
    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// Refuses a name that could lead out of the directory.
fn checked<'a>(call: &'static str, name: &'a OsStr) -> StoreResult<&'a OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(StoreError::new(call, StoreErrorKind::Invalid));
    }
    Ok(name)
}

/// The permission bits of `mode`.
fn mode_bits(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

impl PosixNode {
    /// The backing directory itself.
    pub(super) fn root(shared: &Arc<Shared>) -> Self {
        Self::with(Arc::clone(&shared.root), true, Some(NodeKind::Directory), shared)
    }

    /// A node behind an `O_PATH` descriptor.
    pub(super) fn by_path(fd: OwnedFd, shared: &Arc<Shared>) -> Self {
        Self::with(Arc::new(fd), false, None, shared)
    }

    /// A node behind `fd`.
    fn with(fd: Arc<OwnedFd>, is_open: bool, known: Option<NodeKind>, shared: &Arc<Shared>) -> Self {
        let kind = OnceLock::new();
        if let Some(known) = known {
            kind.get_or_init(|| known);
        }
        Self { fd, is_open, kind, shared: Arc::clone(shared), listing: Mutex::new(None) }
    }

    /// Node and open file of a regular file that was created just now, over one descriptor.
    fn created(&self, fd: OwnedFd) -> (NodeRef, FileRef) {
        let fd = Arc::new(fd);
        let node = Self::with(Arc::clone(&fd), true, Some(NodeKind::File), &self.shared);
        (Arc::new(node), Arc::new(PosixFile::noted(fd, &self.shared)))
    }

    /// The entry `name`, which is of kind `known` if the caller made it.
    fn entry(&self, call: &'static str, name: &OsStr, known: Option<NodeKind>) -> StoreResult<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = self
            .shared
            .call(CallKind::Open, call, || rustix::fs::openat(&*self.fd, name, flags, Mode::empty()))?;
        Ok(Self::with(Arc::new(fd), false, known, &self.shared))
    }

    /// What the object is.
    fn kind(&self) -> StoreResult<NodeKind> {
        match self.kind.get() {
            Some(kind) => Ok(*kind),
            None => Ok(self.stat()?.kind),
        }
    }

    /// A call that takes a path, with the magic link for it.
    fn through_proc<T>(
        &self,
        call: &'static str,
        mut path_call: impl FnMut(&CStr) -> rustix::io::Result<T>,
    ) -> StoreResult<T> {
        if !self.shared.proc {
            return Err(StoreError::new(call, StoreErrorKind::Unsupported));
        }
        let path = ProcPath::of(self.fd.as_fd());
        self.shared.call(CallKind::Other, call, || path_call(path.as_c_str()))
    }

    /// Opens the object again, with one call.
    fn reopen_once(&self, flags: OFlags) -> StoreResult<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let shared = &self.shared;
        if shared.proc {
            let path = ProcPath::of(self.fd.as_fd());
            // No O_NOFOLLOW: it would refuse the magic link, and what the link leads to cannot change.
            return shared.call(CallKind::Open, "open", || {
                rustix::fs::openat(CWD, path.as_c_str(), flags, Mode::empty())
            });
        }
        if self.kind()? == NodeKind::Directory {
            return shared
                .call(CallKind::Open, "open", || rustix::fs::openat(&*self.fd, c".", flags, Mode::empty()));
        }
        let unsupported = StoreError::new("open", StoreErrorKind::Unsupported);
        let handle = self.handle()?.ok_or(unsupported)?;
        let bytes = handle.bytes.get(..usize::from(handle.len)).ok_or(unsupported)?;
        let raw_flags = flags.bits().cast_signed();
        shared.call(CallKind::Open, "open", || sys::open_handle(shared.root(), handle.kind, bytes, raw_flags))
    }

    /// Opens the object again, whatever its permission bits are, and without touching its access time if the
    /// kernel lets this process ask for that.
    pub(super) fn reopen(&self, flags: OFlags) -> StoreResult<OwnedFd> {
        let opened = match self.reopen_once(flags | OFlags::NOATIME) {
            // Only the owner and root may use O_NOATIME.
            Err(failure) if failure.kind == StoreErrorKind::NotPermitted => self.reopen_once(flags),
            outcome => outcome,
        };
        match opened {
            Err(failure) if failure.kind == StoreErrorKind::AccessDenied => {
                self.reopen_widened(flags, failure)
            }
            outcome => outcome,
        }
    }

    /// Opens an object whose permission bits lock out its owner: widens them for the moment of the open.
    ///
    /// A crash in between leaves the owner's read and write bits set, which gives nobody else anything.
    fn reopen_widened(&self, flags: OFlags, denied: StoreError) -> StoreResult<OwnedFd> {
        let _modes = self.shared.modes.lock();
        let found = self.stat()?;
        if found.uid != rustix::process::geteuid().as_raw() {
            return Err(denied);
        }
        if self.change_mode(found.mode | 0o600).is_err() {
            return Err(denied);
        }
        let opened = self.reopen_once(flags | OFlags::NOATIME);
        self.change_mode(found.mode)?;
        opened
    }

    /// Sets the permission bits; the caller holds the lock on modes.
    fn change_mode(&self, mode: u32) -> StoreResult<()> {
        let bits = mode_bits(mode);
        if self.is_open {
            return self.shared.call(CallKind::Other, "chmod", || rustix::fs::fchmod(&*self.fd, bits));
        }
        if self.shared.proc {
            return self.through_proc("chmod", |path| rustix::fs::chmodat(CWD, path, bits, AtFlags::empty()));
        }
        self.shared.call(CallKind::Other, "chmod", || sys::fchmod_path(self.fd.as_fd(), bits.as_raw_mode()))
    }

    /// Attributes of `name`, or of this node if `name` is empty.
    fn stat_of(&self, name: &OsStr, flags: AtFlags) -> StoreResult<NodeStat> {
        let flags = flags | AtFlags::NO_AUTOMOUNT;
        let found = self
            .shared
            .call(CallKind::Stat, "stat", || rustix::fs::statx(&*self.fd, name, flags, times::WANTED))?;
        times::stat_from(&found)
    }

    /// The target of the symbolic link `name`, or of this node if `name` is empty.
    fn link_target(&self, name: &OsStr) -> StoreResult<Vec<u8>> {
        // The kernel keeps no target longer than 4095 bytes, so one call always gets all of it.
        let mut target = vec![0; 4096];
        let len = self.shared.call(CallKind::Other, "readlink", || {
            rustix::fs::readlinkat_raw(&*self.fd, name, target.as_mut_slice())
        });
        match len {
            Ok(len) => target.truncate(len),
            // With an empty name the kernel says ENOENT where it says EINVAL with a real one.
            Err(failure) if name.is_empty() && failure.is_not_found() => {
                return Err(StoreError::new("readlink", StoreErrorKind::Invalid));
            }
            Err(failure) => return Err(failure),
        }
        Ok(target)
    }

    /// A value whose length is not known beforehand: `fetch` fills a buffer or fails with `Range`.
    fn fetch_sized(
        &self,
        mut fetch: impl FnMut(&Self, &mut [u8]) -> StoreResult<usize>,
    ) -> StoreResult<Vec<u8>> {
        let mut value = vec![0; XATTR_GUESS];
        loop {
            match fetch(self, &mut value) {
                Ok(len) => {
                    value.truncate(len);
                    return Ok(value);
                }
                // 64 KiB is the kernel's limit on both values and lists of names.
                Err(failure) if failure.kind == StoreErrorKind::Range && value.len() < 65536 => {
                    value.resize(65536, 0);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// The descriptor for the `f...xattr` calls, where the calls by path cannot be used: its own if it is a
    /// full one, or one that is opened for this purpose.
    fn xattr_fd(&self) -> StoreResult<Option<Arc<OwnedFd>>> {
        if self.is_open {
            return Ok(Some(Arc::clone(&self.fd)));
        }
        if self.shared.proc {
            return Ok(None);
        }
        match self.kind()? {
            NodeKind::File | NodeKind::Directory => Ok(Some(Arc::new(self.reopen(OFlags::RDONLY)?))),
            _ => Err(StoreError::new("xattr", StoreErrorKind::Unsupported)),
        }
    }
}

impl BackingNode for PosixNode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stat(&self) -> StoreResult<NodeStat> {
        let found = self.stat_of(OsStr::new(""), AtFlags::EMPTY_PATH)?;
        self.kind.get_or_init(|| found.kind);
        Ok(found)
    }

    fn handle(&self) -> StoreResult<Option<NodeHandle>> {
        let named =
            self.shared.call(CallKind::Other, "name to handle", || sys::name_to_handle(self.fd.as_fd()));
        match named {
            Ok((kind, len, bytes)) => Ok(Some(NodeHandle { kind, len, bytes })),
            // EOVERFLOW: the file system's handles are longer than ours.
            Err(failure)
                if matches!(failure.kind, StoreErrorKind::Unsupported | StoreErrorKind::TooLarge) =>
            {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    fn lookup(&self, name: &OsStr) -> StoreResult<NodeRef> {
        Ok(Arc::new(self.entry("lookup", checked("lookup", name)?, None)?))
    }

    fn stat_at(&self, name: &OsStr) -> StoreResult<NodeStat> {
        self.stat_of(checked("stat", name)?, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn read_dir(&self, cookie: u64, limit: usize) -> StoreResult<Vec<DirEntry>> {
        // A descriptor stays open between the calls of one listing and no longer.
        let mut running = self.listing.lock();
        let mut listing = match running.take() {
            Some(listing) => listing,
            None if self.kind()? != NodeKind::Directory => {
                return Err(StoreError::new("read directory", StoreErrorKind::NotADirectory));
            }
            None => Listing::new(self.reopen(OFlags::RDONLY | OFlags::DIRECTORY)?),
        };
        let entries = listing.read(&self.shared, cookie, limit)?;
        if !entries.is_empty() {
            *running = Some(listing);
        }
        Ok(entries)
    }

    fn open_file(&self, access: FileAccess) -> StoreResult<FileRef> {
        // The kind is known before anything is opened, so that no pipe can block us and no device notices:
        // both may have been planted by whoever can write to the backing directory.
        let refusal = match self.kind()? {
            NodeKind::File => None,
            NodeKind::Directory => Some(StoreErrorKind::IsADirectory),
            NodeKind::Symlink => Some(StoreErrorKind::Loop),
            NodeKind::Fifo | NodeKind::Socket | NodeKind::CharDevice | NodeKind::BlockDevice => {
                Some(StoreErrorKind::NoDevice)
            }
        };
        if let Some(kind) = refusal {
            return Err(StoreError::new("open", kind));
        }
        let flags = match access {
            FileAccess::Read => OFlags::RDONLY,
            FileAccess::ReadWrite => OFlags::RDWR,
        };
        Ok(Arc::new(PosixFile::new(Arc::new(self.reopen(flags)?), &self.shared)))
    }

    fn create_file(&self, name: &OsStr, mode: u32) -> StoreResult<(NodeRef, FileRef)> {
        let name = checked("create", name)?;
        // No O_NOATIME: where the server maps our user to another it would fail behind the creation.
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = self
            .shared
            .call(CallKind::Open, "create", || rustix::fs::openat(&*self.fd, name, flags, mode_bits(mode)))?;
        Ok(self.created(fd))
    }

    fn create_unnamed(&self, mode: u32) -> StoreResult<(NodeRef, FileRef)> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = self.shared.call(CallKind::Open, "create unnamed", || {
            rustix::fs::openat(&*self.fd, c".", flags, mode_bits(mode))
        });
        match fd {
            Ok(fd) => Ok(self.created(fd)),
            // What a file system without O_TMPFILE makes of O_DIRECTORY | O_RDWR.
            Err(failure) if failure.kind == StoreErrorKind::IsADirectory => {
                Err(StoreError::new("create unnamed", StoreErrorKind::Unsupported))
            }
            Err(failure) => Err(failure),
        }
    }

    fn make_dir(&self, name: &OsStr, mode: u32) -> StoreResult<NodeRef> {
        let name = checked("mkdir", name)?;
        self.shared
            .call(CallKind::Other, "mkdir", || rustix::fs::mkdirat(&*self.fd, name, mode_bits(mode)))?;
        Ok(Arc::new(self.entry("mkdir", name, Some(NodeKind::Directory))?))
    }

    fn make_node(&self, name: &OsStr, kind: NodeKind, mode: u32, rdev: u64) -> StoreResult<NodeRef> {
        let name = checked("mknod", name)?;
        if matches!(kind, NodeKind::Directory | NodeKind::Symlink) {
            return Err(StoreError::new("mknod", StoreErrorKind::Invalid));
        }
        self.shared.call(CallKind::Other, "mknod", || {
            rustix::fs::mknodat(&*self.fd, name, times::type_from(kind), mode_bits(mode), rdev)
        })?;
        Ok(Arc::new(self.entry("mknod", name, Some(kind))?))
    }

    fn make_symlink(&self, name: &OsStr, target: &[u8]) -> StoreResult<NodeRef> {
        let name = checked("symlink", name)?;
        self.shared.call(CallKind::Other, "symlink", || rustix::fs::symlinkat(target, &*self.fd, name))?;
        Ok(Arc::new(self.entry("symlink", name, Some(NodeKind::Symlink))?))
    }

    fn read_link(&self) -> StoreResult<Vec<u8>> {
        self.link_target(OsStr::new(""))
    }

    fn read_link_at(&self, name: &OsStr) -> StoreResult<Vec<u8>> {
        self.link_target(checked("readlink", name)?)
    }

    fn link(&self, node: &dyn BackingNode, name: &OsStr) -> StoreResult<()> {
        let name = checked("link", name)?;
        let node = downcast("link", node)?;
        if self.shared.proc {
            let flags = AtFlags::SYMLINK_FOLLOW;
            return node.through_proc("link", |path| rustix::fs::linkat(CWD, path, &*self.fd, name, flags));
        }
        // Needs CAP_DAC_READ_SEARCH, or Linux 6.10 and the credentials of the open.
        self.shared.call(CallKind::Other, "link", || {
            rustix::fs::linkat(&*node.fd, c"", &*self.fd, name, AtFlags::EMPTY_PATH)
        })
    }

    fn rename(
        &self,
        name: &OsStr,
        new_dir: &dyn BackingNode,
        new_name: &OsStr,
        mode: RenameMode,
    ) -> StoreResult<()> {
        let (name, new_name) = (checked("rename", name)?, checked("rename", new_name)?);
        let new_dir = downcast("rename", new_dir)?;
        let flags = match mode {
            RenameMode::Replace => RenameFlags::empty(),
            RenameMode::NoReplace => RenameFlags::NOREPLACE,
            RenameMode::Exchange => RenameFlags::EXCHANGE,
            RenameMode::Whiteout { replace: true } => RenameFlags::WHITEOUT,
            RenameMode::Whiteout { replace: false } => RenameFlags::WHITEOUT | RenameFlags::NOREPLACE,
        };
        self.shared.call(CallKind::Other, "rename", || {
            rustix::fs::renameat_with(&*self.fd, name, &*new_dir.fd, new_name, flags)
        })
    }

    fn unlink(&self, name: &OsStr) -> StoreResult<()> {
        let name = checked("unlink", name)?;
        self.shared
            .call(CallKind::Other, "unlink", || rustix::fs::unlinkat(&*self.fd, name, AtFlags::empty()))
    }

    fn remove_dir(&self, name: &OsStr) -> StoreResult<()> {
        let name = checked("rmdir", name)?;
        self.shared
            .call(CallKind::Other, "rmdir", || rustix::fs::unlinkat(&*self.fd, name, AtFlags::REMOVEDIR))
    }

    fn set_mode(&self, mode: u32) -> StoreResult<()> {
        let _modes = self.shared.modes.lock();
        self.change_mode(mode)
    }

    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> StoreResult<()> {
        // All ones means "leave it" to the kernel, so it cannot be asked for.
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(StoreError::new("chown", StoreErrorKind::Invalid));
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        self.shared.call(CallKind::Other, "chown", || {
            rustix::fs::chownat(&*self.fd, c"", uid, gid, AtFlags::EMPTY_PATH)
        })
    }

    fn set_times(&self, atime: TimeChange, mtime: TimeChange) -> StoreResult<()> {
        let stamps = times::timestamps(atime, mtime);
        self.shared.call(CallKind::Other, "utimens", || {
            rustix::fs::utimensat(&*self.fd, c"", &stamps, AtFlags::EMPTY_PATH)
        })
    }

    fn get_xattr(&self, name: &OsStr) -> StoreResult<Vec<u8>> {
        let fd = self.xattr_fd()?;
        self.fetch_sized(|node, value| match &fd {
            Some(fd) => node
                .shared
                .call(CallKind::Other, "getxattr", || rustix::fs::fgetxattr(fd, name, &mut value[..])),
            None => node.through_proc("getxattr", |path| rustix::fs::getxattr(path, name, &mut value[..])),
        })
    }

    fn set_xattr(&self, name: &OsStr, value: &[u8], mode: XattrMode) -> StoreResult<()> {
        let flags = match mode {
            XattrMode::Any => XattrFlags::empty(),
            XattrMode::Create => XattrFlags::CREATE,
            XattrMode::Replace => XattrFlags::REPLACE,
        };
        match self.xattr_fd()? {
            Some(fd) => self
                .shared
                .call(CallKind::Other, "setxattr", || rustix::fs::fsetxattr(&fd, name, value, flags)),
            None => self.through_proc("setxattr", |path| rustix::fs::setxattr(path, name, value, flags)),
        }
    }

    fn list_xattrs(&self) -> StoreResult<Vec<Vec<u8>>> {
        let fd = self.xattr_fd()?;
        let joined = self.fetch_sized(|node, list| match &fd {
            Some(fd) => {
                node.shared.call(CallKind::Other, "listxattr", || rustix::fs::flistxattr(fd, &mut list[..]))
            }
            None => node.through_proc("listxattr", |path| rustix::fs::listxattr(path, &mut list[..])),
        })?;
        let names = joined.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    fn remove_xattr(&self, name: &OsStr) -> StoreResult<()> {
        match self.xattr_fd()? {
            Some(fd) => {
                self.shared.call(CallKind::Other, "removexattr", || rustix::fs::fremovexattr(&fd, name))
            }
            None => self.through_proc("removexattr", |path| rustix::fs::removexattr(path, name)),
        }
    }

    fn note_access(&self) -> StoreResult<()> {
        // The kernel notes a read of a descriptor without O_NOATIME, if it would for any other program.
        match self.kind()? {
            NodeKind::File => {
                let fd = self.reopen_once(OFlags::RDONLY | OFlags::NONBLOCK)?;
                self.shared.call(CallKind::Read, "read", || rustix::io::pread(&fd, &mut [0][..], 0))?;
            }
            NodeKind::Directory => {
                let fd = self.reopen_once(OFlags::RDONLY | OFlags::DIRECTORY)?;
                Listing::new(fd).read(&self.shared, 0, 1)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn sync_dir(&self) -> StoreResult<()> {
        let fd = self.reopen(OFlags::RDONLY | OFlags::DIRECTORY)?;
        self.shared.call(CallKind::Sync, "sync directory", || rustix::fs::fsync(&fd))
    }

    fn order_names(&self) -> StoreResult<()> {
        if self.shared.keeps_order { Ok(()) } else { self.sync_dir() }
    }
}

/// The node of this store behind `node`; a node of another kind of store lies on another file system.
fn downcast<'a>(call: &'static str, node: &'a dyn BackingNode) -> StoreResult<&'a PosixNode> {
    node.as_any().downcast_ref().ok_or(StoreError::new(call, StoreErrorKind::CrossDevice))
}
