//! The header of a file, seen from the backing side.

use crate::format::geometry::plain_size;
use crate::format::{Header, PAGE, SLOT_LEN, SLOT_OFFSETS};
use crate::store::{FileRef, StoreError};

/// What stands in page 0 of a backing file.
pub(super) enum HeaderPage {
    /// The file is empty: its header was never written.
    Nascent,
    /// A header.
    Sound(Box<SoundHeader>),
    /// Something that is not a header.
    Damaged,
}

/// A header, with its bytes.
pub(super) struct SoundHeader {
    pub(super) header: Header,
    pub(super) page: [u8; PAGE],
    /// Plain size of the file in bytes, by the size of the backing file.
    pub(super) plain_len: u64,
}

impl SoundHeader {
    /// Whether place `place` of the key slots holds nothing.
    pub(super) fn is_scrubbed(&self, place: usize) -> bool {
        self.slot_bytes(place).iter().all(|byte| *byte == 0)
    }

    /// The bytes of place `place` of the key slots.
    pub(super) fn slot_bytes(&self, place: usize) -> &[u8] {
        &self.page[SLOT_OFFSETS[place]..][..SLOT_LEN]
    }
}

/// Reads page 0 of `file`.
pub(super) fn read_header(file: &FileRef) -> Result<HeaderPage, StoreError> {
    let size = file.stat()?.size;
    if size == 0 {
        return Ok(HeaderPage::Nascent);
    }
    let mut page = [0; PAGE];
    file.read_at(&mut page, 0)?;
    Ok(match Header::parse(&page) {
        Ok(header) => {
            HeaderPage::Sound(Box::new(SoundHeader { header, page, plain_len: plain_size(size).shown() }))
        }
        Err(_) => HeaderPage::Damaged,
    })
}
