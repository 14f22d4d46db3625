//! Grants.

use anyhow::Result;
use kms_core::client::KeyService;
use kms_core::model::{
    CreateGrantRequest, EncryptionContext, GrantConstraints, GrantListEntry, ListGrantsRequest,
    ListRetirableGrantsRequest, RetireGrantRequest, RevokeGrantRequest,
};
use serde_json::{Map, Value, json};

use super::values::{constraints, show_time};
use super::{Kms, PageArgs, key_ref, object, pages, parse, parse_some, refused, text};

/// Let a principal use a key
#[derive(Debug, clap::Args)]
pub(super) struct CreateGrant {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// Who may use it: the ARN of a user, a role or a session
    #[arg(long)]
    grantee_principal: Option<String>,
    /// The service that may use it
    #[arg(long)]
    grantee_service_principal: Option<String>,
    /// Who may retire the grant
    #[arg(long)]
    retiring_principal: Option<String>,
    /// The service that may retire the grant
    #[arg(long)]
    retiring_service_principal: Option<String>,
    /// What the grantee may do: Decrypt, Encrypt, GenerateDataKey, ...
    #[arg(long, num_args = 1.., required = true)]
    operations: Vec<String>,
    /// When: EncryptionContextSubset={name=value}, EncryptionContextEquals={name=value}, SourceArn=ARN, or JSON
    #[arg(long)]
    constraints: Option<String>,
    /// Grant tokens
    #[arg(long, num_args = 1..)]
    grant_tokens: Vec<String>,
    /// The same name and the same options are the same grant
    #[arg(long)]
    name: Option<String>,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

/// List the grants of a key
#[derive(Debug, clap::Args)]
pub(super) struct ListGrants {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// Only this one
    #[arg(long)]
    grant_id: Option<String>,
    /// Only those to this principal
    #[arg(long)]
    grantee_principal: Option<String>,
    /// Only those to this service
    #[arg(long)]
    grantee_service_principal: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// List the grants that a principal may retire
#[derive(Debug, clap::Args)]
pub(super) struct ListRetirableGrants {
    /// The principal
    #[arg(long)]
    retiring_principal: Option<String>,
    /// The service
    #[arg(long)]
    retiring_service_principal: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// End a grant that has done its work
#[derive(Debug, clap::Args)]
pub(super) struct RetireGrant {
    /// The token of the grant
    #[arg(long)]
    grant_token: Option<String>,
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: Option<String>,
    /// The id of the grant
    #[arg(long)]
    grant_id: Option<String>,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

/// Take a grant away
#[derive(Debug, clap::Args)]
pub(super) struct RevokeGrant {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// The id of the grant
    #[arg(long)]
    grant_id: String,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn create_grant(kms: &Kms, args: &CreateGrant) -> Result<Value> {
    const OPERATION: &str = "CreateGrant";
    let operations: Result<Vec<_>> = args.operations.iter().map(|name| parse(OPERATION, name)).collect();
    let request = CreateGrantRequest {
        key_id: key_ref(OPERATION, &args.key_id)?,
        grantee_principal: args.grantee_principal.clone(),
        grantee_service_principal: args.grantee_service_principal.clone(),
        retiring_principal: args.retiring_principal.clone(),
        retiring_service_principal: args.retiring_service_principal.clone(),
        operations: operations?,
        constraints: constraints(args.constraints.as_ref())?,
        grant_tokens: args.grant_tokens.clone(),
        name: args.name.clone(),
        dry_run: args.dry_run,
    };
    let made = kms.service.create_grant(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({ "GrantToken": made.grant_token, "GrantId": made.grant_id.to_string() }))
}

pub(super) fn list_grants(kms: &Kms, args: &ListGrants) -> Result<Value> {
    const OPERATION: &str = "ListGrants";
    let key_id = key_ref(OPERATION, &args.key_id)?;
    let grant_id = parse_some(OPERATION, args.grant_id.as_ref())?;
    pages(&args.page, "Grants", |page| {
        let request = ListGrantsRequest {
            key_id: key_id.clone(),
            grant_id,
            grantee_principal: args.grantee_principal.clone(),
            grantee_service_principal: args.grantee_service_principal.clone(),
            page,
        };
        let listed = kms.service.list_grants(&kms.caller, &request).map_err(refused(OPERATION))?;
        Ok((listed.grants.iter().map(grant).collect(), listed.next_marker))
    })
}

pub(super) fn list_retirable_grants(kms: &Kms, args: &ListRetirableGrants) -> Result<Value> {
    const OPERATION: &str = "ListRetirableGrants";
    pages(&args.page, "Grants", |page| {
        let request = ListRetirableGrantsRequest {
            retiring_principal: args.retiring_principal.clone(),
            retiring_service_principal: args.retiring_service_principal.clone(),
            page,
        };
        let listed = kms.service.list_retirable_grants(&kms.caller, &request).map_err(refused(OPERATION))?;
        Ok((listed.grants.iter().map(grant).collect(), listed.next_marker))
    })
}

pub(super) fn retire_grant(kms: &Kms, args: &RetireGrant) -> Result<Value> {
    const OPERATION: &str = "RetireGrant";
    let request = RetireGrantRequest {
        grant_token: args.grant_token.clone(),
        key_id: parse_some(OPERATION, args.key_id.as_ref())?,
        grant_id: parse_some(OPERATION, args.grant_id.as_ref())?,
        dry_run: args.dry_run,
    };
    kms.service.retire_grant(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn revoke_grant(kms: &Kms, args: &RevokeGrant) -> Result<Value> {
    const OPERATION: &str = "RevokeGrant";
    let request = RevokeGrantRequest {
        key_id: key_ref(OPERATION, &args.key_id)?,
        grant_id: parse(OPERATION, &args.grant_id)?,
        dry_run: args.dry_run,
    };
    kms.service.revoke_grant(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

/// The AWS shape `GrantListEntry`.
pub(super) fn grant(entry: &GrantListEntry) -> Value {
    let operations: Vec<_> = entry.operations.iter().map(|operation| operation.as_str()).collect();
    object([
        ("KeyId", json!(entry.key_id.to_string())),
        ("GrantId", json!(entry.grant_id.to_string())),
        ("Name", text(entry.name.as_ref())),
        ("CreationDate", json!(show_time(entry.creation_date))),
        ("GranteePrincipal", json!(entry.grantee_principal.as_str())),
        ("RetiringPrincipal", text(entry.retiring_principal.as_ref())),
        ("IssuingAccount", json!(entry.issuing_account.as_str())),
        ("Operations", json!(operations)),
        ("Constraints", constraint(&entry.constraints)),
    ])
}

/// The AWS shape `GrantConstraints`; nothing if there are none.
fn constraint(constraints: &GrantConstraints) -> Value {
    if constraints.is_empty() {
        return Value::Null;
    }
    let context = |context: &Option<EncryptionContext>| {
        let pairs = |context: &EncryptionContext| {
            let pairs = context.iter().map(|(name, value)| (name.to_owned(), json!(value)));
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        context.as_ref().map_or(Value::Null, pairs)
    };
    object([
        ("EncryptionContextSubset", context(&constraints.encryption_context_subset)),
        ("EncryptionContextEquals", context(&constraints.encryption_context_equals)),
        ("SourceArn", text(constraints.source_arn.as_ref())),
    ])
}
