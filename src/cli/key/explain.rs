//! `kmsfs key explain`: who may do what with a key, and why. Not a verb of `aws kms`.

use anyhow::{Context, Result};
use kms_core::model::{AccountId, Action, Caller, Principal, UserName};
use kms_core::policy::IdentityPolicy;
use kms_core::service::{Basis, Decision, ExplainRequest};
use serde_json::{Value, json};

use super::grants::grant;
use super::values::{context, document};
use super::{Kms, key_ref, object, parse, refused, text};
use crate::cli::error::CliError;

/// Show whether a principal may do something with a key, and which statement or grant decides
#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// The key: an id, an ARN or an alias
    #[arg(long)]
    key_id: String,
    /// The permission, for example kms:Decrypt
    #[arg(long)]
    action: String,
    /// Who would ask: an ARN, or the name of a service [default: you]
    #[arg(long)]
    principal: Option<String>,
    /// A policy of the principal, as JSON or file://FILE. Without any, a user of the keystore has its own, and anybody
    /// else is an administrator of their account
    #[arg(long)]
    principal_policy: Vec<String>,
    /// The encryption context of the request
    #[arg(long)]
    encryption_context: Option<String>,
    /// The service that would call for the principal, for example kmsfs
    #[arg(long)]
    via_service: Option<String>,
}

pub(super) fn explain(kms: &Kms, args: &Explain) -> Result<Value> {
    const OPERATION: &str = "Explain";
    let action = match args.action.contains(':') {
        true => args.action.clone(),
        false => format!("kms:{}", args.action),
    };
    let action: Action = parse(OPERATION, &action)?;
    let caller = caller(kms, args)?;
    let request = ExplainRequest {
        key_id: key_ref(OPERATION, &args.key_id)?,
        action,
        encryption_context: context(args.encryption_context.as_ref())?,
    };
    let found = kms.service.explain(&caller, &request).map_err(refused(OPERATION))?;
    let statement = |json: Option<String>| {
        json.map_or(Value::Null, |json| serde_json::from_str(&json).unwrap_or(Value::String(json)))
    };
    Ok(object([
        ("KeyId", json!(found.key_arn.to_string())),
        ("KeyState", json!(found.key_state.as_str())),
        ("Principal", json!(caller.principal.as_str())),
        ("Action", json!(action.as_str())),
        ("Decision", json!(if found.decision.allowed { "Allow" } else { "Deny" })),
        ("Reason", json!(reason(found.decision))),
        ("KeyPolicyStatement", statement(found.key_statement)),
        ("PrincipalPolicyStatement", statement(found.caller_statement)),
        ("Grant", found.grant.as_ref().map_or(Value::Null, grant)),
        ("Refusal", text(found.refusal)),
    ]))
}

/// Whoever is asked about, with the policies that it has.
fn caller(kms: &Kms, args: &Explain) -> Result<Caller> {
    let own_account = kms.service.realm().account.clone();
    let principal = match &args.principal {
        None => kms.caller.principal.clone(),
        Some(text) => Principal::from_arn(text),
    };
    let account = match principal.account() {
        Some(account) => account,
        None if principal.is_service() => own_account.clone(),
        None => {
            let problem = format!("{principal} is neither the ARN of a principal nor the name of a service");
            return Err(CliError::BadArgument(problem).into());
        }
    };
    let written = args.principal_policy.iter().map(|text| policy(&document(text)?));
    let mut written = Some(written.collect::<Result<Vec<_>>>()?).filter(|list| !list.is_empty());
    if written.is_none() && args.principal.is_some() {
        written = stored_policies(kms, &principal, &own_account)?;
    }
    let caller = Caller { principal, via_service: args.via_service.clone(), ..Caller::local(account, "") };
    Ok(match written {
        Some(policies) => caller.with_policies(policies),
        None => caller,
    })
}

fn policy(text: &str) -> Result<IdentityPolicy> {
    let parsed = IdentityPolicy::parse(text);
    Ok(parsed.map_err(|error| CliError::BadArgument(format!("the policy of the principal: {error}")))?)
}

/// The policies of a user of the keystore; `None` for anybody else.
fn stored_policies(
    kms: &Kms,
    principal: &Principal,
    account: &AccountId,
) -> Result<Option<Vec<IdentityPolicy>>> {
    let Some(name) = principal.user_name().and_then(|name| name.parse::<UserName>().ok()) else {
        return Ok(None);
    };
    if *principal != Principal::user(account, name.as_str()) {
        return Ok(None);
    }
    let users = kms.service.identities().list_users().context("cannot list the users of the keystore")?;
    let Some(user) = users.into_iter().find(|user| user.name == name) else { return Ok(None) };
    user.policies.values().map(|text| policy(text)).collect::<Result<_>>().map(Some)
}

/// The decision in a sentence. Statements count from zero, as in the messages about policies.
fn reason(decision: Decision) -> String {
    let through = |statement: Option<usize>| match statement {
        Some(statement) => format!("Statement[{statement}] of the key policy lets the account decide"),
        None => "the account decides".to_owned(),
    };
    match (decision.basis, decision.allowed) {
        (Basis::KeyPolicy(statement), true) => {
            format!("Statement[{statement}] of the key policy allows it to the principal")
        }
        (Basis::KeyPolicy(statement), false) => format!("Statement[{statement}] of the key policy denies it"),
        (Basis::CallerPolicy { policy, statement, through: from }, true) => {
            let from = through(from);
            format!("{from}, and Statement[{statement}] of policy {policy} of the principal allows it")
        }
        (Basis::CallerPolicy { policy, statement, .. }, false) => {
            format!("Statement[{statement}] of policy {policy} of the principal denies it")
        }
        (Basis::Administrator { through: from }, _) => {
            format!("{}, and the principal is one of its administrators", through(from))
        }
        (Basis::Grant(grant_id), _) => format!("the grant {grant_id} permits it"),
        (Basis::NoKeyStatement, _) => "neither the key policy nor a grant allows it".to_owned(),
        (Basis::NoCallerStatement, _) => {
            "the key policy lets the account decide, and no policy of the principal and no grant allows it"
                .to_owned()
        }
    }
}
