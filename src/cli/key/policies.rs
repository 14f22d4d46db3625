//! Key policies.

use anyhow::Result;
use kms_core::client::KeyService;
use kms_core::model::{GetKeyPolicyRequest, ListKeyPoliciesRequest, PutKeyPolicyRequest};
use serde_json::{Value, json};

use super::values::document;
use super::{Kms, PageArgs, key_ref, pages, refused};

/// Show the policy of a key
#[derive(Debug, clap::Args)]
pub(super) struct GetKeyPolicy {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// The only name that a policy has: default
    #[arg(long)]
    policy_name: Option<String>,
}

/// Replace the policy of a key
#[derive(Debug, clap::Args)]
pub(super) struct PutKeyPolicy {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// The only name that a policy has: default
    #[arg(long)]
    policy_name: Option<String>,
    /// The policy: JSON, or file://FILE
    #[arg(long)]
    policy: String,
    /// Skip the check that the caller can change the policy later
    #[arg(long)]
    bypass_policy_lockout_safety_check: bool,
}

/// List the names of the policies of a key
#[derive(Debug, clap::Args)]
pub(super) struct ListKeyPolicies {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    #[command(flatten)]
    page: PageArgs,
}

pub(super) fn get_key_policy(kms: &Kms, args: &GetKeyPolicy) -> Result<Value> {
    const OPERATION: &str = "GetKeyPolicy";
    let key_id = key_ref(OPERATION, &args.key_id)?;
    let request = GetKeyPolicyRequest { key_id, policy_name: args.policy_name.clone() };
    let found = kms.service.get_key_policy(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({ "Policy": found.policy, "PolicyName": found.policy_name }))
}

pub(super) fn put_key_policy(kms: &Kms, args: &PutKeyPolicy) -> Result<Value> {
    const OPERATION: &str = "PutKeyPolicy";
    let request = PutKeyPolicyRequest {
        key_id: key_ref(OPERATION, &args.key_id)?,
        policy_name: args.policy_name.clone(),
        policy: document(&args.policy)?,
        bypass_policy_lockout_safety_check: args.bypass_policy_lockout_safety_check,
    };
    kms.service.put_key_policy(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn list_key_policies(kms: &Kms, args: &ListKeyPolicies) -> Result<Value> {
    const OPERATION: &str = "ListKeyPolicies";
    let key_id = key_ref(OPERATION, &args.key_id)?;
    pages(&args.page, "PolicyNames", |page| {
        let request = ListKeyPoliciesRequest { key_id: key_id.clone(), page };
        let listed = kms.service.list_key_policies(&kms.caller, &request).map_err(refused(OPERATION))?;
        Ok((listed.policy_names.into_iter().map(Value::String).collect(), listed.next_marker))
    })
}
