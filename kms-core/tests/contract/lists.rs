//! Pages.

use std::collections::BTreeSet;

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;

use crate::fixture::Fixture;

fn page(limit: i32, marker: Option<String>) -> Page {
    Page { limit: Some(limit), marker }
}

#[test]
fn pages_of_keys_are_complete_and_without_repetition() {
    for fixture in Fixture::on_every_store() {
        let created: BTreeSet<_> = (0..7).map(|_| fixture.create()).collect();
        let mut seen = Vec::new();
        let mut marker = None;
        loop {
            let request = ListKeysRequest { page: page(3, marker) };
            let response = fixture.kms.list_keys(&fixture.caller, &request).expect("lists");
            assert!(response.keys.len() <= 3);
            seen.extend(response.keys.into_iter().map(|entry| entry.key_id));
            marker = response.next_marker;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 7);
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), created);
    }
}

#[test]
fn pages_of_aliases_can_be_of_one_key() {
    for fixture in Fixture::on_every_store() {
        let (one, two) = (fixture.create(), fixture.create());
        for name in ["alias/c", "alias/a", "alias/b"] {
            fixture.create_alias(name, one).expect("creates");
        }
        fixture.create_alias("alias/aa", two).expect("creates");
        let list = |key_id: Option<KeyId>, page: Page| {
            let request = ListAliasesRequest { key_id: key_id.map(Into::into), page };
            let response = fixture.kms.list_aliases(&fixture.caller, &request).expect("lists");
            let names: Vec<_> = response.aliases.iter().map(|entry| entry.alias_name.to_string()).collect();
            (names, response.next_marker)
        };
        assert_eq!(list(None, Page::default()).0, ["alias/a", "alias/aa", "alias/b", "alias/c"]);
        let (names, marker) = list(Some(one), page(2, None));
        assert_eq!(names, ["alias/a", "alias/b"]);
        assert_eq!(list(Some(one), page(2, marker)), (vec!["alias/c".to_owned()], None));
    }
}

#[test]
fn pages_of_rotations_continue() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    for _ in 0..3 {
        fixture.rotate(key_id).expect("rotates");
    }
    let list = |page| {
        let request = ListKeyRotationsRequest { key_id: key_id.into(), include_key_material: None, page };
        fixture.kms.list_key_rotations(&fixture.caller, &request).expect("lists")
    };
    let first = list(page(2, None));
    let second = list(page(2, first.next_marker));
    assert_eq!((first.rotations.len(), second.rotations.len()), (2, 1));
    assert_eq!(second.next_marker, None);
}

#[test]
fn limits_and_markers_are_checked() {
    let fixture = Fixture::in_memory();
    let keys = |page| fixture.kms.list_keys(&fixture.caller, &ListKeysRequest { page }).err();
    assert!(matches!(keys(page(0, None)), Some(KmsError::Validation(_))));
    assert!(matches!(keys(page(1001, None)), Some(KmsError::Validation(_))));
    assert_eq!(keys(page(1000, None)), None);
    for marker in ["", "!", "a2V5cw", "a2V5cyB4"] {
        assert!(matches!(keys(page(1, Some(marker.into()))), Some(KmsError::InvalidMarker(_))), "{marker}");
    }
    let request = ListAliasesRequest { key_id: None, page: page(101, None) };
    assert!(matches!(fixture.kms.list_aliases(&fixture.caller, &request), Err(KmsError::Validation(_))));
}
