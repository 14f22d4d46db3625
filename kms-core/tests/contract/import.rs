//! Imported key material: import, expiry, deletion, rotation.

use std::fs;

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::import::wrap_material;
use kms_core::model::*;

use crate::fixture::{Fixture, import_request};

#[test]
fn a_key_waits_for_its_material_and_is_enabled_by_it() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create_external();
        assert_eq!(fixture.state(key_id), KeyState::PendingImport);
        let material = fixture.import(key_id, [1; 32], |_| {}).expect("imports");
        let metadata = fixture.describe(key_id);
        assert_eq!(metadata.key_state, KeyState::Enabled);
        assert_eq!(metadata.current_key_material_id, Some(material));
        assert_eq!(metadata.expiration_model, Some(ExpirationModel::KeyMaterialDoesNotExpire));
        let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
        assert_eq!(fixture.decrypt(&blob), Ok(b"text".to_vec()));
    }
}

#[test]
fn every_wrapping_algorithm_imports() {
    let fixture = Fixture::in_memory();
    for wrapping_algorithm in [
        WrappingAlgorithm::RsaesOaepSha1,
        WrappingAlgorithm::RsaesOaepSha256,
        WrappingAlgorithm::RsaAesKeyWrapSha1,
        WrappingAlgorithm::RsaAesKeyWrapSha256,
    ] {
        let key_id = fixture.create_external();
        let request = GetParametersForImportRequest {
            key_id: key_id.into(),
            wrapping_algorithm,
            wrapping_key_spec: WrappingKeySpec::Rsa3072,
        };
        let parameters =
            fixture.kms.get_parameters_for_import(&fixture.caller, &request).expect("makes a key");
        assert!(parameters.import_token.len() <= 6144);
        let mut request = import_request(key_id, &parameters, &[1; 32]);
        request.encrypted_key_material =
            wrap_material(&parameters, &Plaintext::copy_of(&[1; 32]), wrapping_algorithm).expect("wraps");
        fixture.kms.import_key_material(&fixture.caller, &request).expect("imports");
    }
    for wrapping_algorithm in [WrappingAlgorithm::RsaesPkcs1V15, WrappingAlgorithm::Sm2pke] {
        let request = GetParametersForImportRequest {
            key_id: fixture.create_external().into(),
            wrapping_algorithm,
            wrapping_key_spec: WrappingKeySpec::Rsa2048,
        };
        let refused = fixture.kms.get_parameters_for_import(&fixture.caller, &request);
        assert!(matches!(refused, Err(KmsError::UnsupportedOperation(_))));
    }
}

#[test]
fn a_token_is_for_its_key_and_for_a_day() {
    let fixture = Fixture::in_memory();
    let (key_id, other) = (fixture.create_external(), fixture.create_external());
    let parameters = fixture.parameters(key_id).expect("makes a key");
    assert_eq!(parameters.parameters_valid_to, fixture.clock.now().plus_days(1));
    let import =
        |request: &ImportKeyMaterialRequest| fixture.kms.import_key_material(&fixture.caller, request).err();
    let wrong_token = Some(KmsError::InvalidImportToken(String::new()));
    assert_eq!(import(&import_request(other, &parameters, &[1; 32])), wrong_token);
    let mut damaged = import_request(key_id, &parameters, &[1; 32]);
    damaged.import_token[40] ^= 1;
    assert_eq!(import(&damaged), wrong_token);
    let mut truncated = import_request(key_id, &parameters, &[1; 32]);
    truncated.encrypted_key_material.pop();
    assert_eq!(import(&truncated), Some(KmsError::InvalidCiphertext(String::new())));
    fixture.clock.advance_days(1);
    let late = import_request(key_id, &parameters, &[1; 32]);
    assert_eq!(import(&late), Some(KmsError::ExpiredImportToken(String::new())));
    assert_eq!(fixture.state(key_id), KeyState::PendingImport);
}

#[test]
fn material_has_256_bits() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create_external();
    let parameters = fixture.parameters(key_id).expect("makes a key");
    for len in [16, 31, 33] {
        let request = import_request(key_id, &parameters, &vec![1; len]);
        let refused = fixture.kms.import_key_material(&fixture.caller, &request);
        assert!(matches!(refused, Err(KmsError::IncorrectKeyMaterial(_))));
    }
}

#[test]
fn expiry_has_rules() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create_external();
    let now = fixture.clock.now();
    let import = |expiration_model, valid_to| {
        fixture.import(key_id, [1; 32], |request| {
            request.expiration_model = expiration_model;
            request.valid_to = valid_to;
        })
    };
    assert_eq!(
        import(None, None),
        Err(KmsError::Validation(
            "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES".into()
        ))
    );
    let forever = Some(ExpirationModel::KeyMaterialDoesNotExpire);
    assert!(matches!(import(forever, Some(now.plus_days(1))), Err(KmsError::Validation(_))));
    assert!(matches!(import(None, Some(now)), Err(KmsError::Validation(_))));
    assert!(matches!(import(None, Some(now.plus_days(366))), Err(KmsError::Validation(_))));
    import(None, Some(now.plus_days(365))).expect("imports");
    assert_eq!(fixture.describe(key_id).valid_to, Some(now.plus_days(365)));
    // Importing the same again changes the expiry.
    import(forever, None).expect("imports");
    assert_eq!(fixture.describe(key_id).valid_to, None);
}

#[test]
fn expired_material_is_gone_at_the_next_access_and_comes_back_only_as_itself() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create_external();
        let valid_to = Some(fixture.clock.now().plus_days(10));
        fixture
            .import(key_id, [1; 32], |request| {
                request.expiration_model = None;
                request.valid_to = valid_to;
            })
            .expect("imports");
        let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
        fixture.clock.advance_days(10);
        let waiting = KmsError::KmsInvalidState(format!("{} is pending import.", fixture.arn(key_id)));
        assert_eq!(fixture.decrypt(&blob), Err(waiting));
        assert_eq!(fixture.state(key_id), KeyState::PendingImport);
        assert_eq!(fixture.materials(key_id)[0].import_state, Some(ImportState::PendingImport));
        let other = fixture.import(key_id, [2; 32], |_| {});
        assert_eq!(other, Err(KmsError::IncorrectKeyMaterial(String::new())));
        fixture.import(key_id, [1; 32], |_| {}).expect("the same material");
        assert_eq!(fixture.decrypt(&blob), Ok(b"text".to_vec()));
    }
}

#[test]
fn deletion_is_at_once_and_only_the_same_material_undoes_it() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create_imported([1; 32]);
        let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
        fixture.delete_material(key_id, None).expect("deletes");
        assert!(fixture.decrypt(&blob).expect_err("erased").is_key_unusable());
        fixture.delete_material(key_id, None).expect("nothing left to delete");
        fixture.import(key_id, [1; 32], |_| {}).expect("the same material");
        assert_eq!(fixture.decrypt(&blob), Ok(b"text".to_vec()));
    }
}

#[test]
fn deletion_of_material_while_pending_deletion_keeps_that_state() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create_imported([1; 32]);
    fixture.schedule_deletion(key_id, 7).expect("schedules");
    fixture.delete_material(key_id, None).expect("deletes");
    assert_eq!(fixture.state(key_id), KeyState::PendingDeletion);
    fixture.cancel_deletion(key_id).expect("cancels");
    assert_eq!(fixture.state(key_id), KeyState::PendingImport);
}

#[test]
fn new_material_waits_for_rotation() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create_imported([1; 32]);
        assert_eq!(
            fixture.rotate(key_id),
            Err(KmsError::KmsInvalidState(format!(
                "No available key material pending rotation for the key: {}.",
                fixture.arn(key_id)
            )))
        );
        let old = fixture.encrypt(key_id, b"old").expect("encrypts");
        let new =
            |request: &mut ImportKeyMaterialRequest| request.import_type = Some(ImportType::NewKeyMaterial);
        let second = fixture.import(key_id, [2; 32], new).expect("imports");
        assert!(matches!(fixture.import(key_id, [3; 32], new), Err(KmsError::KmsInvalidState(_))));
        assert!(matches!(fixture.import(key_id, [1; 32], new), Err(KmsError::IncorrectKeyMaterial(_))));
        assert_eq!(fixture.materials(key_id)[1].key_material_state, Some(KeyMaterialState::PendingRotation));
        fixture.rotate(key_id).expect("rotates");
        assert_eq!(fixture.describe(key_id).current_key_material_id, Some(second));
        assert_eq!(fixture.decrypt(&old), Ok(b"old".to_vec()));
        // Either of the two missing makes the key wait.
        let first = fixture.materials(key_id)[0].key_material_id;
        fixture.delete_material(key_id, first).expect("deletes");
        assert_eq!(fixture.state(key_id), KeyState::PendingImport);
        fixture.import(key_id, [1; 32], |request| request.key_material_id = first).expect("imports");
        assert_eq!(fixture.decrypt(&old), Ok(b"old".to_vec()));
    }
}

#[test]
fn the_material_id_must_be_that_of_the_material() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create_imported([1; 32]);
    let wrong = fixture.import(key_id, [1; 32], |request| {
        request.key_material_id = Some(MaterialId::from_bytes([0; 32]));
    });
    assert_eq!(wrong, Err(KmsError::IncorrectKeyMaterial(String::new())));
    let unknown = fixture.delete_material(key_id, Some(MaterialId::from_bytes([0; 32])));
    assert!(matches!(unknown, Err(KmsError::NotFound(_))));
}

#[test]
fn the_description_of_a_material_stays_until_it_is_replaced() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create_external();
    let describe = |text: &'static str| {
        move |request: &mut ImportKeyMaterialRequest| request.key_material_description = Some(text.into())
    };
    assert!(matches!(fixture.import(key_id, [1; 32], describe("<b>")), Err(KmsError::Validation(_))));
    fixture.import(key_id, [1; 32], describe("from the safe")).expect("imports");
    fixture.import(key_id, [1; 32], |_| {}).expect("imports");
    assert_eq!(fixture.materials(key_id)[0].key_material_description.as_deref(), Some("from the safe"));
}

/// The sealed bytes of the materials of a key, as they lie in the database.
fn sealed_rows(fixture: &Fixture, key_id: KeyId) -> Vec<Vec<u8>> {
    sealed_in(fixture, "material", key_id)
}

fn sealed_in(fixture: &Fixture, table: &str, key_id: KeyId) -> Vec<Vec<u8>> {
    let database = rusqlite::Connection::open(fixture.path().join("keys.sqlite")).expect("opens");
    let mut statement =
        database.prepare(&format!("SELECT sealed FROM {table} WHERE key_id = ?1")).expect("prepares");
    let rows = statement.query_map([key_id.to_string()], |row| row.get(0)).expect("queries");
    rows.map(|row| row.expect("a row")).collect()
}

/// Whether any 16 bytes of `needle` lie in a file of the keystore.
fn files_contain(fixture: &Fixture, needle: &[u8]) -> bool {
    fs::read_dir(fixture.path()).expect("lists").any(|entry| {
        let content = fs::read(entry.expect("an entry").path()).expect("reads");
        needle.chunks_exact(16).any(|part| content.windows(16).any(|window| window == part))
    })
}

#[test]
fn erased_material_is_gone_from_the_files() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create_imported([1; 32]);
    let rows = sealed_rows(&fixture, key_id);
    assert!(files_contain(&fixture, &rows[0]));
    fixture.delete_material(key_id, None).expect("deletes");
    assert!(sealed_rows(&fixture, key_id).is_empty());
    assert!(!files_contain(&fixture, &rows[0]));
}

#[test]
fn a_deleted_key_is_gone_from_the_files() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    // Neighbours, so that the page of the key stays in use.
    let _ = (fixture.create(), fixture.create());
    let first_record = sealed_in(&fixture, "kms_key", key_id);
    fixture.schedule_deletion(key_id, 7).expect("schedules");
    let erased =
        [sealed_rows(&fixture, key_id), sealed_in(&fixture, "kms_key", key_id), first_record].concat();
    assert_eq!(erased.len(), 3);
    fixture.clock.advance_days(7);
    assert!(fixture.kms.run_due().expect("runs").scrubbed);
    assert!(erased.iter().all(|row| !files_contain(&fixture, row)));
}

#[test]
fn a_reader_in_the_way_of_the_erasure_is_reported_and_made_good_later() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create_imported([1; 32]);
    let rows = sealed_rows(&fixture, key_id);
    let reader = rusqlite::Connection::open(fixture.path().join("keys.sqlite")).expect("opens");
    reader.execute_batch("BEGIN; SELECT count(*) FROM material;").expect("reads");
    fixture.delete_material(key_id, None).expect("the material is unusable in any case");
    assert_eq!(fixture.state(key_id), KeyState::PendingImport);
    reader.execute_batch("COMMIT").expect("ends");
    assert!(fixture.kms.run_due().expect("runs").scrubbed);
    assert!(!files_contain(&fixture, &rows[0]));
}
