//! Encrypt, Decrypt, ReEncrypt, data keys, random bytes.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;
use proptest::prelude::*;

use crate::fixture::{Fixture, context};

#[test]
fn the_context_is_bound_and_its_order_is_not() {
    let fixture = Fixture::in_memory();
    let blob = fixture.encrypt(fixture.create(), b"text").expect("encrypts");
    let decrypt = |pairs: &[(&str, &str)]| {
        let context = pairs.iter().copied().collect();
        fixture.kms.decrypt(&fixture.caller, &DecryptRequest::new(blob.clone(), context)).map(drop)
    };
    assert_eq!(decrypt(&[("volume", "one"), ("inode", "42")]), Ok(()));
    assert_eq!(decrypt(&[("inode", "42"), ("volume", "one")]), Ok(()));
    let refused = Err(KmsError::InvalidCiphertext(String::new()));
    assert_eq!(decrypt(&[]), refused);
    assert_eq!(decrypt(&[("volume", "one")]), refused);
    assert_eq!(decrypt(&[("Volume", "one"), ("inode", "42")]), refused);
    assert_eq!(decrypt(&[("volume", "one"), ("inode", "42"), ("x", "")]), refused);
}

#[test]
fn a_named_key_must_be_the_one_that_made_the_blob() {
    let fixture = Fixture::in_memory();
    let (key_id, other) = (fixture.create(), fixture.create());
    let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
    let decrypt = |key_id: KeyId| {
        let request = DecryptRequest::new(blob.clone(), context()).with_key(key_id);
        fixture.kms.decrypt(&fixture.caller, &request).map(|response| response.key_id.to_string())
    };
    assert_eq!(decrypt(key_id), Ok(fixture.arn(key_id)));
    assert_eq!(
        decrypt(other),
        Err(KmsError::IncorrectKey(
            "The key ID in the request does not identify a CMK that can perform this operation.".into()
        ))
    );
    let unknown = KeyId::generate();
    assert_eq!(decrypt(unknown), Err(KmsError::key_not_found(fixture.arn(unknown))));
}

#[test]
fn a_blob_of_an_unknown_key_says_so_without_details() {
    let (one, other) = (Fixture::in_memory(), Fixture::in_memory());
    let blob = one.encrypt(one.create(), b"text").expect("encrypts");
    assert_eq!(
        other.decrypt(&blob),
        Err(KmsError::AccessDenied(
            "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you \
             are not allowed to access."
                .into()
        ))
    );
}

#[test]
fn the_plaintext_has_one_to_4096_bytes() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    for len in [1, 4096] {
        let blob = fixture.encrypt(key_id, &vec![7; len]).expect("fits");
        assert!(blob.as_bytes().len() <= 6144);
        assert_eq!(fixture.decrypt(&blob), Ok(vec![7; len]));
    }
    for len in [0, 4097] {
        let refused = fixture.encrypt(key_id, &vec![7; len]).expect_err("does not fit");
        assert!(refused.message().contains("'plaintext' failed to satisfy constraint"), "{refused}");
    }
}

#[test]
fn data_keys_have_the_length_that_was_asked_for() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let generate = |key_spec, number_of_bytes| {
        let mut request = GenerateDataKeyRequest::aes_256(key_id, context());
        request.key_spec = key_spec;
        request.number_of_bytes = number_of_bytes;
        fixture.kms.generate_data_key(&fixture.caller, &request)
    };
    for (spec, number, len) in [
        (Some(DataKeySpec::Aes256), None, 32),
        (Some(DataKeySpec::Aes128), None, 16),
        (None, Some(1), 1),
        (None, Some(1024), 1024),
    ] {
        let made = generate(spec, number).expect("generates");
        assert_eq!(made.plaintext.len(), len);
        assert_eq!(fixture.decrypt(&made.ciphertext_blob), Ok(made.plaintext.expose().to_vec()));
    }
    let either = "Please specify either number of bytes or key spec.";
    assert_eq!(generate(None, None).expect_err("neither").message(), either);
    assert_eq!(generate(Some(DataKeySpec::Aes256), Some(32)).expect_err("both").message(), either);
    assert_eq!(
        generate(None, Some(1025)).expect_err("too long").message(),
        "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have \
         value less than or equal to 1024"
    );
    assert!(generate(None, Some(0)).is_err() && generate(None, Some(-1)).is_err());
}

#[test]
fn a_data_key_without_plaintext_decrypts_later() {
    let fixture = Fixture::in_memory();
    let request = GenerateDataKeyRequest::aes_256(fixture.create(), context());
    let made = fixture.kms.generate_data_key_without_plaintext(&fixture.caller, &request).expect("generates");
    assert_eq!(fixture.decrypt(&made.ciphertext_blob).expect("decrypts").len(), 32);
}

#[test]
fn many_requests_have_as_many_answers_in_order() {
    let fixture = Fixture::in_memory();
    let (good, bad) = (fixture.create(), fixture.create());
    fixture.disable(bad).expect("disables");
    let requests: Vec<_> = [good, bad, good]
        .into_iter()
        .map(|key_id| GenerateDataKeyRequest::aes_256(key_id, context()))
        .collect();
    let made = fixture.kms.generate_data_keys(&fixture.caller, &requests);
    assert_eq!(made.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    let requests: Vec<_> = made
        .iter()
        .flatten()
        .map(|made| DecryptRequest::new(made.ciphertext_blob.clone(), context()))
        .collect();
    let opened = fixture.kms.decrypt_many(&fixture.caller, &requests);
    let expected: Vec<_> = made.iter().flatten().map(|made| made.plaintext.expose().to_vec()).collect();
    let opened: Vec<_> =
        opened.into_iter().map(|one| one.expect("decrypts").plaintext.expose().to_vec()).collect();
    assert_eq!(opened, expected);
}

#[test]
fn re_encrypt_moves_a_blob_to_another_key_and_context() {
    let fixture = Fixture::in_memory();
    let (from, to) = (fixture.create(), fixture.create());
    let blob = fixture.encrypt(from, b"text").expect("encrypts");
    let mut request = ReEncryptRequest::new(blob, context(), to);
    request.destination_encryption_context = EncryptionContext::from([("new", "context")]);
    let moved = fixture.kms.re_encrypt(&fixture.caller, &request).expect("moves");
    assert_eq!(moved.source_key_id.to_string(), fixture.arn(from));
    assert_eq!(moved.key_id.to_string(), fixture.arn(to));
    assert_ne!(moved.source_key_material_id, moved.destination_key_material_id);
    let request = DecryptRequest::new(moved.ciphertext_blob, request.destination_encryption_context);
    let opened = fixture.kms.decrypt(&fixture.caller, &request).expect("decrypts");
    assert_eq!(opened.plaintext.expose(), b"text");
}

#[test]
fn a_dry_run_never_succeeds_and_reports_refusals_first() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
    let ends = || {
        let mut encrypt = EncryptRequest::new(key_id, Plaintext::copy_of(b"x"), context());
        encrypt.dry_run = true;
        let mut decrypt = DecryptRequest::new(blob.clone(), context());
        decrypt.dry_run = true;
        let mut generate = GenerateDataKeyRequest::aes_256(key_id, context());
        generate.dry_run = true;
        let mut move_to = ReEncryptRequest::new(blob.clone(), context(), key_id);
        move_to.dry_run = true;
        [
            fixture.kms.encrypt(&fixture.caller, &encrypt).map(drop),
            fixture.kms.decrypt(&fixture.caller, &decrypt).map(drop),
            fixture.kms.generate_data_key(&fixture.caller, &generate).map(drop),
            fixture.kms.generate_data_key_without_plaintext(&fixture.caller, &generate).map(drop),
            fixture.kms.re_encrypt(&fixture.caller, &move_to).map(drop),
        ]
    };
    assert!(ends().iter().all(|end| matches!(end, Err(KmsError::DryRunOperation(_)))));
    fixture.disable(key_id).expect("disables");
    assert!(ends().iter().all(|end| matches!(end, Err(KmsError::Disabled(_)))));
}

#[test]
fn an_algorithm_that_does_not_fit_is_refused() {
    let fixture = Fixture::in_memory();
    let mut request = EncryptRequest::new(fixture.create(), Plaintext::copy_of(b"x"), context());
    request.encryption_algorithm = Some(EncryptionAlgorithm::RsaesOaepSha256);
    assert_eq!(
        fixture.kms.encrypt(&fixture.caller, &request).err(),
        Some(KmsError::InvalidKeyUsage(
            "Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT.".into()
        ))
    );
}

#[test]
fn random_bytes_are_as_many_as_asked() {
    let fixture = Fixture::in_memory();
    let random = |number_of_bytes| {
        let request = GenerateRandomRequest { number_of_bytes, custom_key_store_id: None };
        fixture.kms.generate_random(&fixture.caller, &request).map(|response| response.plaintext.len())
    };
    assert_eq!(random(Some(1024)), Ok(1024));
    assert_eq!(random(None), Err(KmsError::Validation("NumberOfBytes is required.".into())));
    assert!(random(Some(1025)).is_err() && random(Some(0)).is_err());
}

#[test]
fn the_same_material_in_two_keys_is_two_keys() {
    let fixture = Fixture::in_memory();
    let (one, two) = (fixture.create_imported([5; 32]), fixture.create_imported([5; 32]));
    let blob = fixture.encrypt(one, b"text").expect("encrypts");
    // The header now names the other key and its material; the ciphertext is still that of the first.
    let other = fixture.encrypt(two, b"text").expect("encrypts");
    let mut forged = other.as_bytes()[..35].to_vec();
    forged.extend_from_slice(&blob.as_bytes()[35..]);
    assert_eq!(fixture.decrypt(&forged.into()), Err(KmsError::invalid_ciphertext()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_encrypted_decrypts_and_nothing_near_it_does(
        plaintext in proptest::collection::vec(any::<u8>(), 1..200),
        pairs in proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..4),
        position in any::<prop::sample::Index>(),
        flip in 1_u8..,
        cut in any::<prop::sample::Index>(),
    ) {
        let fixture = Fixture::in_memory();
        let context: EncryptionContext = pairs.into_iter().collect();
        let request = EncryptRequest::new(fixture.create(), Plaintext::copy_of(&plaintext), context.clone());
        let blob = fixture.kms.encrypt(&fixture.caller, &request).expect("encrypts").ciphertext_blob.into_bytes();
        let decrypt = |blob: Vec<u8>| {
            let request = DecryptRequest::new(blob.into(), context.clone());
            fixture.kms.decrypt(&fixture.caller, &request).map(|opened| opened.plaintext.expose().to_vec())
        };
        prop_assert_eq!(decrypt(blob.clone()), Ok(plaintext));
        let mut changed = blob.clone();
        changed[position.index(blob.len())] ^= flip;
        // A changed key id names a key that does not exist; everything else is one and the same answer.
        match decrypt(changed) {
            Err(KmsError::InvalidCiphertext(message)) => prop_assert_eq!(message, ""),
            Err(KmsError::AccessDenied(_)) => prop_assert!((2..19).contains(&position.index(blob.len()))),
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert_eq!(decrypt(blob[..cut.index(blob.len())].to_vec()), Err(KmsError::invalid_ciphertext()));
        let mut longer = blob;
        longer.push(0);
        prop_assert_eq!(decrypt(longer), Err(KmsError::invalid_ciphertext()));
    }
}
