//! Open files of a memory store.

use std::io::IoSlice;
use std::sync::Arc;

use super::model::{Admission, Call, ContentChange, Model, SyncScope};
use super::pages::FileBody;
use super::state::{Shared, State};
use crate::store::{
    BackingFile, FileAccess, FileRef, NodeStat, StoreError, StoreErrorKind as Kind, StoreResult,
};

/// An open file.
pub(super) struct MemoryFile<M: Model> {
    /// Inode number.
    ino: u64,
    /// Number of this open file, which holds its lock.
    number: u64,
    /// How it was opened.
    access: FileAccess,
    /// The store.
    shared: Arc<Shared<M>>,
}

impl<M: Model> MemoryFile<M> {
    /// The open file `number` of the inode `ino`, which the caller has pinned.
    pub(super) fn pinned(ino: u64, number: u64, access: FileAccess, shared: &Arc<Shared<M>>) -> FileRef {
        Arc::new(Self { ino, number, access, shared: Arc::clone(shared) })
    }

    /// Makes a call on this file.
    fn call<T>(&self, call: Call, body: impl FnOnce(&mut State<M>) -> Result<T, Kind>) -> StoreResult<T> {
        self.shared.call(call, self.ino, body)
    }

    /// Makes a call that only a file open for writing takes.
    fn changing<T>(&self, call: Call, body: impl FnOnce(&mut State<M>) -> Result<T, Kind>) -> StoreResult<T> {
        let access = self.access;
        self.call(call, |state| match access {
            FileAccess::Read => Err(Kind::Invalid),
            FileAccess::ReadWrite => body(state),
        })
    }
}

impl<M: Model> BackingFile for MemoryFile<M> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> StoreResult<usize> {
        self.call(Call::Read, |state| state.body(self.ino)?.read(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> StoreResult<()> {
        // Not through `call`: a write is the one call that can be admitted in part.
        let mut state = self.shared.state.lock();
        let outcome = match self.access {
            FileAccess::Read => Err(Kind::Invalid),
            FileAccess::ReadWrite => {
                let admitted: Result<Admission, Kind> = state.model.admit(Call::Write, self.ino);
                admitted.and_then(|admitted| state.write(self.ino, buf, offset, admitted))
            }
        };
        outcome.map_err(|kind| StoreError::new(Call::Write.verb(), kind))
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> StoreResult<()> {
        match bufs {
            [one] => self.write_at(one, offset),
            // Slices deref to bytes, and concatenation keeps this one call, as pwritev is.
            _ => {
                let parts: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
                self.write_at(&parts.concat(), offset)
            }
        }
    }

    fn set_len(&self, len: u64) -> StoreResult<()> {
        self.changing(Call::SetLen, |state| {
            let change = ContentChange::Resized { old_size: state.body(self.ino)?.size() };
            state.change_content(self.ino, change, |body| body.set_len(len))
        })
    }

    fn allocate(&self, offset: u64, len: u64) -> StoreResult<()> {
        self.changing(Call::Allocate, |_| FileBody::check_allocation(offset, len))
    }

    fn punch_hole(&self, offset: u64, len: u64) -> StoreResult<()> {
        self.changing(Call::PunchHole, |state| {
            if len == 0 {
                return Ok(());
            }
            let change = ContentChange::Punched { offset, len };
            state.change_content(self.ino, change, |body| {
                body.punch_hole(offset, len);
                Ok(())
            })
        })
    }

    fn next_data(&self, offset: u64) -> StoreResult<Option<u64>> {
        self.call(Call::NextData, |state| Ok(state.body(self.ino)?.next_data(offset)))
    }

    fn stat(&self) -> StoreResult<NodeStat> {
        self.call(Call::Stat, |state| state.stat(self.ino))
    }

    fn sync_data(&self) -> StoreResult<()> {
        self.call(Call::SyncData, |state| {
            state.sync(SyncScope::Data(self.ino));
            Ok(())
        })
    }

    fn sync_all(&self) -> StoreResult<()> {
        self.call(Call::SyncFile, |state| {
            state.sync(SyncScope::File(self.ino));
            Ok(())
        })
    }

    fn try_lock(&self) -> StoreResult<bool> {
        self.changing(Call::Lock, |state| Ok(state.lock(self.ino, self.number)))
    }
}

impl<M: Model> Drop for MemoryFile<M> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.unlock(self.ino, self.number);
        state.unpin(self.ino);
    }
}
