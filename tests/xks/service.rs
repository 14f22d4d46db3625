//! An external key store through two services: one has the KMS keys, the other one the external keys.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;
use kms_core::service::EmbeddedKms;

use super::program::Proxy;

fn caller() -> Caller {
    Caller::local(AccountId::local(), "tester")
}

fn context() -> EncryptionContext {
    EncryptionContext::from([("volume", "one")])
}

fn create_store(kms: &EmbeddedKms, config: ProxyConfig) -> Result<CustomKeyStoreId, KmsError> {
    let request = CreateCustomKeyStoreRequest {
        custom_key_store_name: "outside".into(),
        custom_key_store_type: Some(CustomKeyStoreType::ExternalKeyStore),
        trust_anchor_certificate: config.trust_anchor_certificate,
        xks_proxy: XksProxyMembers {
            uri_endpoint: Some(config.uri_endpoint),
            uri_path: Some(config.uri_path),
            authentication_credential: Some(config.credential),
            connectivity: Some(config.connectivity),
            budget_millis: config.budget_millis,
            ..Default::default()
        },
        ..Default::default()
    };
    Ok(kms.create_custom_key_store(&caller(), &request)?.custom_key_store_id)
}

fn create_key(kms: &EmbeddedKms, store: &CustomKeyStoreId, external: &str) -> Result<KeyId, KmsError> {
    let request = CreateKeyRequest {
        origin: Some(Origin::ExternalKeyStore),
        custom_key_store_id: Some(store.to_string()),
        xks_key_id: Some(external.to_owned()),
        ..Default::default()
    };
    Ok(kms.create_key(&caller(), &request)?.key_metadata.key_id)
}

#[test]
fn a_key_works_while_its_external_key_does() {
    let proxy = Proxy::start();
    let kms = EmbeddedKms::in_memory().expect("starts");
    let store = create_store(&kms, proxy.config()).expect("creates");
    let only = CustomKeyStoreOnlyRequest::new(&store);
    kms.connect_custom_key_store(&caller(), &only).expect("begins");
    let external = proxy.keystore.create_key();
    let key = create_key(&kms, &store, &external).expect("creates");
    assert!(matches!(create_key(&kms, &store, &external), Err(KmsError::XksKeyAlreadyInUse(_))));
    let nobody = KeyId::generate().to_string();
    assert!(matches!(create_key(&kms, &store, &nobody), Err(KmsError::XksKeyNotFound(_))));
    let made = kms
        .generate_data_key(&caller(), &GenerateDataKeyRequest::aes_256(key, context()))
        .expect("generates");
    assert_eq!(made.ciphertext_blob.as_bytes()[1], 3, "the blob says what made it");
    let decrypt = || {
        let request = DecryptRequest::new(made.ciphertext_blob.clone(), context());
        Ok(kms.decrypt(&caller(), &request)?.plaintext.expose().to_vec())
    };
    assert_eq!(decrypt().as_deref(), Ok(made.plaintext.expose()));
    let large = EncryptRequest::new(key, Plaintext::new(vec![9; 4096]), context());
    let blob = kms.encrypt(&caller(), &large).expect("the largest plaintext fits").ciphertext_blob;
    let opened = kms.decrypt(&caller(), &DecryptRequest::new(blob, context())).expect("decrypts");
    assert_eq!(opened.plaintext.expose(), [9; 4096]);
    let wrong = DecryptRequest::new(made.ciphertext_blob.clone(), EncryptionContext::new());
    assert!(matches!(kms.decrypt(&caller(), &wrong), Err(KmsError::InvalidCiphertext(_))));
    // Rotated outside, it still decrypts; disabled outside, it does not.
    let outside = |verb: &str| {
        let ran = proxy.keystore.run(&["key", verb, "--key-id", &external]);
        assert!(ran.status.success(), "{ran:?}");
    };
    outside("rotate-key-on-demand");
    assert_eq!(decrypt().as_deref(), Ok(made.plaintext.expose()));
    outside("disable-key");
    assert!(matches!(decrypt(), Err(KmsError::KmsInvalidState(_))));
    outside("enable-key");
    assert_eq!(decrypt().as_deref(), Ok(made.plaintext.expose()));
    kms.disconnect_custom_key_store(&caller(), &only).expect("disconnects");
    assert!(matches!(decrypt(), Err(KmsError::KmsInvalidState(_))));
    kms.connect_custom_key_store(&caller(), &only).expect("begins");
    assert_eq!(decrypt().as_deref(), Ok(made.plaintext.expose()));
}
