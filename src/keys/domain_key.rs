//! Domain keys: one call to the KMS for a domain and an epoch instead of one for each file.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::KeyError;
use super::record::recipients;
use super::wrapper::{Subject, Wrapper, parse_key};
use crate::crypto::{DataKey, DomainKey, SecretKey};
use crate::format::{DomainKeyWrap, DomainRecord, FileId, Identity, KeyReference, Recipient, RecipientKind};

/// What wraps the data keys of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyTier {
    /// Its KMS keys, each data key by itself.
    #[default]
    Kms,
    /// A domain key, which is under the KMS keys.
    Domain,
}

/// The name of the domain key that wraps the data keys of `record`; none if its KMS keys do.
pub(super) fn current_domain_key(record: &DomainRecord) -> Option<[u8; 16]> {
    let mut current = record.domain_keys.iter().filter(|wrap| wrap.epoch == record.epoch);
    current.next().map(|wrap| wrap.domain_key_id)
}

/// The tier of `record`.
pub(super) fn tier(record: &DomainRecord) -> KeyTier {
    if current_domain_key(record).is_some() { KeyTier::Domain } else { KeyTier::Kms }
}

/// A domain key, and the KMS key that opened it.
#[derive(Debug, Clone)]
pub(super) struct OpenedDomainKey {
    pub(super) key: Arc<DomainKey>,
    pub(super) key_id: [u8; 16],
}

/// Where a domain key comes from when a slot needs one, by its name.
pub(super) type DomainKeySource<'a> = &'a dyn Fn([u8; 16]) -> Result<OpenedDomainKey, KeyError>;

/// What a wrap under a domain key is bound to.
fn bound_to(identity: &Identity, epoch: u32) -> [u8; 52] {
    let mut bytes = [0; 52];
    bytes[..16].copy_from_slice(&identity.volume_id.0);
    bytes[16..32].copy_from_slice(&identity.domain_id.0);
    bytes[32..48].copy_from_slice(&identity.file_id.0);
    bytes[48..].copy_from_slice(&epoch.to_le_bytes());
    bytes
}

/// `data_key` for the file `identity` under the domain key of the present epoch of `record`.
pub(super) fn wrap(
    record: &DomainRecord,
    key: &DomainKey,
    identity: &Identity,
    data_key: &DataKey,
) -> Recipient {
    let epoch = record.epoch;
    let payload = key.wrap(&bound_to(identity, epoch), data_key);
    Recipient { kind: RecipientKind::DomainKey, epoch, key_id: key.id, payload }
}

/// The data key in `wrap`.
pub(super) fn unwrap(key: &DomainKey, identity: &Identity, wrap: &Recipient) -> Result<DataKey, KeyError> {
    let opened = key.unwrap(&bound_to(identity, wrap.epoch), &wrap.payload);
    opened.ok_or(KeyError::Tampered { file: identity.file_id })
}

/// A data key for a new file, which no service makes.
pub(super) fn new_data_key(file: FileId) -> Result<DataKey, KeyError> {
    SecretKey::generate().map(DataKey::new).map_err(|_| KeyError::Tampered { file })
}

impl Wrapper {
    /// A new domain key for the epoch of `record`, wrapped for its recipients.
    pub(super) fn new_domain_key(&self, record: &DomainRecord) -> Result<Vec<DomainKeyWrap>, KeyError> {
        let (domain, epoch) = (record.domain_id, record.epoch);
        let subject = Subject::Domain(domain);
        let secret = SecretKey::generate().map_err(|_| subject.tampered())?;
        let domain_key_id = DomainKey::derive(&secret, &record.volume_id.0, &domain.0, epoch).id;
        let wrap = |key: &KeyReference| {
            let (connection, context) =
                (self.connect_to(key, subject)?, self.domain_key_context(domain, epoch));
            let (wrapped, arn) =
                self.encrypt(subject, &connection, parse_key(&key.arn)?, secret.expose(), &context)?;
            let opened = self.decrypt(subject, key, &wrapped, context)?;
            if arn != key.arn || opened.expose() != secret.expose() {
                return Err(subject.tampered());
            }
            Ok(DomainKeyWrap { epoch, key_id: key.key_id, domain_key_id, wrapped })
        };
        recipients(record).map(wrap).collect()
    }

    /// The domain key of `record` that is called `id`, by the first KMS key that opens it.
    pub(super) fn open_domain_key(
        &self,
        record: &DomainRecord,
        id: [u8; 16],
        foreign: KeyError,
    ) -> Result<OpenedDomainKey, KeyError> {
        let domain = record.domain_id;
        let subject = Subject::Domain(domain);
        let mut refusals = super::wrapper::Refusals::default();
        for wrap in record.domain_keys.iter().filter(|wrap| wrap.domain_key_id == id) {
            let Some(key) = record.keys.iter().find(|key| key.key_id == wrap.key_id) else { continue };
            let context = self.domain_key_context(domain, wrap.epoch);
            match self.decrypt(subject, key, &wrap.wrapped, context) {
                Ok(secret) => {
                    let (volume, domain) = (&record.volume_id.0, &domain.0);
                    let opened = DomainKey::derive(&secret, volume, domain, wrap.epoch);
                    if opened.id == id {
                        return Ok(OpenedDomainKey { key: Arc::new(opened), key_id: key.key_id });
                    }
                    refusals.add(subject.tampered());
                }
                Err(error) => refusals.add(error),
            }
        }
        Err(refusals.or(foreign))
    }
}

/// Domain keys that were opened, each with the time.
#[derive(Debug, Default)]
pub(super) struct DomainKeyCache {
    kept: Mutex<HashMap<[u8; 16], (OpenedDomainKey, u64)>>,
    /// Held while a key is opened, so that one call is made. Taken before `kept`.
    opening: Mutex<()>,
}

impl DomainKeyCache {
    /// Keeps others from opening a key until it is dropped.
    pub(super) fn begin_opening(&self) -> MutexGuard<'_, ()> {
        self.opening.lock()
    }

    /// The key `id` if it is kept and `valid` for the KMS key and the time at which it was opened.
    pub(super) fn get(&self, id: [u8; 16], valid: impl Fn([u8; 16], u64) -> bool) -> Option<OpenedDomainKey> {
        let kept = self.kept.lock();
        kept.get(&id).filter(|(opened, at)| valid(opened.key_id, *at)).map(|(opened, _)| opened.clone())
    }

    pub(super) fn put(&self, opened: OpenedDomainKey, at: u64) {
        self.kept.lock().insert(opened.key.id, (opened, at));
    }

    pub(super) fn clear(&self) {
        self.kept.lock().clear();
    }
}
