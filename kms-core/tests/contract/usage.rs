//! When a key was last used.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;
use kms_core::service::EmbeddedKms;

use crate::fixture::{Fixture, context, local};
use crate::kinds::{create_request, exercise, small_kinds};

fn last_use_of(kms: &EmbeddedKms, key_id: KeyId) -> Option<KeyLastUsage> {
    let found = kms.get_key_last_usage(&local(), &KeyOnlyRequest::new(key_id)).expect("tells");
    assert_eq!(found.key_id.key_id(), key_id);
    assert!(found.tracking_start_date >= found.key_creation_date);
    found.key_last_usage
}

#[test]
fn each_operation_is_the_last_one_until_the_next() {
    use UsageOperation::{Decrypt, Encrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, ReEncrypt};

    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create();
        assert_eq!(last_use_of(&fixture.kms, key_id), None);
        let expect = |operation| {
            let usage = last_use_of(&fixture.kms, key_id).expect("was used");
            assert_eq!((usage.operation, usage.timestamp), (operation, fixture.clock.now()));
            fixture.clock.advance_days(1);
        };
        let blob = fixture.encrypt(key_id, b"x").expect("encrypts");
        expect(Encrypt);
        fixture.decrypt(&blob).expect("decrypts");
        expect(Decrypt);
        let request = GenerateDataKeyRequest::aes_256(key_id, context());
        fixture.kms.generate_data_key(&fixture.caller, &request).expect("makes");
        expect(GenerateDataKey);
        fixture.kms.generate_data_key_without_plaintext(&fixture.caller, &request).expect("makes");
        expect(GenerateDataKeyWithoutPlaintext);
        let other = fixture.create();
        let request = ReEncryptRequest::new(blob, context(), other);
        fixture.kms.re_encrypt(&fixture.caller, &request).expect("moves");
        assert_eq!(last_use_of(&fixture.kms, other).map(|usage| usage.operation), Some(ReEncrypt));
        expect(ReEncrypt);
    }
}

#[test]
fn every_kind_of_use_counts_and_a_failed_one_does_not() {
    let fixture = Fixture::in_memory();
    for (spec, usage) in small_kinds() {
        let key_id = fixture.create_with(create_request(spec, usage));
        exercise(&fixture, key_id).expect("what it is for");
        let last = last_use_of(&fixture.kms, key_id).expect("was used").operation;
        let expected = match usage {
            KeyUsage::EncryptDecrypt => UsageOperation::Decrypt,
            KeyUsage::SignVerify => UsageOperation::Verify,
            KeyUsage::GenerateVerifyMac => UsageOperation::VerifyMac,
            KeyUsage::KeyAgreement => UsageOperation::DeriveSharedSecret,
            KeyUsage::EncapsulateDecapsulate => UsageOperation::Decapsulate,
        };
        assert_eq!(last, expected, "{spec} {usage}");
    }
    let key_id = fixture.create();
    let blob = fixture.encrypt(key_id, b"x").expect("encrypts");
    let wrong = DecryptRequest::new(blob, EncryptionContext::new());
    assert!(fixture.kms.decrypt(&fixture.caller, &wrong).is_err());
    let mut dry = EncryptRequest::new(key_id, Plaintext::copy_of(b"x"), context());
    dry.dry_run = true;
    assert!(fixture.kms.encrypt(&fixture.caller, &dry).is_err());
    assert_eq!(last_use_of(&fixture.kms, key_id).map(|usage| usage.operation), Some(UsageOperation::Encrypt));
}

#[test]
fn another_process_learns_of_a_use_when_it_is_written() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    fixture.encrypt(key_id, b"x").expect("encrypts");
    let other = fixture.reopen();
    assert_eq!(last_use_of(&other, key_id), None, "not yet");
    fixture.kms.run_due().expect("runs");
    let first = last_use_of(&other, key_id).expect("was used");
    // The later use wins, whoever writes last.
    fixture.clock.advance_days(1);
    let request = GenerateDataKeyRequest::aes_256(key_id, context());
    fixture.kms.generate_data_key(&fixture.caller, &request).expect("makes");
    drop(other);
    fixture.kms.run_due().expect("runs");
    let path = fixture.path();
    let dir = fixture.dir;
    drop(fixture.kms);
    let again = crate::fixture::open(&path, &fixture.clock);
    let second = last_use_of(&again, key_id).expect("was used");
    assert!(second.timestamp > first.timestamp);
    assert_eq!(second.operation, UsageOperation::GenerateDataKey);
    drop(dir);
}

#[test]
fn the_end_of_a_service_writes_what_it_knows() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    let other = fixture.reopen();
    let request = EncryptRequest::new(key_id, Plaintext::copy_of(b"x"), context());
    other.encrypt(&fixture.caller, &request).expect("encrypts");
    drop(other);
    assert_eq!(last_use_of(&fixture.kms, key_id).map(|usage| usage.operation), Some(UsageOperation::Encrypt));
}

#[test]
fn an_alias_is_refused_and_a_deleted_key_has_no_use() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    fixture.create_alias("alias/a", key_id).expect("creates");
    fixture.encrypt(key_id, b"x").expect("encrypts");
    let alias: KeyRef = "alias/a".parse().expect("an alias");
    let refused = fixture.kms.get_key_last_usage(&fixture.caller, &KeyOnlyRequest { key_id: alias });
    assert_eq!(refused, Err(KmsError::NotFound("Invalid keyId alias/a".into())));
    fixture.schedule_deletion(key_id, 7).expect("schedules");
    assert!(last_use_of(&fixture.kms, key_id).is_some(), "told in every state");
    fixture.clock.advance_days(7);
    fixture.kms.run_due().expect("runs");
    let gone = fixture.kms.get_key_last_usage(&fixture.caller, &KeyOnlyRequest::new(key_id));
    assert!(matches!(gone, Err(KmsError::NotFound(_))));
}

/// Related multi-Region keys are used apart.
#[test]
fn each_region_has_a_last_use_of_its_own() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create_multi_region();
    fixture.replicate(key_id, "eu-west-1").expect("replicates");
    let there = fixture.in_region("eu-west-1");
    there.encrypt(key_id, b"x").expect("encrypts");
    fixture.kms.run_due().expect("runs");
    assert_eq!(last_use_of(&fixture.kms, key_id), None);
    assert!(last_use_of(&there.kms, key_id).is_some());
}
