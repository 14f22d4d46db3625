//! The last use of keys.

use super::KeyOnlyRequest;
use crate::model::{KeyArn, Timestamp, UsageOperation};

/// Asks when a key was last used. Aliases are refused.
pub type GetKeyLastUsageRequest = KeyOnlyRequest;

/// The last successful cryptographic operation with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeyLastUsage {
    /// The operation.
    pub operation: UsageOperation,
    /// When it succeeded.
    pub timestamp: Timestamp,
}

/// The last use of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetKeyLastUsageResponse {
    /// The key.
    pub key_id: KeyArn,
    /// Absent if the key was not used since `tracking_start_date`.
    pub key_last_usage: Option<KeyLastUsage>,
    /// Since when uses are recorded.
    pub tracking_start_date: Timestamp,
    /// When the key was created.
    pub key_creation_date: Timestamp,
}
