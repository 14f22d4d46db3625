//! Material of symmetric encryption keys.

use zeroize::Zeroizing;

use crate::custody::{CustodyError, OpenMaterial};
use crate::model::{KeyId, Plaintext};
use crate::seal::{SealError, derived};

/// The length of symmetric key material.
pub(super) const MATERIAL_LEN: usize = 32;

/// The 32 bytes of a symmetric encryption key.
pub(super) struct SymmetricMaterial {
    key_id: [u8; KeyId::BYTES],
    bytes: Zeroizing<[u8; MATERIAL_LEN]>,
}

impl SymmetricMaterial {
    /// From the bytes; `None` if there are not 32 of them.
    pub(super) fn new(key_id: &KeyId, bytes: &[u8]) -> Option<Self> {
        let mut own = Zeroizing::new([0; MATERIAL_LEN]);
        (bytes.len() == MATERIAL_LEN).then(|| own.copy_from_slice(bytes))?;
        Some(Self { key_id: key_id.to_bytes(), bytes: own })
    }

    /// The key id is part of the derivation: the same bytes imported into another key are another key.
    fn info(&self) -> [&[u8]; 2] {
        [b"kms-core blob v1", &self.key_id]
    }
}

impl OpenMaterial for SymmetricMaterial {
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
