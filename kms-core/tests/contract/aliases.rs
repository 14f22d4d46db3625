//! Aliases.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;

use crate::fixture::{Fixture, context};

fn name(text: &str) -> AliasName {
    text.parse().expect("valid name")
}

#[test]
fn an_alias_stands_for_its_key_in_cryptography_and_describe() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create();
        fixture.create_alias("alias/data", key_id).expect("creates");
        let blob = fixture.encrypt(name("alias/data"), b"text").expect("encrypts");
        assert_eq!(fixture.decrypt(&blob), Ok(b"text".to_vec()));
        let request = DecryptRequest::new(blob, context()).with_key(name("alias/data"));
        assert!(fixture.kms.decrypt(&fixture.caller, &request).is_ok());
        let arn: KeyRef = name("alias/data").arn(fixture.kms.realm()).parse().expect("an alias ARN");
        let described = fixture.kms.describe_key(&fixture.caller, &DescribeKeyRequest::new(arn));
        assert_eq!(described.expect("describes").key_metadata.key_id, key_id);
    }
}

#[test]
fn management_operations_refuse_aliases() {
    let fixture = Fixture::in_memory();
    fixture.create_alias("alias/data", fixture.create()).expect("creates");
    let request = KeyOnlyRequest::new(name("alias/data"));
    let refused = KmsError::NotFound("Invalid keyId alias/data".into());
    assert_eq!(fixture.kms.disable_key(&fixture.caller, &request).err(), Some(refused.clone()));
    assert_eq!(fixture.kms.enable_key(&fixture.caller, &request).err(), Some(refused.clone()));
    assert_eq!(fixture.kms.rotate_key_on_demand(&fixture.caller, &request).err(), Some(refused.clone()));
    assert_eq!(fixture.kms.get_key_rotation_status(&fixture.caller, &request).err(), Some(refused.clone()));
    assert_eq!(fixture.kms.cancel_key_deletion(&fixture.caller, &request).err(), Some(refused.clone()));
    let request =
        ScheduleKeyDeletionRequest { key_id: name("alias/data").into(), pending_window_in_days: None };
    assert_eq!(fixture.kms.schedule_key_deletion(&fixture.caller, &request).err(), Some(refused));
}

#[test]
fn messages_are_those_of_aws() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    fixture.create_alias("alias/data", key_id).expect("creates");
    let arn = name("alias/data").arn(fixture.kms.realm());
    assert_eq!(arn, "arn:aws:kms:local-1:000000000000:alias/data");
    assert_eq!(
        fixture.create_alias("alias/data", key_id),
        Err(KmsError::AlreadyExists(format!("An alias with the name {arn} already exists")))
    );
    let to_alias =
        CreateAliasRequest { alias_name: name("alias/two"), target_key_id: name("alias/data").into() };
    assert_eq!(
        fixture.kms.create_alias(&fixture.caller, &to_alias).err(),
        Some(KmsError::Validation("Aliases must refer to keys. Not aliases".into()))
    );
    assert_eq!(fixture.create_alias("alias/aws/data", key_id), Err(KmsError::NotAuthorized(String::new())));
    let missing = DeleteAliasRequest { alias_name: name("alias/none") };
    assert_eq!(
        fixture.kms.delete_alias(&fixture.caller, &missing).err(),
        Some(KmsError::NotFound("Alias arn:aws:kms:local-1:000000000000:alias/none is not found.".into()))
    );
    assert_eq!(
        fixture.encrypt(name("alias/none"), b"x").err(),
        Some(KmsError::NotFound("Alias arn:aws:kms:local-1:000000000000:alias/none is not found.".into()))
    );
}

#[test]
fn an_updated_alias_encrypts_under_the_new_key_and_old_blobs_still_open() {
    for fixture in Fixture::on_every_store() {
        let (old, new) = (fixture.create(), fixture.create());
        fixture.create_alias("alias/data", old).expect("creates");
        let blob = fixture.encrypt(name("alias/data"), b"text").expect("encrypts");
        fixture.clock.advance_days(1);
        let request = UpdateAliasRequest { alias_name: name("alias/data"), target_key_id: new.into() };
        fixture.kms.update_alias(&fixture.caller, &request).expect("updates");
        let request = GenerateDataKeyRequest::aes_256(name("alias/data"), context());
        let made = fixture.kms.generate_data_key(&fixture.caller, &request).expect("generates");
        assert_eq!(made.key_id.to_string(), fixture.arn(new));
        assert_eq!(fixture.decrypt(&blob), Ok(b"text".to_vec()));
        let request = DecryptRequest::new(blob, context()).with_key(name("alias/data"));
        let refused = fixture.kms.decrypt(&fixture.caller, &request).expect_err("another key");
        assert_eq!(refused, KmsError::incorrect_key());
    }
}

#[test]
fn a_key_has_at_most_fifty_aliases() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    for number in 0..50 {
        fixture.create_alias(&format!("alias/{number}"), key_id).expect("creates");
    }
    assert!(matches!(fixture.create_alias("alias/50", key_id), Err(KmsError::LimitExceeded(_))));
}

#[test]
fn deleting_an_alias_leaves_its_key() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    fixture.create_alias("alias/data", key_id).expect("creates");
    let request = DeleteAliasRequest { alias_name: name("alias/data") };
    fixture.kms.delete_alias(&fixture.caller, &request).expect("deletes");
    assert!(fixture.encrypt(name("alias/data"), b"x").is_err());
    assert!(fixture.encrypt(key_id, b"x").is_ok());
}
