//! What can be done with each kind of key material: algorithms, message types, and which key spec has which of them.

use super::{EncryptionAlgorithm, KeySpec, KeyUsage};
use crate::error::KmsError;

api_enum! {
    /// How a signature is made.
    SigningAlgorithm at "signingAlgorithm" {
        /// RSA-PSS with SHA-256, and a salt as long as the hash.
        RsassaPssSha256 = "RSASSA_PSS_SHA_256",
        /// RSA-PSS with SHA-384, and a salt as long as the hash.
        RsassaPssSha384 = "RSASSA_PSS_SHA_384",
        /// RSA-PSS with SHA-512, and a salt as long as the hash.
        RsassaPssSha512 = "RSASSA_PSS_SHA_512",
        /// RSA PKCS #1 v1.5 with SHA-256.
        RsassaPkcs1V15Sha256 = "RSASSA_PKCS1_V1_5_SHA_256",
        /// RSA PKCS #1 v1.5 with SHA-384.
        RsassaPkcs1V15Sha384 = "RSASSA_PKCS1_V1_5_SHA_384",
        /// RSA PKCS #1 v1.5 with SHA-512.
        RsassaPkcs1V15Sha512 = "RSASSA_PKCS1_V1_5_SHA_512",
        /// ECDSA with SHA-256, DER-encoded.
        EcdsaSha256 = "ECDSA_SHA_256",
        /// ECDSA with SHA-384, DER-encoded.
        EcdsaSha384 = "ECDSA_SHA_384",
        /// ECDSA with SHA-512, DER-encoded.
        EcdsaSha512 = "ECDSA_SHA_512",
        /// SM2 signatures.
        Sm2dsa = "SM2DSA",
        /// ML-DSA (FIPS 204), with an empty context.
        MlDsaShake256 = "ML_DSA_SHAKE_256",
        /// Ed25519 of the message itself (RFC 8032).
        Ed25519Sha512 = "ED25519_SHA_512",
        /// Ed25519ph (RFC 8032), with an empty context.
        Ed25519PhSha512 = "ED25519_PH_SHA_512",
    }
}

impl SigningAlgorithm {
    /// The length of the digest that is signed with [`MessageType::Digest`]; absent where a digest cannot be signed.
    pub const fn digest_len(self) -> Option<usize> {
        match self {
            Self::RsassaPssSha256 | Self::RsassaPkcs1V15Sha256 | Self::EcdsaSha256 | Self::Sm2dsa => Some(32),
            Self::RsassaPssSha384 | Self::RsassaPkcs1V15Sha384 | Self::EcdsaSha384 => Some(48),
            Self::RsassaPssSha512
            | Self::RsassaPkcs1V15Sha512
            | Self::EcdsaSha512
            | Self::Ed25519PhSha512 => Some(64),
            Self::MlDsaShake256 | Self::Ed25519Sha512 => None,
        }
    }
}

api_enum! {
    /// What the message of a signature is.
    MessageType at "messageType" {
        /// The message itself, which the signature hashes.
        Raw = "RAW",
        /// The hash of the message.
        Digest = "DIGEST",
        /// The 64-byte representative of the message and the public key (mu in FIPS 204).
        ExternalMu = "EXTERNAL_MU",
    }
}

api_enum! {
    /// How a message authentication code is made.
    MacAlgorithm at "macAlgorithm" {
        /// HMAC with SHA-224.
        HmacSha224 = "HMAC_SHA_224",
        /// HMAC with SHA-256.
        HmacSha256 = "HMAC_SHA_256",
        /// HMAC with SHA-384.
        HmacSha384 = "HMAC_SHA_384",
        /// HMAC with SHA-512.
        HmacSha512 = "HMAC_SHA_512",
    }
}

api_enum! {
    /// How two parties agree on a secret.
    KeyAgreementAlgorithm at "keyAgreementAlgorithm" {
        /// Elliptic curve cofactor Diffie-Hellman (SP 800-56A).
        Ecdh = "ECDH",
    }
}

api_enum! {
    /// How a secret is encapsulated under a public key.
    EncapsulationAlgorithm at "encapsulationAlgorithm" {
        /// ML-KEM (FIPS 203).
        MlKem = "ML_KEM",
    }
}

api_enum! {
    /// The kinds of data key pairs.
    DataKeyPairSpec at "keyPairSpec" {
        /// RSA with a 2048-bit modulus.
        Rsa2048 = "RSA_2048",
        /// RSA with a 3072-bit modulus.
        Rsa3072 = "RSA_3072",
        /// RSA with a 4096-bit modulus.
        Rsa4096 = "RSA_4096",
        /// NIST P-256.
        EccNistP256 = "ECC_NIST_P256",
        /// NIST P-384.
        EccNistP384 = "ECC_NIST_P384",
        /// NIST P-521.
        EccNistP521 = "ECC_NIST_P521",
        /// secp256k1.
        EccSecgP256k1 = "ECC_SECG_P256K1",
        /// SM2, which only the China Regions offer. Always refused.
        Sm2 = "SM2",
        /// Ed25519.
        EccNistEdwards25519 = "ECC_NIST_EDWARDS25519",
        /// ML-KEM, category 1 (FIPS 203).
        MlKem512 = "ML_KEM_512",
        /// ML-KEM, category 3 (FIPS 203).
        MlKem768 = "ML_KEM_768",
        /// ML-KEM, category 5 (FIPS 203).
        MlKem1024 = "ML_KEM_1024",
    }
}

impl DataKeyPairSpec {
    /// The spec of a KMS key with the same kind of material.
    pub const fn key_spec(self) -> KeySpec {
        match self {
            Self::Rsa2048 => KeySpec::Rsa2048,
            Self::Rsa3072 => KeySpec::Rsa3072,
            Self::Rsa4096 => KeySpec::Rsa4096,
            Self::EccNistP256 => KeySpec::EccNistP256,
            Self::EccNistP384 => KeySpec::EccNistP384,
            Self::EccNistP521 => KeySpec::EccNistP521,
            Self::EccSecgP256k1 => KeySpec::EccSecgP256k1,
            Self::Sm2 => KeySpec::Sm2,
            Self::EccNistEdwards25519 => KeySpec::EccNistEdwards25519,
            Self::MlKem512 => KeySpec::MlKem512,
            Self::MlKem768 => KeySpec::MlKem768,
            Self::MlKem1024 => KeySpec::MlKem1024,
        }
    }
}

/// The shape of key material.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaterialKind {
    /// 32 bytes for authenticated encryption.
    Symmetric,
    /// The secret of an HMAC.
    Hmac {
        /// Its length, which is that of the MAC.
        len: usize,
    },
    /// A private key, with a public key that can be told to everybody.
    KeyPair,
}

/// What each spec is, and which algorithms it has.
impl KeySpec {
    /// The shape of the material.
    pub const fn material_kind(self) -> MaterialKind {
        match self {
            Self::SymmetricDefault => MaterialKind::Symmetric,
            Self::Hmac224 => MaterialKind::Hmac { len: 28 },
            Self::Hmac256 => MaterialKind::Hmac { len: 32 },
            Self::Hmac384 => MaterialKind::Hmac { len: 48 },
            Self::Hmac512 => MaterialKind::Hmac { len: 64 },
            Self::Rsa2048
            | Self::Rsa3072
            | Self::Rsa4096
            | Self::EccNistP256
            | Self::EccNistP384
            | Self::EccNistP521
            | Self::EccSecgP256k1
            | Self::EccNistEdwards25519
            | Self::MlDsa44
            | Self::MlDsa65
            | Self::MlDsa87
            | Self::MlKem512
            | Self::MlKem768
            | Self::MlKem1024
            | Self::Sm2 => MaterialKind::KeyPair,
        }
    }

    /// Whether the key has a public key.
    pub const fn is_asymmetric(self) -> bool {
        matches!(self.material_kind(), MaterialKind::KeyPair)
    }

    /// The algorithms of `Encrypt`, for a key with that usage.
    pub const fn encryption_algorithms(self) -> &'static [EncryptionAlgorithm] {
        use EncryptionAlgorithm::{RsaesOaepSha1, RsaesOaepSha256, Sm2pke, SymmetricDefault};
        match self {
            Self::SymmetricDefault => &[SymmetricDefault],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[RsaesOaepSha1, RsaesOaepSha256],
            Self::Sm2 => &[Sm2pke],
            Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => &[],
            Self::EccNistP256 | Self::EccNistP384 | Self::EccNistP521 => &[],
            Self::EccSecgP256k1 | Self::EccNistEdwards25519 => &[],
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => &[],
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => &[],
        }
    }

    /// The algorithms of `Sign`, for a key with that usage.
    pub const fn signing_algorithms(self) -> &'static [SigningAlgorithm] {
        use SigningAlgorithm as Algorithm;
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[
                Algorithm::RsassaPkcs1V15Sha256,
                Algorithm::RsassaPkcs1V15Sha384,
                Algorithm::RsassaPkcs1V15Sha512,
                Algorithm::RsassaPssSha256,
                Algorithm::RsassaPssSha384,
                Algorithm::RsassaPssSha512,
            ],
            Self::EccNistP256 | Self::EccSecgP256k1 => &[Algorithm::EcdsaSha256],
            Self::EccNistP384 => &[Algorithm::EcdsaSha384],
            Self::EccNistP521 => &[Algorithm::EcdsaSha512],
            Self::EccNistEdwards25519 => &[Algorithm::Ed25519Sha512, Algorithm::Ed25519PhSha512],
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => &[Algorithm::MlDsaShake256],
            Self::Sm2 => &[Algorithm::Sm2dsa],
            Self::SymmetricDefault | Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => &[],
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => &[],
        }
    }

    /// The algorithms of `GenerateMac`.
    pub const fn mac_algorithms(self) -> &'static [MacAlgorithm] {
        match self {
            Self::Hmac224 => &[MacAlgorithm::HmacSha224],
            Self::Hmac256 => &[MacAlgorithm::HmacSha256],
            Self::Hmac384 => &[MacAlgorithm::HmacSha384],
            Self::Hmac512 => &[MacAlgorithm::HmacSha512],
            Self::SymmetricDefault | Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 | Self::Sm2 => &[],
            Self::EccNistP256 | Self::EccNistP384 | Self::EccNistP521 => &[],
            Self::EccSecgP256k1 | Self::EccNistEdwards25519 => &[],
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => &[],
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => &[],
        }
    }
}

/// Which algorithms a key has, given its spec and its usage.
///
/// Only the list that belongs to the usage has entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Algorithms {
    /// Of `Encrypt` and `Decrypt`.
    pub encryption: &'static [EncryptionAlgorithm],
    /// Of `Sign` and `Verify`.
    pub signing: &'static [SigningAlgorithm],
    /// Of `GenerateMac` and `VerifyMac`.
    pub mac: &'static [MacAlgorithm],
    /// Of `DeriveSharedSecret`.
    pub key_agreement: &'static [KeyAgreementAlgorithm],
    /// Of `Encapsulate` and `Decapsulate`.
    pub encapsulation: &'static [EncapsulationAlgorithm],
}

impl Algorithms {
    /// The algorithms of a key.
    pub const fn of(spec: KeySpec, usage: KeyUsage) -> Self {
        let none = Self { encryption: &[], signing: &[], mac: &[], key_agreement: &[], encapsulation: &[] };
        match usage {
            KeyUsage::EncryptDecrypt => Self { encryption: spec.encryption_algorithms(), ..none },
            KeyUsage::SignVerify => Self { signing: spec.signing_algorithms(), ..none },
            KeyUsage::GenerateVerifyMac => Self { mac: spec.mac_algorithms(), ..none },
            KeyUsage::KeyAgreement => Self { key_agreement: KeyAgreementAlgorithm::ALL, ..none },
            KeyUsage::EncapsulateDecapsulate => Self { encapsulation: EncapsulationAlgorithm::ALL, ..none },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usage_of_a_spec_has_algorithms() {
        for spec in KeySpec::ALL {
            for usage in KeyUsage::ALL {
                let all = Algorithms::of(*spec, *usage);
                let some = !all.encryption.is_empty()
                    || !all.signing.is_empty()
                    || !all.mac.is_empty()
                    || (!all.key_agreement.is_empty() && spec.usages().contains(usage))
                    || (!all.encapsulation.is_empty() && spec.usages().contains(usage));
                assert_eq!(some, spec.usages().contains(usage), "{spec} {usage}");
            }
        }
    }

    #[test]
    fn a_data_key_pair_is_named_as_the_key_spec() {
        for spec in DataKeyPairSpec::ALL {
            assert_eq!(spec.as_str(), spec.key_spec().as_str());
            assert!(spec.key_spec().is_asymmetric());
        }
    }
}
