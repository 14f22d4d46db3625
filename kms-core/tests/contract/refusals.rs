//! What keys of other kinds than the symmetric one refuse, and what their imports need.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::import::wrap_material;
use kms_core::model::*;

use crate::fixture::Fixture;
use crate::kinds::{create_request, exercise, kinds, messages, small_kinds};

type Call = fn(&Fixture, KeyId, bool) -> Result<(), KmsError>;

fn plain(text: &[u8]) -> Plaintext {
    Plaintext::copy_of(text)
}

fn algorithms(fixture: &Fixture, key_id: KeyId) -> Algorithms {
    fixture.describe(key_id).algorithms
}

pub(crate) fn sign(fixture: &Fixture, key_id: KeyId, dry_run: bool) -> Result<(), KmsError> {
    let own = algorithms(fixture, key_id).signing.first();
    let algorithm = *own.unwrap_or(&SigningAlgorithm::EcdsaSha256);
    let (kind, message) = messages(algorithm).remove(0);
    let mut request = SignRequest::new(key_id, plain(&message), algorithm);
    (request.message_type, request.dry_run) = (Some(kind), dry_run);
    fixture.kms.sign(&fixture.caller, &request).map(drop)
}

pub(crate) fn verify(fixture: &Fixture, key_id: KeyId, dry_run: bool) -> Result<(), KmsError> {
    let own = algorithms(fixture, key_id).signing.first();
    let algorithm = *own.unwrap_or(&SigningAlgorithm::EcdsaSha256);
    let (kind, message) = messages(algorithm).remove(0);
    let mut request = VerifyRequest::new(key_id, plain(&message), vec![1; 64], algorithm);
    (request.message_type, request.dry_run) = (Some(kind), dry_run);
    match fixture.kms.verify(&fixture.caller, &request) {
        // The key was used, and the signature is none.
        Err(KmsError::KmsInvalidSignature(_)) => Ok(()),
        other => other.map(drop),
    }
}

pub(crate) fn generate_mac(fixture: &Fixture, key_id: KeyId, dry_run: bool) -> Result<(), KmsError> {
    let algorithm = *algorithms(fixture, key_id).mac.first().unwrap_or(&MacAlgorithm::HmacSha256);
    let mut request = GenerateMacRequest::new(key_id, plain(b"message"), algorithm);
    request.dry_run = dry_run;
    fixture.kms.generate_mac(&fixture.caller, &request).map(drop)
}

pub(crate) fn verify_mac(fixture: &Fixture, key_id: KeyId, dry_run: bool) -> Result<(), KmsError> {
    let algorithm = *algorithms(fixture, key_id).mac.first().unwrap_or(&MacAlgorithm::HmacSha256);
    let mut request = VerifyMacRequest::new(key_id, plain(b"message"), vec![1; 32], algorithm);
    request.dry_run = dry_run;
    match fixture.kms.verify_mac(&fixture.caller, &request) {
        Err(KmsError::KmsInvalidMac(_)) => Ok(()),
        other => other.map(drop),
    }
}

pub(crate) fn derive(fixture: &Fixture, key_id: KeyId, dry_run: bool) -> Result<(), KmsError> {
    let metadata = fixture.describe(key_id);
    let spec =
        if metadata.key_usage == KeyUsage::KeyAgreement { metadata.key_spec } else { KeySpec::EccNistP256 };
    let peer = fixture.create_with(create_request(spec, KeyUsage::KeyAgreement));
    let public = fixture.kms.get_public_key(&fixture.caller, &GetPublicKeyRequest::new(peer))?.public_key;
    let mut request = DeriveSharedSecretRequest::new(key_id, public);
    request.dry_run = dry_run;
    fixture.kms.derive_shared_secret(&fixture.caller, &request).map(drop)
}

pub(crate) fn encapsulate(fixture: &Fixture, key_id: KeyId, dry_run: bool) -> Result<(), KmsError> {
    let mut request = EncapsulateRequest::new(key_id);
    request.dry_run = dry_run;
    fixture.kms.encapsulate(&fixture.caller, &request).map(drop)
}

pub(crate) fn decapsulate(fixture: &Fixture, key_id: KeyId, dry_run: bool) -> Result<(), KmsError> {
    let len = match fixture.describe(key_id).key_spec {
        KeySpec::MlKem512 => 768,
        KeySpec::MlKem768 => 1088,
        _ => 1568,
    };
    let mut request = DecapsulateRequest::new(key_id, vec![7; len].into());
    request.dry_run = dry_run;
    fixture.kms.decapsulate(&fixture.caller, &request).map(drop)
}

fn encrypt(fixture: &Fixture, key_id: KeyId, dry_run: bool) -> Result<(), KmsError> {
    let mut request = EncryptRequest::new(key_id, plain(b"x"), EncryptionContext::new());
    request.encryption_algorithm = algorithms(fixture, key_id).encryption.first().copied();
    request.dry_run = dry_run;
    fixture.kms.encrypt(&fixture.caller, &request).map(drop)
}

/// The operations, and the usage that each needs.
const OPERATIONS: &[(&str, KeyUsage, Call)] = &[
    ("Sign", KeyUsage::SignVerify, sign),
    ("Verify", KeyUsage::SignVerify, verify),
    ("GenerateMac", KeyUsage::GenerateVerifyMac, generate_mac),
    ("VerifyMac", KeyUsage::GenerateVerifyMac, verify_mac),
    ("DeriveSharedSecret", KeyUsage::KeyAgreement, derive),
    ("Encapsulate", KeyUsage::EncapsulateDecapsulate, encapsulate),
    ("Decapsulate", KeyUsage::EncapsulateDecapsulate, decapsulate),
    ("Encrypt", KeyUsage::EncryptDecrypt, encrypt),
];

#[test]
fn every_operation_on_every_kind_in_every_state() {
    let fixture = Fixture::in_memory();
    for (spec, usage) in small_kinds() {
        let key_id = fixture.create_with(create_request(spec, usage));
        let arn = fixture.arn(key_id);
        for (name, needed, call) in OPERATIONS {
            let expected = match usage == *needed {
                true => Ok(()),
                false => Err(KmsError::InvalidKeyUsage(format!(
                    "{arn} key usage is {usage} which is not valid for {name}."
                ))),
            };
            assert_eq!(call(&fixture, key_id, false), expected, "{name} {spec}");
            let dry = expected.and(Err(KmsError::dry_run()));
            assert_eq!(call(&fixture, key_id, true), dry, "{name} {spec}, dry");
        }
        // A state is reported before a usage.
        fixture.disable(key_id).expect("disables");
        let disabled = Err(KmsError::Disabled(format!("{arn} is disabled.")));
        for (name, _, call) in OPERATIONS {
            assert_eq!(call(&fixture, key_id, false), disabled, "{name} {spec}");
        }
        let public = fixture.kms.get_public_key(&fixture.caller, &GetPublicKeyRequest::new(key_id));
        assert_eq!(public.map(drop), disabled);
        fixture.schedule_deletion(key_id, 7).expect("schedules");
        let pending = Err(KmsError::KmsInvalidState(format!("{arn} is pending deletion.")));
        for (name, _, call) in OPERATIONS {
            assert_eq!(call(&fixture, key_id, true), pending, "{name} {spec}");
        }
    }
}

#[test]
fn only_symmetric_keys_rotate_and_only_pairs_have_a_public_key() {
    let fixture = Fixture::in_memory();
    for (spec, usage) in small_kinds() {
        let key_id = fixture.create_with(create_request(spec, usage));
        let unsupported = Err(KmsError::UnsupportedOperation(format!(
            "{} key spec is {spec} which is not valid for this operation.",
            fixture.arn(key_id)
        )));
        let public = fixture.kms.get_public_key(&fixture.caller, &GetPublicKeyRequest::new(key_id));
        if spec.is_asymmetric() {
            let public = public.expect("a public key");
            assert_eq!((public.key_spec, public.key_usage), (spec, usage));
            assert_eq!(public.algorithms, algorithms(&fixture, key_id));
        } else {
            assert_eq!(public.map(drop), unsupported);
        }
        if spec != KeySpec::SymmetricDefault {
            assert_eq!(fixture.rotate(key_id), unsupported);
            assert_eq!(fixture.enable_rotation(key_id, None), unsupported);
            let request = GenerateDataKeyRequest::aes_256(key_id, EncryptionContext::new());
            let refused = fixture.kms.generate_data_key(&fixture.caller, &request).expect_err("no data keys");
            assert!(matches!(refused, KmsError::InvalidKeyUsage(_)), "{refused}");
        }
    }
    let refused =
        fixture.kms.create_key(&fixture.caller, &create_request(KeySpec::Sm2, KeyUsage::SignVerify));
    assert!(matches!(refused, Err(KmsError::UnsupportedOperation(_))));
}

#[test]
fn messages_and_plaintexts_must_fit_the_algorithm() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create_with(create_request(KeySpec::EccNistP384, KeyUsage::SignVerify));
    let sign = |len, kind, algorithm| {
        let mut request = SignRequest::new(key_id, Plaintext::new(vec![1; len]), algorithm);
        request.message_type = Some(kind);
        fixture.kms.sign(&fixture.caller, &request).map(drop)
    };
    let validation = |text: &str| Err(KmsError::Validation(text.to_owned()));
    assert_eq!(
        sign(32, MessageType::Digest, SigningAlgorithm::EcdsaSha384),
        validation("Digest is invalid length for algorithm ECDSA_SHA_384.")
    );
    assert_eq!(
        sign(64, MessageType::ExternalMu, SigningAlgorithm::EcdsaSha384),
        validation("MessageType EXTERNAL_MU is not valid for algorithm ECDSA_SHA_384.")
    );
    assert_eq!(
        sign(32, MessageType::Digest, SigningAlgorithm::EcdsaSha256),
        Err(KmsError::InvalidKeyUsage(
            "Algorithm ECDSA_SHA_256 is incompatible with key spec ECC_NIST_P384.".into()
        ))
    );
    assert!(sign(4096, MessageType::Raw, SigningAlgorithm::EcdsaSha384).is_ok());
    for len in [0, 4097] {
        let refused = sign(len, MessageType::Raw, SigningAlgorithm::EcdsaSha384);
        assert!(matches!(refused, Err(KmsError::Validation(_))));
    }

    let rsa = fixture.create_with(create_request(KeySpec::Rsa2048, KeyUsage::EncryptDecrypt));
    for (algorithm, max) in
        [(EncryptionAlgorithm::RsaesOaepSha1, 214), (EncryptionAlgorithm::RsaesOaepSha256, 190)]
    {
        let encrypt = |len| {
            let mut request =
                EncryptRequest::new(rsa, Plaintext::new(vec![1; len]), EncryptionContext::new());
            request.encryption_algorithm = Some(algorithm);
            fixture.kms.encrypt(&fixture.caller, &request)
        };
        let blob = encrypt(max).expect("fits").ciphertext_blob;
        assert_eq!(
            encrypt(max + 1).map(drop),
            validation(&format!(
                "Algorithm {algorithm} and key spec RSA_2048 cannot encrypt data larger than {max} bytes."
            ))
        );
        // Every change, and the other algorithm, is one and the same answer.
        let mut damaged = blob.clone();
        damaged.0[7] ^= 1;
        for (blob, other) in [(damaged, algorithm), (blob.0[1..].into(), algorithm)] {
            let mut request = DecryptRequest::new(blob, EncryptionContext::new()).with_key(rsa);
            request.encryption_algorithm = Some(other);
            let refused = fixture.kms.decrypt(&fixture.caller, &request).map(drop);
            assert_eq!(refused, Err(KmsError::invalid_ciphertext()));
        }
    }
}

#[test]
fn ciphertexts_move_between_symmetric_and_public_keys() {
    let fixture = Fixture::in_memory();
    let rsa = fixture.create_with(create_request(KeySpec::Rsa2048, KeyUsage::EncryptDecrypt));
    let symmetric = fixture.create();
    let context = EncryptionContext::from([("a", "1")]);
    let request = EncryptRequest::new(symmetric, plain(b"secret"), context.clone());
    let blob = fixture.kms.encrypt(&fixture.caller, &request).expect("encrypts").ciphertext_blob;

    let mut request = ReEncryptRequest::new(blob, context.clone(), rsa);
    request.destination_encryption_algorithm = Some(EncryptionAlgorithm::RsaesOaepSha256);
    let refused = fixture.kms.re_encrypt(&fixture.caller, &request).map(drop);
    assert!(matches!(refused, Err(KmsError::Validation(_))), "a public key authenticates no context");
    request.destination_encryption_context = EncryptionContext::new();
    let moved = fixture.kms.re_encrypt(&fixture.caller, &request).expect("moves");
    assert!(moved.source_key_material_id.is_some() && moved.destination_key_material_id.is_none());

    let mut back = ReEncryptRequest::new(moved.ciphertext_blob, EncryptionContext::new(), symmetric);
    back.source_encryption_algorithm = Some(EncryptionAlgorithm::RsaesOaepSha256);
    back.destination_encryption_context = context.clone();
    let refused = fixture.kms.re_encrypt(&fixture.caller, &back).map(drop);
    assert_eq!(
        refused,
        Err(KmsError::Validation("KeyId is required for algorithm RSAES_OAEP_SHA_256.".into()))
    );
    back.source_key_id = Some(rsa.into());
    let back = fixture.kms.re_encrypt(&fixture.caller, &back).expect("moves back");
    let opened = fixture.kms.decrypt(&fixture.caller, &DecryptRequest::new(back.ciphertext_blob, context));
    assert_eq!(opened.expect("decrypts").plaintext.expose(), b"secret");
}

/// Material of every kind but the symmetric one, made outside of the key that takes it.
pub(crate) fn material(fixture: &Fixture, spec: KeySpec) -> Plaintext {
    // PrivateKeyInfo with a seed (RFC 9881).
    let ml_dsa = |last: u8| {
        let mut der = vec![0x30, 0x34, 0x02, 0x01, 0x00, 0x30, 0x0b, 0x06, 0x09];
        der.extend_from_slice(&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, last]);
        der.extend_from_slice(&[0x04, 0x22, 0x80, 0x20]);
        der.extend_from_slice(&[7; 32]);
        Plaintext::new(der)
    };
    match spec {
        KeySpec::Hmac224 => Plaintext::new(vec![7; 28]),
        KeySpec::SymmetricDefault | KeySpec::Hmac256 => Plaintext::new(vec![7; 32]),
        KeySpec::Hmac384 => Plaintext::new(vec![7; 48]),
        KeySpec::Hmac512 => Plaintext::new(vec![7; 64]),
        KeySpec::MlDsa44 => ml_dsa(0x11),
        KeySpec::MlDsa65 => ml_dsa(0x12),
        KeySpec::MlDsa87 => ml_dsa(0x13),
        pair => {
            let request = GenerateDataKeyPairRequest::new(
                fixture.create(),
                pair.as_str().parse().expect("a kind of data key pair"),
                EncryptionContext::new(),
            );
            let made = fixture.kms.generate_data_key_pair(&fixture.caller, &request).expect("makes");
            let blob = made.private_key_ciphertext_blob;
            let opened =
                fixture.kms.decrypt(&fixture.caller, &DecryptRequest::new(blob, EncryptionContext::new()));
            assert_eq!(opened.expect("decrypts").plaintext.expose(), made.private_key_plaintext.expose());
            made.private_key_plaintext
        }
    }
}

/// Brings material that does not expire.
pub(crate) fn import(fixture: &Fixture, key_id: KeyId, material: &Plaintext) -> Result<(), KmsError> {
    let algorithm = WrappingAlgorithm::RsaAesKeyWrapSha256;
    let request = GetParametersForImportRequest {
        key_id: key_id.into(),
        wrapping_algorithm: algorithm,
        wrapping_key_spec: WrappingKeySpec::Rsa2048,
    };
    let parameters = fixture.kms.get_parameters_for_import(&fixture.caller, &request)?;
    let request = ImportKeyMaterialRequest {
        key_id: key_id.into(),
        encrypted_key_material: wrap_material(&parameters, material, algorithm)?,
        import_token: parameters.import_token,
        valid_to: None,
        expiration_model: Some(ExpirationModel::KeyMaterialDoesNotExpire),
        import_type: None,
        key_material_description: None,
        key_material_id: None,
    };
    fixture.kms.import_key_material(&fixture.caller, &request).map(drop)
}

#[test]
fn material_of_every_kind_is_imported_deleted_and_brought_again() {
    let fixture = Fixture::in_memory();
    let skipped = [KeySpec::SymmetricDefault, KeySpec::Rsa3072, KeySpec::Rsa4096];
    for (spec, usage) in kinds().into_iter().filter(|(spec, _)| !skipped.contains(spec)) {
        let request = CreateKeyRequest { origin: Some(Origin::External), ..create_request(spec, usage) };
        let key_id = fixture.create_with(request);
        assert_eq!(fixture.state(key_id), KeyState::PendingImport);
        let own = material(&fixture, spec);
        import(&fixture, key_id, &own).expect("imports");
        exercise(&fixture, key_id).expect("what it is for");
        fixture.delete_material(key_id, None).expect("deletes");
        assert_eq!(fixture.state(key_id), KeyState::PendingImport);
        // Only the same material comes back, and only material of this kind.
        for wrong in [Plaintext::new(vec![9; own.len()]), Plaintext::new(own.expose()[1..].to_vec())] {
            let refused = import(&fixture, key_id, &wrong);
            assert!(matches!(refused, Err(KmsError::IncorrectKeyMaterial(_))), "{spec}: {refused:?}");
        }
        import(&fixture, key_id, &own).expect("imports again");
        exercise(&fixture, key_id).expect("what it is for");
    }
}

#[test]
fn private_keys_longer_than_the_modulus_need_the_wrap_in_two_steps() {
    let fixture = Fixture::in_memory();
    for (spec, usage) in
        [(KeySpec::Rsa2048, KeyUsage::SignVerify), (KeySpec::EccNistP521, KeyUsage::KeyAgreement)]
    {
        let request = CreateKeyRequest { origin: Some(Origin::External), ..create_request(spec, usage) };
        let key_id = fixture.create_with(request);
        let refused = fixture.parameters(key_id).expect_err("wraps directly");
        assert!(matches!(refused, KmsError::UnsupportedOperation(_)), "{refused}");
    }
}
