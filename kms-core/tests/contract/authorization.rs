//! The default policy, AWS managed keys, and which keys an operation asks about.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;
use kms_core::policy::IdentityPolicy;

use crate::fixture::{Fixture, context, local, service};

fn managed() -> AliasName {
    AliasName::of_service("kmsfs").expect("a service name")
}

fn managed_key(fixture: &Fixture) -> KeyId {
    let request = GenerateDataKeyRequest::aes_256(managed(), context());
    fixture.kms.generate_data_key(&service(), &request).expect("generates").key_id.key_id()
}

#[test]
fn the_key_of_the_service_comes_into_being_when_the_service_first_uses_it() {
    for fixture in Fixture::on_every_store() {
        let request = GenerateDataKeyRequest::aes_256(managed(), context());
        let refused = fixture.kms.generate_data_key(&local(), &request).expect_err("does not exist yet");
        assert!(matches!(refused, KmsError::NotFound(_)));
        let key_id = managed_key(&fixture);
        assert_eq!(managed_key(&fixture), key_id);
        let metadata = fixture.describe(key_id);
        assert_eq!(metadata.key_manager, KeyManager::Aws);
        let request = KeyOnlyRequest::new(key_id);
        let status = fixture.kms.get_key_rotation_status(&local(), &request).expect("tells");
        assert!(status.key_rotation_enabled);
        assert_eq!(status.rotation_period_in_days, Some(365));
    }
}

#[test]
fn only_the_service_uses_its_key_and_nobody_manages_it() {
    let fixture = Fixture::in_memory();
    let key_id = managed_key(&fixture);
    let arn = fixture.arn(key_id);
    let denied = |result: Option<KmsError>, action: &str| {
        assert_eq!(
            result,
            Some(KmsError::AccessDenied(format!(
                "User: arn:aws:iam::000000000000:user/tester is not authorized to perform: kms:{action} on resource: \
                 {arn} because no resource-based policy allows the kms:{action} action"
            )))
        );
    };
    let request = GenerateDataKeyRequest::aes_256(managed(), context());
    denied(fixture.kms.generate_data_key(&local(), &request).err(), "GenerateDataKey");
    let other = Caller::service(AccountId::local(), "tester", "ebs");
    denied(fixture.kms.generate_data_key(&other, &request).err(), "GenerateDataKey");
    for caller in [local(), service()] {
        let request = KeyOnlyRequest::new(key_id);
        denied(fixture.kms.disable_key(&caller, &request).err(), "DisableKey");
        denied(fixture.kms.disable_key_rotation(&caller, &request).err(), "DisableKeyRotation");
        denied(fixture.kms.rotate_key_on_demand(&caller, &request).err(), "RotateKeyOnDemand");
    }
    denied(fixture.schedule_deletion(key_id, 7).err(), "ScheduleKeyDeletion");
    denied(fixture.create_alias("alias/mine", key_id).err(), "CreateAlias");
    let request = UpdateAliasRequest { alias_name: managed(), target_key_id: fixture.create().into() };
    let refused = fixture.kms.update_alias(&local(), &request).expect_err("reserved");
    assert_eq!(refused, KmsError::NotAuthorized(String::new()));
}

#[test]
fn the_key_of_the_service_rotates_every_year() {
    let fixture = Fixture::in_memory();
    let key_id = managed_key(&fixture);
    fixture.clock.advance_days(365);
    assert_eq!(fixture.kms.run_due().expect("runs").settled, 1);
    assert_eq!(fixture.materials(key_id).len(), 2);
}

#[test]
fn another_account_is_refused_and_learns_nothing_from_ciphertext() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
    let stranger = Caller::local("111122223333".parse().expect("an account"), "mallory");
    let request = EncryptRequest::new(key_id, Plaintext::copy_of(b"x"), context());
    assert!(matches!(fixture.kms.encrypt(&stranger, &request), Err(KmsError::AccessDenied(_))));
    let request = DecryptRequest::new(blob, context());
    let refused = fixture.kms.decrypt(&stranger, &request).expect_err("closed");
    assert_eq!(refused, KmsError::ciphertext_key_inaccessible());
    assert!(fixture.kms.create_key(&stranger, &CreateKeyRequest::default()).is_err());
    assert!(fixture.kms.list_keys(&stranger, &ListKeysRequest::default()).is_err());
}

#[test]
fn re_encrypt_asks_on_both_keys() {
    let fixture = Fixture::in_memory();
    let (from, to) = (fixture.create(), fixture.create());
    let blob = fixture.encrypt(from, b"x").expect("encrypts");
    let policy = |from: KeyId, to: KeyId| {
        let allow = |action: &str, key_id: KeyId| {
            let arn = fixture.arn(key_id);
            format!(r#"{{"Effect": "Allow", "Action": "kms:{action}", "Resource": "{arn}"}}"#)
        };
        format!(r#"{{"Statement": [{}, {}]}}"#, allow("ReEncryptFrom", from), allow("ReEncryptTo", to))
    };
    let request = ReEncryptRequest::new(blob, context(), to);
    for (text, expected) in [(policy(from, to), true), (policy(from, from), false), (policy(to, to), false)] {
        let policy = IdentityPolicy::parse(&text).expect("parses");
        let caller = local().with_policies([policy]);
        assert_eq!(fixture.kms.re_encrypt(&caller, &request).is_ok(), expected, "{text}");
    }
}
