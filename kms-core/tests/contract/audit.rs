//! Every use of a key and every refusal leaves a record, and without its record nothing happens where that is asked for.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kms_core::KmsError;
use kms_core::audit::*;
use kms_core::client::KeyService;
use kms_core::keystore::Keystore;
use kms_core::model::*;
use kms_core::seal::RootKey;
use kms_core::service::EmbeddedKms;
use kms_core::store::{MemoryAuditStore, MemoryStore};

use crate::fixture::{Fixture, context, local, service, source};

fn records(kms: &EmbeddedKms) -> Vec<AuditRecord> {
    let all = kms.audit().expect("a log").records(usize::MAX, |_| true).expect("reads");
    assert!(all.iter().map(|(number, _)| *number).eq(0..all.len() as u64), "numbered without a gap");
    all.into_iter().map(|(_, record)| record).collect()
}

fn verified(kms: &EmbeddedKms) -> Verification {
    let found = kms.audit().expect("a log").verify(None).expect("reads");
    assert_eq!(found.problems, []);
    found
}

fn mode(kms: &EmbeddedKms, mode: AuditMode) {
    let settings = AuditSettings { mode, ..AuditSettings::default() };
    kms.audit().expect("a log").configure(&settings).expect("configures");
}

#[test]
fn a_record_tells_who_did_what_with_which_key() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    let arn = fixture.arn(key_id);
    fixture.create_alias("alias/data", key_id).expect("creates");
    let request =
        GenerateDataKeyRequest::aes_256("alias/data".parse::<AliasName>().expect("valid"), context());
    let made = fixture.kms.generate_data_key(&service(), &request).expect("generates");
    fixture.disable(key_id).expect("disables");
    let refused = DecryptRequest::new(made.ciphertext_blob.clone(), context());
    fixture.kms.decrypt(&local(), &refused).expect_err("disabled");
    fixture.kms.generate_data_key(&local(), &request).expect_err("disabled");
    let all = records(&fixture.kms);
    let short = |record: &AuditRecord| {
        let AuditRecord { operation, outcome, key_id, .. } = record;
        (operation.clone(), outcome.clone(), key_id.clone().unwrap_or_default())
    };
    let expected = [
        ("CreateKey", "Success"),
        ("CreateAlias", "Success"),
        ("GenerateDataKey", "Success"),
        ("DisableKey", "Success"),
        ("Decrypt", "DisabledException"),
        ("GenerateDataKey", "DisabledException"),
    ];
    let expected = expected.map(|(operation, outcome)| (operation.into(), outcome.into(), arn.clone()));
    assert_eq!(all.iter().map(short).collect::<Vec<_>>(), expected);
    let used = &all[2];
    assert_eq!(used.principal, service().principal.as_str());
    assert_eq!(used.via_service.as_deref(), Some("kmsfs"));
    assert_eq!(used.encryption_context, context());
    assert_eq!(used.time, TestClock::default().now());
    assert_eq!(all[1].resource.as_deref(), Some("alias/data"));
    assert!(all[4].is_refusal() && all[4].message.contains("is disabled"));
    let ids: std::collections::BTreeSet<_> = all.iter().map(|record| &record.request_id).collect();
    assert_eq!(ids.len(), all.len(), "every request has an id of its own");
    assert_eq!(verified(&fixture.kms).sound, 6);
}

#[test]
fn what_comes_with_a_request_id_keeps_it_and_is_recorded_once() {
    let fixture = Fixture::on_disk();
    let id = uuid::Uuid::from_u64_pair(1, 2);
    let caller = Caller { request_id: Some(RequestId::new(id)), ..local() };
    let missing = DescribeKeyRequest::new(KeyId::generate());
    let error = fixture.kms.describe_key(&caller, &missing).expect_err("not there");
    for _ in 0..2 {
        fixture.kms.record_refusal(&caller, "DescribeKey", error.code(), error.message()).expect("records");
    }
    let other = Caller { request_id: Some(RequestId::new(uuid::Uuid::from_u64_pair(3, 4))), ..local() };
    fixture.kms.record_refusal(&other, "Encrypt", "ValidationException", "m").expect("records");
    let all = records(&fixture.kms);
    let ids: Vec<_> =
        all.iter().map(|record| (record.request_id.as_str(), record.operation.as_str())).collect();
    let expected = [id.to_string(), uuid::Uuid::from_u64_pair(3, 4).to_string()];
    assert_eq!(ids, [(expected[0].as_str(), "DescribeKey"), (expected[1].as_str(), "Encrypt")]);
}

#[test]
fn what_the_service_does_by_itself_is_recorded() {
    let fixture = Fixture::on_disk();
    let name = AliasName::of_service("kmsfs").expect("a service name");
    fixture
        .kms
        .generate_data_key(&service(), &GenerateDataKeyRequest::aes_256(name, context()))
        .expect("makes");
    let (rotated, deleted) = (fixture.create(), fixture.create());
    fixture.enable_rotation(rotated, Some(90)).expect("enables");
    fixture.schedule_deletion(deleted, 7).expect("schedules");
    fixture.clock.advance_days(91);
    fixture.kms.run_due().expect("runs");
    let by_itself = |record: &AuditRecord| record.principal == "kms.amazonaws.com";
    let all = records(&fixture.kms);
    let mut done: Vec<_> =
        all.iter().filter(|record| by_itself(record)).map(|one| one.operation.as_str()).collect();
    done.sort_unstable();
    assert_eq!(done, ["CreateKey", "DeleteKey", "RotateKey"]);
}

#[test]
fn records_of_several_regions_are_in_one_log_and_name_the_key_of_each() {
    let fixture = Fixture::on_disk();
    let (kms, caller) = (&fixture.kms, &fixture.caller);
    let key_id = fixture.create_multi_region();
    let away: Region = "eu-west-1".parse().expect("a Region");
    let there = kms.in_region(&away).expect("served");
    let replicate = ReplicateKeyRequest::new(key_id, away.clone());
    kms.replicate_key(caller, &replicate).expect("replicates");
    kms.replicate_key(caller, &replicate).expect_err("is there");
    there.get_key_last_usage(caller, &KeyOnlyRequest::new(key_id)).expect("tells");
    let promote = UpdatePrimaryRegionRequest { key_id: key_id.into(), primary_region: away };
    kms.update_primary_region(caller, &promote).expect("promotes");
    fixture.schedule_deletion(key_id, 7).expect("schedules");
    let delete = ScheduleKeyDeletionRequest { key_id: key_id.into(), pending_window_in_days: Some(9) };
    there.schedule_key_deletion(caller, &delete).expect("waits for the replica");
    fixture.clock.advance_days(8);
    there.run_due().expect("runs");
    let (here, abroad) = (fixture.arn(key_id), KeyArn::new(there.realm(), &key_id).to_string());
    let expected = [
        ("CreateKey", "Success", &here, None),
        ("ReplicateKey", "Success", &abroad, Some("eu-west-1")),
        ("ReplicateKey", "AlreadyExistsException", &here, Some("eu-west-1")),
        ("GetKeyLastUsage", "Success", &abroad, None),
        ("UpdatePrimaryRegion", "Success", &here, Some("eu-west-1")),
        ("ScheduleKeyDeletion", "Success", &here, None),
        ("ScheduleKeyDeletion", "Success", &abroad, None),
        ("DeleteKey", "Success", &here, None),
        // By itself: now the waiting period of the primary begins.
        ("ScheduleKeyDeletion", "Success", &abroad, None),
    ];
    let all = records(kms);
    let found = all.iter().map(|one| {
        (
            one.operation.as_str(),
            one.outcome.as_str(),
            one.key_id.as_ref().expect("a key"),
            one.resource.as_deref(),
        )
    });
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!(verified(&there).sound, 9);
    assert_eq!(all[8].principal, "kms.amazonaws.com");
}

#[test]
fn no_secret_is_in_the_log_and_contexts_are() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    let secret = b"the plaintext of nobody's business";
    let blob = fixture.encrypt(key_id, secret).expect("encrypts");
    fixture.decrypt(&blob).expect("decrypts");
    let request = GenerateDataKeyRequest::aes_256(key_id, context());
    let made = fixture.kms.generate_data_key(&local(), &request).expect("makes");
    let name = "alice".parse().expect("a name");
    fixture.kms.identities().create_user(&name).expect("creates");
    let (_, access_key) = fixture.kms.identities().create_access_key(&name).expect("creates");
    let log: String = records(&fixture.kms).iter().map(|record| format!("{record:?}")).collect();
    assert!(log.contains("inode") && log.contains("CreateAccessKey") && log.contains("alice"));
    let stored = ["audit.sqlite", "audit.sqlite-wal"].map(|file| std::fs::read(fixture.path().join(file)));
    let stored = stored.map(|bytes| bytes.expect("reads")).concat();
    let shows = |part: &[u8]| stored.windows(part.len()).any(|window| window == part);
    assert!(shows(b"inode"), "the log is looked at");
    let (opened, wrapped) = (made.plaintext.expose(), made.ciphertext_blob.as_bytes());
    for part in [&secret[..], opened, &wrapped[..40], &blob.as_bytes()[..40], access_key.expose().as_bytes()]
    {
        assert!(!shows(part));
        let text =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &part[..30.min(part.len())]);
        assert!(!shows(text.as_bytes()));
    }
}

/// A log that can be cut off.
#[derive(Default)]
struct Faulty {
    inner: MemoryAuditStore,
    broken: AtomicBool,
}

impl Faulty {
    fn check(&self) -> Result<(), AuditError> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err(AuditError::Backend("no space left".into())),
            false => Ok(()),
        }
    }
}

impl AuditStore for Faulty {
    fn with_tx(&self, work: AuditWork<'_>) -> Result<(), AuditError> {
        self.check()?;
        self.inner.with_tx(work)
    }

    fn head(&self) -> Result<Option<SignedHead>, AuditError> {
        self.inner.head()
    }

    fn blocks(&self, first: u64, limit: usize) -> Result<Vec<Block>, AuditError> {
        self.inner.blocks(first, limit)
    }

    fn block_before(&self, number: u64) -> Result<Option<u64>, AuditError> {
        self.inner.block_before(number)
    }
}

fn faulty() -> (Fixture, Arc<Faulty>) {
    let (log, clock) = (Arc::new(Faulty::default()), Arc::new(TestClock::default()));
    let root = RootKey::generate().expect("random");
    let builder = EmbeddedKms::builder(Arc::new(MemoryStore::new()), &root).expect("derives");
    let key = AuditKey::of_root(&root).expect("derives");
    let kms = builder.clock(clock.clone()).audit(log.clone(), key).expect("opens").build();
    (Fixture { kms, clock, caller: local(), dir: None }, log)
}

#[test]
fn nothing_happens_without_its_record_where_records_are_required() {
    let (fixture, log) = faulty();
    let key_id = fixture.create();
    let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
    mode(&fixture.kms, AuditMode::Required);
    log.broken.store(true, Ordering::SeqCst);
    assert!(matches!(fixture.decrypt(&blob), Err(KmsError::DependencyTimeout(_))));
    assert!(fixture.encrypt(key_id, b"x").is_err());
    assert!(fixture.disable(key_id).is_err(), "a change is refused before it is made");
    assert!(fixture.kms.create_key(&local(), &CreateKeyRequest::default()).is_err());
    assert!(fixture.kms.identities().create_user(&"alice".parse().expect("a name")).is_err());
    log.broken.store(false, Ordering::SeqCst);
    assert_eq!(fixture.state(key_id), KeyState::Enabled);
    assert_eq!(fixture.kms.list_keys(&local(), &ListKeysRequest::default()).expect("lists").keys.len(), 1);
    assert!(fixture.kms.identities().list_users().expect("lists").is_empty());
    fixture.disable(key_id).expect("disables");
    let all = records(&fixture.kms);
    let told: Vec<_> = all.iter().map(|one| (one.operation.as_str(), one.outcome.as_str())).collect();
    let expected = [
        ("CreateKey", "Success"),
        ("Encrypt", "Success"),
        ("ConfigureAudit", "Success"),
        ("DescribeKey", "Success"),
        ("ListKeys", "Success"),
        ("DisableKey", "Begun"),
        ("DisableKey", "Success"),
    ];
    assert_eq!(told, expected, "what was refused for want of its record is not in the log");
    verified(&fixture.kms);
}

#[test]
fn a_log_that_fails_for_a_while_keeps_nobody_from_their_keys_otherwise() {
    let (fixture, log) = faulty();
    let key_id = fixture.create();
    fixture.kms.audit().expect("a log").flush().expect("writes");
    log.broken.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        fixture.encrypt(key_id, b"x").expect("encrypts");
    }
    assert!(fixture.kms.audit().expect("a log").flush().is_err());
    log.broken.store(false, Ordering::SeqCst);
    assert_eq!(records(&fixture.kms).len(), 11);
    assert_eq!(verified(&fixture.kms).lost, 0);
}

#[test]
fn what_is_lost_is_counted() {
    let (fixture, log) = faulty();
    let key_id = fixture.create();
    log.broken.store(true, Ordering::SeqCst);
    // Until the memory for records is full.
    let long = EncryptionContext::from([("long", "x".repeat(8000))]);
    let request = GenerateDataKeyRequest::aes_256(key_id, long);
    for _ in 0..1500 {
        fixture.kms.generate_data_key(&local(), &request).expect("makes");
        if fixture.kms.audit().expect("a log").flush().is_ok() {
            break;
        }
    }
    log.broken.store(false, Ordering::SeqCst);
    let all = records(&fixture.kms);
    let found = verified(&fixture.kms);
    assert!(found.lost > 100, "{}", found.lost);
    let kept = all.iter().filter(|record| record.operation == "GenerateDataKey").count() as u64;
    assert_eq!(kept + found.lost, 1500);
}

#[test]
fn a_log_that_is_switched_off_says_so_and_every_process_obeys() {
    let fixture = Fixture::on_disk();
    let other = fixture.reopen();
    let key_id = fixture.create();
    mode(&other, AuditMode::Off);
    fixture.encrypt(key_id, b"x").expect("encrypts");
    mode(&fixture.kms, AuditMode::On);
    let told = records(&other);
    let told: Vec<_> = told.iter().map(|record| record.operation.as_str()).collect();
    assert_eq!(told, ["CreateKey", "ConfigureAudit"], "switching on is the last thing that is not recorded");
    fixture.encrypt(key_id, b"x").expect("encrypts");
    assert_eq!(records(&fixture.kms).len(), 3);
    let settings = AuditSettings { keep_bytes: 1, ..AuditSettings::default() };
    assert!(other.audit().expect("a log").configure(&settings).is_err());
}

/// What the other processes do in the test below.
#[test]
#[ignore = "the body of another process; started by the next test"]
fn child_that_uses_a_key() {
    let path = std::env::var("KMS_CORE_TEST_KEYSTORE").expect("set by the parent");
    let key_id: KeyId =
        std::env::var("KMS_CORE_TEST_KEY").expect("set by the parent").parse().expect("a key id");
    let kms = Keystore::open(path.as_ref(), &source()).expect("opens");
    for _ in 0..300 {
        kms.generate_data_key(&local(), &GenerateDataKeyRequest::aes_256(key_id, context())).expect("makes");
    }
}

#[test]
fn several_processes_write_one_chain() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    let mut children: Vec<_> = (0..3)
        .map(|_| {
            Command::new(std::env::current_exe().expect("a path"))
                .args(["--ignored", "--exact", "audit::child_that_uses_a_key"])
                .env("KMS_CORE_TEST_KEYSTORE", fixture.path())
                .env("KMS_CORE_TEST_KEY", key_id.to_string())
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("starts")
        })
        .collect();
    for _ in 0..50 {
        fixture.encrypt(key_id, b"x").expect("encrypts");
        fixture.kms.audit().expect("a log").flush().expect("writes");
    }
    for child in &mut children {
        assert!(child.wait().expect("ends").success());
    }
    assert_eq!(verified(&fixture.kms).sound, 1 + 3 * 300 + 50);
}

#[test]
fn a_log_that_was_removed_or_put_back_is_found() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    let Fixture { kms, clock, dir, .. } = fixture;
    let path = dir.as_ref().expect("on disk").path().join("ks");
    drop(kms);
    let old = std::fs::read(path.join("audit.sqlite")).expect("reads");
    let kms = crate::fixture::open(&path, &clock);
    kms.encrypt(&local(), &EncryptRequest::new(key_id, Plaintext::copy_of(b"x"), context()))
        .expect("encrypts");
    drop(kms);
    std::fs::write(path.join("audit.sqlite"), old).expect("writes");
    let found = crate::fixture::open(&path, &clock).audit().expect("a log").verify(None).expect("reads");
    assert!(
        matches!(found.problems[..], [Problem::Replaced { .. }, Problem::Broken(_)]),
        "{:?}",
        found.problems
    );
    std::fs::remove_file(path.join("audit.sqlite")).expect("removes");
    let kms = crate::fixture::open(&path, &clock);
    assert!(kms.decrypt(&local(), &DecryptRequest::new(CiphertextBlob::from(&b"x"[..]), context())).is_err());
    let found = kms.audit().expect("a log").verify(None).expect("reads");
    assert!(matches!(found.problems[..], [Problem::Broken(_)]), "{:?}", found.problems);
    drop(kms);
    std::fs::write(path.join("audit.sqlite"), b"not a database at all, and long enough to be looked at")
        .expect("writes");
    let kms = crate::fixture::open(&path, &clock);
    kms.describe_key(&local(), &DescribeKeyRequest::new(key_id)).expect("keys can be used nevertheless");
    assert!(kms.audit().expect("a log").verify(None).is_err());
}
