//! A backing directory in memory, for tests.
//!
//! It has all rules of the posix store as root sees them, so that everything above runs over it unchanged.
//! The command line cannot reach it. The state is one tree and one map of file contents that copies share,
//! which is what lets the simulated store take thousands of images of one moment.

mod file;
pub(in crate::store) mod model;
pub(in crate::store) mod node;
pub(in crate::store) mod pages;
mod rename;
pub(in crate::store) mod state;
#[cfg(test)]
mod tests;
pub(in crate::store) mod tree;

use std::sync::Arc;

use parking_lot::Mutex;

use super::{BackingStore, NodeHandle, NodeRef, StoreErrorKind as Kind, StoreResult, StoreSpace};
pub use model::Call;
use model::{Model, SyncScope};
use node::MemoryNode;
use state::{Shared, State};

/// A backing directory in memory, for tests. Starts empty.
pub struct MemoryStore {
    /// The state.
    shared: Arc<Shared<()>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self { shared: Shared::new(State::new(())) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Model> Shared<M> {
    /// A shared state.
    pub(in crate::store) fn new(state: State<M>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// The root directory.
    pub(in crate::store) fn root(self: &Arc<Self>) -> NodeRef {
        self.state.lock().pin(tree::ROOT);
        MemoryNode::pinned(tree::ROOT, self)
    }

    /// The node that `handle` names.
    pub(in crate::store) fn open_handle(self: &Arc<Self>, handle: &NodeHandle) -> StoreResult<NodeRef> {
        let ino = node::ino_of(handle);
        let ino = self.call(Call::OpenHandle, ino.unwrap_or(0), |state| {
            let ino = ino.ok_or(Kind::Stale)?;
            state.inode(ino)?;
            state.pin(ino);
            Ok(ino)
        })?;
        Ok(MemoryNode::pinned(ino, self))
    }

    /// Makes everything durable.
    pub(in crate::store) fn sync_all(&self) -> StoreResult<()> {
        self.call(Call::SyncStore, tree::ROOT, |state| {
            state.sync(SyncScope::Store);
            Ok(())
        })
    }

    /// A size that no test fills.
    pub(in crate::store) fn space(&self) -> StoreResult<StoreSpace> {
        self.call(Call::Space, tree::ROOT, |state| {
            let inodes = state.tree.nodes.len() as u64;
            Ok(StoreSpace {
                block_size: 4096,
                blocks: 1 << 32,
                free: 1 << 31,
                available: 1 << 31,
                files: 1 << 32,
                free_files: (1u64 << 32).saturating_sub(inodes),
                name_max: tree::NAME_MAX as u32,
            })
        })
    }
}

impl BackingStore for MemoryStore {
    fn root(&self) -> NodeRef {
        self.shared.root()
    }

    fn open_handle(&self, handle: &NodeHandle) -> StoreResult<NodeRef> {
        self.shared.open_handle(handle)
    }

    fn handles_last(&self) -> bool {
        true
    }

    fn syncs_all(&self) -> bool {
        true
    }

    fn sync_all(&self) -> StoreResult<()> {
        self.shared.sync_all()
    }

    fn space(&self) -> StoreResult<StoreSpace> {
        self.shared.space()
    }
}
