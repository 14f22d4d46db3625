//! Faults: each backing call of a reference workload fails once, in every way that a disk and a file system have.

use std::sync::Arc;

use kmsfs::store::StoreErrorKind as Kind;
use kmsfs::store::simulated::{Call, CallFilter};

use super::dice::Dice;
use super::tree::FoundTree;
use super::volume::{Life, Op, Start, read_all, read_dir};

/// Every operation, in an order in which each has something to do, with enough fsyncs that later calls of the earlier
/// ones matter.
pub(crate) const REFERENCE: [Op; 30] = [
    Op::Create,
    Op::WriteFull,
    Op::Fsync,
    Op::WritePart,
    Op::Append,
    Op::SetTag,
    Op::Fsync,
    Op::RenameLong,
    Op::Link,
    Op::SyncDir,
    Op::WriteHole,
    Op::Fdatasync,
    Op::WritePart,
    Op::Punch,
    Op::Checkpoint,
    Op::Cut,
    Op::Append,
    Op::Fsync,
    Op::Grow,
    Op::MakeDir,
    Op::MoveDir,
    Op::Symlink,
    Op::RenameOver,
    Op::Close,
    Op::Rewrap,
    Op::WriteFull,
    Op::Unlink,
    Op::Create,
    Op::Append,
    Op::Fsync,
];

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Fails(Kind),
    /// A write stores so many bytes, and then there is no space.
    Short(usize),
}

pub(crate) const EVERY_FAULT: [Fault; 6] = [
    Fault::Fails(Kind::Io),
    Fault::Fails(Kind::NoSpace),
    Fault::Fails(Kind::QuotaExceeded),
    Fault::Fails(Kind::Interrupted),
    Fault::Short(100),
    Fault::Short(4096),
];

fn arm(life: &Life, fault: Fault, n: u64) {
    match fault {
        Fault::Fails(kind) => life.store.fail_nth(CallFilter::any(), n, kind),
        Fault::Short(len) => life.store.short_nth(CallFilter::calls(&[Call::Write]), n, len, Kind::NoSpace),
    }
}

/// What an operation may say when `fault` hits it: the fault, or that the volume is read-only because of it.
fn is_right(fault: Fault, error: &str) -> bool {
    let kind = match fault {
        Fault::Fails(kind) => kind,
        Fault::Short(_) => Kind::NoSpace,
    };
    error.contains(&kind.to_string()) || error.contains("read-only until it is mounted again")
}

#[derive(Default, Debug)]
pub(crate) struct Outcomes {
    pub(crate) faults: u64,
    /// An operation failed.
    pub(crate) reported: u64,
    /// The volume was read-only from then on.
    pub(crate) read_only: u64,
}

/// Runs the reference workload, and the `n`-th call that `fault` is about fails. False if there are not so many.
pub(crate) fn one_fault(
    start: &Start,
    fault: Fault,
    n: u64,
    outcomes: &mut Outcomes,
) -> Result<bool, String> {
    let mut life = start.life()?;
    let mut dice = Dice::new(n);
    arm(&life, fault, n);
    let (mut failed, mut read_only) = (false, false);
    let mut said = Vec::new();
    for op in REFERENCE {
        let before = life.truth.moments();
        if let Err(error) = life.apply(op, &mut dice) {
            if !is_right(fault, &error) {
                return Err(format!("{op:?} says {error}, after {said:?}"));
            }
            said.push(format!("{op:?}: {error}"));
            failed = true;
            read_only |= error.contains("read-only");
            adopt(&mut life, before)
                .map_err(|problem| format!("after {op:?}, which said {error}: {problem}"))?;
        }
    }
    let happened = life.store.armed_faults() == 0;
    life.store.clear_faults();
    outcomes.faults += u64::from(happened);
    outcomes.reported += u64::from(failed);
    outcomes.read_only += u64::from(read_only);
    finish(start, life, read_only)?;
    Ok(happened)
}

/// An operation failed: it has been done, or not, and nothing else has changed.
fn adopt(life: &mut Life, before: usize) -> Result<(), String> {
    let mut found = FoundTree::new();
    read_dir(&life.mounted, kmsfs::fs::NodeId::ROOT, "", &mut found)?;
    life.truth.adopt(before, &found, life.current)
}

/// Unmounts, and mounts again: what was acknowledged is there, and the volume can be written.
fn finish(start: &Start, life: Life, read_only: bool) -> Result<(), String> {
    let store = Arc::clone(&life.store);
    let truth = life.truth.clone();
    if let Err(error) = life.try_end()
        && !read_only
    {
        return Err(format!("the unmount: {error}"));
    }
    let (found, survivor) = read_all(&store, &start.service)?;
    let mut truth = truth;
    // The process did not die, so nothing is lost that was acknowledged; a volume that went read-only keeps what was
    // durable.
    if read_only {
        truth.allows(&found).map(|_| ())?
    } else {
        truth.is_present(&found)?
    }
    let moment = truth.allows(&found)?;
    truth.settle(moment, &found);
    let mut life = Life::begin(Arc::new(survivor), &start.service, truth)?;
    for op in [Op::Create, Op::WriteFull, Op::Fsync, Op::Rename] {
        life.apply(op, &mut Dice::new(1)).map_err(|error| format!("mounted again, {op:?}: {error}"))?;
    }
    life.try_end()
}
