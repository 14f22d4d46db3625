//! A custom key store in a token, through the service.

use std::path::Path;

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::keystore::{Argon2Params, CreateOptions, Keystore, RootKeySource};
use kms_core::model::*;
use kms_core::service::EmbeddedKms;

use super::shim::{Control, SOFTHSM, Tokens, alone};

fn source() -> RootKeySource {
    RootKeySource::passphrase("correct horse battery staple")
}

fn caller() -> Caller {
    Caller::local(AccountId::local(), "tester")
}

fn create(path: &Path) -> EmbeddedKms {
    let options = CreateOptions { argon2: Argon2Params::dangerous_fast(), ..CreateOptions::default() };
    Keystore::create_with(path, &source(), &options).expect("creates")
}

fn open(path: &Path) -> EmbeddedKms {
    Keystore::open(path, &source()).expect("opens")
}

fn create_store(kms: &EmbeddedKms, name: &str, token: TokenConfig) -> Result<CustomKeyStoreId, KmsError> {
    let request = CreateCustomKeyStoreRequest {
        custom_key_store_name: name.to_owned(),
        token: Some(token),
        ..Default::default()
    };
    Ok(kms.create_custom_key_store(&caller(), &request)?.custom_key_store_id)
}

fn connect(kms: &EmbeddedKms, store: &CustomKeyStoreId) -> Result<(), KmsError> {
    kms.connect_custom_key_store(&caller(), &CustomKeyStoreOnlyRequest::new(store)).map(drop)
}

fn disconnect(kms: &EmbeddedKms, store: &CustomKeyStoreId) {
    kms.disconnect_custom_key_store(&caller(), &CustomKeyStoreOnlyRequest::new(store)).expect("disconnects");
}

fn describe(kms: &EmbeddedKms, store: &CustomKeyStoreId) -> CustomKeyStoresListEntry {
    let request =
        DescribeCustomKeyStoresRequest { custom_key_store_id: Some(store.to_string()), ..Default::default() };
    kms.describe_custom_key_stores(&caller(), &request).expect("describes").custom_key_stores.remove(0)
}

fn create_key(kms: &EmbeddedKms, store: &CustomKeyStoreId) -> Result<KeyMetadata, KmsError> {
    let request = CreateKeyRequest {
        origin: Some(Origin::AwsCloudHsm),
        custom_key_store_id: Some(store.to_string()),
        ..Default::default()
    };
    Ok(kms.create_key(&caller(), &request)?.key_metadata)
}

fn context() -> EncryptionContext {
    EncryptionContext::from([("volume", "one")])
}

fn encrypt(kms: &EmbeddedKms, key_id: KeyId) -> Result<CiphertextBlob, KmsError> {
    let request = EncryptRequest::new(key_id, Plaintext::copy_of(b"text"), context());
    Ok(kms.encrypt(&caller(), &request)?.ciphertext_blob)
}

fn decrypt(kms: &EmbeddedKms, blob: &CiphertextBlob) -> Result<Vec<u8>, KmsError> {
    let request = DecryptRequest::new(blob.clone(), context());
    Ok(kms.decrypt(&caller(), &request)?.plaintext.expose().to_vec())
}

/// What is in the token, as its own tool counts it.
fn objects(tokens: &Tokens) -> usize {
    let files = |path: &Path| {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        entries.collect::<Vec<_>>()
    };
    let is_object = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.ends_with(".object") && name != "token.object"
    };
    files(&tokens.directory()).iter().flat_map(|token| files(token)).filter(is_object).count()
}

#[test]
fn a_key_lives_in_its_token() {
    alone("service::a_key_lives_in_its_token", |tokens| {
        tokens.init("one");
        let path = tokens.path("ks");
        let kms = create(&path);
        let store = create_store(&kms, "hsm", tokens.plain("one")).expect("creates");
        let not_connected = create_key(&kms, &store);
        assert!(matches!(not_connected, Err(KmsError::CustomKeyStoreInvalidState(_))), "{not_connected:?}");
        connect(&kms, &store).expect("begins");
        let entry = describe(&kms, &store);
        assert_eq!(entry.connection_state, ConnectionState::Connected, "{entry:?}");
        assert_eq!(entry.token.as_ref().unwrap().module, Path::new(SOFTHSM));
        let key = create_key(&kms, &store).expect("creates");
        assert_eq!((key.key_state, key.origin), (KeyState::Enabled, Origin::AwsCloudHsm));
        assert_eq!(key.cloud_hsm_cluster_id, entry.cloud_hsm_cluster_id);
        assert_eq!(objects(tokens), 1);
        let blob = encrypt(&kms, key.key_id).expect("encrypts");
        assert_eq!(blob.as_bytes()[1], 2, "the blob says what made it");
        // Another process connects by itself.
        let other = open(&path);
        assert_eq!(decrypt(&other, &blob).expect("decrypts"), b"text");
        let made =
            other.generate_data_key(&caller(), &GenerateDataKeyRequest::aes_256(key.key_id, context()));
        let made = made.expect("generates");
        let opened = decrypt(&kms, &made.ciphertext_blob).expect("decrypts");
        assert_eq!(opened, made.plaintext.expose());
        let random =
            GenerateRandomRequest { number_of_bytes: Some(32), custom_key_store_id: Some(store.to_string()) };
        assert_eq!(kms.generate_random(&caller(), &random).expect("random").plaintext.len(), 32);
        let wrong = DecryptRequest::new(blob.clone(), EncryptionContext::new());
        assert!(matches!(kms.decrypt(&caller(), &wrong), Err(KmsError::InvalidCiphertext(_))));
        // Disconnected by one, it is disconnected for all.
        disconnect(&other, &store);
        let state =
            kms.describe_key(&caller(), &DescribeKeyRequest::new(key.key_id)).unwrap().key_metadata.key_state;
        assert_eq!(state, KeyState::Unavailable);
        for kms in [&kms, &other] {
            assert!(matches!(decrypt(kms, &blob), Err(KmsError::KmsInvalidState(_))));
            assert!(matches!(encrypt(kms, key.key_id), Err(KmsError::KmsInvalidState(_))));
        }
        connect(&kms, &store).expect("begins");
        assert_eq!(decrypt(&other, &blob).expect("decrypts"), b"text");
    });
}

#[test]
fn a_deleted_key_leaves_its_token() {
    alone("service::a_deleted_key_leaves_its_token", |tokens| {
        tokens.init("one");
        let clock = std::sync::Arc::new(TestClock::default());
        let path = tokens.path("ks");
        drop(create(&path));
        let kms = Keystore::open_builder(&path, &source()).expect("opens").clock(clock.clone()).build();
        let store = create_store(&kms, "hsm", tokens.plain("one")).expect("creates");
        connect(&kms, &store).expect("begins");
        let key = create_key(&kms, &store).expect("creates");
        let blob = encrypt(&kms, key.key_id).expect("encrypts");
        let request =
            ScheduleKeyDeletionRequest { key_id: key.key_id.into(), pending_window_in_days: Some(7) };
        kms.schedule_key_deletion(&caller(), &request).expect("schedules");
        disconnect(&kms, &store);
        let only = CustomKeyStoreOnlyRequest::new(&store);
        let refused = kms.delete_custom_key_store(&caller(), &only);
        assert!(matches!(refused, Err(KmsError::CustomKeyStoreHasCmks(_))), "{refused:?}");
        connect(&kms, &store).expect("begins");
        clock.advance_days(8);
        kms.run_due().expect("deletes");
        assert_eq!(objects(tokens), 0);
        assert!(matches!(decrypt(&kms, &blob), Err(KmsError::AccessDenied(_))));
        disconnect(&kms, &store);
        kms.delete_custom_key_store(&caller(), &only).expect("deletes");
        assert!(matches!(connect(&kms, &store), Err(KmsError::CustomKeyStoreNotFound(_))));
    });
}

#[test]
fn a_wrong_pin_is_tried_once_by_all_processes_together() {
    alone("service::a_wrong_pin_is_tried_once_by_all_processes_together", |tokens| {
        tokens.init("one");
        let (path, pin) = (tokens.path("ks"), tokens.path("pin"));
        std::fs::write(&pin, super::shim::PIN).unwrap();
        let kms = create(&path);
        let config = TokenConfig { pin: PinSource::File(pin.clone()), ..tokens.shimmed("one") };
        let store = create_store(&kms, "hsm", config).expect("creates");
        connect(&kms, &store).expect("begins");
        let key = create_key(&kms, &store).expect("creates");
        let blob = encrypt(&kms, key.key_id).expect("encrypts");
        drop(kms);
        let before = tokens.get(Control::Logins);
        std::fs::write(&pin, "wrong-pin").unwrap();
        // Each of these stands for a process that starts.
        for _ in 0..5 {
            let refused = decrypt(&open(&path), &blob);
            assert!(
                matches!(refused, Err(KmsError::KeyUnavailable(_) | KmsError::KmsInvalidState(_))),
                "{refused:?}"
            );
        }
        assert_eq!(tokens.get(Control::Logins), before + 1);
        let kms = open(&path);
        let entry = describe(&kms, &store);
        assert_eq!(
            (entry.connection_state, entry.connection_error_code),
            (ConnectionState::Failed, Some(ConnectionErrorCode::InvalidCredentials))
        );
        assert!(matches!(connect(&kms, &store), Err(KmsError::CustomKeyStoreInvalidState(_))));
        std::fs::write(&pin, super::shim::PIN).unwrap();
        disconnect(&kms, &store);
        connect(&kms, &store).expect("begins");
        assert_eq!(decrypt(&kms, &blob).expect("decrypts"), b"text");
    });
}

#[test]
fn a_token_belongs_to_one_store_and_stays_the_same() {
    alone("service::a_token_belongs_to_one_store_and_stays_the_same", |tokens| {
        tokens.init("one");
        tokens.init("two");
        let kms = create(&tokens.path("ks"));
        let store = create_store(&kms, "hsm", tokens.plain("one")).expect("creates");
        let again = create_store(&kms, "other", tokens.plain("one"));
        assert!(matches!(again, Err(KmsError::CloudHsmClusterInUse(_))), "{again:?}");
        let name = create_store(&kms, "hsm", tokens.plain("two"));
        assert!(matches!(name, Err(KmsError::CustomKeyStoreNameInUse(_))), "{name:?}");
        let update = |request: UpdateCustomKeyStoreRequest| {
            let custom_key_store_id = store.to_string();
            kms.update_custom_key_store(
                &caller(),
                &UpdateCustomKeyStoreRequest { custom_key_store_id, ..request },
            )
        };
        let unrelated = update(UpdateCustomKeyStoreRequest {
            cloud_hsm_cluster_id: Some("cluster-aaaaaaaaaaa".into()),
            ..Default::default()
        });
        assert!(matches!(unrelated, Err(KmsError::CloudHsmClusterNotRelated(_))), "{unrelated:?}");
        let wrong = SecretText::new("not-the-pin".into());
        update(UpdateCustomKeyStoreRequest { key_store_password: Some(wrong), ..Default::default() })
            .expect("updates");
        connect(&kms, &store).expect("begins");
        assert_eq!(
            describe(&kms, &store).connection_error_code,
            Some(ConnectionErrorCode::InvalidCredentials)
        );
        disconnect(&kms, &store);
        let right = SecretText::new(super::shim::PIN.into());
        update(UpdateCustomKeyStoreRequest {
            key_store_password: Some(right),
            new_custom_key_store_name: Some("renamed".into()),
            ..Default::default()
        })
        .expect("updates");
        connect(&kms, &store).expect("begins");
        let entry = describe(&kms, &store);
        assert_eq!(entry.connection_state, ConnectionState::Connected, "{entry:?}");
        assert_eq!(entry.custom_key_store_name, "renamed");
        let connected = update(UpdateCustomKeyStoreRequest {
            new_custom_key_store_name: Some("again".into()),
            ..Default::default()
        });
        assert!(matches!(connected, Err(KmsError::CustomKeyStoreInvalidState(_))), "{connected:?}");
    });
}
