//! The calls to the key management service, each in its encryption context.

use std::sync::Arc;

use kms_core::KmsError;
use kms_core::model::{
    CiphertextBlob, DecryptRequest, EncryptRequest, EncryptionContext, GenerateDataKeyRequest,
    GenerateDataKeyResponse, KeyRef, Plaintext, ReEncryptRequest,
};

use super::domain_key::{self, DomainKeySource, current_domain_key};
use super::place::{Connection, KeyAt, KeyPlace, KeyServices};
use super::record::{key_id_of, recipients, unix_seconds};
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

/// A domain's secret, and its wraps.
#[derive(Debug)]
pub(super) struct WrappedSecret {
    pub(super) secret: SecretKey,
    /// One for each key, in the order in which these were named.
    pub(super) keys: Vec<KeyReference>,
}

/// A file's data key in the clear, the keys derived from it, and the KMS key that opened it.
pub(super) struct OpenedSlot {
    pub(super) data_key: DataKey,
    pub(super) keys: FileKeys,
    pub(super) key_id: [u8; 16],
}

/// The services, and the volume that every context names.
pub(super) struct Wrapper {
    pub(super) services: Arc<dyn KeyServices>,
    pub(super) volume_id: VolumeId,
}

/// Reads a key's ARN, an id or an alias.
pub(super) fn parse_key(key: &str) -> Result<KeyRef, KeyError> {
    key.parse().map_err(|source| KeyError::Unusable { key: key.to_owned(), source })
}

/// Of what several keys answered, what says most about the volume: that a key may not be used tells more than that a
/// service does not answer, and that more than that a wrap is not the right one.
#[derive(Default)]
pub(super) struct Refusals(Option<KeyError>);

impl Refusals {
    fn weight(error: &KeyError) -> u8 {
        match error {
            KeyError::Unusable { .. } | KeyError::Denied { .. } => 3,
            KeyError::Service(_) => 2,
            KeyError::Tampered { .. } | KeyError::DomainTampered { .. } => 1,
            _ => 0,
        }
    }

    pub(super) fn add(&mut self, error: KeyError) {
        if self.0.as_ref().is_none_or(|known| Self::weight(known) < Self::weight(&error)) {
            self.0 = Some(error);
        }
    }

    pub(super) fn or(self, otherwise: KeyError) -> KeyError {
        self.0.unwrap_or(otherwise)
    }
}

impl Wrapper {
    /// The service that has a key.
    pub(super) fn connect(&self, key: &str, place: &KeyPlace) -> Result<Connection, KeyError> {
        self.services.connect(place).map_err(|source| {
            let error = Subject::Domain(DomainId([0; 16])).refused(key, source);
            tracing::debug!(key, %place, %error, "the service of a key cannot be reached");
            error
        })
    }

    pub(super) fn connect_to(&self, key: &KeyReference, subject: Subject) -> Result<Connection, KeyError> {
        let place = key.place.parse().map_err(|_| subject.tampered())?;
        self.connect(&key.arn, &place)
    }

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

    pub(super) fn domain_key_context(&self, domain: DomainId, epoch: u32) -> EncryptionContext {
        let mut context = self.context(domain, "domain-key");
        context.insert("kmsfs:epoch", epoch.to_string());
        context
    }

    pub(super) fn file_context(&self, identity: &Identity) -> EncryptionContext {
        let mut context = self.context(identity.domain_id, "data-key");
        context.insert("kmsfs:file", identity.file_id.to_string());
        context
    }

    /// A new secret for `domain` under each of `targets`, which are where `default` is if they do not say.
    pub(super) fn new_secret(
        &self,
        domain: DomainId,
        targets: &[KeyAt],
        default: &KeyPlace,
    ) -> Result<WrappedSecret, KeyError> {
        let subject = Subject::Domain(domain);
        let (first, others) = targets.split_first().ok_or_else(|| subject.tampered())?;
        let place = first.place.as_ref().unwrap_or(default);
        let key = parse_key(&first.key)?;
        let Connection { service, caller } = self.connect(&first.key, place)?;
        let request = GenerateDataKeyRequest::aes_256(key, self.secret_context(domain));
        let answer = service.generate_data_key(&caller, &request);
        let answer = answer.map_err(|source| subject.refused(&first.key, source))?;
        let secret = secret_of(&answer).ok_or_else(|| subject.tampered())?;
        let mut keys = vec![reference(answer.key_id.as_str(), answer.ciphertext_blob.into_bytes(), place)];
        for other in others {
            keys.push(self.wrap_secret(domain, &secret, other, default)?);
        }
        Ok(WrappedSecret { secret, keys })
    }

    /// The secret of `domain`, unwrapped with the first of the record's keys that does.
    pub(super) fn open_secret(&self, record: &DomainRecord) -> Result<SecretKey, KeyError> {
        let domain = record.domain_id;
        let subject = Subject::Domain(domain);
        let mut refusals = Refusals::default();
        for key in recipients(record) {
            match self.decrypt(subject, key, &key.wrapped_secret, self.secret_context(domain)) {
                Ok(secret) => return Ok(secret),
                Err(error) => refusals.add(error),
            }
        }
        Err(refusals.or(subject.tampered()))
    }

    /// `secret` under one more key, proven by unwrapping it again.
    pub(super) fn wrap_secret(
        &self,
        domain: DomainId,
        secret: &SecretKey,
        target: &KeyAt,
        default: &KeyPlace,
    ) -> Result<KeyReference, KeyError> {
        let subject = Subject::Domain(domain);
        let place = target.place.as_ref().unwrap_or(default);
        let (context, key) = (self.secret_context(domain), parse_key(&target.key)?);
        let (wrapped, arn) =
            self.encrypt(subject, &self.connect(&target.key, place)?, key, secret.expose(), &context)?;
        let made = reference(&arn, wrapped, place);
        let opened = self.decrypt(subject, &made, &made.wrapped_secret, context)?;
        if opened.expose() == secret.expose() { Ok(made) } else { Err(subject.tampered()) }
    }

    pub(super) fn encrypt(
        &self,
        subject: Subject,
        connection: &Connection,
        key: KeyRef,
        secret: &[u8; 32],
        context: &EncryptionContext,
    ) -> Result<(Vec<u8>, String), KeyError> {
        let typed = key.typed().to_owned();
        let request = EncryptRequest::new(key, Plaintext::copy_of(secret), context.clone());
        let answer = connection.service.encrypt(&connection.caller, &request);
        let answer = answer.map_err(|source| subject.refused(&typed, source))?;
        Ok((answer.ciphertext_blob.into_bytes(), answer.key_id.to_string()))
    }

    /// Unwraps 32 bytes. The key is named in the request and compared with the answer: a blob that anybody made
    /// under a key of their own is never believed.
    pub(super) fn decrypt(
        &self,
        subject: Subject,
        key: &KeyReference,
        blob: &[u8],
        context: EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        let key_ref = key.arn.parse::<KeyRef>().map_err(|_| subject.tampered())?;
        let Connection { service, caller } = self.connect_to(key, subject)?;
        let request = DecryptRequest::new(CiphertextBlob::from(blob), context).with_key(key_ref);
        let answer = service.decrypt(&caller, &request);
        let answer = answer.map_err(|source| subject.refused(&key.arn, source))?;
        if answer.key_id.as_str() != key.arn {
            return Err(subject.tampered());
        }
        SecretKey::from_slice(answer.plaintext.expose()).ok_or_else(|| subject.tampered())
    }

    fn new_identity(&self, domain_id: DomainId) -> Identity {
        Identity { volume_id: self.volume_id, file_id: FileId(random::bytes()), domain_id }
    }

    /// Keys for `count` new files of the domain of `record`, made together. The list may end at an error.
    pub(super) fn new_files(
        &self,
        record: &DomainRecord,
        count: usize,
        domain_key: DomainKeySource<'_>,
    ) -> Vec<Result<NewFileKeys, KeyError>> {
        match current_domain_key(record).map(domain_key) {
            None => self.new_files_by_kms(record, count),
            Some(Err(error)) => vec![Err(error)],
            Some(Ok(opened)) => {
                let identities = std::iter::repeat_with(|| self.new_identity(record.domain_id)).take(count);
                let made = identities.map(|identity| {
                    let data_key = domain_key::new_data_key(identity.file_id)?;
                    let wrap = domain_key::wrap(record, &opened.key, &identity, &data_key);
                    first_slot(identity, vec![wrap], &data_key)
                });
                made.collect()
            }
        }
    }

    fn new_files_by_kms(&self, record: &DomainRecord, count: usize) -> Vec<Result<NewFileKeys, KeyError>> {
        let Some(key) = record.keys.first() else { return Vec::new() };
        let ready = self.connect_to(key, Subject::Domain(record.domain_id));
        let (Connection { service, caller }, key_ref) =
            match ready.and_then(|connection| Ok((connection, parse_key(&key.arn)?))) {
                Ok(ready) => ready,
                Err(error) => return vec![Err(error)],
            };
        let identities: Vec<Identity> =
            std::iter::repeat_with(|| self.new_identity(record.domain_id)).take(count).collect();
        let requests: Vec<GenerateDataKeyRequest> = identities
            .iter()
            .map(|identity| GenerateDataKeyRequest::aes_256(key_ref.clone(), self.file_context(identity)))
            .collect();
        let answers = service.generate_data_keys(&caller, &requests);
        let made = identities.into_iter().zip(answers);
        made.map(|(identity, answer)| self.new_file(identity, record, key, answer)).collect()
    }

    /// Derives the keys of a new file, wraps its data key for the other recipients, and builds its slot.
    fn new_file(
        &self,
        identity: Identity,
        record: &DomainRecord,
        key: &KeyReference,
        answer: Result<GenerateDataKeyResponse, KmsError>,
    ) -> Result<NewFileKeys, KeyError> {
        let subject = Subject::Domain(identity.domain_id);
        let answer = answer.map_err(|source| subject.refused(&key.arn, source))?;
        if answer.key_id.as_str() != key.arn {
            return Err(subject.tampered());
        }
        let data_key = DataKey::new(secret_of(&answer).ok_or_else(|| subject.tampered())?);
        let mut wraps = vec![recipient(record, key, answer.ciphertext_blob.into_bytes())];
        for other in recipients(record).skip(1) {
            wraps.push(self.wrap_for(record, other, &identity, &data_key)?);
        }
        first_slot(identity, wraps, &data_key)
    }

    /// A data key for one recipient.
    fn wrap_for(
        &self,
        record: &DomainRecord,
        key: &KeyReference,
        identity: &Identity,
        data_key: &DataKey,
    ) -> Result<Recipient, KeyError> {
        let subject = Subject::Domain(identity.domain_id);
        let (connection, context) = (self.connect_to(key, subject)?, self.file_context(identity));
        let (payload, arn) =
            self.encrypt(subject, &connection, parse_key(&key.arn)?, data_key.expose(), &context)?;
        if arn == key.arn { Ok(recipient(record, key, payload)) } else { Err(subject.tampered()) }
    }

    /// The data key of a file from one of its slots, by the first recipient that opens to what the slot commits to.
    pub(super) fn open_slot(
        &self,
        record: &DomainRecord,
        identity: &Identity,
        slot: &KeySlot,
        domain_key: DomainKeySource<'_>,
    ) -> Result<OpenedSlot, KeyError> {
        let subject = Subject::File(identity.file_id);
        let foreign = KeyError::ForeignKey { file: identity.file_id, domain: identity.domain_id };
        let mut refusals = Refusals::default();
        let by_kms = openable(record, slot).map(|(wrap, key)| {
            let secret = self.decrypt(subject, key, &wrap.payload, self.file_context(identity))?;
            Ok::<_, KeyError>((DataKey::new(secret), key.key_id))
        });
        let local = slot.recipients.iter().filter(|wrap| wrap.kind == RecipientKind::DomainKey);
        let by_domain_key = local.map(|wrap| {
            let opened = domain_key(wrap.key_id)?;
            Ok::<_, KeyError>((domain_key::unwrap(&opened.key, identity, wrap)?, opened.key_id))
        });
        for opened in by_kms.chain(by_domain_key) {
            match opened.map(|(data_key, key_id)| (derive(&data_key, identity), data_key, key_id)) {
                Ok((keys, data_key, key_id)) if slot::is_authentic(identity, slot, &keys) => {
                    return Ok(OpenedSlot { data_key, keys, key_id });
                }
                Ok(_) => refusals.add(subject.tampered()),
                Err(error) => refusals.add(error),
            }
        }
        Err(refusals.or(foreign))
    }

    /// The data key of `slot` wrapped for the recipients of `record` instead. Each new wrap is proven by unwrapping it:
    /// the keys are what every one of them opens to.
    pub(super) fn move_slot(
        &self,
        record: &DomainRecord,
        identity: &Identity,
        slot: &KeySlot,
        domain_key: DomainKeySource<'_>,
    ) -> Result<(Vec<Recipient>, FileKeys), KeyError> {
        if let Some(id) = current_domain_key(record) {
            let opened = self.open_slot(record, identity, slot, domain_key)?;
            let target = domain_key(id)?;
            let wrap = domain_key::wrap(record, &target.key, identity, &opened.data_key);
            let keys = derive(&domain_key::unwrap(&target.key, identity, &wrap)?, identity);
            let sound = keys.commitment == slot.commitment;
            return if sound {
                Ok((vec![wrap], keys))
            } else {
                Err(KeyError::Tampered { file: identity.file_id })
            };
        }
        let targets: Vec<&KeyReference> = recipients(record).collect();
        let wraps = match (self.within_service(record, slot), targets.as_slice()) {
            (Some((wrap, source)), [target]) => {
                vec![self.re_encrypt(record, identity, wrap, source, target)?]
            }
            _ => {
                let opened = self.open_slot(record, identity, slot, domain_key)?;
                let wrap = |key: &&KeyReference| self.wrap_for(record, key, identity, &opened.data_key);
                targets.iter().map(wrap).collect::<Result<_, _>>()?
            }
        };
        let subject = Subject::File(identity.file_id);
        let mut proven = None;
        for (wrap, target) in wraps.iter().zip(targets) {
            let secret = self.decrypt(subject, target, &wrap.payload, self.file_context(identity))?;
            let (_, keys) = open_keys(secret, identity);
            if keys.commitment != slot.commitment {
                return Err(subject.tampered());
            }
            proven = Some(keys);
        }
        Ok((wraps, proven.ok_or_else(|| subject.tampered())?))
    }

    /// The wrap of `slot` that the service of the record's first key can move by itself, so that the data key does not
    /// leave it for that.
    pub(super) fn within_service<'a>(
        &self,
        record: &'a DomainRecord,
        slot: &'a KeySlot,
    ) -> Option<(&'a Recipient, &'a KeyReference)> {
        let target = record.keys.first()?;
        openable(record, slot).find(|(_, source)| source.place == target.place)
    }

    fn re_encrypt(
        &self,
        record: &DomainRecord,
        identity: &Identity,
        wrap: &Recipient,
        source: &KeyReference,
        target: &KeyReference,
    ) -> Result<Recipient, KeyError> {
        let subject = Subject::File(identity.file_id);
        let Connection { service, caller } = self.connect_to(target, subject)?;
        let blob = CiphertextBlob::from(wrap.payload.as_slice());
        let mut request = ReEncryptRequest::new(blob, self.file_context(identity), parse_key(&target.arn)?);
        request.source_key_id = Some(parse_key(&source.arn)?);
        // The answer does not say which of the two keys refused; the source has just been in use.
        let answer = service.re_encrypt(&caller, &request);
        let answer = answer.map_err(|refusal| subject.refused(&target.arn, refusal))?;
        if answer.source_key_id.as_str() != source.arn || answer.key_id.as_str() != target.arn {
            return Err(subject.tampered());
        }
        Ok(recipient(record, target, answer.ciphertext_blob.into_bytes()))
    }
}

/// The wraps of `slot` under keys that `record` knows, in the order of the record.
fn openable<'a>(
    record: &'a DomainRecord,
    slot: &'a KeySlot,
) -> impl Iterator<Item = (&'a Recipient, &'a KeyReference)> {
    let by_kms = |wrap: &&Recipient| wrap.kind == RecipientKind::Kms;
    record.keys.iter().filter_map(move |key| {
        let wrap = slot.recipients.iter().filter(by_kms).find(|wrap| wrap.key_id == key.key_id)?;
        Some((wrap, key))
    })
}

fn reference(arn: &str, wrapped_secret: Vec<u8>, place: &KeyPlace) -> KeyReference {
    KeyReference { key_id: key_id_of(arn), arn: arn.to_owned(), wrapped_secret, place: place.to_string() }
}

pub(super) fn recipient(record: &DomainRecord, key: &KeyReference, payload: Vec<u8>) -> Recipient {
    Recipient { kind: RecipientKind::Kms, epoch: record.epoch, key_id: key.key_id, payload }
}

/// The keys and the slot of a new file.
fn first_slot(
    identity: Identity,
    recipients: Vec<Recipient>,
    data_key: &DataKey,
) -> Result<NewFileKeys, KeyError> {
    let keys = Arc::new(derive(data_key, &identity));
    let (time, commitment) = (unix_seconds(), keys.commitment);
    let mut slot = KeySlot { generation: 1, time, commitment, recipients, mac: [0; 32] };
    slot::authenticate(&identity, &mut slot, &keys)?;
    Ok(NewFileKeys { identity, slot, keys })
}

pub(super) fn derive(data_key: &DataKey, identity: &Identity) -> FileKeys {
    FileKeys::derive(data_key, &identity.volume_id.0, &identity.file_id.0)
}

fn open_keys(secret: SecretKey, identity: &Identity) -> (DataKey, FileKeys) {
    let data_key = DataKey::new(secret);
    let keys = derive(&data_key, identity);
    (data_key, keys)
}

fn secret_of(answer: &GenerateDataKeyResponse) -> Option<SecretKey> {
    SecretKey::from_slice(answer.plaintext.expose())
}
