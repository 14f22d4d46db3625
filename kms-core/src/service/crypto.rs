//! Encryption and decryption under KMS keys.

use std::sync::Arc;

use super::Core;
use super::access::Purpose;
use super::custom_key_stores::key_user;
use crate::blob::{self, BlobHeader};
use crate::custody::OpenMaterial;
use crate::error::KmsError;
use crate::model::*;
use crate::policy::{ConditionKey, Value};
use crate::store::KeyRecord;

/// The longest plaintext of `Encrypt`, and the longest message of a signature or a MAC.
const MAX_PLAINTEXT_LEN: usize = 4096;

/// A ciphertext that was opened.
struct Opened {
    record: Arc<KeyRecord>,
    /// Only symmetric ciphertexts say which material made them.
    material_id: Option<MaterialId>,
    algorithm: EncryptionAlgorithm,
    plaintext: Plaintext,
}

/// What a caller presents to have a ciphertext opened.
struct Presented<'a> {
    blob: &'a CiphertextBlob,
    context: &'a EncryptionContext,
    key_id: Option<&'a KeyRef>,
    algorithm: EncryptionAlgorithm,
    action: Action,
    grant_tokens: &'a [String],
    /// Of a re-encryption, whether it stays under its key.
    on_same_key: Option<bool>,
    dry_run: bool,
}

impl<'a> Presented<'a> {
    /// What conditions may ask about opening it.
    fn particulars(&self) -> Vec<(ConditionKey, Value<'a>)> {
        let algorithm = algorithm_particular(self.algorithm);
        let same = self.on_same_key.map(|same| (ConditionKey::ReEncryptOnSameKey, Value::Bool(same)));
        std::iter::once(algorithm).chain(same).collect()
    }
}

/// A key that may encrypt now for a caller, and how it will.
struct Sealing<'a> {
    record: Arc<KeyRecord>,
    algorithm: EncryptionAlgorithm,
    context: &'a EncryptionContext,
}

impl Core {
    pub(super) fn encrypt(
        &self,
        caller: &Caller,
        request: &EncryptRequest,
    ) -> Result<EncryptResponse, KmsError> {
        check_message(&request.plaintext, "plaintext")?;
        let context = &request.encryption_context;
        let algorithm = request.encryption_algorithm.unwrap_or(EncryptionAlgorithm::SymmetricDefault);
        let particulars = [algorithm_particular(algorithm)];
        let purpose =
            Purpose::cryptographic(Action::Encrypt, context, &request.grant_tokens).with(&particulars);
        let sealing = self.sealing(caller, &request.key_id, &purpose, context, algorithm)?;
        check_fits(&sealing, &request.plaintext)?;
        if request.dry_run {
            return Err(KmsError::dry_run());
        }
        let (ciphertext_blob, _) =
            self.seal_as(&sealing, caller, Action::Encrypt, request.plaintext.expose())?;
        self.used(&sealing.record, UsageOperation::Encrypt);
        Ok(EncryptResponse {
            ciphertext_blob,
            key_id: self.arn(&sealing.record.key_id),
            encryption_algorithm: sealing.algorithm,
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
                algorithm: request.encryption_algorithm.unwrap_or(EncryptionAlgorithm::SymmetricDefault),
                action: Action::Decrypt,
                grant_tokens: &request.grant_tokens,
                on_same_key: None,
                dry_run: request.dry_run,
            },
        )?;
        self.used(&opened.record, UsageOperation::Decrypt);
        Ok(DecryptResponse {
            key_id: self.arn(&opened.record.key_id),
            plaintext: opened.plaintext,
            encryption_algorithm: opened.algorithm,
            key_material_id: opened.material_id,
        })
    }

    pub(super) fn re_encrypt(
        &self,
        caller: &Caller,
        request: &ReEncryptRequest,
    ) -> Result<ReEncryptResponse, KmsError> {
        let context = &request.destination_encryption_context;
        let on_same_key = self.stays_under_its_key(caller, request)?;
        let default = EncryptionAlgorithm::SymmetricDefault;
        let algorithm = request.destination_encryption_algorithm.unwrap_or(default);
        let particulars =
            [algorithm_particular(algorithm), (ConditionKey::ReEncryptOnSameKey, Value::Bool(on_same_key))];
        let purpose =
            Purpose::cryptographic(Action::ReEncryptTo, context, &request.grant_tokens).with(&particulars);
        let sealing = self.sealing(caller, &request.destination_key_id, &purpose, context, algorithm)?;
        let opened = self.open(
            caller,
            &Presented {
                blob: &request.ciphertext_blob,
                context: &request.source_encryption_context,
                key_id: request.source_key_id.as_ref(),
                algorithm: request.source_encryption_algorithm.unwrap_or(default),
                action: Action::ReEncryptFrom,
                grant_tokens: &request.grant_tokens,
                on_same_key: Some(on_same_key),
                dry_run: request.dry_run,
            },
        )?;
        check_fits(&sealing, &opened.plaintext)?;
        let (ciphertext_blob, material_id) =
            self.seal_as(&sealing, caller, Action::ReEncryptTo, opened.plaintext.expose())?;
        self.used(&opened.record, UsageOperation::ReEncrypt);
        self.used(&sealing.record, UsageOperation::ReEncrypt);
        Ok(ReEncryptResponse {
            ciphertext_blob,
            source_key_id: self.arn(&opened.record.key_id),
            key_id: self.arn(&sealing.record.key_id),
            source_encryption_algorithm: opened.algorithm,
            destination_encryption_algorithm: sealing.algorithm,
            source_key_material_id: opened.material_id,
            destination_key_material_id: material_id,
        })
    }

    /// Whether a re-encryption is to the key that made the ciphertext. One of a public key names it only in the
    /// request.
    fn stays_under_its_key(&self, caller: &Caller, request: &ReEncryptRequest) -> Result<bool, KmsError> {
        let source = match &request.source_key_id {
            Some(key_ref) => Some(self.resolve(caller, key_ref)?),
            None => blob::parse(request.ciphertext_blob.as_bytes()).ok().map(|(header, _)| header.key_id),
        };
        Ok(source == Some(self.resolve(caller, &request.destination_key_id)?))
    }

    /// A key that may encrypt with `algorithm` now for this caller.
    fn sealing<'a>(
        &self,
        caller: &Caller,
        key_ref: &KeyRef,
        purpose: &Purpose<'_>,
        context: &'a EncryptionContext,
        algorithm: EncryptionAlgorithm,
    ) -> Result<Sealing<'a>, KmsError> {
        let record = self.key_for_encryption(caller, key_ref, purpose)?;
        check_algorithm(&record, algorithm, context)?;
        Ok(Sealing { record, algorithm, context })
    }

    /// A key that may wrap data keys now for this caller.
    pub(super) fn key_for_data_keys(
        &self,
        caller: &Caller,
        key_ref: &KeyRef,
        purpose: &Purpose<'_>,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        let record = self.key_for_encryption(caller, key_ref, purpose)?;
        check_algorithm(&record, EncryptionAlgorithm::SymmetricDefault, &EncryptionContext::new())?;
        Ok(record)
    }

    fn key_for_encryption(
        &self,
        caller: &Caller,
        key_ref: &KeyRef,
        purpose: &Purpose<'_>,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        if let Some(context) = purpose.encryption_context {
            context.check_size()?;
        }
        let record = self.use_key(caller, key_ref, purpose)?;
        self.check_usage(&record, KeyUsage::EncryptDecrypt, purpose.action)?;
        Ok(record)
    }

    /// Refuses a key whose usage is another one, in the words of the operation that the action stands for.
    pub(super) fn check_usage(
        &self,
        record: &KeyRecord,
        usage: KeyUsage,
        action: Action,
    ) -> Result<(), KmsError> {
        if record.key_usage != usage {
            let arn = self.arn(&record.key_id);
            return Err(KmsError::wrong_usage(arn, record.key_usage, action.operation()));
        }
        Ok(())
    }

    /// Encrypts as it was asked for. Names the material of a symmetric key.
    fn seal_as(
        &self,
        sealing: &Sealing<'_>,
        caller: &Caller,
        action: Action,
        plaintext: &[u8],
    ) -> Result<(CiphertextBlob, Option<MaterialId>), KmsError> {
        match sealing.algorithm {
            EncryptionAlgorithm::SymmetricDefault => {
                let (blob, material_id) =
                    self.seal(&sealing.record, caller, action, sealing.context, plaintext)?;
                Ok((blob, Some(material_id)))
            }
            EncryptionAlgorithm::RsaesOaepSha1
            | EncryptionAlgorithm::RsaesOaepSha256
            | EncryptionAlgorithm::Sm2pke => {
                let material = self.current(&sealing.record)?;
                Ok((material.encrypt_to_public(sealing.algorithm, plaintext)?.into(), None))
            }
        }
    }

    /// Encrypts under the current material of a symmetric key.
    pub(super) fn seal(
        &self,
        record: &KeyRecord,
        caller: &Caller,
        action: Action,
        context: &EncryptionContext,
        plaintext: &[u8],
    ) -> Result<(CiphertextBlob, MaterialId), KmsError> {
        let material_id = current_id(record)?;
        let material = self.open_material(record, &material_id)?;
        let header = BlobHeader::new(self.blob_kind(record)?, record.key_id, &material_id);
        let aad = header.aad(context);
        let body = match &record.custom_key_store {
            None => material.encrypt(&aad, plaintext)?,
            Some(_) => {
                let arn = self.arn(&record.key_id).to_string();
                material.encrypt_for(&key_user(caller, action, &arn), &aad, plaintext)?
            }
        };
        Ok((CiphertextBlob(header.assemble(&body)), material_id))
    }

    /// The current material of a key, ready for use.
    pub(super) fn current(&self, record: &KeyRecord) -> Result<Arc<dyn OpenMaterial>, KmsError> {
        self.open_material(record, &current_id(record)?)
    }

    fn open(&self, caller: &Caller, presented: &Presented<'_>) -> Result<Opened, KmsError> {
        presented.context.check_size()?;
        // A key that was named must exist, whatever the blob says.
        let named = match presented.key_id {
            Some(key_ref) => {
                let key_id = self.resolve(caller, key_ref)?;
                Some(self.load(&key_id)?)
            }
            None => None,
        };
        let symmetric = presented.algorithm == EncryptionAlgorithm::SymmetricDefault;
        // A blob of this service says whose it is, so that another key is the wrong one, of whatever kind it is.
        let made_by = blob::parse(presented.blob.as_bytes()).ok().map(|(header, _)| header.key_id);
        if let (true, Some(named), Some(made_by)) = (symmetric, &named, made_by)
            && named.key_id != made_by
        {
            return Err(KmsError::incorrect_key());
        }
        match named {
            Some(named) if !symmetric || named.key_spec != KeySpec::SymmetricDefault => {
                self.open_with_private(caller, presented, &named.key_id)
            }
            // A ciphertext of a public key does not name it.
            None if !symmetric => {
                Err(KmsError::Validation(format!("KeyId is required for algorithm {}.", presented.algorithm)))
            }
            named => self.open_blob(caller, presented, named.map(|record| record.key_id)),
        }
    }

    /// Opens what was encrypted under the public key of the named key.
    fn open_with_private(
        &self,
        caller: &Caller,
        presented: &Presented<'_>,
        key_id: &KeyId,
    ) -> Result<Opened, KmsError> {
        let particulars = presented.particulars();
        let purpose = Purpose::cryptographic(presented.action, presented.context, presented.grant_tokens)
            .with(&particulars);
        let record = self.use_resolved(caller, key_id, &purpose, presented.key_id)?;
        self.check_usage(&record, KeyUsage::EncryptDecrypt, presented.action)?;
        check_algorithm(&record, presented.algorithm, presented.context)?;
        if presented.dry_run {
            return Err(KmsError::dry_run());
        }
        let material = self.current(&record)?;
        let plaintext = material.decrypt_with_private(presented.algorithm, presented.blob.as_bytes())?;
        Ok(Opened { record, material_id: None, algorithm: presented.algorithm, plaintext })
    }

    /// Opens a blob of this service, which names its key.
    fn open_blob(
        &self,
        caller: &Caller,
        presented: &Presented<'_>,
        named: Option<KeyId>,
    ) -> Result<Opened, KmsError> {
        let (header, body) = blob::parse(presented.blob.as_bytes())?;
        if named.is_some_and(|named| named != header.key_id) {
            return Err(KmsError::incorrect_key());
        }
        let record = self.key_of_blob(caller, presented, &header)?;
        if presented.dry_run {
            return Err(KmsError::dry_run());
        }
        if header.custody != self.blob_kind(&record)? {
            return Err(KmsError::invalid_ciphertext());
        }
        let material_id = record
            .materials
            .iter()
            .map(|material| material.material_id)
            .find(|material_id| header.names(material_id))
            .ok_or_else(KmsError::invalid_ciphertext)?;
        let material = self.open_material(&record, &material_id)?;
        let aad = header.aad(presented.context);
        let plaintext = match &record.custom_key_store {
            None => material.decrypt(&aad, body)?,
            Some(_) => {
                let arn = self.arn(&record.key_id).to_string();
                material.decrypt_for(&key_user(caller, presented.action, &arn), &aad, body)?
            }
        };
        Ok(Opened { record, material_id: Some(material_id), algorithm: presented.algorithm, plaintext })
    }

    /// The key that a blob names. A caller who did not name it too does not learn whether it exists.
    fn key_of_blob(
        &self,
        caller: &Caller,
        presented: &Presented<'_>,
        header: &BlobHeader,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        let particulars = presented.particulars();
        let purpose = Purpose::cryptographic(presented.action, presented.context, presented.grant_tokens)
            .with(&particulars);
        let found = self.use_resolved(caller, &header.key_id, &purpose, presented.key_id);
        let record = match (found, presented.key_id) {
            (Err(KmsError::NotFound(_) | KmsError::AccessDenied(_)), None) => {
                return Err(KmsError::ciphertext_key_inaccessible());
            }
            (found, _) => found?,
        };
        self.check_usage(&record, KeyUsage::EncryptDecrypt, presented.action)?;
        // A header that somebody wrote by hand can name any key.
        if record.key_spec != KeySpec::SymmetricDefault {
            return Err(KmsError::invalid_ciphertext());
        }
        Ok(record)
    }
}

/// What conditions see of the encryption algorithm, in all operations that have one.
pub(super) fn algorithm_particular(algorithm: EncryptionAlgorithm) -> (ConditionKey, Value<'static>) {
    (ConditionKey::EncryptionAlgorithm, algorithm.as_str().into())
}

fn current_id(record: &KeyRecord) -> Result<MaterialId, KmsError> {
    record.current_material().map(|material| material.material_id).ok_or_else(|| {
        KmsError::CorruptRecord(format!("the stored record of key {} has no current material", record.key_id))
    })
}

/// Refuses a message that is empty or too long. It may be a secret, so it is not shown.
pub(super) fn check_message(message: &Plaintext, member: &str) -> Result<(), KmsError> {
    let bound = match message.len() {
        0 => format_args!("have length greater than or equal to 1"),
        1..=MAX_PLAINTEXT_LEN => return Ok(()),
        _ => format_args!("have length less than or equal to {MAX_PLAINTEXT_LEN}"),
    };
    Err(KmsError::constraint(None, member, bound))
}

/// Refuses an algorithm that the key does not have, and a context that the algorithm cannot authenticate.
fn check_algorithm(
    record: &KeyRecord,
    algorithm: EncryptionAlgorithm,
    context: &EncryptionContext,
) -> Result<(), KmsError> {
    if !record.key_spec.encryption_algorithms().contains(&algorithm) {
        return Err(KmsError::wrong_algorithm(algorithm, record.key_spec));
    }
    if algorithm != EncryptionAlgorithm::SymmetricDefault && !context.is_empty() {
        return Err(KmsError::Validation(
            "EncryptionContext is not supported for asymmetric encryption algorithms.".into(),
        ));
    }
    Ok(())
}

/// Refuses a plaintext that is longer than what the modulus leaves after the padding (RFC 8017, 7.1.1).
fn check_fits(sealing: &Sealing<'_>, plaintext: &Plaintext) -> Result<(), KmsError> {
    let (algorithm, spec) = (sealing.algorithm, sealing.record.key_spec);
    let max = match (algorithm, spec) {
        (EncryptionAlgorithm::RsaesOaepSha1, KeySpec::Rsa2048) => 214,
        (EncryptionAlgorithm::RsaesOaepSha1, KeySpec::Rsa3072) => 342,
        (EncryptionAlgorithm::RsaesOaepSha1, KeySpec::Rsa4096) => 470,
        (EncryptionAlgorithm::RsaesOaepSha256, KeySpec::Rsa2048) => 190,
        (EncryptionAlgorithm::RsaesOaepSha256, KeySpec::Rsa3072) => 318,
        (EncryptionAlgorithm::RsaesOaepSha256, KeySpec::Rsa4096) => 446,
        _ => MAX_PLAINTEXT_LEN,
    };
    if plaintext.len() > max {
        return Err(KmsError::Validation(format!(
            "Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {max} bytes."
        )));
    }
    Ok(())
}
