//! What the stores in SQL databases share.

use super::{Locality, StoreError};
use crate::model::KeyId;

/// The key id in a column.
pub(super) fn parse_key_id(text: &str) -> Result<KeyId, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt { what: format!("key {text:?}") })
}

/// The Region in a column.
pub(super) fn parse_locality(text: &str) -> Result<Locality, StoreError> {
    Locality::from_column(text).ok_or_else(|| StoreError::Corrupt { what: format!("Region {text:?}") })
}

/// Begins a statement: the Regions that have keys. Jumps from one to the next in the primary key, however many keys there
/// are.
macro_rules! select_key_regions {
    () => {
        "WITH RECURSIVE found (region) AS (
             SELECT min(region) FROM kms_key
             UNION ALL
             SELECT (SELECT min(region) FROM kms_key WHERE region > found.region)
             FROM found WHERE found.region IS NOT NULL
         ) SELECT region FROM found WHERE region IS NOT NULL "
    };
}
pub(super) use select_key_regions;

/// SQL has no unbounded `LIMIT` but a large one.
pub(super) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
