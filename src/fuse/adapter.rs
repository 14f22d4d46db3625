//! Decodes a request, calls the file system, replies. No decisions.
//!
//! Nothing of the file system may be held when the reply goes out: the kernel may send RELEASE or FORGET to
//! another thread at once.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};

use super::convert::{self, TTL, caller, node_id};
use super::session::MountConfig;
use super::{errno, features};
use crate::format::NAME_MAX;
use crate::fs::{AttrChange, Entry, FsError, FsResult, ListingHandle, MountedVolume, NewMode, WriteMode};

/// Inodes get new numbers when they are new, so one generation does.
const GENERATION: Generation = Generation(0);
/// `_IOR('X', 125, __u32)`.
const FS_IOC_SHUTDOWN: u32 = 0x8004_587d;

thread_local! {
    /// One buffer for each worker thread: a read needs no allocation.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The file system as `fuser` wants it.
pub(super) struct Adapter {
    volume: Arc<MountedVolume>,
    /// Whether the kernel collects writes. It owns size and times of a file with collected writes then.
    write_back: bool,
    /// Whether `FS_IOC_SHUTDOWN` works.
    dangerous_shutdown: bool,
}

impl Adapter {
    pub(super) fn new(volume: Arc<MountedVolume>, config: &MountConfig) -> Self {
        Self { volume, write_back: config.write_back, dangerous_shutdown: config.dangerous_shutdown }
    }

    /// Runs a request. A panic would end the loop of this thread, and with the last loop hang the mount.
    fn run<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&MountedVolume) -> FsResult<T>,
    ) -> Result<T, Errno> {
        let work = || if self.volume.is_shut_down() { Err(FsError::ShutDown) } else { work(&self.volume) };
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let errno = errno::of(&error);
                log_failure(what, &error, errno);
                Err(errno)
            }
            Err(_) => {
                tracing::error!(request = what, "a request handler panicked");
                Err(Errno::EIO)
            }
        }
    }

    /// For the time after a reply, in which nobody waits for this thread.
    fn work_ahead(&self) {
        // Nothing in it can fail but by a panic, which is logged.
        let _ = self.run("open ahead", |volume| {
            volume.work_ahead();
            Ok(())
        });
    }

    fn reply_entry(&self, done: Result<Entry, Errno>, reply: ReplyEntry) {
        match done {
            Ok(entry) => reply.entry(&TTL, &convert::file_attr(&entry.attr), GENERATION),
            Err(errno) => reply.error(errno),
        }
    }

    fn reply_empty(done: Result<(), Errno>, reply: ReplyEmpty) {
        match done {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }
}

/// What a healthy volume answers all day is logged for the curious only.
fn log_failure(what: &'static str, error: &FsError, errno: Errno) {
    if errno.code() == Errno::EIO.code() {
        tracing::error!(request = what, %error, "request failed");
    } else {
        tracing::debug!(request = what, %error, errno = errno.code(), "request refused");
    }
}

/// Answers a request for an attribute or a list: the size if the caller's buffer is empty, else the bytes.
fn reply_sized(done: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match done {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.write_back = features::request(config, self.write_back);
        self.volume.set_sizes_stick(self.write_back);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.run("lookup", |volume| volume.lookup(node_id(parent), name)) {
            Ok(Some(entry)) => {
                reply.entry(&TTL, &convert::file_attr(&entry.attr), GENERATION);
                self.work_ahead();
            }
            Ok(None) => reply.entry(&TTL, &convert::no_entry(), GENERATION),
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _request: &Request, ino: INodeNo, nlookup: u64) {
        // There is no reply to a forget, and nothing in it can fail but by a panic, which is logged.
        let _ = self.run("forget", |volume| {
            volume.forget(node_id(ino), nlookup);
            Ok(())
        });
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.run("getattr", |volume| volume.attr(node_id(ino))) {
            Ok(attr) => reply.attr(&TTL, &convert::file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = AttrChange {
            mode,
            uid,
            gid,
            size,
            atime: atime.map(convert::time_change),
            mtime: mtime.map(convert::time_change),
            ctime: ctime.map(convert::mended),
        };
        match self.run("setattr", |volume| volume.set_attr(caller(request), node_id(ino), &change)) {
            Ok(attr) => reply.attr(&TTL, &convert::file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        match self.run("readlink", |volume| volume.read_link(node_id(ino))) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let done = self.run("mknod", |volume| {
            let kind = convert::node_kind(mode)?;
            let rdev = convert::device_from_kernel(rdev);
            volume.make_node(caller(request), node_id(parent), name, kind, NewMode { mode, umask }, rdev)
        });
        self.reply_entry(done, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let done = self.run("mkdir", |volume| {
            volume.make_dir(caller(request), node_id(parent), name, NewMode { mode, umask })
        });
        self.reply_entry(done, reply);
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Self::reply_empty(self.run("unlink", |volume| volume.unlink(node_id(parent), name)), reply);
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Self::reply_empty(self.run("rmdir", |volume| volume.remove_dir(node_id(parent), name)), reply);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let done = self.run("symlink", |volume| {
            volume.symlink(caller(request), node_id(parent), name, target.as_os_str().as_bytes())
        });
        self.reply_entry(done, reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let done = self.run("rename", |volume| {
            let mode = convert::rename_mode(flags)?;
            volume.rename(caller(request), (node_id(parent), name), (node_id(newparent), newname), mode)
        });
        Self::reply_empty(done, reply);
    }

    fn link(&self, _request: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let done = self.run("link", |volume| volume.link(node_id(ino), node_id(newparent), newname));
        self.reply_entry(done, reply);
    }

    /// Files need no opening: their state belongs to the inode, and the kernel checks permissions and cuts for
    /// `O_TRUNC` itself. After this answer it opens and closes them, keeping its cache, without a request.
    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match self.run("read", |volume| volume.read(node_id(ino), offset, &mut buffer[..size])) {
                Ok(len) => reply.data(&buffer[..len]),
                Err(errno) => reply.error(errno),
            }
        });
        self.work_ahead();
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let kill = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let mode = WriteMode { kill_privileges: kill.then(|| caller(request)) };
        match self.run("write", |volume| volume.write(node_id(ino), offset, data, mode)) {
            // The kernel sends no more than a request holds, about 1 MiB.
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    /// There is nothing to do at close(2): every write is in the backing file or in the journal when it returns,
    /// the seal follows by itself, and what only the device can refuse surfaces at fsync(2). So the kernel is
    /// told to save itself the request.
    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _request: &Request, ino: INodeNo, _fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        Self::reply_empty(self.run("fsync", |volume| volume.sync(node_id(ino), datasync)), reply);
    }

    fn opendir(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.run("opendir", |volume| volume.open_dir(node_id(ino))) {
            Ok(handle) => reply.opened(FileHandle(handle.0), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let done = self.run("readdir", |volume| {
            volume.list(ListingHandle(fh.0), offset, &mut |entry| {
                let kind = convert::file_type(entry.kind);
                !reply.add(INodeNo(entry.id.0), entry.next_offset, kind, &entry.name)
            })
        });
        match done {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let done = self.run("readdirplus", |volume| {
            volume.list_with_attrs(ListingHandle(fh.0), offset, &mut |entry, found| {
                let attr = convert::file_attr(&found.attr);
                !reply.add(attr.ino, entry.next_offset, &entry.name, &TTL, &attr, GENERATION)
            })
        });
        match done {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let done = self.run("releasedir", |volume| {
            volume.release_dir(ListingHandle(fh.0));
            Ok(())
        });
        Self::reply_empty(done, reply);
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        Self::reply_empty(self.run("fsyncdir", |volume| volume.sync_dir(node_id(ino))), reply);
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match self.run("statfs", MountedVolume::space) {
            Ok(space) => reply.statfs(
                space.blocks,
                space.free,
                space.available,
                space.files,
                space.free_files,
                space.block_size,
                NAME_MAX as u32,
                space.block_size,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let done = self.run("setxattr", |volume| {
            volume.set_xattr(caller(request), node_id(ino), name, value, convert::xattr_mode(flags)?)
        });
        Self::reply_empty(done, reply);
    }

    fn getxattr(&self, _request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        reply_sized(self.run("getxattr", |volume| volume.get_xattr(node_id(ino), name)), size, reply);
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let done = self.run("listxattr", |volume| {
            let names = volume.list_xattrs(caller(request), node_id(ino))?;
            Ok(names.iter().flat_map(|name| name.as_bytes().iter().copied().chain([0])).collect())
        });
        reply_sized(done, size, reply);
    }

    fn removexattr(&self, _request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Self::reply_empty(self.run("removexattr", |volume| volume.remove_xattr(node_id(ino), name)), reply);
    }

    /// The kernel checks permissions itself (`default_permissions`).
    fn access(&self, _request: &Request, _ino: INodeNo, _mask: fuser::AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    /// Told that files are not created and opened in one, the kernel makes them with MKNOD and opens them without
    /// a request: so none is needed when they are closed, either.
    fn create(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        // The command's argument does not come along: its number says that the kernel writes one. So all three ways
        // of shutting down are the one that loses most.
        if self.dangerous_shutdown && cmd == FS_IOC_SHUTDOWN && request.uid() == 0 {
            self.volume.shut_down();
            return reply.ioctl(0, &[]);
        }
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let done = self.run("fallocate", |volume| {
            volume.allocate(caller(request), node_id(ino), offset, length, convert::allocate_mode(mode)?)
        });
        Self::reply_empty(done, reply);
    }

    /// The kernel does not write its collected data out before it asks, so with a write-back cache the answer
    /// could call data a hole. It takes everything for data when the request is not offered.
    fn lseek(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        if self.write_back {
            return reply.error(Errno::ENOSYS);
        }
        let done = self.run("lseek", |volume| {
            let offset = u64::try_from(offset).map_err(|_| FsError::NoSuchOffset)?;
            volume.seek(node_id(ino), offset, convert::seek_target(whence)?)
        });
        match done {
            // Offsets stay below the largest file, which is below the largest signed offset.
            Ok(found) => reply.offset(found.cast_signed()),
            Err(errno) => reply.error(errno),
        }
    }

    fn copy_file_range(
        &self,
        request: &Request,
        ino_in: INodeNo,
        _fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        _fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let done = self.run("copy_file_range", |volume| {
            volume.copy_range(
                caller(request),
                (node_id(ino_in), offset_in),
                (node_id(ino_out), offset_out),
                len,
            )
        });
        match done {
            // One request copies far less than 4 GiB.
            Ok(copied) => reply.written(u32::try_from(copied).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno),
        }
    }
}
