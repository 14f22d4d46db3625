//! Shared secrets: key agreement and key encapsulation.

use crate::model::{
    CiphertextBlob, EncapsulationAlgorithm, KeyAgreementAlgorithm, KeyArn, KeyRef, Origin, Plaintext,
};

/// Derives the secret that a key shares with somebody else's key.
#[derive(Debug, Clone)]
pub struct DeriveSharedSecretRequest {
    /// The key; an alias is accepted.
    pub key_id: KeyRef,
    /// How to derive it.
    pub key_agreement_algorithm: KeyAgreementAlgorithm,
    /// The public key of the peer, on the same curve: a DER `SubjectPublicKeyInfo`.
    pub public_key: Vec<u8>,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Check only.
    pub dry_run: bool,
}

impl DeriveSharedSecretRequest {
    /// The secret of `key_id` and `public_key`.
    pub fn new(key_id: impl Into<KeyRef>, public_key: Vec<u8>) -> Self {
        Self {
            key_id: key_id.into(),
            key_agreement_algorithm: KeyAgreementAlgorithm::Ecdh,
            public_key,
            grant_tokens: Vec::new(),
            dry_run: false,
        }
    }
}

/// A shared secret.
#[derive(Debug)]
pub struct DeriveSharedSecretResponse {
    /// The key.
    pub key_id: KeyArn,
    /// The raw secret: the x coordinate of the shared point.
    pub shared_secret: Plaintext,
    /// How it was derived.
    pub key_agreement_algorithm: KeyAgreementAlgorithm,
    /// Where the material of the key comes from.
    pub key_origin: Origin,
}

/// Makes a shared secret for the holder of a private key.
#[derive(Debug, Clone)]
pub struct EncapsulateRequest {
    /// The key; an alias is accepted.
    pub key_id: KeyRef,
    /// How to encapsulate it.
    pub encapsulation_algorithm: EncapsulationAlgorithm,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Check only.
    pub dry_run: bool,
}

impl EncapsulateRequest {
    /// A secret under `key_id`.
    pub fn new(key_id: impl Into<KeyRef>) -> Self {
        Self {
            key_id: key_id.into(),
            encapsulation_algorithm: EncapsulationAlgorithm::MlKem,
            grant_tokens: Vec::new(),
            dry_run: false,
        }
    }
}

/// A shared secret, in the clear and encapsulated.
#[derive(Debug)]
pub struct EncapsulateResponse {
    /// The key.
    pub key_id: KeyArn,
    /// The secret, 32 bytes.
    pub shared_secret: Plaintext,
    /// The secret for the holder of the private key.
    pub shared_secret_ciphertext_blob: CiphertextBlob,
    /// How it was encapsulated.
    pub encapsulation_algorithm: EncapsulationAlgorithm,
}

/// Opens an encapsulated secret.
#[derive(Debug, Clone)]
pub struct DecapsulateRequest {
    /// The key; an alias is accepted.
    pub key_id: KeyRef,
    /// What was encapsulated under its public key.
    pub shared_secret_ciphertext_blob: CiphertextBlob,
    /// How it was encapsulated.
    pub encapsulation_algorithm: EncapsulationAlgorithm,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Check only.
    pub dry_run: bool,
}

impl DecapsulateRequest {
    /// Opens `ciphertext` with `key_id`.
    pub fn new(key_id: impl Into<KeyRef>, ciphertext: CiphertextBlob) -> Self {
        Self {
            key_id: key_id.into(),
            shared_secret_ciphertext_blob: ciphertext,
            encapsulation_algorithm: EncapsulationAlgorithm::MlKem,
            grant_tokens: Vec::new(),
            dry_run: false,
        }
    }
}

/// A shared secret.
///
/// ML-KEM rejects implicitly: a ciphertext that was changed, or made for another key, opens to other bytes and not to
/// an error.
#[derive(Debug)]
pub struct DecapsulateResponse {
    /// The key.
    pub key_id: KeyArn,
    /// The secret, 32 bytes.
    pub shared_secret: Plaintext,
    /// How it was encapsulated.
    pub encapsulation_algorithm: EncapsulationAlgorithm,
}
