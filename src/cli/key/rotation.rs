//! Rotation of key material.

use anyhow::Result;
use kms_core::client::KeyService;
use kms_core::model::{
    EnableKeyRotationRequest, KeyOnlyRequest, ListKeyRotationsRequest, RotationsListEntry,
};
use serde_json::{Value, json};

use super::values::show_time;
use super::{KeyIdArg, Kms, PageArgs, key_ref, object, pages, parse_some, refused, text};

/// Rotate a key by itself, at first after one period
#[derive(Debug, clap::Args)]
pub(super) struct EnableKeyRotation {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// 90 to 2560 days [default: 365]
    #[arg(long)]
    rotation_period_in_days: Option<i32>,
}

/// List the rotations of a key
#[derive(Debug, clap::Args)]
pub(super) struct ListKeyRotations {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// ROTATIONS_ONLY or ALL_KEY_MATERIAL
    #[arg(long)]
    include_key_material: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

pub(super) fn enable_key_rotation(kms: &Kms, args: &EnableKeyRotation) -> Result<Value> {
    const OPERATION: &str = "EnableKeyRotation";
    let key_id = key_ref(OPERATION, &args.key_id)?;
    let request = EnableKeyRotationRequest { key_id, rotation_period_in_days: args.rotation_period_in_days };
    kms.service.enable_key_rotation(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn disable_key_rotation(kms: &Kms, args: &KeyIdArg) -> Result<Value> {
    const OPERATION: &str = "DisableKeyRotation";
    let request = KeyOnlyRequest::new(key_ref(OPERATION, &args.key_id)?);
    kms.service.disable_key_rotation(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn get_key_rotation_status(kms: &Kms, args: &KeyIdArg) -> Result<Value> {
    const OPERATION: &str = "GetKeyRotationStatus";
    let request = KeyOnlyRequest::new(key_ref(OPERATION, &args.key_id)?);
    let status = kms.service.get_key_rotation_status(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(object([
        ("KeyRotationEnabled", json!(status.key_rotation_enabled)),
        ("KeyId", json!(status.key_id.to_string())),
        ("RotationPeriodInDays", json!(status.rotation_period_in_days)),
        ("NextRotationDate", text(status.next_rotation_date.map(show_time))),
        ("OnDemandRotationStartDate", text(status.on_demand_rotation_start_date.map(show_time))),
    ]))
}

pub(super) fn list_key_rotations(kms: &Kms, args: &ListKeyRotations) -> Result<Value> {
    const OPERATION: &str = "ListKeyRotations";
    let key_id = key_ref(OPERATION, &args.key_id)?;
    let include_key_material = parse_some(OPERATION, args.include_key_material.as_ref())?;
    pages(&args.page, "Rotations", |page| {
        let request = ListKeyRotationsRequest { key_id: key_id.clone(), include_key_material, page };
        let listed = kms.service.list_key_rotations(&kms.caller, &request).map_err(refused(OPERATION))?;
        Ok((listed.rotations.iter().map(rotation).collect(), listed.next_marker))
    })
}

/// The AWS shape `RotationsListEntry`.
fn rotation(entry: &RotationsListEntry) -> Value {
    object([
        ("KeyId", json!(entry.key_id.to_string())),
        ("KeyMaterialId", text(entry.key_material_id)),
        ("KeyMaterialDescription", text(entry.key_material_description.as_ref())),
        ("ImportState", text(entry.import_state)),
        ("KeyMaterialState", text(entry.key_material_state)),
        ("ExpirationModel", text(entry.expiration_model)),
        ("ValidTo", text(entry.valid_to.map(show_time))),
        ("RotationDate", text(entry.rotation_date.map(show_time))),
        ("RotationType", text(entry.rotation_type)),
    ])
}

pub(super) fn rotate_key_on_demand(kms: &Kms, args: &KeyIdArg) -> Result<Value> {
    const OPERATION: &str = "RotateKeyOnDemand";
    let request = KeyOnlyRequest::new(key_ref(OPERATION, &args.key_id)?);
    let answer = kms.service.rotate_key_on_demand(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({ "KeyId": answer.key_id.to_string() }))
}
