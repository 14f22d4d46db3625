//! The content of regular files.

use super::{AllocateMode, Caller, FsError, FsResult, MountedVolume, NodeId, SeekTarget, WriteMode};

impl MountedVolume {
    /// Reads into `buf` and returns the number of bytes; fewer than asked for only at the end of the file.
    ///
    /// # Errors
    /// What the keys, the content and the backing file say.
    pub fn read(&self, id: NodeId, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let inode = self.table.get(id)?;
        self.note_read(&inode);
        let len = self.with_content(&inode, |file| Ok(file.read(offset, buf)?))?;
        self.note_access(&inode);
        Ok(len)
    }

    /// Writes all of `data`. Appending needs no mode of its own: this mount is the only writer, so the kernel
    /// knows where the end is.
    ///
    /// # Errors
    /// What the keys, the content and the backing file say.
    pub fn write(&self, id: NodeId, offset: u64, data: &[u8], mode: WriteMode) -> FsResult<()> {
        let inode = self.table.get(id)?;
        self.with_content(&inode, |file| Ok(file.write(offset, data)?))?;
        if let Some(caller) = mode.kill_privileges {
            self.kill_privileges(&inode, caller)?;
        }
        self.touch(&inode);
        Ok(())
    }

    /// Makes the content durable, and unless `data_only` the attributes too.
    ///
    /// # Errors
    /// What the journal and the backing file say; after such an error earlier writes may be lost.
    pub fn sync(&self, id: NodeId, data_only: bool) -> FsResult<()> {
        let inode = self.table.get(id)?;
        self.with_content(&inode, |file| {
            // Times that follow from writes are put right by the next checkpoint, so that an fsync costs no flush
            // for them. Chosen ones are made durable here; the seal goes first, because it changes them again.
            if !data_only && inode.take_chosen_times() {
                file.flush()?;
                inode.unsettle_times();
                inode.settle_times()?;
            }
            Ok(file.fsync(data_only)?)
        })
    }

    /// `fallocate(2)`.
    ///
    /// # Errors
    /// [`FsError::Invalid`] for an empty range or one beyond what an offset can say, and what the content says.
    pub fn allocate(
        &self,
        caller: Caller,
        id: NodeId,
        offset: u64,
        len: u64,
        mode: AllocateMode,
    ) -> FsResult<()> {
        if len == 0 {
            return Err(FsError::Invalid("an empty range"));
        }
        offset.checked_add(len).ok_or(FsError::Invalid("a range beyond the largest offset"))?;
        let inode = self.table.get(id)?;
        self.with_content(&inode, |file| {
            match mode {
                AllocateMode::Grow => file.allocate(offset, len, false)?,
                AllocateMode::KeepSize => file.allocate(offset, len, true)?,
                AllocateMode::PunchHole => file.punch_hole(offset, len)?,
                AllocateMode::ZeroRange { keep_size } => file.zero_range(offset, len, keep_size)?,
            }
            Ok(())
        })?;
        self.changed_by(&inode, caller)
    }

    /// The first data or hole at or behind `offset`.
    ///
    /// # Errors
    /// [`FsError::NoSuchOffset`] at or behind the end, or if there is no data behind.
    pub fn seek(&self, id: NodeId, offset: u64, target: SeekTarget) -> FsResult<u64> {
        let inode = self.table.get(id)?;
        self.with_content(&inode, |file| {
            if offset >= file.size() {
                return Err(FsError::NoSuchOffset);
            }
            match target {
                SeekTarget::Data => file.seek_data(offset)?.ok_or(FsError::NoSuchOffset),
                SeekTarget::Hole => Ok(file.seek_hole(offset)?),
            }
        })
    }
}
