//! What every custody promises. A new provider adds a test that calls [`check`].

use std::sync::Arc;

use kms_core::custody::{CustodyError, KeyCustody, KeyUser, OpenMaterial};
use kms_core::model::{KeyId, KeySpec, MaterialId, Plaintext};

/// A custody, and how it comes to a material: it makes one, or takes the external key of a name that is not used yet.
pub(crate) struct Fixture {
    pub(crate) custody: Arc<dyn KeyCustody>,
    pub(crate) external: Option<Box<dyn Fn() -> String>>,
}

/// Checks all promises.
pub(crate) fn check(fixture: &Fixture) {
    what_was_encrypted_decrypts(fixture);
    anything_else_is_unauthentic(fixture);
    a_handle_opens_only_for_its_key_and_material(fixture);
    imported_bytes_are_the_same_material_again(&*fixture.custody);
    material_of_a_wrong_length_is_refused(&*fixture.custody);
    what_a_custody_cannot_do_it_refuses(&*fixture.custody);
}

fn made(fixture: &Fixture, key_id: &KeyId) -> kms_core::custody::NewMaterial {
    let Some(external) = &fixture.external else {
        return fixture.custody.generate(key_id, KeySpec::SymmetricDefault).expect("generates");
    };
    let user = KeyUser {
        principal: "arn:aws:iam::000000000000:user/tester",
        via_service: None,
        operation: "CreateKey",
        key_arn: "arn:aws:kms:local-1:000000000000:key/a",
        request_id: None,
    };
    fixture.custody.adopt(key_id, &external(), &user).expect("adopts")
}

fn generated(fixture: &Fixture, key_id: &KeyId) -> Arc<dyn OpenMaterial> {
    let material = made(fixture, key_id);
    let (id, handle) = (&material.material_id, &material.handle);
    fixture.custody.open(key_id, KeySpec::SymmetricDefault, id, handle).expect("opens")
}

fn a_handle_opens_only_for_its_key_and_material(fixture: &Fixture) {
    let key_id = KeyId::generate();
    let (one, two) = (made(fixture, &key_id), made(fixture, &key_id));
    assert_ne!(one.material_id, two.material_id);
    let open = |key_id: &KeyId, id: &MaterialId, handle: &[u8]| {
        fixture.custody.open(key_id, KeySpec::SymmetricDefault, id, handle).err()
    };
    assert_eq!(open(&key_id, &one.material_id, &one.handle), None);
    for (key_id, id, handle) in [
        (KeyId::generate(), one.material_id, &one.handle[..]),
        (key_id, two.material_id, &one.handle),
        (key_id, one.material_id, &one.handle[1..]),
        (key_id, one.material_id, &[]),
    ] {
        let corrupt = CustodyError::CorruptHandle { key_id, material_id: id };
        assert_eq!(open(&key_id, &id, handle), Some(corrupt));
    }
    let material = fixture.custody.open(&key_id, KeySpec::SymmetricDefault, &one.material_id, &one.handle);
    let body = material.expect("opens").encrypt(b"aad", b"plain").expect("encrypts");
    let again = fixture.custody.open(&key_id, KeySpec::SymmetricDefault, &one.material_id, &one.handle);
    assert_eq!(again.expect("opens").decrypt(b"aad", &body).expect("decrypts").expose(), b"plain");
    for material in [one, two] {
        fixture.custody.destroy(&key_id, &material.material_id, &material.handle).expect("destroys");
        fixture.custody.destroy(&key_id, &material.material_id, &material.handle).expect("is gone already");
    }
}

fn what_a_custody_cannot_do_it_refuses(custody: &dyn KeyCustody) {
    for spec in KeySpec::ALL.iter().filter(|spec| !custody.holds(**spec)) {
        assert!(custody.generate(&KeyId::generate(), *spec).is_err(), "{spec}");
    }
    let imported =
        custody.import(&KeyId::generate(), KeySpec::SymmetricDefault, &Plaintext::new(vec![1; 32]));
    assert_eq!(imported.is_ok(), custody.capabilities().imports);
}

fn what_was_encrypted_decrypts(fixture: &Fixture) {
    let material = generated(fixture, &KeyId::generate());
    for len in [1, 32, 4096] {
        let plain = vec![0x5A; len];
        let body = material.encrypt(b"aad", &plain).expect("encrypts");
        assert_ne!(material.encrypt(b"aad", &plain).expect("encrypts"), body);
        assert_eq!(material.decrypt(b"aad", &body).expect("decrypts").expose(), plain);
    }
}

fn anything_else_is_unauthentic(fixture: &Fixture) {
    let key_id = KeyId::generate();
    let material = generated(fixture, &key_id);
    let body = material.encrypt(b"aad", b"plain").expect("encrypts");
    assert_eq!(material.decrypt(b"other", &body).err(), Some(CustodyError::Unauthentic));
    assert_eq!(generated(fixture, &key_id).decrypt(b"aad", &body).err(), Some(CustodyError::Unauthentic));
    for len in 0..body.len() {
        assert_eq!(material.decrypt(b"aad", &body[..len]).err(), Some(CustodyError::Unauthentic));
        let mut changed = body.clone();
        changed[len] ^= 1;
        assert_eq!(material.decrypt(b"aad", &changed).err(), Some(CustodyError::Unauthentic));
    }
}

fn imported_bytes_are_the_same_material_again(custody: &dyn KeyCustody) {
    if !custody.capabilities().imports {
        return;
    }
    let (key_id, other) = (KeyId::generate(), KeyId::generate());
    let import = |key_id: &KeyId| {
        let material = custody
            .import(key_id, KeySpec::SymmetricDefault, &Plaintext::copy_of(&[9; 32]))
            .expect("imports");
        let open = custody
            .open(key_id, KeySpec::SymmetricDefault, &material.material_id, &material.handle)
            .expect("opens");
        (material.material_id, open)
    };
    let (first_id, first) = import(&key_id);
    let (second_id, second) = import(&key_id);
    let (other_id, elsewhere) = import(&other);
    assert_eq!(first_id, second_id);
    assert_ne!(first_id, other_id);
    let body = first.encrypt(b"aad", b"plain").expect("encrypts");
    assert_eq!(second.decrypt(b"aad", &body).expect("decrypts").expose(), b"plain");
    assert_eq!(elsewhere.decrypt(b"aad", &body).err(), Some(CustodyError::Unauthentic));
}

fn material_of_a_wrong_length_is_refused(custody: &dyn KeyCustody) {
    if !custody.capabilities().imports {
        return;
    }
    for len in [0, 16, 31, 33, 64] {
        let result =
            custody.import(&KeyId::generate(), KeySpec::SymmetricDefault, &Plaintext::new(vec![1; len]));
        assert_eq!(result.err(), Some(CustodyError::MaterialLength { found: len, expected: 32 }));
    }
}
