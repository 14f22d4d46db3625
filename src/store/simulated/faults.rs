//! Calls that fail on demand.

use crate::store::StoreErrorKind;
use crate::store::memory::model::{Admission, Call};

/// Which calls a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFilter {
    /// The calls; `None` is all.
    calls: Option<Vec<Call>>,
    /// Only calls that change the state.
    changes: bool,
    /// Only calls on this inode.
    ino: Option<u64>,
}

impl CallFilter {
    /// All calls.
    pub fn any() -> Self {
        Self { calls: None, changes: false, ino: None }
    }

    /// These calls.
    pub fn calls(calls: &[Call]) -> Self {
        Self { calls: Some(calls.to_vec()), ..Self::any() }
    }

    /// All calls that change what is stored or what of it is durable.
    pub fn changes() -> Self {
        Self { changes: true, ..Self::any() }
    }

    /// All calls that wait for the device.
    pub fn syncs() -> Self {
        Self::calls(&[Call::SyncData, Call::SyncFile, Call::SyncDir, Call::SyncStore])
    }

    /// Only those of the calls that are made on the inode `ino`: the directory, for calls that take a name.
    #[must_use]
    pub fn on(self, ino: u64) -> Self {
        Self { ino: Some(ino), ..self }
    }

    /// Only `call` of the calls.
    pub(super) fn only(self, call: Call) -> Self {
        let meant = self.calls.as_ref().is_none_or(|calls| calls.contains(&call));
        Self { calls: Some(if meant { vec![call] } else { Vec::new() }), ..self }
    }

    /// Whether a call on `ino` is meant.
    fn matches(&self, call: Call, ino: u64) -> bool {
        self.calls.as_ref().is_none_or(|calls| calls.contains(&call))
            && (!self.changes || call.changes_state())
            && self.ino.is_none_or(|wanted| wanted == ino)
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It fails and does nothing.
    Fail(StoreErrorKind),
    /// A write stores this many bytes and fails.
    Short(usize, StoreErrorKind),
}

/// One fault.
#[derive(Debug, Clone)]
struct Fault {
    /// The calls that it counts.
    filter: CallFilter,
    /// How many of them still pass.
    pass: u64,
    /// What happens to the one behind them.
    effect: Effect,
    /// Whether it happens to all that follow too.
    sticky: bool,
}

/// All faults of a store, and the count of its calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    /// The faults that may still happen.
    armed: Vec<Fault>,
    /// Calls made so far that change the state.
    pub(super) calls: u64,
    /// The power goes once so many of those calls have been made.
    pub(super) cut_at: Option<u64>,
}

impl Faults {
    /// Arms a fault for the `n`-th matching call from now on.
    pub(super) fn arm(&mut self, filter: CallFilter, n: u64, effect: Effect, sticky: bool) {
        self.armed.push(Fault { filter, pass: n.saturating_sub(1), effect, sticky });
    }

    /// Disarms all faults; a power cut stays.
    pub(super) fn disarm(&mut self) {
        self.armed.clear();
    }

    /// How many faults are armed.
    pub(super) fn armed(&self) -> usize {
        self.armed.len()
    }

    /// Whether the power is gone.
    pub(super) fn is_cut(&self) -> bool {
        self.cut_at.is_some_and(|at| self.calls >= at)
    }

    /// What happens to a call on `ino`.
    pub(super) fn admit(&mut self, call: Call, ino: u64) -> Result<Admission, StoreErrorKind> {
        if self.is_cut() {
            return Err(StoreErrorKind::Io);
        }
        if call.changes_state() {
            self.calls += 1;
        }
        let mut effect = None;
        self.armed.retain_mut(|fault| {
            if !fault.filter.matches(call, ino) {
                return true;
            }
            if fault.pass > 0 {
                fault.pass -= 1;
                return true;
            }
            effect = effect.or(Some(fault.effect));
            fault.sticky
        });
        match effect {
            None => Ok(Admission::Full),
            Some(Effect::Short(len, kind)) => Ok(Admission::Short(len, kind)),
            Some(Effect::Fail(kind)) => Err(kind),
        }
    }
}
