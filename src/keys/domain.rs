//! One domain of an open volume: its record, its keys, its pool and its fence.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::domain_key::{self, DomainKeyCache};
use super::place::KeyPlace;
use super::pool::Pool;
use super::record::{self, NewDomain};
use super::usability::Usability;
use super::wrapper::Wrapper;
use super::{DomainSummary, KeyError};
use crate::crypto::DomainKeys;
use crate::format::{DomainId, DomainRecord, KeyReference};

/// A domain whose record may not have been authenticated yet: that happens when its secret is unwrapped.
pub(super) struct Domain {
    pub(super) id: DomainId,
    pub(super) usability: Usability,
    pub(super) pool: Pool,
    pub(super) domain_keys: DomainKeyCache,
    /// Held while the secret is unwrapped for the first time, so that one call is made. Taken before `state`.
    opening: Mutex<()>,
    state: RwLock<State>,
}

struct State {
    record: Arc<DomainRecord>,
    keys: Option<Arc<DomainKeys>>,
}

impl Domain {
    /// A domain as its record says, not yet authenticated.
    pub(super) fn closed(record: DomainRecord) -> Self {
        Self::with(record, None)
    }

    /// A domain that was just made.
    pub(super) fn created(new: NewDomain) -> Self {
        Self::with(new.record, Some(new.keys))
    }

    fn with(record: DomainRecord, keys: Option<Arc<DomainKeys>>) -> Self {
        let pool = Pool::default();
        pool.renew(record.generation);
        Self {
            id: record.domain_id,
            usability: Usability::default(),
            pool,
            domain_keys: DomainKeyCache::default(),
            opening: Mutex::new(()),
            state: RwLock::new(State { record: Arc::new(record), keys }),
        }
    }

    /// The record and the keys, if the secret was unwrapped before.
    pub(super) fn opened(&self) -> Option<(Arc<DomainRecord>, Arc<DomainKeys>)> {
        let state = self.state.read();
        Some((Arc::clone(&state.record), Arc::clone(state.keys.as_ref()?)))
    }

    /// The record and the keys. Unwraps the secret at first use and authenticates the record with it.
    pub(super) fn open(
        &self,
        wrapper: &Wrapper,
        now: u64,
    ) -> Result<(Arc<DomainRecord>, Arc<DomainKeys>), KeyError> {
        if let Some(opened) = self.opened() {
            return Ok(opened);
        }
        let _opening = self.opening.lock();
        if let Some(opened) = self.opened() {
            return Ok(opened);
        }
        let record = Arc::clone(&self.state.read().record);
        let keys = self.unwrap(wrapper, &record)?;
        if !record::is_authentic(&record, &keys) {
            return Err(KeyError::DomainTampered { domain: self.id });
        }
        let keys = Arc::new(keys);
        *self.state.write() = State { record: Arc::clone(&record), keys: Some(Arc::clone(&keys)) };
        self.usability.confirm(now);
        Ok((record, keys))
    }

    /// Has the service unwrap the secret once more: what a key policy, a disabled key or a deletion forbids.
    pub(super) fn prove(&self, wrapper: &Wrapper) -> Result<(), KeyError> {
        let record = Arc::clone(&self.state.read().record);
        let keys = self.unwrap(wrapper, &record)?;
        if keys.commitment == record.commitment {
            Ok(())
        } else {
            Err(KeyError::DomainTampered { domain: self.id })
        }
    }

    fn unwrap(&self, wrapper: &Wrapper, record: &DomainRecord) -> Result<DomainKeys, KeyError> {
        if record.volume_id != wrapper.volume_id {
            return Err(KeyError::DomainTampered { domain: self.id });
        }
        let secret = wrapper.open_secret(record)?;
        Ok(DomainKeys::derive(&secret, &wrapper.volume_id.0, &self.id.0))
    }

    /// Takes over a record that another process wrote; an older one than this is passed over.
    pub(super) fn renew(&self, record: DomainRecord) -> Result<(), KeyError> {
        let _opening = self.opening.lock();
        let mut state = self.state.write();
        if record.generation <= state.record.generation {
            return Ok(());
        }
        if let Some(keys) = &state.keys
            && !record::is_authentic(&record, keys)
        {
            return Err(KeyError::DomainTampered { domain: self.id });
        }
        self.pool.renew(record.generation);
        state.record = Arc::new(record);
        Ok(())
    }

    /// Where its first key is.
    pub(super) fn place(&self) -> KeyPlace {
        let state = self.state.read();
        state.record.keys.first().and_then(|key| key.place.parse().ok()).unwrap_or(KeyPlace::Keystore)
    }

    /// Where the key `key`, an ARN or an id, is; `None` if it is none of the domain's.
    pub(super) fn place_of(&self, key: &str) -> Option<KeyPlace> {
        let state = self.state.read();
        let named = |known: &&KeyReference| known.arn == key || known.arn.ends_with(&format!("/{key}"));
        state.record.keys.iter().find(named).and_then(|key| key.place.parse().ok())
    }

    /// What the record says, for reports.
    pub(super) fn summary(&self) -> DomainSummary {
        let state = self.state.read();
        let recipients = record::recipients(&state.record).count();
        let arns = state.record.keys.iter().map(|key: &KeyReference| key.arn.clone());
        DomainSummary {
            id: self.id,
            epoch: state.record.epoch,
            generation: state.record.generation,
            keys: arns.collect(),
            places: state.record.keys.iter().filter_map(|key| key.place.parse().ok()).collect(),
            recipients,
            tier: domain_key::tier(&state.record),
            domain_key: domain_key::current_domain_key(&state.record),
            domain_keys: state
                .record
                .domain_keys
                .iter()
                .map(|wrap| (wrap.domain_key_id, wrap.key_id))
                .collect(),
            unusable: self.usability.check().err(),
        }
    }
}
