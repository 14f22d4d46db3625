//! Contents that stay open between requests.
//!
//! The kernel does not say when it opens and closes a file (`fuse::adapter`, `open`), which saves two round trips
//! for each. So the content is opened by the first request that needs it, and held here until it was not needed
//! for a while, until others need the place, or until the kernel forgets the inode.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::inode::Inode;

/// Most contents that are held: each has a descriptor and up to 1 MiB of entries.
const HELD_MAX: usize = 256;

/// The held contents of one mounted volume, in the order in which they are looked at when a place is needed.
#[derive(Default)]
pub(super) struct HeldContents {
    /// No inode is flushed or dropped while this is locked.
    queue: Mutex<VecDeque<Arc<Inode>>>,
}

impl HeldContents {
    /// Ends one use of the content of `inode`. If it was the only one, the content is held from now on, and one that
    /// was not needed lately gives up its place.
    pub(super) fn hold(&self, inode: &Arc<Inode>) {
        if !inode.hold() {
            return;
        }
        let surplus = {
            let mut queue = self.queue.lock();
            queue.push_back(Arc::clone(inode));
            if queue.len() > HELD_MAX { next_unneeded(&mut queue) } else { None }
        };
        surplus.iter().for_each(end);
    }

    /// Closes what no request has needed since the last call.
    pub(super) fn sweep(&self) {
        let unneeded: Vec<_> = {
            let mut queue = self.queue.lock();
            let (needed, unneeded) = queue.drain(..).partition(|inode| inode.take_needed());
            *queue = needed;
            unneeded.into()
        };
        unneeded.iter().for_each(end);
    }

    /// Closes the content of `inode`, which the kernel has forgotten.
    pub(super) fn forget(&self, inode: &Arc<Inode>) {
        let found = {
            let mut queue = self.queue.lock();
            let place = queue.iter().position(|held| Arc::ptr_eq(held, inode));
            place.and_then(|place| queue.remove(place))
        };
        found.iter().for_each(end);
    }
}

/// The first content that was not needed since it was last looked at; those before it go to the end. If all were
/// needed, it is the first again.
fn next_unneeded(queue: &mut VecDeque<Arc<Inode>>) -> Option<Arc<Inode>> {
    for _ in 0..queue.len() {
        let inode = queue.pop_front()?;
        if !inode.take_needed() {
            return Some(inode);
        }
        queue.push_back(inode);
    }
    queue.pop_front()
}

fn end(inode: &Arc<Inode>) {
    if let Err(error) = inode.leave() {
        tracing::error!(inode = inode.id.0, %error, "a file could not be flushed when it was closed");
    }
}
