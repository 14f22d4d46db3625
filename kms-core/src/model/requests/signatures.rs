//! Public keys, signatures and message authentication codes.

use crate::model::{
    Algorithms, KeyArn, KeyRef, KeySpec, KeyUsage, MacAlgorithm, MessageType, Plaintext, SigningAlgorithm,
};

/// Asks for the public key of an asymmetric key.
#[derive(Debug, Clone)]
pub struct GetPublicKeyRequest {
    /// The key; an alias is accepted.
    pub key_id: KeyRef,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
}

impl GetPublicKeyRequest {
    /// The public key of `key_id`.
    pub fn new(key_id: impl Into<KeyRef>) -> Self {
        Self { key_id: key_id.into(), grant_tokens: Vec::new() }
    }
}

/// A public key, and what may be done with it outside of the service.
///
/// `CustomerMasterKeySpec` of the wire is [`GetPublicKeyResponse::key_spec`] again.
#[derive(Debug, Clone)]
pub struct GetPublicKeyResponse {
    /// The key.
    pub key_id: KeyArn,
    /// The public key: a DER `SubjectPublicKeyInfo` (RFC 5280).
    pub public_key: Vec<u8>,
    /// The kind of key material.
    pub key_spec: KeySpec,
    /// What the key may be used for.
    pub key_usage: KeyUsage,
    /// The algorithms of that usage.
    pub algorithms: Algorithms,
}

/// Signs a message.
#[derive(Debug)]
pub struct SignRequest {
    /// The key; an alias is accepted.
    pub key_id: KeyRef,
    /// 1 to 4096 bytes.
    pub message: Plaintext,
    /// What the message is. Default [`MessageType::Raw`].
    pub message_type: Option<MessageType>,
    /// How to sign.
    pub signing_algorithm: SigningAlgorithm,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Check only, never sign.
    pub dry_run: bool,
}

impl SignRequest {
    /// Signs `message` itself with `key_id`.
    pub fn new(key_id: impl Into<KeyRef>, message: Plaintext, signing_algorithm: SigningAlgorithm) -> Self {
        Self {
            key_id: key_id.into(),
            message,
            message_type: None,
            signing_algorithm,
            grant_tokens: Vec::new(),
            dry_run: false,
        }
    }
}

/// A signature.
#[derive(Debug, Clone)]
pub struct SignResponse {
    /// The key.
    pub key_id: KeyArn,
    /// The signature: DER for ECDSA, as its standard encodes it for every other algorithm.
    pub signature: Vec<u8>,
    /// How it was made.
    pub signing_algorithm: SigningAlgorithm,
}

/// Verifies a signature.
#[derive(Debug)]
pub struct VerifyRequest {
    /// The key; an alias is accepted.
    pub key_id: KeyRef,
    /// 1 to 4096 bytes.
    pub message: Plaintext,
    /// What the message is. Default [`MessageType::Raw`].
    pub message_type: Option<MessageType>,
    /// The signature, up to 6144 bytes.
    pub signature: Vec<u8>,
    /// How it was made.
    pub signing_algorithm: SigningAlgorithm,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Check only, never verify.
    pub dry_run: bool,
}

impl VerifyRequest {
    /// Verifies that `signature` was made over `message` itself with `key_id`.
    pub fn new(
        key_id: impl Into<KeyRef>,
        message: Plaintext,
        signature: Vec<u8>,
        signing_algorithm: SigningAlgorithm,
    ) -> Self {
        Self {
            key_id: key_id.into(),
            message,
            message_type: None,
            signature,
            signing_algorithm,
            grant_tokens: Vec::new(),
            dry_run: false,
        }
    }
}

/// A signature that is valid. One that is not is `KMSInvalidSignatureException`.
#[derive(Debug, Clone)]
pub struct VerifyResponse {
    /// The key.
    pub key_id: KeyArn,
    /// Always true.
    pub signature_valid: bool,
    /// How the signature was made.
    pub signing_algorithm: SigningAlgorithm,
}

/// Makes a message authentication code.
#[derive(Debug)]
pub struct GenerateMacRequest {
    /// The key; an alias is accepted.
    pub key_id: KeyRef,
    /// 1 to 4096 bytes.
    pub message: Plaintext,
    /// How to make it.
    pub mac_algorithm: MacAlgorithm,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Check only.
    pub dry_run: bool,
}

impl GenerateMacRequest {
    /// Authenticates `message` with `key_id`.
    pub fn new(key_id: impl Into<KeyRef>, message: Plaintext, mac_algorithm: MacAlgorithm) -> Self {
        Self { key_id: key_id.into(), message, mac_algorithm, grant_tokens: Vec::new(), dry_run: false }
    }
}

/// A message authentication code.
#[derive(Debug, Clone)]
pub struct GenerateMacResponse {
    /// The key.
    pub key_id: KeyArn,
    /// The code.
    pub mac: Vec<u8>,
    /// How it was made.
    pub mac_algorithm: MacAlgorithm,
}

/// Verifies a message authentication code.
#[derive(Debug)]
pub struct VerifyMacRequest {
    /// The key; an alias is accepted.
    pub key_id: KeyRef,
    /// 1 to 4096 bytes.
    pub message: Plaintext,
    /// How the code was made.
    pub mac_algorithm: MacAlgorithm,
    /// The code, up to 6144 bytes.
    pub mac: Vec<u8>,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Check only.
    pub dry_run: bool,
}

impl VerifyMacRequest {
    /// Verifies that `mac` was made over `message` with `key_id`.
    pub fn new(
        key_id: impl Into<KeyRef>,
        message: Plaintext,
        mac: Vec<u8>,
        mac_algorithm: MacAlgorithm,
    ) -> Self {
        Self { key_id: key_id.into(), message, mac_algorithm, mac, grant_tokens: Vec::new(), dry_run: false }
    }
}

/// A code that is valid. One that is not is `KMSInvalidMacException`.
#[derive(Debug, Clone)]
pub struct VerifyMacResponse {
    /// The key.
    pub key_id: KeyArn,
    /// Always true.
    pub mac_valid: bool,
    /// How the code was made.
    pub mac_algorithm: MacAlgorithm,
}
