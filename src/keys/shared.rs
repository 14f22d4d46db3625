//! What a key ring shares with the thread that makes keys ahead.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::cache::FileKeyCache;
use super::domain::Domain;
use super::domain_key::OpenedDomainKey;
use super::place::KeyPlace;
use super::pool::Bell;
use super::ring::{Clock, KeyRingOptions};
use super::wrapper::{OpenedSlot, Wrapper};
use super::{DomainSummary, KeyError, record, slot};
use crate::crypto::{DomainKeys, FileKeys};
use crate::format::{DomainId, DomainRecord, Identity, KeySlot};
use crate::store::NodeRef;

/// The domains, what is remembered, and the way to the service.
pub(super) struct Shared {
    pub(super) wrapper: Wrapper,
    pub(super) keys_dir: NodeRef,
    /// The domain of the root directory, which is in `domains` too: most files are in it.
    pub(super) root: Arc<Domain>,
    pub(super) domains: RwLock<HashMap<DomainId, Arc<Domain>>>,
    pub(super) cache: FileKeyCache,
    pub(super) options: KeyRingOptions,
    pub(super) clock: Clock,
    pub(super) bell: Bell,
}

impl Shared {
    pub(super) fn now(&self) -> u64 {
        (self.clock)()
    }

    pub(super) fn all(&self) -> Vec<Arc<Domain>> {
        self.domains.read().values().cloned().collect()
    }

    pub(super) fn domain(&self, id: DomainId) -> Result<Arc<Domain>, KeyError> {
        if id == self.root.id {
            return Ok(Arc::clone(&self.root));
        }
        self.domains.read().get(&id).cloned().ok_or(KeyError::UnknownDomain(id))
    }

    pub(super) fn open(&self, domain: &Domain) -> Result<(Arc<DomainRecord>, Arc<DomainKeys>), KeyError> {
        domain.open(&self.wrapper, self.now())
    }

    pub(super) fn open_id(&self, id: DomainId) -> Result<(Arc<DomainRecord>, Arc<DomainKeys>), KeyError> {
        let domain = self.domain(id)?;
        self.open(&domain)
    }

    /// Fails if the domain is closed; asks the service again if that is due.
    pub(super) fn check(&self, domain: &Domain) -> Result<(), KeyError> {
        if domain.usability.is_fenced() && domain.usability.retry_due(self.now()) {
            return self.prove(domain);
        }
        domain.usability.check()
    }

    /// Has the service use the domain's key, and opens or closes the fence by the outcome.
    pub(super) fn prove(&self, domain: &Domain) -> Result<(), KeyError> {
        let now = self.now();
        let outcome = domain.prove(&self.wrapper);
        match &outcome {
            Ok(()) => domain.usability.confirm(now),
            Err(error @ KeyError::Service(_)) => {
                self.note_outage(domain, error);
                if domain.usability.unconfirmed_for(now) >= self.options.grace {
                    domain.usability.fence(error.clone(), now);
                }
            }
            Err(error) => domain.usability.fence(error.clone(), now),
        }
        self.forget_if_fenced(domain);
        outcome
    }

    /// Closes the fence if an answer of the service says that the key as such is unusable, and confirms the key
    /// if there is an answer. A refusal for one file says nothing about the others.
    pub(super) fn heed<T>(
        &self,
        domain: &Domain,
        outcome: Result<T, KeyError>,
        asked: u64,
    ) -> Result<T, KeyError> {
        match &outcome {
            Ok(_) => {}
            Err(error @ KeyError::Unusable { key, .. }) if self.depends_on(domain, key) => {
                domain.usability.fence(error.clone(), asked);
                self.forget_if_fenced(domain);
            }
            Err(error @ KeyError::Service(_)) => self.note_outage(domain, error),
            Err(_) => {}
        }
        outcome
    }

    /// Says once for each outage what it means.
    fn note_outage(&self, domain: &Domain, error: &KeyError) {
        if domain.usability.begin_outage() {
            let DomainSummary { keys, places, .. } = domain.summary();
            let key = keys.first().map(String::as_str).unwrap_or_default();
            let place = places.first().map(ToString::to_string).unwrap_or_default();
            let grace_secs = self.options.grace.as_secs();
            tracing::warn!(
                domain = %domain.id, key, place, grace_secs, %error,
                "a KMS key is out of reach: open files go on for the grace time, what needs a call fails"
            );
        }
    }

    /// Whether the domain is of no use without the key `arn`.
    pub(super) fn depends_on(&self, domain: &Domain, arn: &str) -> bool {
        let summary = domain.summary();
        summary.recipients == 1 && summary.keys.first().is_some_and(|current| current == arn)
    }

    /// Where a domain's record says that the key `key`, an ARN or an id, is.
    pub(super) fn place_of(&self, key: &str) -> Option<KeyPlace> {
        self.root.place_of(key).or_else(|| self.all().iter().find_map(|domain| domain.place_of(key)))
    }

    pub(super) fn forget_if_fenced(&self, domain: &Domain) {
        if domain.usability.is_fenced() {
            domain.pool.clear();
            domain.domain_keys.clear();
            self.cache.forget_domain(domain.id);
        }
    }

    pub(super) fn reload(&self) -> Result<(), KeyError> {
        for id in record::list(&*self.keys_dir)? {
            let read = record::read(&*self.keys_dir, id);
            let known = self.domains.read().get(&id).cloned();
            let outcome = match (read, known) {
                (Ok(record), Some(domain)) => domain.renew(record),
                (Ok(record), None) => {
                    self.domains.write().entry(id).or_insert_with(|| Arc::new(Domain::closed(record)));
                    Ok(())
                }
                (Err(error), _) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::warn!(domain = %id, %error, "the record of a domain is not used");
            }
        }
        Ok(())
    }

    pub(super) fn replace(
        &self,
        domain: &Domain,
        mut record: DomainRecord,
        keys: &DomainKeys,
    ) -> Result<DomainSummary, KeyError> {
        record::write(&*self.keys_dir, &mut record, keys)?;
        domain.renew(record)?;
        Ok(domain.summary())
    }

    /// The domain key `id`: the one that is remembered, or else from the service; `fresh` remembers nothing.
    pub(super) fn domain_key(
        &self,
        domain: &Domain,
        record: &DomainRecord,
        id: [u8; 16],
        fresh: bool,
    ) -> Result<OpenedDomainKey, KeyError> {
        let (now, ttl) = (self.now(), self.options.cache_ttl);
        let current: Vec<[u8; 16]> = record::recipients(record).map(|key| key.key_id).collect();
        let valid = |key_id: [u8; 16], at: u64| {
            let by_poll = current.contains(&key_id) && domain.usability.unconfirmed_for(now) < ttl;
            by_poll || Duration::from_millis(now.saturating_sub(at)) < ttl
        };
        if let Some(kept) = domain.domain_keys.get(id, valid).filter(|_| !fresh) {
            return Ok(kept);
        }
        let _opening = domain.domain_keys.begin_opening();
        if let Some(kept) = domain.domain_keys.get(id, valid).filter(|_| !fresh) {
            return Ok(kept);
        }
        let opened = self.wrapper.open_domain_key(record, id, KeyError::UnknownDomainKey(domain.id))?;
        if current.contains(&opened.key_id) {
            domain.usability.confirm(now);
        }
        if !fresh {
            domain.domain_keys.put(opened.clone(), now);
        }
        Ok(opened)
    }

    /// The keys of a file, from the service: of the sound slots the highest generation that opens.
    pub(super) fn unwrap(
        &self,
        domain: &Domain,
        identity: &Identity,
        slots: &[Option<KeySlot>; 2],
        fresh: bool,
    ) -> Result<(FileKeys, [u8; 16]), KeyError> {
        if identity.volume_id != self.wrapper.volume_id {
            return Err(KeyError::Tampered { file: identity.file_id });
        }
        match self.unwrap_once(domain, identity, slots, fresh) {
            // Another process may have moved the domain to a key that this one has not heard of.
            Err(KeyError::ForeignKey { .. } | KeyError::UnknownDomainKey(_)) => {
                self.reload()?;
                self.unwrap_once(domain, identity, slots, fresh)
            }
            outcome => outcome,
        }
    }

    fn unwrap_once(
        &self,
        domain: &Domain,
        identity: &Identity,
        slots: &[Option<KeySlot>; 2],
        fresh: bool,
    ) -> Result<(FileKeys, [u8; 16]), KeyError> {
        let (record, _) = self.open(domain)?;
        let mut failure = None;
        for (_, slot) in slot::by_generation(slots) {
            let now = self.now();
            let domain_key = |id| self.domain_key(domain, &record, id, fresh);
            match self.wrapper.open_slot(&record, identity, slot, &domain_key) {
                Ok(OpenedSlot { keys, key_id, .. }) => {
                    if record::recipients(&record).any(|key| key.key_id == key_id) {
                        domain.usability.confirm(now);
                    }
                    return Ok((keys, key_id));
                }
                // That a key is out of reach explains more than that another slot is damaged.
                Err(
                    error @ (KeyError::Tampered { .. }
                    | KeyError::ForeignKey { .. }
                    | KeyError::UnknownDomainKey(_)),
                ) => {
                    failure.get_or_insert(error);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or(KeyError::Tampered { file: identity.file_id }))
    }

    /// Makes keys ahead until the domain's pool is full, the service refuses, or the ring ends.
    pub(super) fn fill(&self, domain: &Domain) {
        loop {
            let missing = domain.pool.missing(self.options.pool_high);
            if missing == 0 || self.bell.is_stopped() || domain.usability.is_fenced() {
                return;
            }
            let Ok((record, _)) = self.open(domain) else { return };
            let (now, count) = (self.now(), missing.min(self.options.pool_batch));
            let mut made = Vec::with_capacity(count);
            let mut refused = None;
            let domain_key = |id| self.domain_key(domain, &record, id, false);
            for outcome in self.wrapper.new_files(&record, count, &domain_key) {
                match outcome {
                    Ok(keys) => made.push(keys),
                    Err(error) => refused = Some(error),
                }
            }
            domain.pool.put(made, record.generation);
            if let Some(error) = refused {
                tracing::warn!(domain = %domain.id, %error, "no data keys can be made ahead");
                // The error was logged; heeding it closes the fence where that is due.
                let _ = self.heed::<()>(domain, Err(error), now);
                return;
            }
            self.forget_if_fenced(domain);
        }
    }
}
