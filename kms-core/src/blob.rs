//! The ciphertext blob: what stands in front of the ciphertext so that the blob names its key.
//!
//! ```text
//! offset  length
//!      0       1  format, 1
//!      1       1  kind of custody; 1 = software, 2 = token, 3 = external key manager
//!      2      17  key id: 0 (UUID) or 1 (multi-Region), then 128 bits
//!     19      16  the first half of the material id
//!     35          body, as custody made it: for software random (32) | ciphertext | tag (16); for the others, see there
//! ```
//! The authenticated data are the 35 bytes of the header and the canonical bytes of the encryption context.

use crate::error::KmsError;
use crate::model::{EncryptionContext, KeyId, MaterialId};

/// The format of this module.
const FORMAT: u8 = 1;
/// The header in front of the body.
pub const HEADER_LEN: usize = 2 + KeyId::BYTES + SHORT_ID_LEN;
/// How much of the material id a blob carries: enough that the materials of one key never collide.
const SHORT_ID_LEN: usize = 16;
/// The longest blob that the API accepts.
pub const MAX_BLOB_LEN: usize = 6144;

/// What a blob says about itself before it is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobHeader {
    /// The kind of custody that made it.
    pub custody: u8,
    /// The key.
    pub key_id: KeyId,
    short_id: [u8; SHORT_ID_LEN],
}

impl BlobHeader {
    /// The header of a blob made now.
    pub fn new(custody: u8, key_id: KeyId, material_id: &MaterialId) -> Self {
        Self { custody, key_id, short_id: short_id(material_id) }
    }

    /// Whether `material_id` made this blob, as far as the header says.
    pub fn names(&self, material_id: &MaterialId) -> bool {
        self.short_id == short_id(material_id)
    }

    /// The bytes in front of the body.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0] = FORMAT;
        out[1] = self.custody;
        out[2..2 + KeyId::BYTES].copy_from_slice(&self.key_id.to_bytes());
        out[2 + KeyId::BYTES..].copy_from_slice(&self.short_id);
        out
    }

    /// What custody authenticates with the body.
    pub fn aad(&self, context: &EncryptionContext) -> Vec<u8> {
        let mut aad = self.to_bytes().to_vec();
        context.write_canonical(&mut aad);
        aad
    }

    /// Puts header and body together.
    pub fn assemble(&self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + body.len());
        out.extend_from_slice(&self.to_bytes());
        out.extend_from_slice(body);
        out
    }
}

fn short_id(material_id: &MaterialId) -> [u8; SHORT_ID_LEN] {
    let mut short = [0; SHORT_ID_LEN];
    short.copy_from_slice(&material_id.as_bytes()[..SHORT_ID_LEN]);
    short
}

/// Splits a blob into header and body. Total: everything that is not a blob is `InvalidCiphertextException`.
pub fn parse(blob: &[u8]) -> Result<(BlobHeader, &[u8]), KmsError> {
    let refused = KmsError::invalid_ciphertext;
    if blob.len() > MAX_BLOB_LEN {
        return Err(refused());
    }
    let (header, body) = blob.split_first_chunk::<HEADER_LEN>().ok_or_else(refused)?;
    let [FORMAT, custody, rest @ ..] = header else { return Err(refused()) };
    let (key_id, short_id) = rest.split_first_chunk::<{ KeyId::BYTES }>().ok_or_else(refused)?;
    let key_id = KeyId::from_bytes(key_id).ok_or_else(refused)?;
    let short_id = short_id.try_into().map_err(|_| refused())?;
    Ok((BlobHeader { custody: *custody, key_id, short_id }, body))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parsing_never_panics_and_never_guesses(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((header, body)) = parse(&bytes) {
                prop_assert_eq!(header.assemble(body), bytes);
            }
        }
    }

    #[test]
    fn header_round_trips() {
        let material_id = MaterialId::from_bytes([8; 32]);
        let header = BlobHeader::new(1, KeyId::generate_multi_region(), &material_id);
        let blob = header.assemble(b"body");
        assert_eq!(parse(&blob), Ok((header, &b"body"[..])));
        assert!(header.names(&material_id));
    }
}
