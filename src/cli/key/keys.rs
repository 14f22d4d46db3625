//! Keys and their states.

use anyhow::Result;
use kms_core::client::KeyService;
use kms_core::model::{
    CreateKeyRequest, DescribeKeyRequest, KeyMetadata, KeyOnlyRequest, ListKeysRequest,
    ScheduleKeyDeletionRequest, UpdateKeyDescriptionRequest,
};
use serde_json::{Value, json};

use super::regions;
use super::signatures::algorithm_lists;
use super::values::{self, show_time};
use super::{KeyIdArg, Kms, PageArgs, key_ref, object, pages, parse_some, refused, text};

/// Create a key
#[derive(Debug, clap::Args)]
pub(super) struct CreateKey {
    /// What the key is for
    #[arg(long)]
    description: Option<String>,
    /// Where its material comes from: AWS_KMS, EXTERNAL, AWS_CLOUDHSM or EXTERNAL_KEY_STORE
    #[arg(long)]
    origin: Option<String>,
    /// ENCRYPT_DECRYPT, SIGN_VERIFY, GENERATE_VERIFY_MAC, KEY_AGREEMENT or ENCAPSULATE_DECAPSULATE; mandatory for every
    /// spec but the symmetric one
    #[arg(long)]
    key_usage: Option<String>,
    /// For example RSA_3072, ECC_NIST_P256, ML_DSA_65 or HMAC_256 [default: SYMMETRIC_DEFAULT]
    #[arg(long)]
    key_spec: Option<String>,
    /// The key policy: JSON, or file://FILE
    #[arg(long)]
    policy: Option<String>,
    /// Skip the check that the caller can change the policy later
    #[arg(long)]
    bypass_policy_lockout_safety_check: bool,
    /// A key that may have replicas
    #[arg(long)]
    multi_region: bool,
    /// Tags: TagKey=name,TagValue=value
    #[arg(long, num_args = 1..)]
    tags: Vec<String>,
    /// The custom key store that holds its material
    #[arg(long)]
    custom_key_store_id: Option<String>,
    /// The key in the external key manager, for an EXTERNAL_KEY_STORE
    #[arg(long)]
    xks_key_id: Option<String>,
}

/// Describe a key
#[derive(Debug, clap::Args)]
pub(super) struct DescribeKey {
    /// The key: an id, an ARN or an alias
    #[arg(long)]
    key_id: String,
}

/// Change the description of a key
#[derive(Debug, clap::Args)]
pub(super) struct UpdateKeyDescription {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// The new description
    #[arg(long)]
    description: String,
}

/// Delete a key after a waiting period; it is unusable at once
#[derive(Debug, clap::Args)]
pub(super) struct ScheduleKeyDeletion {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// 7 to 30 days [default: 30]
    #[arg(long)]
    pending_window_in_days: Option<i32>,
}

pub(super) fn create_key(kms: &Kms, args: &CreateKey) -> Result<Value> {
    const OPERATION: &str = "CreateKey";
    let tags: Result<Vec<_>> = args.tags.iter().map(|tag| values::tag(tag)).collect();
    let request = CreateKeyRequest {
        policy: args.policy.as_deref().map(values::document).transpose()?,
        bypass_policy_lockout_safety_check: args.bypass_policy_lockout_safety_check,
        description: args.description.clone(),
        key_usage: parse_some(OPERATION, args.key_usage.as_ref())?,
        key_spec: parse_some(OPERATION, args.key_spec.as_ref())?,
        origin: parse_some(OPERATION, args.origin.as_ref())?,
        multi_region: args.multi_region,
        tags: tags?,
        custom_key_store_id: args.custom_key_store_id.clone(),
        xks_key_id: args.xks_key_id.clone(),
        ..CreateKeyRequest::default()
    };
    let made = kms.service.create_key(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({ "KeyMetadata": metadata(&made.key_metadata) }))
}

pub(super) fn describe_key(kms: &Kms, args: &DescribeKey) -> Result<Value> {
    const OPERATION: &str = "DescribeKey";
    let request = DescribeKeyRequest::new(key_ref(OPERATION, &args.key_id)?);
    let found = kms.service.describe_key(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({ "KeyMetadata": metadata(&found.key_metadata) }))
}

pub(super) fn list_keys(kms: &Kms, args: &PageArgs) -> Result<Value> {
    pages(args, "Keys", |page| {
        let request = ListKeysRequest { page };
        let listed = kms.service.list_keys(&kms.caller, &request).map_err(refused("ListKeys"))?;
        let keys = listed.keys.iter();
        let keys =
            keys.map(|key| json!({ "KeyId": key.key_id.to_string(), "KeyArn": key.key_arn.to_string() }));
        Ok((keys.collect(), listed.next_marker))
    })
}

pub(super) fn update_key_description(kms: &Kms, args: &UpdateKeyDescription) -> Result<Value> {
    const OPERATION: &str = "UpdateKeyDescription";
    let key_id = key_ref(OPERATION, &args.key_id)?;
    let request = UpdateKeyDescriptionRequest { key_id, description: args.description.clone() };
    kms.service.update_key_description(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn enable_key(kms: &Kms, args: &KeyIdArg) -> Result<Value> {
    const OPERATION: &str = "EnableKey";
    let request = KeyOnlyRequest::new(key_ref(OPERATION, &args.key_id)?);
    kms.service.enable_key(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn disable_key(kms: &Kms, args: &KeyIdArg) -> Result<Value> {
    const OPERATION: &str = "DisableKey";
    let request = KeyOnlyRequest::new(key_ref(OPERATION, &args.key_id)?);
    kms.service.disable_key(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn get_key_last_usage(kms: &Kms, args: &KeyIdArg) -> Result<Value> {
    const OPERATION: &str = "GetKeyLastUsage";
    let request = KeyOnlyRequest::new(key_ref(OPERATION, &args.key_id)?);
    let found = kms.service.get_key_last_usage(&kms.caller, &request).map_err(refused(OPERATION))?;
    let usage = found.key_last_usage.map_or_else(
        || json!({}),
        |usage| json!({ "Operation": usage.operation.as_str(), "Timestamp": show_time(usage.timestamp) }),
    );
    Ok(json!({
        "KeyId": found.key_id.to_string(),
        "KeyLastUsage": usage,
        "TrackingStartDate": show_time(found.tracking_start_date),
        "KeyCreationDate": show_time(found.key_creation_date),
    }))
}

pub(super) fn schedule_key_deletion(kms: &Kms, args: &ScheduleKeyDeletion) -> Result<Value> {
    const OPERATION: &str = "ScheduleKeyDeletion";
    let key_id = key_ref(OPERATION, &args.key_id)?;
    let request = ScheduleKeyDeletionRequest { key_id, pending_window_in_days: args.pending_window_in_days };
    let answer = kms.service.schedule_key_deletion(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(object([
        ("KeyId", json!(answer.key_id.to_string())),
        ("DeletionDate", text(answer.deletion_date.map(show_time))),
        ("KeyState", json!(answer.key_state.as_str())),
        ("PendingWindowInDays", json!(answer.pending_window_in_days)),
    ]))
}

pub(super) fn cancel_key_deletion(kms: &Kms, args: &KeyIdArg) -> Result<Value> {
    const OPERATION: &str = "CancelKeyDeletion";
    let request = KeyOnlyRequest::new(key_ref(OPERATION, &args.key_id)?);
    let answer = kms.service.cancel_key_deletion(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({ "KeyId": answer.key_id.to_string() }))
}

/// The AWS shape `KeyMetadata`.
pub(super) fn metadata(key: &KeyMetadata) -> Value {
    let [encryption, signing, mac, agreement, encapsulation] = algorithm_lists(key.algorithms);
    object([
        ("AWSAccountId", json!(key.account_id.to_string())),
        ("KeyId", json!(key.key_id.to_string())),
        ("Arn", json!(key.arn.to_string())),
        ("CreationDate", json!(show_time(key.creation_date))),
        ("Enabled", json!(key.enabled())),
        ("Description", json!(key.description)),
        ("KeyUsage", json!(key.key_usage.as_str())),
        ("KeyState", json!(key.key_state.as_str())),
        ("DeletionDate", text(key.deletion_date.map(show_time))),
        ("ValidTo", text(key.valid_to.map(show_time))),
        ("Origin", json!(key.origin.as_str())),
        ("CustomKeyStoreId", text(key.custom_key_store_id.as_ref())),
        ("CloudHsmClusterId", text(key.cloud_hsm_cluster_id.as_ref())),
        ("ExpirationModel", text(key.expiration_model)),
        ("KeyManager", json!(key.key_manager.as_str())),
        ("CustomerMasterKeySpec", json!(key.key_spec.as_str())),
        ("KeySpec", json!(key.key_spec.as_str())),
        encryption,
        signing,
        mac,
        agreement,
        encapsulation,
        ("MultiRegion", json!(key.multi_region)),
        (
            "MultiRegionConfiguration",
            key.multi_region_configuration.as_ref().map_or(Value::Null, regions::related),
        ),
        ("PendingDeletionWindowInDays", json!(key.pending_deletion_window_in_days)),
        ("XksKeyConfiguration", key.xks_key_id.as_ref().map_or(Value::Null, |id| json!({ "Id": id }))),
        ("CurrentKeyMaterialId", text(key.current_key_material_id)),
    ])
}
