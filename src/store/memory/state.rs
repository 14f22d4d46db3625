//! The state behind a memory store, and its lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::model::{Admission, Call, ContentChange, Model, SyncScope};
use super::pages::FileBody;
use super::tree::{Inode, NameOp, NewNode, Tree};
use crate::store::{NodeKind, NodeStat, StoreError, StoreErrorKind as Kind, StoreResult};

/// Device number of all memory stores.
const DEVICE: u64 = 0x6d65;

/// Everything in a store.
pub(in crate::store) struct State<M> {
    /// The name space.
    pub(in crate::store) tree: Arc<Tree>,
    /// Content of the regular files.
    pub(in crate::store) files: HashMap<u64, Arc<FileBody>>,
    /// The next inode number; none is ever used twice.
    pub(in crate::store) next_ino: u64,
    /// How many nodes and open files hold an inode.
    pins: HashMap<u64, usize>,
    /// Which open file has the lock of an inode.
    locks: HashMap<u64, u64>,
    /// The last number given to an open file.
    last_file: u64,
    /// User and group of new inodes.
    owner: (u32, u32),
    /// Whoever watches.
    pub(in crate::store) model: M,
}

/// A state that nodes and files share.
pub(in crate::store) struct Shared<M> {
    /// The state. The lock is held for the length of one backing call.
    pub(in crate::store) state: Mutex<State<M>>,
}

impl<M: Model> Shared<M> {
    /// Makes one backing call on inode `ino`.
    pub(super) fn call<T>(
        &self,
        call: Call,
        ino: u64,
        body: impl FnOnce(&mut State<M>) -> Result<T, Kind>,
    ) -> StoreResult<T> {
        let mut state = self.state.lock();
        let outcome = state.model.admit(call, ino).and_then(|_| body(&mut state));
        outcome.map_err(|kind| StoreError::new(call.verb(), kind))
    }
}

impl<M: Model> State<M> {
    /// A store with an empty root directory.
    pub(in crate::store) fn new(model: M) -> Self {
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let tree = Arc::new(Tree::new(owner, SystemTime::now()));
        Self::with(tree, HashMap::new(), super::tree::ROOT + 1, model)
    }

    /// A store with these contents, in which nothing is open.
    pub(in crate::store) fn with(
        tree: Arc<Tree>,
        files: HashMap<u64, Arc<FileBody>>,
        next_ino: u64,
        model: M,
    ) -> Self {
        let root = tree.nodes.get(&super::tree::ROOT);
        let owner = root.map_or((0, 0), |root| (root.uid, root.gid));
        Self {
            tree,
            files,
            next_ino,
            pins: HashMap::new(),
            locks: HashMap::new(),
            last_file: 0,
            owner,
            model,
        }
    }

    /// The inode `ino`.
    pub(super) fn inode(&self, ino: u64) -> Result<&Inode, Kind> {
        self.tree.get(ino)
    }

    /// Attributes of `ino`.
    pub(super) fn stat(&self, ino: u64) -> Result<NodeStat, Kind> {
        let inode = self.tree.get(ino)?;
        let (size, blocks) = match inode.kind {
            NodeKind::File => self.files.get(&ino).map_or((0, 0), |body| (body.size(), body.blocks())),
            NodeKind::Directory => (4096, 8),
            _ => (inode.target.len() as u64, 0),
        };
        Ok(NodeStat {
            kind: inode.kind,
            ino,
            dev: DEVICE,
            mode: inode.mode,
            nlink: inode.nlink,
            uid: inode.uid,
            gid: inode.gid,
            rdev: inode.rdev,
            size,
            blocks,
            atime: inode.times.atime,
            mtime: inode.times.mtime,
            ctime: inode.times.ctime,
            btime: Some(inode.times.btime),
        })
    }

    /// Performs a change of the name space.
    pub(super) fn perform(&mut self, op: NameOp) -> Result<(), Kind> {
        let now = SystemTime::now();
        let orphan = Arc::make_mut(&mut self.tree).perform(&op, now)?;
        self.model.named(op, now, &self.tree);
        if let Some(ino) = orphan {
            self.reap(ino);
        }
        Ok(())
    }

    /// Creates an inode and returns its number.
    pub(super) fn create(
        &mut self,
        dir: u64,
        name: Option<&[u8]>,
        kind: NodeKind,
        mode: u32,
        special: (u64, &[u8]),
    ) -> Result<u64, Kind> {
        let (rdev, target) = (special.0, Arc::from(special.1));
        let node = NewNode { kind, mode, rdev, target, owner: self.owner };
        let ino = self.next_ino;
        self.perform(NameOp::Create { dir, name: name.map(<[u8]>::to_vec), ino, node })?;
        self.next_ino += 1;
        if kind == NodeKind::File {
            self.files.insert(ino, Arc::default());
        }
        Ok(ino)
    }

    /// Counts one more user of `ino`.
    pub(super) fn pin(&mut self, ino: u64) {
        *self.pins.entry(ino).or_insert(0) += 1;
    }

    /// Counts one user of `ino` less.
    pub(super) fn unpin(&mut self, ino: u64) {
        if let Some(count) = self.pins.get_mut(&ino) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&ino);
                self.reap(ino);
            }
        }
    }

    /// Forgets `ino` if it has neither names nor users.
    fn reap(&mut self, ino: u64) {
        let unnamed = self.tree.get(ino).is_ok_and(|inode| inode.nlink == 0);
        if unnamed && !self.pins.contains_key(&ino) {
            Arc::make_mut(&mut self.tree).nodes.remove(&ino);
            if let Some(body) = self.files.remove(&ino) {
                self.model.released(ino, body);
            }
        }
    }

    /// A number for a new open file.
    pub(super) fn next_file(&mut self) -> u64 {
        self.last_file += 1;
        self.last_file
    }

    /// Takes the lock of `ino` for the open file `file`.
    pub(super) fn lock(&mut self, ino: u64, file: u64) -> bool {
        *self.locks.entry(ino).or_insert(file) == file
    }

    /// Gives up the lock of `ino` if `file` has it.
    pub(super) fn unlock(&mut self, ino: u64, file: u64) {
        if self.locks.get(&ino) == Some(&file) {
            self.locks.remove(&ino);
        }
    }

    /// Content of the file `ino`.
    pub(super) fn body(&self, ino: u64) -> Result<&FileBody, Kind> {
        self.files.get(&ino).map(|body| &**body).ok_or(Kind::Stale)
    }

    /// Changes the content of the file `ino`.
    pub(super) fn change_content(
        &mut self,
        ino: u64,
        change: ContentChange,
        edit: impl FnOnce(&mut FileBody) -> Result<(), Kind>,
    ) -> Result<(), Kind> {
        let body = self.files.get_mut(&ino).ok_or(Kind::Stale)?;
        self.model.before_content(ino, body);
        let body = Arc::make_mut(body);
        edit(body)?;
        self.model.content(ino, change, body);
        Arc::make_mut(&mut self.tree).touch(ino, SystemTime::now())
    }

    /// Writes to the file `ino`, as much of it as the model admits.
    pub(super) fn write(
        &mut self,
        ino: u64,
        buf: &[u8],
        offset: u64,
        admitted: Admission,
    ) -> Result<(), Kind> {
        let (stored, failure) = match admitted {
            Admission::Full => (buf, None),
            Admission::Short(len, kind) => (&buf[..len.min(buf.len())], Some(kind)),
        };
        if !stored.is_empty() {
            let old_size = self.body(ino)?.size();
            let change = ContentChange::Written { offset, len: stored.len() as u64, old_size };
            self.change_content(ino, change, |body| body.write(stored, offset))?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Tells the model of a sync.
    pub(super) fn sync(&mut self, scope: SyncScope) {
        let files = &self.files;
        self.model.synced(scope, &self.tree, &|ino| files.get(&ino).cloned());
    }
}
