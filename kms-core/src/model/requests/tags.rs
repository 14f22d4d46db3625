//! Tags.

use super::{EmptyResponse, Page, Tag};
use crate::model::KeyRef;

/// Adds tags to a key, or changes their values.
#[derive(Debug, Clone)]
pub struct TagResourceRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// The tags.
    pub tags: Vec<Tag>,
}

/// Removes tags from a key.
#[derive(Debug, Clone)]
pub struct UntagResourceRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// The names of the tags. One that the key does not have is no error.
    pub tag_keys: Vec<String>,
}

/// The answer of `TagResource`.
pub type TagResourceResponse = EmptyResponse;
/// The answer of `UntagResource`.
pub type UntagResourceResponse = EmptyResponse;

/// Lists the tags of a key.
#[derive(Debug, Clone)]
pub struct ListResourceTagsRequest {
    /// The key; aliases are refused.
    pub key_id: KeyRef,
    /// Paging: 1 to 50 entries, default 50.
    pub page: Page,
}

/// A page of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListResourceTagsResponse {
    /// The tags, in the order of their names.
    pub tags: Vec<Tag>,
    /// Present if there are more.
    pub next_marker: Option<String>,
}
