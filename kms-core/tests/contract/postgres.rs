//! What several services over one PostgreSQL database promise each other.

use std::time::Duration;

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::keystore::{Argon2Params, CreateOptions, KeystoreError, Place, RootKeySource};
use kms_core::model::*;
use kms_core::store::{FRESHNESS, PostgresConfig, StoreError};

use crate::cluster::Cluster;
use crate::fixture::{Fixture, context, local, postgres_place, source};

#[test]
fn a_keystore_in_a_database_is_made_once_opened_and_resealed() {
    let place = postgres_place();
    let options = CreateOptions { argon2: Argon2Params::dangerous_fast(), ..CreateOptions::default() };
    assert!(matches!(place.create(&source(), &options), Err(KeystoreError::AlreadyExists { .. })));
    let kms = place.open(&source()).expect("opens");
    let key_id = kms.create_key(&local(), &CreateKeyRequest::default()).expect("creates").key_metadata.key_id;
    let other = RootKeySource::passphrase("other");
    assert!(matches!(place.open(&other), Err(KeystoreError::WrongPassphrase)));
    place.reseal(&source(), &other, Argon2Params::dangerous_fast()).expect("reseals");
    assert!(matches!(place.open(&source()), Err(KeystoreError::WrongPassphrase)));
    let kms = place.open(&other).expect("opens");
    assert!(kms.describe_key(&local(), &DescribeKeyRequest::new(key_id)).is_ok());
    let empty = Place::Postgres(PostgresConfig::parse(&Cluster::shared().database(), None).expect("parses"));
    assert!(!empty.exists().expect("asks") && place.exists().expect("asks"));
    assert!(matches!(empty.open(&source()), Err(KeystoreError::Missing { .. })));
    let nowhere = PostgresConfig::parse("postgres://u@%2Fnowhere/d", None).expect("parses");
    let error = Place::Postgres(nowhere).open(&source()).expect_err("nobody listens");
    assert!(matches!(&error, KeystoreError::Store(StoreError::Unavailable { .. })), "{error}");
    assert!(error.to_string().contains("cannot connect to postgres://u@/nowhere"), "{error}");
}

#[test]
fn a_newer_schema_is_told_from_damage() {
    let address = Cluster::shared().database();
    let place = Place::Postgres(PostgresConfig::parse(&address, None).expect("parses"));
    let options = CreateOptions { argon2: Argon2Params::dangerous_fast(), ..CreateOptions::default() };
    place.create(&source(), &options).expect("creates");
    let name = address.rsplit('/').next().expect("a name");
    Cluster::shared().sql(name, "INSERT INTO migration VALUES (99, now())").expect("inserts");
    let newer = place.open(&source());
    assert!(matches!(newer, Err(KeystoreError::Store(StoreError::NewerVersion { found: 99, .. }))));
}

#[test]
fn replicas_do_not_lose_each_other_s_changes_and_see_them_within_the_bound() {
    let place = postgres_place();
    let open = || place.open(&source()).expect("opens");
    let (first, second) = (open(), open());
    let key_id =
        first.create_key(&local(), &CreateKeyRequest::default()).expect("creates").key_metadata.key_id;
    let request = EncryptRequest::new(key_id, Plaintext::copy_of(b"text"), context());
    let blob = second.encrypt(&local(), &request).expect("encrypts").ciphertext_blob;
    let open_blob = DecryptRequest::new(blob, context());
    let switch = KeyOnlyRequest::new(key_id);
    for _ in 0..5 {
        first.disable_key(&local(), &switch).expect("disables");
        assert!(matches!(first.decrypt(&local(), &open_blob), Err(KmsError::Disabled(_))), "its own at once");
        std::thread::sleep(FRESHNESS);
        assert!(matches!(second.decrypt(&local(), &open_blob), Err(KmsError::Disabled(_))));
        second.enable_key(&local(), &switch).expect("enables");
        std::thread::sleep(FRESHNESS);
        assert!(first.decrypt(&local(), &open_blob).is_ok());
    }
    let services = [open(), open(), open()];
    std::thread::scope(|scope| {
        for kms in &services {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..4 {
                        kms.rotate_key_on_demand(&local(), &KeyOnlyRequest::new(key_id)).expect("rotates");
                        kms.create_key(&local(), &CreateKeyRequest::default()).expect("creates");
                    }
                });
            }
        }
    });
    let request = ListKeyRotationsRequest {
        key_id: key_id.into(),
        include_key_material: Some(IncludeKeyMaterial::AllKeyMaterial),
        page: Page::default(),
    };
    std::thread::sleep(FRESHNESS);
    let rotations = first.list_key_rotations(&local(), &request).expect("lists").rotations;
    let current = |one: &&RotationsListEntry| one.key_material_state == Some(KeyMaterialState::Current);
    assert_eq!((rotations.len(), rotations.iter().filter(current).count()), (1 + 24, 1));
    let keys = second.list_keys(&local(), &ListKeysRequest::default()).expect("lists").keys;
    assert_eq!(keys.len(), 1 + 24);
    assert_eq!(first.audit().expect("a log").verify(None).expect("reads").problems, []);
}

#[test]
fn a_database_that_crashes_between_two_requests_and_during_them_is_waited_for() {
    let mut cluster = Cluster::start();
    let address = cluster.database();
    let place = Place::Postgres(PostgresConfig::parse(&address, None).expect("parses"));
    let options = CreateOptions { argon2: Argon2Params::dangerous_fast(), ..CreateOptions::default() };
    let kms = place.create(&source(), &options).expect("creates");
    let create = || kms.create_key(&local(), &CreateKeyRequest::default());
    create().expect("creates");
    cluster.tell("restart");
    create().expect("the broken connection is replaced");
    let made = std::sync::atomic::AtomicUsize::new(2);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let (made, stop, create) = (&made, &stop, &create);
                scope.spawn(move || {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        create().expect("is created, with or without a restart under it");
                        made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(150));
            cluster.tell("restart");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("no panic");
        }
    });
    let keys = kms.list_keys(&local(), &ListKeysRequest { page: Page { limit: Some(1000), marker: None } });
    let (keys, made) = (keys.expect("lists").keys.len(), made.into_inner());
    assert_eq!(keys, made, "each creation is there once: none is lost, and none was made twice");
    assert_eq!(kms.audit().expect("a log").verify(None).expect("reads").problems, []);
}

#[test]
fn flipped_bytes_of_rows_are_errors_that_name_the_key() {
    let address = Cluster::shared().database();
    let place = Place::Postgres(PostgresConfig::parse(&address, None).expect("parses"));
    let options = CreateOptions { argon2: Argon2Params::dangerous_fast(), ..CreateOptions::default() };
    let kms = place.create(&source(), &options).expect("creates");
    let key_id = kms.create_key(&local(), &CreateKeyRequest::default()).expect("creates").key_metadata.key_id;
    let request = EncryptRequest::new(key_id, Plaintext::copy_of(b"text"), context());
    let blob = kms.encrypt(&local(), &request).expect("encrypts").ciphertext_blob;
    let name = address.rsplit('/').next().expect("a name").to_owned();
    for table in ["kms_key", "material"] {
        for byte in [0, 31, 40, 60] {
            let flip = format!(
                "UPDATE {table} SET sealed = set_byte(sealed, {byte}, get_byte(sealed, {byte}) # 1);"
            );
            Cluster::shared().sql(&name, &flip).expect("flips");
            let fresh = place.open(&source()).expect("opens");
            let error =
                fresh.decrypt(&local(), &DecryptRequest::new(blob.clone(), context())).expect_err("damaged");
            assert!(matches!(error, KmsError::CorruptRecord(_)), "{error}");
            assert!(error.to_string().contains(&key_id.to_string()), "{error}");
            Cluster::shared().sql(&name, &flip).expect("flips back");
        }
    }
    let fresh = place.open(&source()).expect("opens");
    assert!(fresh.decrypt(&local(), &DecryptRequest::new(blob, context())).is_ok());
}

#[test]
fn what_is_erased_is_gone_from_the_files_of_its_table() {
    let fixture = Fixture::on_postgres();
    let key_id = fixture.create_imported([9; 32]);
    let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
    fixture.delete_material(key_id, None).expect("deletes");
    assert!(fixture.decrypt(&blob).expect_err("erased").is_key_unusable());
    assert!(fixture.kms.run_due().expect("runs").scrubbed);
}
