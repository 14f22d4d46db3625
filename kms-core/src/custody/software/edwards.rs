//! Ed25519 key pairs.

use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, PublicKeyX509Der};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use ed25519_dalek::{Digest, Sha512, Signature, SigningKey};
use zeroize::Zeroizing;

use super::key_pair::KeyPair;
use crate::custody::{CustodyError, OpenMaterial};
use crate::model::{MessageType, SigningAlgorithm};

/// An Ed25519 key pair, for both forms of the signature.
pub(super) struct EdwardsPair {
    pure: Ed25519KeyPair,
    prehashed: SigningKey,
    public_key: Vec<u8>,
}

impl EdwardsPair {
    pub(super) fn generate() -> Result<Self, CustodyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| CustodyError::Internal)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| CustodyError::Internal)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    pub(super) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, CustodyError> {
        let pure = Ed25519KeyPair::from_pkcs8(pkcs8)
            .map_err(|_| CustodyError::MaterialInvalid("an Ed25519 private key"))?;
        let seed: Curve25519SeedBin<'_> =
            pure.seed().and_then(|seed| seed.as_be_bytes()).map_err(|_| CustodyError::Internal)?;
        let bytes: Zeroizing<[u8; 32]> =
            Zeroizing::new(seed.as_ref().try_into().map_err(|_| CustodyError::Internal)?);
        let prehashed = SigningKey::from_bytes(&bytes);
        let der: PublicKeyX509Der<'_> = pure.public_key().as_der().map_err(|_| CustodyError::Internal)?;
        let public_key = der.as_ref().to_vec();
        Ok(Self { pure, prehashed, public_key })
    }
}

/// The hash that Ed25519ph signs. The message is a digest by the rules of the API, and is hashed all the same.
fn prehash(message: &[u8]) -> Sha512 {
    Sha512::new().chain_update(message)
}

/// Whether a signature is one of the message by the holder of the private key to `public`.
pub(super) fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

/// Whether the algorithm is the prehashed one. The API ties each of the two to a message type.
fn is_prehashed(algorithm: SigningAlgorithm, kind: MessageType) -> Result<bool, CustodyError> {
    match (algorithm, kind) {
        (SigningAlgorithm::Ed25519Sha512, MessageType::Raw) => Ok(false),
        (SigningAlgorithm::Ed25519PhSha512, MessageType::Digest) => Ok(true),
        _ => Err(CustodyError::Unsupported("this signing algorithm and message type")),
    }
}

impl KeyPair for EdwardsPair {
    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        let der = self.pure.to_pkcs8v1().map_err(|_| CustodyError::Internal)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }
}

impl OpenMaterial for EdwardsPair {
    fn public_key(&self) -> Result<Vec<u8>, CustodyError> {
        Ok(self.public_key.clone())
    }

    fn sign(
        &self,
        algorithm: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
    ) -> Result<Vec<u8>, CustodyError> {
        if is_prehashed(algorithm, kind)? {
            let signature = self.prehashed.sign_prehashed(prehash(message), None);
            return Ok(signature.map_err(|_| CustodyError::Internal)?.to_bytes().to_vec());
        }
        let signature = self.pure.try_sign(message).map_err(|_| CustodyError::Internal)?;
        Ok(signature.as_ref().to_vec())
    }

    fn verify(
        &self,
        algorithm: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, CustodyError> {
        if is_prehashed(algorithm, kind)? {
            let Ok(signature) = Signature::from_slice(signature) else { return Ok(false) };
            let public = self.prehashed.verifying_key();
            return Ok(public.verify_prehashed_strict(prehash(message), None, &signature).is_ok());
        }
        Ok(verify(&self.public_key, message, signature))
    }
}
