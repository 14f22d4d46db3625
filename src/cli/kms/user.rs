//! `kmsfs kms user`: users, their access keys and their policies, in the vocabulary of `aws iam`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use kms_core::KmsError;
use kms_core::model::{AccessKey, AccessKeyId, UserName};
use kms_core::policy::IdentityPolicy;
use kms_core::service::Identities;
use serde_json::{Value, json};

use crate::cli::error::CliError;
use crate::cli::key::values::show_time;
use crate::cli::keystore::KeystoreArgs;
use crate::cli::output::print_json;

/// The name of the policy that `create --administrator` gives.
const ADMINISTRATOR: &str = "administrator";
/// Everything that keys do not deny.
const ADMINISTRATOR_POLICY: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}"#;

/// Manage who may call the served keystore
#[derive(Debug, clap::Subcommand)]
pub(super) enum UserVerb {
    /// Make a user; without policies a user may do only what the policies of keys allow
    Create {
        name: String,
        /// Give the user a policy that allows everything
        #[arg(long)]
        administrator: bool,
    },
    /// List users with their policies
    List,
    /// Delete a user who has no access keys
    Delete { name: String },
    /// Make an access key, and print its secret this once
    CreateAccessKey { name: String },
    /// List the access keys of a user
    ListAccessKeys { name: String },
    /// Delete an access key; what is signed with it is refused from then on
    DeleteAccessKey {
        name: String,
        #[arg(long)]
        access_key_id: String,
    },
    /// Give a policy to a user, or replace the one of that name
    PutPolicy {
        name: String,
        #[arg(long)]
        policy_name: String,
        /// The JSON of the policy
        #[arg(long, value_name = "FILE")]
        policy_file: PathBuf,
    },
    /// Take a policy from a user
    DeletePolicy {
        name: String,
        #[arg(long)]
        policy_name: String,
    },
}

pub(super) fn run(verb: &UserVerb, keystore: &KeystoreArgs) -> Result<()> {
    let service = keystore.open()?;
    match call(verb, &service.identities())? {
        Value::Null => Ok(()),
        // One form for people and for programs, as with `kmsfs key`.
        answer => print_json(&answer),
    }
}

fn call(verb: &UserVerb, users: &Identities<'_>) -> Result<Value> {
    match verb {
        UserVerb::Create { name, administrator } => create(users, name, *administrator),
        UserVerb::List => list(users),
        UserVerb::Delete { name } => {
            users.delete_user(&user("DeleteUser", name)?).map_err(refused("DeleteUser"))?;
            Ok(Value::Null)
        }
        UserVerb::CreateAccessKey { name } => create_access_key(users, name),
        UserVerb::ListAccessKeys { name } => list_access_keys(users, name),
        UserVerb::DeleteAccessKey { name, access_key_id } => {
            const OPERATION: &str = "DeleteAccessKey";
            let id: AccessKeyId = access_key_id.parse().map_err(refused(OPERATION))?;
            users.delete_access_key(&user(OPERATION, name)?, &id).map_err(refused(OPERATION))?;
            Ok(Value::Null)
        }
        UserVerb::PutPolicy { name, policy_name, policy_file } => {
            const OPERATION: &str = "PutUserPolicy";
            let text = std::fs::read_to_string(policy_file)
                .with_context(|| format!("cannot read {}", policy_file.display()))?;
            let policy = IdentityPolicy::parse(&text).map_err(|error| refused(OPERATION)(error.into()))?;
            users
                .put_user_policy(&user(OPERATION, name)?, policy_name, &policy)
                .map_err(refused(OPERATION))?;
            Ok(Value::Null)
        }
        UserVerb::DeletePolicy { name, policy_name } => {
            const OPERATION: &str = "DeleteUserPolicy";
            users.delete_user_policy(&user(OPERATION, name)?, policy_name).map_err(refused(OPERATION))?;
            Ok(Value::Null)
        }
    }
}

/// Words a refusal as the AWS command line does.
fn refused(operation: &'static str) -> impl Fn(KmsError) -> CliError {
    move |refusal| CliError::Kms { operation, refusal }
}

fn user(operation: &'static str, name: &str) -> Result<UserName> {
    Ok(name.parse().map_err(refused(operation))?)
}

fn create(users: &Identities<'_>, name: &str, administrator: bool) -> Result<Value> {
    const OPERATION: &str = "CreateUser";
    let name = user(OPERATION, name)?;
    let made = users.create_user(&name).map_err(refused(OPERATION))?;
    if administrator {
        let policy =
            IdentityPolicy::parse(ADMINISTRATOR_POLICY).map_err(|error| refused(OPERATION)(error.into()))?;
        users.put_user_policy(&name, ADMINISTRATOR, &policy).map_err(refused(OPERATION))?;
    }
    Ok(json!({ "User": { "UserName": made.name, "CreateDate": show_time(made.creation_date) } }))
}

fn list(users: &Identities<'_>) -> Result<Value> {
    let all = users.list_users().map_err(refused("ListUsers"))?;
    let shown = all.iter().map(|user| {
        // Stored policies are JSON; one that is not would be shown as the text that it is.
        let policies = user.policies.iter().map(|(name, text)| {
            let document = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
            (name.clone(), document)
        });
        json!({
            "UserName": user.name,
            "CreateDate": show_time(user.creation_date),
            "Policies": Value::Object(policies.collect()),
        })
    });
    Ok(json!({ "Users": shown.collect::<Vec<_>>() }))
}

fn show_access_key(key: &AccessKey) -> Value {
    json!({
        "UserName": key.user,
        "AccessKeyId": key.access_key_id.as_str(),
        "Status": "Active",
        "CreateDate": show_time(key.creation_date),
    })
}

fn create_access_key(users: &Identities<'_>, name: &str) -> Result<Value> {
    const OPERATION: &str = "CreateAccessKey";
    let (key, secret) = users.create_access_key(&user(OPERATION, name)?).map_err(refused(OPERATION))?;
    let mut shown = show_access_key(&key);
    shown["SecretAccessKey"] = Value::String(secret.expose().to_owned());
    Ok(json!({ "AccessKey": shown }))
}

fn list_access_keys(users: &Identities<'_>, name: &str) -> Result<Value> {
    const OPERATION: &str = "ListAccessKeys";
    let keys = users.list_access_keys(&user(OPERATION, name)?).map_err(refused(OPERATION))?;
    Ok(json!({ "AccessKeyMetadata": keys.iter().map(show_access_key).collect::<Vec<_>>() }))
}
