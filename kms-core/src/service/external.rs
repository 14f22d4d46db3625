//! Keys of this service as the external keys of another one: what the proxy API of AWS external key stores asks for.
//!
//! The API has its own form of a ciphertext, and this is how the one of a blob fits into it without loss. The IV and the
//! metadata together carry the 32 random bytes from which the key of the ciphertext is derived, and the first bytes of
//! the material id, so that what was encrypted before a rotation decrypts:
//! ```text
//! metadata   material id (4) | random, second half (16)
//! IV         random, first half (16)
//! ```
//! Metadata and IV decide over the key of the ciphertext, so that a change of either is found like one of the
//! ciphertext. The additional authenticated data of the caller, which may be any bytes, are in the encryption context by
//! their hash.

use std::sync::Arc;

use super::access::Purpose;
use super::audit_facts::{AnswerFacts, Facts, RequestFacts};
use super::crypto::algorithm_particular;
use super::{Core, EmbeddedKms};
use crate::blob::{self, BlobHeader};
use crate::error::KmsError;
use crate::model::*;
use crate::seal::derived;
use crate::store::KeyRecord;

/// The member of the encryption context that holds the hash of the caller's additional authenticated data.
const CONTEXT_NAME: &str = "kmsfs:xks-aad-sha256";
/// The longest plaintext: the API wants 4300 bytes at least.
const MAX_LEN: usize = 4400;
const MATERIAL_LEN: usize = 4;
const IV_LEN: usize = 16;
const METADATA_LEN: usize = MATERIAL_LEN + derived::RANDOM_LEN - IV_LEN;

/// A ciphertext in the form of the proxy API. Its length is that of the plaintext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalCiphertext {
    /// At most 20 bytes that the caller keeps for us.
    pub metadata: Vec<u8>,
    /// The IV.
    pub iv: Vec<u8>,
    /// The tag.
    pub tag: Vec<u8>,
    /// The ciphertext.
    pub ciphertext: Vec<u8>,
}

impl EmbeddedKms {
    /// Encrypts under a key as the external key of another service.
    pub fn encrypt_as_external_key(
        &self,
        caller: &Caller,
        key: &KeyRef,
        aad: &[u8],
        plaintext: &Plaintext,
    ) -> Result<ExternalCiphertext, KmsError> {
        let context = context(aad);
        let used = UsedKey { key, context: &context };
        self.core.audited("Encrypt", caller, &used, |core| {
            core.encrypt_as_external_key(caller, key, &context, plaintext)
        })
    }

    /// Decrypts what [`Self::encrypt_as_external_key`] made.
    pub fn decrypt_as_external_key(
        &self,
        caller: &Caller,
        key: &KeyRef,
        aad: &[u8],
        ciphertext: &ExternalCiphertext,
    ) -> Result<Plaintext, KmsError> {
        let context = context(aad);
        let used = UsedKey { key, context: &context };
        self.core.audited("Decrypt", caller, &used, |core| {
            core.decrypt_as_external_key(caller, key, &context, ciphertext)
        })
    }
}

/// What is recorded of a use.
struct UsedKey<'a> {
    key: &'a KeyRef,
    context: &'a EncryptionContext,
}

impl RequestFacts for UsedKey<'_> {
    fn facts(&self) -> Facts<'_> {
        Facts { key: Some(self.key), context: Some(self.context), ..Facts::default() }
    }
}

impl AnswerFacts for ExternalCiphertext {}
impl AnswerFacts for Plaintext {}

fn context(aad: &[u8]) -> EncryptionContext {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, aad);
    let digits: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    EncryptionContext::from([(CONTEXT_NAME, digits)])
}

impl Core {
    /// A key that may be used as an external one: its material is held here.
    fn external_key(
        &self,
        caller: &Caller,
        key: &KeyRef,
        action: Action,
        context: &EncryptionContext,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        let particulars = [algorithm_particular(EncryptionAlgorithm::SymmetricDefault)];
        let purpose = Purpose::cryptographic(action, context, &[]).with(&particulars);
        let record = self.key_for_data_keys(caller, key, &purpose)?;
        match record.origin {
            Origin::AwsKms | Origin::External => Ok(record),
            Origin::AwsCloudHsm | Origin::ExternalKeyStore => {
                Err(KmsError::wrong_origin(self.arn(&record.key_id), record.origin))
            }
        }
    }

    fn encrypt_as_external_key(
        &self,
        caller: &Caller,
        key: &KeyRef,
        context: &EncryptionContext,
        plaintext: &Plaintext,
    ) -> Result<ExternalCiphertext, KmsError> {
        if plaintext.is_empty() || plaintext.len() > MAX_LEN {
            return Err(KmsError::Validation(format!("A plaintext has 1 to {MAX_LEN} bytes.")));
        }
        let record = self.external_key(caller, key, Action::Encrypt, context)?;
        let (sealed, material_id) =
            self.seal(&record, caller, Action::Encrypt, context, plaintext.expose())?;
        let internal = || KmsError::Internal("a blob of this service has another form".into());
        let body = sealed.as_bytes().get(blob::HEADER_LEN..).ok_or_else(internal)?;
        let (random, rest) = body.split_first_chunk::<{ derived::RANDOM_LEN }>().ok_or_else(internal)?;
        let (ciphertext, tag) = rest.split_last_chunk::<{ derived::TAG_LEN }>().ok_or_else(internal)?;
        self.used(&record, UsageOperation::Encrypt);
        Ok(ExternalCiphertext {
            metadata: [&material_id.as_bytes()[..MATERIAL_LEN], &random[IV_LEN..]].concat(),
            iv: random[..IV_LEN].to_vec(),
            tag: tag.to_vec(),
            ciphertext: ciphertext.to_vec(),
        })
    }

    fn decrypt_as_external_key(
        &self,
        caller: &Caller,
        key: &KeyRef,
        context: &EncryptionContext,
        given: &ExternalCiphertext,
    ) -> Result<Plaintext, KmsError> {
        let record = self.external_key(caller, key, Action::Decrypt, context)?;
        if given.metadata.len() != METADATA_LEN
            || given.iv.len() != IV_LEN
            || given.tag.len() != derived::TAG_LEN
        {
            return Err(KmsError::invalid_ciphertext());
        }
        let (wanted, random) = given.metadata.split_at(MATERIAL_LEN);
        let body = [&given.iv[..], random, &given.ciphertext, &given.tag].concat();
        let kind = self.blob_kind(&record)?;
        // Four bytes of an id may be those of two materials; the tag decides.
        for material in &record.materials {
            let id = &material.material_id;
            if !id.as_bytes().starts_with(wanted) {
                continue;
            }
            let aad = BlobHeader::new(kind, record.key_id, id).aad(context);
            match self.open_material(&record, id)?.decrypt(&aad, &body) {
                Err(crate::custody::CustodyError::Unauthentic) => {}
                other => {
                    let plaintext = other?;
                    self.used(&record, UsageOperation::Decrypt);
                    return Ok(plaintext);
                }
            }
        }
        Err(KmsError::invalid_ciphertext())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::KeyService;

    #[test]
    fn what_was_encrypted_as_an_external_key_decrypts_after_a_rotation_and_nothing_else_does() {
        let kms = EmbeddedKms::in_memory().expect("starts");
        let caller = Caller::local(AccountId::local(), "alice");
        let made = kms.create_key(&caller, &CreateKeyRequest::default()).expect("creates");
        let key: KeyRef = made.key_metadata.key_id.into();
        let plaintext = Plaintext::new(vec![7; 4300]);
        let sealed = kms.encrypt_as_external_key(&caller, &key, b"aad", &plaintext).expect("encrypts");
        assert_eq!((sealed.ciphertext.len(), sealed.metadata.len(), sealed.iv.len()), (4300, 20, 16));
        kms.rotate_key_on_demand(&caller, &KeyOnlyRequest::new(made.key_metadata.key_id)).expect("rotates");
        let opened = |aad: &[u8], sealed: &ExternalCiphertext| {
            kms.decrypt_as_external_key(&caller, &key, aad, sealed)
                .map(|plaintext| plaintext.expose().to_vec())
        };
        assert_eq!(opened(b"aad", &sealed).as_deref(), Ok(plaintext.expose()));
        let refused = Err(KmsError::invalid_ciphertext());
        assert_eq!(opened(b"aae", &sealed), refused);
        let parts: [fn(&mut ExternalCiphertext) -> &mut Vec<u8>; 4] =
            [|it| &mut it.metadata, |it| &mut it.iv, |it| &mut it.tag, |it| &mut it.ciphertext];
        for part in parts {
            for place in [0, 3, 4, 15] {
                let mut changed = sealed.clone();
                part(&mut changed)[place] ^= 1;
                assert_eq!(opened(b"aad", &changed), refused);
            }
            let mut shorter = sealed.clone();
            part(&mut shorter).pop();
            assert_eq!(opened(b"aad", &shorter), refused);
        }
    }
}
