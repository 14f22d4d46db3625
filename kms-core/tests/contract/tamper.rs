//! A keystore changed by hand: an error or no effect, never a wrong answer.

use std::fs;
use std::sync::Arc;

use kms_core::KmsError;
use kms_core::audit::{AuditMode, AuditSettings};
use kms_core::client::KeyService;
use kms_core::keystore::Keystore;
use kms_core::model::*;
use kms_core::service::EmbeddedKms;
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::custom_key_stores::backend::Provider;
use crate::fixture::{Fixture, context, source};

/// Has a grant, and nothing else.
const GUEST: &str = "arn:aws:iam::444455556666:user/guest";

/// A small keystore, what it answers, and a connection that changes its database.
struct Target {
    fixture: Fixture,
    database: Connection,
    keys: [KeyId; 2],
    blobs: [CiphertextBlob; 2],
}

/// The text of an operation's answer or refusal.
type Answer = Result<String, KmsError>;

impl Target {
    fn new() -> Self {
        let mut fixture = Fixture::on_disk();
        fixture.kms = with_key_stores(&fixture);
        let keys = [fixture.create(), fixture.create_imported([1; 32])];
        let blobs =
            keys.map(|key_id| fixture.encrypt(key_id, key_id.to_string().as_bytes()).expect("encrypts"));
        fixture.create_alias("alias/data", keys[0]).expect("creates");
        let guest = CreateGrantRequest::new(keys[0], GUEST, [GrantOperation::DescribeKey]);
        fixture.kms.create_grant(&fixture.caller, &guest).expect("grants");
        let user = user();
        fixture.kms.identities().create_user(&user).expect("creates");
        fixture.kms.identities().create_access_key(&user).expect("creates");
        create_key_store(&fixture);
        let audit = fixture.kms.audit().expect("has a log");
        audit.configure(&AuditSettings { mode: AuditMode::Off, ..Default::default() }).expect("configures");
        // Writes the last use of the keys.
        fixture.kms.run_due().expect("runs");
        let database = Connection::open(fixture.path().join("keys.sqlite")).expect("opens");
        database.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF;").expect("configures");
        Self { fixture, database, keys, blobs }
    }

    /// Everything that depends on stored records, in a form that can be compared.
    fn answers(&self) -> Vec<Answer> {
        let Fixture { kms, caller, .. } = &self.fixture;
        let alias: AliasName = "alias/data".parse().expect("valid");
        let mut answers = Vec::new();
        for (key_id, blob) in self.keys.iter().zip(&self.blobs) {
            let described = kms.describe_key(caller, &DescribeKeyRequest::new(*key_id));
            answers.push(described.map(|one| format!("{:?}", one.key_metadata)));
            let opened = kms.decrypt(caller, &DecryptRequest::new(blob.clone(), context()));
            answers.push(opened.map(|one| String::from_utf8_lossy(one.plaintext.expose()).into_owned()));
        }
        let request = EncryptRequest::new(alias, Plaintext::copy_of(b"x"), context());
        answers.push(kms.encrypt(caller, &request).map(|one| one.key_id.to_string()));
        let listed = kms.list_keys(caller, &ListKeysRequest::default());
        answers.push(listed.map(|one| format!("{:?}", one.keys)));
        let listed = kms.list_aliases(caller, &ListAliasesRequest::default());
        answers.push(listed.map(|one| format!("{:?}", one.aliases)));
        let request = ListGrantsRequest {
            key_id: self.keys[0].into(),
            grant_id: None,
            grantee_principal: None,
            grantee_service_principal: None,
            page: Page::default(),
        };
        answers.push(kms.list_grants(caller, &request).map(|one| format!("{:?}", one.grants)));
        self.other_answers(&mut answers);
        answers
    }

    /// The same for records that do not decide what may be done with a key.
    fn other_answers(&self, answers: &mut Vec<Answer>) {
        let Fixture { kms, caller, .. } = &self.fixture;
        for key_id in self.keys {
            let usage = kms.get_key_last_usage(caller, &KeyOnlyRequest::new(key_id));
            answers.push(usage.map(|one| format!("{:?}", one.tracking_start_date)));
        }
        let listed = kms.identities().list_users();
        answers.push(listed.map(|users| format!("{users:?}")));
        let listed = kms.identities().list_access_keys(&user());
        answers.push(listed.map(|keys| format!("{keys:?}")));
        let listed = kms.describe_custom_key_stores(caller, &Default::default());
        answers.push(listed.map(|one| format!("{:?}", one.custom_key_stores)));
        let settings = kms.audit().expect("has a log").settings();
        answers.push(settings.map(|settings| format!("{settings:?}")));
    }

    fn rows(&self, table: &str) -> Vec<i64> {
        let mut statement = self.database.prepare(&format!("SELECT rowid FROM {table}")).expect("prepares");
        let rows = statement.query_map([], |row| row.get(0)).expect("queries");
        rows.map(|row| row.expect("a row")).collect()
    }

    fn get(&self, table: &str, column: &str, row: i64) -> Value {
        let sql = format!("SELECT {column} FROM {table} WHERE rowid = ?1");
        self.database.query_row(&sql, [row], |row| row.get(0)).expect("a value")
    }

    fn set(&self, table: &str, column: &str, row: i64, value: &Value) {
        let sql = format!("UPDATE {table} SET {column} = ?1 WHERE rowid = ?2");
        self.database.execute(&sql, rusqlite::params![value, row]).expect("updates");
    }
}

/// Answers that differ from the good ones must be errors. Returns these errors.
fn refusals(good: &[Answer], now: &[Answer]) -> Vec<KmsError> {
    let pairs = good.iter().zip(now).filter(|(good, now)| good != now);
    pairs.map(|(good, now)| now.clone().expect_err(&format!("instead of {good:?}"))).collect()
}

fn user() -> UserName {
    "ann".parse().expect("valid")
}

/// The same service, with custom key stores that are played by the tests.
fn with_key_stores(fixture: &Fixture) -> EmbeddedKms {
    let builder = Keystore::open_builder(&fixture.path(), &source()).expect("opens");
    let provider = Arc::new(Provider(Arc::default()));
    builder.clock(fixture.clock.clone()).key_store_provider(CustomKeyStoreType::AwsCloudHsm, provider).build()
}

fn create_key_store(fixture: &Fixture) {
    let token = TokenConfig {
        module: "/m.so".into(),
        label: Some("token".into()),
        serial: None,
        slot: None,
        pin: PinSource::Environment("PIN".into()),
        trust_anchor_certificate: None,
        cluster_id: None,
    };
    let request = CreateCustomKeyStoreRequest {
        custom_key_store_name: "token".into(),
        token: Some(token),
        ..Default::default()
    };
    fixture.kms.create_custom_key_store(&fixture.caller, &request).expect("creates");
}

#[test]
fn every_flipped_byte_of_a_sealed_record_is_an_error_that_names_its_row() {
    let target = Target::new();
    let good = target.answers();
    for (table, identity) in [
        ("kms_key", "key_id"),
        ("material", "key_id"),
        ("alias", "name"),
        ("kms_grant", "grant_id"),
        ("key_usage", "key_id"),
        ("kms_user", "name"),
        ("access_key", "access_key_id"),
        ("custom_key_store", "id"),
        ("setting", "name"),
    ] {
        let rows = target.rows(table);
        assert!(!rows.is_empty(), "{table}");
        for row in rows {
            let Value::Text(name) = target.get(table, identity, row) else { panic!("a text") };
            if name == "audit anchor" {
                // Read when the log is verified, not for every answer.
                continue;
            }
            let sealed = target.get(table, "sealed", row);
            let Value::Blob(bytes) = &sealed else { panic!("a blob") };
            for position in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[position] ^= 1;
                target.set(table, "sealed", row, &Value::Blob(changed));
                let refusals = refusals(&good, &target.answers());
                assert!(!refusals.is_empty(), "byte {position} of {table} {name} was not noticed");
                for refusal in refusals {
                    assert!(matches!(refusal, KmsError::CorruptRecord(_)), "{refusal}");
                    assert!(refusal.message().contains(&name), "{refusal}");
                }
            }
            target.set(table, "sealed", row, &sealed);
            assert_eq!(target.answers(), good);
        }
    }
}

#[test]
fn every_changed_character_of_a_name_is_an_error() {
    let target = Target::new();
    let good = target.answers();
    for (table, column) in [
        ("kms_key", "key_id"),
        ("material", "key_id"),
        ("material", "material_id"),
        ("alias", "name"),
        ("alias", "key_id"),
        ("kms_grant", "grant_id"),
    ] {
        for row in target.rows(table) {
            let before = target.get(table, column, row);
            let Value::Text(text) = &before else { panic!("a text") };
            for position in 0..text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[position] ^= 1;
                let changed = String::from_utf8(bytes).expect("still ASCII");
                target.set(table, column, row, &Value::Text(changed));
                let refusals = refusals(&good, &target.answers());
                assert!(!refusals.is_empty(), "character {position} of {table}.{column} was not noticed");
            }
            target.set(table, column, row, &before);
        }
    }
    assert_eq!(target.answers(), good);
}

#[test]
fn records_do_not_work_in_each_other_s_place() {
    let target = Target::new();
    let good = target.answers();
    for table in ["kms_key", "material"] {
        let rows = target.rows(table);
        let (one, two) = (target.get(table, "sealed", rows[0]), target.get(table, "sealed", rows[1]));
        target.set(table, "sealed", rows[0], &two);
        target.set(table, "sealed", rows[1], &one);
        let refusals = refusals(&good, &target.answers());
        assert!(refusals.iter().any(|refusal| matches!(refusal, KmsError::CorruptRecord(_))));
        target.set(table, "sealed", rows[0], &one);
        target.set(table, "sealed", rows[1], &two);
    }
    assert_eq!(target.answers(), good);
}

#[test]
fn an_alias_that_was_pointed_elsewhere_by_hand_encrypts_nothing() {
    let target = Target::new();
    let other = Value::Text(target.keys[1].to_string());
    target.set("alias", "key_id", target.rows("alias")[0], &other);
    let alias: AliasName = "alias/data".parse().expect("valid");
    let refused = target.fixture.encrypt(alias, b"x").expect_err("changed by hand");
    assert!(matches!(&refused, KmsError::CorruptRecord(text) if text.contains("alias/data")), "{refused}");
}

#[test]
fn a_grant_that_was_turned_to_somebody_else_by_hand_permits_nothing() {
    let target = Target::new();
    let describe = |name: &str| {
        let caller =
            Caller::local("444455556666".parse().expect("an account"), name).with_policies(Vec::new());
        target.fixture.kms.describe_key(&caller, &DescribeKeyRequest::new(target.keys[0]))
    };
    describe("guest").expect("granted");
    let row = target.rows("kms_grant")[0];
    target.set("kms_grant", "grantee", row, &Value::Text("arn:aws:iam::444455556666:user/mallory".into()));
    assert!(matches!(describe("mallory"), Err(KmsError::AccessDenied(_))));
    target.set("kms_grant", "grantee", row, &Value::Text(GUEST.into()));
    target.set("kms_grant", "key_id", row, &Value::Text(target.keys[1].to_string()));
    let guest = Caller::local("444455556666".parse().expect("an account"), "guest").with_policies(Vec::new());
    let refused = target.fixture.kms.describe_key(&guest, &DescribeKeyRequest::new(target.keys[1]));
    assert!(matches!(refused, Err(KmsError::CorruptRecord(_))), "{refused:?}");
}

#[test]
fn a_removed_material_is_missed() {
    let target = Target::new();
    target.database.execute("DELETE FROM material", []).expect("deletes");
    for (key_id, blob) in target.keys.iter().zip(&target.blobs) {
        let refused = target.fixture.decrypt(blob).expect_err("missing");
        assert!(
            matches!(&refused, KmsError::CorruptRecord(text) if text.contains(&key_id.to_string())),
            "{refused}"
        );
    }
}

#[test]
fn a_due_date_changed_by_hand_deletes_nothing() {
    let target = Target::new();
    let good = target.answers();
    target.database.execute("UPDATE kms_key SET next_due = 0", []).expect("updates");
    target.fixture.kms.run_due().expect("runs");
    assert_eq!(target.answers(), good);
}

#[test]
fn bytes_flipped_anywhere_in_the_file_never_give_a_wrong_plaintext() {
    let Target { fixture, database, keys, blobs } = Target::new();
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("empties the log");
    drop(database);
    let file = fixture.path().join("keys.sqlite");
    let path = fixture.path();
    let Fixture { kms, clock, .. } = &fixture;
    let _ = kms;
    let good = fs::read(&file).expect("reads");
    for position in (0..good.len()).step_by(good.len() / 250) {
        let mut bytes = good.clone();
        bytes[position] ^= 0x11;
        let copy = tempfile::TempDir::new().expect("temporary directory");
        let target = copy.path().join("ks");
        fs::create_dir(&target).expect("creates");
        fs::copy(path.join("keystore.json"), target.join("keystore.json")).expect("copies");
        fs::copy(&file, target.join("keys.sqlite")).expect("copies");
        fs::write(target.join("keys.sqlite"), &bytes).expect("writes");
        fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .expect("sets the mode");
        let Ok(builder) = Keystore::open_builder(&target, &source()) else { continue };
        let kms = builder.clock(clock.clone()).build();
        for (key_id, blob) in keys.iter().zip(&blobs) {
            let request = DecryptRequest::new(blob.clone(), context());
            if let Ok(opened) = kms.decrypt(&fixture.caller, &request) {
                assert_eq!(opened.plaintext.expose(), key_id.to_string().as_bytes(), "byte {position}");
            }
        }
    }
}

/// A record is sealed for its Region: a key that was moved to another one by hand, with all that it has, is none.
#[test]
fn a_key_that_was_moved_to_another_region_by_hand_is_an_error_there() {
    let target = Target::new();
    let good = target.answers();
    for table in ["kms_key", "material", "alias", "kms_grant"] {
        let sql = format!("UPDATE {table} SET region = 'eu-west-1'");
        target.database.execute(&sql, []).expect("updates");
    }
    // Here they are gone, which is an error wherever one of them is named.
    assert!(target.answers()[..5].iter().all(Result::is_err));
    let there = target.fixture.kms.in_region(&"eu-west-1".parse().expect("a Region")).expect("served");
    let caller = &target.fixture.caller;
    let described = there.describe_key(caller, &DescribeKeyRequest::new(target.keys[0]));
    assert!(matches!(described, Err(KmsError::CorruptRecord(_))), "{described:?}");
    let opened = there.decrypt(caller, &DecryptRequest::new(target.blobs[0].clone(), context()));
    assert!(matches!(opened, Err(KmsError::CorruptRecord(_))), "{opened:?}");
    for table in ["kms_key", "material", "alias", "kms_grant"] {
        target.database.execute(&format!("UPDATE {table} SET region = ''"), []).expect("updates");
    }
    assert_eq!(target.answers(), good);
}
