//! Data key pairs.

use crate::model::{
    CiphertextBlob, DataKeyPairSpec, EncryptionContext, KeyArn, KeyRef, MaterialId, Plaintext,
};

/// Makes a data key pair, for use outside of the service.
#[derive(Debug, Clone)]
pub struct GenerateDataKeyPairRequest {
    /// The symmetric key that wraps the private key; an alias is accepted.
    pub key_id: KeyRef,
    /// What has to be presented again to decrypt the private key.
    pub encryption_context: EncryptionContext,
    /// The kind of pair.
    pub key_pair_spec: DataKeyPairSpec,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Check only.
    pub dry_run: bool,
}

impl GenerateDataKeyPairRequest {
    /// A pair of `key_pair_spec` under `key_id` in `encryption_context`.
    pub fn new(
        key_id: impl Into<KeyRef>,
        key_pair_spec: DataKeyPairSpec,
        encryption_context: EncryptionContext,
    ) -> Self {
        Self {
            key_id: key_id.into(),
            encryption_context,
            key_pair_spec,
            grant_tokens: Vec::new(),
            dry_run: false,
        }
    }
}

/// A data key pair, its private key in the clear and wrapped.
#[derive(Debug)]
pub struct GenerateDataKeyPairResponse {
    /// The private key under the KMS key.
    pub private_key_ciphertext_blob: CiphertextBlob,
    /// The private key in the clear: a DER `PrivateKeyInfo` (RFC 5958).
    pub private_key_plaintext: Plaintext,
    /// The public key: a DER `SubjectPublicKeyInfo` (RFC 5280).
    pub public_key: Vec<u8>,
    /// The KMS key.
    pub key_id: KeyArn,
    /// The kind of pair.
    pub key_pair_spec: DataKeyPairSpec,
    /// The material that wrapped the private key.
    pub key_material_id: Option<MaterialId>,
}

/// Makes a data key pair whose private key nobody sees now. The same members as [`GenerateDataKeyPairRequest`].
pub type GenerateDataKeyPairWithoutPlaintextRequest = GenerateDataKeyPairRequest;

/// A data key pair with a wrapped private key.
#[derive(Debug, Clone)]
pub struct GenerateDataKeyPairWithoutPlaintextResponse {
    /// The private key under the KMS key.
    pub private_key_ciphertext_blob: CiphertextBlob,
    /// The public key: a DER `SubjectPublicKeyInfo` (RFC 5280).
    pub public_key: Vec<u8>,
    /// The KMS key.
    pub key_id: KeyArn,
    /// The kind of pair.
    pub key_pair_spec: DataKeyPairSpec,
    /// The material that wrapped the private key.
    pub key_material_id: Option<MaterialId>,
}
