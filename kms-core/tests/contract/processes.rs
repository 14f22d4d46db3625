//! Several services over one keystore: what one changes holds for the next call of the others.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::keystore::Keystore;
use kms_core::model::*;

use crate::fixture::{Fixture, context, local, service, source};

#[test]
fn a_change_by_one_holds_for_the_next_call_of_the_other() {
    let daemon = Fixture::on_disk();
    let command = Fixture { kms: daemon.reopen(), clock: daemon.clock.clone(), ..Fixture::in_memory() };
    let key_id = daemon.create();
    let blob = daemon.encrypt(key_id, b"text").expect("encrypts");
    for _ in 0..20 {
        command.disable(key_id).expect("disables");
        assert!(matches!(daemon.decrypt(&blob), Err(KmsError::Disabled(_))));
        command.enable(key_id).expect("enables");
        assert_eq!(daemon.decrypt(&blob), Ok(b"text".to_vec()));
    }
    command.create_alias("alias/data", key_id).expect("creates");
    let name: AliasName = "alias/data".parse().expect("valid");
    assert!(daemon.encrypt(name.clone(), b"x").is_ok());
    let other = command.create();
    let request = UpdateAliasRequest { alias_name: name.clone(), target_key_id: other.into() };
    command.kms.update_alias(&command.caller, &request).expect("updates");
    let request = GenerateDataKeyRequest::aes_256(name, context());
    let made = daemon.kms.generate_data_key(&daemon.caller, &request).expect("generates");
    assert_eq!(made.key_id.key_id(), other);
}

#[test]
fn material_that_one_deletes_is_not_used_by_the_other() {
    let daemon = Fixture::on_disk();
    let command = Fixture { kms: daemon.reopen(), clock: daemon.clock.clone(), ..Fixture::in_memory() };
    let key_id = daemon.create_imported([1; 32]);
    let blob = daemon.encrypt(key_id, b"text").expect("encrypts");
    command.delete_material(key_id, None).expect("deletes");
    assert!(daemon.decrypt(&blob).expect_err("erased").is_key_unusable());
}

#[test]
fn writers_do_not_lose_each_other_s_changes() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    let services = [fixture.reopen(), fixture.reopen(), fixture.reopen()];
    thread::scope(|scope| {
        for kms in &services {
            scope.spawn(|| {
                for _ in 0..8 {
                    kms.rotate_key_on_demand(&local(), &KeyOnlyRequest::new(key_id)).expect("rotates");
                    kms.create_key(&local(), &CreateKeyRequest::default()).expect("creates");
                }
            });
        }
    });
    assert_eq!(fixture.materials(key_id).len(), 1 + 3 * 8);
    let keys = fixture.kms.list_keys(&local(), &ListKeysRequest::default()).expect("lists").keys;
    assert_eq!(keys.len(), 1 + 3 * 8);
}

#[test]
fn the_key_of_a_service_is_created_once() {
    let fixture = Fixture::on_disk();
    let services: Vec<_> = (0..4).map(|_| fixture.reopen()).collect();
    let ids: BTreeSet<KeyId> = thread::scope(|scope| {
        let threads: Vec<_> = services
            .iter()
            .map(|kms| {
                scope.spawn(|| {
                    let name = AliasName::of_service("kmsfs").expect("a service name");
                    let request = GenerateDataKeyRequest::aes_256(name, context());
                    kms.generate_data_key(&service(), &request).expect("generates").key_id.key_id()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(ids.len(), 1);
}

/// What the other process does in the test below.
#[test]
#[ignore = "the body of another process; started by the next test"]
fn child_that_disables_a_key() {
    let path = std::env::var("KMS_CORE_TEST_KEYSTORE").expect("set by the parent");
    let key_id: KeyId =
        std::env::var("KMS_CORE_TEST_KEY").expect("set by the parent").parse().expect("a key id");
    let kms = Keystore::open(path.as_ref(), &source()).expect("opens");
    kms.disable_key(&local(), &KeyOnlyRequest::new(key_id)).expect("disables");
}

#[test]
fn another_process_disables_a_key_under_a_running_service() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
    assert!(fixture.decrypt(&blob).is_ok());
    let status = Command::new(std::env::current_exe().expect("a path"))
        .args(["--ignored", "--exact", "processes::child_that_disables_a_key"])
        .env("KMS_CORE_TEST_KEYSTORE", fixture.path())
        .env("KMS_CORE_TEST_KEY", key_id.to_string())
        .output()
        .expect("starts")
        .status;
    assert!(status.success());
    assert!(matches!(fixture.decrypt(&blob), Err(KmsError::Disabled(_))));
}
