//! Measures `GenerateDataKey` in this process over a durable keystore with many keys.
//!
//! `cargo run --release -p kms-core --example generate_data_key [KEYS] [CALLS]`
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use kms_core::client::KeyService;
use kms_core::keystore::{Argon2Params, CreateOptions, Keystore, RootKeySource};
use kms_core::model::{
    AccountId, Caller, CreateKeyRequest, DecryptRequest, EncryptionContext, GenerateDataKeyRequest,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let keys = arguments.next().transpose()?.unwrap_or(10_000);
    let calls = arguments.next().transpose()?.unwrap_or(50_000);
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
    Ok(())
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    if let (Some(median), Some(late)) = (times.get(times.len() / 2), times.get(times.len() * 99 / 100)) {
        println!("{what}: median {median:?}, 99% {late:?} ({} calls)", times.len());
    }
}
