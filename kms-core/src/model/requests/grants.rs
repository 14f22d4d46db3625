//! Grants.

use super::{EmptyResponse, Page};
use crate::model::{EncryptionContext, GrantId, GrantOperation, KeyArn, KeyRef, Principal, Timestamp};

/// When a grant permits its operations.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GrantConstraints {
    /// The encryption context of the operation is exactly this one.
    pub encryption_context_equals: Option<EncryptionContext>,
    /// The encryption context of the operation has these pairs.
    pub encryption_context_subset: Option<EncryptionContext>,
    /// The grantee acts for this resource.
    pub source_arn: Option<String>,
}

impl GrantConstraints {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Lets a principal use a key.
#[derive(Debug, Clone)]
pub struct CreateGrantRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// Who gets the permissions. Either this or `grantee_service_principal`.
    pub grantee_principal: Option<String>,
    /// The service that gets the permissions.
    pub grantee_service_principal: Option<String>,
    /// Who may retire the grant.
    pub retiring_principal: Option<String>,
    /// The service that may retire the grant.
    pub retiring_service_principal: Option<String>,
    /// What the grantee may do.
    pub operations: Vec<GrantOperation>,
    /// When.
    pub constraints: GrantConstraints,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
    /// Makes the request idempotent: the same name and the same parameters are the same grant.
    pub name: Option<String>,
    /// Check only.
    pub dry_run: bool,
}

impl CreateGrantRequest {
    /// Lets `grantee` do `operations` with `key_id`.
    pub fn new(
        key_id: impl Into<KeyRef>,
        grantee: impl Into<String>,
        operations: impl Into<Vec<GrantOperation>>,
    ) -> Self {
        Self {
            key_id: key_id.into(),
            grantee_principal: Some(grantee.into()),
            grantee_service_principal: None,
            retiring_principal: None,
            retiring_service_principal: None,
            operations: operations.into(),
            constraints: GrantConstraints::default(),
            grant_tokens: Vec::new(),
            name: None,
            dry_run: false,
        }
    }
}

/// The new grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateGrantResponse {
    /// Names the grant to whoever retires it, and lets the grantee use it at once.
    pub grant_token: String,
    /// The id.
    pub grant_id: GrantId,
}

/// Lists the grants of a key.
#[derive(Debug, Clone)]
pub struct ListGrantsRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// Only this one.
    pub grant_id: Option<GrantId>,
    /// Only those to this principal.
    pub grantee_principal: Option<String>,
    /// Only those to this service.
    pub grantee_service_principal: Option<String>,
    /// Paging: 1 to 100 entries, default 50.
    pub page: Page,
}

/// Lists grants that a principal may retire, of whatever key.
#[derive(Debug, Clone, Default)]
pub struct ListRetirableGrantsRequest {
    /// The principal. Either this or `retiring_service_principal`.
    pub retiring_principal: Option<String>,
    /// The service.
    pub retiring_service_principal: Option<String>,
    /// Paging: 1 to 100 entries, default 50.
    pub page: Page,
}

/// One grant of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantListEntry {
    /// The key.
    pub key_id: KeyArn,
    /// The id.
    pub grant_id: GrantId,
    /// The name.
    pub name: Option<String>,
    /// When it was created.
    pub creation_date: Timestamp,
    /// Who got the permissions; also if it is a service.
    pub grantee_principal: Principal,
    /// Who may retire it.
    pub retiring_principal: Option<Principal>,
    /// The root of the account that created it.
    pub issuing_account: Principal,
    /// What it permits.
    pub operations: Vec<GrantOperation>,
    /// When it permits that.
    pub constraints: GrantConstraints,
}

/// A page of grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListGrantsResponse {
    /// The grants, in the order of their ids.
    pub grants: Vec<GrantListEntry>,
    /// Present if there are more.
    pub next_marker: Option<String>,
}

/// A page of grants.
pub type ListRetirableGrantsResponse = ListGrantsResponse;

/// Ends a grant that has done its work. Named by its token, or by its id and its key.
#[derive(Debug, Clone, Default)]
pub struct RetireGrantRequest {
    /// The token.
    pub grant_token: Option<String>,
    /// The key, by its ARN or its id.
    pub key_id: Option<KeyRef>,
    /// The id.
    pub grant_id: Option<GrantId>,
    /// Check only.
    pub dry_run: bool,
}

/// Takes a grant away.
#[derive(Debug, Clone)]
pub struct RevokeGrantRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// The id.
    pub grant_id: GrantId,
    /// Check only.
    pub dry_run: bool,
}

/// The answer of `RetireGrant`.
pub type RetireGrantResponse = EmptyResponse;
/// The answer of `RevokeGrant`.
pub type RevokeGrantResponse = EmptyResponse;
