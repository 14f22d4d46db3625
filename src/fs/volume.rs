//! One mounted volume: what all operations share.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::access::AccessRule;
use super::ahead::Ahead;
use super::held::HeldContents;
use super::inode::Inode;
use super::listing::Listings;
use super::pool::NodePool;
use super::table::InodeTable;
use super::{FsResult, NodeId};
use crate::file::{EncryptedFile, FileContext};
use crate::format::{DomainId, NameMode};
use crate::keys::KeyRing;
use crate::names::{DirNames, DomainSource, TARGETS_DIR, TRASH_DIR, Targets};
use crate::store::{BackingStore, NodeKind, NodeRef, NodeStat, StoreResult, StoreSpace};
use crate::volume::OpenVolume;

/// The keys of a mounted volume.
pub trait MountKeys: DomainSource {
    /// Asks the key management service about every domain in use and returns those whose KMS key may not be
    /// used any more, each once.
    fn poll_usability(&self) -> Vec<DomainId>;
}

impl MountKeys for KeyRing {
    fn poll_usability(&self) -> Vec<DomainId> {
        Self::poll_usability(self)
    }
}

/// What a volume is mounted from.
pub struct VolumeParts {
    /// The backing directory.
    pub store: Arc<dyn BackingStore>,
    /// The root directory of the volume.
    pub root: NodeRef,
    /// kmsfs's own directory in it.
    pub volume_dir: NodeRef,
    /// What files are opened with.
    pub context: Arc<FileContext>,
    /// Keys of names, and whether keys may be used.
    pub keys: Arc<dyn MountKeys>,
    /// Whether names are encrypted.
    pub name_mode: NameMode,
    /// Whether new entries are given to the caller. Only root may give files away; without it everything
    /// belongs to the user who mounted.
    pub set_owner: bool,
}

impl VolumeParts {
    /// The parts of an opened volume, which has to stay open until the mount is gone.
    pub fn of(volume: &OpenVolume, set_owner: bool) -> Self {
        Self {
            store: Arc::clone(volume.store()),
            root: volume.root(),
            volume_dir: volume.volume_dir(),
            context: Arc::clone(volume.context()),
            keys: Arc::clone(volume.keys()) as _,
            name_mode: volume.name_mode(),
            set_owner,
        }
    }
}

/// A mounted volume. Shared by all worker threads.
pub struct MountedVolume {
    pub(super) store: Arc<dyn BackingStore>,
    pub(super) context: Arc<FileContext>,
    pub(super) keys: Arc<dyn MountKeys>,
    pub(super) name_mode: NameMode,
    pub(super) set_owner: bool,
    pub(super) targets: Targets,
    pub(super) trash: NodeRef,
    pub(super) pool: Arc<NodePool>,
    pub(super) table: InodeTable,
    pub(super) listings: Listings,
    pub(super) access_rule: AccessRule,
    pub(super) ahead: Ahead,
    held: HeldContents,
    down: AtomicBool,
    /// Whether the kernel keeps the size of a file that it was shown first.
    sizes_stick: AtomicBool,
    dir_sync: AtomicBool,
    root_dev: u64,
    root_ino: u64,
    /// Inodes whose content was changed since the last checkpoint, which changes their times behind them.
    changed_content: Mutex<HashMap<NodeId, Arc<Inode>>>,
}

impl std::fmt::Debug for MountedVolume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MountedVolume(..)")
    }
}

/// The directory `name` in `dir`, made if it is missing, for root's eyes only.
fn private_dir(dir: &NodeRef, name: &str) -> StoreResult<NodeRef> {
    match dir.lookup(OsStr::new(name)) {
        Err(error) if error.is_not_found() => dir.make_dir(OsStr::new(name), 0o700),
        other => other,
    }
}

impl MountedVolume {
    /// Takes over the opened volume.
    ///
    /// # Errors
    /// The backing directory fails, or the id of the root directory cannot be read.
    pub fn new(parts: VolumeParts) -> FsResult<Self> {
        let stat = parts.root.stat()?;
        let domain = parts.keys.root_domain();
        let pool = NodePool::new(Arc::clone(&parts.store));
        let root = Inode::new(NodeId::ROOT, &stat, pool.hold(parts.root), domain, NodeId::ROOT);
        let volume = Self {
            store: parts.store,
            context: parts.context,
            keys: parts.keys,
            name_mode: parts.name_mode,
            set_owner: parts.set_owner,
            targets: Targets::new(private_dir(&parts.volume_dir, TARGETS_DIR)?),
            trash: private_dir(&parts.volume_dir, TRASH_DIR)?,
            pool,
            table: InodeTable::new(Arc::new(root)),
            listings: Listings::default(),
            access_rule: AccessRule::default(),
            ahead: Ahead::default(),
            held: HeldContents::default(),
            down: AtomicBool::new(false),
            sizes_stick: AtomicBool::new(false),
            dir_sync: AtomicBool::new(false),
            root_dev: stat.dev,
            root_ino: stat.ino,
            changed_content: Mutex::default(),
        };
        volume.names_of(&*volume.table.get(NodeId::ROOT)?)?;
        Ok(volume)
    }

    /// The kernel's name for a node: its inode number. A node of another file system mounted below the backing
    /// directory gets a number in the upper half instead, mixed with its device.
    pub(super) fn node_id(&self, stat: &NodeStat) -> NodeId {
        self.node_id_of(stat.dev, stat.ino)
    }

    /// As [`Self::node_id`], for an entry of a listing of a directory on `dev`.
    pub(super) fn node_id_of(&self, dev: u64, ino: u64) -> NodeId {
        const UPPER_HALF: u64 = 1 << 63;
        if dev == self.root_dev && ino == self.root_ino {
            NodeId::ROOT
        } else if dev == self.root_dev && ino != NodeId::ROOT.0 {
            NodeId(ino)
        } else {
            NodeId(ino ^ dev.rotate_left(32) | UPPER_HALF)
        }
    }

    /// The names of a directory.
    pub(super) fn names_of(&self, dir: &Inode) -> FsResult<Arc<DirNames>> {
        dir.names(&*self.keys, self.name_mode)
    }

    /// Runs `work` on the content of `inode`, opening it if it is not open. It stays open for the next request.
    pub(super) fn with_content<T>(
        &self,
        inode: &Arc<Inode>,
        work: impl FnOnce(&Arc<EncryptedFile>) -> FsResult<T>,
    ) -> FsResult<T> {
        let file = inode.join(&self.context)?;
        let done = work(&file);
        drop(file);
        self.held.hold(inode);
        done
    }

    /// Takes over the content of `inode`, which was just made, and keeps it open for the next request.
    pub(super) fn hold_new(&self, inode: &Arc<Inode>, content: Arc<EncryptedFile>) {
        inode.adopt(content);
        self.held.hold(inode);
    }

    /// Whether the kernel keeps the size of a file that it was shown first, as one does that collects writes.
    pub fn set_sizes_stick(&self, on: bool) {
        self.sizes_stick.store(on, Ordering::Relaxed);
    }

    pub(super) fn sizes_stick(&self) -> bool {
        self.sizes_stick.load(Ordering::Relaxed)
    }

    /// Whether each change of a directory is made durable before the request is answered.
    pub fn set_dir_sync(&self, on: bool) {
        self.dir_sync.store(on, Ordering::Relaxed);
    }

    /// Entries of `dir` have changed.
    ///
    /// # Errors
    /// [`super::FsError::Store`] if the change has to be durable and is not.
    pub(super) fn changed_entries(&self, dir: &Inode) -> FsResult<()> {
        dir.changed();
        if self.dir_sync.load(Ordering::Relaxed) {
            dir.node()?.sync_dir()?;
        }
        Ok(())
    }

    /// The content of `inode` was changed just now.
    pub(super) fn touch(&self, inode: &Arc<Inode>) {
        inode.touch(SystemTime::now());
        self.note_changed_content(inode);
    }

    /// The times of `inode` have to be put right after the next checkpoint.
    pub(super) fn note_changed_content(&self, inode: &Arc<Inode>) {
        let mut changed = self.changed_content.lock();
        // An inode that was forgotten and found again is another object with the same number.
        if !changed.get(&inode.id).is_some_and(|known| Arc::ptr_eq(known, inode)) {
            changed.insert(inode.id, Arc::clone(inode));
        }
    }

    /// Gives back `count` references to an inode.
    pub fn forget(&self, id: NodeId, count: u64) {
        // The last reference closes a descriptor, after the table is unlocked.
        if let Some(inode) = self.table.forget(id, count) {
            self.held.forget(&inode);
        }
    }

    /// From now on nothing more reaches the backing directory, as if the process had crashed. For tests of what a crash
    /// leaves.
    pub fn shut_down(&self) {
        tracing::warn!("the volume was shut down on request; the next mount recovers it");
        self.down.store(true, Ordering::Release);
    }

    /// Whether [`Self::shut_down`] was called.
    pub fn is_shut_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    /// Space and inodes of the backing file system.
    ///
    /// # Errors
    /// [`super::FsError::Store`].
    pub fn space(&self) -> FsResult<StoreSpace> {
        Ok(self.store.space()?)
    }

    /// Puts everything that was written in its place and makes it durable, and closes contents that nobody has
    /// needed since the last time. Called on a tick.
    ///
    /// # Errors
    /// What the journal and the backing files say.
    pub fn checkpoint(&self) -> FsResult<()> {
        if self.is_shut_down() {
            return Ok(());
        }
        self.held.sweep();
        let changed = std::mem::take(&mut *self.changed_content.lock());
        let done = self.context.checkpoint();
        for inode in changed.values() {
            inode.unsettle_times();
            if let Err(error) = inode.settle_times() {
                tracing::warn!(inode = inode.id.0, %error, "the modification time could not be kept");
            }
        }
        Ok(done?)
    }

    /// Looks for domains whose KMS key may not be used any more, forgets the keys of their files, and returns
    /// the inodes of which the kernel must drop its cached content.
    pub fn fence_unusable(&self) -> Vec<NodeId> {
        let unusable = self.keys.poll_usability();
        let mut fenced = Vec::new();
        if unusable.is_empty() {
            return fenced;
        }
        self.table.for_each(|inode| {
            if inode.kind == NodeKind::File && unusable.contains(&inode.domain) {
                if let Some(file) = inode.open_content() {
                    file.forget_keys();
                }
                fenced.push(inode.id);
            }
        });
        fenced
    }

    /// Flushes every file that is still open, because an unmount may lose the kernel's last releases, and makes
    /// everything durable. The volume itself is closed by its owner.
    ///
    /// # Errors
    /// The first error, after all files were tried.
    pub fn finish(&self) -> FsResult<()> {
        if self.is_shut_down() {
            return Ok(());
        }
        let mut first = Ok(());
        self.table.for_each(|inode| {
            let Some(file) = inode.open_content() else { return };
            let flushed = file.flush();
            inode.unsettle_times();
            if let Err(error) = flushed.map_err(Into::into).and_then(|()| inode.settle_times()) {
                tracing::error!(inode = inode.id.0, %error, "a file could not be flushed at the unmount");
                if first.is_ok() {
                    first = Err(error);
                }
            }
        });
        self.checkpoint().and(first)
    }
}
