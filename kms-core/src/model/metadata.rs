//! What `DescribeKey` tells about a key.

use super::{
    AccountId, Algorithms, ExpirationModel, KeyArn, KeyId, KeyManager, KeySpec, KeyState, KeyUsage,
    MaterialId, MultiRegionKeyType, Origin, Region, Timestamp,
};

/// The description of a KMS key, with the members of the AWS shape that apply.
///
/// `CustomerMasterKeySpec` of the wire is [`KeyMetadata::key_spec`] again, and `Enabled` is
/// [`KeyMetadata::enabled`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMetadata {
    /// The account that owns the key.
    pub account_id: AccountId,
    /// The id.
    pub key_id: KeyId,
    /// The ARN.
    pub arn: KeyArn,
    /// When the key was created.
    pub creation_date: Timestamp,
    /// What the customer wrote about it.
    pub description: String,
    /// What it may be used for.
    pub key_usage: KeyUsage,
    /// Where it is in its life.
    pub key_state: KeyState,
    /// When it will be deleted, in [`KeyState::PendingDeletion`].
    pub deletion_date: Option<Timestamp>,
    /// When the imported material expires.
    pub valid_to: Option<Timestamp>,
    /// Where the material comes from.
    pub origin: Origin,
    /// The custom key store that holds the material.
    pub custom_key_store_id: Option<String>,
    /// The id of that store's token.
    pub cloud_hsm_cluster_id: Option<String>,
    /// The key in the external key manager that goes with this one.
    pub xks_key_id: Option<String>,
    /// Whether the imported material expires.
    pub expiration_model: Option<ExpirationModel>,
    /// Who manages the key.
    pub key_manager: KeyManager,
    /// The kind of key material.
    pub key_spec: KeySpec,
    /// The algorithms that go with the usage.
    pub algorithms: Algorithms,
    /// Whether the key may have replicas in other Regions.
    pub multi_region: bool,
    /// The related keys of a multi-Region key, itself among them.
    pub multi_region_configuration: Option<MultiRegionConfiguration>,
    /// The waiting period of a multi-Region primary that waits for its replicas.
    pub pending_deletion_window_in_days: Option<u32>,
    /// The material that encrypts now; symmetric keys only.
    pub current_key_material_id: Option<MaterialId>,
}

/// Related multi-Region keys: they have one id and one material, in several Regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiRegionConfiguration {
    /// The part of the described key.
    pub multi_region_key_type: MultiRegionKeyType,
    /// The primary.
    pub primary_key: MultiRegionKey,
    /// The replicas, in the order of their Regions.
    pub replica_keys: Vec<MultiRegionKey>,
}

/// One of related multi-Region keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiRegionKey {
    /// The ARN.
    pub arn: KeyArn,
    /// The Region.
    pub region: Region,
}

impl KeyMetadata {
    /// Whether the key can be used in cryptographic operations.
    pub fn enabled(&self) -> bool {
        self.key_state == KeyState::Enabled
    }
}
