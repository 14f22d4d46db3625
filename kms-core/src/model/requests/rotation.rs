//! Rotation of key material.

use super::{EmptyResponse, KeyOnlyRequest, Page};
use crate::model::{
    ExpirationModel, ImportState, IncludeKeyMaterial, KeyArn, KeyMaterialState, KeyRef, MaterialId,
    RotationType, Timestamp,
};

/// Turns automatic rotation on, or changes its period.
#[derive(Debug, Clone)]
pub struct EnableKeyRotationRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// 90 to 2560 days, default 365.
    pub rotation_period_in_days: Option<i32>,
}

/// Turns automatic rotation off.
pub type DisableKeyRotationRequest = KeyOnlyRequest;
/// Asks for the rotation schedule of a key.
pub type GetKeyRotationStatusRequest = KeyOnlyRequest;
/// Rotates a key now.
pub type RotateKeyOnDemandRequest = KeyOnlyRequest;
/// The answer of `EnableKeyRotation`.
pub type EnableKeyRotationResponse = EmptyResponse;
/// The answer of `DisableKeyRotation`.
pub type DisableKeyRotationResponse = EmptyResponse;

/// The rotation schedule of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetKeyRotationStatusResponse {
    /// Whether automatic rotation is on.
    pub key_rotation_enabled: bool,
    /// The key.
    pub key_id: KeyArn,
    /// The period, when rotation is on.
    pub rotation_period_in_days: Option<u32>,
    /// The next rotation, when rotation is on and the key is not pending deletion.
    pub next_rotation_date: Option<Timestamp>,
    /// When a rotation on demand began that has not ended. Rotations here end at once, so it is always absent.
    pub on_demand_rotation_start_date: Option<Timestamp>,
}

/// Lists the rotations of a key.
#[derive(Debug, Clone)]
pub struct ListKeyRotationsRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// Default [`IncludeKeyMaterial::RotationsOnly`].
    pub include_key_material: Option<IncludeKeyMaterial>,
    /// Paging: 1 to 1000 entries, default 100.
    pub page: Page,
}

/// One key material of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationsListEntry {
    /// The key.
    pub key_id: KeyArn,
    /// The material.
    pub key_material_id: Option<MaterialId>,
    /// What the customer wrote about an imported material.
    pub key_material_description: Option<String>,
    /// Whether the bytes of an imported material are here.
    pub import_state: Option<ImportState>,
    /// The role of the material.
    pub key_material_state: Option<KeyMaterialState>,
    /// Whether an imported material expires.
    pub expiration_model: Option<ExpirationModel>,
    /// When an imported material expires.
    pub valid_to: Option<Timestamp>,
    /// When the material became current; absent for the first one.
    pub rotation_date: Option<Timestamp>,
    /// What made it current; absent for the first one.
    pub rotation_type: Option<RotationType>,
}

/// A page of rotations.
#[derive(Debug, Clone)]
pub struct ListKeyRotationsResponse {
    /// The rotations, oldest first.
    pub rotations: Vec<RotationsListEntry>,
    /// Present if there are more.
    pub next_marker: Option<String>,
}

/// A rotation that was made.
#[derive(Debug, Clone)]
pub struct RotateKeyOnDemandResponse {
    /// The key.
    pub key_id: KeyArn,
}
