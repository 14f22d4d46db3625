//! A backing directory that knows what a power cut may take, for tests.
//!
//! It is the memory store with a model of a disk and a file system beneath it. The model is that of ext4 and
//! xfs in ordered mode, but as adversarial as POSIX allows:
//!
//! - **Content.** Since a file was last synced, each 512-byte sector of it may be durable in any of its
//!   versions, independently of all others ([`Tearing::Sector`]), or each page ([`Tearing::Page`]).
//! - **Size.** Any prefix of a file's changes of size may be durable. What lies behind the size is cut, what
//!   never persisted inside it reads as zeros, and what a durable cut took does not come back by growth.
//!   The zeros that a cut writes behind the new end may be durable before the cut itself is.
//! - **Names.** Any prefix of the operations on names and attributes may be durable. `sync_dir` and `sync_all`
//!   of the store make all of them durable, `sync_all` of a file those up to its own last one, `sync_data` those
//!   up to its creation ([`SimulatedOptions::strict_names`] takes both promises of files away).
//! - **Failed syncs.** The pages that a failed sync should have written count as clean: a later successful
//!   sync makes durable only what was written since, and the rest stays as uncertain as it was.
//!   Operations on names are still pending then.
//!
//! The times that writes set implicitly are not modelled: they are those of the last durable operation.
//! The command line cannot reach this store.

mod choice;
mod faults;
mod history;
mod model;
mod options;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use choice::{AllNew, AllOld, CrashChoice, EveryChoice, Pending, SeededChoice, Unit};
pub use faults::CallFilter;
pub use options::{SimulatedOptions, Tearing};

pub use super::memory::Call;
use super::memory::state::{Shared, State};
use super::{BackingStore, NodeHandle, NodeRef, StoreErrorKind, StoreResult, StoreSpace};
use faults::Effect;
use model::{CrashModel, Image};

/// A simulated backing directory. Starts empty, and durably so.
pub struct SimulatedStore {
    /// The state.
    shared: Arc<Shared<CrashModel>>,
}

impl SimulatedStore {
    /// An empty store.
    pub fn new(options: SimulatedOptions) -> Self {
        // The model starts from the tree that the state makes.
        let State { tree, files, next_ino, .. } = State::new(());
        let model = CrashModel::new(options, Arc::clone(&tree));
        Self { shared: Shared::new(State::with(tree, files, next_ino, model)) }
    }

    /// A state that a power cut at this moment may leave, as a store of its own. This store stays as it is.
    pub fn crash_image(&self, choice: &mut dyn CrashChoice) -> Self {
        let state = self.shared.state.lock();
        let Image { tree, files } = state.model.image(&state.files, choice);
        let model = CrashModel::new(state.model.options, Arc::clone(&tree));
        Self { shared: Shared::new(State::with(tree, files, state.next_ino, model)) }
    }

    /// The state after the process is killed at this moment, as a store of its own: everything that was
    /// written is there, because the page cache survives, and nothing more is durable than now.
    pub fn kill_image(&self) -> Self {
        let state = self.shared.state.lock();
        let mut tree = Arc::clone(&state.tree);
        model::drop_unnamed(&mut tree);
        let mut files = state.files.clone();
        let mut model = state.model.survivor();
        for (ino, body) in files.extract_if(|ino, _| !tree.nodes.contains_key(ino)) {
            model.keep_released(ino, body);
        }
        Self { shared: Shared::new(State::with(tree, files, state.next_ino, model)) }
    }

    /// What is not durable now.
    pub fn pending(&self) -> Pending {
        self.shared.state.lock().model.pending()
    }

    /// Calls made so far that change what is stored or what of it is durable, failed ones included.
    pub fn calls(&self) -> u64 {
        self.shared.state.lock().model.faults.calls
    }

    /// Cuts the power once [`Self::calls`] is `n`: all calls after that fail with [`StoreErrorKind::Io`] and do
    /// nothing, so that an image taken at any later time is one of that moment.
    pub fn cut_power_at(&self, n: u64) {
        self.shared.state.lock().model.faults.cut_at = Some(n);
    }

    /// Makes the `n`-th matching call from now on fail, and none after it; 1 is the next one.
    pub fn fail_nth(&self, filter: CallFilter, n: u64, kind: StoreErrorKind) {
        self.shared.state.lock().model.faults.arm(filter, n, Effect::Fail(kind), false);
    }

    /// Makes the `n`-th matching call from now on and all after it fail.
    pub fn fail_from_nth(&self, filter: CallFilter, n: u64, kind: StoreErrorKind) {
        self.shared.state.lock().model.faults.arm(filter, n, Effect::Fail(kind), true);
    }

    /// Makes the `n`-th matching write from now on store only its first `len` bytes and then fail.
    pub fn short_nth(&self, filter: CallFilter, n: u64, len: usize, kind: StoreErrorKind) {
        let filter = filter.only(Call::Write);
        self.shared.state.lock().model.faults.arm(filter, n, Effect::Short(len, kind), false);
    }

    /// How many faults have not happened yet.
    pub fn armed_faults(&self) -> usize {
        self.shared.state.lock().model.faults.armed()
    }

    /// Takes back all faults that have not happened yet; a power cut stays.
    pub fn clear_faults(&self) {
        self.shared.state.lock().model.faults.disarm();
    }
}

impl BackingStore for SimulatedStore {
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
