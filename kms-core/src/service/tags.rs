//! Tags.

use super::Core;
use super::access::Purpose;
use super::paging::{after_marker, cut, page_size};
use super::states::OperationClass;
use crate::error::KmsError;
use crate::model::*;
use crate::policy::{ConditionKey, Value};

/// The most tags on a key.
const MAX_TAGS: usize = 50;
/// The longest name of a tag, in characters.
const MAX_KEY_LEN: usize = 128;
/// The longest value of a tag, in characters.
const MAX_VALUE_LEN: usize = 256;

/// Refuses tags that a key cannot have.
pub(super) fn check_tags(tags: &[Tag]) -> Result<(), KmsError> {
    check_count(tags.len())?;
    for (index, tag) in tags.iter().enumerate() {
        check_key(&tag.key, index, "tags", "tagKey")?;
        if tag.value.chars().count() > MAX_VALUE_LEN {
            let member = format!("tags.{}.member.tagValue", index + 1);
            let bound = format_args!("have length less than or equal to {MAX_VALUE_LEN}");
            return Err(KmsError::constraint(None, &member, bound));
        }
        if tags[..index].iter().any(|other| other.key == tag.key) {
            return Err(KmsError::Tag("Duplicate tag keys".into()));
        }
    }
    Ok(())
}

fn check_count(count: usize) -> Result<(), KmsError> {
    if count > MAX_TAGS {
        return Err(KmsError::Tag("Too many tags".into()));
    }
    Ok(())
}

fn check_key(key: &str, index: usize, list: &str, member: &str) -> Result<(), KmsError> {
    let bound = match key.chars().count() {
        0 => Some(format_args!("have length greater than or equal to 1")),
        1..=MAX_KEY_LEN => None,
        _ => Some(format_args!("have length less than or equal to {MAX_KEY_LEN}")),
    };
    if let Some(bound) = bound {
        return Err(KmsError::constraint(None, &format!("{list}.{}.member.{member}", index + 1), bound));
    }
    if key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:")) {
        return Err(KmsError::Tag("Tags beginning with aws: are reserved".into()));
    }
    Ok(())
}

/// What conditions may ask about the tags of a request.
pub(super) fn tag_particulars(tags: &[Tag]) -> impl Iterator<Item = (ConditionKey, Value<'_>)> {
    tags.iter().flat_map(|tag| {
        let value = (ConditionKey::RequestTag(tag.key.clone()), tag.value.as_str().into());
        [value, (ConditionKey::TagKeys, tag.key.as_str().into())]
    })
}

impl Core {
    pub(super) fn tag_resource(
        &self,
        caller: &Caller,
        request: &TagResourceRequest,
    ) -> Result<TagResourceResponse, KmsError> {
        check_tags(&request.tags)?;
        let particulars: Vec<_> = tag_particulars(&request.tags).collect();
        let purpose = Purpose::new(Action::TagResource, OperationClass::Annotate).with(&particulars);
        self.change_key(caller, &request.key_id, &purpose, |record, _, _| {
            for tag in &request.tags {
                match record.tags.iter_mut().find(|own| own.key == tag.key) {
                    Some(own) => own.value.clone_from(&tag.value),
                    None => record.tags.push(tag.clone()),
                }
            }
            check_count(record.tags.len())?;
            Ok(EmptyResponse)
        })
    }

    pub(super) fn untag_resource(
        &self,
        caller: &Caller,
        request: &UntagResourceRequest,
    ) -> Result<UntagResourceResponse, KmsError> {
        for (index, key) in request.tag_keys.iter().enumerate() {
            check_key(key, index, "tagKeys", "tagKey")?;
        }
        let keys = request.tag_keys.iter();
        let particulars: Vec<_> = keys.map(|key| (ConditionKey::TagKeys, key.as_str().into())).collect();
        let purpose = Purpose::new(Action::UntagResource, OperationClass::Annotate).with(&particulars);
        self.change_key(caller, &request.key_id, &purpose, |record, _, _| {
            record.tags.retain(|tag| !request.tag_keys.contains(&tag.key));
            Ok(EmptyResponse)
        })
    }

    pub(super) fn list_resource_tags(
        &self,
        caller: &Caller,
        request: &ListResourceTagsRequest,
    ) -> Result<ListResourceTagsResponse, KmsError> {
        let size = page_size(&request.page, 50, 50)?;
        let after: Option<String> = after_marker(&request.page, "tags")?;
        let purpose = Purpose::new(Action::ListResourceTags, OperationClass::Read);
        let record = self.view_key(caller, &request.key_id, &purpose)?;
        let mut tags = record.tags.clone();
        tags.sort_by(|one, other| one.key.cmp(&other.key));
        tags.retain(|tag| after.as_ref().is_none_or(|after| tag.key > *after));
        let next_marker = cut(&mut tags, size, "tags", |tag| tag.key.clone());
        Ok(ListResourceTagsResponse { tags, next_marker })
    }
}
