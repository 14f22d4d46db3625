//! Key policies.

use super::{EmptyResponse, Page};
use crate::model::KeyRef;

/// Asks for a key policy.
#[derive(Debug, Clone)]
pub struct GetKeyPolicyRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// The name of the policy. There is one: `default`.
    pub policy_name: Option<String>,
}

/// A key policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetKeyPolicyResponse {
    /// The text, as it was written.
    pub policy: String,
    /// Its name.
    pub policy_name: String,
}

/// Writes a key policy.
#[derive(Debug, Clone)]
pub struct PutKeyPolicyRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// The name of the policy. There is one: `default`.
    pub policy_name: Option<String>,
    /// The text, up to 32,768 bytes.
    pub policy: String,
    /// Skips the check that the caller can change the policy later.
    pub bypass_policy_lockout_safety_check: bool,
}

/// The answer of `PutKeyPolicy`.
pub type PutKeyPolicyResponse = EmptyResponse;

/// Lists the names of the policies of a key.
#[derive(Debug, Clone)]
pub struct ListKeyPoliciesRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// Paging: 1 to 1000 entries, default 100.
    pub page: Page,
}

/// The names of the policies of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListKeyPoliciesResponse {
    /// The names: one, `default`.
    pub policy_names: Vec<String>,
    /// Present if there are more.
    pub next_marker: Option<String>,
}
