//! Custom key stores: their states, their keys, and what is refused when. What they connect to is played by a test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;
use kms_core::seal::RootKey;
use kms_core::service::EmbeddedKms;
use kms_core::store::MemoryStore;

use crate::fixture::{Fixture, context, local};

pub(crate) mod backend;

use backend::{Backend, Provider};

/// A service whose stores are played by a backend.
struct Stage {
    fixture: Fixture,
    backend: Arc<Backend>,
}

impl Stage {
    fn new() -> Self {
        let (backend, clock) = (Arc::new(Backend::default()), Arc::new(TestClock::default()));
        let root = RootKey::generate().expect("random");
        let mut builder = EmbeddedKms::builder(Arc::new(MemoryStore::new()), &root).expect("derives");
        for store_type in CustomKeyStoreType::ALL {
            builder = builder.key_store_provider(*store_type, Arc::new(Provider(Arc::clone(&backend))));
        }
        let kms = builder.clock(clock.clone()).build();
        Self { fixture: Fixture { kms, clock, caller: local(), dir: None }, backend }
    }

    fn create_token(&self, name: &str) -> Result<CustomKeyStoreId, KmsError> {
        let request = CreateCustomKeyStoreRequest {
            custom_key_store_name: name.into(),
            token: Some(token(name)),
            ..Default::default()
        };
        Ok(self.fixture.kms.create_custom_key_store(&local(), &request)?.custom_key_store_id)
    }

    fn create_proxy(&self, name: &str) -> Result<CustomKeyStoreId, KmsError> {
        let request = CreateCustomKeyStoreRequest {
            custom_key_store_name: name.into(),
            custom_key_store_type: Some(CustomKeyStoreType::ExternalKeyStore),
            xks_proxy: proxy(name),
            ..Default::default()
        };
        Ok(self.fixture.kms.create_custom_key_store(&local(), &request)?.custom_key_store_id)
    }

    fn connect(&self, id: &CustomKeyStoreId) -> Result<(), KmsError> {
        self.fixture.kms.connect_custom_key_store(&local(), &CustomKeyStoreOnlyRequest::new(id)).map(drop)
    }

    fn disconnect(&self, id: &CustomKeyStoreId) -> Result<(), KmsError> {
        self.fixture.kms.disconnect_custom_key_store(&local(), &CustomKeyStoreOnlyRequest::new(id)).map(drop)
    }

    fn delete(&self, id: &CustomKeyStoreId) -> Result<(), KmsError> {
        self.fixture.kms.delete_custom_key_store(&local(), &CustomKeyStoreOnlyRequest::new(id)).map(drop)
    }

    fn rename(&self, id: &CustomKeyStoreId, name: &str) -> Result<(), KmsError> {
        let request = UpdateCustomKeyStoreRequest {
            custom_key_store_id: id.to_string(),
            new_custom_key_store_name: Some(name.into()),
            ..Default::default()
        };
        self.fixture.kms.update_custom_key_store(&local(), &request).map(drop)
    }

    fn list(
        &self,
        request: DescribeCustomKeyStoresRequest,
    ) -> Result<Vec<CustomKeyStoresListEntry>, KmsError> {
        Ok(self.fixture.kms.describe_custom_key_stores(&local(), &request)?.custom_key_stores)
    }

    fn state(&self, id: &CustomKeyStoreId) -> (ConnectionState, Option<ConnectionErrorCode>) {
        let request = DescribeCustomKeyStoresRequest {
            custom_key_store_id: Some(id.to_string()),
            ..Default::default()
        };
        let entry = self.list(request).expect("describes").remove(0);
        (entry.connection_state, entry.connection_error_code)
    }

    fn create_key(&self, id: &CustomKeyStoreId) -> Result<KeyId, KmsError> {
        Ok(self.fixture.kms.create_key(&local(), &in_token(id))?.key_metadata.key_id)
    }
}

fn token(label: &str) -> TokenConfig {
    TokenConfig {
        module: "/m.so".into(),
        label: Some(label.into()),
        serial: None,
        slot: None,
        pin: PinSource::Environment("PIN".into()),
        trust_anchor_certificate: None,
        cluster_id: None,
    }
}

fn proxy(name: &str) -> XksProxyMembers {
    XksProxyMembers {
        uri_endpoint: Some(format!("https://{name}.example.org")),
        uri_path: Some("/kms/xks/v1".into()),
        authentication_credential: Some(ProxyCredential {
            access_key_id: "A".repeat(20),
            raw_secret_access_key: SecretText::new("s".repeat(43)),
        }),
        connectivity: Some(XksProxyConnectivity::PublicEndpoint),
        ..Default::default()
    }
}

fn in_token(id: &CustomKeyStoreId) -> CreateKeyRequest {
    CreateKeyRequest {
        origin: Some(Origin::AwsCloudHsm),
        custom_key_store_id: Some(id.to_string()),
        ..Default::default()
    }
}

fn external(id: &CustomKeyStoreId, key: &str) -> CreateKeyRequest {
    CreateKeyRequest {
        origin: Some(Origin::ExternalKeyStore),
        custom_key_store_id: Some(id.to_string()),
        xks_key_id: Some(key.into()),
        ..Default::default()
    }
}

fn code<T>(outcome: Result<T, KmsError>) -> &'static str {
    outcome.err().map_or("", |error| error.code())
}

const INVALID: &str = "CustomKeyStoreInvalidStateException";

/// How a store gets into each state that it can stay in.
fn put_into(stage: &Stage, state: ConnectionState) -> CustomKeyStoreId {
    let id = stage.create_token("s").expect("creates");
    match state {
        ConnectionState::Connected => stage.connect(&id).expect("connects"),
        ConnectionState::Failed => {
            *stage.backend.refuse.lock().unwrap() = Some(ConnectionErrorCode::InvalidCredentials);
            stage.connect(&id).expect("begins");
            *stage.backend.refuse.lock().unwrap() = None;
        }
        ConnectionState::Disconnected | ConnectionState::Connecting | ConnectionState::Disconnecting => {}
    }
    assert_eq!(stage.state(&id).0, state);
    id
}

#[test]
fn a_store_is_of_its_region() {
    let here = Stage::new();
    let kms = here.fixture.kms.in_region(&"eu-west-1".parse().expect("a Region")).expect("served");
    let fixture = Fixture { kms, clock: here.fixture.clock.clone(), caller: local(), dir: None };
    let there = Stage { fixture, backend: Arc::clone(&here.backend) };
    let own = here.create_token("s").expect("creates");
    assert_eq!(code(there.create_token("s")), "CloudHsmClusterInUseException", "a token has one login");
    let other = there.create_token("t").expect("creates");
    there.rename(&other, "s").expect("names are of one Region");
    for (stage, id) in [(&here, &own), (&there, &other)] {
        let ids: Vec<_> = stage
            .list(Default::default())
            .expect("lists")
            .into_iter()
            .map(|it| it.custom_key_store_id)
            .collect();
        assert_eq!(ids, std::slice::from_ref(id));
    }
    here.connect(&own).expect("connects");
    assert_eq!(code(there.connect(&own)), "CustomKeyStoreNotFoundException");
    assert_eq!(code(there.create_key(&own)), "CustomKeyStoreNotFoundException");
    assert_eq!(code(there.create_key(&other)), INVALID);
    there.connect(&other).expect("connects");
    let key_id = there.create_key(&other).expect("creates");
    let blob = there.fixture.encrypt(key_id, b"text").expect("encrypts");
    assert_eq!(there.fixture.decrypt(&blob), Ok(b"text".to_vec()));
    assert!(here.fixture.decrypt(&blob).is_err(), "the key is not one of this Region");
    here.disconnect(&own).expect("disconnects");
    assert_eq!(there.fixture.decrypt(&blob), Ok(b"text".to_vec()), "the other store is connected");
}

#[test]
fn every_operation_in_every_connection_state() {
    type Operation = fn(&Stage, &CustomKeyStoreId) -> Result<(), KmsError>;
    let operations: [(&str, Operation, [&str; 3]); 7] = [
        // Disconnected, connected, failed.
        ("Connect", |stage, id| stage.connect(id), ["", "", INVALID]),
        ("Disconnect", |stage, id| stage.disconnect(id), [INVALID, "", ""]),
        ("Update", |stage, id| stage.rename(id, "n"), ["", INVALID, INVALID]),
        ("Delete", |stage, id| stage.delete(id), ["", INVALID, ""]),
        ("Describe", |stage, _| stage.list(Default::default()).map(drop), ["", "", ""]),
        ("CreateKey", |stage, id| stage.create_key(id).map(drop), [INVALID, "", INVALID]),
        (
            "GenerateRandom",
            |stage, id| {
                let request = GenerateRandomRequest {
                    number_of_bytes: Some(8),
                    custom_key_store_id: Some(id.to_string()),
                };
                stage.fixture.kms.generate_random(&local(), &request).map(drop)
            },
            [INVALID, "", INVALID],
        ),
    ];
    let states = [ConnectionState::Disconnected, ConnectionState::Connected, ConnectionState::Failed];
    for (name, operation, expected) in operations {
        for (state, expected) in states.into_iter().zip(expected) {
            let stage = Stage::new();
            let id = put_into(&stage, state);
            assert_eq!(code(operation(&stage, &id)), expected, "{name} in {state}");
        }
    }
}

#[test]
fn a_store_that_could_not_be_connected_says_why() {
    let stage = Stage::new();
    let id = put_into(&stage, ConnectionState::Failed);
    assert_eq!(stage.state(&id).1, Some(ConnectionErrorCode::InvalidCredentials));
    stage.disconnect(&id).expect("disconnects");
    assert_eq!(stage.state(&id), (ConnectionState::Disconnected, None));
    stage.connect(&id).expect("connects");
    assert_eq!(stage.state(&id), (ConnectionState::Connected, None));
    assert_eq!(stage.backend.connects.load(Ordering::SeqCst), 2);
}

#[test]
fn keys_of_a_store_that_is_not_connected_are_unavailable() {
    let stage = Stage::new();
    let id = put_into(&stage, ConnectionState::Connected);
    let keys: Vec<_> = (0..3).map(|_| stage.create_key(&id).expect("creates")).collect();
    let fixture = &stage.fixture;
    let blob = fixture.encrypt(keys[0], b"text").expect("encrypts");
    assert_eq!(fixture.decrypt(&blob).as_deref(), Ok(&b"text"[..]));
    fixture.disable(keys[1]).expect("disables");
    fixture.schedule_deletion(keys[2], 7).expect("schedules");
    let states = || keys.iter().map(|key| fixture.state(*key)).collect::<Vec<_>>();
    let connected = [KeyState::Enabled, KeyState::Disabled, KeyState::PendingDeletion];
    assert_eq!(states(), connected);
    stage.disconnect(&id).expect("disconnects");
    assert_eq!(states(), [KeyState::Unavailable, KeyState::Unavailable, KeyState::PendingDeletion]);
    let arn = fixture.arn(keys[0]);
    let refused = Err(KmsError::KmsInvalidState(format!("{arn} is unavailable.")));
    assert_eq!(fixture.encrypt(keys[0], b"text"), refused);
    assert_eq!(fixture.decrypt(&blob).map(drop), refused.map(drop));
    // They are managed as before; what is switched shows when the store is connected again.
    fixture.disable(keys[0]).expect("disables");
    fixture.enable(keys[1]).expect("enables");
    fixture.cancel_deletion(keys[2]).expect("cancels");
    assert_eq!(states(), [KeyState::Unavailable; 3]);
    stage.connect(&id).expect("connects");
    assert_eq!(states(), [KeyState::Disabled, KeyState::Enabled, KeyState::Disabled]);
    fixture.enable(keys[0]).expect("enables");
    assert_eq!(fixture.decrypt(&blob).as_deref(), Ok(&b"text"[..]));
}

#[test]
fn what_a_key_in_a_store_cannot_do_is_unsupported() {
    let stage = Stage::new();
    let id = put_into(&stage, ConnectionState::Connected);
    let key = stage.create_key(&id).expect("creates");
    let fixture = &stage.fixture;
    let kms = &fixture.kms;
    let pair = GenerateDataKeyPairRequest::new(key, DataKeyPairSpec::EccNistP256, context());
    let unsupported = "UnsupportedOperationException";
    assert_eq!(code(fixture.enable_rotation(key, None)), unsupported);
    assert_eq!(code(fixture.rotate(key)), unsupported);
    assert_eq!(code(fixture.parameters(key)), unsupported);
    assert_eq!(code(fixture.delete_material(key, None)), unsupported);
    assert_eq!(code(kms.generate_data_key_pair(&local(), &pair)), unsupported);
    let with = |request: CreateKeyRequest| code(kms.create_key(&local(), &request));
    let kinds = [
        (KeySpec::Rsa2048, KeyUsage::SignVerify),
        (KeySpec::EccNistP256, KeyUsage::SignVerify),
        (KeySpec::Hmac256, KeyUsage::GenerateVerifyMac),
    ];
    for (spec, usage) in kinds {
        let request = CreateKeyRequest { key_spec: Some(spec), key_usage: Some(usage), ..in_token(&id) };
        assert_eq!(with(request), unsupported, "{spec}");
    }
    assert_eq!(with(CreateKeyRequest { multi_region: true, ..in_token(&id) }), unsupported);
    let (validation, missing) = ("ValidationException", "CustomKeyStoreNotFoundException");
    assert_eq!(with(CreateKeyRequest { custom_key_store_id: None, ..in_token(&id) }), validation);
    assert_eq!(with(CreateKeyRequest { origin: None, ..in_token(&id) }), validation);
    assert_eq!(with(CreateKeyRequest { xks_key_id: Some("a".into()), ..in_token(&id) }), validation);
    assert_eq!(with(external(&id, "a")), validation);
    assert_eq!(
        with(CreateKeyRequest { custom_key_store_id: Some("cks-1".into()), ..in_token(&id) }),
        missing
    );
    let metadata = fixture.describe(key);
    assert_eq!(metadata.custom_key_store_id, Some(id.to_string()));
    assert_eq!(
        (metadata.cloud_hsm_cluster_id.as_deref(), metadata.xks_key_id),
        (Some("cluster-aaaaaaaaaas"), None)
    );
    assert_eq!(metadata.current_key_material_id, None);
}

#[test]
fn an_external_key_goes_with_one_key_of_its_store() {
    let stage = Stage::new();
    let (one, two) =
        (stage.create_proxy("one").expect("creates"), stage.create_proxy("two").expect("creates"));
    stage.connect(&one).expect("connects");
    stage.connect(&two).expect("connects");
    let create = |request: &CreateKeyRequest| stage.fixture.kms.create_key(&local(), request);
    let key = create(&external(&one, "key-1")).expect("creates").key_metadata;
    assert_eq!(key.xks_key_id.as_deref(), Some("key-1"));
    assert_eq!(code(create(&external(&one, "key-1"))), "XksKeyAlreadyInUseException");
    create(&external(&two, "key-1")).expect("is another manager's");
    assert_eq!(
        code(create(&CreateKeyRequest { xks_key_id: None, ..external(&one, "") })),
        "ValidationException"
    );
    stage.fixture.encrypt(key.key_id, b"text").expect("encrypts");
    let user = "arn:aws:iam::000000000000:user/tester";
    let expected = [format!("CreateKey {user}"), format!("CreateKey {user}"), format!("Encrypt {user}")];
    assert_eq!(*stage.backend.users.lock().unwrap(), expected);
    let random =
        GenerateRandomRequest { number_of_bytes: Some(8), custom_key_store_id: Some(one.to_string()) };
    assert_eq!(code(stage.fixture.kms.generate_random(&local(), &random)), "UnsupportedOperationException");
}

#[test]
fn deleted_keys_leave_their_store_and_then_it_can_go() {
    let stage = Stage::new();
    let id = put_into(&stage, ConnectionState::Connected);
    let key = stage.create_key(&id).expect("creates");
    assert_eq!(stage.backend.keys.lock().unwrap().len(), 1);
    stage.fixture.schedule_deletion(key, 7).expect("schedules");
    stage.disconnect(&id).expect("disconnects");
    assert_eq!(code(stage.delete(&id)), "CustomKeyStoreHasCMKsException");
    stage.connect(&id).expect("connects");
    stage.fixture.clock.advance_days(7);
    stage.disconnect(&id).expect("disconnects");
    stage.delete(&id).expect("its only key is due");
    assert_eq!(stage.list(Default::default()), Ok(Vec::new()));
    // The backend could not be reached any more: its key is left, as in AWS, and the log says so.
    assert_eq!(stage.backend.keys.lock().unwrap().len(), 1);
}

#[test]
fn names_tokens_and_proxies_belong_to_one_store() {
    let stage = Stage::new();
    let id = stage.create_token("one").expect("creates");
    assert_eq!(code(stage.create_proxy("one")), "CustomKeyStoreNameInUseException");
    let proxy = stage.create_proxy("two").expect("creates");
    assert_eq!(code(stage.rename(&proxy, "one")), "CustomKeyStoreNameInUseException");
    let kms = &stage.fixture.kms;
    let same_token = CreateCustomKeyStoreRequest {
        custom_key_store_name: "three".into(),
        token: Some(token("one")),
        ..Default::default()
    };
    assert_eq!(code(kms.create_custom_key_store(&local(), &same_token)), "CloudHsmClusterInUseException");
    let same_proxy = CreateCustomKeyStoreRequest {
        custom_key_store_name: "three".into(),
        custom_key_store_type: Some(CustomKeyStoreType::ExternalKeyStore),
        xks_proxy: self::proxy("two"),
        ..Default::default()
    };
    assert_eq!(code(kms.create_custom_key_store(&local(), &same_proxy)), "XksProxyUriInUseException");
    let by_name =
        DescribeCustomKeyStoresRequest { custom_key_store_name: Some("two".into()), ..Default::default() };
    assert_eq!(stage.list(by_name).expect("lists")[0].custom_key_store_id, proxy);
    let nobody =
        DescribeCustomKeyStoresRequest { custom_key_store_name: Some("x".into()), ..Default::default() };
    assert_eq!(code(stage.list(nobody)), "CustomKeyStoreNotFoundException");
    let both = DescribeCustomKeyStoresRequest {
        custom_key_store_id: Some(id.to_string()),
        custom_key_store_name: Some("one".into()),
        ..Default::default()
    };
    assert_eq!(code(stage.list(both)), "ValidationException");
    for number in 2..10 {
        stage.create_proxy(&format!("p{number}")).expect("creates");
    }
    assert_eq!(code(stage.create_proxy("last")), "LimitExceededException");
    let page = Page { limit: Some(3), marker: None };
    let first = kms
        .describe_custom_key_stores(&local(), &DescribeCustomKeyStoresRequest { page, ..Default::default() });
    let first = first.expect("lists");
    let page = Page { limit: None, marker: first.next_marker };
    let rest = stage.list(DescribeCustomKeyStoresRequest { page, ..Default::default() }).expect("lists");
    assert_eq!((first.custom_key_stores.len(), rest.len()), (3, 7));
}

#[test]
fn a_member_that_does_not_fit_the_type_is_refused() {
    let stage = Stage::new();
    let create = |request: CreateCustomKeyStoreRequest| {
        let request = CreateCustomKeyStoreRequest { custom_key_store_name: "n".into(), ..request };
        code(stage.fixture.kms.create_custom_key_store(&local(), &request))
    };
    let (validation, external) = ("ValidationException", Some(CustomKeyStoreType::ExternalKeyStore));
    assert_eq!(create(Default::default()), validation);
    assert_eq!(
        create(CreateCustomKeyStoreRequest {
            token: Some(token("t")),
            xks_proxy: proxy("p"),
            ..Default::default()
        }),
        validation
    );
    assert_eq!(
        create(CreateCustomKeyStoreRequest { custom_key_store_type: external, ..Default::default() }),
        validation
    );
    let named = CreateCustomKeyStoreRequest {
        cloud_hsm_cluster_id: Some("cluster-aaaaaaaaaaa".into()),
        trust_anchor_certificate: Some("c".into()),
        key_store_password: Some(SecretText::new("1234567".into())),
        ..Default::default()
    };
    assert_eq!(create(named.clone()), "CloudHsmClusterNotFoundException");
    let mixed =
        CreateCustomKeyStoreRequest { custom_key_store_type: external, xks_proxy: proxy("p"), ..named };
    assert_eq!(create(mixed), validation);
    let vpc = XksProxyMembers { connectivity: Some(XksProxyConnectivity::VpcEndpointService), ..proxy("p") };
    let request =
        CreateCustomKeyStoreRequest { custom_key_store_type: external, xks_proxy: vpc, ..Default::default() };
    assert_eq!(create(request), "XksProxyVpcEndpointServiceNotFoundException");
}

#[test]
fn what_the_proxy_needs_may_change_while_it_is_connected() {
    let stage = Stage::new();
    let id = stage.create_proxy("one").expect("creates");
    stage.connect(&id).expect("connects");
    let key = stage.fixture.create_with(external(&id, "k"));
    let update = |members: XksProxyMembers| {
        let request = UpdateCustomKeyStoreRequest {
            custom_key_store_id: id.to_string(),
            xks_proxy: members,
            ..Default::default()
        };
        code(stage.fixture.kms.update_custom_key_store(&local(), &request))
    };
    let credential = ProxyCredential {
        access_key_id: "B".repeat(20),
        raw_secret_access_key: SecretText::new("t".repeat(43)),
    };
    assert_eq!(
        update(XksProxyMembers { authentication_credential: Some(credential), ..Default::default() }),
        ""
    );
    let endpoint = XksProxyMembers { uri_endpoint: Some("https://other".into()), ..Default::default() };
    assert_eq!(update(endpoint), INVALID);
    let before = stage.backend.connects.load(Ordering::SeqCst);
    stage.fixture.encrypt(key, b"text").expect("connects with the new credential");
    assert_eq!(stage.backend.connects.load(Ordering::SeqCst), before + 1);
}

#[test]
fn nothing_is_permitted_without_a_policy() {
    let stage = Stage::new();
    let id = stage.create_token("one").expect("creates");
    let nobody = local().with_policies([]);
    let kms = &stage.fixture.kms;
    let only = CustomKeyStoreOnlyRequest::new(&id);
    let create = CreateCustomKeyStoreRequest { custom_key_store_name: "n".into(), ..Default::default() };
    let update = UpdateCustomKeyStoreRequest { custom_key_store_id: id.to_string(), ..Default::default() };
    for refused in [
        code(kms.create_custom_key_store(&nobody, &create)),
        code(kms.describe_custom_key_stores(&nobody, &Default::default())),
        code(kms.update_custom_key_store(&nobody, &update)),
        code(kms.delete_custom_key_store(&nobody, &only)),
        code(kms.connect_custom_key_store(&nobody, &only)),
        code(kms.disconnect_custom_key_store(&nobody, &only)),
    ] {
        assert_eq!(refused, "AccessDeniedException");
    }
}
