//! PKCS#11 tokens: SoftHSM as it is, and behind a module that fails on demand.
//!
//! Each test runs in a process of its own; see [`shim`].

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../custody/contract.rs"]
mod contract;
mod faults;
mod service;
mod shim;

use std::sync::Arc;

use kms_core::KmsError;
use kms_core::custody::{
    ConnectFailure, CustodyError, KeyCustody, KeyStoreProvider, OpenMaterial, Pkcs11Provider, SoftwareCustody,
};
use kms_core::model::*;
use kms_core::seal::{Purpose, RootKey};

use shim::{Control, Tokens, alone};

/// Finds a token and connects it.
fn connect(config: &TokenConfig) -> Result<Arc<dyn KeyCustody>, ConnectFailure> {
    let provider = Pkcs11Provider::new();
    let config =
        provider.check(&KeyStoreConfig::Token(config.clone()), "CreateCustomKeyStore").expect("is there");
    provider.connect(&CustomKeyStoreId::generate(), &config)
}

fn new_key(custody: &dyn KeyCustody) -> Arc<dyn OpenMaterial> {
    let key_id = KeyId::generate();
    let made = custody.generate(&key_id, KeySpec::SymmetricDefault).expect("generates");
    custody.open(&key_id, KeySpec::SymmetricDefault, &made.material_id, &made.handle).expect("opens")
}

fn refusal(config: &TokenConfig) -> ConnectFailure {
    connect(config).err().expect("is refused")
}

#[test]
fn software_keeps_the_contract() {
    let root = RootKey::generate().expect("random");
    let custody = Arc::new(SoftwareCustody::new(root.sealer(Purpose::Material).expect("derives")));
    contract::check(&contract::Fixture { custody, external: None });
}

#[test]
fn a_token_keeps_the_contract() {
    alone("a_token_keeps_the_contract", |tokens| {
        tokens.init("one");
        let custody = connect(&tokens.plain("one")).expect("connects");
        contract::check(&contract::Fixture { custody: Arc::clone(&custody), external: None });
        assert_eq!(custody.random(1024).expect("random").len(), 1024);
    });
}

#[test]
fn whoever_makes_the_iv_the_contract_holds() {
    alone("whoever_makes_the_iv_the_contract_holds", |tokens| {
        tokens.init("one");
        let caller = connect(&tokens.shimmed("one")).expect("connects");
        let key = new_key(&*caller);
        let mut bodies = vec![key.encrypt(b"aad", b"text").expect("encrypts")];
        for policy in [1, 2] {
            tokens.set(Control::Iv, policy);
            let custody = connect(&tokens.shimmed("one")).expect("connects");
            contract::check(&contract::Fixture { custody: Arc::clone(&custody), external: None });
            bodies.push(new_key(&*custody).encrypt(b"aad", b"text").expect("encrypts"));
        }
        // The policy is recorded in the body, so that a blob says how it was made.
        assert_eq!(bodies.iter().map(|body| body[0]).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(key.decrypt(b"aad", &bodies[0]).expect("decrypts").expose(), b"text");
    });
}

#[test]
fn a_token_without_gcm_is_refused() {
    alone("a_token_without_gcm_is_refused", |tokens| {
        tokens.init("one");
        tokens.set(Control::NoGcm, 1);
        let failure = refusal(&tokens.shimmed("one"));
        assert_eq!(failure.code, ConnectionErrorCode::InsufficientCloudHsmHsms);
        assert!(failure.reason.contains("AES-GCM"), "{failure}");
    });
}

#[test]
fn a_wrong_pin_is_tried_once() {
    alone("a_wrong_pin_is_tried_once", |tokens| {
        tokens.init("one");
        let wrong = PinSource::Sealed(SecretText::new("7654321x".to_owned()));
        let failure = refusal(&TokenConfig { pin: wrong, ..tokens.shimmed("one") });
        assert_eq!(failure.code, ConnectionErrorCode::InvalidCredentials);
        assert!(failure.is_final && !failure.to_string().contains("7654321x"), "{failure}");
        assert_eq!(tokens.get(Control::Logins), 1);
    });
}

#[test]
fn a_pin_comes_from_a_file_or_the_environment() {
    alone("a_pin_comes_from_a_file_or_the_environment", |tokens| {
        tokens.init("one");
        let file = tokens.path("pin");
        let from = |pin: PinSource| connect(&TokenConfig { pin, ..tokens.shimmed("one") }).map(drop);
        assert_eq!(
            from(PinSource::File(file.clone())).expect_err("no file").code,
            ConnectionErrorCode::InvalidCredentials
        );
        assert_eq!(tokens.get(Control::Logins), 0);
        std::fs::write(&file, format!("{}\nrest\n", shim::PIN)).unwrap();
        from(PinSource::File(file)).expect("connects");
        from(PinSource::Environment("KMSFS_NO_SUCH_PIN".into())).expect_err("is not set");
        from(PinSource::Credential("pin".into())).expect_err("no credentials");
        assert_eq!(tokens.get(Control::Logins), 1);
    });
}

#[test]
fn two_tokens_of_one_label_are_told_apart() {
    alone("two_tokens_of_one_label_are_told_apart", |tokens| {
        let (one, two) = (tokens.init("same"), tokens.init("same"));
        let provider = Pkcs11Provider::new();
        let check = |config: TokenConfig| match provider.check(&KeyStoreConfig::Token(config), "")? {
            KeyStoreConfig::Token(config) => Ok(config),
            KeyStoreConfig::Proxy(_) => panic!("a token became a proxy"),
        };
        let both: Result<TokenConfig, KmsError> = check(tokens.plain("same"));
        assert!(matches!(both, Err(KmsError::CloudHsmClusterInvalidConfiguration(_))), "{both:?}");
        assert!(matches!(check(tokens.plain("other")), Err(KmsError::CloudHsmClusterNotFound(_))));
        let of = |serial: &str| {
            check(TokenConfig { label: None, serial: Some(serial.to_owned()), ..tokens.plain("") })
                .expect("found")
        };
        let (one, two) = (of(&one), of(&two));
        assert_ne!(one.cluster_id, two.cluster_id);
        assert_eq!((one.label.as_deref(), two.label.as_deref()), (Some("same"), Some("same")));
        // A key of the one is not in the other.
        let (here, there) = (connect(&one).expect("connects"), connect(&two).expect("connects"));
        let key_id = KeyId::generate();
        let made = here.generate(&key_id, KeySpec::SymmetricDefault).expect("generates");
        let open = |custody: &dyn KeyCustody| {
            custody.open(&key_id, KeySpec::SymmetricDefault, &made.material_id, &made.handle).expect("opens")
        };
        let body = open(&*here).encrypt(b"", b"text").expect("encrypts");
        assert!(matches!(open(&*there).decrypt(b"", &body), Err(CustodyError::Unavailable(_))));
        assert_eq!(open(&*here).decrypt(b"", &body).expect("decrypts").expose(), b"text");
    });
}

#[test]
fn a_token_that_tells_nothing_is_found_by_its_slot() {
    alone("a_token_that_tells_nothing_is_found_by_its_slot", |tokens| {
        let serial = tokens.init("one");
        tokens.set(Control::Silent, 1);
        // SoftHSM numbers the slot of a token by the end of its serial number.
        let slot = u64::from_str_radix(&serial[serial.len() - 8..], 16).unwrap() & 0x7fff_ffff;
        let config = TokenConfig { label: None, slot: Some(slot), ..tokens.shimmed("") };
        let custody = connect(&config).expect("connects");
        contract::check(&contract::Fixture { custody, external: None });
    });
}

#[test]
fn a_full_token_says_so() {
    alone("a_full_token_says_so", |tokens| {
        tokens.init("one");
        let custody = connect(&tokens.shimmed("one")).expect("connects");
        let key = new_key(&*custody);
        tokens.set(Control::Full, 1);
        let refused = custody.generate(&KeyId::generate(), KeySpec::SymmetricDefault).expect_err("no room");
        assert!(matches!(refused, CustodyError::Full(_)), "{refused}");
        assert!(matches!(KmsError::from(refused), KmsError::LimitExceeded(_)));
        let body = key.encrypt(b"", b"text").expect("what is there works");
        assert_eq!(key.decrypt(b"", &body).expect("decrypts").expose(), b"text");
        tokens.set(Control::Full, 0);
        new_key(&*custody);
    });
}

#[test]
fn a_false_blob_with_a_true_check_is_unauthentic() {
    alone("a_false_blob_with_a_true_check_is_unauthentic", |tokens| {
        tokens.init("one");
        let custody = connect(&tokens.plain("one")).expect("connects");
        let key_id = KeyId::generate();
        let made = custody.generate(&key_id, KeySpec::SymmetricDefault).expect("generates");
        let key =
            custody.open(&key_id, KeySpec::SymmetricDefault, &made.material_id, &made.handle).expect("opens");
        let mut body = key.encrypt(b"aad", b"text").expect("encrypts");
        let end = body.len() - 16;
        body[20] ^= 1;
        // The check is public, so that anybody can make it.
        let mut checked = b"kms-core token check v1".to_vec();
        checked.extend_from_slice(&made.handle);
        checked.extend_from_slice(&3_u64.to_le_bytes());
        checked.extend_from_slice(b"aad");
        checked.extend_from_slice(&body[..end]);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &checked);
        body[end..].copy_from_slice(&digest.as_ref()[..16]);
        assert_eq!(key.decrypt(b"aad", &body).err(), Some(CustodyError::Unauthentic));
    });
}

/// A count that the environment may raise.
fn count(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Runs `work` in eight threads, with the number of each.
fn in_eight_threads(work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        let work = &work;
        for number in 0..8 {
            scope.spawn(move || work(number));
        }
    });
}

#[test]
fn eight_threads_work_in_one_token() {
    alone("eight_threads_work_in_one_token", |tokens: &Tokens| {
        tokens.init("one");
        let custody = connect(&tokens.plain("one")).expect("connects");
        let keys: Vec<_> = (0..4).map(|_| new_key(&*custody)).collect();
        let operations = count("KMSFS_TOKEN_OPERATIONS", 500);
        in_eight_threads(|thread| {
            for number in 0..operations {
                let key = &keys[(thread + number) % keys.len()];
                let text = format!("{thread} {number}");
                let body = key.encrypt(text.as_bytes(), text.as_bytes()).expect("encrypts");
                assert_eq!(key.decrypt(text.as_bytes(), &body).expect("decrypts").expose(), text.as_bytes());
            }
        });
    });
}
