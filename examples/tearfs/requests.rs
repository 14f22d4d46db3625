//! The requests of the kernel: decode, pass through, reply.
#![allow(clippy::redundant_closure_call, reason = "a closure gives the question mark somewhere to go")]

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{CWD, SeekFrom, XattrFlags};

use super::TearFs;

const TTL: Duration = Duration::from_secs(1);
const GENERATION: Generation = Generation(0);

fn sized(done: io::Result<Vec<u8>>, size: u32, reply: ReplyXattr) {
    match done {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(error.into()),
    }
}

macro_rules! answer {
    ($reply:ident, $done:expr, $value:ident => $answer:expr) => {
        match (|| -> io::Result<_> { $done })() {
            Ok($value) => $answer,
            Err(error) => $reply.error(error.into()),
        }
    };
    ($reply:ident, $done:expr) => {
        answer!($reply, $done, _done => $reply.ok())
    };
}

impl Filesystem for TearFs {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.enter(&self.path(parent)?.join(name)), attr => reply.entry(&TTL, &attr, GENERATION));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, Ok(self.attr(&self.node(ino)?.metadata()?)), attr => reply.attr(&TTL, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let done = self.set_attr(ino, mode, (uid, gid), size, [atime, mtime]);
        answer!(reply, done, attr => reply.attr(&TTL, &attr));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let done = self.node(ino).and_then(|node| Ok(rustix::fs::readlinkat(&*node, "", Vec::new())?));
        answer!(reply, done, target => reply.data(target.to_bytes()));
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
        let kind = rustix::fs::FileType::from_raw_mode(mode);
        let bits = rustix::fs::Mode::from_raw_mode(mode & !umask);
        let made = self.make(request, self.path(parent).map(|path| path.join(name)), |path| {
            Ok(rustix::fs::mknodat(CWD, path, kind, bits, rdev.into())?)
        });
        answer!(reply, made, attr => reply.entry(&TTL, &attr, GENERATION));
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
        let made = self.make(request, self.path(parent).map(|path| path.join(name)), |path| {
            Ok(rustix::fs::mkdirat(CWD, path, rustix::fs::Mode::from_raw_mode(mode & !umask))?)
        });
        answer!(reply, made, attr => reply.entry(&TTL, &attr, GENERATION));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let made = self.make(request, self.path(parent).map(|path| path.join(name)), |path| {
            std::os::unix::fs::symlink(target, path)
        });
        answer!(reply, made, attr => reply.entry(&TTL, &attr, GENERATION));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, std::fs::remove_file(self.path(parent)?.join(name)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, std::fs::remove_dir(self.path(parent)?.join(name)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        answer!(reply, {
            let (from, to) = (self.path(parent)?.join(name), self.path(to)?.join(new));
            Ok(rustix::fs::renameat_with(CWD, from, CWD, to, flags)?)
        });
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, {
            let (from, to) = (self.path(ino)?, self.path(parent)?.join(name));
            rustix::fs::linkat(CWD, from, CWD, &to, rustix::fs::AtFlags::SYMLINK_FOLLOW)?;
            self.enter(&to)
        }, attr => reply.entry(&TTL, &attr, GENERATION));
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        answer!(reply, {
            let path = self.path(ino)?;
            if flags.0 & libc::O_TRUNC != 0 {
                self.resize(ino, 0)?;
            }
            let file = OpenOptions::new().read(true).write(true).open(&path).or_else(|_| File::open(&path))?;
            self.keep_handle(file)
        }, handle => reply.opened(handle, FopenFlags::empty()));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let made = (|| {
            let path = self.path(parent)?.join(name);
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(mode & !umask);
            let file =
                options.create(true).create_new(flags & libc::O_EXCL != 0).truncate(false).open(&path)?;
            std::os::unix::fs::fchown(&file, Some(request.uid()), Some(request.gid()))?;
            Ok((self.enter(&path)?, self.keep_handle(file)?))
        })();
        answer!(reply, made, made => reply.created(&TTL, &made.0, GENERATION, made.1, FopenFlags::empty()));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer!(reply, {
            let (file, mut data, mut done) = (self.handle(handle)?, vec![0; size as usize], 0);
            while done < data.len() {
                match file.read_at(&mut data[done..], offset + done as u64)? {
                    0 => break,
                    len => done += len,
                }
            }
            data.truncate(done);
            Ok(data)
        }, data => reply.data(&data));
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        answer!(reply, {
            let file = self.handle(handle)?;
            self.change(ino, offset, data.to_vec(), &file, || file.write_all_at(data, offset))
        }, _done => reply.written(data.len() as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        answer!(reply, self.state().map(drop));
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.state.lock().handles.remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.flushed(ino));
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.state().map(drop));
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        answer!(reply, self.list(ino), handle => reply.opened(handle, FopenFlags::empty()));
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = self.state().map(|state| state.listings.get(&handle.0).cloned().unwrap_or_default());
        answer!(reply, entries, entries => {
            for (index, (ino, kind, name)) in entries.iter().enumerate().skip(offset as usize) {
                if reply.add(INodeNo(*ino), index as u64 + 1, *kind, name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.state.lock().listings.remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        answer!(reply, Ok(rustix::fs::statvfs(self.path(INodeNo::ROOT)?)?), found => reply.statfs(
            found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree,
            found.f_bsize as u32, found.f_namemax as u32, found.f_frsize as u32
        ));
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let flags = XattrFlags::from_bits_retain(flags as u32);
        answer!(reply, Ok(rustix::fs::setxattr(self.path(ino)?, name, value, flags)?));
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let mut value = vec![0; 65536];
        let done = self.path(ino).and_then(|path| Ok(rustix::fs::getxattr(path, name, &mut value)?));
        sized(done.map(|len| value[..len].to_vec()), size, reply);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let mut names = vec![0_u8; 65536];
        let done = self.path(ino).and_then(|path| Ok(rustix::fs::listxattr(path, &mut names)?));
        sized(done.map(|len| names[..len].to_vec()), size, reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, Ok(rustix::fs::removexattr(self.path(ino)?, name)?));
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        answer!(reply, self.allocate(ino, handle, offset, length, mode));
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let place = if whence == libc::SEEK_DATA {
            SeekFrom::Data(offset as u64)
        } else {
            SeekFrom::Hole(offset as u64)
        };
        answer!(reply, Ok(rustix::fs::seek(&*self.handle(handle)?, place)?), found => reply.offset(found as i64));
    }
}
