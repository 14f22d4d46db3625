//! Requests and responses, one pair per operation, named as in the API.
//!
//! Members have the names of the AWS shapes in snake case. Numbers that the service has to range-check keep the
//! width of the API, so that the refusal can show what was sent. `key_id` in a response is the key's ARN, as in AWS.

mod agreement;
mod aliases;
mod crypto;
mod custom_key_stores;
mod grants;
mod import;
mod key_pairs;
mod keys;
mod policies;
mod regions;
mod rotation;
mod signatures;
mod tags;
mod usage;

pub use agreement::*;
pub use aliases::*;
pub use crypto::*;
pub use custom_key_stores::*;
pub use grants::*;
pub use import::*;
pub use key_pairs::*;
pub use keys::*;
pub use policies::*;
pub use regions::*;
pub use rotation::*;
pub use signatures::*;
pub use tags::*;
pub use usage::*;

/// The paging members of a `List*` request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The most entries to return.
    pub limit: Option<i32>,
    /// The `next_marker` of the page before.
    pub marker: Option<String>,
}
