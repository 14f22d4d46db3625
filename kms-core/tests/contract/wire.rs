//! The API as JSON.

use kms_core::model::{AccountId, Caller};
use kms_core::service::EmbeddedKms;
use kms_core::wire::{WireError, find};
use serde_json::{Value, json};

fn call(service: &EmbeddedKms, operation: &str, request: &Value) -> Result<Value, WireError> {
    let caller = Caller::local(AccountId::local(), "alice");
    let answer = find(operation).expect("known").call(service, &caller, request.to_string().as_bytes())?;
    match answer.as_slice() {
        b"" => Ok(Value::Null),
        json => Ok(serde_json::from_slice(json).expect("an answer is JSON")),
    }
}

fn refused(service: &EmbeddedKms, operation: &str, request: &Value) -> (&'static str, String) {
    let error = call(service, operation, request).expect_err("refused");
    assert!(!error.is_fault(), "{error}");
    (error.code(), error.message().to_owned())
}

#[test]
fn a_round_trip_in_json() {
    let service = EmbeddedKms::in_memory().expect("starts");
    let made = call(&service, "CreateKey", &json!({"Description": "d"})).expect("made");
    let key = &made["KeyMetadata"];
    assert_eq!(key["KeySpec"], key["CustomerMasterKeySpec"]);
    assert_eq!((&key["Enabled"], &key["MultiRegion"]), (&json!(true), &json!(false)));
    assert!(key["CreationDate"].is_f64());
    let context = json!({"a": "1", "b": "2"});
    let request = json!({"KeyId": key["Arn"], "Plaintext": "c2VjcmV0", "EncryptionContext": context});
    let sealed = call(&service, "Encrypt", &request).expect("encrypts");
    assert_eq!(sealed["KeyId"], key["Arn"]);
    let request = json!({"CiphertextBlob": sealed["CiphertextBlob"], "EncryptionContext": context});
    let opened = call(&service, "Decrypt", &request).expect("decrypts");
    assert_eq!(opened["Plaintext"], "c2VjcmV0");
    assert_eq!(call(&service, "DisableKey", &json!({"KeyId": key["KeyId"]})), Ok(Value::Null));
    let (code, message) = refused(&service, "Decrypt", &request);
    assert_eq!(
        (code, message),
        ("DisabledException", format!("{} is disabled.", key["Arn"].as_str().expect("text")))
    );
}

#[test]
fn refusals_have_the_codes_of_aws() {
    let service = EmbeddedKms::in_memory().expect("starts");
    let caller = Caller::local(AccountId::local(), "alice");
    let list = find("ListKeys").expect("known");
    for json in ["", "[]", "{", "\"x\"", "{\"Limit\":\"1\"}"] {
        let error = list.call(&service, &caller, json.as_bytes()).expect_err("refused");
        assert_eq!(error.code(), "SerializationException", "{json}");
    }
    assert_eq!(refused(&service, "ListKeys", &json!({"Limit": 0})).0, "ValidationException");
    assert_eq!(
        refused(&service, "ListKeys", &json!({"Limit": 1, "Marker": "x"})).0,
        "InvalidMarkerException"
    );
    assert_eq!(refused(&service, "DescribeKey", &json!({"KeyId": "x"})).0, "NotFoundException");
    let recipient = json!({"KeyId": "alias/x", "KeySpec": "AES_256", "Recipient": {}});
    assert_eq!(refused(&service, "GenerateDataKey", &recipient).0, "UnsupportedOperationException");
    assert!(find("Nothing").is_none());
}

/// A secret must not come back in a message, whatever is wrong with the request around it.
#[test]
fn no_secret_is_repeated() {
    let service = EmbeddedKms::in_memory().expect("starts");
    let long = "c2VjcmV0".repeat(1000);
    for request in [
        json!({"KeyId": "", "Plaintext": long}),
        json!({"KeyId": "alias/none", "Plaintext": "c2VjcmV0"}),
        json!({"KeyId": "alias/none", "Plaintext": "c2VjcmV0!"}),
        json!({"KeyId": "alias/none", "Plaintext": "AAAA", "GrantTokens": ["c2VjcmV0".repeat(2000)]}),
    ] {
        let (code, message) = refused(&service, "Encrypt", &request);
        assert!(!message.contains("c2VjcmV0"), "{code}: {message}");
    }
}
