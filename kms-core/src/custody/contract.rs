//! What every custody promises. A new provider adds a fixture and a line in the macro below.

use super::*;
use crate::seal::{Purpose, RootKey};

fn software() -> Box<dyn KeyCustody> {
    let root = RootKey::generate().expect("random");
    Box::new(SoftwareCustody::new(root.sealer(Purpose::Material).expect("derives")))
}

fn generated(custody: &dyn KeyCustody, key_id: &KeyId) -> Arc<dyn OpenMaterial> {
    let material = custody.generate(key_id, KeySpec::SymmetricDefault).expect("generates");
    custody.open(key_id, KeySpec::SymmetricDefault, &material.material_id, &material.handle).expect("opens")
}

fn what_was_encrypted_decrypts(custody: &dyn KeyCustody) {
    let material = generated(custody, &KeyId::generate());
    for len in [1, 32, 4096] {
        let plain = vec![0x5A; len];
        let body = material.encrypt(b"aad", &plain).expect("encrypts");
        assert_ne!(material.encrypt(b"aad", &plain).expect("encrypts"), body);
        assert_eq!(material.decrypt(b"aad", &body).expect("decrypts").expose(), plain);
    }
}

fn anything_else_is_unauthentic(custody: &dyn KeyCustody) {
    let key_id = KeyId::generate();
    let material = generated(custody, &key_id);
    let body = material.encrypt(b"aad", b"plain").expect("encrypts");
    assert_eq!(material.decrypt(b"other", &body).err(), Some(CustodyError::Unauthentic));
    assert_eq!(generated(custody, &key_id).decrypt(b"aad", &body).err(), Some(CustodyError::Unauthentic));
    for len in 0..body.len() {
        assert_eq!(material.decrypt(b"aad", &body[..len]).err(), Some(CustodyError::Unauthentic));
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
    for len in [0, 16, 31, 33, 64] {
        let result =
            custody.import(&KeyId::generate(), KeySpec::SymmetricDefault, &Plaintext::new(vec![1; len]));
        assert_eq!(result.err(), Some(CustodyError::MaterialLength { found: len, expected: 32 }));
    }
}

macro_rules! contract {
    ($fixture:ident: $($name:ident,)+) => {
        mod $fixture { $(#[test] fn $name() { super::$name(&*super::$fixture()); })+ }
    };
}

contract! {
    software:
    what_was_encrypted_decrypts,
    anything_else_is_unauthentic,
    imported_bytes_are_the_same_material_again,
    material_of_a_wrong_length_is_refused,
}
