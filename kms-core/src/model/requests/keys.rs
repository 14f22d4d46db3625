//! Keys and their states.

use super::Page;
use crate::model::{KeyArn, KeyMetadata, KeyRef, KeySpec, KeyState, KeyUsage, Origin, Timestamp};

/// A name and a value attached to a key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tag {
    /// The name.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Creates a key.
#[derive(Debug, Clone, Default)]
pub struct CreateKeyRequest {
    /// The key policy; the default policy if absent.
    pub policy: Option<String>,
    /// Skips the check that the caller can change the policy later.
    pub bypass_policy_lockout_safety_check: bool,
    /// What the key is for.
    pub description: Option<String>,
    /// Mandatory for every spec but [`KeySpec::SymmetricDefault`].
    pub key_usage: Option<KeyUsage>,
    /// Default [`KeySpec::SymmetricDefault`].
    pub key_spec: Option<KeySpec>,
    /// The deprecated name of `key_spec`; only one of the two may be given.
    pub customer_master_key_spec: Option<KeySpec>,
    /// Default [`Origin::AwsKms`].
    pub origin: Option<Origin>,
    /// The custom key store that will hold the material.
    pub custom_key_store_id: Option<String>,
    /// The key in the external key manager, for a key in an external key store.
    pub xks_key_id: Option<String>,
    /// Tags.
    pub tags: Vec<Tag>,
    /// Whether the key may have replicas.
    pub multi_region: bool,
}

/// The new key.
#[derive(Debug, Clone)]
pub struct CreateKeyResponse {
    /// Its description.
    pub key_metadata: KeyMetadata,
}

/// Describes a key.
#[derive(Debug, Clone)]
pub struct DescribeKeyRequest {
    /// The key; an alias is accepted.
    pub key_id: KeyRef,
    /// Grant tokens.
    pub grant_tokens: Vec<String>,
}

impl DescribeKeyRequest {
    /// Describes `key_id`.
    pub fn new(key_id: impl Into<KeyRef>) -> Self {
        Self { key_id: key_id.into(), grant_tokens: Vec::new() }
    }
}

/// The described key.
#[derive(Debug, Clone)]
pub struct DescribeKeyResponse {
    /// Its description.
    pub key_metadata: KeyMetadata,
}

/// Lists all keys of the account and Region.
#[derive(Debug, Clone, Default)]
pub struct ListKeysRequest {
    /// Paging: 1 to 1000 entries, default 100.
    pub page: Page,
}

/// One key of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyListEntry {
    /// The id.
    pub key_id: crate::model::KeyId,
    /// The ARN.
    pub key_arn: KeyArn,
}

/// A page of keys.
#[derive(Debug, Clone)]
pub struct ListKeysResponse {
    /// The keys.
    pub keys: Vec<KeyListEntry>,
    /// Present if there are more; then `Truncated` is true on the wire.
    pub next_marker: Option<String>,
}

/// Changes the description of a key.
#[derive(Debug, Clone)]
pub struct UpdateKeyDescriptionRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// The new description, up to 8192 bytes.
    pub description: String,
}

/// Names a key for an operation that takes nothing else. Aliases are refused.
#[derive(Debug, Clone)]
pub struct KeyOnlyRequest {
    /// The key.
    pub key_id: KeyRef,
}

impl KeyOnlyRequest {
    /// Names `key_id`.
    pub fn new(key_id: impl Into<KeyRef>) -> Self {
        Self { key_id: key_id.into() }
    }
}

/// Enables a key.
pub type EnableKeyRequest = KeyOnlyRequest;
/// Disables a key.
pub type DisableKeyRequest = KeyOnlyRequest;
/// Takes a key out of its waiting period.
pub type CancelKeyDeletionRequest = KeyOnlyRequest;

/// Starts the waiting period of a deletion.
#[derive(Debug, Clone)]
pub struct ScheduleKeyDeletionRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// 7 to 30 days, default 30.
    pub pending_window_in_days: Option<i32>,
}

/// A deletion that was scheduled.
#[derive(Debug, Clone)]
pub struct ScheduleKeyDeletionResponse {
    /// The key.
    pub key_id: KeyArn,
    /// When the key will be deleted; absent while replicas exist.
    pub deletion_date: Option<Timestamp>,
    /// The state now.
    pub key_state: KeyState,
    /// The waiting period.
    pub pending_window_in_days: u32,
}

/// A deletion that was cancelled.
#[derive(Debug, Clone)]
pub struct CancelKeyDeletionResponse {
    /// The key.
    pub key_id: KeyArn,
}

/// The answer of an operation that returns nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmptyResponse;

/// The answer of `UpdateKeyDescription`.
pub type UpdateKeyDescriptionResponse = EmptyResponse;
/// The answer of `EnableKey`.
pub type EnableKeyResponse = EmptyResponse;
/// The answer of `DisableKey`.
pub type DisableKeyResponse = EmptyResponse;
