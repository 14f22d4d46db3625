//! Multi-Region keys: one service in several Regions.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::import::wrap_material;
use kms_core::model::*;
use kms_core::policy::IdentityPolicy;

use crate::fixture::{Fixture, context, import_request};
use crate::kinds::{create_request, exercise, small_kinds};

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn multi_region() -> CreateKeyRequest {
    CreateKeyRequest { multi_region: true, ..Default::default() }
}

/// The Regions of a key's family as it tells itself: its own part, the primary, and the replicas.
fn family(fixture: &Fixture, key_id: KeyId) -> (MultiRegionKeyType, String, Vec<String>) {
    let related = fixture.describe(key_id).multi_region_configuration.expect("multi-Region");
    for key in related.replica_keys.iter().chain([&related.primary_key]) {
        assert_eq!(key.arn.as_str(), format!("arn:aws:kms:{}:000000000000:key/{key_id}", key.region));
    }
    let replicas = related.replica_keys.iter().map(|key| key.region.to_string()).collect();
    (related.multi_region_key_type, related.primary_key.region.to_string(), replicas)
}

fn unsupported(result: Result<impl std::fmt::Debug, KmsError>) {
    assert!(matches!(result, Err(KmsError::UnsupportedOperation(_))), "{result:?}");
}

#[test]
fn what_is_encrypted_in_one_region_opens_in_another() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create_multi_region();
        let made = fixture.replicate(key_id, "eu-west-1").expect("replicates");
        assert_eq!((made.key_id, made.key_state), (key_id, KeyState::Enabled));
        assert_eq!(made.arn.as_str(), format!("arn:aws:kms:eu-west-1:000000000000:key/{key_id}"));
        let there = fixture.in_region("eu-west-1");
        for (from, to) in [(&fixture, &there), (&there, &fixture)] {
            let blob = from.encrypt(key_id, b"text").expect("encrypts");
            assert_eq!(to.decrypt(&blob), Ok(b"text".to_vec()));
            let own = to.create();
            let request = ReEncryptRequest::new(blob.clone(), context(), own);
            let moved = to.kms.re_encrypt(&to.caller, &request).expect("moves");
            assert_eq!(moved.source_key_id.to_string(), to.arn(key_id));
            assert_eq!(to.decrypt(&moved.ciphertext_blob), Ok(b"text".to_vec()));
            // The key of one Region alone is unknown in the other.
            assert!(from.decrypt(&moved.ciphertext_blob).is_err());
            let arn: KeyRef = from.arn(key_id).parse().expect("an ARN");
            let other = arn.realm().expect("an ARN").region.to_string();
            assert_eq!(to.encrypt(arn, b"x"), Err(KmsError::NotFound(format!("Invalid arn {other}"))));
        }
        let third = fixture.in_region("us-east-2");
        let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
        assert!(third.decrypt(&blob).is_err(), "there is no replica");
    }
}

#[test]
fn every_kind_of_key_is_replicated() {
    let fixture = Fixture::in_memory();
    let there = fixture.in_region("eu-west-1");
    for (spec, usage) in small_kinds() {
        let request = CreateKeyRequest { multi_region: true, ..create_request(spec, usage) };
        let key_id = fixture.create_with(request);
        fixture.replicate(key_id, "eu-west-1").expect("replicates");
        exercise(&there, key_id).expect("what it is for");
        let public = |one: &Fixture| {
            one.kms
                .get_public_key(&one.caller, &GetPublicKeyRequest::new(key_id))
                .ok()
                .map(|got| got.public_key)
        };
        assert_eq!(public(&fixture), public(&there), "{spec}");
    }
}

#[test]
fn related_keys_tell_of_each_other_and_only_once() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create_multi_region();
    assert_eq!(family(&fixture, key_id), (MultiRegionKeyType::Primary, "local-1".into(), vec![]));
    fixture.replicate(key_id, "us-west-2").expect("replicates");
    fixture.replicate(key_id, "eu-west-1").expect("replicates");
    let (us, eu) = (fixture.in_region("us-west-2"), fixture.in_region("eu-west-1"));
    let replicas = vec!["eu-west-1".to_owned(), "us-west-2".to_owned()];
    assert_eq!(family(&fixture, key_id), (MultiRegionKeyType::Primary, "local-1".into(), replicas.clone()));
    for there in [&us, &eu] {
        assert_eq!(family(there, key_id), (MultiRegionKeyType::Replica, "local-1".into(), replicas.clone()));
        unsupported(there.replicate(key_id, "ap-south-1"));
        unsupported(there.rotate(key_id));
        unsupported(there.enable_rotation(key_id, None));
    }
    for again in ["us-west-2", "local-1"] {
        let refused = fixture.replicate(key_id, again).expect_err("is there");
        assert!(matches!(refused, KmsError::AlreadyExists(_)), "{refused}");
    }
    let single = fixture.create();
    unsupported(fixture.replicate(single, "eu-west-1"));
    unsupported(fixture.promote(single, "eu-west-1"));
    assert_eq!(fixture.describe(single).multi_region_configuration, None);
    // Another process sees the same.
    let again = Fixture {
        kms: fixture.reopen(),
        clock: fixture.clock.clone(),
        caller: fixture.caller.clone(),
        dir: None,
    };
    assert_eq!(family(&again.in_region("eu-west-1"), key_id).2, replicas);
}

#[test]
fn what_is_not_shared_is_apart() {
    for fixture in Fixture::on_every_store() {
        let key_id =
            fixture.create_with(CreateKeyRequest { description: Some("home".into()), ..multi_region() });
        let request = ReplicateKeyRequest {
            description: Some("abroad".into()),
            tags: vec![Tag { key: "a".into(), value: "1".into() }],
            ..ReplicateKeyRequest::new(key_id, region("eu-west-1"))
        };
        let made = fixture.kms.replicate_key(&fixture.caller, &request).expect("replicates");
        assert_eq!(made.replica_tags, request.tags);
        let there = fixture.in_region("eu-west-1");
        assert_eq!(fixture.describe(key_id).description, "home");
        assert_eq!(there.describe(key_id).description, "abroad");
        there.disable(key_id).expect("disables");
        assert_eq!((fixture.state(key_id), there.state(key_id)), (KeyState::Enabled, KeyState::Disabled));
        there.enable(key_id).expect("enables");
        fixture.create_alias("alias/one", key_id).expect("creates");
        there.create_alias("alias/one", key_id).expect("the same name, in another Region");
        let blob = there.encrypt("alias/one".parse::<KeyRef>().expect("an alias"), b"x").expect("encrypts");
        assert_eq!(fixture.decrypt(&blob), Ok(b"x".to_vec()));
        let tags = ListResourceTagsRequest { key_id: key_id.into(), page: Page::default() };
        let count = |one: &Fixture| one.kms.list_resource_tags(&one.caller, &tags).expect("lists").tags.len();
        assert_eq!((count(&fixture), count(&there)), (0, 1));
        let eve = "arn:aws:iam::444455556666:user/eve";
        let grant = CreateGrantRequest::new(key_id, eve, [GrantOperation::Decrypt]);
        there.kms.create_grant(&there.caller, &grant).expect("grants");
        assert_eq!((fixture.grants(key_id).len(), there.grants(key_id).len()), (0, 1));
        let listed = |one: &Fixture| {
            let keys = one.kms.list_keys(&one.caller, &ListKeysRequest::default()).expect("lists").keys;
            keys.into_iter().map(|key| key.key_arn.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(listed(&fixture), [fixture.arn(key_id)]);
        assert_eq!(listed(&there), [there.arn(key_id)]);
    }
}

#[test]
fn a_rotation_of_the_primary_is_one_of_all() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create_multi_region();
        fixture.replicate(key_id, "eu-west-1").expect("replicates");
        let there = fixture.in_region("eu-west-1");
        let before = there.encrypt(key_id, b"before").expect("encrypts");
        fixture.rotate(key_id).expect("rotates");
        assert_eq!(
            there.describe(key_id).current_key_material_id,
            fixture.describe(key_id).current_key_material_id
        );
        assert_eq!(there.decrypt(&before), Ok(b"before".to_vec()));
        fixture.enable_rotation(key_id, Some(90)).expect("enables");
        let status = |one: &Fixture| {
            one.kms.get_key_rotation_status(&one.caller, &KeyOnlyRequest::new(key_id)).expect("tells")
        };
        assert_eq!(status(&there).next_rotation_date, status(&fixture).next_rotation_date);
        assert!(status(&there).key_rotation_enabled);
        fixture.clock.advance_days(90);
        assert_eq!(there.kms.run_due().expect("runs").settled, 1);
        assert_eq!(there.materials(key_id).len(), 3);
        let after = there.encrypt(key_id, b"after").expect("encrypts");
        assert_eq!(fixture.decrypt(&after), Ok(b"after".to_vec()));
        assert_eq!(fixture.materials(key_id).len(), 3);
        // A replica made now has all that came before.
        fixture.replicate(key_id, "us-east-2").expect("replicates");
        assert_eq!(fixture.in_region("us-east-2").decrypt(&before), Ok(b"before".to_vec()));
    }
}

#[test]
fn a_primary_waits_for_its_last_replica() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create_multi_region();
        fixture.replicate(key_id, "eu-west-1").expect("replicates");
        let there = fixture.in_region("eu-west-1");
        let request = ScheduleKeyDeletionRequest { key_id: key_id.into(), pending_window_in_days: Some(8) };
        let answer = fixture.kms.schedule_key_deletion(&fixture.caller, &request).expect("schedules");
        assert_eq!((answer.key_state, answer.deletion_date), (KeyState::PendingReplicaDeletion, None));
        let waiting = fixture.describe(key_id);
        assert_eq!(waiting.pending_deletion_window_in_days, Some(8));
        assert_eq!((waiting.key_state, waiting.deletion_date), (KeyState::PendingReplicaDeletion, None));
        assert!(matches!(fixture.encrypt(key_id, b"x"), Err(KmsError::KmsInvalidState(_))));
        assert!(matches!(fixture.replicate(key_id, "us-east-2"), Err(KmsError::KmsInvalidState(_))));
        assert!(there.encrypt(key_id, b"x").is_ok(), "the replica is in use");
        fixture.clock.advance_days(100);
        assert_eq!(fixture.state(key_id), KeyState::PendingReplicaDeletion);
        there.schedule_deletion(key_id, 7).expect("schedules");
        fixture.clock.advance_days(6);
        fixture.kms.run_due().expect("runs");
        assert_eq!(fixture.state(key_id), KeyState::PendingReplicaDeletion, "scheduled is not deleted");
        fixture.clock.advance_days(1);
        fixture.kms.run_due().expect("runs");
        let begun = fixture.describe(key_id);
        assert_eq!(begun.key_state, KeyState::PendingDeletion);
        assert_eq!(begun.deletion_date, Some(fixture.clock.now().plus_days(8)));
        assert!(begun.multi_region_configuration.expect("multi-Region").replica_keys.is_empty());
        let blob = Err(KmsError::key_not_found(there.arn(key_id)));
        assert_eq!(there.encrypt(key_id, b"x"), blob);
        fixture.clock.advance_days(8);
        fixture.kms.run_due().expect("runs");
        let gone = fixture.kms.describe_key(&fixture.caller, &DescribeKeyRequest::new(key_id));
        assert!(matches!(gone, Err(KmsError::NotFound(_))));
    }
}

#[test]
fn a_deletion_that_waits_for_replicas_can_be_cancelled() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create_multi_region();
    fixture.replicate(key_id, "eu-west-1").expect("replicates");
    fixture.schedule_deletion(key_id, 7).expect("schedules");
    fixture.cancel_deletion(key_id).expect("cancels");
    assert_eq!(fixture.state(key_id), KeyState::Disabled);
    fixture.enable(key_id).expect("enables");
    // The replica goes, and its Region can have another one.
    let there = fixture.in_region("eu-west-1");
    let blob = there.encrypt(key_id, b"x").expect("encrypts");
    there.schedule_deletion(key_id, 7).expect("schedules");
    assert!(matches!(fixture.replicate(key_id, "eu-west-1"), Err(KmsError::AlreadyExists(_))));
    fixture.clock.advance_days(7);
    fixture.replicate(key_id, "eu-west-1").expect("makes room for itself");
    assert_eq!(there.decrypt(&blob), Ok(b"x".to_vec()));
}

#[test]
fn the_primary_moves() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create_multi_region();
        fixture.replicate(key_id, "eu-west-1").expect("replicates");
        fixture.replicate(key_id, "us-east-2").expect("replicates");
        let (eu, us) = (fixture.in_region("eu-west-1"), fixture.in_region("us-east-2"));
        fixture.enable_rotation(key_id, Some(90)).expect("enables");
        unsupported(fixture.promote(key_id, "local-1"));
        unsupported(eu.promote(key_id, "us-east-2"));
        let refused = fixture.promote(key_id, "ap-south-1").expect_err("no replica");
        assert_eq!(refused, KmsError::key_not_found(fixture.in_region("ap-south-1").arn(key_id)));
        eu.disable(key_id).expect("disables");
        assert!(matches!(fixture.promote(key_id, "eu-west-1"), Err(KmsError::Disabled(_))));
        eu.enable(key_id).expect("enables");
        let blob = fixture.encrypt(key_id, b"x").expect("encrypts");
        fixture.promote(key_id, "eu-west-1").expect("moves");
        let replicas = vec!["local-1".to_owned(), "us-east-2".to_owned()];
        assert_eq!(family(&eu, key_id), (MultiRegionKeyType::Primary, "eu-west-1".into(), replicas.clone()));
        for one in [&fixture, &us] {
            assert_eq!(
                family(one, key_id),
                (MultiRegionKeyType::Replica, "eu-west-1".into(), replicas.clone())
            );
            unsupported(one.rotate(key_id));
        }
        // The schedule moved along: the old primary does not rotate, the new one does, once.
        fixture.clock.advance_days(90);
        assert_eq!(fixture.kms.run_due().expect("runs").settled, 1);
        for one in [&fixture, &eu, &us] {
            assert_eq!(one.materials(key_id).len(), 2);
            assert_eq!(one.decrypt(&blob), Ok(b"x".to_vec()));
        }
        eu.rotate(key_id).expect("rotates");
        eu.promote(key_id, "local-1").expect("moves back");
        assert_eq!(fixture.materials(key_id).len(), 3);
        assert_eq!(family(&fixture, key_id).0, MultiRegionKeyType::Primary);
    }
}

/// Imports bytes into the key of one Region.
fn bring(fixture: &Fixture, key_id: KeyId, bytes: u8, kind: ImportType) -> Result<MaterialId, KmsError> {
    fixture.import(key_id, [bytes; 32], |request| request.import_type = Some(kind))
}

fn role(fixture: &Fixture, key_id: KeyId, index: usize) -> Option<KeyMaterialState> {
    fixture.materials(key_id)[index].key_material_state
}

#[test]
fn imported_material_is_brought_to_each_region() {
    use KeyMaterialState::{Current, NonCurrent, PendingMultiRegionImportAndRotation, PendingRotation};

    for fixture in Fixture::on_every_store() {
        let external = CreateKeyRequest { origin: Some(Origin::External), ..multi_region() };
        let key_id = fixture.create_with(external);
        let refused = fixture.replicate(key_id, "eu-west-1").expect_err("without material");
        assert!(matches!(refused, KmsError::KmsInvalidState(_)));
        fixture.import(key_id, [1; 32], |_| {}).expect("imports");
        let made = fixture.replicate(key_id, "eu-west-1").expect("replicates");
        assert_eq!(made.key_state, KeyState::PendingImport);
        let there = fixture.in_region("eu-west-1");
        let wrong = there.import(key_id, [2; 32], |_| {}).expect_err("other material");
        assert!(matches!(wrong, KmsError::IncorrectKeyMaterial(_)));
        unsupported(bring(&there, key_id, 1, ImportType::NewKeyMaterial));
        // A token is for the key of its own Region.
        let foreign = import_request(key_id, &fixture.parameters(key_id).expect("gets"), &[1; 32]);
        let refused = there.kms.import_key_material(&there.caller, &foreign).expect_err("a foreign token");
        assert!(matches!(refused, KmsError::InvalidImportToken(_)));
        let blob = fixture.encrypt(key_id, b"x").expect("encrypts");
        there.import(key_id, [1; 32], |_| {}).expect("imports");
        assert_eq!(there.decrypt(&blob), Ok(b"x".to_vec()));

        bring(&fixture, key_id, 2, ImportType::NewKeyMaterial).expect("imports");
        assert_eq!(role(&fixture, key_id, 1), Some(PendingMultiRegionImportAndRotation));
        assert_eq!(role(&there, key_id, 1), Some(PendingMultiRegionImportAndRotation));
        assert_eq!(there.state(key_id), KeyState::Enabled, "what only waits is not missed");
        assert!(matches!(fixture.rotate(key_id), Err(KmsError::KmsInvalidState(_))));
        bring(&there, key_id, 2, ImportType::ExistingKeyMaterial).expect("imports");
        assert_eq!(
            (role(&fixture, key_id, 1), role(&there, key_id, 1)),
            (Some(PendingRotation), Some(PendingRotation))
        );
        fixture.rotate(key_id).expect("rotates");
        for one in [&fixture, &there] {
            assert_eq!((role(one, key_id, 0), role(one, key_id, 1)), (Some(NonCurrent), Some(Current)));
            assert_eq!(one.decrypt(&blob), Ok(b"x".to_vec()));
        }
        let new = there.encrypt(key_id, b"new").expect("encrypts");
        assert_eq!(fixture.decrypt(&new), Ok(b"new".to_vec()));
        // Deleted in one Region, it is still in the other.
        there.delete_material(key_id, None).expect("deletes");
        assert_eq!(
            (there.state(key_id), fixture.state(key_id)),
            (KeyState::PendingImport, KeyState::Enabled)
        );
        assert_eq!(fixture.decrypt(&new), Ok(b"new".to_vec()));
    }
}

#[test]
fn material_that_waits_goes_from_all_regions_with_the_primary() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create_with(CreateKeyRequest { origin: Some(Origin::External), ..multi_region() });
    fixture.import(key_id, [1; 32], |_| {}).expect("imports");
    fixture.replicate(key_id, "eu-west-1").expect("replicates");
    let there = fixture.in_region("eu-west-1");
    there.import(key_id, [1; 32], |_| {}).expect("imports");
    let waiting = bring(&fixture, key_id, 2, ImportType::NewKeyMaterial).expect("imports");
    bring(&there, key_id, 2, ImportType::ExistingKeyMaterial).expect("imports");
    fixture.delete_material(key_id, Some(waiting)).expect("deletes");
    for one in [&fixture, &there] {
        assert_eq!((one.materials(key_id).len(), one.state(key_id)), (1, KeyState::Enabled));
    }
    // Another one may come in its place.
    bring(&fixture, key_id, 3, ImportType::NewKeyMaterial).expect("imports");
    assert_eq!(there.materials(key_id).len(), 2);
}

#[test]
fn regions_are_refused_by_policies() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create_multi_region();
    let as_user = |statement: &str| {
        let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#);
        let policies = vec![IdentityPolicy::parse(&text).expect("a policy")];
        Caller::local(AccountId::local(), "mallory").with_policies(policies)
    };
    let try_as = |caller: &Caller, to: &str| {
        let request = ReplicateKeyRequest::new(key_id, region(to));
        fixture.kms.replicate_key(caller, &request).map(drop)
    };
    let allowed = r#"{"Effect": "Allow", "Action": ["kms:ReplicateKey", "kms:CreateKey"], "Resource": "*",
        "Condition": {"StringEqualsIfExists": {"kms:ReplicaRegion": "eu-west-1"}}}"#;
    assert!(matches!(try_as(&as_user(allowed), "us-east-2"), Err(KmsError::AccessDenied(_))));
    assert_eq!(try_as(&as_user(allowed), "eu-west-1"), Ok(()));
    let no_creation = r#"{"Effect": "Allow", "Action": "kms:ReplicateKey", "Resource": "*"}"#;
    assert!(matches!(try_as(&as_user(no_creation), "us-east-2"), Err(KmsError::AccessDenied(_))));
    let no_replicas = r#"{"Effect": "Allow", "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "kms:CreateKey", "Resource": "*",
         "Condition": {"StringEquals": {"kms:MultiRegionKeyType": "REPLICA"}}}"#;
    assert!(matches!(try_as(&as_user(no_replicas), "us-east-2"), Err(KmsError::AccessDenied(_))));
    let primaries_only = r#"{"Effect": "Allow", "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "kms:Encrypt", "Resource": "*",
         "Condition": {"StringEquals": {"kms:MultiRegionKeyType": "REPLICA"}, "Bool": {"kms:MultiRegion": "true"}}}"#;
    let there = fixture.in_region("eu-west-1");
    let request = EncryptRequest::new(key_id, Plaintext::copy_of(b"x"), context());
    assert!(fixture.kms.encrypt(&as_user(primaries_only), &request).is_ok());
    assert!(matches!(there.kms.encrypt(&as_user(primaries_only), &request), Err(KmsError::AccessDenied(_))));
    let stay = r#"{"Effect": "Allow", "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "kms:UpdatePrimaryRegion", "Resource": "*",
         "Condition": {"StringNotEquals": {"kms:PrimaryRegion": "us-east-2"}}}"#;
    let request = UpdatePrimaryRegionRequest { key_id: key_id.into(), primary_region: region("eu-west-1") };
    let refused = fixture.kms.update_primary_region(&as_user(stay), &request);
    assert!(matches!(refused, Err(KmsError::AccessDenied(_))));
    // Whoever may use nothing but the primary's policy cannot take the replica over.
    let home_only = r#"{"Effect": "Allow", "Action": "kms:UpdatePrimaryRegion",
        "Resource": "arn:aws:kms:local-1:000000000000:key/*"}"#;
    let refused = fixture.kms.update_primary_region(&as_user(home_only), &request);
    assert!(matches!(refused, Err(KmsError::AccessDenied(_))));
    assert!(fixture.kms.update_primary_region(&fixture.caller, &request).is_ok());
}

/// An import wrapped once opens in both Regions only with its own token; the bytes are the same.
#[test]
fn the_same_bytes_have_the_same_material_id_in_every_region() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create_with(CreateKeyRequest { origin: Some(Origin::External), ..multi_region() });
    let one = fixture.import(key_id, [9; 32], |_| {}).expect("imports");
    fixture.replicate(key_id, "eu-west-1").expect("replicates");
    let there = fixture.in_region("eu-west-1");
    let parameters = there.parameters(key_id).expect("gets");
    let bytes = Plaintext::copy_of(&[9; 32]);
    let wrapped = wrap_material(&parameters, &bytes, WrappingAlgorithm::RsaesOaepSha256).expect("wraps");
    let mut request = import_request(key_id, &parameters, &[9; 32]);
    request.encrypted_key_material = wrapped;
    let two = there.kms.import_key_material(&there.caller, &request).expect("imports").key_material_id;
    assert_eq!(two, Some(one));
}
