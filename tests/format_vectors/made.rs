//! The vectors, made by the code of the library.

use std::ffi::OsStr;
use std::sync::Arc;

use kmsfs::config::VolumeConfig;
use kmsfs::crypto::{Aead, DataKey, DomainKey, DomainKeys, EntrySum, FileKeys, SecretKey};
use kmsfs::format::geometry::{PlainSize, backing_size, data_offset, entry_offset, plain_size};
use kmsfs::format::{
    BlockAad, BlockIndex, ChunkHeader, DirId, DomainId, DomainKeyWrap, DomainRecord, Entry, FileId,
    FileRecord, Header, Identity, JournalHeader, KeyReference, KeySlot, Lsn, NameMode, PAGE, Recipient,
    RecipientKind, Record, RecordBody, SealBody, SealFrame, SessionEvent, SessionNumber, SessionRecord,
    VolumeId, encode_dir_id, long_symlink_target, symlink_target,
};
use kmsfs::keys::{KeyError, key_id_of};
use kmsfs::names::{DirNames, DomainSource, PlainEntry, Targets, XattrSealer, read_target};
use kmsfs::store::memory::MemoryStore;
use kmsfs::store::{BackingStore, NodeRef};
use serde_json::{Value, json};

const VOLUME: VolumeId = VolumeId(*b"volume id 16 byt");
const DOMAIN: DomainId = DomainId(*b"domain id 16 byt");
const FILE: FileId = FileId(*b"file id 16 bytes");
const DIRECTORY: DirId = DirId(*b"directory id 16b");
const DATA_KEY: [u8; 32] = *b"the data key, 32 bytes, not used";
const SECRET: [u8; 32] = *b"the domain secret, not used else";
const NONCE: [u8; 12] = *b"nonce 12 byt";
const ARN: &str = "arn:aws:kms:local:000000000000:key/11111111-2222-3333-4444-555555555555";
const WRAPPED: &[u8] = b"what the KMS made of a secret; opaque";
const TIME: u64 = 1_700_000_000;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(bytes: &[u8]) -> SecretKey {
    SecretKey::from_slice(bytes).unwrap()
}

fn file_keys() -> FileKeys {
    FileKeys::derive(&DataKey::new(key(&DATA_KEY)), &VOLUME.0, &FILE.0)
}

fn domain_keys() -> DomainKeys {
    DomainKeys::derive(&key(&SECRET), &VOLUME.0, &DOMAIN.0)
}

/// What a key does to fixed bytes, because a key itself cannot be asked for.
fn under(aead: &Aead) -> String {
    hex(aead.seal_value_with(&NONCE, b"aad", b"plain"))
}

pub(crate) fn keys() -> Value {
    let (file, domain) = (file_keys(), domain_keys());
    json!({
        "note": "sealed: nonce || tag || ciphertext of \"plain\" with aad \"aad\"; mac: HMAC of \"message\"; journal_payload_tag: of \"message\" in chunk 4 of session 7; term: F(7, 16 bytes of 0x05)",
        "nonce": hex(NONCE),
        "volume_id": VOLUME.to_string(),
        "file": {
            "file_id": FILE.to_string(),
            "data_key": hex(DATA_KEY),
            "content_sealed": under(&file.content),
            "seal_sealed": under(&file.seal),
            "xattr_sealed": under(&file.xattr),
            "sum_term": hex(file.sum.term(7, &[5; 16]).to_bytes()),
            "header_mac": hex(file.header.mac32(&[b"message"])),
            "commitment": hex(file.commitment),
        },
        "domain": {
            "domain_id": DOMAIN.to_string(),
            "secret": hex(SECRET),
            "name_sealed": under(&domain.name),
            "symlink_sealed": under(&domain.symlink),
            "xattr_sealed": under(&domain.xattr),
            "mac_mac": hex(domain.mac.mac32(&[b"message"])),
            "journal_mac": hex(domain.journal.mac.mac32(&[b"message"])),
            "journal_payload_tag": hex(domain.journal.payload_tag(7, 4, b"message")),
            "commitment": hex(domain.commitment),
        },
        "key_id": { "arn": ARN, "key_id": hex(key_id_of(ARN)) },
    })
}

pub(crate) fn superblock_bytes(mode: NameMode) -> Vec<u8> {
    VolumeConfig::new(VOLUME, mode, DOMAIN, TIME).sealed(&domain_keys().mac).encode().to_vec()
}

pub(crate) fn superblock() -> Value {
    json!({
        "volume_id": VOLUME.to_string(),
        "root_domain": DOMAIN.to_string(),
        "secret": hex(SECRET),
        "created": TIME,
        "encrypted_names": hex(superblock_bytes(NameMode::Encrypted)),
        "plain_names": hex(superblock_bytes(NameMode::Plain)),
    })
}

/// Where the second recipient of the vector is.
const PLACE: &str = "eu-central-1 https://kms.example:4599";
const FORMER: &str = "arn:aws:kms:local:000000000000:key/former";
const ESCROW: &str = "arn:aws:kms:eu-central-1:111122223333:key/66666666-7777-8888-9999-000000000000";

fn reference(arn: &str, wrapped_secret: &[u8], place: &str) -> KeyReference {
    let (arn, place) = (arn.to_owned(), place.to_owned());
    KeyReference { key_id: key_id_of(&arn), arn, wrapped_secret: wrapped_secret.to_vec(), place }
}

pub(crate) fn domain_record_bytes() -> Vec<u8> {
    record_bytes(vec![reference(ARN, WRAPPED, ""), reference(FORMER, &[], "")], Vec::new())
}

/// Two recipients, one of them elsewhere.
pub(crate) fn recipients_record_bytes() -> Vec<u8> {
    record_bytes(vec![reference(ARN, WRAPPED, ""), reference(ESCROW, WRAPPED, PLACE)], Vec::new())
}

/// What the wrap of a data key in epoch 2 is bound to.
fn bound_to() -> Vec<u8> {
    [&VOLUME.0[..], &DOMAIN.0, &FILE.0, &2_u32.to_le_bytes()].concat()
}

fn domain_key() -> DomainKey {
    DomainKey::derive(&key(&SECRET), &VOLUME.0, &DOMAIN.0, 2)
}

/// A domain key of the present epoch.
pub(crate) fn domain_key_record_bytes() -> Vec<u8> {
    let (key_id, wrapped) = (key_id_of(ARN), WRAPPED.to_vec());
    let wrap = DomainKeyWrap { epoch: 2, key_id, domain_key_id: domain_key().id, wrapped };
    record_bytes(vec![reference(ARN, WRAPPED, "")], vec![wrap])
}

fn record_bytes(references: Vec<KeyReference>, wraps: Vec<DomainKeyWrap>) -> Vec<u8> {
    let keys = domain_keys();
    let mut record = DomainRecord {
        volume_id: VOLUME,
        domain_id: DOMAIN,
        generation: 3,
        epoch: 2,
        time: TIME,
        commitment: keys.commitment,
        keys: references,
        domain_keys: wraps,
        mac: [0; 32],
    };
    record.mac = keys.mac.mac32(&[&record.mac_input().unwrap()]);
    record.encode().unwrap().to_vec()
}

pub(crate) fn domain_record() -> Value {
    json!({
        "volume_id": VOLUME.to_string(),
        "domain_id": DOMAIN.to_string(),
        "secret": hex(SECRET),
        "generation": 3,
        "epoch": 2,
        "time": TIME,
        "arns": [ARN, FORMER],
        "wrapped_secret": hex(WRAPPED),
        "record": hex(domain_record_bytes()),
        "domain_key": {
            "secret": hex(SECRET),
            "epoch": 2,
            "id": hex(domain_key().id),
            "data_key": hex(DATA_KEY),
            "wrapped_data_key": hex(domain_key().wrap_with(&NONCE, &bound_to(), &DataKey::new(key(&DATA_KEY)))),
            "record": hex(domain_key_record_bytes()),
        },
        "recipients": { "arns": [ARN, ESCROW], "places": ["", PLACE], "record": hex(recipients_record_bytes()) },
    })
}

pub(crate) fn session_bytes(event: SessionEvent) -> Vec<u8> {
    let session = SessionNumber(7);
    let mut record =
        SessionRecord { session, event, time: TIME, host: *b"host\0\0\0\0\0\0\0\0\0\0\0\0", mac: [0; 16] };
    record.mac = domain_keys().mac.mac16(&[&record.mac_input()]);
    record.encode().to_vec()
}

pub(crate) fn sessions() -> Value {
    json!({
        "volume_id": VOLUME.to_string(),
        "root_domain": DOMAIN.to_string(),
        "secret": hex(SECRET),
        "session": 7,
        "time": TIME,
        "host": "host",
        "start": hex(session_bytes(SessionEvent::Start)),
        "clean": hex(session_bytes(SessionEvent::Clean)),
        "recovered": hex(session_bytes(SessionEvent::Recovered)),
    })
}

fn identity() -> Identity {
    Identity { volume_id: VOLUME, file_id: FILE, domain_id: DOMAIN }
}

fn slot(keys: &FileKeys) -> KeySlot {
    let recipient =
        Recipient { kind: RecipientKind::Kms, epoch: 2, key_id: key_id_of(ARN), payload: WRAPPED.to_vec() };
    let mut slot = KeySlot {
        generation: 1,
        time: TIME,
        commitment: keys.commitment,
        recipients: vec![recipient],
        mac: [0; 32],
    };
    slot.mac = keys.header.mac32(&[&identity().encode(), &slot.mac_input().unwrap()]);
    slot
}

/// A block as it is stored: its entry and its ciphertext.
fn block(keys: &FileKeys, index: u64, session: u32, plain: &[u8]) -> (Entry, Vec<u8>) {
    let len = plain.len() as u16;
    let mut entry = Entry { session: SessionNumber(session), random: *b"random 8", tag: [0; 16], len };
    entry.random[0] ^= index as u8;
    let mut cipher = vec![0; plain.len()];
    let aad = BlockAad::new(BlockIndex(index), len);
    entry.tag = keys.content.seal(&entry.nonce(), aad.bytes(), plain, &mut cipher);
    (entry, cipher)
}

fn seal(keys: &FileKeys, body: &SealBody) -> SealFrame {
    let (session, generation) = (SessionNumber(7), 5u64);
    let mut frame = SealFrame { session, generation, nonce: NONCE, cipher: [0; 64], tag: [0; 16] };
    let aad = [&FILE.0[..], &session.0.to_le_bytes(), &generation.to_le_bytes()].concat();
    frame.tag = keys.seal.seal(&NONCE, &aad, &body.encode(), &mut frame.cipher);
    frame
}

fn file_plain() -> Vec<u8> {
    (0..5000u32).map(|at| (at * 7 % 251) as u8).collect()
}

/// The blocks of the file of the vectors: one of an earlier session, one of the seal's.
fn blocks(keys: &FileKeys) -> [(Entry, Vec<u8>); 2] {
    let plain = file_plain();
    [block(keys, 0, 6, &plain[..PAGE]), block(keys, 1, 7, &plain[PAGE..])]
}

fn seal_body(keys: &FileKeys) -> SealBody {
    let [(first, _), (second, _)] = blocks(keys);
    SealBody {
        size: 5000,
        present: 2,
        sum_old: (EntrySum::default() + keys.sum.term(0, &first.tag)).to_bytes(),
        sum_cur: (EntrySum::default() + keys.sum.term(1, &second.tag)).to_bytes(),
        applied_lsn: 9,
    }
}

pub(crate) fn header_bytes() -> Vec<u8> {
    let keys = file_keys();
    let entries = blocks(&keys).map(|(entry, _)| entry);
    let frame = seal(&keys, &seal_body(&keys));
    Header::encode_new(&identity(), &slot(&keys), &frame, &entries).unwrap().to_vec()
}

pub(crate) fn file() -> Value {
    let keys = file_keys();
    let ciphers = blocks(&keys).map(|(_, cipher)| cipher);
    let body = seal_body(&keys);
    let aad = BlockAad::new(BlockIndex(1), 904);
    json!({
        "volume_id": VOLUME.to_string(),
        "domain_id": DOMAIN.to_string(),
        "file_id": FILE.to_string(),
        "data_key": hex(DATA_KEY),
        "payload": hex(WRAPPED),
        "plain": "5000 bytes; byte n is 7 n mod 251",
        "seal_body": {
            "size": body.size,
            "present": body.present,
            "sum_old": hex(body.sum_old),
            "sum_cur": hex(body.sum_cur),
            "applied_lsn": body.applied_lsn,
            "bytes": hex(body.encode()),
        },
        "block_1_aad": hex(aad.bytes()),
        "backing_file": hex([header_bytes(), ciphers.concat()].concat()),
    })
}

pub(crate) fn geometry() -> Value {
    let blocks = [0u64, 1, 15, 16, 17, 143, 144, 145, 271, 272, 1 << 20, 1 << 40];
    let sizes = [0u64, 1, 4095, 4096, 4097, 65_536, 65_537, 589_824, 589_825, 1 << 30, (1 << 40) + 5];
    let ragged = [1u64, 4095, 17 * 4096 + 1, 18 * 4096, (17 + 129) * 4096 + 100];
    let places = blocks.map(|index| {
        let index = BlockIndex(index);
        json!({ "block": index.0, "data": data_offset(index), "entry": entry_offset(index) })
    });
    let sizes = sizes.map(|plain| {
        assert_eq!(plain_size(backing_size(plain)), PlainSize::Bytes(plain));
        json!({ "plain": plain, "backing": backing_size(plain) })
    });
    let ragged = ragged.map(|backing| match plain_size(backing) {
        PlainSize::Ragged(plain) => json!({ "backing": backing, "ragged_plain": plain }),
        other => panic!("{backing}: {other:?}"),
    });
    json!({ "blocks": places, "sizes": sizes, "ragged": ragged })
}

struct OneDomain(Arc<DomainKeys>);

impl DomainSource for OneDomain {
    fn root_domain(&self) -> DomainId {
        DOMAIN
    }

    fn domain_keys(&self, _id: DomainId) -> Result<Arc<DomainKeys>, KeyError> {
        Ok(self.0.clone())
    }

    fn domains_with_tag(&self, _tag: [u8; 4]) -> Vec<DomainId> {
        vec![DOMAIN]
    }
}

pub(crate) fn dir_id_target() -> String {
    let mut tag = [0; 4];
    tag.copy_from_slice(&DOMAIN.0[..4]);
    let whole = domain_keys().mac.mac32(&[b"kmsfs dir id", &DIRECTORY.0, &tag]);
    let mut mac = [0; 12];
    mac.copy_from_slice(&whole[..12]);
    encode_dir_id(&DIRECTORY, tag, &mac)
}

/// A directory with the fixed id, read by the code that reads every directory.
fn directory() -> (NodeRef, DirNames) {
    let root = MemoryStore::new().root();
    root.make_symlink(OsStr::new(".k"), dir_id_target().as_bytes()).unwrap();
    let source = OneDomain(Arc::new(domain_keys()));
    let names = DirNames::load(&*root, &source, NameMode::Encrypted, DOMAIN, false).unwrap();
    (root, names)
}

fn name_vector(node: &NodeRef, names: &DirNames, plain: &str) -> Value {
    let entry = names.encrypt(OsStr::new(plain)).unwrap();
    let mut vector = json!({ "plain": plain, "backing": entry.name.to_str().unwrap() });
    if let Some(long) = &entry.long {
        node.make_symlink(&long.link, long.target.as_bytes()).unwrap();
        vector["link"] = json!(long.link.to_str().unwrap());
        vector["link_target"] = json!(long.target);
    }
    let read = names.decrypt(&**node, entry.name.as_encoded_bytes()).unwrap();
    assert_eq!(read, PlainEntry::Name(plain.into()));
    vector
}

fn link_vectors(keys: &DomainKeys) -> Value {
    let root = MemoryStore::new().root();
    let targets = Targets::new(root.clone());
    let short = b"../some/where";
    let stored = symlink_target(&keys.symlink.seal_value_with(&NONCE, b"l1", short)).unwrap();
    assert_eq!(read_target(&targets, keys, stored.as_bytes()).unwrap(), short);
    let (id, long) = (*b"target id 16 byt", "/long".repeat(800));
    let kept = keys.symlink.seal_value_with(&NONCE, &[&b"l2"[..], &id].concat(), long.as_bytes());
    let link = long_symlink_target(&id, long.len() as u16);
    let file_name = "dGFyZ2V0IGlkIDE2IGJ5dA";
    root.create_file(OsStr::new(file_name), 0o600).unwrap().1.write_at(&kept, 0).unwrap();
    assert_eq!(read_target(&targets, keys, link.as_bytes()).unwrap(), long.as_bytes());
    json!({
        "nonce": hex(NONCE),
        "short": { "target": "../some/where", "backing": stored },
        "kept": {
            "target": "\"/long\" 800 times",
            "id": hex(id),
            "backing": link,
            "file_name": file_name,
            "file": hex(kept),
        },
    })
}

pub(crate) fn names() -> Value {
    let (node, names) = directory();
    let plain =
        ["a", "exactly 16 bytes", "seventeen bytes..", &"x".repeat(160), &"x".repeat(161), &"y".repeat(255)];
    let vectors: Vec<Value> = plain.iter().map(|plain| name_vector(&node, &names, plain)).collect();
    json!({
        "volume_id": VOLUME.to_string(),
        "domain_id": DOMAIN.to_string(),
        "secret": hex(SECRET),
        "dir_id": DIRECTORY.to_string(),
        "dir_id_target": dir_id_target(),
        "names": vectors,
        "symlinks": link_vectors(names.keys()),
    })
}

fn xattr_vector(key: &Aead, context: &[u8], name: &str) -> Value {
    let sealer = XattrSealer::new(key, context);
    let stored = sealer.seal_name(OsStr::new(name)).unwrap();
    let aad = [&b"xv"[..], context, stored.as_encoded_bytes()].concat();
    let value = key.seal_value_with(&NONCE, &aad, b"some value");
    assert_eq!(sealer.open_value(&stored, &value).unwrap(), b"some value");
    assert_eq!(sealer.open_name(stored.as_encoded_bytes()).unwrap(), name);
    json!({
        "name": name,
        "context": hex(context),
        "stored_name": stored.to_str().unwrap(),
        "value": "some value",
        "stored_value": hex(value),
    })
}

pub(crate) fn xattrs() -> Value {
    let (file, domain) = (file_keys(), domain_keys());
    json!({
        "volume_id": VOLUME.to_string(),
        "file_id": FILE.to_string(),
        "data_key": hex(DATA_KEY),
        "domain_id": DOMAIN.to_string(),
        "secret": hex(SECRET),
        "nonce": hex(NONCE),
        "of_a_file": xattr_vector(&file.xattr, &[], "user.comment"),
        "of_a_directory": xattr_vector(&domain.xattr, &DIRECTORY.0, "user.comment"),
        "of_a_pipe": xattr_vector(&domain.xattr, &[], "trusted.comment"),
    })
}

pub(crate) fn journal_header_bytes() -> Vec<u8> {
    let mut header = JournalHeader {
        volume_id: VOLUME,
        session: SessionNumber(7),
        generation: 3,
        ring_len: 1 << 20,
        start_lsn: Lsn(4),
        start_offset: 8192,
        mac: [0; 16],
    };
    header.mac = domain_keys().journal.mac.mac16(&[&header.mac_input()]);
    header.encode().to_vec()
}

/// One chunk with a record of every kind.
pub(crate) fn chunk_bytes() -> Vec<u8> {
    let keys = file_keys();
    let [(first, first_cipher), (second, second_cipher)] = blocks(&keys);
    let mut payload = vec![0; 2 * PAGE];
    payload[..first_cipher.len()].copy_from_slice(&first_cipher);
    payload[PAGE..PAGE + second_cipher.len()].copy_from_slice(&second_cipher);
    let file = FileRecord {
        file_id: FILE,
        ino: 12,
        handle_kind: 1,
        handle_len: 8,
        handle: *b"handle 8\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    };
    let bodies = [
        RecordBody::File(file),
        RecordBody::Image { block: BlockIndex(0), entry: first, page: 0, size: 8192 },
        RecordBody::Size { size: 9000 },
        RecordBody::Punch { block: BlockIndex(2), count: 1 },
        RecordBody::Cut { size: 5000, tail: Some((second, 1)) },
        RecordBody::Cut { size: 5000, tail: None },
        RecordBody::Retire { lsn: Lsn(3) },
        RecordBody::Seal(seal(&keys, &seal_body(&keys))),
    ];
    let header = ChunkHeader {
        lsn: Lsn(4),
        session: SessionNumber(7),
        page_count: 2,
        records: bodies.map(|body| Record { file_ref: 1, body }).to_vec(),
        mac: [0; 16],
        payload_tag: domain_keys().journal.payload_tag(7, 4, &payload),
    };
    let mut page = header.encode().unwrap();
    let mac = domain_keys().journal.mac.mac16(&ChunkHeader::mac_input(&page));
    ChunkHeader::put_mac(&mut page, &mac);
    [&page[..], &payload].concat()
}

pub(crate) fn journal() -> Value {
    json!({
        "volume_id": VOLUME.to_string(),
        "root_domain": DOMAIN.to_string(),
        "secret": hex(SECRET),
        "header": hex(journal_header_bytes()),
        "chunk": hex(chunk_bytes()),
        "chunk_records": "FILE, IMAGE, SIZE, PUNCH, CUT with a tail, CUT without, RETIRE, SEAL; the blocks and the seal of file.json",
    })
}
