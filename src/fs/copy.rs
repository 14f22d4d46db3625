//! Copying inside the mount, without the kernel's page cache between.

use std::sync::Arc;

use super::{Caller, FsResult, MountedVolume, NodeId};
use crate::file::EncryptedFile;

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;
/// The most that one request copies: it holds a worker thread. The caller goes on with the rest.
const REQUEST_MAX: u64 = 64 << 20;

/// A range of one file that goes to a range of another, or of the same one.
struct Copy<'a> {
    from: &'a Arc<EncryptedFile>,
    to: &'a Arc<EncryptedFile>,
    from_offset: u64,
    to_offset: u64,
    len: u64,
}

impl Copy<'_> {
    /// Copies all of the range, holes as holes.
    fn run(&self) -> FsResult<()> {
        let mut buf = vec![0; CHUNK.min(usize::try_from(self.len).unwrap_or(CHUNK))];
        let mut done = 0;
        while done < self.len {
            let at = self.from_offset + done;
            let data =
                self.from.seek_data(at)?.map_or(self.len, |data| data.saturating_sub(self.from_offset));
            if data > done {
                let hole_end = data.min(self.len);
                self.put_hole(done, hole_end - done)?;
                done = hole_end;
                continue;
            }
            let hole = self.from.seek_hole(at)?.saturating_sub(self.from_offset).max(done + 1);
            let stretch = hole.min(self.len) - done;
            let step = usize::try_from(stretch).unwrap_or(CHUNK).min(CHUNK);
            let read = self.from.read(at, &mut buf[..step])?;
            if read == 0 {
                break;
            }
            self.to.write(self.to_offset + done, &buf[..read])?;
            done += read as u64;
        }
        Ok(())
    }

    /// Makes `len` bytes at `done` of the target read zero, and the target long enough to have them.
    fn put_hole(&self, done: u64, len: u64) -> FsResult<()> {
        let start = self.to_offset + done;
        let size = self.to.size();
        if start < size {
            self.to.punch_hole(start, len.min(size - start))?;
        }
        if start + len > size {
            self.to.truncate(start + len)?;
        }
        Ok(())
    }
}

impl MountedVolume {
    /// Copies up to `len` bytes and returns how many; 0 at the end of the source.
    ///
    /// # Errors
    /// What the two contents say.
    pub fn copy_range(
        &self,
        caller: Caller,
        (from, from_offset): (NodeId, u64),
        (to, to_offset): (NodeId, u64),
        len: u64,
    ) -> FsResult<u64> {
        let source = self.table.get(from)?;
        let target = self.table.get(to)?;
        let copied = self.with_content(&source, |from: &Arc<EncryptedFile>| {
            self.with_content(&target, |to: &Arc<EncryptedFile>| {
                let len = len.min(REQUEST_MAX).min(from.size().saturating_sub(from_offset));
                if len > 0 {
                    Copy { from, to, from_offset, to_offset, len }.run()?;
                }
                Ok(len)
            })
        })?;
        if copied > 0 {
            self.note_access(&source);
            self.changed_by(&target, caller)?;
        }
        Ok(copied)
    }
}
