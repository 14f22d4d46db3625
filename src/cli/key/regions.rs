//! Multi-Region keys.

use anyhow::Result;
use kms_core::client::KeyService;
use kms_core::model::{
    MultiRegionConfiguration, MultiRegionKey, Region, ReplicateKeyRequest, UpdatePrimaryRegionRequest,
};
use serde_json::{Value, json};

use super::keys::metadata;
use super::{Kms, key_ref, parse, refused, tags, values};

/// Make a replica of a multi-Region key in another Region
#[derive(Debug, clap::Args)]
pub(super) struct ReplicateKey {
    /// The primary key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// Where the replica is to be
    #[arg(long)]
    replica_region: String,
    /// The key policy of the replica: JSON, or file://FILE
    #[arg(long)]
    policy: Option<String>,
    /// Skip the check that the caller can change the policy later
    #[arg(long)]
    bypass_policy_lockout_safety_check: bool,
    /// What the replica is for
    #[arg(long)]
    description: Option<String>,
    /// Tags of the replica: TagKey=name,TagValue=value
    #[arg(long, num_args = 1..)]
    tags: Vec<String>,
}

/// Make a replica the primary key, and the primary key a replica
#[derive(Debug, clap::Args)]
pub(super) struct UpdatePrimaryRegion {
    /// The present primary key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// The Region of the replica that becomes the primary
    #[arg(long)]
    primary_region: String,
}

pub(super) fn replicate_key(kms: &Kms, args: &ReplicateKey) -> Result<Value> {
    const OPERATION: &str = "ReplicateKey";
    let tags: Result<Vec<_>> = args.tags.iter().map(|tag| values::tag(tag)).collect();
    let region: Region = parse(OPERATION, &args.replica_region)?;
    let request = ReplicateKeyRequest {
        policy: args.policy.as_deref().map(values::document).transpose()?,
        bypass_policy_lockout_safety_check: args.bypass_policy_lockout_safety_check,
        description: args.description.clone(),
        tags: tags?,
        ..ReplicateKeyRequest::new(key_ref(OPERATION, &args.key_id)?, region)
    };
    let made = kms.service.replicate_key(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({
        "ReplicaKeyMetadata": metadata(&made.replica_key_metadata),
        "ReplicaPolicy": made.replica_policy,
        "ReplicaTags": made.replica_tags.iter().map(tags::shape).collect::<Vec<_>>(),
    }))
}

pub(super) fn update_primary_region(kms: &Kms, args: &UpdatePrimaryRegion) -> Result<Value> {
    const OPERATION: &str = "UpdatePrimaryRegion";
    let key_id = key_ref(OPERATION, &args.key_id)?;
    let primary_region = parse(OPERATION, &args.primary_region)?;
    let request = UpdatePrimaryRegionRequest { key_id, primary_region };
    kms.service.update_primary_region(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

/// The AWS shape `MultiRegionConfiguration`.
pub(super) fn related(configuration: &MultiRegionConfiguration) -> Value {
    let key = |key: &MultiRegionKey| json!({ "Arn": key.arn.to_string(), "Region": key.region.to_string() });
    json!({
        "MultiRegionKeyType": configuration.multi_region_key_type.as_str(),
        "PrimaryKey": key(&configuration.primary_key),
        "ReplicaKeys": configuration.replica_keys.iter().map(key).collect::<Vec<_>>(),
    })
}
