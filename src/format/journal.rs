//! The journal's pages (format.md, "Journal").

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    BlockIndex, ENTRY_LEN, Entry, FileId, FormatError, Lsn, PAGE, SEAL_CIPHER_LEN, SealFrame, SessionNumber,
    VolumeId, check_crc, layout, put_crc, reserved,
};

/// The most records of a chunk.
pub const MAX_CHUNK_RECORDS: usize = 62;
/// The most payload pages of a chunk: one for each record.
pub const MAX_CHUNK_PAGES: usize = MAX_CHUNK_RECORDS;
const HEADER: &str = "journal header";
const CHUNK: &str = "journal chunk";
const RECORD: &str = "journal record";
const VERSION: u16 = 1;
const HEADER_USED: usize = 88;
const RECORD_LEN: usize = 64;
const RECORDS_AT: usize = PAGE - MAX_CHUNK_RECORDS * RECORD_LEN;
const CHUNK_USED: usize = 64;
const MAC_AT: usize = 32;
const SEAL_HEAD: u8 = 6;
const SEAL_TAIL: u8 = 8;
/// Bytes of a seal's ciphertext in the first of its two places.
const SEAL_SPLIT: usize = 16;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct HeaderLayout {
    magic: [u8; 8],
    version: U16,
    zero: U16,
    session: U32,
    volume_id: VolumeId,
    generation: U64,
    ring_len: U64,
    start_lsn: U64,
    start_offset: U64,
    reserved: U64,
    mac: [u8; 16],
}

/// One of the two header pages, written in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalHeader {
    /// The volume.
    pub volume_id: VolumeId,
    /// The mount that writes the journal.
    pub session: SessionNumber,
    /// Counts the header writes; the higher one holds.
    pub generation: u64,
    /// Length of the ring in bytes, behind the two header pages.
    pub ring_len: u64,
    /// The first chunk that has to be replayed.
    pub start_lsn: Lsn,
    /// Where it is, in bytes from the beginning of the ring.
    pub start_offset: u64,
    /// HMAC of the bytes before it under the journal key, cut to 16 bytes.
    pub mac: [u8; 16],
}

impl JournalHeader {
    /// Reads a page. The MAC is not checked.
    ///
    /// # Errors
    /// [`FormatError`] for a torn or damaged page.
    pub fn parse(page: &[u8]) -> Result<Self, FormatError> {
        let page = page.get(..PAGE).ok_or(FormatError::Short(HEADER))?;
        let layout: &HeaderLayout = layout(page, HEADER)?;
        if &layout.magic != b"KMSFSJNL" {
            return Err(FormatError::Magic(HEADER));
        }
        check_crc(page, HEADER)?;
        if layout.version.get() != VERSION {
            return Err(FormatError::Version(HEADER, layout.version.get()));
        }
        if layout.zero.get() != 0 || layout.reserved.get() != 0 {
            return Err(FormatError::Field(HEADER, "reserved bytes"));
        }
        reserved(&page[HEADER_USED..PAGE - 4], HEADER)?;
        let (ring_len, start_offset) = (layout.ring_len.get(), layout.start_offset.get());
        let page_len = PAGE as u64;
        if ring_len % page_len != 0 || start_offset % page_len != 0 || start_offset > ring_len {
            return Err(FormatError::Field(HEADER, "ring"));
        }
        Ok(Self {
            volume_id: layout.volume_id,
            session: SessionNumber(layout.session.get()),
            generation: layout.generation.get(),
            ring_len,
            start_lsn: Lsn(layout.start_lsn.get()),
            start_offset,
            mac: layout.mac,
        })
    }

    /// The stored page, with the MAC as it stands in `self`.
    pub fn encode(&self) -> [u8; PAGE] {
        let layout = HeaderLayout {
            magic: *b"KMSFSJNL",
            version: VERSION.into(),
            zero: U16::ZERO,
            session: self.session.0.into(),
            volume_id: self.volume_id,
            generation: self.generation.into(),
            ring_len: self.ring_len.into(),
            start_lsn: self.start_lsn.0.into(),
            start_offset: self.start_offset.into(),
            reserved: U64::ZERO,
            mac: self.mac,
        };
        let mut out = [0; PAGE];
        out[..HEADER_USED].copy_from_slice(layout.as_bytes());
        put_crc(&mut out);
        out
    }

    /// The bytes that the MAC covers.
    pub fn mac_input(&self) -> [u8; 72] {
        let mut out = [0; 72];
        out.copy_from_slice(&self.encode()[..72]);
        out
    }
}

/// How recovery finds a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRecord {
    /// Its id.
    pub file_id: FileId,
    /// Its inode number.
    pub ino: u64,
    /// Type of the file handle.
    pub handle_kind: i32,
    /// Length of the file handle in bytes; 0 if there is none.
    pub handle_len: u8,
    /// The file handle, zero-padded.
    pub handle: [u8; 24],
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordBody {
    /// The reference of this record stands for this file from here on.
    File(FileRecord),
    /// The block has this entry and the ciphertext of this payload page.
    Image {
        /// The block.
        block: BlockIndex,
        /// Its entry.
        entry: Entry,
        /// Index of the payload page with its ciphertext.
        page: u16,
        /// Plain size of the file afterwards, in bytes.
        size: u64,
    },
    /// The file is cut; the block that the new end falls into has a new image in the same record.
    Cut {
        /// Plain size afterwards, in bytes.
        size: u64,
        /// Entry and payload page of the last block, if it is cut inside.
        tail: Option<(Entry, u16)>,
    },
    /// The file is this long.
    Size {
        /// Plain size afterwards, in bytes.
        size: u64,
    },
    /// Whole blocks become holes.
    Punch {
        /// The first block.
        block: BlockIndex,
        /// Number of blocks.
        count: u64,
    },
    /// The seal of the state that the chunk leads to; takes two places.
    Seal(SealFrame),
    /// Everything up to this chunk is in place and durable for this file.
    Retire {
        /// The last chunk that is not to be replayed.
        lsn: Lsn,
    },
}

/// A record of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Number of the file within the journal, given by a [`RecordBody::File`] record.
    pub file_ref: u32,
    /// What it says.
    pub body: RecordBody,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RecordLayout {
    kind: u8,
    flags: u8,
    page: U16,
    file_ref: U32,
    place: U64,
    size: U64,
    entry: [u8; ENTRY_LEN],
    number: U64,
}

impl RecordLayout {
    fn new(kind: u8, file_ref: u32) -> Self {
        Self {
            kind,
            flags: 0,
            page: U16::ZERO,
            file_ref: file_ref.into(),
            place: U64::ZERO,
            size: U64::ZERO,
            entry: [0; ENTRY_LEN],
            number: U64::ZERO,
        }
    }
}

impl FileRecord {
    fn fill(&self, layout: &mut RecordLayout) {
        layout.flags = self.handle_len;
        layout.place = self.ino.into();
        layout.entry[..16].copy_from_slice(&self.file_id.0);
        layout.entry[16..].copy_from_slice(&self.handle[..16]);
        layout.size.as_mut_bytes().copy_from_slice(&self.handle[16..]);
        layout.number = u64::from(self.handle_kind.cast_unsigned()).into();
    }

    fn parse(layout: &RecordLayout) -> Result<Self, FormatError> {
        let (mut file_id, mut handle) = ([0; 16], [0; 24]);
        file_id.copy_from_slice(&layout.entry[..16]);
        handle[..16].copy_from_slice(&layout.entry[16..]);
        handle[16..].copy_from_slice(layout.size.as_bytes());
        let kind =
            u32::try_from(layout.number.get()).map_err(|_| FormatError::Field(RECORD, "handle type"))?;
        if usize::from(layout.flags) > handle.len() {
            return Err(FormatError::Field(RECORD, "handle length"));
        }
        Ok(Self {
            file_id: FileId(file_id),
            ino: layout.place.get(),
            handle_kind: kind.cast_signed(),
            handle_len: layout.flags,
            handle,
        })
    }
}

impl Record {
    fn layout(&self) -> RecordLayout {
        let mut layout = RecordLayout::new(0, self.file_ref);
        match &self.body {
            RecordBody::File(file) => {
                layout.kind = 1;
                file.fill(&mut layout);
            }
            RecordBody::Image { block, entry, page, size } => {
                layout.kind = 2;
                layout.place = block.0.into();
                layout.entry = Entry::encode(Some(entry));
                layout.page = (*page).into();
                layout.size = (*size).into();
            }
            RecordBody::Cut { size, tail } => {
                layout.kind = 3;
                layout.size = (*size).into();
                if let Some((entry, page)) = tail {
                    layout.entry = Entry::encode(Some(entry));
                    layout.page = (*page).into();
                }
            }
            RecordBody::Size { size } => {
                layout.kind = 4;
                layout.size = (*size).into();
            }
            RecordBody::Punch { block, count } => {
                layout.kind = 5;
                layout.place = block.0.into();
                layout.number = (*count).into();
            }
            RecordBody::Seal(frame) => {
                layout.kind = SEAL_HEAD;
                layout.place = frame.generation.into();
                layout.entry[..4].copy_from_slice(&frame.session.0.to_le_bytes());
                layout.entry[4..16].copy_from_slice(&frame.nonce);
                layout.entry[16..].copy_from_slice(&frame.tag);
                layout.size.as_mut_bytes().copy_from_slice(&frame.cipher[..8]);
                layout.number.as_mut_bytes().copy_from_slice(&frame.cipher[8..SEAL_SPLIT]);
            }
            RecordBody::Retire { lsn } => {
                layout.kind = 7;
                layout.number = lsn.0.into();
            }
        }
        layout
    }

    /// The second place of a record that takes two.
    fn second_layout(&self) -> Option<RecordLayout> {
        let RecordBody::Seal(frame) = &self.body else { return None };
        let mut layout = RecordLayout::new(SEAL_TAIL, self.file_ref);
        let cipher = &frame.cipher[SEAL_SPLIT..];
        layout.place.as_mut_bytes().copy_from_slice(&cipher[..8]);
        layout.size.as_mut_bytes().copy_from_slice(&cipher[8..16]);
        layout.entry.copy_from_slice(&cipher[16..]);
        Some(layout)
    }

    /// Number of 64-byte places that the record takes in a chunk.
    pub fn places(&self) -> usize {
        if matches!(self.body, RecordBody::Seal(_)) { 2 } else { 1 }
    }

    fn parse_seal(head: &RecordLayout, tail: &RecordLayout) -> SealFrame {
        let (mut nonce, mut tag, mut cipher) = ([0; 12], [0; 16], [0; SEAL_CIPHER_LEN]);
        let [a, b, c, d] = [head.entry[0], head.entry[1], head.entry[2], head.entry[3]];
        nonce.copy_from_slice(&head.entry[4..16]);
        tag.copy_from_slice(&head.entry[16..]);
        cipher[..8].copy_from_slice(head.size.as_bytes());
        cipher[8..SEAL_SPLIT].copy_from_slice(head.number.as_bytes());
        cipher[SEAL_SPLIT..SEAL_SPLIT + 8].copy_from_slice(tail.place.as_bytes());
        cipher[SEAL_SPLIT + 8..SEAL_SPLIT + 16].copy_from_slice(tail.size.as_bytes());
        cipher[SEAL_SPLIT + 16..].copy_from_slice(&tail.entry);
        let session = SessionNumber(u32::from_le_bytes([a, b, c, d]));
        SealFrame { session, generation: head.place.get(), nonce, cipher, tag }
    }

    /// Reads the record at the beginning of `layouts`, which is not empty.
    fn parse(layouts: &[RecordLayout], pages: u16) -> Result<Self, FormatError> {
        let layout = &layouts[0];
        let page = layout.page.get();
        let in_payload =
            |page: u16| if page < pages { Ok(page) } else { Err(FormatError::Field(RECORD, "payload page")) };
        let (block, size) = (BlockIndex(layout.place.get()), layout.size.get());
        let body = match layout.kind {
            1 => RecordBody::File(FileRecord::parse(layout)?),
            2 => {
                let entry = Entry::parse(&layout.entry)?.ok_or(FormatError::Field(RECORD, "entry"))?;
                RecordBody::Image { block, entry, page: in_payload(page)?, size }
            }
            3 => {
                let tail = match Entry::parse(&layout.entry)? {
                    Some(entry) => Some((entry, in_payload(page)?)),
                    None => None,
                };
                RecordBody::Cut { size, tail }
            }
            4 => RecordBody::Size { size },
            5 => RecordBody::Punch { block, count: layout.number.get() },
            SEAL_HEAD => {
                let tail = layouts.get(1).ok_or(FormatError::Field(RECORD, "seal"))?;
                RecordBody::Seal(Self::parse_seal(layout, tail))
            }
            7 => RecordBody::Retire { lsn: Lsn(layout.number.get()) },
            _ => return Err(FormatError::Field(RECORD, "type")),
        };
        let record = Self { file_ref: layout.file_ref.get(), body };
        let same = record.layout().as_bytes() == layout.as_bytes()
            && record.second_layout().is_none_or(|tail| tail.as_bytes() == layouts[1].as_bytes());
        if !same {
            return Err(FormatError::Field(RECORD, "reserved bytes"));
        }
        Ok(record)
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct ChunkLayout {
    magic: [u8; 8],
    lsn: U64,
    session: U32,
    record_count: U16,
    page_count: U16,
    bytes: U32,
    flags: U32,
    mac: [u8; 16],
    payload_tag: [u8; 16],
}

/// The header page of a chunk with its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkHeader {
    /// Position in the history.
    pub lsn: Lsn,
    /// The mount that wrote it.
    pub session: SessionNumber,
    /// Number of payload pages behind the header page.
    pub page_count: u16,
    /// The records.
    pub records: Vec<Record>,
    /// HMAC of the header page without it under the journal key, cut to 16 bytes.
    pub mac: [u8; 16],
    /// Tag of the payload under the payload key.
    pub payload_tag: [u8; 16],
}

/// A chunk: what is written as one atomic group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its header page.
    pub header: ChunkHeader,
    /// Its payload, whole pages.
    pub payload: Vec<u8>,
}

impl ChunkHeader {
    /// Reads a header page. MAC and tag are not checked: that needs the journal keys.
    ///
    /// # Errors
    /// [`FormatError`] for anything else.
    pub fn parse(page: &[u8]) -> Result<Self, FormatError> {
        let page = page.get(..PAGE).ok_or(FormatError::Short(CHUNK))?;
        let chunk: &ChunkLayout = layout(page, CHUNK)?;
        if &chunk.magic != b"KJCHUNK1" {
            return Err(FormatError::Magic(CHUNK));
        }
        let (count, pages) = (usize::from(chunk.record_count.get()), chunk.page_count.get());
        if count > MAX_CHUNK_RECORDS || usize::from(pages) > MAX_CHUNK_PAGES || chunk.flags.get() != 0 {
            return Err(FormatError::Field(CHUNK, "counts"));
        }
        if chunk.bytes.get() as usize != (1 + usize::from(pages)) * PAGE {
            return Err(FormatError::Field(CHUNK, "length"));
        }
        reserved(&page[CHUNK_USED..RECORDS_AT], CHUNK)?;
        let (used, rest) = page[RECORDS_AT..].split_at(count * RECORD_LEN);
        reserved(rest, CHUNK)?;
        let layouts = <[RecordLayout]>::ref_from_bytes(used).map_err(|_| FormatError::Short(RECORD))?;
        let (mut records, mut at) = (Vec::new(), 0);
        while at < layouts.len() {
            let record = Record::parse(&layouts[at..], pages)?;
            at += record.places();
            records.push(record);
        }
        Ok(Self {
            lsn: Lsn(chunk.lsn.get()),
            session: SessionNumber(chunk.session.get()),
            page_count: pages,
            records,
            mac: chunk.mac,
            payload_tag: chunk.payload_tag,
        })
    }

    /// The header page, with the MAC as it stands in `self`.
    ///
    /// # Errors
    /// [`FormatError::Field`] for more than [`MAX_CHUNK_RECORDS`] records or [`MAX_CHUNK_PAGES`] pages.
    pub fn encode(&self) -> Result<[u8; PAGE], FormatError> {
        let places: usize = self.records.iter().map(Record::places).sum();
        if places > MAX_CHUNK_RECORDS || usize::from(self.page_count) > MAX_CHUNK_PAGES {
            return Err(FormatError::Field(CHUNK, "counts"));
        }
        let layout = ChunkLayout {
            magic: *b"KJCHUNK1",
            lsn: self.lsn.0.into(),
            session: self.session.0.into(),
            record_count: (places as u16).into(),
            page_count: self.page_count.into(),
            bytes: ((1 + u32::from(self.page_count)) * PAGE as u32).into(),
            flags: U32::ZERO,
            mac: self.mac,
            payload_tag: self.payload_tag,
        };
        let mut out = [0; PAGE];
        out[..CHUNK_USED].copy_from_slice(layout.as_bytes());
        let layouts = self.records.iter().flat_map(|record| [Some(record.layout()), record.second_layout()]);
        for (place, layout) in out[RECORDS_AT..].chunks_exact_mut(RECORD_LEN).zip(layouts.flatten()) {
            place.copy_from_slice(layout.as_bytes());
        }
        Ok(out)
    }

    /// Puts `mac` into an encoded header page.
    pub fn put_mac(page: &mut [u8; PAGE], mac: &[u8; 16]) {
        page[MAC_AT..MAC_AT + 16].copy_from_slice(mac);
    }

    /// The parts of an encoded header page that the MAC covers.
    pub fn mac_input(page: &[u8; PAGE]) -> [&[u8]; 2] {
        [&page[..MAC_AT], &page[MAC_AT + 16..]]
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        (any::<u32>(), any::<[u8; 8]>(), any::<[u8; 16]>(), 1u16..=4096).prop_map(
            |(session, random, tag, len)| Entry { session: SessionNumber(session), random, tag, len },
        )
    }

    fn body() -> impl Strategy<Value = RecordBody> {
        let place = (any::<u64>().prop_map(BlockIndex), entry(), 0u16..4, any::<u64>());
        prop_oneof![
            (any::<[u8; 16]>(), any::<u64>(), any::<i32>(), 0u8..=24, any::<[u8; 24]>()).prop_map(
                |(id, ino, handle_kind, handle_len, handle)| RecordBody::File(FileRecord {
                    file_id: FileId(id),
                    ino,
                    handle_kind,
                    handle_len,
                    handle
                })
            ),
            place.prop_map(|(block, entry, page, size)| RecordBody::Image { block, entry, page, size }),
            (any::<u64>(), proptest::option::of((entry(), 0u16..4)))
                .prop_map(|(size, tail)| RecordBody::Cut { size, tail }),
            any::<u64>().prop_map(|size| RecordBody::Size { size }),
            (any::<u64>(), any::<u64>())
                .prop_map(|(block, count)| RecordBody::Punch { block: BlockIndex(block), count }),
            (any::<u64>(), any::<u32>(), any::<[u8; 12]>(), any::<[u8; 16]>(), any::<[u8; 32]>()).prop_map(
                |(generation, session, nonce, tag, half)| {
                    let mut cipher = [1; SEAL_CIPHER_LEN];
                    cipher[8..40].copy_from_slice(&half);
                    let session = SessionNumber(session);
                    RecordBody::Seal(SealFrame { session, generation, nonce, cipher, tag })
                }
            ),
            any::<u64>().prop_map(|lsn| RecordBody::Retire { lsn: Lsn(lsn) }),
        ]
    }

    proptest! {
        #[test]
        fn chunk_round_trip(bodies in vec((any::<u32>(), body()), 0..=MAX_CHUNK_RECORDS / 2), lsn: u64) {
            let records = bodies.into_iter().map(|(file_ref, body)| Record { file_ref, body }).collect();
            let header = ChunkHeader {
                lsn: Lsn(lsn),
                session: SessionNumber(3),
                page_count: 4,
                records,
                mac: [8; 16],
                payload_tag: [9; 16],
            };
            prop_assert_eq!(ChunkHeader::parse(&header.encode().unwrap()).unwrap(), header);
        }

        #[test]
        fn chunk_parse_is_total(tail in vec(any::<u8>(), PAGE - RECORDS_AT), count in 0u8..70) {
            let mut page = ChunkHeader {
                lsn: Lsn(1), session: SessionNumber(1), page_count: 4, records: vec![], mac: [0; 16],
                payload_tag: [0; 16],
            }.encode().unwrap();
            page[20] = count;
            page[RECORDS_AT..].copy_from_slice(&tail);
            let _ = ChunkHeader::parse(&page);
        }

        #[test]
        fn header_round_trip(start in 0u64..100, at in 0usize..PAGE) {
            let header = JournalHeader {
                volume_id: VolumeId([1; 16]),
                session: SessionNumber(2),
                generation: 3,
                ring_len: 4096 * 100,
                start_lsn: Lsn(5),
                start_offset: start * 4096,
                mac: [6; 16],
            };
            let mut page = header.encode();
            prop_assert_eq!(JournalHeader::parse(&page).unwrap(), header);
            page[at] ^= 1;
            prop_assert!(JournalHeader::parse(&page).is_err());
        }
    }
}
