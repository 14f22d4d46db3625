//! Keeping secrets in memory: no core dumps, no swap, no look from other processes of the user.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// CAP_IPC_LOCK in the mask of capabilities: whoever has it may lock without limit.
const MAY_LOCK: u64 = 1 << 14;

/// For every process that may come to hold a secret: it leaves no core dump, and other processes of its user can
/// neither read its memory nor trace it.
pub(super) fn close() {
    // Neither call can fail for a process that lowers what it may.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let maximum = getrlimit(Resource::Core).maximum;
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
}

/// For a process that holds secrets for long: its memory is not swapped out, where that is allowed. What is not so is
/// said in the log.
///
/// Only without a limit: with one, memory that is needed later would be refused instead of being swapped.
pub(super) fn keep_from_swap() {
    let hard = getrlimit(Resource::Memlock).maximum;
    if hard.is_none() {
        // Fails only if somebody forbids what the limit allows; locking says so then.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    }
    let unlimited = getrlimit(Resource::Memlock).current.is_none() || may_lock();
    if !unlimited {
        tracing::warn!(
            "keys in memory may be swapped out: the limit of locked memory is too low (LimitMEMLOCK=infinity, ulimit -l \
             unlimited, or CAP_IPC_LOCK)"
        );
        return;
    }
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        Ok(()) => tracing::info!("memory is locked: keys are not swapped out"),
        Err(error) => tracing::warn!(%error, "keys in memory may be swapped out: memory cannot be locked"),
    }
}

fn may_lock() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & MAY_LOCK != 0)
}
