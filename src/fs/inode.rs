//! One inode that the kernel knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::access::AccessNoted;
use super::pool::PooledNode;
use super::{FsError, FsResult, NodeId};
use crate::file::{EncryptedFile, FileContext};
use crate::format::{DomainId, NameMode};
use crate::names::{DirNames, DomainSource};
use crate::store::{NodeKind, NodeRef, NodeStat, TimeChange};

/// A yes or no that costs a system call to find out.
#[derive(Debug)]
pub(super) struct Remembered(AtomicU8);

impl Remembered {
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;

    fn unknown() -> Self {
        Self(AtomicU8::new(Self::UNKNOWN))
    }

    pub(super) fn get(&self) -> Option<bool> {
        match self.0.load(Ordering::Acquire) {
            Self::UNKNOWN => None,
            value => Some(value == Self::YES),
        }
    }

    pub(super) fn set(&self, value: bool) {
        self.0.store(if value { Self::YES } else { Self::NO }, Ordering::Release);
    }

    pub(super) fn reset(&self) {
        self.0.store(Self::UNKNOWN, Ordering::Release);
    }
}

/// The open content of a regular file: one for all handles.
#[derive(Default)]
struct OpenContent {
    /// Operations under way, and one while [`super::held::HeldContents`] has it.
    users: u64,
    /// Present while there are users, and while the last one still flushes.
    file: Option<Arc<EncryptedFile>>,
    /// Whether it was read since it was opened.
    is_read: bool,
}

/// The times of a file whose content was changed through this mount.
///
/// The backing file's own times will not do: what a write puts into the journal leaves them alone, and the
/// checkpoint that puts it in place later changes them.
#[derive(Debug, Clone, Copy)]
struct LogicalTimes {
    mtime: SystemTime,
    ctime: SystemTime,
    /// Whether the backing file's ctime counts if it is later. It does not while only writes changed the file.
    ctime_is_floor: bool,
    /// Whether the backing file has not been given `mtime` yet.
    unsettled: bool,
    /// Whether somebody chose `mtime` since the last full fsync, which has to make it durable.
    chosen: bool,
}

/// One inode. The kernel's references are counted in the table.
///
/// Lock order: `opening`, `times`, `open`. None of them is held while a table shard is locked.
pub(super) struct Inode {
    pub(super) id: NodeId,
    /// Number of the backing inode, by which the file layer knows its open files.
    pub(super) backing_ino: u64,
    pub(super) kind: NodeKind,
    backing: Arc<PooledNode>,
    /// The domain of the directory in which it was found. Renames and links stay within one.
    pub(super) domain: DomainId,
    /// The directory in which it was found last, for `..` of a listing.
    parent: AtomicU64,
    /// Whether this directory has a default ACL.
    pub(super) default_acl: Remembered,
    /// Whether this file has set-id bits or capabilities that a write would have to clear.
    pub(super) privileges: Remembered,
    names: Mutex<Option<Arc<DirNames>>>,
    /// Held while the content is opened or flushed for the last time, which may wait for the key management
    /// service; nobody else waits for that.
    opening: Mutex<()>,
    open: Mutex<OpenContent>,
    /// Whether a request needed the content since this was last asked.
    needed: AtomicBool,
    times: Mutex<Option<LogicalTimes>>,
    pub(super) access_noted: AccessNoted,
}

impl Inode {
    /// The inode behind `backing`, found in the directory `parent` of domain `domain`.
    pub(super) fn new(
        id: NodeId,
        stat: &NodeStat,
        backing: Arc<PooledNode>,
        domain: DomainId,
        parent: NodeId,
    ) -> Self {
        Self {
            id,
            backing_ino: stat.ino,
            kind: stat.kind,
            backing,
            domain,
            parent: AtomicU64::new(parent.0),
            default_acl: Remembered::unknown(),
            privileges: Remembered::unknown(),
            names: Mutex::default(),
            opening: Mutex::default(),
            open: Mutex::default(),
            needed: AtomicBool::new(false),
            times: Mutex::default(),
            access_noted: AccessNoted::of(stat),
        }
    }

    /// The backing node.
    ///
    /// # Errors
    /// [`FsError::Store`] if it had to be opened again and is gone.
    pub(super) fn node(&self) -> FsResult<NodeRef> {
        self.backing.node()
    }

    /// Keeps the backing node open: see [`PooledNode::pin`].
    ///
    /// # Errors
    /// As [`Self::node`].
    pub(super) fn pin(&self) -> FsResult<()> {
        self.backing.pin()
    }

    /// The directory in which it was found last.
    pub(super) fn parent(&self) -> NodeId {
        NodeId(self.parent.load(Ordering::Relaxed))
    }

    /// It was found in `parent`.
    pub(super) fn set_parent(&self, parent: NodeId) {
        self.parent.store(parent.0, Ordering::Relaxed);
    }

    /// The names of this directory, read at first use.
    ///
    /// # Errors
    /// [`FsError::NotDirectory`], and what reading the directory id says.
    pub(super) fn names(&self, domains: &dyn DomainSource, mode: NameMode) -> FsResult<Arc<DirNames>> {
        if self.kind != NodeKind::Directory {
            return Err(FsError::NotDirectory);
        }
        let mut names = self.names.lock();
        if let Some(names) = &*names {
            return Ok(Arc::clone(names));
        }
        let is_root = self.id == NodeId::ROOT;
        let loaded = Arc::new(DirNames::load(&*self.node()?, domains, mode, self.domain, is_root)?);
        *names = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Remembers the names of a directory that was just made.
    pub(super) fn set_names(&self, made: DirNames) {
        *self.names.lock() = Some(Arc::new(made));
    }

    /// Fails unless this is a regular file.
    pub(super) fn expect_file(&self) -> FsResult<()> {
        match self.kind {
            NodeKind::File => Ok(()),
            NodeKind::Directory => Err(FsError::IsDirectory),
            _ => Err(FsError::NotRegular),
        }
    }

    /// The content, if it is open.
    pub(super) fn open_content(&self) -> Option<Arc<EncryptedFile>> {
        self.open.lock().file.clone()
    }

    fn join_users(&self) -> Option<Arc<EncryptedFile>> {
        let mut open = self.open.lock();
        let file = open.file.clone()?;
        open.users += 1;
        Some(file)
    }

    /// Opens the content or joins its users. Each success needs one [`Self::leave`].
    ///
    /// # Errors
    /// What the header, the keys and the backing file say.
    pub(super) fn join(&self, context: &Arc<FileContext>) -> FsResult<Arc<EncryptedFile>> {
        self.expect_file()?;
        if let Some(file) = self.join_users() {
            return Ok(file);
        }
        let _alone = self.opening.lock();
        if let Some(file) = self.join_users() {
            return Ok(file);
        }
        let file = EncryptedFile::open_inode(context, self.node()?, self.backing_ino, self.domain)?;
        self.adopt(Arc::clone(&file));
        Ok(file)
    }

    /// Takes over the content of a file that was just made, with one user.
    pub(super) fn adopt(&self, file: Arc<EncryptedFile>) {
        let mut open = self.open.lock();
        open.users += 1;
        open.file = Some(file);
    }

    /// Ends one use of the content. The last one flushes and closes it.
    ///
    /// # Errors
    /// What the flush and the backing file say; the content is closed all the same.
    pub(super) fn leave(&self) -> FsResult<()> {
        {
            let mut open = self.open.lock();
            if open.users > 1 {
                open.users -= 1;
                return Ok(());
            }
        }
        let _alone = self.opening.lock();
        let last = {
            let mut open = self.open.lock();
            open.users = open.users.saturating_sub(1);
            if open.users == 0 { open.file.clone() } else { None }
        };
        let Some(file) = last else { return Ok(()) };
        let flushed = file.flush();
        // The header and the seal went out just now, or with an fsync since the times were settled last.
        self.unsettle_times();
        let settled = self.settle_times();
        let closed = {
            let mut open = self.open.lock();
            if open.users == 0 {
                open.is_read = false;
                open.file.take()
            } else {
                None
            }
        };
        drop(closed);
        flushed?;
        settled
    }

    /// Ends one use of the content as [`Self::leave`] does. If it is the only one, it becomes the use of whoever
    /// holds contents instead, who ends it with [`Self::leave`], and the answer is true.
    pub(super) fn hold(&self) -> bool {
        self.needed.store(true, Ordering::Relaxed);
        let mut open = self.open.lock();
        if open.users > 1 {
            open.users -= 1;
            return false;
        }
        true
    }

    /// Whether the content is read for the first time since it was opened, or is not open yet.
    pub(super) fn begin_reading(&self) -> bool {
        !std::mem::replace(&mut self.open.lock().is_read, true)
    }

    /// Whether a request needed the held content since the last call.
    pub(super) fn take_needed(&self) -> bool {
        self.needed.swap(false, Ordering::Relaxed)
    }

    /// The content was changed now, at `time`.
    pub(super) fn touch(&self, time: SystemTime) {
        self.access_noted.reset();
        *self.times.lock() = Some(LogicalTimes {
            mtime: time,
            ctime: time,
            ctime_is_floor: false,
            unsettled: true,
            chosen: false,
        });
    }

    /// The kernel, which collects writes, says when the last of them was.
    pub(super) fn take_kernel_times(&self, mtime: SystemTime, ctime: SystemTime) {
        self.access_noted.reset();
        *self.times.lock() =
            Some(LogicalTimes { mtime, ctime, ctime_is_floor: false, unsettled: true, chosen: false });
    }

    /// The content is about to be changed in the backing file only, by its header: the times stay what they are,
    /// `mtime` and `ctime`.
    pub(super) fn hold_times(&self, mtime: SystemTime, ctime: SystemTime) {
        self.times.lock().get_or_insert(LogicalTimes {
            mtime,
            ctime,
            ctime_is_floor: false,
            unsettled: true,
            chosen: false,
        });
    }

    /// Attributes were changed in the backing file: its ctime counts again.
    pub(super) fn changed(&self) {
        self.access_noted.reset();
        if let Some(times) = &mut *self.times.lock() {
            times.ctime_is_floor = true;
        }
    }

    /// As [`Self::changed`], and the next full fsync of the content has to flush the attributes too.
    pub(super) fn attributes_changed(&self) {
        self.changed();
        if let Some(file) = self.open_content() {
            file.mark_attributes_changed();
        }
    }

    /// Somebody set the times to these, in the backing file too.
    pub(super) fn set_times(&self, mtime: SystemTime, ctime: Option<SystemTime>) {
        if let Some(times) = &mut *self.times.lock() {
            times.mtime = mtime;
            times.ctime = ctime.unwrap_or(times.ctime);
            times.ctime_is_floor = ctime.is_none();
            times.chosen = true;
        }
    }

    /// Puts the logical times in the place of the backing file's in `stat`.
    pub(super) fn correct_times(&self, stat: &mut NodeStat) {
        if let Some(times) = &*self.times.lock() {
            stat.mtime = times.mtime;
            stat.ctime = if times.ctime_is_floor { stat.ctime.max(times.ctime) } else { times.ctime };
        }
    }

    /// Gives the backing file the logical mtime if it does not have it.
    ///
    /// # Errors
    /// [`FsError::Store`].
    pub(super) fn settle_times(&self) -> FsResult<()> {
        let mut times = self.times.lock();
        if let Some(times) = times.as_mut().filter(|times| times.unsettled) {
            self.node()?.set_times(TimeChange::Omit, TimeChange::At(times.mtime))?;
            times.unsettled = false;
            if let Some(file) = self.open_content() {
                file.mark_attributes_changed();
            }
        }
        Ok(())
    }

    /// Whether somebody chose the times since the last call.
    pub(super) fn take_chosen_times(&self) -> bool {
        self.times.lock().as_mut().is_some_and(|times| std::mem::take(&mut times.chosen))
    }

    /// The backing file's times were changed behind the logical ones, by a checkpoint.
    pub(super) fn unsettle_times(&self) {
        if let Some(times) = &mut *self.times.lock() {
            times.unsettled = true;
        }
    }
}
