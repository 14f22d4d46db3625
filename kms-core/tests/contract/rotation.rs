//! Rotation, automatic and on demand.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;

use crate::fixture::Fixture;

fn status(fixture: &Fixture, key_id: KeyId) -> GetKeyRotationStatusResponse {
    fixture.kms.get_key_rotation_status(&fixture.caller, &KeyOnlyRequest::new(key_id)).expect("tells")
}

#[test]
fn old_blobs_open_after_a_rotation_and_new_ones_use_the_new_material() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create();
        let old_material = fixture.describe(key_id).current_key_material_id;
        let old = fixture.encrypt(key_id, b"old").expect("encrypts");
        fixture.rotate(key_id).expect("rotates");
        let new_material = fixture.describe(key_id).current_key_material_id;
        assert_ne!(old_material, new_material);
        let new = fixture.encrypt(key_id, b"new").expect("encrypts");
        let material_of = |blob: &CiphertextBlob| {
            let request = DecryptRequest::new(blob.clone(), crate::fixture::context());
            fixture.kms.decrypt(&fixture.caller, &request).expect("decrypts").key_material_id
        };
        assert_eq!(material_of(&old), old_material);
        assert_eq!(material_of(&new), new_material);
    }
}

#[test]
fn the_schedule_is_ninety_to_2560_days_and_a_year_by_default() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    assert!(!status(&fixture, key_id).key_rotation_enabled);
    for days in [89, 2561] {
        assert!(matches!(fixture.enable_rotation(key_id, Some(days)), Err(KmsError::Validation(_))));
    }
    fixture.enable_rotation(key_id, None).expect("enables");
    let year = status(&fixture, key_id);
    assert_eq!(year.rotation_period_in_days, Some(365));
    assert_eq!(year.next_rotation_date, Some(fixture.clock.now().plus_days(365)));
    fixture.clock.advance_days(1);
    fixture.enable_rotation(key_id, None).expect("changes nothing");
    assert_eq!(status(&fixture, key_id), year);
    fixture.enable_rotation(key_id, Some(90)).expect("changes the period");
    assert_eq!(status(&fixture, key_id).next_rotation_date, Some(fixture.clock.now().plus_days(90)));
    let request = KeyOnlyRequest::new(key_id);
    fixture.kms.disable_key_rotation(&fixture.caller, &request).expect("disables");
    fixture.clock.advance_days(1000);
    assert_eq!(fixture.materials(key_id).len(), 1);
}

#[test]
fn a_due_key_rotates_at_its_next_use_once_however_late() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create();
        fixture.enable_rotation(key_id, Some(100)).expect("enables");
        let old = fixture.encrypt(key_id, b"old").expect("encrypts");
        fixture.clock.advance_days(99);
        fixture.encrypt(key_id, b"x").expect("encrypts");
        assert_eq!(fixture.materials(key_id).len(), 1);
        fixture.clock.advance_days(1000);
        fixture.encrypt(key_id, b"x").expect("encrypts");
        let materials = fixture.materials(key_id);
        assert_eq!(materials.len(), 2);
        assert_eq!(materials[1].rotation_type, Some(RotationType::Automatic));
        assert_eq!(materials[1].rotation_date, Some(fixture.clock.now()));
        assert_eq!(status(&fixture, key_id).next_rotation_date, Some(fixture.clock.now().plus_days(100)));
        assert_eq!(fixture.decrypt(&old), Ok(b"old".to_vec()));
    }
}

#[test]
fn a_disabled_key_rotates_when_it_is_enabled_again() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    fixture.enable_rotation(key_id, Some(90)).expect("enables");
    fixture.disable(key_id).expect("disables");
    fixture.clock.advance_days(400);
    assert_eq!(fixture.kms.run_due().expect("runs").settled, 0);
    assert_eq!(fixture.materials(key_id).len(), 1);
    fixture.enable(key_id).expect("enables");
    assert_eq!(fixture.materials(key_id).len(), 2);
}

#[test]
fn rotation_on_demand_leaves_the_schedule_and_ends_after_25() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    fixture.enable_rotation(key_id, None).expect("enables");
    let before = status(&fixture, key_id);
    for _ in 0..25 {
        fixture.rotate(key_id).expect("rotates");
    }
    assert_eq!(status(&fixture, key_id), before);
    assert_eq!(
        fixture.rotate(key_id),
        Err(KmsError::LimitExceeded(format!(
            "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be \
             performed for this key: {}",
            fixture.arn(key_id)
        )))
    );
    // Those that the schedule brings do not count.
    fixture.clock.advance_days(365);
    assert_eq!(fixture.kms.run_due().expect("runs").settled, 1);
    assert_eq!(fixture.materials(key_id).len(), 27);
}

#[test]
fn the_list_of_rotations_has_the_first_material_only_on_request() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    fixture.rotate(key_id).expect("rotates");
    let materials = fixture.materials(key_id);
    assert_eq!(materials.len(), 2);
    assert_eq!((materials[0].rotation_date, materials[0].rotation_type), (None, None));
    assert_eq!(materials[0].key_material_state, Some(KeyMaterialState::NonCurrent));
    assert_eq!(materials[1].key_material_state, Some(KeyMaterialState::Current));
    assert_eq!(materials[1].import_state, None);
    let request =
        ListKeyRotationsRequest { key_id: key_id.into(), include_key_material: None, page: Page::default() };
    let rotations = fixture.kms.list_key_rotations(&fixture.caller, &request).expect("lists").rotations;
    assert_eq!(rotations.len(), 1);
    assert_eq!(rotations[0].rotation_type, Some(RotationType::OnDemand));
}

#[test]
fn rotation_survives_reopening() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    let old = fixture.encrypt(key_id, b"old").expect("encrypts");
    fixture.rotate(key_id).expect("rotates");
    let again = Fixture { kms: fixture.reopen(), ..fixture };
    assert_eq!(again.decrypt(&old), Ok(b"old".to_vec()));
    assert_eq!(again.materials(key_id).len(), 2);
}
