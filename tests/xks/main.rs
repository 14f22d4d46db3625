//! External key stores: our client against our proxy over TLS, and against proxies that do everything wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../kms-core/tests/custody/contract.rs"]
mod contract;
mod faults;
mod faulty;
mod program;
#[path = "../support/served.rs"]
mod served;
mod service;

use std::sync::Arc;

use kms_core::custody::{ConnectFailure, KeyCustody, KeyStoreProvider, XksProvider};
use kms_core::model::{
    ConnectionErrorCode, CustomKeyStoreId, KeyStoreConfig, ProxyConfig, ProxyCredential, Realm, SecretText,
    XksProxyConnectivity,
};
use kms_core::seal::{Purpose, RootKey};

use program::Proxy;

/// Much more than a proxy should take, for a machine that is busy with other tests.
const PATIENCE_MILLIS: u32 = 10_000;

/// What a store behind a proxy on this machine is configured with.
fn config(port: u16, certificate: &str, credential: ProxyCredential) -> ProxyConfig {
    ProxyConfig {
        connectivity: XksProxyConnectivity::PublicEndpoint,
        uri_endpoint: format!("https://localhost:{port}"),
        uri_path: "/kms/xks/v1".into(),
        credential,
        trust_anchor_certificate: Some(certificate.to_owned()),
        budget_millis: Some(PATIENCE_MILLIS),
    }
}

fn provider() -> XksProvider {
    let root = RootKey::generate().expect("random");
    let sealer = Arc::new(root.sealer(Purpose::ExternalMaterial).expect("derives"));
    XksProvider::new(sealer, Realm::local().region)
}

fn connect(config: &ProxyConfig) -> Result<Arc<dyn KeyCustody>, ConnectFailure> {
    provider().connect(&CustomKeyStoreId::generate(), &KeyStoreConfig::Proxy(config.clone()))
}

#[test]
fn an_external_key_store_keeps_the_contract() {
    let proxy = Proxy::start();
    let custody = connect(&proxy.config()).expect("connects");
    let keystore = proxy.keystore.clone();
    let external = move || keystore.create_key();
    contract::check(&contract::Fixture { custody, external: Some(Box::new(external)) });
}

#[test]
fn a_proxy_that_is_not_believed_is_not_connected() {
    let proxy = Proxy::start();
    let code = |config: ProxyConfig| connect(&config).err().map(|failure| failure.code);
    let good = proxy.config();
    assert_eq!(code(good.clone()), None);
    let other = program::certificate(&tempfile::tempdir().unwrap().path().join("other"));
    let untrusted = ProxyConfig { trust_anchor_certificate: Some(other), ..good.clone() };
    assert_eq!(code(untrusted), Some(ConnectionErrorCode::XksProxyInvalidTlsConfiguration));
    let path = ProxyConfig { uri_path: "/other/kms/xks/v1".into(), ..good.clone() };
    assert_eq!(code(path), Some(ConnectionErrorCode::XksProxyInvalidConfiguration));
    let secret =
        ProxyCredential { raw_secret_access_key: SecretText::new("x".repeat(44)), ..good.credential.clone() };
    let wrong = ProxyConfig { credential: secret, ..good.clone() };
    assert_eq!(code(wrong), Some(ConnectionErrorCode::XksProxyAccessDenied));
    let nobody = ProxyCredential { access_key_id: "A".repeat(20), ..good.credential.clone() };
    let unknown = ProxyConfig { credential: nobody, ..good.clone() };
    assert_eq!(code(unknown), Some(ConnectionErrorCode::XksProxyAccessDenied));
    drop(proxy);
    assert_eq!(code(good), Some(ConnectionErrorCode::XksProxyNotReachable));
}
