//! Tags.

use anyhow::Result;
use kms_core::client::KeyService;
use kms_core::model::{ListResourceTagsRequest, Tag, TagResourceRequest, UntagResourceRequest};
use serde_json::{Value, json};

use super::{Kms, PageArgs, key_ref, pages, refused, values};

/// Add tags to a key, or change their values
#[derive(Debug, clap::Args)]
pub(super) struct TagResource {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// Tags: TagKey=name,TagValue=value
    #[arg(long, num_args = 1.., required = true)]
    tags: Vec<String>,
}

/// Remove tags from a key
#[derive(Debug, clap::Args)]
pub(super) struct UntagResource {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// The names of the tags
    #[arg(long, num_args = 1.., required = true)]
    tag_keys: Vec<String>,
}

/// List the tags of a key
#[derive(Debug, clap::Args)]
pub(super) struct ListResourceTags {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    #[command(flatten)]
    page: PageArgs,
}

pub(super) fn tag_resource(kms: &Kms, args: &TagResource) -> Result<Value> {
    const OPERATION: &str = "TagResource";
    let tags: Result<Vec<_>> = args.tags.iter().map(|tag| values::tag(tag)).collect();
    let request = TagResourceRequest { key_id: key_ref(OPERATION, &args.key_id)?, tags: tags? };
    kms.service.tag_resource(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn untag_resource(kms: &Kms, args: &UntagResource) -> Result<Value> {
    const OPERATION: &str = "UntagResource";
    let key_id = key_ref(OPERATION, &args.key_id)?;
    let request = UntagResourceRequest { key_id, tag_keys: args.tag_keys.clone() };
    kms.service.untag_resource(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn list_resource_tags(kms: &Kms, args: &ListResourceTags) -> Result<Value> {
    const OPERATION: &str = "ListResourceTags";
    let key_id = key_ref(OPERATION, &args.key_id)?;
    pages(&args.page, "Tags", |page| {
        let request = ListResourceTagsRequest { key_id: key_id.clone(), page };
        let listed = kms.service.list_resource_tags(&kms.caller, &request).map_err(refused(OPERATION))?;
        let tags = listed.tags.iter().map(shape);
        Ok((tags.collect(), listed.next_marker))
    })
}

/// The AWS shape `Tag`.
pub(super) fn shape(tag: &Tag) -> Value {
    json!({ "TagKey": tag.key, "TagValue": tag.value })
}
