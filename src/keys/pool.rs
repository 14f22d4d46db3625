//! Keys of new files, made ahead.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use super::NewFileKeys;

/// The pool of one domain.
#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Mutex<PoolState>,
}

#[derive(Debug, Default)]
struct PoolState {
    ready: VecDeque<NewFileKeys>,
    /// Generation of the domain record that the keys were made with.
    generation: u64,
    /// Whether a file was ever created in the domain: else nothing is made ahead.
    wanted: bool,
}

impl Pool {
    /// Takes the keys of one file; the number says how many are left.
    pub(super) fn take(&self) -> (Option<NewFileKeys>, usize) {
        let mut state = self.state.lock();
        state.wanted = true;
        (state.ready.pop_front(), state.ready.len())
    }

    /// How many are missing up to `high`; 0 for a domain in which nothing is created.
    pub(super) fn missing(&self, high: usize) -> usize {
        let state = self.state.lock();
        if state.wanted { high.saturating_sub(state.ready.len()) } else { 0 }
    }

    /// Adds keys that were made with record `generation`; older ones than the pool's are dropped.
    pub(super) fn put(&self, made: Vec<NewFileKeys>, generation: u64) {
        let mut state = self.state.lock();
        if generation > state.generation {
            state.ready.clear();
            state.generation = generation;
        }
        if generation == state.generation {
            state.ready.extend(made);
        }
    }

    /// Drops what was made with a record older than `generation`.
    pub(super) fn renew(&self, generation: u64) {
        self.put(Vec::new(), generation);
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        self.state.lock().ready.clear();
    }

    /// Number of files whose keys are ready.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state.lock().ready.len()
    }
}

/// Tells the thread that fills the pools to look, or to end.
#[derive(Debug, Default)]
pub(super) struct Bell {
    state: Mutex<BellState>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct BellState {
    due: bool,
    stop: bool,
}

impl Bell {
    /// There is something to fill.
    pub(super) fn ring(&self) {
        self.state.lock().due = true;
        self.rung.notify_one();
    }

    /// The thread is to end.
    pub(super) fn stop(&self) {
        self.state.lock().stop = true;
        self.rung.notify_all();
    }

    /// Whether the thread is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.state.lock().stop
    }

    /// Waits; false if the thread is to end.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state.lock();
        self.rung.wait_while(&mut state, |state| !state.due && !state.stop);
        state.due = false;
        !state.stop
    }
}
