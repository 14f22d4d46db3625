//! Aliases.

use anyhow::Result;
use kms_core::client::KeyService;
use kms_core::model::{CreateAliasRequest, DeleteAliasRequest, ListAliasesRequest, UpdateAliasRequest};
use serde_json::{Value, json};

use super::values::show_time;
use super::{Kms, PageArgs, key_ref, pages, parse, parse_some, refused};

/// Point an alias at a key
#[derive(Debug, clap::Args)]
pub(super) struct AliasTarget {
    /// The alias: alias/NAME
    #[arg(long)]
    alias_name: String,
    /// The key: its id or its ARN
    #[arg(long)]
    target_key_id: String,
}

/// Delete an alias, and leave its key alone
#[derive(Debug, clap::Args)]
pub(super) struct DeleteAlias {
    /// The alias: alias/NAME
    #[arg(long)]
    alias_name: String,
}

/// List aliases
#[derive(Debug, clap::Args)]
pub(super) struct ListAliases {
    /// Only those of this key
    #[arg(long)]
    key_id: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

pub(super) fn create_alias(kms: &Kms, args: &AliasTarget) -> Result<Value> {
    const OPERATION: &str = "CreateAlias";
    let request = CreateAliasRequest {
        alias_name: parse(OPERATION, &args.alias_name)?,
        target_key_id: key_ref(OPERATION, &args.target_key_id)?,
    };
    kms.service.create_alias(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn update_alias(kms: &Kms, args: &AliasTarget) -> Result<Value> {
    const OPERATION: &str = "UpdateAlias";
    let request = UpdateAliasRequest {
        alias_name: parse(OPERATION, &args.alias_name)?,
        target_key_id: key_ref(OPERATION, &args.target_key_id)?,
    };
    kms.service.update_alias(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn delete_alias(kms: &Kms, args: &DeleteAlias) -> Result<Value> {
    const OPERATION: &str = "DeleteAlias";
    let request = DeleteAliasRequest { alias_name: parse(OPERATION, &args.alias_name)? };
    kms.service.delete_alias(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn list_aliases(kms: &Kms, args: &ListAliases) -> Result<Value> {
    const OPERATION: &str = "ListAliases";
    let key_id = parse_some(OPERATION, args.key_id.as_ref())?;
    pages(&args.page, "Aliases", |page| {
        let request = ListAliasesRequest { key_id: key_id.clone(), page };
        let listed = kms.service.list_aliases(&kms.caller, &request).map_err(refused(OPERATION))?;
        let aliases = listed.aliases.iter().map(|alias| {
            json!({
                "AliasName": alias.alias_name.as_str(),
                "AliasArn": alias.alias_arn,
                "TargetKeyId": alias.target_key_id.to_string(),
                "CreationDate": show_time(alias.creation_date),
                "LastUpdatedDate": show_time(alias.last_updated_date),
            })
        });
        Ok((aliases.collect(), listed.next_marker))
    })
}
