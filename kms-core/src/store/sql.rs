//! What the stores in SQL databases share.

use super::StoreError;
use crate::model::KeyId;

/// The key id in a column.
pub(super) fn parse_key_id(text: &str) -> Result<KeyId, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt { what: format!("key {text:?}") })
}

/// SQL has no unbounded `LIMIT` but a large one.
pub(super) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
