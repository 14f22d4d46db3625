//! What every store promises about custom key stores.

use super::*;
use crate::model::{PinSource, ProxyConfig, ProxyCredential, SecretText, TokenConfig, XksProxyConnectivity};
use crate::store::contract::Fixture;
use crate::store::{Locality, read, write};

fn record(name: &str, config: KeyStoreConfig) -> CustomKeyStoreRecord {
    CustomKeyStoreRecord {
        id: CustomKeyStoreId::generate(),
        name: name.to_owned(),
        creation_date: Timestamp::from_millis(1),
        config,
        connection: Connection::Connecting { since: Timestamp::from_millis(2) },
        epoch: 3,
        keys: BTreeMap::from([(KeyId::generate(), None), (KeyId::generate(), Some("external".to_owned()))]),
    }
}

pub(in crate::store) fn some_key_store() -> CustomKeyStoreRecord {
    record("a", token())
}

fn token() -> KeyStoreConfig {
    KeyStoreConfig::Token(TokenConfig {
        module: "/usr/lib/\u{e9}.so".into(),
        label: Some("\"a\"\n".to_owned()),
        serial: None,
        slot: Some(7),
        pin: PinSource::Sealed(SecretText::new("1234".to_owned())),
        trust_anchor_certificate: None,
        cluster_id: Some("cluster-aaaaaaaaaaa".to_owned()),
    })
}

fn proxy() -> KeyStoreConfig {
    KeyStoreConfig::Proxy(ProxyConfig {
        connectivity: XksProxyConnectivity::PublicEndpoint,
        uri_endpoint: "https://xks.example.org".to_owned(),
        uri_path: "/kms/xks/v1".to_owned(),
        credential: ProxyCredential {
            access_key_id: "A".repeat(20),
            raw_secret_access_key: SecretText::new("s".repeat(43)),
        },
        trust_anchor_certificate: Some("\n".repeat(5000)),
        budget_millis: Some(250),
    })
}

pub(in crate::store) fn custom_key_stores_round_trip((store, _dir): Fixture) {
    let mut records = [record("a", token()), record(&"\u{1}".repeat(256), proxy())];
    records.sort_by(|one, other| one.id.cmp(&other.id));
    write(&*store, |tx| {
        tx.put_custom_key_store(&records[1])?;
        Ok(tx.put_custom_key_store(&records[0])?)
    })
    .expect("writes");
    read(&*store, |tx| {
        assert_eq!(tx.list_custom_key_stores()?, records);
        assert_eq!(tx.custom_key_store(&records[1].id)?.as_ref(), Some(&records[1]));
        assert_eq!(tx.custom_key_store(&CustomKeyStoreId::generate())?, None);
        Ok(())
    })
    .expect("reads");
    let before = store.change_counter().expect("counts");
    let changed = CustomKeyStoreRecord { connection: Connection::Connected, ..records[0].clone() };
    write(&*store, |tx| Ok(tx.put_custom_key_store(&changed)?)).expect("writes");
    assert_ne!(store.change_counter().expect("counts"), before);
    write(&*store, |tx| Ok(tx.erase_custom_key_store(&records[1].id)?)).expect("erases");
    assert_eq!(store.scrub(), Ok(true));
    assert_eq!(read(&*store, |tx| Ok(tx.list_custom_key_stores()?)), Ok(vec![changed]));
}

pub(in crate::store) fn custom_key_stores_are_apart_by_region((store, _dir): Fixture) {
    let region = Locality::Away("eu-west-1".parse().expect("a Region"));
    let away = store.at(&region);
    let (own, other) = (record("a", token()), record("a", proxy()));
    for (store, record) in [(&*store, &own), (&*away, &other)] {
        write(store, |tx| Ok(tx.put_custom_key_store(record)?)).expect("writes");
    }
    for (store, record, stranger) in [(&*store, &own, &other), (&*away, &other, &own)] {
        read(store, |tx| {
            assert_eq!(tx.list_custom_key_stores()?, std::slice::from_ref(record));
            assert_eq!(tx.custom_key_store(&stranger.id)?, None);
            assert_eq!(tx.localities()?, [Locality::Home, region.clone()]);
            Ok(())
        })
        .expect("reads");
    }
    write(&*store, |tx| Ok(tx.erase_custom_key_store(&other.id)?)).expect("erases nothing");
    assert_eq!(read(&*away, |tx| Ok(tx.list_custom_key_stores()?)), Ok(vec![other]));
}

#[test]
fn room_for_the_whole_record_is_made_at_once() {
    for record in [record(&"\u{1}".repeat(256), token()), record("a", proxy())] {
        let len = serde_json::to_vec(&record).expect("JSON").len();
        assert!(len <= record.json_len_bound(), "{len} bytes");
    }
}

#[test]
fn an_attempt_to_connect_that_never_ends_has_failed() {
    let record = record("a", token());
    assert_eq!(record.connection_state(Timestamp::from_millis(3)).0, ConnectionState::Connecting);
    let later = Timestamp::from_millis(3 + CONNECT_LIMIT_MILLIS);
    let failed = (ConnectionState::Failed, Some(ConnectionErrorCode::InternalError));
    assert_eq!(record.connection_state(later), failed);
}
