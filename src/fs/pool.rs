//! Backing nodes of known inodes, a limited number of them open.
//!
//! The kernel may know more inodes than a process may have descriptors. Beyond a limit, those that were opened
//! longest ago are closed, and opened again by handle when they are needed.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use rustix::process::{Resource, Rlimit};

use super::FsResult;
use crate::store::{BackingStore, NodeHandle, NodeRef};

/// Most nodes that are held open, if the process may have that many descriptors.
const HELD_MAX: u64 = 100_000;
/// What `fs.nr_open` of Linux is unless somebody changed it: the most that root may ask for.
const DESCRIPTORS_MAX: u64 = 1 << 20;

/// The nodes of one mounted volume.
pub(super) struct NodePool {
    store: Arc<dyn BackingStore>,
    /// `None` if nodes cannot be opened by handle here, so that all have to stay open.
    limit: Option<usize>,
    /// Nodes in the order of their opening; forgotten ones stay until their turn.
    opened: Mutex<VecDeque<Weak<PooledNode>>>,
}

/// The backing node of one inode.
pub(super) struct PooledNode {
    pool: Arc<NodePool>,
    /// Never locked while the pool's queue is.
    slot: RwLock<Slot>,
}

enum Slot {
    /// Open, and may be closed.
    Open(NodeRef),
    /// Open for as long as the inode is known.
    Pinned(NodeRef),
    /// Closed.
    Closed(NodeHandle),
}

impl NodePool {
    /// A pool over `store`, as large as the limit on descriptors allows, which is raised first.
    pub(super) fn new(store: Arc<dyn BackingStore>) -> Arc<Self> {
        Self::with_limit(store, (raise_descriptor_limit() / 2).min(HELD_MAX))
    }

    /// A pool that holds `limit` nodes open.
    pub(super) fn with_limit(store: Arc<dyn BackingStore>, limit: u64) -> Arc<Self> {
        let by_handle = store.root().handle().ok().flatten().map(|handle| store.open_handle(&handle));
        let limit = match by_handle {
            Some(Ok(_)) => Some(usize::try_from(limit).unwrap_or(usize::MAX)),
            Some(Err(_)) | None => None,
        };
        Arc::new(Self { store, limit, opened: Mutex::default() })
    }

    /// Takes `node` in.
    pub(super) fn hold(self: &Arc<Self>, node: NodeRef) -> Arc<PooledNode> {
        let held = Arc::new(PooledNode { pool: Arc::clone(self), slot: RwLock::new(Slot::Open(node)) });
        self.admit(&held);
        held
    }

    /// Notes that `node` was opened, and closes whatever is too much.
    fn admit(&self, node: &Arc<PooledNode>) {
        let Some(limit) = self.limit else { return };
        let mut opened = self.opened.lock();
        opened.push_back(Arc::downgrade(node));
        let surplus = opened.len().saturating_sub(limit);
        let oldest: Vec<_> = opened.drain(..surplus).collect();
        drop(opened);
        oldest.iter().filter_map(Weak::upgrade).for_each(|node| node.close());
    }
}

impl PooledNode {
    /// The node, opened again if it was closed.
    ///
    /// # Errors
    /// [`super::FsError::Store`] if it is gone from the backing directory.
    pub(super) fn node(self: &Arc<Self>) -> FsResult<NodeRef> {
        if let Some(node) = self.slot.read().open() {
            return Ok(node);
        }
        let mut slot = self.slot.write();
        let node = match &*slot {
            Slot::Open(node) | Slot::Pinned(node) => return Ok(Arc::clone(node)),
            Slot::Closed(handle) => self.pool.store.open_handle(handle)?,
        };
        *slot = Slot::Open(Arc::clone(&node));
        drop(slot);
        self.pool.admit(self);
        Ok(node)
    }

    /// Keeps the node open from now on: it is about to lose its last name, and only a descriptor keeps its inode
    /// number from being given to another file while the kernel still knows it.
    ///
    /// # Errors
    /// As [`Self::node`].
    pub(super) fn pin(self: &Arc<Self>) -> FsResult<()> {
        let node = self.node()?;
        *self.slot.write() = Slot::Pinned(node);
        Ok(())
    }

    /// Closes the node if it has a handle to be found by.
    fn close(&self) {
        let mut slot = self.slot.write();
        if let Slot::Open(node) = &*slot
            && let Ok(Some(handle)) = node.handle()
        {
            *slot = Slot::Closed(handle);
        }
    }

    /// Whether the node is open.
    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.slot.read().open().is_some()
    }
}

impl Slot {
    fn open(&self) -> Option<NodeRef> {
        match self {
            Self::Open(node) | Self::Pinned(node) => Some(Arc::clone(node)),
            Self::Closed(_) => None,
        }
    }
}

/// Raises the limit on descriptors as far as this process may, and returns it.
fn raise_descriptor_limit() -> u64 {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let own = before.maximum.unwrap_or(DESCRIPTORS_MAX);
    // Only root may go beyond the hard limit.
    for wanted in [own.max(DESCRIPTORS_MAX), own] {
        let limit = Rlimit { current: Some(wanted), maximum: Some(wanted) };
        if rustix::process::setrlimit(Resource::Nofile, limit).is_ok() {
            return wanted;
        }
    }
    before.current.unwrap_or(own)
}
