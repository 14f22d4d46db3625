//! Imported key material.

use crate::model::{
    ExpirationModel, ImportType, KeyArn, KeyRef, MaterialId, Timestamp, WrappingAlgorithm, WrappingKeySpec,
};

/// Asks for what is needed to wrap key material for import.
#[derive(Debug, Clone)]
pub struct GetParametersForImportRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// How the material will be wrapped.
    pub wrapping_algorithm: WrappingAlgorithm,
    /// The public key that will wrap it.
    pub wrapping_key_spec: WrappingKeySpec,
}

/// What is needed to wrap key material for import.
#[derive(Debug, Clone)]
pub struct GetParametersForImportResponse {
    /// The key.
    pub key_id: KeyArn,
    /// Goes back with the material; opaque.
    pub import_token: Vec<u8>,
    /// The wrapping key: a DER `SubjectPublicKeyInfo`.
    pub public_key: Vec<u8>,
    /// The token and the public key are good until then: 24 hours.
    pub parameters_valid_to: Timestamp,
}

/// Brings key material.
#[derive(Debug, Clone)]
pub struct ImportKeyMaterialRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// The token of `GetParametersForImport`.
    pub import_token: Vec<u8>,
    /// The material under the public key.
    pub encrypted_key_material: Vec<u8>,
    /// When the material expires: mandatory if it does.
    pub valid_to: Option<Timestamp>,
    /// Default [`ExpirationModel::KeyMaterialExpires`].
    pub expiration_model: Option<ExpirationModel>,
    /// Default: new for the first import into a key, existing afterwards.
    pub import_type: Option<ImportType>,
    /// What the material is.
    pub key_material_description: Option<String>,
    /// The id that the material must turn out to have.
    pub key_material_id: Option<MaterialId>,
}

/// Material that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportKeyMaterialResponse {
    /// The key.
    pub key_id: KeyArn,
    /// The material.
    pub key_material_id: Option<MaterialId>,
}

/// Deletes imported key material, and with it the use of everything encrypted under it.
#[derive(Debug, Clone)]
pub struct DeleteImportedKeyMaterialRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// The material; the current one if absent.
    pub key_material_id: Option<MaterialId>,
}

/// Material that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteImportedKeyMaterialResponse {
    /// The key.
    pub key_id: KeyArn,
    /// The material.
    pub key_material_id: Option<MaterialId>,
}
