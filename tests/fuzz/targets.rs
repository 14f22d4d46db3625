//! What is fuzzed: each function takes any bytes and panics only if something is wrong. `fuzz/` runs the same functions
//! under libFuzzer.

use kms_core::policy::{IdentityPolicy, KeyPolicy};
use kmsfs::config::VolumeConfig;
use kmsfs::format::geometry::{PlainSize, backing_size, plain_size};
use kmsfs::format::{
    ChunkHeader, DomainRecord, ENTRY_LEN, Entry, Header, Identity, JournalHeader, KeySlot, PAGE, SealFrame,
    SessionRecord, Superblock, decode_dir_id, encode_dir_id, parse_backing_name, parse_symlink_target,
    symlink_plain_len,
};

/// A function that is fuzzed.
pub(crate) type Target = fn(&[u8]);

/// All of them, by name.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("superblock", superblock),
    ("domain_record", domain_record),
    ("session_record", session_record),
    ("header", header),
    ("identity", identity),
    ("key_slot", key_slot),
    ("seal", seal),
    ("entry_page", entry_page),
    ("journal_header", journal_header),
    ("chunk", chunk),
    ("names", names),
    ("symlink_target", symlink_target),
    ("sizes", sizes),
    ("key_policy", key_policy),
    ("identity_policy", identity_policy),
    ("blob", blob),
];

/// `len` bytes with the right checksum at their end: the fuzzer should not have to guess that.
fn sound(data: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.resize(len, 0);
    let crc = crc32c::crc32c(&bytes[..len - 4]);
    bytes[len - 4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What was accepted is what would have been written: nothing in it is ignored.
fn accepted(bytes: &[u8], written: &[u8]) {
    assert!(bytes == written, "accepted bytes that nobody would write");
}

pub(crate) fn superblock(data: &[u8]) {
    let bytes = sound(data, PAGE);
    let _ = VolumeConfig::parse(data);
    if let Ok(parsed) = Superblock::parse(&bytes) {
        let mut written = parsed.encode();
        // A later minor version may differ in nothing that this one reads.
        written[10..12].copy_from_slice(&bytes[10..12]);
        accepted(&bytes[..4092], &written[..4092]);
    }
}

pub(crate) fn domain_record(data: &[u8]) {
    let bytes = sound(data, PAGE);
    let _ = DomainRecord::parse(data);
    if let Ok(parsed) = DomainRecord::parse(&bytes) {
        accepted(&bytes, &parsed.encode().expect("it was parsed"));
    }
}

pub(crate) fn session_record(data: &[u8]) {
    let bytes = sound(data, 64);
    let _ = SessionRecord::parse(data);
    if let Ok(parsed) = SessionRecord::parse(&bytes) {
        accepted(&bytes, &parsed.encode());
    }
}

pub(crate) fn header(data: &[u8]) {
    let mut page = data.to_vec();
    page.resize(PAGE, 0);
    for (at, len) in [(0, 512), (512, 1024), (1536, 1024), (2560, 512), (3072, 512)] {
        let part = sound(&page[at..at + len], len);
        page[at..at + len].copy_from_slice(&part);
    }
    let _ = Header::parse(data);
    if let Ok(parsed) = Header::parse(&page) {
        accepted(&page[..512], &parsed.identity.encode());
    }
}

pub(crate) fn identity(data: &[u8]) {
    let bytes = sound(data, 512);
    if let Ok(parsed) = Identity::parse(&bytes) {
        accepted(&bytes, &parsed.encode());
    }
}

pub(crate) fn key_slot(data: &[u8]) {
    let bytes = sound(data, 1024);
    let _ = KeySlot::parse(data);
    if let Ok(parsed) = KeySlot::parse(&bytes) {
        accepted(&bytes, &parsed.encode().expect("it was parsed"));
    }
}

pub(crate) fn seal(data: &[u8]) {
    let bytes = sound(data, 512);
    let _ = SealFrame::parse(data);
    if let Ok(Some(parsed)) = SealFrame::parse(&bytes) {
        accepted(&bytes, &parsed.encode());
    }
}

pub(crate) fn entry_page(data: &[u8]) {
    for bytes in data.chunks(ENTRY_LEN) {
        if let Ok(parsed) = Entry::parse(bytes) {
            accepted(&bytes[..ENTRY_LEN], &Entry::encode(parsed.as_ref()));
        }
    }
}

pub(crate) fn journal_header(data: &[u8]) {
    let bytes = sound(data, PAGE);
    let _ = JournalHeader::parse(data);
    if let Ok(parsed) = JournalHeader::parse(&bytes) {
        accepted(&bytes, &parsed.encode());
    }
}

pub(crate) fn chunk(data: &[u8]) {
    let mut page = data.to_vec();
    page.resize(PAGE, 0);
    let _ = ChunkHeader::parse(data);
    if let Ok(parsed) = ChunkHeader::parse(&page) {
        accepted(&page, &parsed.encode().expect("it was parsed"));
    }
}

pub(crate) fn names(data: &[u8]) {
    let _ = parse_backing_name(data);
    if let Ok((dir_id, tag, mac)) = decode_dir_id(data) {
        accepted(data, encode_dir_id(&dir_id, tag, &mac).as_bytes());
    }
}

pub(crate) fn symlink_target(data: &[u8]) {
    let _ = parse_symlink_target(data);
    let _ = symlink_plain_len(data.len() as u64);
}

pub(crate) fn sizes(data: &[u8]) {
    let mut number = [0; 8];
    let len = data.len().min(8);
    number[..len].copy_from_slice(&data[..len]);
    let size = u64::from_le_bytes(number) >> 1;
    if let PlainSize::Bytes(plain) = plain_size(size) {
        assert_eq!(backing_size(plain), size, "a size that is not its own");
    }
}

pub(crate) fn key_policy(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = KeyPolicy::parse(text);
    }
}

pub(crate) fn identity_policy(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = IdentityPolicy::parse(text);
    }
}

pub(crate) fn blob(data: &[u8]) {
    let _ = kms_core::blob::parse(data);
}
