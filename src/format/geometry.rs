//! Where a block, its entry and the end of a file lie in the backing file (format.md, "Geometry").
//!
//! Page 0 is the header with the entries of blocks 0..16, pages 1..17 are those blocks, then come groups of one
//! entry page and 128 data pages. The plain size is a function of the backing file's size, so that
//! attributes need no read.

use super::entry::ENTRY_LEN;
use super::{PAGE_U64, ids::BlockIndex};

/// Blocks whose entries lie in the header page.
pub const HEAD_BLOCKS: u64 = 16;
/// Blocks behind one entry page.
pub const GROUP_BLOCKS: u64 = 128;
/// Pages of a group.
const GROUP_PAGES: u64 = GROUP_BLOCKS + 1;
/// The first page behind the head.
const FIRST_GROUP_PAGE: u64 = 1 + HEAD_BLOCKS;
/// Offset of the entries of blocks 0..16 in the header page.
pub const HEAD_ENTRIES_OFFSET: u64 = 3584;
/// The largest plain size: what keeps the backing file's size within a signed 64-bit offset.
pub const MAX_PLAIN_SIZE: u64 = (i64::MAX as u64 / PAGE_U64 / GROUP_PAGES - 2) * GROUP_BLOCKS * PAGE_U64;

/// What the size of a backing file says about the plain size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainSize {
    /// Created, and the header not yet on disk: an empty file.
    Nascent,
    /// This many bytes.
    Bytes(u64),
    /// Ends inside the header or inside an entry page, as only a crash or a hand from outside leaves it; the
    /// number is the size up to the last whole block.
    Ragged(u64),
}

impl PlainSize {
    /// The size that a user sees.
    pub fn shown(self) -> u64 {
        match self {
            Self::Nascent => 0,
            Self::Bytes(size) | Self::Ragged(size) => size,
        }
    }
}

/// The block that holds byte `offset`.
pub fn block_of(offset: u64) -> BlockIndex {
    BlockIndex(offset / PAGE_U64)
}

/// Number of blocks of a file of `size` bytes.
pub fn block_count(size: u64) -> u64 {
    size.div_ceil(PAGE_U64)
}

/// Length of block `block` in a file of `size` bytes; 0 behind the end.
pub fn block_len(block: BlockIndex, size: u64) -> usize {
    let start = block.0.saturating_mul(PAGE_U64);
    size.saturating_sub(start).min(PAGE_U64) as usize
}

/// The page of the backing file that holds block `block`.
fn data_page(block: BlockIndex) -> u64 {
    match block.0.checked_sub(HEAD_BLOCKS) {
        None => 1 + block.0,
        Some(rest) => FIRST_GROUP_PAGE + GROUP_PAGES * (rest / GROUP_BLOCKS) + 1 + rest % GROUP_BLOCKS,
    }
}

/// The offset of block `block` in the backing file.
pub fn data_offset(block: BlockIndex) -> u64 {
    PAGE_U64 * data_page(block)
}

/// The group of a block: `None` for the head, whose entries lie in the header page.
pub fn group_of(block: BlockIndex) -> Option<u64> {
    block.0.checked_sub(HEAD_BLOCKS).map(|rest| rest / GROUP_BLOCKS)
}

/// The offset of the entry page of `group`.
pub fn entry_page_offset(group: u64) -> u64 {
    PAGE_U64 * (FIRST_GROUP_PAGE + GROUP_PAGES * group)
}

/// The offset of the entry of block `block`.
pub fn entry_offset(block: BlockIndex) -> u64 {
    let len = ENTRY_LEN as u64;
    match block.0.checked_sub(HEAD_BLOCKS) {
        None => HEAD_ENTRIES_OFFSET + len * block.0,
        Some(rest) => entry_page_offset(rest / GROUP_BLOCKS) + len * (rest % GROUP_BLOCKS),
    }
}

/// The first block behind those whose entries and data lie in one stretch with those of `block`.
pub fn stretch_end(block: BlockIndex) -> BlockIndex {
    match group_of(block) {
        None => BlockIndex(HEAD_BLOCKS),
        Some(group) => BlockIndex(HEAD_BLOCKS + GROUP_BLOCKS * (group + 1)),
    }
}

/// The size of the backing file of a file of `plain` bytes, which is at most [`MAX_PLAIN_SIZE`].
pub fn backing_size(plain: u64) -> u64 {
    match plain.checked_sub(1) {
        None => PAGE_U64,
        Some(last_byte) => {
            let last = block_of(last_byte);
            data_offset(last) + (plain - PAGE_U64 * last.0)
        }
    }
}

/// The plain size of a backing file of `size` bytes.
pub fn plain_size(size: u64) -> PlainSize {
    match size {
        0 => return PlainSize::Nascent,
        1..PAGE_U64 => return PlainSize::Ragged(0),
        PAGE_U64 => return PlainSize::Bytes(0),
        _ => {}
    }
    let last_page = (size - 1) / PAGE_U64;
    let in_page = size - last_page * PAGE_U64;
    match last_page.checked_sub(FIRST_GROUP_PAGE) {
        None => PlainSize::Bytes((last_page - 1) * PAGE_U64 + in_page),
        Some(rest) => {
            let blocks_before = HEAD_BLOCKS + GROUP_BLOCKS * (rest / GROUP_PAGES);
            match rest % GROUP_PAGES {
                0 => PlainSize::Ragged(blocks_before * PAGE_U64),
                page => PlainSize::Bytes((blocks_before + page - 1) * PAGE_U64 + in_page),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn named_places() {
        assert_eq!(data_offset(BlockIndex(0)), 4096);
        assert_eq!(data_offset(BlockIndex(15)), 16 * 4096);
        assert_eq!(entry_page_offset(0), 17 * 4096);
        assert_eq!(data_offset(BlockIndex(16)), 18 * 4096);
        assert_eq!(entry_page_offset(1), (17 + 129) * 4096);
        assert_eq!(data_offset(BlockIndex(144)), (17 + 130) * 4096);
        assert_eq!(entry_offset(BlockIndex(15)), 4096 - 32);
        assert_eq!(backing_size(0), 4096);
        assert_eq!(backing_size(1), 4097);
        assert_eq!(plain_size(17 * 4096 + 1), PlainSize::Ragged(16 * 4096));
        assert!(backing_size(MAX_PLAIN_SIZE) < i64::MAX as u64);
    }

    proptest! {
        #[test]
        fn sizes_are_a_bijection(plain in 0..=MAX_PLAIN_SIZE) {
            prop_assert_eq!(plain_size(backing_size(plain)), PlainSize::Bytes(plain));
        }

        #[test]
        fn any_backing_size_has_a_plain_size(size in 0..i64::MAX as u64) {
            match plain_size(size) {
                PlainSize::Nascent => prop_assert_eq!(size, 0),
                PlainSize::Bytes(plain) => prop_assert_eq!(backing_size(plain), size),
                PlainSize::Ragged(plain) => prop_assert!(size < backing_size(plain + 1)),
            }
        }

        #[test]
        fn nothing_overlaps(a in 0..1u64 << 40, b in 0..1u64 << 40) {
            prop_assume!(a != b);
            let (a, b) = (BlockIndex(a), BlockIndex(b));
            prop_assert_ne!(data_page(a), data_page(b));
            prop_assert_ne!(entry_offset(a), entry_offset(b));
            prop_assert_ne!(entry_offset(a) / PAGE_U64, data_page(b));
        }
    }
}
