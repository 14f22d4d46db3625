//! Keystore directories: every way in which opening can fail has its own error.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kms_core::client::KeyService;
use kms_core::keystore::{Argon2Params, CreateOptions, Keystore, KeystoreError, RootKeySource, SecretShares};
use kms_core::model::*;
use tempfile::TempDir;

use crate::fixture::{context, local, source};

fn options() -> CreateOptions {
    CreateOptions { argon2: Argon2Params::dangerous_fast(), ..CreateOptions::default() }
}

/// A keystore with one key, and a blob of that key.
fn keystore(source: &RootKeySource) -> (TempDir, std::path::PathBuf, CiphertextBlob) {
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("ks");
    let kms = Keystore::create_with(&path, source, &options()).expect("creates");
    let key_id = kms.create_key(&local(), &CreateKeyRequest::default()).expect("creates").key_metadata.key_id;
    let request = EncryptRequest::new(key_id, Plaintext::copy_of(b"text"), context());
    let blob = kms.encrypt(&local(), &request).expect("encrypts").ciphertext_blob;
    (dir, path, blob)
}

fn decrypts(path: &Path, source: &RootKeySource, blob: &CiphertextBlob) -> bool {
    let kms = Keystore::open(path, source).expect("opens");
    let opened = kms.decrypt(&local(), &DecryptRequest::new(blob.clone(), context()));
    opened.expect("decrypts").plaintext.expose() == b"text"
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("exists").permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changes the mode");
}

#[test]
fn a_keystore_is_private_and_opens_again() {
    let (_dir, path, blob) = keystore(&source());
    assert!(decrypts(&path, &source(), &blob));
    assert_eq!(mode(&path), 0o700);
    // Open and written to, so that the log is there too.
    let kms = Keystore::open(&path, &source()).expect("opens");
    kms.create_key(&local(), &CreateKeyRequest::default()).expect("creates");
    assert!(path.join("keys.sqlite-wal").exists());
    for entry in fs::read_dir(&path).expect("lists") {
        assert_eq!(mode(&entry.expect("an entry").path()), 0o600);
    }
    let left: Vec<_> = fs::read_dir(path.parent().expect("a parent")).expect("lists").collect();
    assert_eq!(left.len(), 1, "nothing is left beside the keystore");
}

#[test]
fn a_wrong_passphrase_is_not_damage() {
    let (_dir, path, _) = keystore(&source());
    let wrong = Keystore::open(&path, &RootKeySource::passphrase("wrong"));
    assert!(matches!(wrong, Err(KeystoreError::WrongPassphrase)));
    let other = Keystore::open(&path, &RootKeySource::key_file("/nowhere"));
    assert!(matches!(other, Err(KeystoreError::WrongSource { expected: "passphrase" })));
    let empty = Keystore::create_with(&path.join("x"), &RootKeySource::passphrase(""), &options());
    assert!(matches!(empty, Err(KeystoreError::Unsuitable(_))));
}

#[test]
fn nothing_is_replaced_and_nothing_is_invented() {
    let (dir, path, _) = keystore(&source());
    let again = Keystore::create_with(&path, &source(), &options());
    assert!(matches!(again, Err(KeystoreError::AlreadyExists { .. })));
    let missing = Keystore::open(&dir.path().join("none"), &source());
    assert!(matches!(missing, Err(KeystoreError::Missing { .. })));
    fs::remove_file(path.join("keys.sqlite")).expect("removes");
    assert!(matches!(Keystore::open(&path, &source()), Err(KeystoreError::Corrupt { .. })));
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).expect("creates");
    Keystore::create_with(&empty, &source(), &options()).expect("an empty directory is free");
}

#[test]
fn a_keystore_that_others_can_read_is_refused() {
    let (_dir, path, _) = keystore(&source());
    for part in [path.clone(), path.join("keystore.json"), path.join("keys.sqlite")] {
        let before = mode(&part);
        set_mode(&part, before | 0o040);
        assert!(matches!(Keystore::open(&path, &source()), Err(KeystoreError::Permissions { .. })));
        set_mode(&part, before);
    }
    assert!(Keystore::open(&path, &source()).is_ok());
}

#[test]
fn a_key_file_opens_what_it_sealed() {
    let dir = TempDir::new().expect("temporary directory");
    let (file, other) = (dir.path().join("root.key"), dir.path().join("other.key"));
    Keystore::create_key_file(&file).expect("creates");
    Keystore::create_key_file(&other).expect("creates");
    assert_eq!(mode(&file), 0o600);
    assert!(matches!(Keystore::create_key_file(&file), Err(KeystoreError::AlreadyExists { .. })));
    let (_dir, path, blob) = keystore(&RootKeySource::key_file(&file));
    assert!(decrypts(&path, &RootKeySource::key_file(&file), &blob));
    let wrong = Keystore::open(&path, &RootKeySource::key_file(&other));
    assert!(matches!(wrong, Err(KeystoreError::WrongKeyFile)));
    let missing = Keystore::open(&path, &RootKeySource::key_file(dir.path().join("none")));
    assert!(matches!(missing, Err(KeystoreError::KeyFile { problem: "is missing", .. })));
    set_mode(&file, 0o644);
    let readable = Keystore::open(&path, &RootKeySource::key_file(&file));
    assert!(matches!(readable, Err(KeystoreError::Permissions { .. })));
    fs::write(&other, b"short").expect("writes");
    let short = Keystore::open(&path, &RootKeySource::key_file(&other));
    assert!(matches!(short, Err(KeystoreError::KeyFile { problem: "is shorter than 32 bytes", .. })));
}

#[test]
fn reseal_changes_what_opens_the_keystore_and_nothing_else() {
    let (dir, path, blob) = keystore(&source());
    let file = dir.path().join("root.key");
    Keystore::create_key_file(&file).expect("creates");
    let to = RootKeySource::key_file(&file);
    let fast = Argon2Params::dangerous_fast();
    let wrong = Keystore::reseal(&path, &RootKeySource::passphrase("wrong"), &to, fast);
    assert!(matches!(wrong, Err(KeystoreError::WrongPassphrase)));
    assert!(decrypts(&path, &source(), &blob));
    Keystore::reseal(&path, &source(), &to, fast).expect("reseals");
    assert!(decrypts(&path, &to, &blob));
    assert!(matches!(Keystore::open(&path, &source()), Err(KeystoreError::WrongSource { .. })));
    assert_eq!(mode(&path.join("keystore.json")), 0o600);
}

#[test]
fn a_recovery_key_and_shares_open_a_keystore_and_survive_a_reseal() {
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("ks");
    let line = Keystore::new_recovery_key().expect("makes");
    let recovery = || RootKeySource::RecoveryKey(Plaintext::copy_of(line.as_bytes()));
    let all = SecretShares::generate(2, 3).expect("splits");
    let texts: Vec<String> = all.texts().iter().map(|text| text.to_string()).collect();
    let shares = |numbers: &[usize]| {
        let some: Vec<&str> = numbers.iter().map(|number| texts[*number].as_str()).collect();
        SecretShares::parse(&some).map(RootKeySource::Shares)
    };
    let sources = [&source(), &recovery(), &RootKeySource::Shares(all)];
    let kms = Keystore::create_sealed(&path, &sources, &options()).expect("creates");
    let key_id = kms.create_key(&local(), &CreateKeyRequest::default()).expect("creates").key_metadata.key_id;
    let request = EncryptRequest::new(key_id, Plaintext::copy_of(b"text"), context());
    let blob = kms.encrypt(&local(), &request).expect("encrypts").ciphertext_blob;
    assert_eq!(Keystore::seals(&path).expect("reads").len(), 3);

    let fast = Argon2Params::dangerous_fast();
    let other = RootKeySource::passphrase("another");
    // The passphrase is lost.
    Keystore::reseal(&path, &recovery(), &other, fast).expect("reseals");
    assert!(matches!(Keystore::open(&path, &source()), Err(KeystoreError::WrongPassphrase)));
    for source in [other, recovery(), shares(&[0, 1]).expect("reads"), shares(&[2, 0]).expect("reads")] {
        assert!(decrypts(&path, &source, &blob), "{source:?}");
    }
    assert!(matches!(
        Keystore::open(&path, &shares(&[1]).expect("reads")),
        Err(KeystoreError::TooFewShares { given: 1, needed: 2 })
    ));
    assert!(shares(&[1, 1]).is_err(), "one share twice is one share");
    let strange = SecretShares::generate(2, 2).expect("splits");
    let strange = Keystore::open(&path, &RootKeySource::Shares(strange));
    assert!(matches!(strange, Err(KeystoreError::WrongShares)));
    let wrong = Keystore::new_recovery_key().expect("makes");
    let wrong = RootKeySource::RecoveryKey(Plaintext::copy_of(wrong.as_bytes()));
    assert!(matches!(Keystore::open(&path, &wrong), Err(KeystoreError::WrongRecoveryKey)));

    // New ones take the place of the old ones.
    let line = Keystore::new_recovery_key().expect("makes");
    let new = RootKeySource::RecoveryKey(Plaintext::copy_of(line.as_bytes()));
    Keystore::reseal_under(&path, &recovery(), &[&source(), &new], fast).expect("reseals");
    assert!(matches!(Keystore::open(&path, &recovery()), Err(KeystoreError::WrongRecoveryKey)));
    assert!(decrypts(&path, &new, &blob) && decrypts(&path, &shares(&[1, 2]).expect("reads"), &blob));
    assert_eq!(Keystore::seals(&path).expect("reads").len(), 3);
}

#[test]
fn shares_are_bounded() {
    for (needed, all) in [(0, 3), (1, 3), (4, 3), (2, 17)] {
        assert!(SecretShares::generate(needed, all).is_err(), "{needed} of {all}");
    }
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let (_dir, path, _) = keystore(&source());
    let header = path.join("keystore.json");
    let text = fs::read_to_string(&header).expect("reads");
    fs::write(&header, text.replace("\"version\": 1", "\"version\": 3, \"unknown\": true")).expect("writes");
    let newer = Keystore::open(&path, &source());
    assert!(matches!(newer, Err(KeystoreError::NewerVersion { found: 3, supported: 2 })));
    fs::write(&header, text).expect("writes");
    let database = rusqlite::Connection::open(path.join("keys.sqlite")).expect("opens");
    database.execute("INSERT INTO migration VALUES (99, '')", []).expect("inserts");
    let newer = Keystore::open(&path, &source());
    assert!(matches!(
        newer,
        Err(KeystoreError::Store(kms_core::store::StoreError::NewerVersion { found: 99, .. }))
    ));
}

#[test]
fn every_damaged_byte_of_the_header_is_an_error() {
    let (_dir, path, blob) = keystore(&source());
    let header = path.join("keystore.json");
    let good = fs::read(&header).expect("reads");
    for position in 0..good.len() {
        for flip in [1, 0x80] {
            let mut bytes = good.clone();
            bytes[position] ^= flip;
            fs::write(&header, &bytes).expect("writes");
            // White space between tokens means nothing; everything else must be noticed.
            if Keystore::open(&path, &source()).is_ok() {
                assert!(good[position].is_ascii_whitespace(), "byte {position}");
                assert!(decrypts(&path, &source(), &blob));
            }
        }
        fs::write(&header, &good[..position]).expect("writes");
        assert!(Keystore::open(&path, &source()).is_err() || position + 1 == good.len());
    }
}

#[test]
fn parameters_that_would_exhaust_the_machine_are_refused() {
    let (_dir, path, _) = keystore(&source());
    let header = path.join("keystore.json");
    let text = fs::read_to_string(&header).expect("reads");
    fs::write(&header, text.replace("\"memory_kib\": 8", "\"memory_kib\": 4294967295")).expect("writes");
    assert!(matches!(Keystore::open(&path, &source()), Err(KeystoreError::Corrupt { .. })));
}

#[test]
fn the_realm_is_that_of_creation() {
    let dir = TempDir::new().expect("temporary directory");
    let realm = Realm {
        region: "eu-central-1".parse().expect("a Region"),
        account: "111122223333".parse().expect("an account"),
    };
    let path = dir.path().join("ks");
    Keystore::create_with(&path, &source(), &CreateOptions { realm, ..options() }).expect("creates");
    let kms = Keystore::open(&path, &source()).expect("opens");
    let caller = Caller::local(kms.realm().account.clone(), "tester");
    let metadata = kms.create_key(&caller, &CreateKeyRequest::default()).expect("creates").key_metadata;
    assert!(metadata.arn.as_str().starts_with("arn:aws:kms:eu-central-1:111122223333:key/"));
}
