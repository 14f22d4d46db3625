//! Keys of every spec: what they are made for works, everything else is refused in the words of AWS.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;

use crate::fixture::Fixture;

/// Every spec that can be created, with each of its usages.
pub(crate) fn kinds() -> Vec<(KeySpec, KeyUsage)> {
    let specs = KeySpec::ALL.iter().filter(|spec| **spec != KeySpec::Sm2);
    specs.flat_map(|spec| spec.usages().iter().map(|usage| (*spec, *usage))).collect()
}

/// The same without those whose keys take long to make.
pub(crate) fn small_kinds() -> Vec<(KeySpec, KeyUsage)> {
    let large = [KeySpec::Rsa3072, KeySpec::Rsa4096];
    kinds().into_iter().filter(|(spec, _)| !large.contains(spec)).collect()
}

/// A request for a key of a spec and usage.
pub(crate) fn create_request(spec: KeySpec, usage: KeyUsage) -> CreateKeyRequest {
    CreateKeyRequest { key_spec: Some(spec), key_usage: Some(usage), ..Default::default() }
}

fn plain(text: &[u8]) -> Plaintext {
    Plaintext::copy_of(text)
}

/// Uses a key once for everything that its usage permits.
pub(crate) fn exercise(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let metadata = fixture.describe(key_id);
    for algorithm in metadata.algorithms.signing {
        sign_and_verify(fixture, key_id, *algorithm)?;
    }
    for algorithm in metadata.algorithms.mac {
        let request = GenerateMacRequest::new(key_id, plain(b"message"), *algorithm);
        let mac = fixture.kms.generate_mac(&fixture.caller, &request)?.mac;
        let request = VerifyMacRequest::new(key_id, plain(b"message"), mac, *algorithm);
        assert!(fixture.kms.verify_mac(&fixture.caller, &request)?.mac_valid);
    }
    for algorithm in metadata.algorithms.encryption {
        let mut request = EncryptRequest::new(key_id, plain(b"secret"), EncryptionContext::new());
        request.encryption_algorithm = Some(*algorithm);
        let made = fixture.kms.encrypt(&fixture.caller, &request)?;
        assert_eq!(made.encryption_algorithm, *algorithm);
        let mut request =
            DecryptRequest::new(made.ciphertext_blob, EncryptionContext::new()).with_key(key_id);
        request.encryption_algorithm = Some(*algorithm);
        let opened = fixture.kms.decrypt(&fixture.caller, &request)?;
        assert_eq!(opened.plaintext.expose(), b"secret");
        assert_eq!(opened.encryption_algorithm, *algorithm);
    }
    if !metadata.algorithms.key_agreement.is_empty() {
        agree(fixture, key_id, metadata.key_spec)?;
    }
    if !metadata.algorithms.encapsulation.is_empty() {
        let made = fixture.kms.encapsulate(&fixture.caller, &EncapsulateRequest::new(key_id))?;
        let request = DecapsulateRequest::new(key_id, made.shared_secret_ciphertext_blob);
        let opened = fixture.kms.decapsulate(&fixture.caller, &request)?;
        assert_eq!(opened.shared_secret.expose(), made.shared_secret.expose());
        assert_eq!(opened.shared_secret.len(), 32);
    }
    Ok(())
}

/// The message types of an algorithm, each with a message that fits.
pub(crate) fn messages(algorithm: SigningAlgorithm) -> Vec<(MessageType, Vec<u8>)> {
    let raw = (MessageType::Raw, b"message".to_vec());
    let digest = |len: usize| (MessageType::Digest, vec![7; len]);
    match (algorithm, algorithm.digest_len()) {
        (SigningAlgorithm::Ed25519PhSha512, Some(len)) => vec![digest(len)],
        (SigningAlgorithm::MlDsaShake256, _) => vec![raw, (MessageType::ExternalMu, vec![7; 64])],
        (_, Some(len)) => vec![raw, digest(len)],
        (_, None) => vec![raw],
    }
}

fn sign_and_verify(fixture: &Fixture, key_id: KeyId, algorithm: SigningAlgorithm) -> Result<(), KmsError> {
    for (kind, message) in messages(algorithm) {
        let mut request = SignRequest::new(key_id, plain(&message), algorithm);
        request.message_type = Some(kind);
        let made = fixture.kms.sign(&fixture.caller, &request)?;
        assert_eq!((made.key_id.key_id(), made.signing_algorithm), (key_id, algorithm));
        let mut request = VerifyRequest::new(key_id, plain(&message), made.signature, algorithm);
        request.message_type = Some(kind);
        assert!(fixture.kms.verify(&fixture.caller, &request)?.signature_valid);
        for damaged in damaged_signatures(&request.signature) {
            let mut request = VerifyRequest::new(key_id, plain(&message), damaged, algorithm);
            request.message_type = Some(kind);
            let refused = fixture.kms.verify(&fixture.caller, &request).expect_err("damaged");
            assert_eq!(refused, KmsError::KmsInvalidSignature(String::new()), "{algorithm} {kind}");
        }
        let mut other = message.clone();
        other[0] ^= 1;
        let mut request = VerifyRequest::new(key_id, plain(&other), request.signature, algorithm);
        request.message_type = Some(kind);
        let refused = fixture.kms.verify(&fixture.caller, &request).expect_err("another message");
        assert_eq!(refused, KmsError::KmsInvalidSignature(String::new()), "{algorithm} {kind}");
    }
    Ok(())
}

/// A flipped bit at either end and in the middle, a byte less, a byte more, nothing, and zeros.
fn damaged_signatures(signature: &[u8]) -> Vec<Vec<u8>> {
    let flipped = |index: usize| {
        let mut damaged = signature.to_vec();
        damaged[index] ^= 1;
        damaged
    };
    vec![
        flipped(0),
        flipped(signature.len() / 2),
        flipped(signature.len() - 1),
        signature[..signature.len() - 1].to_vec(),
        [signature, b"x"].concat(),
        Vec::new(),
        vec![0; signature.len()],
    ]
}

fn public_key(fixture: &Fixture, key_id: KeyId) -> Vec<u8> {
    fixture.kms.get_public_key(&fixture.caller, &GetPublicKeyRequest::new(key_id)).expect("public").public_key
}

fn agree(fixture: &Fixture, key_id: KeyId, spec: KeySpec) -> Result<(), KmsError> {
    let derive = |own: KeyId, peer: Vec<u8>| {
        fixture.kms.derive_shared_secret(&fixture.caller, &DeriveSharedSecretRequest::new(own, peer))
    };
    let own_public =
        fixture.kms.get_public_key(&fixture.caller, &GetPublicKeyRequest::new(key_id))?.public_key;
    let peer = fixture.create_with(create_request(spec, KeyUsage::KeyAgreement));
    let one = derive(key_id, public_key(fixture, peer))?;
    let two = derive(peer, own_public.clone())?;
    assert_eq!(one.shared_secret.expose(), two.shared_secret.expose());
    assert_eq!(one.key_origin, fixture.describe(key_id).origin);
    // A bare point, a key of another curve and a damaged one are all no peers.
    let other_spec = if spec == KeySpec::EccNistP256 { KeySpec::EccNistP384 } else { KeySpec::EccNistP256 };
    let other = fixture.create_with(create_request(other_spec, KeyUsage::KeyAgreement));
    let point = own_public[own_public.len() - point_len(spec)..].to_vec();
    for refused in [point, public_key(fixture, other), own_public[..own_public.len() - 1].to_vec()] {
        let error = derive(key_id, refused).expect_err("no peer");
        assert_eq!(error, KmsError::Validation(format!("The public key is not a valid {spec} public key.")));
    }
    Ok(())
}

fn point_len(spec: KeySpec) -> usize {
    match spec {
        KeySpec::EccNistP256 => 65,
        KeySpec::EccNistP384 => 97,
        _ => 133,
    }
}

#[test]
fn every_kind_does_what_it_is_for() {
    let fixture = Fixture::in_memory();
    for (spec, usage) in kinds() {
        let key_id = fixture.create_with(create_request(spec, usage));
        let metadata = fixture.describe(key_id);
        assert_eq!((metadata.key_spec, metadata.key_usage), (spec, usage));
        let symmetric = spec == KeySpec::SymmetricDefault;
        assert_eq!(metadata.current_key_material_id.is_some(), symmetric, "{spec}");
        exercise(&fixture, key_id).expect("what it is for");
    }
}

#[test]
fn material_of_every_kind_survives_the_store() {
    let fixture = Fixture::on_disk();
    let keys: Vec<_> =
        small_kinds().into_iter().map(|(s, u)| fixture.create_with(create_request(s, u))).collect();
    let before: Vec<_> = keys
        .iter()
        .map(|key_id| fixture.kms.get_public_key(&fixture.caller, &GetPublicKeyRequest::new(*key_id)).ok())
        .map(|answer| answer.map(|answer| answer.public_key))
        .collect();
    let again = Fixture {
        kms: fixture.reopen(),
        clock: fixture.clock.clone(),
        caller: fixture.caller.clone(),
        dir: None,
    };
    for (key_id, before) in keys.into_iter().zip(before) {
        let after = again.kms.get_public_key(&again.caller, &GetPublicKeyRequest::new(key_id)).ok();
        assert_eq!(after.map(|answer| answer.public_key), before);
        exercise(&again, key_id).expect("what it is for");
    }
}
