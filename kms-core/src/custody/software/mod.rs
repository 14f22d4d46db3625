//! Material in memory and, sealed, in the store.

mod ecc;
mod edwards;
mod hmac;
mod key_pair;
mod ml_dsa;
mod ml_kem;
mod rsa;
mod seed_der;
mod symmetric;

use std::sync::Arc;

use aws_lc_rs::{digest, hmac as mac};
use zeroize::Zeroizing;

use self::hmac::HmacMaterial;
pub use self::key_pair::{DataKeyPair, generate_data_key_pair};
use self::symmetric::{MATERIAL_LEN, SymmetricMaterial};
use super::{Capabilities, CustodyError, KeyCustody, NewMaterial, OpenMaterial};
use crate::model::{KeyId, KeySpec, MaterialId, MaterialKind, Plaintext};
use crate::seal::{Sealer, fill_random};

/// Custody in software: the handle of a material is its bytes, sealed for its key and its id.
///
/// The bytes are the key itself, the secret of an HMAC, or a private key as a DER `PrivateKeyInfo`.
#[derive(Debug)]
pub struct SoftwareCustody {
    sealer: Sealer,
}

impl SoftwareCustody {
    /// A custody that seals material with `sealer`.
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer }
    }

    fn seal(
        &self,
        key_id: &KeyId,
        material_id: MaterialId,
        bytes: &[u8],
    ) -> Result<NewMaterial, CustodyError> {
        let handle = self
            .sealer
            .seal(&[&key_id.to_bytes(), material_id.as_bytes()], bytes)
            .map_err(|_| CustodyError::Internal)?;
        Ok(NewMaterial { material_id, handle })
    }

    fn take_secret(&self, key_id: &KeyId, secret: &[u8]) -> Result<NewMaterial, CustodyError> {
        self.seal(key_id, secret_id(key_id, secret), secret)
    }

    fn take_pair(&self, key_id: &KeyId, pair: &dyn key_pair::KeyPair) -> Result<NewMaterial, CustodyError> {
        self.seal(key_id, pair_id(key_id, &pair.public_key()?), &pair.to_pkcs8()?)
    }
}

/// A MAC of the key id under the material: whoever does not have the material learns nothing about it, and the same
/// bytes in another key have another id.
fn secret_id(key_id: &KeyId, secret: &[u8]) -> MaterialId {
    let mut context = mac::Context::with_key(&mac::Key::new(mac::HMAC_SHA256, secret));
    context.update(b"kms-core material id v1");
    context.update(&key_id.to_bytes());
    let mut id = [0; 32];
    id.copy_from_slice(context.sign().as_ref());
    MaterialId::from_bytes(id)
}

/// A hash of the key id and the public key. One private key has several encodings; its public key has one.
fn pair_id(key_id: &KeyId, public_key: &[u8]) -> MaterialId {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"kms-core key pair material id v1");
    context.update(&key_id.to_bytes());
    context.update(public_key);
    let mut id = [0; 32];
    id.copy_from_slice(context.finish().as_ref());
    MaterialId::from_bytes(id)
}

/// The length of material that is a secret and not a key pair.
fn secret_len(spec: KeySpec) -> Option<usize> {
    match spec.material_kind() {
        MaterialKind::Symmetric => Some(MATERIAL_LEN),
        MaterialKind::Hmac { len } => Some(len),
        MaterialKind::KeyPair => None,
    }
}

impl KeyCustody for SoftwareCustody {
    fn capabilities(&self) -> Capabilities {
        Capabilities { generates: true, imports: true, rotates: true }
    }

    fn holds(&self, spec: KeySpec) -> bool {
        spec != KeySpec::Sm2
    }

    fn blob_kind(&self) -> u8 {
        1
    }

    fn generate(&self, key_id: &KeyId, spec: KeySpec) -> Result<NewMaterial, CustodyError> {
        let Some(len) = secret_len(spec) else {
            return self.take_pair(key_id, &*key_pair::generate(spec)?);
        };
        let mut secret = Zeroizing::new(vec![0; len]);
        fill_random(&mut secret).map_err(|_| CustodyError::Internal)?;
        self.take_secret(key_id, &secret)
    }

    fn import(
        &self,
        key_id: &KeyId,
        spec: KeySpec,
        material: &Plaintext,
    ) -> Result<NewMaterial, CustodyError> {
        match secret_len(spec) {
            None => self.take_pair(key_id, &*key_pair::from_pkcs8(spec, material.expose())?),
            Some(len) if len == material.len() => self.take_secret(key_id, material.expose()),
            Some(expected) => Err(CustodyError::MaterialLength { found: material.len(), expected }),
        }
    }

    fn open(
        &self,
        key_id: &KeyId,
        spec: KeySpec,
        material_id: &MaterialId,
        handle: &[u8],
    ) -> Result<Arc<dyn OpenMaterial>, CustodyError> {
        let corrupt = || CustodyError::CorruptHandle { key_id: *key_id, material_id: *material_id };
        let bytes =
            self.sealer.open(&[&key_id.to_bytes(), material_id.as_bytes()], handle).map_err(|_| corrupt())?;
        if secret_len(spec).is_some_and(|len| len != bytes.len()) {
            return Err(corrupt());
        }
        Ok(match spec.material_kind() {
            MaterialKind::Symmetric => Arc::new(SymmetricMaterial::new(key_id, &bytes).ok_or_else(corrupt)?),
            MaterialKind::Hmac { .. } => Arc::new(HmacMaterial::new(spec, &bytes).ok_or_else(corrupt)?),
            MaterialKind::KeyPair => key_pair::open(spec, &bytes).map_err(|_| corrupt())?,
        })
    }

    fn destroy(&self, _: &KeyId, _: &MaterialId, _: &[u8]) -> Result<(), CustodyError> {
        // The sealed bytes are the only copy, and the service erases them with the handle.
        Ok(())
    }
}

#[cfg(test)]
mod known_answers;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{Purpose, RootKey};

    #[test]
    fn the_same_bytes_in_two_keys_have_two_ids() {
        let bytes = [3; MATERIAL_LEN];
        assert_ne!(secret_id(&KeyId::generate(), &bytes), secret_id(&KeyId::generate(), &bytes));
        assert_ne!(pair_id(&KeyId::generate(), &bytes), pair_id(&KeyId::generate(), &bytes));
    }

    #[test]
    fn a_handle_opens_only_for_its_key_and_material() {
        let root = RootKey::generate().expect("random");
        let custody = SoftwareCustody::new(root.sealer(Purpose::Material).expect("derives"));
        let (one, two) = (KeyId::generate(), KeyId::generate());
        for spec in [KeySpec::SymmetricDefault, KeySpec::Hmac384, KeySpec::EccNistP256] {
            let material = custody.generate(&one, spec).expect("generates");
            let (material_id, handle) = (material.material_id, &material.handle);
            assert!(custody.open(&one, spec, &material_id, handle).is_ok());
            assert!(custody.open(&two, spec, &material_id, handle).is_err());
            assert!(custody.open(&one, spec, &MaterialId::from_bytes([0; 32]), handle).is_err());
            assert!(custody.open(&one, KeySpec::Hmac224, &material_id, handle).is_err());
        }
    }
}
