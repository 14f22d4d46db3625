//! Blobs made by another implementation (`tests/vectors/make.py`) open here, to the byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use kms_core::blob;
use kms_core::client::KeyService;
use kms_core::custody::{KeyCustody, SoftwareCustody};
use kms_core::model::*;
use kms_core::seal::{Purpose, RootKey};
use kms_core::service::EmbeddedKms;
use kms_core::store::{self, KeyRecord, MaterialRecord, MemoryStore, RotationRecord};

#[derive(serde::Deserialize)]
struct Vector {
    name: String,
    key_id: String,
    material: String,
    random: String,
    context: BTreeMap<String, String>,
    plaintext: String,
    material_id: String,
    blob: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../vectors/blob.json")).expect("the vectors are JSON")
}

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digit = |index: usize| u8::from_str_radix(&hex[index..index + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// A service with one imported key whose id and material are those of the vector.
fn service_of(vector: &Vector) -> EmbeddedKms {
    let root = RootKey::generate().expect("random");
    let custody = SoftwareCustody::new(root.sealer(Purpose::Material).expect("derives"));
    let key_id: KeyId = vector.key_id.parse().expect("a key id");
    let taken = custody
        .import(&key_id, KeySpec::SymmetricDefault, &Plaintext::new(bytes(&vector.material)))
        .expect("imports");
    assert_eq!(taken.material_id.to_string(), vector.material_id, "{}", vector.name);
    let record = KeyRecord {
        key_id,
        key_spec: KeySpec::SymmetricDefault,
        key_usage: KeyUsage::EncryptDecrypt,
        origin: Origin::External,
        key_manager: KeyManager::Customer,
        managing_service: None,
        description: String::new(),
        creation_date: Timestamp::from_millis(0),
        enabled: true,
        deletion_date: None,
        rotation: RotationRecord::default(),
        materials: vec![MaterialRecord::new(taken.material_id, KeyMaterialState::Current)],
        tags: Vec::new(),
        policy: None,
        custom_key_store: None,
        unavailable: false,
        family: None,
        pending_window_days: None,
    };
    let memory = MemoryStore::new();
    store::write(&memory, |tx| {
        tx.put_key(&record)?;
        Ok(tx.put_material_handle(&key_id, &taken.material_id, &taken.handle)?)
    })
    .expect("stores");
    EmbeddedKms::builder(Arc::new(memory), &root).expect("derives").build()
}

#[test]
fn every_vector_opens() {
    let caller = Caller::local(AccountId::local(), "tester");
    for vector in vectors() {
        let kms = service_of(&vector);
        let context: EncryptionContext = vector.context.clone().into_iter().collect();
        let request = DecryptRequest::new(bytes(&vector.blob).into(), context);
        let opened = kms.decrypt(&caller, &request).expect("opens");
        assert_eq!(opened.plaintext.expose(), bytes(&vector.plaintext), "{}", vector.name);
    }
}

#[test]
fn the_parts_of_every_vector_are_where_the_format_says() {
    for vector in vectors() {
        let blob = bytes(&vector.blob);
        let (header, body) = blob::parse(&blob).expect("a blob");
        assert_eq!(header.key_id.to_string(), vector.key_id);
        assert_eq!(header.custody, 1);
        assert!(header.names(&vector.material_id.parse().expect("a material id")));
        assert_eq!(body[..32], bytes(&vector.random));
        assert_eq!(blob.len(), 35 + 32 + vector.plaintext.len() / 2 + 16);
    }
}
