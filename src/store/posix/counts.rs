//! Counters of system calls, so that a test can hold an operation to its number.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a system call does.
#[derive(Debug, Clone, Copy)]
pub(super) enum CallKind {
    /// Reads content.
    Read,
    /// Writes content.
    Write,
    /// Waits for the device.
    Sync,
    /// Opens or creates a descriptor.
    Open,
    /// Reads attributes of a node or of the file system.
    Stat,
    /// Anything else.
    Other,
}

/// How many system calls of each kind a store has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallCounts {
    /// `pread`.
    pub reads: u64,
    /// `pwrite`, `pwritev`.
    pub writes: u64,
    /// `fsync`, `fdatasync`, `syncfs`.
    pub syncs: u64,
    /// `openat`, `open_by_handle_at`; one that creates the file too.
    pub opens: u64,
    /// `statx`, `fstatvfs`.
    pub stats: u64,
    /// Everything else.
    pub others: u64,
}

impl CallCounts {
    /// All calls together.
    pub fn total(&self) -> u64 {
        self.reads + self.writes + self.syncs + self.opens + self.stats + self.others
    }

    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            reads: self.reads - earlier.reads,
            writes: self.writes - earlier.writes,
            syncs: self.syncs - earlier.syncs,
            opens: self.opens - earlier.opens,
            stats: self.stats - earlier.stats,
            others: self.others - earlier.others,
        }
    }
}

/// The running counters. Relaxed: they order nothing.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// One counter per [`CallKind`].
    by_kind: [AtomicU64; 6],
}

impl Counters {
    /// Counts one call.
    pub(super) fn count(&self, kind: CallKind) {
        self.by_kind[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    pub(super) fn read(&self) -> CallCounts {
        let of = |kind: CallKind| self.by_kind[kind as usize].load(Ordering::Relaxed);
        CallCounts {
            reads: of(CallKind::Read),
            writes: of(CallKind::Write),
            syncs: of(CallKind::Sync),
            opens: of(CallKind::Open),
            stats: of(CallKind::Stat),
            others: of(CallKind::Other),
        }
    }
}
