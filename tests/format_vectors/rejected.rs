//! What a reader must reject: each line is one change to a vector that is sound, and the rule that it breaks.

use kmsfs::config::VolumeConfig;
use kmsfs::format::{
    ChunkHeader, DomainRecord, Entry, Identity, JournalHeader, KeySlot, NameMode, SealFrame, SessionEvent,
    SessionRecord, decode_dir_id, parse_backing_name, parse_symlink_target,
};
use serde_json::{Value, json};

use super::made;

/// Name of the structure, where it starts in its vector, its length, and whether a text in it ends with a crc.
struct Structure {
    name: &'static str,
    at: usize,
    len: usize,
    crc: bool,
}

const SUPERBLOCK: Structure = Structure { name: "superblock", at: 0, len: 4096, crc: true };
const DOMAIN: Structure = Structure { name: "domain record", at: 0, len: 4096, crc: true };
const SESSION: Structure = Structure { name: "session record", at: 0, len: 64, crc: true };
const IDENTITY: Structure = Structure { name: "identity", at: 0, len: 512, crc: true };
const SLOT: Structure = Structure { name: "key slot", at: 512, len: 1024, crc: true };
const SEAL: Structure = Structure { name: "seal", at: 2560, len: 512, crc: true };
const ENTRY: Structure = Structure { name: "entry", at: 3584, len: 32, crc: false };
const JOURNAL: Structure = Structure { name: "journal header", at: 0, len: 4096, crc: true };
const CHUNK: Structure = Structure { name: "chunk", at: 0, len: 4096, crc: false };

/// Structure, rule, defect, offset, the bytes there instead. The crc is made right again.
type Line = (&'static Structure, &'static str, &'static str, usize, &'static [u8]);

const LINES: &[Line] = &[
    (&SUPERBLOCK, "SB-1", "another magic", 0, b"X"),
    (&SUPERBLOCK, "SB-1", "major version 2", 8, &[2]),
    (&SUPERBLOCK, "SB-1", "another length", 12, &[1]),
    (&SUPERBLOCK, "SB-2", "an unknown incompat bit", 32, &[1]),
    (&SUPERBLOCK, "SB-1", "an unknown suite", 56, &[2]),
    (&SUPERBLOCK, "SB-1", "another block size", 58, &[13]),
    (&SUPERBLOCK, "SB-1", "another group size", 59, &[8]),
    (&SUPERBLOCK, "SB-1", "another head size", 60, &[5]),
    (&SUPERBLOCK, "SB-1", "an unknown name mode", 61, &[2]),
    (&SUPERBLOCK, "SB-1", "an unknown name codec", 62, &[2]),
    (&SUPERBLOCK, "SB-1", "another padding of names", 63, &[32]),
    (&SUPERBLOCK, "CV-2", "a reserved byte before the MAC", 88, &[1]),
    (&SUPERBLOCK, "CV-2", "a reserved byte behind the MAC", 4064, &[1]),
    (&DOMAIN, "DM-1", "another magic", 0, b"X"),
    (&DOMAIN, "DM-1", "version 2", 8, &[2]),
    (&DOMAIN, "DM-1", "no key", 10, &[0]),
    (&DOMAIN, "DM-1", "nine keys", 10, &[9]),
    (&DOMAIN, "CV-2", "a reserved byte", 11, &[1]),
    (&DOMAIN, "DM-1", "an ARN that does not fit", 96, &[0xff, 0xff]),
    (&DOMAIN, "DM-1", "an ARN that is not UTF-8", 120, &[0xff]),
    (&DOMAIN, "CV-2", "a reserved byte of a key", 100, &[1]),
    (&DOMAIN, "CV-2", "a byte behind the last key", 4031, &[1]),
    (&SESSION, "SE-1", "an unknown event", 4, &[4]),
    (&SESSION, "SE-1", "a reserved byte", 5, &[1]),
    (&SESSION, "SE-1", "a reserved byte behind the MAC", 48, &[1]),
    (&IDENTITY, "FH-1", "another magic", 0, b"X"),
    (&IDENTITY, "FH-1", "version 2", 8, &[2]),
    (&IDENTITY, "FH-1", "an unknown suite", 10, &[2]),
    (&IDENTITY, "FH-1", "another block size", 12, &[13]),
    (&IDENTITY, "FH-1", "a flag", 13, &[1]),
    (&IDENTITY, "CV-2", "a name binding", 64, &[1]),
    (&IDENTITY, "CV-2", "a reserved byte", 507, &[1]),
    (&SLOT, "KS-1", "another magic", 0, b"X"),
    (&SLOT, "KS-1", "version 2", 4, &[2]),
    (&SLOT, "KS-1", "two data keys", 6, &[2]),
    (&SLOT, "KS-1", "no recipient", 7, &[0]),
    (&SLOT, "KS-1", "another active data key", 16, &[1]),
    (&SLOT, "KS-1", "a flag", 20, &[1]),
    (&SLOT, "CV-2", "a second commitment", 64, &[1]),
    (&SLOT, "KS-1", "an unknown kind of recipient", 96, &[3]),
    (&SLOT, "KS-1", "another data key of a recipient", 97, &[1]),
    (&SLOT, "KS-1", "a recipient that does not fit", 98, &[0xff, 0xff]),
    (&SLOT, "CV-2", "a byte behind the last recipient", 975, &[1]),
    (&SLOT, "CV-2", "a reserved byte", 1008, &[1]),
    (&SEAL, "SL-1", "another magic", 0, b"X"),
    (&SEAL, "SL-1", "a reserved byte", 108, &[1]),
    (&ENTRY, "EN-1", "no flag", 30, &[0]),
    (&ENTRY, "EN-1", "an unknown flag", 30, &[3]),
    (&ENTRY, "EN-1", "length 0", 28, &[0, 0]),
    (&ENTRY, "EN-1", "length 4097", 28, &[1, 16]),
    (&JOURNAL, "JN-1", "another magic", 0, b"X"),
    (&JOURNAL, "JN-1", "version 2", 8, &[2]),
    (&JOURNAL, "CV-2", "a reserved byte", 10, &[1]),
    (&JOURNAL, "JN-1", "a ring that is not whole pages", 40, &[1]),
    (&JOURNAL, "JN-1", "a start that is no page", 56, &[1]),
    (&JOURNAL, "JN-1", "a start behind the ring", 56, &[0, 0, 0, 1]),
    (&JOURNAL, "CV-2", "a reserved field", 64, &[1]),
    (&JOURNAL, "CV-2", "a reserved byte behind the MAC", 88, &[1]),
    (&CHUNK, "JN-2", "another magic", 0, b"X"),
    (&CHUNK, "JN-2", "63 records", 20, &[63]),
    (&CHUNK, "JN-2", "63 pages", 22, &[63]),
    (&CHUNK, "JN-2", "another length", 24, &[1]),
    (&CHUNK, "JN-2", "a flag", 28, &[1]),
    (&CHUNK, "CV-2", "a reserved byte", 64, &[1]),
    (&CHUNK, "CV-2", "a byte behind the last record", 4095, &[1]),
    (&CHUNK, "JN-3", "an unknown kind", 128, &[9]),
    (&CHUNK, "JN-3", "a handle longer than its field", 129, &[25]),
    (&CHUNK, "JN-3", "a payload page that is not there", 194, &[2]),
    (&CHUNK, "JN-3", "a malformed entry", 192 + 24 + 30, &[2]),
    (&CHUNK, "JN-3", "a field that its kind has not", 256 + 8, &[1]),
];

/// Texts: where they stand, rule, defect, text.
const TEXTS: &[(&str, &str, &str, &str)] = &[
    ("directory id", "NM-1", "another first character", "2ZGlyZWN0b3J5IGlkIDE2YmRvbWEAAAAAAAAAAAAAAAA"),
    ("directory id", "NM-1", "too short", "1ZGlyZWN0b3J5IGlkIDE2Yg"),
    ("directory id", "CV-4", "padding", "1ZGlyZWN0b3J5IGlkIDE2YmRvbWEAAAAAAAAAAAAAAAA="),
    ("backing name", "CV-4", "the standard alphabet", "ab+/"),
    ("backing name", "CV-4", "bits behind the last byte", "ab"),
    ("backing name", "NM-4", "a digest that is too short", ".labcd"),
    ("symbolic link target", "NM-6", "another first character", "3AAAA"),
    ("symbolic link target", "NM-6", "nothing", ""),
    ("symbolic link target", "NM-6", "a kept target without a length", "2AAAAAAAAAAAAAAAAAAAAAA"),
];

fn sound(structure: &Structure) -> Vec<u8> {
    let whole = match structure.name {
        "superblock" => made::superblock_bytes(NameMode::Encrypted),
        "domain record" => made::domain_record_bytes(),
        "session record" => made::session_bytes(SessionEvent::Start),
        "journal header" => made::journal_header_bytes(),
        "chunk" => made::chunk_bytes(),
        _ => made::header_bytes(),
    };
    whole[structure.at..structure.at + structure.len].to_vec()
}

fn is_sound(name: &str, bytes: &[u8]) -> bool {
    match name {
        "superblock" => VolumeConfig::parse(bytes).is_ok(),
        "domain record" => DomainRecord::parse(bytes).is_ok(),
        "session record" => SessionRecord::parse(bytes).is_ok(),
        "identity" => Identity::parse(bytes).is_ok(),
        "key slot" => KeySlot::parse(bytes).is_ok(),
        "seal" => SealFrame::parse(bytes).is_ok_and(|seal| seal.is_some()),
        "entry" => Entry::parse(bytes).is_ok_and(|entry| entry.is_some()),
        "journal header" => JournalHeader::parse(bytes).is_ok(),
        "chunk" => ChunkHeader::parse(bytes).is_ok(),
        other => panic!("{other}"),
    }
}

fn is_sound_text(place: &str, text: &str) -> bool {
    match place {
        "directory id" => decode_dir_id(text.as_bytes()).is_ok(),
        "backing name" => parse_backing_name(text.as_bytes()).is_ok(),
        "symbolic link target" => parse_symlink_target(text.as_bytes()).is_ok(),
        other => panic!("{other}"),
    }
}

fn put_crc(bytes: &mut [u8]) {
    let at = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..at]);
    bytes[at..].copy_from_slice(&crc.to_le_bytes());
}

fn vector_of(structure: &Structure) -> &'static str {
    match structure.name {
        "superblock" => "superblock.json encrypted_names",
        "domain record" => "domain_record.json record",
        "session record" => "sessions.json start",
        "journal header" => "journal.json header",
        "chunk" => "journal.json chunk",
        _ => "file.json backing_file",
    }
}

pub(crate) fn table() -> Value {
    let line = |(structure, rule, defect, offset, bytes): &Line| {
        let bytes: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({
            "structure": structure.name,
            "vector": vector_of(structure),
            "starts_at": structure.at,
            "length": structure.len,
            "fix_crc": structure.crc,
            "rule": rule,
            "defect": defect,
            "offset": offset,
            "bytes": bytes,
        })
    };
    let text = |(place, rule, defect, text): &(&str, &str, &str, &str)| json!({ "where": place, "rule": rule, "defect": defect, "text": text });
    json!({
        "note": "each line: the vector with these bytes at this offset of the structure, its crc made right again, is to be rejected",
        "changes": LINES.iter().map(line).collect::<Vec<_>>(),
        "texts": TEXTS.iter().map(text).collect::<Vec<_>>(),
    })
}

pub(crate) fn check() {
    let page = include_str!("../../docs/format.md");
    for (structure, rule, defect, offset, bytes) in LINES {
        assert!(page.contains(&format!("[{rule}]")), "{rule} is a rule of the format page");
        let mut changed = sound(structure);
        assert!(is_sound(structure.name, &changed), "{}", structure.name);
        assert_ne!(&changed[*offset..offset + bytes.len()], *bytes, "{}: {defect}", structure.name);
        changed[*offset..offset + bytes.len()].copy_from_slice(bytes);
        if structure.crc {
            put_crc(&mut changed);
        }
        assert!(!is_sound(structure.name, &changed), "[{rule}] {}: {defect}", structure.name);
        if structure.crc {
            let mut torn = sound(structure);
            torn[structure.len - 1] ^= 1;
            assert!(!is_sound(structure.name, &torn), "{}: a wrong crc", structure.name);
        }
    }
    for (place, rule, defect, text) in TEXTS {
        assert!(page.contains(&format!("[{rule}]")), "{rule} is a rule of the format page");
        assert!(!is_sound_text(place, text), "[{rule}] {place}: {defect}");
    }
    assert!(is_sound_text("directory id", &made::dir_id_target()));
}
