//! Tags.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;

use crate::fixture::Fixture;

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.into(), value: value.into() }
}

fn put(fixture: &Fixture, key_id: KeyId, tags: Vec<Tag>) -> Result<(), KmsError> {
    fixture.kms.tag_resource(&fixture.caller, &TagResourceRequest { key_id: key_id.into(), tags }).map(drop)
}

fn remove(fixture: &Fixture, key_id: KeyId, keys: &[&str]) -> Result<(), KmsError> {
    let tag_keys = keys.iter().map(|key| (*key).to_owned()).collect();
    let request = UntagResourceRequest { key_id: key_id.into(), tag_keys };
    fixture.kms.untag_resource(&fixture.caller, &request).map(drop)
}

fn list(fixture: &Fixture, key_id: KeyId, page: Page) -> (Vec<Tag>, Option<String>) {
    let request = ListResourceTagsRequest { key_id: key_id.into(), page };
    let listed = fixture.kms.list_resource_tags(&fixture.caller, &request).expect("lists");
    (listed.tags, listed.next_marker)
}

#[test]
fn tags_are_added_changed_listed_and_removed() {
    for fixture in Fixture::on_every_store() {
        let key_id =
            fixture.create_with(CreateKeyRequest { tags: vec![tag("b", "1")], ..Default::default() });
        put(&fixture, key_id, vec![tag("a", "1"), tag("b", "2"), tag("B", "3")]).expect("tags");
        let all = vec![tag("B", "3"), tag("a", "1"), tag("b", "2")];
        assert_eq!(list(&fixture, key_id, Page::default()), (all.clone(), None));
        let (first, marker) = list(&fixture, key_id, Page { limit: Some(2), marker: None });
        assert_eq!(first, all[..2]);
        assert_eq!(list(&fixture, key_id, Page { limit: Some(2), marker }), (all[2..].to_vec(), None));
        remove(&fixture, key_id, &["b", "never"]).expect("removes");
        assert_eq!(list(&fixture, key_id, Page::default()).0, all[..2]);
    }
}

#[test]
fn refusals_have_the_messages_of_aws() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let refused = |tags| put(&fixture, key_id, tags).expect_err("refused");
    assert_eq!(refused(vec![tag("a", "1"), tag("a", "2")]), KmsError::Tag("Duplicate tag keys".into()));
    assert_eq!(
        refused(vec![tag("aws:a", "")]),
        KmsError::Tag("Tags beginning with aws: are reserved".into())
    );
    let length = "1 validation error detected: Value at 'tags.1.member.tagKey' failed to satisfy constraint: Member \
                  must have length less than or equal to 128";
    assert_eq!(refused(vec![tag(&"k".repeat(129), "")]), KmsError::Validation(length.into()));
    assert!(matches!(refused(vec![tag("", "")]), KmsError::Validation(_)));
    assert!(matches!(refused(vec![tag("k", &"v".repeat(257))]), KmsError::Validation(_)));
    put(&fixture, key_id, vec![tag(&"\u{e9}".repeat(128), &"\u{e9}".repeat(256))])
        .expect("characters, not bytes");
    let many = |range: std::ops::Range<usize>| range.map(|number| tag(&number.to_string(), "")).collect();
    put(&fixture, key_id, many(0..49)).expect("fifty in all");
    assert_eq!(refused(many(49..50)), KmsError::Tag("Too many tags".into()));
    put(&fixture, key_id, many(0..49)).expect("no new ones");
    assert_eq!(
        remove(&fixture, key_id, &["aws:a"]),
        Err(KmsError::Tag("Tags beginning with aws: are reserved".into()))
    );
}
