//! Measures lists over a durable store with very many keys, and decisions that ask for the aliases of a key.
//!
//! `cargo run --release --workspace --example large_store [KEYS]` (docs/performance.md)
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_core::client::KeyService;
use kms_core::model::{
    AccountId, AliasName, Caller, CreateKeyRequest, EncryptionContext, GenerateDataKeyRequest, KeyId,
    ListAliasesRequest, ListKeysRequest, Page,
};
use kms_core::policy::IdentityPolicy;
use kms_core::seal::{Purpose, RootKey};
use kms_core::service::EmbeddedKms;
use kms_core::store::{self, AliasRecord, KeyRecord, RecordCodec, SqliteStore};

type Failure = Box<dyn std::error::Error>;

/// Keys in one transaction.
const BATCH: usize = 10_000;

fn main() -> Result<(), Failure> {
    let keys = std::env::args().nth(1).map_or(Ok(100_000), |text| text.parse::<usize>())?;
    let dir = tempfile::tempdir()?;
    let root = RootKey::generate()?;
    let codec = RecordCodec::new(root.sealer(Purpose::Records)?);
    let sqlite = Arc::new(SqliteStore::open(&dir.path().join("keys.sqlite"), codec)?);
    let kms = EmbeddedKms::builder(sqlite.clone(), &root)?.build();
    let caller = Caller::local(AccountId::local(), "bench");
    let made = kms.create_key(&caller, &CreateKeyRequest::default())?.key_metadata;
    fill(&sqlite, made.key_id, keys)?;

    let mut times = Vec::new();
    let mut listed = 0;
    let mut marker = None;
    loop {
        let request = ListKeysRequest { page: Page { limit: Some(1000), marker } };
        let started = Instant::now();
        let page = kms.list_keys(&caller, &request)?;
        times.push(started.elapsed());
        listed += page.keys.len();
        marker = page.next_marker;
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(listed, keys);
    println!("ListKeys over {listed} keys: {:?} in all", times.iter().sum::<Duration>());
    report("ListKeys, a page of 1000", &mut times);
    measure_aliases(&kms, &caller, made.key_id)
}

/// Copies the record of a key under other ids, each with an alias.
fn fill(sqlite: &SqliteStore, pattern: KeyId, keys: usize) -> Result<(), Failure> {
    let pattern: KeyRecord =
        store::read(sqlite, |tx| Ok(tx.key(&pattern)?))?.ok_or("the key that was made is there")?;
    let started = Instant::now();
    for first in (1..keys).step_by(BATCH) {
        store::write(sqlite, |tx| {
            for number in first..(first + BATCH).min(keys) {
                let record = KeyRecord { key_id: KeyId::generate(), ..pattern.clone() };
                tx.put_key(&record)?;
                let name: AliasName = format!("alias/key/{number}").parse()?;
                let date = record.creation_date;
                let (key_id, creation_date, last_updated_date) = (record.key_id, date, date);
                tx.put_alias(&AliasRecord { name, key_id, creation_date, last_updated_date })?;
            }
            Ok(())
        })?;
    }
    println!("{keys} keys with aliases written in {:?}", started.elapsed());
    Ok(())
}

/// A data key where the policy asks for the aliases of the key, and where it does not.
fn measure_aliases(kms: &EmbeddedKms, caller: &Caller, key_id: KeyId) -> Result<(), Failure> {
    let policy = |condition: &str| {
        let text = format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "kms:*", "Resource": "*"{condition}}}}}"#
        );
        IdentityPolicy::parse(&text)
    };
    let by_alias = r#", "Condition": {"ForAllValues:StringLike": {"kms:ResourceAliases": "alias/key/*"}}"#;
    for (what, condition) in [("a policy", ""), ("a policy over kms:ResourceAliases", by_alias)] {
        let caller = caller.clone().with_policies(vec![policy(condition)?]);
        let request = GenerateDataKeyRequest::aes_256(key_id, EncryptionContext::from([("volume", "v")]));
        let mut times = Vec::new();
        for _ in 0..20_000 {
            let started = Instant::now();
            kms.generate_data_key(&caller, &request)?;
            times.push(started.elapsed());
        }
        report(&format!("GenerateDataKey by {what}"), &mut times);
    }
    let mut times = Vec::new();
    for _ in 0..200 {
        let request = ListAliasesRequest { key_id: Some(key_id.into()), page: Page::default() };
        let started = Instant::now();
        kms.list_aliases(caller, &request)?;
        times.push(started.elapsed());
    }
    report("ListAliases of one key", &mut times);
    Ok(())
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    if let (Some(median), Some(late)) = (times.get(times.len() / 2), times.get(times.len() * 99 / 100)) {
        println!("{what}: median {median:?}, 99% {late:?} ({} calls)", times.len());
    }
}
