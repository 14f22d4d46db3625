//! Encryption, data keys and random bytes.

use crate::model::{
    CiphertextBlob, DataKeySpec, EncryptionAlgorithm, EncryptionContext, KeyArn, KeyRef, MaterialId,
    Plaintext,
};

/// Encrypts up to 4096 bytes.
#[derive(Debug)]
pub struct EncryptRequest {
    /// The key; an alias is accepted.
    pub key_id: KeyRef,
    /// 1 to 4096 bytes.
    pub plaintext: Plaintext,
    /// What has to be presented again to decrypt.
    pub encryption_context: EncryptionContext,
    /// Default [`EncryptionAlgorithm::SymmetricDefault`].
    pub encryption_algorithm: Option<EncryptionAlgorithm>,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Check only, never encrypt.
    pub dry_run: bool,
}

impl EncryptRequest {
    /// Encrypts `plaintext` under `key_id` in `encryption_context`.
    pub fn new(
        key_id: impl Into<KeyRef>,
        plaintext: Plaintext,
        encryption_context: EncryptionContext,
    ) -> Self {
        Self {
            key_id: key_id.into(),
            plaintext,
            encryption_context,
            encryption_algorithm: None,
            grant_tokens: Vec::new(),
            dry_run: false,
        }
    }
}

/// A ciphertext.
#[derive(Debug, Clone)]
pub struct EncryptResponse {
    /// The blob.
    pub ciphertext_blob: CiphertextBlob,
    /// The key.
    pub key_id: KeyArn,
    /// How it was made.
    pub encryption_algorithm: EncryptionAlgorithm,
}

/// Decrypts a blob.
#[derive(Debug, Clone)]
pub struct DecryptRequest {
    /// The blob, up to 6144 bytes.
    pub ciphertext_blob: CiphertextBlob,
    /// The context it was made with.
    pub encryption_context: EncryptionContext,
    /// The key that must have made it. Optional, because the blob names its key.
    pub key_id: Option<KeyRef>,
    /// Default [`EncryptionAlgorithm::SymmetricDefault`].
    pub encryption_algorithm: Option<EncryptionAlgorithm>,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Check only, never return a plaintext.
    pub dry_run: bool,
}

impl DecryptRequest {
    /// Decrypts `ciphertext_blob`, made in `encryption_context`.
    pub fn new(ciphertext_blob: CiphertextBlob, encryption_context: EncryptionContext) -> Self {
        Self {
            ciphertext_blob,
            encryption_context,
            key_id: None,
            encryption_algorithm: None,
            grant_tokens: Vec::new(),
            dry_run: false,
        }
    }

    /// The same, and the blob must have been made by `key_id`.
    pub fn with_key(mut self, key_id: impl Into<KeyRef>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }
}

/// A plaintext.
#[derive(Debug)]
pub struct DecryptResponse {
    /// The key.
    pub key_id: KeyArn,
    /// What was encrypted.
    pub plaintext: Plaintext,
    /// How the blob was made.
    pub encryption_algorithm: EncryptionAlgorithm,
    /// The material that made the blob.
    pub key_material_id: Option<MaterialId>,
}

/// Decrypts a blob and encrypts its plaintext again; the plaintext stays inside.
#[derive(Debug, Clone)]
pub struct ReEncryptRequest {
    /// The blob.
    pub ciphertext_blob: CiphertextBlob,
    /// The context it was made with.
    pub source_encryption_context: EncryptionContext,
    /// The key that must have made it.
    pub source_key_id: Option<KeyRef>,
    /// The key of the new blob; an alias is accepted.
    pub destination_key_id: KeyRef,
    /// The context of the new blob.
    pub destination_encryption_context: EncryptionContext,
    /// Default [`EncryptionAlgorithm::SymmetricDefault`].
    pub source_encryption_algorithm: Option<EncryptionAlgorithm>,
    /// Default [`EncryptionAlgorithm::SymmetricDefault`].
    pub destination_encryption_algorithm: Option<EncryptionAlgorithm>,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Check only.
    pub dry_run: bool,
}

impl ReEncryptRequest {
    /// Moves `ciphertext_blob` under `destination_key_id`, and keeps its context.
    pub fn new(
        ciphertext_blob: CiphertextBlob,
        context: EncryptionContext,
        destination_key_id: impl Into<KeyRef>,
    ) -> Self {
        Self {
            ciphertext_blob,
            source_encryption_context: context.clone(),
            source_key_id: None,
            destination_key_id: destination_key_id.into(),
            destination_encryption_context: context,
            source_encryption_algorithm: None,
            destination_encryption_algorithm: None,
            grant_tokens: Vec::new(),
            dry_run: false,
        }
    }
}

/// The new blob.
#[derive(Debug, Clone)]
pub struct ReEncryptResponse {
    /// The blob.
    pub ciphertext_blob: CiphertextBlob,
    /// The key of the old blob.
    pub source_key_id: KeyArn,
    /// The key of the new blob.
    pub key_id: KeyArn,
    /// How the old blob was made.
    pub source_encryption_algorithm: EncryptionAlgorithm,
    /// How the new blob was made.
    pub destination_encryption_algorithm: EncryptionAlgorithm,
    /// The material of the old blob.
    pub source_key_material_id: Option<MaterialId>,
    /// The material of the new blob.
    pub destination_key_material_id: Option<MaterialId>,
}

/// Makes a data key. Exactly one of `key_spec` and `number_of_bytes` is given.
#[derive(Debug, Clone)]
pub struct GenerateDataKeyRequest {
    /// The key that wraps; an alias is accepted.
    pub key_id: KeyRef,
    /// What has to be presented again to decrypt the data key.
    pub encryption_context: EncryptionContext,
    /// The length, by name.
    pub key_spec: Option<DataKeySpec>,
    /// The length in bytes, 1 to 1024.
    pub number_of_bytes: Option<i32>,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Check only.
    pub dry_run: bool,
}

impl GenerateDataKeyRequest {
    /// A 256-bit data key under `key_id` in `encryption_context`.
    pub fn aes_256(key_id: impl Into<KeyRef>, encryption_context: EncryptionContext) -> Self {
        Self {
            key_id: key_id.into(),
            encryption_context,
            key_spec: Some(DataKeySpec::Aes256),
            number_of_bytes: None,
            grant_tokens: Vec::new(),
            dry_run: false,
        }
    }
}

/// A data key, in the clear and wrapped.
#[derive(Debug)]
pub struct GenerateDataKeyResponse {
    /// The data key under the KMS key.
    pub ciphertext_blob: CiphertextBlob,
    /// The data key in the clear.
    pub plaintext: Plaintext,
    /// The KMS key.
    pub key_id: KeyArn,
    /// The material that wrapped it.
    pub key_material_id: Option<MaterialId>,
}

/// Makes a data key for somebody else to unwrap. The same members as [`GenerateDataKeyRequest`].
pub type GenerateDataKeyWithoutPlaintextRequest = GenerateDataKeyRequest;

/// A wrapped data key.
#[derive(Debug, Clone)]
pub struct GenerateDataKeyWithoutPlaintextResponse {
    /// The data key under the KMS key.
    pub ciphertext_blob: CiphertextBlob,
    /// The KMS key.
    pub key_id: KeyArn,
    /// The material that wrapped it.
    pub key_material_id: Option<MaterialId>,
}

/// Makes random bytes.
#[derive(Debug, Clone, Default)]
pub struct GenerateRandomRequest {
    /// 1 to 1024. Required, although the API shape says otherwise.
    pub number_of_bytes: Option<i32>,
    /// The custom key store that makes them.
    pub custom_key_store_id: Option<String>,
}

/// Random bytes.
#[derive(Debug)]
pub struct GenerateRandomResponse {
    /// The bytes.
    pub plaintext: Plaintext,
}
