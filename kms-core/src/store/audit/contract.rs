//! What every store of audit logs promises, and that whatever is done to a log in it is found.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::*;
use crate::audit::*;
use crate::model::{Clock, TestClock, Timestamp};
use crate::seal::RootKey;

/// A store with what keeps it alive.
type Fixture = (Arc<dyn AuditStore>, Option<TempDir>);

fn memory() -> Fixture {
    (Arc::new(MemoryAuditStore::new()), None)
}

fn sqlite() -> Fixture {
    let dir = TempDir::new().expect("temporary directory");
    let store = SqliteAuditStore::open(&dir.path().join("audit.sqlite")).expect("opens");
    (Arc::new(store), Some(dir))
}

fn postgres() -> Fixture {
    let codec = crate::store::RecordCodec::new(
        RootKey::generate().expect("random").sealer(crate::seal::Purpose::Records).expect("derives"),
    );
    let config = crate::store::contract::postgres_database();
    (Arc::new(crate::store::PostgresAuditStore::open(&config, codec)), None)
}

fn key() -> AuditKey {
    AuditKey::of_root(&RootKey::generate().expect("random")).expect("derives")
}

fn same_key(key: &AuditKey) -> Recording<'_> {
    Recording { key, next: 0 }
}

/// Writes blocks as a recorder does, with the sizes that a test wants.
struct Recording<'a> {
    key: &'a AuditKey,
    next: u64,
}

impl Recording<'_> {
    fn block(&mut self, store: &dyn AuditStore, records: u64, keep_bytes: u64) -> Head {
        let lines: Vec<Vec<u8>> = (0..records).map(|number| line(self.next + number)).collect();
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        self.next += records;
        let settings = AuditSettings { mode: AuditMode::On, keep_bytes };
        append(store, self.key, &settings, &lines, now()).expect("appends")
    }
}

fn now() -> Timestamp {
    TestClock::default().now()
}

fn line(number: u64) -> Vec<u8> {
    let id = number.to_string();
    let entry = AuditEntry { request_id: &id, operation: "Decrypt", principal: "p", ..AuditEntry::default() };
    entry.with_outcome(Outcome::Success).encode()
}

/// A log with blocks of these sizes.
fn log(store: &dyn AuditStore, key: &AuditKey, sizes: &[u64]) -> Head {
    let mut head = open_log(store, key, None, now()).expect("opens");
    let mut recording = same_key(key);
    for size in sizes {
        head = recording.block(store, *size, u64::MAX);
    }
    head
}

fn problems(store: &dyn AuditStore, key: &AuditKey, expected: &[Expected]) -> Vec<Problem> {
    verify(store, key, expected).expect("reads").problems
}

fn kept(head: &Head) -> [Expected; 1] {
    [Expected { anchor: Anchor::of(head), source: "a test" }]
}

/// What somebody does to a log who can write where it is stored, and does not have the root key.
#[derive(Debug, Clone)]
enum Deed {
    DeleteBlock(Index),
    EditByte(Index, Index, u8),
    EditHash(Index, bool),
    EditSignature(Index, Index),
    SwapBlocks(Index, Index),
    SwapRecords(Index, Index),
    DropRecord(Index, Index),
    RepeatBlock(Index),
    Renumber(Index, u64),
    Recount(Index, u64),
    CutEnd(Index),
    EditHead(Index, u8),
    DeleteEverything,
}

fn deed() -> impl Strategy<Value = Deed> {
    let index = any::<Index>;
    prop_oneof![
        index().prop_map(Deed::DeleteBlock),
        (index(), index(), 1_u8..).prop_map(|(block, byte, flip)| Deed::EditByte(block, byte, flip)),
        (index(), any::<bool>()).prop_map(|(block, end)| Deed::EditHash(block, end)),
        (index(), index()).prop_map(|(block, byte)| Deed::EditSignature(block, byte)),
        (index(), index()).prop_map(|(one, other)| Deed::SwapBlocks(one, other)),
        (index(), index()).prop_map(|(block, record)| Deed::SwapRecords(block, record)),
        (index(), index()).prop_map(|(block, record)| Deed::DropRecord(block, record)),
        index().prop_map(Deed::RepeatBlock),
        (index(), 1_u64..100).prop_map(|(block, by)| Deed::Renumber(block, by)),
        (index(), 1_u64..100).prop_map(|(block, by)| Deed::Recount(block, by)),
        index().prop_map(Deed::CutEnd),
        (index(), 1_u8..).prop_map(|(byte, flip)| Deed::EditHead(byte, flip)),
        Just(Deed::DeleteEverything),
    ]
}

/// The blocks and the head after a deed.
fn done(deed: &Deed, blocks: &mut Vec<Block>, head: &mut Option<SignedHead>) {
    let len = blocks.len();
    let lines = |block: &Block| block.lines().map(<[u8]>::to_vec).collect::<Vec<_>>();
    match deed {
        Deed::DeleteBlock(at) => drop(blocks.remove(at.index(len))),
        Deed::EditByte(at, byte, flip) => {
            let records = &mut blocks[at.index(len)].records;
            let place = byte.index(records.len());
            records[place] ^= flip;
        }
        Deed::EditHash(at, end) => {
            let block = &mut blocks[at.index(len)];
            let hash = if *end { &mut block.end } else { &mut block.start };
            *hash = hash.after(b"other");
        }
        Deed::EditSignature(at, byte) => {
            let signature = &mut blocks[at.index(len)].signature;
            let place = byte.index(signature.len());
            signature[place] ^= 1;
        }
        Deed::SwapBlocks(one, other) => {
            // The rows keep their numbers, so that the order looks right.
            let (one, other) = (one.index(len), other.index(len));
            let (a, b) = (blocks[one].first, blocks[other].first);
            blocks.swap(one, other);
            (blocks[one].first, blocks[other].first) = (a, b);
        }
        Deed::SwapRecords(at, record) => {
            let block = &mut blocks[at.index(len)];
            let mut records = lines(block);
            let other = record.index(records.len());
            records.swap(0, other);
            block.records = records.concat();
        }
        Deed::DropRecord(at, record) => {
            let block = &mut blocks[at.index(len)];
            let mut records = lines(block);
            records.remove(record.index(records.len()));
            block.records = records.concat();
            block.count -= 1;
        }
        Deed::RepeatBlock(at) => {
            let mut copy = blocks[at.index(len)].clone();
            copy.first = blocks.last().map_or(0, |last| last.first + last.count);
            blocks.push(copy);
        }
        Deed::Renumber(at, by) => blocks[at.index(len)].first += by * 1000,
        Deed::Recount(at, by) => blocks[at.index(len)].count += by,
        Deed::CutEnd(at) => blocks.truncate(at.index(len)),
        Deed::EditHead(byte, flip) => {
            let body = &mut head.as_mut().expect("a head").body;
            let place = byte.index(body.len());
            body[place] ^= flip;
        }
        Deed::DeleteEverything => {
            blocks.clear();
            *head = None;
        }
    }
}

fn every_deed_is_found(make: fn() -> Fixture, cases: u32) {
    let sizes = proptest::collection::vec(1_u64..6, 1..8);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(sizes in sizes, deed in deed())| {
        let ((store, _dir), key) = (make(), key());
        let head = log(&*store, &key, &sizes);
        prop_assert_eq!(problems(&*store, &key, &kept(&head)), []);
        let before = store.blocks(0, 100).expect("reads");
        let (mut blocks, mut signed) = (before.clone(), store.head().expect("reads"));
        done(&deed, &mut blocks, &mut signed);
        prop_assume!(blocks != before || signed != store.head().expect("reads"));
        let (copy, _dir) = make();
        copy.with_tx(&mut |tx| {
            signed.iter().try_for_each(|head| tx.put_head(head))?;
            blocks.iter().try_for_each(|block| tx.put_block(block))
        })
        .expect("writes");
        let found = problems(&*copy, &key, &kept(&head));
        prop_assert!(!found.is_empty(), "{:?} was not found", deed);
    });
}

fn an_older_state_is_found_by_whoever_remembers((store, _dir): Fixture, (older, _other): Fixture) {
    let key = key();
    log(&*store, &key, &[3]);
    let (blocks, old_head) = (store.blocks(0, 9).expect("reads"), store.head().expect("reads"));
    let head = same_key(&key).block(&*store, 2, u64::MAX);
    older
        .with_tx(&mut |tx| {
            old_head.iter().try_for_each(|head| tx.put_head(head))?;
            blocks.iter().try_for_each(|block| tx.put_block(block))
        })
        .expect("writes");
    assert_eq!(problems(&*older, &key, &[]), [], "every part of it is authentic");
    let found = problems(&*older, &key, &kept(&head));
    assert!(matches!(found[..], [Problem::Replaced { expected: 5, .. }]), "{found:?}");
    // Whoever opens it leaves a mark that stays, once.
    for _ in 0..2 {
        let opened = open_log(&*older, &key, Some(&Anchor::of(&head)), now()).expect("opens");
        assert_eq!((opened.breaks.len(), opened.breaks[0].expected, opened.breaks[0].found), (1, 5, 3));
    }
    assert!(matches!(problems(&*older, &key, &[])[..], [Problem::Broken(_)]));
}

fn a_log_that_is_gone_is_found((store, _dir): Fixture) {
    let key = key();
    let remembered = Anchor { next: 7, ..Anchor::of(&log(&*memory().0, &key, &[7])) };
    let head = open_log(&*store, &key, Some(&remembered), now()).expect("opens");
    assert_eq!((head.next, head.breaks.len()), (0, 1));
    same_key(&key).block(&*store, 1, u64::MAX);
    assert!(matches!(problems(&*store, &key, &[])[..], [Problem::Broken(_)]));
}

fn another_key_verifies_nothing((store, _dir): Fixture) {
    log(&*store, &key(), &[2, 2]);
    let other = key();
    assert_eq!(problems(&*store, &other, &[]), [Problem::HeadForged]);
    assert_eq!(open_log(&*store, &other, None, now()), Err(AuditError::Forged));
    let settings = AuditSettings::default();
    assert_eq!(append(&*store, &other, &settings, &[b"x\n"], now()), Err(AuditError::Forged));
}

fn what_is_dropped_for_room_leaves_a_log_that_verifies((store, _dir): Fixture) {
    let key = key();
    let old = log(&*store, &key, &[1]);
    let mut recording = Recording { key: &key, next: 1 };
    let keep = AuditSettings::MIN_KEEP_BYTES;
    let mut head = old.clone();
    for _ in 0..40 {
        head = recording.block(&*store, 1000, keep);
        assert!(head.bytes <= keep);
    }
    let stored: usize = store.blocks(0, 1000).expect("reads").iter().map(|block| block.records.len()).sum();
    assert_eq!((stored as u64, head.next), (head.bytes, 40_001));
    assert!(head.base > 1000);
    let found = verify(&*store, &key, &kept(&head)).expect("reads");
    assert_eq!((found.problems, found.sound), (Vec::new(), head.next - head.base));
    assert_eq!(problems(&*store, &key, &kept(&old)), [], "what was dropped with leave is not missed");
    let oldest = store.blocks(0, 1).expect("reads").remove(0);
    store.with_tx(&mut |tx| tx.delete_block(oldest.first)).expect("deletes");
    assert!(!problems(&*store, &key, &[]).is_empty(), "and what was not is");
}

/// Several recorders, as of several processes, and a reader.
fn many_writers_make_one_chain((store, _dir): Fixture) {
    let root = RootKey::generate().expect("random");
    let key = AuditKey::of_root(&root).expect("derives");
    open_log(&*store, &key, None, now()).expect("opens");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let recorder = recorder(&store, &root);
                for number in 0..200 {
                    let id = number.to_string();
                    let entry = AuditEntry { request_id: &id, ..AuditEntry::default() };
                    match number % 50 {
                        0 => recorder.write(&entry).expect("writes"),
                        _ => recorder.note(&entry),
                    }
                }
            });
        }
        for _ in 0..20 {
            assert_eq!(problems(&*store, &key, &[]), []);
        }
    });
    let found = verify(&*store, &key, &[]).expect("reads");
    assert_eq!((found.problems, found.sound), (Vec::new(), 800));
}

fn recorder(store: &Arc<dyn AuditStore>, root: &RootKey) -> Recorder {
    Recorder::new(RecorderOptions {
        store: Arc::clone(store),
        key: AuditKey::of_root(root).expect("derives"),
        clock: Arc::new(TestClock::default()),
        keep_anchor: Box::new(|_| Ok(())),
    })
}

macro_rules! contract {
    ($($name:ident($($make:ident),+);)+) => {
        mod on_memory {
            $(#[test] fn $name() { super::$name($(contract!(@ $make memory)),+); })+
            #[test] fn every_deed_is_found() { super::every_deed_is_found(super::memory, 2000); }
        }
        mod on_sqlite {
            $(#[test] fn $name() { super::$name($(contract!(@ $make sqlite)),+); })+
            #[test] fn every_deed_is_found() { super::every_deed_is_found(super::sqlite, 48); }
        }
        mod on_postgres {
            $(#[test] fn $name() { super::$name($(contract!(@ $make postgres)),+); })+
            #[test] fn every_deed_is_found() { super::every_deed_is_found(super::postgres, 12); }
        }
    };
    (@ $unused:ident $make:ident) => { super::$make() };
}

contract! {
    an_older_state_is_found_by_whoever_remembers(one, other);
    a_log_that_is_gone_is_found(one);
    another_key_verifies_nothing(one);
    what_is_dropped_for_room_leaves_a_log_that_verifies(one);
    many_writers_make_one_chain(one);
}
