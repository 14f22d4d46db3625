//! The calls to the key management service, each in its encryption context.

use std::sync::Arc;

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::{
    Caller, CiphertextBlob, DecryptRequest, EncryptionContext, GenerateDataKeyRequest,
    GenerateDataKeyResponse, KeyRef, ReEncryptRequest,
};

use super::record::unix_seconds;
use super::{KeyError, NewFileKeys, slot};
use crate::crypto::{DataKey, FileKeys, SecretKey, random};
use crate::format::{
    DomainId, DomainRecord, FileId, Identity, KeyReference, KeySlot, Recipient, RecipientKind, VolumeId,
};

/// Suite 1 in the encryption context: AES-256-GCM-SIV, HKDF-SHA-256, HMAC-SHA-256, committing header.
const SUITE: &str = "1";

/// What a refusal is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject {
    /// A file's data key.
    File(FileId),
    /// A domain's secret.
    Domain(DomainId),
}

impl Subject {
    /// The blob does not open, or not to what was wrapped.
    pub(super) fn tampered(self) -> KeyError {
        match self {
            Self::File(file) => KeyError::Tampered { file },
            Self::Domain(domain) => KeyError::DomainTampered { domain },
        }
    }

    /// What the service's answer means for the subject's KMS key `key`.
    pub(super) fn refused(self, key: &str, source: KmsError) -> KeyError {
        let key = key.to_owned();
        match source {
            KmsError::InvalidCiphertext(_) | KmsError::IncorrectKey(_) => self.tampered(),
            KmsError::AccessDenied(_) | KmsError::NotAuthorized(_) => KeyError::Denied { key, source },
            _ if source.is_key_unusable() => KeyError::Unusable { key, source },
            // The blob of a header is what the service finds fault with; for a domain it may be the key.
            KmsError::Validation(_) if matches!(self, Self::File(_)) => self.tampered(),
            KmsError::InvalidKeyUsage(_) | KmsError::UnsupportedOperation(_) | KmsError::Validation(_) => {
                KeyError::Unusable { key, source }
            }
            _ => KeyError::Service(source),
        }
    }
}

/// A secret and its wrap.
#[derive(Debug)]
pub(super) struct WrappedSecret {
    pub(super) secret: SecretKey,
    pub(super) wrapped: Vec<u8>,
    pub(super) arn: String,
}

/// The service, who calls it, and the volume that every context names.
pub(super) struct Wrapper {
    pub(super) service: Arc<dyn KeyService>,
    pub(super) caller: Caller,
    pub(super) volume_id: VolumeId,
}

/// Reads a key's ARN, an id or an alias.
pub(super) fn parse_key(key: &str) -> Result<KeyRef, KeyError> {
    key.parse().map_err(|source| KeyError::Unusable { key: key.to_owned(), source })
}

impl Wrapper {
    fn context(&self, domain: DomainId, purpose: &str) -> EncryptionContext {
        EncryptionContext::from([
            ("kmsfs:volume", self.volume_id.to_string()),
            ("kmsfs:domain", domain.to_string()),
            ("kmsfs:purpose", purpose.to_owned()),
            ("kmsfs:suite", SUITE.to_owned()),
        ])
    }

    fn secret_context(&self, domain: DomainId) -> EncryptionContext {
        self.context(domain, "domain-secrets")
    }

    fn file_context(&self, identity: &Identity) -> EncryptionContext {
        let mut context = self.context(identity.domain_id, "data-key");
        context.insert("kmsfs:file", identity.file_id.to_string());
        context
    }

    /// A new secret for `domain` under `key`.
    pub(super) fn new_secret(&self, domain: DomainId, key: &KeyRef) -> Result<WrappedSecret, KeyError> {
        let subject = Subject::Domain(domain);
        let request = GenerateDataKeyRequest::aes_256(key.clone(), self.secret_context(domain));
        let answer = self.service.generate_data_key(&self.caller, &request);
        let answer = answer.map_err(|source| subject.refused(key.typed(), source))?;
        let secret = secret_of(&answer).ok_or_else(|| subject.tampered())?;
        let arn = answer.key_id.to_string();
        Ok(WrappedSecret { secret, wrapped: answer.ciphertext_blob.into_bytes(), arn })
    }

    /// The secret of `domain`, unwrapped with `key`.
    pub(super) fn open_secret(&self, domain: DomainId, key: &KeyReference) -> Result<SecretKey, KeyError> {
        let context = self.secret_context(domain);
        self.decrypt(Subject::Domain(domain), &key.arn, &key.wrapped_secret, context)
    }

    /// The secret of `domain` under `target` instead of `source`, proven by unwrapping it again.
    pub(super) fn move_secret(
        &self,
        domain: DomainId,
        source: &KeyReference,
        target: &KeyRef,
    ) -> Result<WrappedSecret, KeyError> {
        let subject = Subject::Domain(domain);
        let context = self.secret_context(domain);
        let (wrapped, arn) =
            self.re_encrypt(subject, &source.arn, &source.wrapped_secret, &context, target)?;
        let secret = self.decrypt(subject, &arn, &wrapped, context)?;
        Ok(WrappedSecret { secret, wrapped, arn })
    }

    fn re_encrypt(
        &self,
        subject: Subject,
        source_arn: &str,
        blob: &[u8],
        context: &EncryptionContext,
        target: &KeyRef,
    ) -> Result<(Vec<u8>, String), KeyError> {
        let blob = CiphertextBlob::from(blob);
        let mut request = ReEncryptRequest::new(blob, context.clone(), target.clone());
        request.source_key_id = Some(parse_key(source_arn)?);
        let answer = self.service.re_encrypt(&self.caller, &request).map_err(|source| {
            // The answer does not say which of the two keys refused; the source has just been in use.
            subject.refused(target.typed(), source)
        })?;
        if answer.source_key_id.as_str() != source_arn {
            return Err(subject.tampered());
        }
        Ok((answer.ciphertext_blob.into_bytes(), answer.key_id.to_string()))
    }

    /// Unwraps 32 bytes. The key is named in the request and compared with the answer: a blob that anybody made
    /// under a key of their own is never believed.
    fn decrypt(
        &self,
        subject: Subject,
        arn: &str,
        blob: &[u8],
        context: EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        let key = arn.parse::<KeyRef>().map_err(|_| subject.tampered())?;
        let request = DecryptRequest::new(CiphertextBlob::from(blob), context).with_key(key);
        let answer = self.service.decrypt(&self.caller, &request);
        let answer = answer.map_err(|source| subject.refused(arn, source))?;
        if answer.key_id.as_str() != arn {
            return Err(subject.tampered());
        }
        SecretKey::from_slice(answer.plaintext.expose()).ok_or_else(|| subject.tampered())
    }

    /// Keys for `count` new files of the domain of `record`, made in one call. The list ends at the first error.
    pub(super) fn new_files(
        &self,
        record: &DomainRecord,
        count: usize,
    ) -> Vec<Result<NewFileKeys, KeyError>> {
        let Some(key) = record.keys.first() else { return Vec::new() };
        let key_ref = match parse_key(&key.arn) {
            Ok(key_ref) => key_ref,
            Err(error) => return vec![Err(error)],
        };
        let identities: Vec<Identity> = (0..count)
            .map(|_| Identity {
                volume_id: self.volume_id,
                file_id: FileId(random::bytes()),
                domain_id: record.domain_id,
            })
            .collect();
        let requests: Vec<GenerateDataKeyRequest> = identities
            .iter()
            .map(|identity| GenerateDataKeyRequest::aes_256(key_ref.clone(), self.file_context(identity)))
            .collect();
        let answers = self.service.generate_data_keys(&self.caller, &requests);
        let made = identities.into_iter().zip(answers);
        made.map(|(identity, answer)| new_file(identity, record.epoch, key, answer)).collect()
    }

    /// The keys of a file from one of its slots, with the key of the record that opened it.
    pub(super) fn open_slot(
        &self,
        record: &DomainRecord,
        identity: &Identity,
        slot: &KeySlot,
    ) -> Result<(FileKeys, [u8; 16]), KeyError> {
        let subject = Subject::File(identity.file_id);
        let foreign = KeyError::ForeignKey { file: identity.file_id, domain: identity.domain_id };
        let mut error = None;
        for recipient in slot.recipients.iter().filter(|recipient| recipient.kind == RecipientKind::Kms) {
            let Some(key) = record.keys.iter().find(|key| key.key_id == recipient.key_id) else {
                error.get_or_insert_with(|| foreign.clone());
                continue;
            };
            let context = self.file_context(identity);
            match self.decrypt(subject, &key.arn, &recipient.payload, context) {
                Ok(secret) => {
                    let keys = derive(secret, identity);
                    let sound = slot::is_authentic(identity, slot, &keys);
                    return if sound { Ok((keys, key.key_id)) } else { Err(subject.tampered()) };
                }
                Err(refused) => error = Some(refused),
            }
        }
        Err(error.unwrap_or_else(|| subject.tampered()))
    }

    /// The wrap of `slot` under the first key of `record` instead, and the keys that it opens to, unwrapped anew.
    pub(super) fn move_slot(
        &self,
        record: &DomainRecord,
        identity: &Identity,
        slot: &KeySlot,
    ) -> Result<(Recipient, FileKeys), KeyError> {
        let subject = Subject::File(identity.file_id);
        let foreign = KeyError::ForeignKey { file: identity.file_id, domain: identity.domain_id };
        let wraps = slot.recipients.iter().filter(|recipient| recipient.kind == RecipientKind::Kms);
        let (old, source) = wraps
            .filter_map(|wrap| Some((wrap, record.keys.iter().find(|key| key.key_id == wrap.key_id)?)))
            .next()
            .ok_or(foreign)?;
        let target = record.keys.first().ok_or(KeyError::DomainTampered { domain: record.domain_id })?;
        let context = self.file_context(identity);
        let (payload, arn) =
            self.re_encrypt(subject, &source.arn, &old.payload, &context, &parse_key(&target.arn)?)?;
        if arn != target.arn {
            return Err(subject.tampered());
        }
        let secret = self.decrypt(subject, &arn, &payload, context)?;
        let epoch = record.epoch;
        let new = Recipient { kind: RecipientKind::Kms, epoch, key_id: target.key_id, payload };
        Ok((new, derive(secret, identity)))
    }
}

fn derive(secret: SecretKey, identity: &Identity) -> FileKeys {
    FileKeys::derive(&DataKey::new(secret), &identity.volume_id.0, &identity.file_id.0)
}

fn secret_of(answer: &GenerateDataKeyResponse) -> Option<SecretKey> {
    SecretKey::from_slice(answer.plaintext.expose())
}

/// Derives the keys of a new file and builds its slot.
fn new_file(
    identity: Identity,
    epoch: u32,
    key: &KeyReference,
    answer: Result<GenerateDataKeyResponse, KmsError>,
) -> Result<NewFileKeys, KeyError> {
    let subject = Subject::Domain(identity.domain_id);
    let answer = answer.map_err(|source| subject.refused(&key.arn, source))?;
    if answer.key_id.as_str() != key.arn {
        return Err(subject.tampered());
    }
    let secret = secret_of(&answer).ok_or_else(|| subject.tampered())?;
    let keys = derive(secret, &identity);
    let payload = answer.ciphertext_blob.into_bytes();
    let recipient = Recipient { kind: RecipientKind::Kms, epoch, key_id: key.key_id, payload };
    let mut slot = KeySlot {
        generation: 1,
        time: unix_seconds(),
        commitment: keys.commitment,
        recipients: vec![recipient],
        mac: [0; 32],
    };
    slot::authenticate(&identity, &mut slot, &keys)?;
    Ok(NewFileKeys { identity, slot, keys: Arc::new(keys) })
}
