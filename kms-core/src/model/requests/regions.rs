//! Multi-Region keys.

use super::{EmptyResponse, Tag};
use crate::model::{KeyMetadata, KeyRef, Region};

/// Makes a replica of a multi-Region primary in another Region.
#[derive(Debug, Clone)]
pub struct ReplicateKeyRequest {
    /// The primary; aliases are refused.
    pub key_id: KeyRef,
    /// Where the replica is to be.
    pub replica_region: Region,
    /// The policy of the replica; the default policy if absent.
    pub policy: Option<String>,
    /// Skips the check that the caller can change the policy later.
    pub bypass_policy_lockout_safety_check: bool,
    /// What the replica is for.
    pub description: Option<String>,
    /// Tags of the replica.
    pub tags: Vec<Tag>,
}

impl ReplicateKeyRequest {
    /// Replicates `key_id` to a Region.
    pub fn new(key_id: impl Into<KeyRef>, replica_region: Region) -> Self {
        Self {
            key_id: key_id.into(),
            replica_region,
            policy: None,
            bypass_policy_lockout_safety_check: false,
            description: None,
            tags: Vec::new(),
        }
    }
}

/// The new replica.
#[derive(Debug, Clone)]
pub struct ReplicateKeyResponse {
    /// Its description.
    pub replica_key_metadata: KeyMetadata,
    /// Its policy.
    pub replica_policy: String,
    /// Its tags.
    pub replica_tags: Vec<Tag>,
}

/// Makes a replica the primary, and the primary a replica.
#[derive(Debug, Clone)]
pub struct UpdatePrimaryRegionRequest {
    /// The present primary; aliases are refused.
    pub key_id: KeyRef,
    /// The Region of the replica that becomes the primary.
    pub primary_region: Region,
}

/// The answer of `UpdatePrimaryRegion`.
pub type UpdatePrimaryRegionResponse = EmptyResponse;
