//! Key pairs on the curves of NIST and on secp256k1: ECDSA and ECDH.

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, ParsedPublicKey, ParsedPublicKeyFormat};
use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1,
    ECDSA_P256K1_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    EcdsaVerificationAlgorithm, KeyPair as _, UnparsedPublicKey,
};
use zeroize::Zeroizing;

use super::key_pair::KeyPair;
use super::rsa::digest_of;
use crate::custody::{CustodyError, OpenMaterial};
use crate::model::{KeySpec, MessageType, Plaintext, SigningAlgorithm};

/// What a curve has. Each has one signing algorithm.
struct Curve {
    spec: KeySpec,
    algorithm: SigningAlgorithm,
    digest: &'static digest::Algorithm,
    signing: &'static EcdsaSigningAlgorithm,
    verification: &'static EcdsaVerificationAlgorithm,
    agreement: Option<&'static agreement::Algorithm>,
}

const CURVES: [Curve; 4] = [
    Curve {
        spec: KeySpec::EccNistP256,
        algorithm: SigningAlgorithm::EcdsaSha256,
        digest: &SHA256,
        signing: &ECDSA_P256_SHA256_ASN1_SIGNING,
        verification: &ECDSA_P256_SHA256_ASN1,
        agreement: Some(&ECDH_P256),
    },
    Curve {
        spec: KeySpec::EccNistP384,
        algorithm: SigningAlgorithm::EcdsaSha384,
        digest: &SHA384,
        signing: &ECDSA_P384_SHA384_ASN1_SIGNING,
        verification: &ECDSA_P384_SHA384_ASN1,
        agreement: Some(&ECDH_P384),
    },
    Curve {
        spec: KeySpec::EccNistP521,
        algorithm: SigningAlgorithm::EcdsaSha512,
        digest: &SHA512,
        signing: &ECDSA_P521_SHA512_ASN1_SIGNING,
        verification: &ECDSA_P521_SHA512_ASN1,
        agreement: Some(&ECDH_P521),
    },
    Curve {
        spec: KeySpec::EccSecgP256k1,
        algorithm: SigningAlgorithm::EcdsaSha256,
        digest: &SHA256,
        signing: &ECDSA_P256K1_SHA256_ASN1_SIGNING,
        verification: &ECDSA_P256K1_SHA256_ASN1,
        agreement: None,
    },
];

fn curve(spec: KeySpec) -> Result<&'static Curve, CustodyError> {
    CURVES.iter().find(|curve| curve.spec == spec).ok_or(CustodyError::Unsupported("elliptic curves"))
}

/// Whether a signature is one of the message by the holder of the private key to `public`.
pub(super) fn verify(
    spec: KeySpec,
    public: &[u8],
    kind: MessageType,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, CustodyError> {
    let curve = curve(spec)?;
    let digest = digest_of(curve.digest, kind, message)?;
    Ok(UnparsedPublicKey::new(curve.verification, public).verify_digest(&digest, signature).is_ok())
}

/// A key pair on one of the curves. Its key usage decides whether it signs or agrees.
pub(super) struct EccPair {
    curve: &'static Curve,
    signing: EcdsaKeyPair,
    agreement: Option<agreement::PrivateKey>,
    public_key: Vec<u8>,
}

impl EccPair {
    pub(super) fn generate(spec: KeySpec) -> Result<Self, CustodyError> {
        let pair = EcdsaKeyPair::generate(curve(spec)?.signing).map_err(|_| CustodyError::Internal)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| CustodyError::Internal)?;
        Self::from_pkcs8(spec, pkcs8.as_ref())
    }

    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Result<Self, CustodyError> {
        let refused = || CustodyError::MaterialInvalid("a private key on the curve of this key");
        let curve = curve(spec)?;
        let signing = EcdsaKeyPair::from_pkcs8(curve.signing, pkcs8).map_err(|_| refused())?;
        let agreement = curve
            .agreement
            .map(|algorithm| agreement::PrivateKey::from_private_key_der(algorithm, pkcs8))
            .transpose()
            .map_err(|_| refused())?;
        let der: PublicKeyX509Der<'_> = signing.public_key().as_der().map_err(|_| CustodyError::Internal)?;
        let public_key = der.as_ref().to_vec();
        Ok(Self { curve, signing, agreement, public_key })
    }

    fn check(&self, algorithm: SigningAlgorithm) -> Result<(), CustodyError> {
        if algorithm != self.curve.algorithm {
            return Err(CustodyError::Unsupported("this signing algorithm"));
        }
        Ok(())
    }
}

impl KeyPair for EccPair {
    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        let der = self.signing.to_pkcs8v1().map_err(|_| CustodyError::Internal)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }
}

impl OpenMaterial for EccPair {
    fn public_key(&self) -> Result<Vec<u8>, CustodyError> {
        Ok(self.public_key.clone())
    }

    fn sign(
        &self,
        algorithm: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
    ) -> Result<Vec<u8>, CustodyError> {
        self.check(algorithm)?;
        let digest = digest_of(self.curve.digest, kind, message)?;
        let signature = self.signing.sign_digest(&digest).map_err(|_| CustodyError::Internal)?;
        Ok(signature.as_ref().to_vec())
    }

    fn verify(
        &self,
        algorithm: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, CustodyError> {
        self.check(algorithm)?;
        verify(self.curve.spec, &self.public_key, kind, message, signature)
    }

    fn derive_shared_secret(&self, peer: &[u8]) -> Result<Plaintext, CustodyError> {
        let (Some(private), Some(algorithm)) = (&self.agreement, self.curve.agreement) else {
            return Err(CustodyError::Unsupported("key agreement"));
        };
        let refused = || CustodyError::PeerInvalid(self.curve.spec);
        let peer = ParsedPublicKey::try_from(agreement::UnparsedPublicKey::new(algorithm, peer))
            .map_err(|_| refused())?;
        // The library also reads bare points, which the API does not accept.
        if peer.format() != ParsedPublicKeyFormat::X509 {
            return Err(refused());
        }
        agreement::agree(private, peer, refused(), |secret| Ok(Plaintext::copy_of(secret)))
    }
}
