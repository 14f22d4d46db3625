//! The inodes that the kernel knows.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::inode::Inode;
use super::{FsError, FsResult, NodeId};

/// Shards, so that loops on several cores seldom meet.
const SHARDS: usize = 64;

struct Known {
    inode: Arc<Inode>,
    /// Entries that the kernel was given and has not forgotten.
    lookups: u64,
}

/// Inodes by number, each with the count of the kernel's references.
///
/// A shard is locked for a map operation only: never while the store is called or an inode is dropped, whose
/// descriptor is closed then.
pub(super) struct InodeTable {
    root: Arc<Inode>,
    shards: Vec<Mutex<HashMap<NodeId, Known>>>,
}

impl InodeTable {
    /// A table that knows `root`, which is never forgotten.
    pub(super) fn new(root: Arc<Inode>) -> Self {
        Self { root, shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, id: NodeId) -> &Mutex<HashMap<NodeId, Known>> {
        // Neighbouring inode numbers are used together, so the low bits spread best.
        &self.shards[(id.0 % SHARDS as u64) as usize]
    }

    /// The inode `id`, if the kernel knows it.
    pub(super) fn find(&self, id: NodeId) -> Option<Arc<Inode>> {
        if id == NodeId::ROOT {
            return Some(Arc::clone(&self.root));
        }
        self.shard(id).lock().get(&id).map(|known| Arc::clone(&known.inode))
    }

    /// The inode `id`.
    ///
    /// # Errors
    /// [`FsError::UnknownInode`].
    pub(super) fn get(&self, id: NodeId) -> FsResult<Arc<Inode>> {
        self.find(id).ok_or(FsError::UnknownInode(id.0))
    }

    /// The inode with the number of `fresh`, known from now on, with one more reference of the kernel.
    /// What is known already wins over `fresh`.
    pub(super) fn remember(&self, fresh: Inode) -> Arc<Inode> {
        if fresh.id == NodeId::ROOT {
            return Arc::clone(&self.root);
        }
        let fresh = Arc::new(fresh);
        let mut shard = self.shard(fresh.id).lock();
        let known = shard.entry(fresh.id).or_insert_with(|| Known { inode: Arc::clone(&fresh), lookups: 0 });
        known.lookups += 1;
        Arc::clone(&known.inode)
    }

    /// The kernel gave back `count` references. With the last one the inode goes.
    pub(super) fn forget(&self, id: NodeId, count: u64) -> Option<Arc<Inode>> {
        let mut shard = self.shard(id).lock();
        let known = shard.get_mut(&id)?;
        known.lookups = known.lookups.saturating_sub(count);
        if known.lookups > 0 {
            return None;
        }
        shard.remove(&id).map(|known| known.inode)
    }

    /// All inodes, one shard after the other: what is added or forgotten meanwhile may be missing.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&Arc<Inode>)) {
        for shard in &self.shards {
            let inodes: Vec<_> = shard.lock().values().map(|known| Arc::clone(&known.inode)).collect();
            inodes.iter().for_each(&mut visit);
        }
    }

    /// Number of known inodes beside the root.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}
