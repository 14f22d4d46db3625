//! What becomes of a proxy that is slow, confused or malicious.

use std::sync::Arc;
use std::time::Instant;

use kms_core::KmsError;
use kms_core::custody::{CustodyError, KeyCustody, KeyStoreProvider, KeyUser, OpenMaterial};
use kms_core::model::{ConnectionErrorCode, CustomKeyStoreId, KeyId, KeySpec, KeyStoreConfig, ProxyConfig};
use serde_json::{Value, json};

use super::faulty::{Answer, Faulty, SLOW};
use super::{connect, provider};

const USER: KeyUser<'static> = KeyUser {
    principal: "arn:aws:iam::000000000000:user/tester",
    via_service: Some("kmsfs"),
    operation: "CreateKey",
    key_arn: "arn:aws:kms:local-1:000000000000:key/a",
    request_id: None,
};

fn key(custody: &dyn KeyCustody) -> Arc<dyn OpenMaterial> {
    let key_id = KeyId::generate();
    let made = custody.adopt(&key_id, "external", &USER).expect("adopts");
    custody.open(&key_id, KeySpec::SymmetricDefault, &made.material_id, &made.handle).expect("opens")
}

fn document(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

/// A way to be wrong.
type Fault = fn(&str, Answer) -> Answer;

fn changed(answer: &Answer, name: &str, value: Value) -> Answer {
    let mut document = document(answer);
    document[name] = value;
    Answer::json(200, &document)
}

#[test]
fn every_fault_ends_in_a_documented_error_and_passes() {
    let (unavailable, timeout) = ("KeyUnavailableException", "DependencyTimeoutException");
    let invalid = "KMSInvalidStateException";
    let faults: &[(&str, Fault, &str)] = &[
        ("slow", |_, answer| Answer { delay: SLOW, ..answer }, timeout),
        ("no JSON", |_, answer| Answer { body: b"<html>".to_vec(), ..answer }, unavailable),
        ("no type", |_, answer| Answer { content_type: "text/html", ..answer }, unavailable),
        ("huge", |_, answer| Answer { body: vec![b' '; 10 << 20], ..answer }, unavailable),
        ("empty", |_, answer| Answer { body: Vec::new(), ..answer }, unavailable),
        ("redirect", |_, answer| Answer { status: 302, ..answer }, unavailable),
        ("wrong status", |_, _| Answer::refusal(500, "KeyNotFoundException"), unavailable),
        ("unknown name", |_, _| Answer::refusal(400, "NoSuchException"), unavailable),
        ("throttled", |_, _| Answer::refusal(429, "ThrottlingException"), unavailable),
        ("internal", |_, _| Answer::refusal(500, "InternalException"), unavailable),
        ("dependency", |_, _| Answer::refusal(503, "DependencyTimeoutException"), timeout),
        ("validation", |_, _| Answer::refusal(400, "ValidationException"), invalid),
        ("disabled", |_, _| Answer::refusal(400, "InvalidStateException"), invalid),
        ("ciphertext", |_, _| Answer::refusal(400, "InvalidCiphertextException"), invalid),
        ("usage", |_, _| Answer::refusal(400, "InvalidKeyUsageException"), invalid),
        ("credential", |_, _| Answer::refusal(401, "AuthenticationFailedException"), invalid),
        ("denied", |_, _| Answer::refusal(403, "AccessDeniedException"), invalid),
        ("no key", |_, _| Answer::refusal(404, "KeyNotFoundException"), invalid),
        ("no path", |_, _| Answer::refusal(404, "InvalidUriPathException"), invalid),
        ("unsupported", |_, _| Answer::refusal(501, "UnsupportedOperationException"), invalid),
    ];
    let proxy = Faulty::start();
    let custody = connect(&proxy.config()).expect("connects");
    let key = key(&*custody);
    let body = key.encrypt_for(&USER, b"aad", b"text").expect("encrypts");
    for (name, fault, expected) in faults {
        proxy.set(*fault);
        for outcome in [
            key.encrypt_for(&USER, b"aad", b"text").map(drop),
            key.decrypt_for(&USER, b"aad", &body).map(drop),
        ] {
            let started = Instant::now();
            let error = KmsError::from(outcome.expect_err(name));
            assert_eq!(error.code(), *expected, "{name}: {error}");
            assert!(!error.to_string().contains("words of the proxy"), "{name}: {error}");
            assert!(started.elapsed() < SLOW, "{name}");
        }
        proxy.behave();
        assert_eq!(key.decrypt_for(&USER, b"aad", &body).expect(name).expose(), b"text");
    }
}

#[test]
fn without_another_budget_an_answer_has_a_quarter_of_a_second() {
    let proxy = Faulty::start();
    proxy.set(|_, answer| Answer { delay: SLOW, ..answer });
    let config = ProxyConfig { budget_millis: None, ..proxy.config() };
    let started = Instant::now();
    let failure = connect(&config).err().expect("is slow");
    assert_eq!(failure.code, ConnectionErrorCode::XksProxyTimedOut);
    assert!((250..1500).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}

#[test]
fn an_encryption_is_believed_only_with_its_integrity_value() {
    let proxy = Faulty::start();
    let custody = connect(&proxy.config()).expect("connects");
    let key = key(&*custody);
    let faults: &[(&str, Fault)] = &[
        ("no value", |_, answer| changed(&answer, "ciphertextDataIntegrityValue", Value::Null)),
        ("another value", |_, answer| {
            changed(
                &answer,
                "ciphertextDataIntegrityValue",
                json!("qHA/ImC9h5HsLRXqCyPmWgYx7tzyoTplzILbP0fPXsc="),
            )
        }),
        ("another ciphertext", |_, answer| changed(&answer, "ciphertext", json!("AAAA"))),
        ("another IV", |_, answer| changed(&answer, "initializationVector", json!("AAAAAAAAAAAAAAAA"))),
        ("another tag", |_, answer| changed(&answer, "authenticationTag", json!("AAAAAAAAAAAAAAAAAAAAAA=="))),
        ("other metadata", |_, answer| changed(&answer, "ciphertextMetadata", json!("AAAA"))),
        ("no IV", |_, answer| changed(&answer, "initializationVector", Value::Null)),
        // With a true value, but of a form that the API does not have.
        ("a short ciphertext", |_, _| Answer::json(200, &super::faulty::encrypted(b"", b"short", &[1; 12]))),
        ("a long IV", |_, _| Answer::json(200, &super::faulty::encrypted(b"", b"short", &[1; 13]))),
    ];
    for (name, fault) in faults {
        proxy.set(*fault);
        let error = key.encrypt_for(&USER, b"aad", b"text").expect_err(name);
        assert!(matches!(error, CustodyError::Unavailable(_)), "{name}: {error}");
    }
    proxy.behave();
    let body = key.encrypt_for(&USER, b"aad", b"text").expect("encrypts");
    // A proxy that decrypts to something else is not believed either.
    proxy.set(|_, answer| changed(&answer, "plaintext", json!("AAAA")));
    let error = key.decrypt_for(&USER, b"aad", &body).expect_err("another plaintext");
    assert!(matches!(error, CustodyError::Unavailable(_)), "{error}");
}

#[test]
fn a_proxy_alone_does_not_decrypt() {
    let proxy = Faulty::start();
    let custody = connect(&proxy.config()).expect("connects");
    let key = key(&*custody);
    // This proxy does not encrypt at all, and still nothing of the plaintext is in the body.
    let body = key.encrypt_for(&USER, b"aad", b"a text of some length").expect("encrypts");
    assert!(!body.windows(4).any(|window| window == b"text"));
    let mut changed = body.clone();
    for place in 0..body.len() {
        changed[place] ^= 1;
        assert_eq!(key.decrypt_for(&USER, b"aad", &changed).err(), Some(CustodyError::Unauthentic));
        changed[place] ^= 1;
    }
}

#[test]
fn only_an_external_key_that_fits_becomes_a_key() {
    let proxy = Faulty::start();
    let custody = connect(&proxy.config()).expect("connects");
    let faults: &[(Fault, &str)] = &[
        (|_, answer| changed(&answer, "keySpec", json!("AES_128")), "XksKeyInvalidConfigurationException"),
        (|_, answer| changed(&answer, "keyUsage", json!(["ENCRYPT"])), "XksKeyInvalidConfigurationException"),
        (|_, answer| changed(&answer, "keyStatus", json!("DISABLED")), "XksKeyInvalidConfigurationException"),
        (|_, _| Answer::refusal(404, "KeyNotFoundException"), "XksKeyNotFoundException"),
        (|_, _| Answer::refusal(403, "AccessDeniedException"), "KMSInvalidStateException"),
        (|_, _| Answer::refusal(429, "ThrottlingException"), "CustomKeyStoreInvalidStateException"),
        (|_, answer| Answer { delay: SLOW, ..answer }, "CustomKeyStoreInvalidStateException"),
    ];
    for (fault, expected) in faults {
        proxy.set(*fault);
        let error = custody.adopt(&KeyId::generate(), "external", &USER).expect_err(expected);
        assert_eq!(error.code(), *expected);
        assert!(!error.to_string().contains("words of the proxy"));
    }
    proxy.behave();
    for name in ["", "a/b", "..", "a?b", &"a".repeat(129)] {
        let error = custody.adopt(&KeyId::generate(), name, &USER).expect_err(name);
        assert_eq!(error.code(), "ValidationException", "{name}");
    }
    custody.adopt(&KeyId::generate(), "a-B_c.9", &USER).expect("adopts");
}

fn fleet(answer: &Answer, status: &str) -> Answer {
    changed(answer, "ekmFleetDetails", json!([{ "id": "1", "model": "m", "healthStatus": status }]))
}

#[test]
fn a_store_is_created_only_behind_a_proxy_that_works() {
    let proxy = Faulty::start();
    let check = || {
        let config = KeyStoreConfig::Proxy(proxy.config());
        provider().check(&config, "CreateCustomKeyStore").err().map_or("", |error| error.code())
    };
    let connects = || connect(&proxy.config()).err().map(|failure| failure.code.as_str());
    assert_eq!((check(), connects()), ("", None));
    let faults: &[(Fault, &str, &str)] = &[
        (
            |_, answer| fleet(&answer, "UNAVAILABLE"),
            "XksProxyUriUnreachableException",
            "XKS_PROXY_NOT_REACHABLE",
        ),
        (
            |_, answer| changed(&answer, "ekmFleetDetails", json!([])),
            "XksProxyInvalidResponseException",
            "XKS_PROXY_INVALID_RESPONSE",
        ),
        (
            |_, _| Answer::refusal(401, "AuthenticationFailedException"),
            "XksProxyIncorrectAuthenticationCredentialException",
            "XKS_PROXY_ACCESS_DENIED",
        ),
        (
            |_, _| Answer::refusal(404, "InvalidUriPathException"),
            "XksProxyInvalidConfigurationException",
            "XKS_PROXY_INVALID_CONFIGURATION",
        ),
        (
            |_, answer| Answer { delay: SLOW, ..answer },
            "XksProxyUriUnreachableException",
            "XKS_PROXY_TIMED_OUT",
        ),
    ];
    for (fault, created, connected) in faults {
        proxy.set(*fault);
        assert_eq!((check(), connects()), (*created, Some(*connected)));
    }
    proxy.behave();
    assert!(
        provider().connect(&CustomKeyStoreId::generate(), &KeyStoreConfig::Proxy(proxy.config())).is_ok()
    );
}
