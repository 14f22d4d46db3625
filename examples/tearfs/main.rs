//! A file system that loses what was not flushed, for `scripts/torture`: it passes everything through to a directory,
//! and on command the power goes. Then each write since the file's last flush is kept, dropped, or torn at an arbitrary
//! multiple of UNIT bytes, and every request after that fails.
//!
//! usage: tearfs DIRECTORY MOUNTPOINT
//!
//! Reads commands from standard input: `cut SEED UNIT` answers `cut: K kept, D dropped, T torn` once the directory is as the
//! power cut has left it; the end of the input unmounts. Names and attributes are durable at once: what tears is
//! content and sizes. As root.
#![allow(clippy::print_stdout, reason = "the answers are for the script")]

mod requests;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufRead};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Config, FileAttr, FileHandle, FileType, INodeNo, MountOption, Request, SessionACL, TimeOrNow};
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{CWD, FallocateFlags};

/// What is remembered of one file at most; the kernel's own flusher would have written it by then.
const PENDING_MAX: usize = 64 << 20;
const PUNCH: u32 = FallocateFlags::PUNCH_HOLE.bits() | FallocateFlags::ZERO_RANGE.bits();

/// A change since the last flush of a file, with what it takes to undo it.
struct Change {
    offset: u64,
    new: Vec<u8>,
    old: Vec<u8>,
    size_before: u64,
    size_after: u64,
}

#[derive(Default)]
struct Pending {
    changes: Vec<Change>,
    bytes: usize,
}

/// What a directory held when it was opened.
type Listing = Arc<Vec<(u64, FileType, OsString)>>;

#[derive(Default)]
struct State {
    /// Every object that the kernel has asked for, held by descriptor: its number is never used for another one.
    nodes: HashMap<u64, Arc<File>>,
    handles: HashMap<u64, Arc<File>>,
    listings: HashMap<u64, Listing>,
    next_handle: u64,
    pending: HashMap<u64, Pending>,
    cut: bool,
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % bound.max(1)
    }
}

#[derive(Clone)]
struct TearFs {
    root: u64,
    state: Arc<Mutex<State>>,
}

fn magic_link(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn open_path(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)
}

fn kind_of(kind: std::fs::FileType) -> FileType {
    match kind {
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_symlink() => FileType::Symlink,
        kind if kind.is_fifo() => FileType::NamedPipe,
        kind if kind.is_socket() => FileType::Socket,
        kind if kind.is_char_device() => FileType::CharDevice,
        kind if kind.is_block_device() => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

fn time(secs: i64, nanos: i64) -> SystemTime {
    UNIX_EPOCH + Duration::new(secs.max(0) as u64, nanos as u32)
}

/// Undoes all changes, newest first, and makes a random part of them again.
fn tear(
    file: &File,
    changes: &[Change],
    unit: u64,
    dice: &mut Dice,
    counts: &mut [u64; 3],
) -> io::Result<()> {
    for change in changes.iter().rev() {
        file.set_len(change.size_before)?;
        file.write_all_at(&change.old, change.offset)?;
    }
    let all = dice.below(6);
    // Sizes change in order, and what was written behind a cut that did not happen did not happen either.
    let mut ceiling = u64::MAX;
    for change in changes {
        let fate = if all < 2 { all } else { dice.below(4).min(2) };
        counts[fate as usize] += 1;
        let len = change.new.len() as u64;
        if change.size_after < change.size_before {
            if fate == 0 && ceiling == u64::MAX {
                file.set_len(change.size_after)?;
            } else {
                ceiling = ceiling.min(change.size_after);
            }
        } else if fate != 1 && change.offset + len <= ceiling {
            if change.new.is_empty() {
                file.set_len(file.metadata()?.len().max(change.size_after))?;
            }
            // Where a unit of the file ends, not of the write.
            let end = |place: u64| {
                ((change.offset + place) / unit * unit).clamp(change.offset, change.offset + len)
                    - change.offset
            };
            let ends = [end(dice.below(len + unit)), end(dice.below(len + unit))];
            let (from, to) = if fate == 0 { (0, len) } else { (ends[0].min(ends[1]), ends[0].max(ends[1])) };
            file.write_all_at(&change.new[from as usize..to as usize], change.offset + from)?;
        }
    }
    file.sync_all()
}

impl TearFs {
    fn new(directory: &Path) -> io::Result<Self> {
        let root = File::open(directory)?;
        let ino = root.metadata()?.ino();
        let state = State { nodes: HashMap::from([(ino, Arc::new(root))]), ..State::default() };
        Ok(Self { root: ino, state: Arc::new(Mutex::new(state)) })
    }

    /// The state, while there is power.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.cut { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(state) }
    }

    fn number(&self, ino: INodeNo) -> u64 {
        if ino == INodeNo::ROOT { self.root } else { ino.0 }
    }

    fn node(&self, ino: INodeNo) -> io::Result<Arc<File>> {
        let stale = || io::Error::from_raw_os_error(libc::ESTALE);
        self.state()?.nodes.get(&self.number(ino)).cloned().ok_or_else(stale)
    }

    fn path(&self, ino: INodeNo) -> io::Result<PathBuf> {
        Ok(magic_link(&*self.node(ino)?))
    }

    fn handle(&self, handle: FileHandle) -> io::Result<Arc<File>> {
        let bad = || io::Error::from_raw_os_error(libc::EBADF);
        self.state()?.handles.get(&handle.0).cloned().ok_or_else(bad)
    }

    fn keep_handle(&self, file: File) -> io::Result<FileHandle> {
        let mut state = self.state()?;
        state.next_handle += 1;
        let number = state.next_handle;
        state.handles.insert(number, Arc::new(file));
        Ok(FileHandle(number))
    }

    fn attr(&self, meta: &Metadata) -> FileAttr {
        let number = if meta.ino() == self.root { INodeNo::ROOT } else { INodeNo(meta.ino()) };
        FileAttr {
            ino: number,
            size: meta.size(),
            blocks: meta.blocks(),
            atime: time(meta.atime(), meta.atime_nsec()),
            mtime: time(meta.mtime(), meta.mtime_nsec()),
            ctime: time(meta.ctime(), meta.ctime_nsec()),
            crtime: UNIX_EPOCH,
            kind: kind_of(meta.file_type()),
            perm: (meta.mode() & 0o7777) as u16,
            nlink: meta.nlink() as u32,
            uid: meta.uid(),
            gid: meta.gid(),
            rdev: meta.rdev() as u32,
            blksize: 4096,
            flags: 0,
        }
    }

    fn enter(&self, path: &Path) -> io::Result<FileAttr> {
        let file = open_path(path)?;
        let meta = file.metadata()?;
        self.state()?.nodes.entry(meta.ino()).or_insert(Arc::new(file));
        Ok(self.attr(&meta))
    }

    /// Makes an entry as the caller, and shows it.
    fn make(
        &self,
        request: &Request,
        path: io::Result<PathBuf>,
        make: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<FileAttr> {
        let path = path?;
        make(&path)?;
        std::os::unix::fs::lchown(&path, Some(request.uid()), Some(request.gid()))?;
        self.enter(&path)
    }

    /// Changes a file's content with `work`; the change is remembered until the next flush.
    fn change(
        &self,
        ino: INodeNo,
        offset: u64,
        new: Vec<u8>,
        file: &File,
        work: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state()?;
        let size_before = file.metadata()?.len();
        // What a cut takes is part of what it takes to undo it.
        let wanted = if new.is_empty() { size_before.saturating_sub(offset) } else { new.len() as u64 };
        let mut old = vec![0; size_before.saturating_sub(offset).min(wanted) as usize];
        file.read_exact_at(&mut old, offset)?;
        work()?;
        let size_after = file.metadata()?.len();
        let pending = state.pending.entry(self.number(ino)).or_default();
        pending.bytes += new.len() + old.len();
        pending.changes.push(Change { offset, new, old, size_before, size_after });
        if pending.bytes > PENDING_MAX {
            *pending = Pending::default();
        }
        Ok(())
    }

    fn resize(&self, ino: INodeNo, size: u64) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(ino)?)?;
        self.change(ino, size, Vec::new(), &file, || file.set_len(size))
    }

    /// The power goes.
    fn cut(&self, seed: u64, unit: u64) -> io::Result<[u64; 3]> {
        let mut state = self.state.lock();
        state.cut = true;
        let mut dice = Dice(seed);
        let mut counts = [0; 3];
        let mut pending: Vec<_> = std::mem::take(&mut state.pending).into_iter().collect();
        pending.sort_by_key(|(ino, _)| *ino);
        for (ino, pending) in pending {
            if let Some(node) = state.nodes.get(&ino) {
                let file = OpenOptions::new().read(true).write(true).open(magic_link(node))?;
                tear(&file, &pending.changes, unit.max(1), &mut dice, &mut counts)?;
            }
        }
        Ok(counts)
    }

    fn list(&self, ino: INodeNo) -> io::Result<FileHandle> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(self.path(ino)?)? {
            let entry = entry?;
            entries.push((entry.ino(), kind_of(entry.file_type()?), entry.file_name()));
        }
        let mut state = self.state()?;
        state.next_handle += 1;
        let number = state.next_handle;
        state.listings.insert(number, Arc::new(entries));
        Ok(FileHandle(number))
    }

    fn set_attr(
        &self,
        ino: INodeNo,
        mode: Option<u32>,
        owner: (Option<u32>, Option<u32>),
        size: Option<u64>,
        times: [Option<TimeOrNow>; 2],
    ) -> io::Result<FileAttr> {
        let path = self.path(ino)?;
        if let Some(mode) = mode {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        }
        if owner != (None, None) {
            std::os::unix::fs::chown(&path, owner.0, owner.1)?;
        }
        if let Some(size) = size {
            self.resize(ino, size)?;
        }
        if times.iter().any(Option::is_some) {
            let [atime, mtime] = times.map(|time| match time {
                None => rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
                Some(TimeOrNow::Now) => rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
                Some(TimeOrNow::SpecificTime(time)) => {
                    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                    rustix::fs::Timespec {
                        tv_sec: since.as_secs() as i64,
                        tv_nsec: since.subsec_nanos().into(),
                    }
                }
            });
            let times = rustix::fs::Timestamps { last_access: atime, last_modification: mtime };
            rustix::fs::utimensat(CWD, &path, &times, rustix::fs::AtFlags::empty())?;
        }
        Ok(self.attr(&self.node(ino)?.metadata()?))
    }

    fn allocate(
        &self,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
    ) -> io::Result<()> {
        let file = self.handle(handle)?;
        let flags = FallocateFlags::from_bits_retain(mode as u32);
        let size = file.metadata()?.len();
        let zeros = if flags.bits() & PUNCH != 0 { size.saturating_sub(offset).min(length) } else { 0 };
        // Space alone is nothing that a power cut could show.
        if zeros == 0 && (flags.contains(FallocateFlags::KEEP_SIZE) || offset + length <= size) {
            return Ok(rustix::fs::fallocate(&*file, flags, offset, length)?);
        }
        let from = if zeros == 0 { size } else { offset };
        self.change(ino, from, vec![0; zeros as usize], &file, || {
            Ok(rustix::fs::fallocate(&*file, flags, offset, length)?)
        })
    }

    fn flushed(&self, ino: INodeNo) -> io::Result<()> {
        self.state()?.pending.remove(&self.number(ino));
        Ok(())
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [directory, mountpoint] = &arguments[..] else {
        return Err(io::Error::other("usage: tearfs DIRECTORY MOUNTPOINT"));
    };
    rustix::process::umask(rustix::fs::Mode::empty());
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most)?;
    let fs = TearFs::new(directory)?;
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("tearfs".into()),
        MountOption::DefaultPermissions,
        MountOption::Dev,
        MountOption::Suid,
    ];
    config.acl = SessionACL::All;
    config.n_threads = Some(2);
    let session = fuser::spawn_mount(fs.clone(), mountpoint, &config)?;
    println!("mounted");
    for line in io::stdin().lock().lines() {
        let line = line?;
        let number = |at: usize| {
            let word = line.split(' ').nth(at).unwrap_or_default();
            word.parse::<u64>().map_err(io::Error::other)
        };
        if line.starts_with("cut ") {
            let [kept, dropped, torn] = fs.cut(number(1)?, number(2)?)?;
            println!("cut: {kept} kept, {dropped} dropped, {torn} torn");
        }
    }
    drop(session);
    Ok(())
}
