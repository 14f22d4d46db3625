//! Known answers for keys of every kind, from Project Wycheproof: material comes in by import, as a customer brings it.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;
use serde::Deserialize;

use crate::fixture::Fixture;
use crate::kinds::create_request;
use crate::refusals::import;
use crate::vectors::bytes;

#[derive(Deserialize)]
struct Vectors {
    macs: Vec<Mac>,
    oaep: Vec<Oaep>,
    kem: Vec<Kem>,
    dsa: Vec<Dsa>,
    ecdh: Vec<Ecdh>,
}

#[derive(Deserialize)]
struct Mac {
    spec: String,
    material: String,
    message: String,
    mac: String,
    valid: bool,
}

#[derive(Deserialize)]
struct Oaep {
    algorithm: String,
    material: String,
    ciphertext: String,
    plaintext: String,
    valid: bool,
}

#[derive(Deserialize)]
struct Kem {
    seed: String,
    public: String,
    ciphertext: String,
    secret: String,
}

#[derive(Deserialize)]
struct Dsa {
    material: String,
    message: String,
    mu: String,
    signature: String,
}

#[derive(Deserialize)]
struct Ecdh {
    private: String,
    peer: String,
    secret: String,
    valid: bool,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/kinds.json")).expect("the vectors are JSON")
}

/// A key that was made elsewhere.
fn imported(fixture: &Fixture, spec: KeySpec, usage: KeyUsage, material: &[u8]) -> KeyId {
    let request = CreateKeyRequest { origin: Some(Origin::External), ..create_request(spec, usage) };
    let key_id = fixture.create_with(request);
    import(fixture, key_id, &Plaintext::copy_of(material)).expect("imports");
    key_id
}

#[test]
fn message_authentication_codes() {
    let fixture = Fixture::in_memory();
    for vector in vectors().macs {
        let spec: KeySpec = vector.spec.parse().expect("a spec");
        let key_id = imported(&fixture, spec, KeyUsage::GenerateVerifyMac, &bytes(&vector.material));
        let [algorithm] = spec.mac_algorithms() else { panic!("one algorithm") };
        let (message, mac) = (Plaintext::new(bytes(&vector.message)), bytes(&vector.mac));
        let made = fixture
            .kms
            .generate_mac(&fixture.caller, &GenerateMacRequest::new(key_id, message, *algorithm))
            .expect("authenticates")
            .mac;
        assert_eq!(made == mac, vector.valid);
        let message = Plaintext::new(bytes(&vector.message));
        let request = VerifyMacRequest::new(key_id, message, mac, *algorithm);
        assert_eq!(fixture.kms.verify_mac(&fixture.caller, &request).is_ok(), vector.valid);
    }
}

#[test]
fn rsa_oaep() {
    let fixture = Fixture::in_memory();
    let mut keys = std::collections::BTreeMap::new();
    for vector in vectors().oaep {
        let key_id = *keys.entry(vector.material.clone()).or_insert_with(|| {
            imported(&fixture, KeySpec::Rsa2048, KeyUsage::EncryptDecrypt, &bytes(&vector.material))
        });
        let blob = bytes(&vector.ciphertext).into();
        let mut request = DecryptRequest::new(blob, EncryptionContext::new()).with_key(key_id);
        request.encryption_algorithm = Some(vector.algorithm.parse().expect("an algorithm"));
        match fixture.kms.decrypt(&fixture.caller, &request) {
            Ok(opened) => {
                assert!(vector.valid);
                assert_eq!(opened.plaintext.expose(), bytes(&vector.plaintext));
            }
            Err(error) => {
                assert!(!vector.valid);
                assert_eq!(error, KmsError::invalid_ciphertext());
            }
        }
    }
}

#[test]
fn ml_kem_768() {
    let fixture = Fixture::in_memory();
    for vector in vectors().kem {
        // PrivateKeyInfo with a seed (RFC 9935).
        let prefix = "3054020100300b060960864801650304040204428040";
        let material = [bytes(prefix), bytes(&vector.seed)].concat();
        let key_id = imported(&fixture, KeySpec::MlKem768, KeyUsage::EncapsulateDecapsulate, &material);
        let public = fixture.kms.get_public_key(&fixture.caller, &GetPublicKeyRequest::new(key_id));
        assert!(public.expect("public").public_key.ends_with(&bytes(&vector.public)));
        let request = DecapsulateRequest::new(key_id, bytes(&vector.ciphertext).into());
        let opened = fixture.kms.decapsulate(&fixture.caller, &request).expect("opens");
        assert_eq!(opened.shared_secret.expose(), bytes(&vector.secret));
        let short = DecapsulateRequest::new(key_id, bytes(&vector.ciphertext)[1..].into());
        let refused = fixture.kms.decapsulate(&fixture.caller, &short).expect_err("too short");
        assert_eq!(refused, KmsError::invalid_ciphertext());
    }
}

/// The representative signs and verifies as the message does, in two implementations that share no code.
#[test]
fn ml_dsa_65() {
    let fixture = Fixture::in_memory();
    for vector in vectors().dsa {
        let key_id = imported(&fixture, KeySpec::MlDsa65, KeyUsage::SignVerify, &bytes(&vector.material));
        let forms = [(MessageType::Raw, &vector.message), (MessageType::ExternalMu, &vector.mu)];
        let verify = |kind, message: &str, signature: Vec<u8>| {
            let message = Plaintext::new(bytes(message));
            let mut request = VerifyRequest::new(key_id, message, signature, SigningAlgorithm::MlDsaShake256);
            request.message_type = Some(kind);
            fixture.kms.verify(&fixture.caller, &request).map(drop)
        };
        for (kind, message) in forms {
            assert_eq!(verify(kind, message, bytes(&vector.signature)), Ok(()));
            let message = Plaintext::new(bytes(message));
            let mut request = SignRequest::new(key_id, message, SigningAlgorithm::MlDsaShake256);
            request.message_type = Some(kind);
            let made = fixture.kms.sign(&fixture.caller, &request).expect("signs").signature;
            for (kind, message) in forms {
                assert_eq!(verify(kind, message, made.clone()), Ok(()));
            }
        }
    }
}

#[test]
fn ecdh_p256() {
    let fixture = Fixture::in_memory();
    for vector in vectors().ecdh {
        // PrivateKeyInfo without the public key (RFC 5915).
        let prefix = "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420";
        let material = [bytes(prefix), bytes(&vector.private)].concat();
        let key_id = imported(&fixture, KeySpec::EccNistP256, KeyUsage::KeyAgreement, &material);
        let request = DeriveSharedSecretRequest::new(key_id, bytes(&vector.peer));
        match fixture.kms.derive_shared_secret(&fixture.caller, &request) {
            Ok(made) => {
                assert!(vector.valid);
                assert_eq!(made.shared_secret.expose(), bytes(&vector.secret));
            }
            Err(error) => {
                assert!(!vector.valid, "{error}");
                assert!(matches!(error, KmsError::Validation(_)));
            }
        }
    }
}
