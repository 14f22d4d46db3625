//! Measures `GenerateDataKey` in this process over a durable keystore with many keys, and with many grants on one key:
//! to as many grantees, and to one grantee in as many encryption contexts.
//!
//! `cargo run --release -p kms-core --example generate_data_key [KEYS] [CALLS] [GRANTS]`
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use kms_core::client::KeyService;
use kms_core::keystore::{Argon2Params, CreateOptions, Keystore, RootKeySource};
use kms_core::model::{
    AccountId, Caller, CreateGrantRequest, CreateKeyRequest, DecryptRequest, EncryptionContext,
    GenerateDataKeyRequest, GrantConstraints, GrantOperation, KeyId, Principal,
};
use kms_core::service::EmbeddedKms;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let keys = arguments.next().transpose()?.unwrap_or(10_000);
    let calls = arguments.next().transpose()?.unwrap_or(50_000);
    let grants = arguments.next().transpose()?.unwrap_or(10_000);
    let dir = tempfile::tempdir()?;
    let options = CreateOptions { argon2: Argon2Params::dangerous_fast(), ..CreateOptions::default() };
    let source = RootKeySource::passphrase("measure");
    let kms = Keystore::create_with(&dir.path().join("keystore"), &source, &options)?;
    let caller = Caller::local(AccountId::local(), "bench");

    let started = Instant::now();
    let mut ids = Vec::with_capacity(keys);
    for _ in 0..keys {
        ids.push(kms.create_key(&caller, &CreateKeyRequest::default())?.key_metadata.key_id);
    }
    println!("{keys} keys created, {:?} each", started.elapsed() / u32::try_from(keys)?);

    let context = EncryptionContext::from([("volume", "v"), ("inode", "1")]);
    let (mut first, mut wrap, mut unwrap) = (Vec::new(), Vec::new(), Vec::new());
    for call in 0..keys.max(calls) {
        let request = GenerateDataKeyRequest::aes_256(ids[(call * 7919) % keys], context.clone());
        let started = Instant::now();
        let made = kms.generate_data_key(&caller, &request)?;
        if call < keys { &mut first } else { &mut wrap }.push(started.elapsed());
        let request = DecryptRequest::new(made.ciphertext_blob, context.clone());
        let started = Instant::now();
        kms.decrypt(&caller, &request)?;
        unwrap.push(started.elapsed());
    }
    report("GenerateDataKey, key not in memory", &mut first);
    report("GenerateDataKey, key in memory", &mut wrap);
    report("Decrypt, key in memory", &mut unwrap);
    measure_grants(&kms, &caller, ids[0], grants, calls)
}

/// A context in which a grant is given.
fn context_of(number: usize) -> EncryptionContext {
    EncryptionContext::from([("volume", "v".to_owned()), ("inode", number.to_string())])
}

fn measure_grants(
    kms: &EmbeddedKms,
    owner: &Caller,
    key_id: KeyId,
    grants: usize,
    calls: usize,
) -> Result<(), Failure> {
    let guest_account: AccountId = "444455556666".parse()?;
    let guest = |name: &str| Caller::local(guest_account.clone(), name).with_policies(Vec::new());
    let started = Instant::now();
    for number in 0..grants {
        let grantee = Principal::user(&guest_account, &format!("guest-{number}"));
        let request = CreateGrantRequest::new(key_id, grantee.as_str(), [GrantOperation::GenerateDataKey]);
        kms.create_grant(owner, &request)?;
        let constraints =
            GrantConstraints { encryption_context_subset: Some(context_of(number)), ..Default::default() };
        let one = Principal::user(&guest_account, "one");
        let request = CreateGrantRequest {
            constraints,
            ..CreateGrantRequest::new(key_id, one.as_str(), [GrantOperation::GenerateDataKey])
        };
        kms.create_grant(owner, &request)?;
    }
    println!("{} grants created, {:?} each", 2 * grants, started.elapsed() / u32::try_from(2 * grants)?);
    let (mut many, mut one, mut none) = (Vec::new(), Vec::new(), Vec::new());
    let constrained = guest("one");
    for call in 0..grants.max(calls) {
        let number = (call * 7919) % grants;
        let request = GenerateDataKeyRequest::aes_256(key_id, context_of(number));
        let grantee = guest(&format!("guest-{number}"));
        for (caller, times) in [(&grantee, &mut many), (&constrained, &mut one), (owner, &mut none)] {
            let started = Instant::now();
            kms.generate_data_key(caller, &request)?;
            times.push(started.elapsed());
        }
    }
    report("GenerateDataKey by grants, one for each grantee", &mut many);
    report("GenerateDataKey by grants, all to one grantee", &mut one);
    report("GenerateDataKey by policy on the same key", &mut none);
    Ok(())
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    if let (Some(median), Some(late)) = (times.get(times.len() / 2), times.get(times.len() * 99 / 100)) {
        println!("{what}: median {median:?}, 99% {late:?} ({} calls)", times.len());
    }
}
