//! Encryption and decryption under KMS keys.

use std::sync::Arc;

use super::Core;
use super::access::Purpose;
use crate::blob::{self, BlobHeader};
use crate::error::KmsError;
use crate::model::*;
use crate::policy::{ConditionKey, Value};
use crate::store::KeyRecord;

/// The longest plaintext of `Encrypt`.
const MAX_PLAINTEXT_LEN: usize = 4096;

/// A blob that was opened.
struct Opened {
    record: Arc<KeyRecord>,
    material_id: MaterialId,
    plaintext: Plaintext,
}

/// What a caller presents to have a blob opened.
struct Presented<'a> {
    blob: &'a CiphertextBlob,
    context: &'a EncryptionContext,
    key_id: Option<&'a KeyRef>,
    algorithm: Option<EncryptionAlgorithm>,
    action: Action,
    grant_tokens: &'a [String],
    /// Of a re-encryption, whether it stays under its key.
    on_same_key: Option<bool>,
    dry_run: bool,
}

impl Core {
    pub(super) fn encrypt(
        &self,
        caller: &Caller,
        request: &EncryptRequest,
    ) -> Result<EncryptResponse, KmsError> {
        check_plaintext(&request.plaintext)?;
        let context = &request.encryption_context;
        let particulars = [algorithm_particular(request.encryption_algorithm)];
        let purpose =
            Purpose::cryptographic(Action::Encrypt, context, &request.grant_tokens).with(&particulars);
        let record = self.key_for_encryption(caller, &request.key_id, &purpose, "Encrypt")?;
        check_algorithm(&record, request.encryption_algorithm)?;
        if request.dry_run {
            return Err(KmsError::dry_run());
        }
        let (ciphertext_blob, _) = self.seal(&record, context, request.plaintext.expose())?;
        Ok(EncryptResponse {
            ciphertext_blob,
            key_id: self.arn(&record.key_id),
            encryption_algorithm: EncryptionAlgorithm::SymmetricDefault,
        })
    }

    pub(super) fn decrypt(
        &self,
        caller: &Caller,
        request: &DecryptRequest,
    ) -> Result<DecryptResponse, KmsError> {
        let opened = self.open(
            caller,
            &Presented {
                blob: &request.ciphertext_blob,
                context: &request.encryption_context,
                key_id: request.key_id.as_ref(),
                algorithm: request.encryption_algorithm,
                action: Action::Decrypt,
                grant_tokens: &request.grant_tokens,
                on_same_key: None,
                dry_run: request.dry_run,
            },
        )?;
        Ok(DecryptResponse {
            key_id: self.arn(&opened.record.key_id),
            plaintext: opened.plaintext,
            encryption_algorithm: EncryptionAlgorithm::SymmetricDefault,
            key_material_id: Some(opened.material_id),
        })
    }

    pub(super) fn re_encrypt(
        &self,
        caller: &Caller,
        request: &ReEncryptRequest,
    ) -> Result<ReEncryptResponse, KmsError> {
        let context = &request.destination_encryption_context;
        let source = blob::parse(request.ciphertext_blob.as_bytes()).ok().map(|(header, _)| header.key_id);
        let on_same_key = source == Some(self.resolve(caller, &request.destination_key_id)?);
        let particulars = [
            algorithm_particular(request.destination_encryption_algorithm),
            (ConditionKey::ReEncryptOnSameKey, Value::Bool(on_same_key)),
        ];
        let purpose =
            Purpose::cryptographic(Action::ReEncryptTo, context, &request.grant_tokens).with(&particulars);
        let destination =
            self.key_for_encryption(caller, &request.destination_key_id, &purpose, "ReEncrypt")?;
        check_algorithm(&destination, request.destination_encryption_algorithm)?;
        let opened = self.open(
            caller,
            &Presented {
                blob: &request.ciphertext_blob,
                context: &request.source_encryption_context,
                key_id: request.source_key_id.as_ref(),
                algorithm: request.source_encryption_algorithm,
                action: Action::ReEncryptFrom,
                grant_tokens: &request.grant_tokens,
                on_same_key: Some(on_same_key),
                dry_run: request.dry_run,
            },
        )?;
        let (ciphertext_blob, material_id) = self.seal(&destination, context, opened.plaintext.expose())?;
        Ok(ReEncryptResponse {
            ciphertext_blob,
            source_key_id: self.arn(&opened.record.key_id),
            key_id: self.arn(&destination.key_id),
            source_encryption_algorithm: EncryptionAlgorithm::SymmetricDefault,
            destination_encryption_algorithm: EncryptionAlgorithm::SymmetricDefault,
            source_key_material_id: Some(opened.material_id),
            destination_key_material_id: Some(material_id),
        })
    }

    /// A key that may encrypt now for this caller.
    pub(super) fn key_for_encryption(
        &self,
        caller: &Caller,
        key_ref: &KeyRef,
        purpose: &Purpose<'_>,
        operation: &str,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        if let Some(context) = purpose.encryption_context {
            context.check_size()?;
        }
        let record = self.use_key(caller, key_ref, purpose)?;
        self.check_usage(&record, operation)?;
        Ok(record)
    }

    fn check_usage(&self, record: &KeyRecord, operation: &str) -> Result<(), KmsError> {
        if record.key_usage != KeyUsage::EncryptDecrypt {
            return Err(KmsError::wrong_usage(self.arn(&record.key_id), record.key_usage, operation));
        }
        Ok(())
    }

    /// Encrypts under the current material of a key.
    pub(super) fn seal(
        &self,
        record: &KeyRecord,
        context: &EncryptionContext,
        plaintext: &[u8],
    ) -> Result<(CiphertextBlob, MaterialId), KmsError> {
        let material_id =
            record.current_material().map(|material| material.material_id).ok_or_else(|| {
                KmsError::CorruptRecord(format!(
                    "the stored record of key {} has no current material",
                    record.key_id
                ))
            })?;
        let material = self.open_material(record, &material_id)?;
        let header =
            BlobHeader::new(self.custody.of(record.origin)?.blob_kind(), record.key_id, &material_id);
        let body = material.encrypt(&header.aad(context), plaintext)?;
        Ok((CiphertextBlob(header.assemble(&body)), material_id))
    }

    fn open(&self, caller: &Caller, presented: &Presented<'_>) -> Result<Opened, KmsError> {
        presented.context.check_size()?;
        // A key that was named must exist, whatever the blob says.
        let named = match presented.key_id {
            Some(key_ref) => {
                let key_id = self.resolve(caller, key_ref)?;
                self.load(&key_id)?;
                Some(key_id)
            }
            None => None,
        };
        let (header, body) = blob::parse(presented.blob.as_bytes())?;
        if named.is_some_and(|named| named != header.key_id) {
            return Err(KmsError::incorrect_key());
        }
        let record = self.key_of_blob(caller, presented, &header)?;
        if presented.dry_run {
            return Err(KmsError::dry_run());
        }
        if header.custody != self.custody.of(record.origin)?.blob_kind() {
            return Err(KmsError::invalid_ciphertext());
        }
        let material_id = record
            .materials
            .iter()
            .map(|material| material.material_id)
            .find(|material_id| header.names(material_id))
            .ok_or_else(KmsError::invalid_ciphertext)?;
        let plaintext =
            self.open_material(&record, &material_id)?.decrypt(&header.aad(presented.context), body)?;
        Ok(Opened { record, material_id, plaintext })
    }

    /// The key that a blob names. A caller who did not name it too does not learn whether it exists.
    fn key_of_blob(
        &self,
        caller: &Caller,
        presented: &Presented<'_>,
        header: &BlobHeader,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        let algorithm = algorithm_particular(presented.algorithm);
        let same = presented.on_same_key.map(|same| (ConditionKey::ReEncryptOnSameKey, Value::Bool(same)));
        let particulars: Vec<_> = std::iter::once(algorithm).chain(same).collect();
        let purpose = Purpose::cryptographic(presented.action, presented.context, presented.grant_tokens)
            .with(&particulars);
        let found = self.use_resolved(caller, &header.key_id, &purpose, presented.key_id);
        let record = match (found, presented.key_id) {
            (Err(KmsError::NotFound(_) | KmsError::AccessDenied(_)), None) => {
                return Err(KmsError::ciphertext_key_inaccessible());
            }
            (found, _) => found?,
        };
        let operation = if presented.action == Action::Decrypt { "Decrypt" } else { "ReEncrypt" };
        self.check_usage(&record, operation)?;
        check_algorithm(&record, presented.algorithm)?;
        Ok(record)
    }
}

/// What conditions see of the encryption algorithm, in all operations that have one.
pub(super) fn algorithm_particular(algorithm: Option<EncryptionAlgorithm>) -> (ConditionKey, Value<'static>) {
    let algorithm = algorithm.unwrap_or(EncryptionAlgorithm::SymmetricDefault);
    (ConditionKey::EncryptionAlgorithm, algorithm.as_str().into())
}

fn check_plaintext(plaintext: &Plaintext) -> Result<(), KmsError> {
    let bound = match plaintext.len() {
        0 => format_args!("have length greater than or equal to 1"),
        1..=MAX_PLAINTEXT_LEN => return Ok(()),
        _ => format_args!("have length less than or equal to {MAX_PLAINTEXT_LEN}"),
    };
    Err(KmsError::constraint(None, "plaintext", bound))
}

fn check_algorithm(record: &KeyRecord, algorithm: Option<EncryptionAlgorithm>) -> Result<(), KmsError> {
    match algorithm {
        None | Some(EncryptionAlgorithm::SymmetricDefault) => Ok(()),
        Some(other) => Err(KmsError::InvalidKeyUsage(format!(
            "Algorithm {other} is incompatible with key spec {}.",
            record.key_spec
        ))),
    }
}
