//! What every store promises, run on each of them.

use tempfile::TempDir;

use super::custom_key_stores::contract::{
    custom_key_stores_are_apart_by_region, custom_key_stores_round_trip,
};
use super::identities::contract::{an_access_key_needs_its_user, users_and_access_keys_round_trip};
use super::*;
use crate::model::{
    AccountId, GrantConstraints, GrantOperation, KeyManager, KeyMaterialState, KeySpec, KeyUsage, Origin,
    UsageOperation,
};
use crate::policy::KeyPolicy;
use crate::seal::{Purpose, RootKey};

#[path = "../../tests/support/postgres.rs"]
mod cluster;

use cluster::Cluster;

/// A store with what keeps it alive.
pub(super) type Fixture = (Box<dyn MetadataStore>, Option<TempDir>);

fn memory() -> Fixture {
    (Box::new(MemoryStore::new()), None)
}

fn sqlite() -> Fixture {
    let dir = TempDir::new().expect("temporary directory");
    let root = RootKey::generate().expect("random");
    let codec = RecordCodec::new(root.sealer(Purpose::Records).expect("derives"));
    let store = SqliteStore::open(&dir.path().join("keys.sqlite"), codec).expect("opens");
    (Box::new(store), Some(dir))
}

fn postgres() -> Fixture {
    let root = RootKey::generate().expect("random");
    let codec = RecordCodec::new(root.sealer(Purpose::Records).expect("derives"));
    (Box::new(PostgresStore::open(&postgres_database(), codec)), None)
}

/// An empty database with the schema of a store.
pub(super) fn postgres_database() -> PostgresConfig {
    let config = PostgresConfig::parse(&Cluster::shared().database(), None).expect("an address");
    PostgresHeader::connect(&config).and_then(|header| header.migrate()).expect("migrates");
    config
}

fn key() -> KeyRecord {
    KeyRecord {
        key_id: KeyId::generate(),
        key_spec: KeySpec::SymmetricDefault,
        key_usage: KeyUsage::EncryptDecrypt,
        origin: Origin::AwsKms,
        key_manager: KeyManager::Customer,
        managing_service: None,
        description: "d".into(),
        creation_date: Timestamp::from_millis(1),
        enabled: true,
        deletion_date: None,
        rotation: RotationRecord::default(),
        materials: vec![MaterialRecord::new(MaterialId::from_bytes([7; 32]), KeyMaterialState::Current)],
        tags: Vec::new(),
        policy: None,
        custom_key_store: None,
        unavailable: false,
        family: None,
        pending_window_days: None,
    }
}

fn alias(name: &str, key: &KeyRecord) -> AliasRecord {
    let date = Timestamp::from_millis(2);
    AliasRecord {
        name: name.parse().expect("valid name"),
        key_id: key.key_id,
        creation_date: date,
        last_updated_date: date,
    }
}

fn put(store: &dyn MetadataStore, record: &KeyRecord) {
    write(store, |tx| Ok(tx.put_key(record)?)).expect("writes");
}

fn records_round_trip((store, _dir): Fixture) {
    let record = key();
    let material = MaterialId::from_bytes([7; 32]);
    let named = alias("alias/a", &record);
    write(&*store, |tx| {
        tx.put_key(&record)?;
        tx.put_material_handle(&record.key_id, &material, b"handle")?;
        Ok(tx.put_alias(&named)?)
    })
    .expect("writes");
    read(&*store, |tx| {
        assert_eq!(tx.key(&record.key_id)?, Some(record.clone()));
        assert_eq!(tx.material_handle(&record.key_id, &material)?, Some(b"handle".to_vec()));
        assert_eq!(tx.alias(&named.name)?, Some(named.clone()));
        assert_eq!(tx.key(&KeyId::generate())?, None);
        Ok(())
    })
    .expect("reads");
}

fn a_failed_transaction_changes_nothing((store, _dir): Fixture) {
    let record = key();
    let result: Result<(), KmsError> = write(&*store, |tx| {
        tx.put_key(&record)?;
        Err(KmsError::Conflict(String::new()))
    });
    assert!(result.is_err());
    assert_eq!(read(&*store, |tx| Ok(tx.key(&record.key_id)?)), Ok(None));
}

fn the_counter_changes_with_every_commit((store, _dir): Fixture) {
    let before = store.change_counter().expect("counts");
    assert_eq!(store.change_counter(), Ok(before));
    put(&*store, &key());
    let after = store.change_counter().expect("counts");
    assert_ne!(before, after);
    put(&*store, &key());
    assert_ne!(store.change_counter(), Ok(after));
}

fn pages_are_in_order_and_complete((store, _dir): Fixture) {
    let owner = key();
    let other = key();
    let names = ["alias/a", "alias/b", "alias/c"];
    write(&*store, |tx| {
        tx.put_key(&owner)?;
        tx.put_key(&other)?;
        names.iter().try_for_each(|name| tx.put_alias(&alias(name, &owner)))?;
        Ok(tx.put_alias(&alias("alias/bb", &other))?)
    })
    .expect("writes");
    read(&*store, |tx| {
        let mut ids = vec![owner.key_id, other.key_id];
        ids.sort();
        assert_eq!(tx.list_keys(None, 10)?, ids);
        assert_eq!(tx.list_keys(None, 1)?, ids[..1]);
        assert_eq!(tx.list_keys(Some(&ids[0]), 10)?, ids[1..]);
        let all: Vec<_> =
            tx.list_aliases(None, None, 10)?.into_iter().map(|one| one.name.to_string()).collect();
        assert_eq!(all, ["alias/a", "alias/b", "alias/bb", "alias/c"]);
        let after = "alias/a".parse().expect("valid");
        let page = tx.list_aliases(Some(&owner.key_id), Some(&after), 1)?;
        assert_eq!(page.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["alias/b"]);
        Ok(())
    })
    .expect("reads");
}

fn erasing_a_key_takes_everything_of_it((store, _dir): Fixture) {
    let record = key();
    let material = MaterialId::from_bytes([7; 32]);
    write(&*store, |tx| {
        tx.put_key(&record)?;
        tx.put_material_handle(&record.key_id, &material, b"handle")?;
        Ok(tx.put_alias(&alias("alias/a", &record))?)
    })
    .expect("writes");
    write(&*store, |tx| Ok(tx.erase_key(&record.key_id)?)).expect("erases");
    assert_eq!(store.scrub(), Ok(true));
    read(&*store, |tx| {
        assert_eq!(tx.key(&record.key_id)?, None);
        assert_eq!(tx.material_handle(&record.key_id, &material)?, None);
        assert!(tx.list_aliases(None, None, 10)?.is_empty());
        Ok(())
    })
    .expect("reads");
}

fn due_keys_come_longest_overdue_first((store, _dir): Fixture) {
    let due_at = |millis| KeyRecord { deletion_date: Some(Timestamp::from_millis(millis)), ..key() };
    let (late, later, future) = (due_at(10), due_at(20), due_at(30));
    [&later, &future, &late, &key()].into_iter().for_each(|record| put(&*store, record));
    let due = read(&*store, |tx| Ok(tx.due_keys(Timestamp::from_millis(20), 10)?));
    assert_eq!(due, Ok(vec![late.key_id, later.key_id]));
}

fn an_alias_needs_its_key((store, _dir): Fixture) {
    let record = key();
    assert!(write(&*store, |tx| Ok(tx.put_alias(&alias("alias/a", &record))?)).is_err());
}

fn grant(number: u8, key: &KeyRecord, grantee: &str, name: Option<&str>) -> GrantRecord {
    GrantRecord {
        grant_id: GrantId::from_bytes([number; 32]),
        key_id: key.key_id,
        grantee: Principal::from_arn(grantee),
        retiring: name.map(|_| Principal::from_arn("arn:aws:iam::000000000000:user/r")),
        issuing_account: AccountId::local(),
        operations: vec![GrantOperation::Decrypt],
        constraints: GrantConstraints::default(),
        name: name.map(str::to_owned),
        creation_date: Timestamp::from_millis(3),
    }
}

fn grants_are_found_by_key_grantee_name_and_retiring_principal((store, _dir): Fixture) {
    let (owner, other) = (key(), key());
    let (role, session) = ("arn:aws:iam::1:role/dept/ops", "arn:aws:iam::1:role/ops");
    let grants = [
        grant(1, &owner, "a", None),
        grant(2, &owner, role, Some("n")),
        grant(3, &owner, "a", Some("n")),
        grant(4, &other, "a", None),
    ];
    write(&*store, |tx| {
        tx.put_key(&owner)?;
        tx.put_key(&other)?;
        grants.iter().try_for_each(|one| Ok(tx.put_grant(one)?))
    })
    .expect("writes");
    let found = |filter: GrantFilter<'_>, after: Option<u8>, limit| -> Vec<u8> {
        let after = after.map(|number| GrantId::from_bytes([number; 32]));
        let list = read(&*store, |tx| Ok(tx.list_grants(filter, after.as_ref(), limit)?)).expect("reads");
        list.iter().map(|one| one.grant_id.as_bytes()[0]).collect()
    };
    let (a, session) = (Principal::from_arn("a"), Principal::from_arn(session));
    assert_eq!(found(GrantFilter::Key(&owner.key_id), None, 9), [1, 2, 3]);
    assert_eq!(found(GrantFilter::Key(&owner.key_id), Some(1), 1), [2]);
    assert_eq!(found(GrantFilter::Grantee(&owner.key_id, &a), None, 9), [1, 3]);
    assert_eq!(found(GrantFilter::Grantee(&owner.key_id, &session), None, 9), [2]);
    assert_eq!(found(GrantFilter::Named(&owner.key_id, &a, "n"), None, 9), [3]);
    let retiring = Principal::from_arn("arn:aws:iam::000000000000:user/r");
    assert_eq!(found(GrantFilter::Retiring(&retiring), Some(2), 9), [3]);
    write(&*store, |tx| Ok(tx.delete_grant(&grants[2].grant_id)?)).expect("deletes");
    read(&*store, |tx| {
        assert_eq!(tx.grant(&grants[1].grant_id)?.as_ref(), Some(&grants[1]));
        assert_eq!(tx.grant(&grants[2].grant_id)?, None);
        assert_eq!((tx.count_grants(&owner.key_id)?, tx.count_grants(&other.key_id)?), (2, 1));
        Ok(())
    })
    .expect("reads");
    write(&*store, |tx| Ok(tx.erase_key(&owner.key_id)?)).expect("erases");
    assert_eq!(found(GrantFilter::Key(&owner.key_id), None, 9), [0_u8; 0]);
    assert_eq!(found(GrantFilter::Key(&other.key_id), None, 9), [4]);
    assert!(write(&*store, |tx| Ok(tx.put_grant(&grants[0])?)).is_err(), "its key is gone");
}

fn a_policy_is_kept_as_it_was_written((store, _dir): Fixture) {
    let policy = KeyPolicy::default_of(&AccountId::local());
    let record = KeyRecord { policy: Some(policy), ..key() };
    put(&*store, &record);
    assert_eq!(read(&*store, |tx| Ok(tx.key(&record.key_id)?)), Ok(Some(record.clone())));
}

fn regions_are_apart_and_change_together((store, _dir): Fixture) {
    let away = Locality::Away("eu-west-1".parse().expect("a Region"));
    let record = key();
    let other = KeyRecord { description: "away".into(), ..record.clone() };
    let material = MaterialId::from_bytes([7; 32]);
    put(&*store, &record);
    let refused: Result<(), KmsError> = write(&*store, |tx| {
        tx.at(&away).put_key(&other)?;
        Err(KmsError::Conflict(String::new()))
    });
    assert!(refused.is_err());
    let abroad = store.at(&away);
    assert_eq!(read(&*abroad, |tx| Ok(tx.key(&record.key_id)?)), Ok(None));
    write(&*store, |tx| {
        let there = tx.at(&away);
        there.put_key(&other)?;
        there.put_material_handle(&other.key_id, &material, b"away")?;
        there.put_alias(&alias("alias/a", &other))?;
        Ok(there.put_grant(&grant(1, &other, "a", Some("n")))?)
    })
    .expect("writes");
    read(&*store, |tx| {
        assert_eq!(tx.key(&record.key_id)?, Some(record.clone()));
        assert_eq!(tx.material_handle(&record.key_id, &material)?, None);
        assert_eq!((tx.list_keys(None, 9)?.len(), tx.list_aliases(None, None, 9)?.len()), (1, 0));
        assert_eq!((tx.grant(&GrantId::from_bytes([1; 32]))?, tx.count_grants(&record.key_id)?), (None, 0));
        assert_eq!(tx.localities()?, [Locality::Home, away.clone()]);
        Ok(())
    })
    .expect("reads");
    write(&*store, |tx| Ok(tx.erase_key(&record.key_id)?)).expect("erases");
    read(&*abroad, |tx| {
        assert_eq!(tx.key(&other.key_id)?, Some(other.clone()));
        assert_eq!(tx.material_handle(&other.key_id, &material)?, Some(b"away".to_vec()));
        assert_eq!(tx.list_aliases(Some(&other.key_id), None, 9)?.len(), 1);
        assert_eq!(tx.count_grants(&other.key_id)?, 1);
        assert_eq!(tx.localities()?, std::slice::from_ref(&away));
        Ok(())
    })
    .expect("reads");
}

fn the_last_use_goes_with_its_key((store, _dir): Fixture) {
    let record = key();
    let usage = |millis| KeyLastUsage {
        operation: UsageOperation::Decrypt,
        timestamp: Timestamp::from_millis(millis),
    };
    let last = || read(&*store, |tx| Ok(tx.last_usage(&record.key_id)?));
    assert!(write(&*store, |tx| Ok(tx.put_last_usage(&record.key_id, &usage(1))?)).is_err());
    put(&*store, &record);
    assert_eq!(last(), Ok(None));
    for millis in [1, 2] {
        write(&*store, |tx| Ok(tx.put_last_usage(&record.key_id, &usage(millis))?)).expect("writes");
        assert_eq!(last(), Ok(Some(usage(millis))));
    }
    assert!(read(&*store, |tx| Ok(tx.usage_recorded_since()?)).is_ok());
    write(&*store, |tx| Ok(tx.erase_key(&record.key_id)?)).expect("erases");
    assert_eq!(last(), Ok(None));
}

fn settings_are_kept_by_name((store, _dir): Fixture) {
    write(&*store, |tx| {
        tx.put_setting("a", b"1")?;
        Ok(tx.put_setting("b", b"2")?)
    })
    .expect("writes");
    write(&*store, |tx| Ok(tx.put_setting("a", b"3")?)).expect("writes");
    read(&*store, |tx| {
        assert_eq!(tx.setting("a")?, Some(b"3".to_vec()));
        assert_eq!(tx.setting("b")?, Some(b"2".to_vec()));
        assert_eq!(tx.setting("c")?, None);
        Ok(())
    })
    .expect("reads");
}

macro_rules! contract {
    ($($name:ident,)+) => {
        mod on_memory { $(#[test] fn $name() { super::$name(super::memory()); })+ }
        mod on_sqlite { $(#[test] fn $name() { super::$name(super::sqlite()); })+ }
        mod on_postgres { $(#[test] fn $name() { super::$name(super::postgres()); })+ }
    };
}

contract! {
    records_round_trip,
    a_failed_transaction_changes_nothing,
    the_counter_changes_with_every_commit,
    pages_are_in_order_and_complete,
    erasing_a_key_takes_everything_of_it,
    due_keys_come_longest_overdue_first,
    an_alias_needs_its_key,
    users_and_access_keys_round_trip,
    an_access_key_needs_its_user,
    grants_are_found_by_key_grantee_name_and_retiring_principal,
    a_policy_is_kept_as_it_was_written,
    regions_are_apart_and_change_together,
    the_last_use_goes_with_its_key,
    settings_are_kept_by_name,
    custom_key_stores_round_trip,
    custom_key_stores_are_apart_by_region,
}
