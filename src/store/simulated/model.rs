//! What of a whole store is not durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use super::choice::{CrashChoice, Pending, Unit};
use super::faults::Faults;
use super::history::FileHistory;
use super::options::SimulatedOptions;
use crate::store::memory::model::{Admission, Call, ContentChange, Model, SyncScope};
use crate::store::memory::pages::FileBody;
use crate::store::memory::tree::{NameOp, Place, Tree};
use crate::store::{NodeKind, RenameMode, StoreErrorKind};

/// An operation on the name space that is not durable.
#[derive(Clone)]
struct PendingName {
    /// Moment of the operation.
    time: u64,
    /// The operation.
    op: NameOp,
    /// The clock at that moment.
    at: SystemTime,
    /// The inodes whose sync makes it durable; 0 is none.
    about: [u64; 2],
}

/// The name space and the contents of an image.
pub(super) struct Image {
    /// The name space.
    pub(super) tree: Arc<Tree>,
    /// Content of all files in it.
    pub(super) files: HashMap<u64, Arc<FileBody>>,
}

/// Watches a store and keeps what a power cut may take.
#[derive(Clone)]
pub(super) struct CrashModel {
    /// How device and file system behave.
    pub(super) options: SimulatedOptions,
    /// Moments so far: one per change.
    clock: u64,
    /// The durable name space.
    durable: Arc<Tree>,
    /// Operations on it since.
    names: Vec<PendingName>,
    /// Files with changes that are not durable. In order, so that a seed means the same in every run.
    histories: BTreeMap<u64, FileHistory>,
    /// Contents of files that nobody can reach now, but in whose removal a power cut may intervene.
    released: HashMap<u64, Arc<FileBody>>,
    /// Faults and the count of calls.
    pub(super) faults: Faults,
}

impl CrashModel {
    /// A store that is durable as `tree`.
    pub(super) fn new(options: SimulatedOptions, tree: Arc<Tree>) -> Self {
        Self {
            options,
            clock: 0,
            durable: tree,
            names: Vec::new(),
            histories: BTreeMap::new(),
            released: HashMap::new(),
            faults: Faults::default(),
        }
    }

    /// The next moment.
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// What is not durable.
    pub(super) fn pending(&self) -> Pending {
        let tearing = self.options.tearing;
        Pending {
            names: self.names.len(),
            files: self.histories.len(),
            units: self.histories.values().map(|history| history.units(tearing)).sum(),
            now: self.clock,
        }
    }

    /// A state that a power cut may leave; `files` are the contents now.
    pub(super) fn image(&self, files: &HashMap<u64, Arc<FileBody>>, choice: &mut dyn CrashChoice) -> Image {
        choice.begin(&self.pending());
        let tree = self.image_names(choice);
        let mut contents = HashMap::with_capacity(files.len());
        for (ino, history) in &self.histories {
            if is_file(&tree, *ino) {
                contents.insert(*ino, history.image(*ino, self.options.tearing, choice));
            }
        }
        for ino in tree.nodes.keys() {
            if !contents.contains_key(ino) && is_file(&tree, *ino) {
                let body = files.get(ino).or_else(|| self.released.get(ino));
                contents.insert(*ino, body.cloned().unwrap_or_default());
            }
        }
        Image { tree, files: contents }
    }

    /// A name space that a power cut may leave. What has no name there is gone.
    fn image_names(&self, choice: &mut dyn CrashChoice) -> Arc<Tree> {
        let mut tree = Arc::clone(&self.durable);
        if !self.names.is_empty() {
            let times: Vec<u64> = self.names.iter().map(|name| name.time).collect();
            let persisted = choice.persisted(Unit::Names, &times).min(times.len());
            replay(&mut tree, &self.names[..persisted]);
        }
        drop_unnamed(&mut tree);
        tree
    }

    /// Makes the first `count` pending operations durable.
    fn settle_names(&mut self, count: usize) {
        if count > 0 {
            replay(&mut self.durable, &self.names[..count]);
            self.names.drain(..count);
        }
    }

    /// The name space is durable as `tree`.
    fn names_synced(&mut self, tree: &Arc<Tree>) {
        self.durable = Arc::clone(tree);
        self.names.clear();
        self.released.clear();
        self.histories.retain(|ino, _| tree.nodes.contains_key(ino));
    }

    /// A file is synced; with `attributes`, all that concerns it in the name space is.
    fn file_synced(
        &mut self,
        ino: u64,
        attributes: bool,
        tree: &Tree,
        body: &dyn Fn(u64) -> Option<Arc<FileBody>>,
    ) {
        self.flush(ino, body);
        if self.options.strict_names {
            return;
        }
        // fdatasync leaves out what is not needed to read the data: the rename of a file, but not its creation.
        let concerns = |name: &PendingName| match name.op {
            NameOp::Create { .. } => name.about.contains(&ino),
            _ => attributes && name.about.contains(&ino),
        };
        if let Some(last) = self.names.iter().rposition(concerns) {
            self.settle_names(last + 1);
        }
        // The times that writes set are no operations, but fsync writes them with the inode.
        if attributes && let (Ok(now), Some(was)) = (tree.get(ino), self.durable.nodes.get(&ino)) {
            let (times, old) = (now.times, was.times);
            if times.mtime != old.mtime || times.ctime != old.ctime {
                let nodes = &mut Arc::make_mut(&mut self.durable).nodes;
                if let Some(inode) = nodes.get_mut(&ino) {
                    Arc::make_mut(inode).times = times;
                }
            }
        }
    }

    /// Makes the content of `ino` durable.
    fn flush(&mut self, ino: u64, body: &dyn Fn(u64) -> Option<Arc<FileBody>>) {
        if let (Some(history), Some(body)) = (self.histories.get_mut(&ino), body(ino))
            && history.flushed(&body)
        {
            self.histories.remove(&ino);
        }
    }

    /// A sync has failed: the pages that it should have written count as clean from now on.
    fn sync_failed(&mut self, call: Call, ino: u64) {
        match call {
            Call::SyncStore => self.histories.values_mut().for_each(FileHistory::sync_failed),
            Call::SyncData | Call::SyncFile => {
                if let Some(history) = self.histories.get_mut(&ino) {
                    history.sync_failed();
                }
            }
            _ => {}
        }
    }

    /// Keeps the content of a file that nobody can reach any more.
    pub(super) fn keep_released(&mut self, ino: u64, body: Arc<FileBody>) {
        // Only an image of a name space that is older than the removal can need it.
        if self.names.is_empty() {
            self.histories.remove(&ino);
        } else {
            self.released.insert(ino, body);
        }
    }

    /// The same moment after the process died: nothing is lost that was written, and nothing is open.
    pub(super) fn survivor(&self) -> Self {
        Self { faults: Faults::default(), ..self.clone() }
    }
}

/// Performs pending operations once more.
fn replay(tree: &mut Arc<Tree>, names: &[PendingName]) {
    if names.is_empty() {
        return;
    }
    let tree = Arc::make_mut(tree);
    for name in names {
        let performed = tree.perform(&name.op, name.at);
        debug_assert!(performed.is_ok(), "it succeeded in the same state before: {:?}", name.op);
    }
}

/// Removes all inodes without a name.
pub(super) fn drop_unnamed(tree: &mut Arc<Tree>) {
    if tree.nodes.values().any(|inode| inode.nlink == 0) {
        Arc::make_mut(tree).nodes.retain(|_, inode| inode.nlink > 0);
    }
}

/// Whether `ino` is a regular file in `tree`.
fn is_file(tree: &Tree, ino: u64) -> bool {
    tree.get(ino).is_ok_and(|inode| inode.kind == NodeKind::File)
}

impl Model for CrashModel {
    fn admit(&mut self, call: Call, ino: u64) -> Result<Admission, StoreErrorKind> {
        let admitted = self.faults.admit(call, ino);
        if admitted.is_err() && call.is_sync() && !self.faults.is_cut() {
            self.sync_failed(call, ino);
        }
        admitted
    }

    fn named(&mut self, op: NameOp, at: SystemTime, tree: &Tree) {
        let about = match &op {
            NameOp::Create { ino, .. }
            | NameOp::Link { ino, .. }
            | NameOp::SetMode { ino, .. }
            | NameOp::SetOwner { ino, .. }
            | NameOp::SetTimes { ino, .. }
            | NameOp::SetXattr { ino, .. }
            | NameOp::RemoveXattr { ino, .. } => [*ino, 0],
            NameOp::Rename { from, to, mode } => {
                let found = |place: &Place| tree.lookup(place.dir, &place.name).unwrap_or(0);
                [found(to), if *mode == RenameMode::Exchange { found(from) } else { 0 }]
            }
            NameOp::Unlink { .. } | NameOp::RemoveDir { .. } => [0, 0],
        };
        let time = self.tick();
        self.names.push(PendingName { time, op, at, about });
    }

    fn before_content(&mut self, ino: u64, body: &Arc<FileBody>) {
        self.histories.entry(ino).or_insert_with(|| FileHistory::new(body));
    }

    fn content(&mut self, ino: u64, change: ContentChange, body: &FileBody) {
        let time = self.tick();
        if let Some(history) = self.histories.get_mut(&ino) {
            history.change(time, change, body);
        }
    }

    fn synced(&mut self, scope: SyncScope, tree: &Arc<Tree>, body: &dyn Fn(u64) -> Option<Arc<FileBody>>) {
        match scope {
            SyncScope::Data(ino) => self.file_synced(ino, false, tree, body),
            SyncScope::File(ino) => self.file_synced(ino, true, tree, body),
            SyncScope::Names => self.names_synced(tree),
            SyncScope::Store => {
                let changed: Vec<u64> = self.histories.keys().copied().collect();
                changed.into_iter().for_each(|ino| self.flush(ino, body));
                self.names_synced(tree);
            }
        }
    }

    fn released(&mut self, ino: u64, body: Arc<FileBody>) {
        self.keep_released(ino, body);
    }
}
