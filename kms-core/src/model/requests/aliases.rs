//! Aliases.

use super::{EmptyResponse, Page};
use crate::model::{AliasName, KeyId, KeyRef, Timestamp};

/// Creates an alias.
#[derive(Debug, Clone)]
pub struct CreateAliasRequest {
    /// The name.
    pub alias_name: AliasName,
    /// The key; another alias is refused.
    pub target_key_id: KeyRef,
}

/// Points an alias at another key.
#[derive(Debug, Clone)]
pub struct UpdateAliasRequest {
    /// The name.
    pub alias_name: AliasName,
    /// The new key, of the same type and usage; another alias is refused.
    pub target_key_id: KeyRef,
}

/// Deletes an alias, and leaves its key alone.
#[derive(Debug, Clone)]
pub struct DeleteAliasRequest {
    /// The name.
    pub alias_name: AliasName,
}

/// Lists aliases.
#[derive(Debug, Clone, Default)]
pub struct ListAliasesRequest {
    /// Only those of this key; an alias is refused.
    pub key_id: Option<KeyRef>,
    /// Paging: 1 to 100 entries, default 50.
    pub page: Page,
}

/// One alias of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasListEntry {
    /// The name.
    pub alias_name: AliasName,
    /// The ARN of the alias.
    pub alias_arn: String,
    /// The key.
    pub target_key_id: KeyId,
    /// When the alias was created.
    pub creation_date: Timestamp,
    /// When it was last pointed at a key.
    pub last_updated_date: Timestamp,
}

/// A page of aliases.
#[derive(Debug, Clone)]
pub struct ListAliasesResponse {
    /// The aliases.
    pub aliases: Vec<AliasListEntry>,
    /// Present if there are more.
    pub next_marker: Option<String>,
}

/// The answer of `CreateAlias`.
pub type CreateAliasResponse = EmptyResponse;
/// The answer of `UpdateAlias`.
pub type UpdateAliasResponse = EmptyResponse;
/// The answer of `DeleteAlias`.
pub type DeleteAliasResponse = EmptyResponse;
