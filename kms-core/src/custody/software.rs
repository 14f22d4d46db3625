//! Material in memory and, sealed, in the store.

use std::sync::Arc;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::{Capabilities, CustodyError, KeyCustody, NewMaterial, OpenMaterial};
use crate::model::{KeyId, MaterialId, Plaintext};
use crate::seal::{SealError, Sealer, derived, fill_random};

/// The length of symmetric key material.
const MATERIAL_LEN: usize = 32;

/// Custody in software: the handle of a material is its bytes, sealed for its key and its id.
#[derive(Debug)]
pub struct SoftwareCustody {
    sealer: Sealer,
}

impl SoftwareCustody {
    /// A custody that seals material with `sealer`.
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer }
    }

    fn take(&self, key_id: &KeyId, bytes: &[u8; MATERIAL_LEN]) -> Result<NewMaterial, CustodyError> {
        let material_id = material_id(key_id, bytes);
        let handle = self
            .sealer
            .seal(&[&key_id.to_bytes(), material_id.as_bytes()], bytes)
            .map_err(|_| CustodyError::Internal)?;
        Ok(NewMaterial { material_id, handle })
    }
}

/// A MAC of the key id under the material: whoever does not have the material learns nothing about it, and the same
/// bytes in another key have another id.
fn material_id(key_id: &KeyId, bytes: &[u8; MATERIAL_LEN]) -> MaterialId {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, bytes));
    context.update(b"kms-core material id v1");
    context.update(&key_id.to_bytes());
    let mut id = [0; 32];
    id.copy_from_slice(context.sign().as_ref());
    MaterialId::from_bytes(id)
}

impl KeyCustody for SoftwareCustody {
    fn capabilities(&self) -> Capabilities {
        Capabilities { generates: true, imports: true, rotates: true }
    }

    fn blob_kind(&self) -> u8 {
        1
    }

    fn generate(&self, key_id: &KeyId) -> Result<NewMaterial, CustodyError> {
        let mut bytes = Zeroizing::new([0; MATERIAL_LEN]);
        fill_random(&mut bytes[..]).map_err(|_| CustodyError::Internal)?;
        self.take(key_id, &bytes)
    }

    fn import(&self, key_id: &KeyId, material: &Plaintext) -> Result<NewMaterial, CustodyError> {
        let bytes: &[u8; MATERIAL_LEN] = material
            .expose()
            .try_into()
            .map_err(|_| CustodyError::MaterialLength { found: material.len(), expected: MATERIAL_LEN })?;
        self.take(key_id, bytes)
    }

    fn open(
        &self,
        key_id: &KeyId,
        material_id: &MaterialId,
        handle: &[u8],
    ) -> Result<Arc<dyn OpenMaterial>, CustodyError> {
        let corrupt = || CustodyError::CorruptHandle { key_id: *key_id, material_id: *material_id };
        let opened =
            self.sealer.open(&[&key_id.to_bytes(), material_id.as_bytes()], handle).map_err(|_| corrupt())?;
        if opened.len() != MATERIAL_LEN {
            return Err(corrupt());
        }
        let mut bytes = Zeroizing::new([0; MATERIAL_LEN]);
        bytes.copy_from_slice(&opened);
        Ok(Arc::new(SoftwareMaterial { key_id: key_id.to_bytes(), bytes }))
    }

    fn destroy(&self, _: &KeyId, _: &MaterialId, _: &[u8]) -> Result<(), CustodyError> {
        // The sealed bytes are the only copy, and the service erases them with the handle.
        Ok(())
    }
}

struct SoftwareMaterial {
    key_id: [u8; KeyId::BYTES],
    bytes: Zeroizing<[u8; MATERIAL_LEN]>,
}

impl SoftwareMaterial {
    /// The key id is part of the derivation: the same bytes imported into another key are another key.
    fn info(&self) -> [&[u8]; 2] {
        [b"kms-core blob v1", &self.key_id]
    }
}

impl OpenMaterial for SoftwareMaterial {
    fn encrypt(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        derived::seal(&self.bytes[..], &self.info(), aad, plaintext).map_err(|_| CustodyError::Internal)
    }

    fn decrypt(&self, aad: &[u8], body: &[u8]) -> Result<Plaintext, CustodyError> {
        let mut opened =
            derived::open(&self.bytes[..], &self.info(), aad, body).map_err(|error| match error {
                SealError::Unauthentic => CustodyError::Unauthentic,
                SealError::Internal => CustodyError::Internal,
            })?;
        Ok(Plaintext::new(std::mem::take(&mut *opened)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{Purpose, RootKey};

    #[test]
    fn the_same_bytes_in_two_keys_have_two_ids() {
        let bytes = [3; MATERIAL_LEN];
        assert_ne!(material_id(&KeyId::generate(), &bytes), material_id(&KeyId::generate(), &bytes));
    }

    #[test]
    fn a_handle_opens_only_for_its_key_and_material() {
        let root = RootKey::generate().expect("random");
        let custody = SoftwareCustody::new(root.sealer(Purpose::Material).expect("derives"));
        let (one, two) = (KeyId::generate(), KeyId::generate());
        let material = custody.generate(&one).expect("generates");
        assert!(custody.open(&one, &material.material_id, &material.handle).is_ok());
        assert!(custody.open(&two, &material.material_id, &material.handle).is_err());
        assert!(custody.open(&one, &MaterialId::from_bytes([0; 32]), &material.handle).is_err());
    }
}
