//! Opening contents before they are asked for.
//!
//! The first read of a file waits for its header from the device and for its data key. Most files are read right
//! after they were looked up, and most directories in the order of their listing: so the thread that has replied
//! to one of these opens what is likely to come next, while the caller is still waking up. It does so only while
//! such guesses come true, and never for a file that is not small, whose opening is the least part of its reading.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::inode::Inode;
use super::{Attr, MountedVolume, NodeId};
use crate::store::NodeKind;

/// Largest content that is opened ahead: as much as is read from the device at once.
const SMALL_FILE: u64 = 128 << 10;
/// How many files of a listing are open ahead of the one that is read.
const DEPTH: usize = 4;
/// Most files of listings that are remembered.
const LISTED_MAX: usize = 1024;
/// How far from the expected file of a listing one that is read may be.
const SKIPPED_MAX: usize = 32;

/// How well guesses went lately: a success counts for two failures.
#[derive(Debug, Default, Clone, Copy)]
struct Trust(u8);

impl Trust {
    const MAX: u8 = 8;
    const ENOUGH: u8 = 4;

    fn up(&mut self) {
        self.0 = (self.0 + 2).min(Self::MAX);
    }

    fn down(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    fn is_enough(self) -> bool {
        self.0 >= Self::ENOUGH
    }
}

/// What is likely to be read next.
#[derive(Debug, Default)]
struct Guesses {
    /// Whether a file that was looked up is read then.
    lookups: Trust,
    /// Whether files are read in the order of their listing.
    order: Trust,
    /// Small files in the order of their listing, behind the last one that was read.
    listed: VecDeque<NodeId>,
    /// How many at the front of `listed` were opened ahead.
    opened: usize,
    /// What to open next.
    due: VecDeque<NodeId>,
}

impl Guesses {
    fn looked_up(&mut self, id: NodeId) {
        if self.lookups.is_enough() {
            self.due.push_front(id);
        }
        self.lookups.down();
    }

    fn listed(&mut self, id: NodeId) {
        if self.listed.len() == LISTED_MAX {
            self.listed.pop_front();
            self.opened = self.opened.saturating_sub(1);
        }
        self.listed.push_back(id);
    }

    /// A content was read for the first time since it was opened.
    fn read(&mut self, id: NodeId) {
        self.lookups.up();
        match self.listed.iter().take(SKIPPED_MAX).position(|listed| *listed == id) {
            Some(place) => {
                self.listed.drain(..=place);
                self.opened = self.opened.saturating_sub(place + 1);
                self.order.up();
            }
            None => self.order.down(),
        }
        if self.order.is_enough() {
            let wanted = DEPTH.min(self.listed.len());
            self.due.extend(self.listed.range(self.opened.min(wanted)..wanted));
            self.opened = self.opened.max(wanted);
        }
    }
}

/// What a mounted volume opens ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    guesses: Mutex<Guesses>,
    is_due: AtomicBool,
    /// Held by the thread that opens ahead: the others stay free for requests.
    working: Mutex<()>,
}

impl Ahead {
    fn guess(&self, change: impl FnOnce(&mut Guesses)) {
        let mut guesses = self.guesses.lock();
        change(&mut guesses);
        self.is_due.store(!guesses.due.is_empty(), Ordering::Relaxed);
    }

    fn next(&self) -> Option<NodeId> {
        let mut next = None;
        self.guess(|guesses| next = guesses.due.pop_front());
        next
    }
}

/// Whether a file is worth opening ahead.
fn is_small_file(attr: &Attr) -> bool {
    attr.kind == NodeKind::File && (1..=SMALL_FILE).contains(&attr.size)
}

impl MountedVolume {
    /// The kernel looked a file up by its name.
    pub(super) fn note_lookup(&self, attr: &Attr) {
        if is_small_file(attr) {
            self.ahead.guess(|guesses| guesses.looked_up(attr.id));
        }
    }

    /// The kernel was given the attributes of a file in a listing.
    pub(super) fn note_listed(&self, attr: &Attr) {
        if is_small_file(attr) {
            self.ahead.guess(|guesses| guesses.listed(attr.id));
        }
    }

    /// The content of `inode` is about to be read.
    pub(super) fn note_read(&self, inode: &Inode) {
        if inode.begin_reading() {
            self.ahead.guess(|guesses| guesses.read(inode.id));
        }
    }

    /// Opens what is likely to be read next. Called when a reply is out, and nobody waits for it.
    pub fn work_ahead(&self) {
        if !self.ahead.is_due.load(Ordering::Relaxed) {
            return;
        }
        let Some(_alone) = self.ahead.working.try_lock() else { return };
        while let Some(id) = self.ahead.next() {
            if let Some(inode) = self.table.find(id) {
                self.open_ahead(&inode);
            }
        }
    }

    /// Whoever reads the file is told why it cannot be opened; nobody has asked for it yet.
    fn open_ahead(&self, inode: &Arc<Inode>) {
        if inode.open_content().is_none()
            && let Err(error) = self.with_content(inode, |_| Ok(()))
        {
            tracing::debug!(inode = inode.id.0, %error, "a file could not be opened ahead");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(guesses: &mut Guesses) -> Vec<u64> {
        guesses.due.drain(..).map(|id| id.0).collect()
    }

    #[test]
    fn a_file_is_opened_at_its_lookup_while_those_before_it_were_read() {
        let mut guesses = Guesses::default();
        for id in 1..=2 {
            guesses.looked_up(NodeId(id));
            assert_eq!(due(&mut guesses), [0; 0]);
            guesses.read(NodeId(id));
        }
        guesses.read(NodeId(3));
        for id in 4..100 {
            guesses.looked_up(NodeId(id));
            assert_eq!(due(&mut guesses), [id]);
            guesses.read(NodeId(id));
        }
        // Nobody reads any more: soon nothing is opened in vain.
        let opened: usize = (100..200)
            .map(|id| {
                guesses.looked_up(NodeId(id));
                due(&mut guesses).len()
            })
            .sum();
        assert!(opened <= 5, "{opened} files were opened for nothing");
    }

    #[test]
    fn a_listing_that_is_read_in_order_is_opened_a_few_files_ahead() {
        let mut guesses = Guesses::default();
        (0..100).for_each(|id| guesses.listed(NodeId(id)));
        guesses.read(NodeId(0));
        assert_eq!(due(&mut guesses), [0; 0]);
        guesses.read(NodeId(1));
        assert_eq!(due(&mut guesses), [2, 3, 4, 5]);
        guesses.read(NodeId(2));
        assert_eq!(due(&mut guesses), [6]);
        // Three were skipped.
        guesses.read(NodeId(6));
        assert_eq!(due(&mut guesses), [7, 8, 9, 10]);
        // At the end there is nothing more to open.
        (7..100).for_each(|id| guesses.read(NodeId(id)));
        assert_eq!(due(&mut guesses), (11..100).collect::<Vec<_>>());
        guesses.read(NodeId(500));
        assert_eq!(due(&mut guesses), [0; 0]);
    }

    #[test]
    fn a_listing_that_nobody_reads_in_order_is_left_alone() {
        let mut guesses = Guesses::default();
        (0..5000).for_each(|id| guesses.listed(NodeId(id)));
        assert_eq!(guesses.listed.len(), LISTED_MAX);
        for id in (10_000..10_100).rev() {
            guesses.read(NodeId(id));
            assert_eq!(due(&mut guesses), [0; 0]);
        }
    }
}
