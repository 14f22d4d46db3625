//! The keys of an open volume.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kms_core::client::KeyService;
use kms_core::model::Caller;
use parking_lot::{Mutex, RwLock};

use super::cache::{FileKeyCache, Unwrapped};
use super::domain::Domain;
use super::pool::Bell;
use super::record::{self, KEYS_DIR, NewDomain};
use super::shared::Shared;
use super::wrapper::{Wrapper, parse_key};
use super::{FileKeyProvider, KeyError, NewFileKeys, SlotRewrap, slot};
use crate::crypto::{DomainKeys, FileKeys, random};
use crate::format::{DomainId, DomainRecord, Identity, KeySlot, Superblock, VolumeId};
use crate::store::NodeRef;

/// Milliseconds that only grow; replaced in tests.
pub(super) type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Limits of a [`KeyRing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRingOptions {
    /// Files whose unwrapped keys are kept.
    pub cache_entries: NonZeroUsize,
    /// How long kept keys may be used after the service last used their KMS key.
    pub cache_ttl: Duration,
    /// How long a domain stays open while the service cannot be reached.
    pub grace: Duration,
    /// Below this number of keys made ahead, more are made.
    pub pool_low: usize,
    /// The number of keys that are made ahead.
    pub pool_high: usize,
}

impl Default for KeyRingOptions {
    fn default() -> Self {
        Self {
            cache_entries: NonZeroUsize::new(4096).expect("4096 is not zero"),
            cache_ttl: Duration::from_secs(60),
            grace: Duration::from_secs(300),
            pool_low: 16,
            pool_high: 64,
        }
    }
}

/// What is known of a domain.
#[derive(Debug, Clone)]
pub struct DomainSummary {
    /// The domain.
    pub id: DomainId,
    /// Headers of a lower epoch have not been rewrapped yet.
    pub epoch: u32,
    /// Counts the writes of its record.
    pub generation: u64,
    /// The ARNs of its KMS keys; the first one wraps, the others open what has not been rewrapped.
    pub keys: Vec<String>,
    /// Why its files are closed at present, if they are.
    pub unusable: Option<KeyError>,
}

/// The keys of an open volume: its domains, the data keys made ahead, the unwrapped ones, and the fences.
///
/// Dropping it ends its thread and wipes what it holds.
pub struct KeyRing {
    shared: Arc<Shared>,
    maker: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("volume", &self.shared.wrapper.volume_id).finish_non_exhaustive()
    }
}

impl KeyRing {
    /// Makes the first domain of a new volume, in memory: its secret under the KMS key `key` (an ARN, an id or an
    /// alias). The caller writes it.
    ///
    /// # Errors
    /// [`KeyError`] if the key cannot be used.
    pub fn new_root(
        service: &Arc<dyn KeyService>,
        caller: &Caller,
        volume_id: VolumeId,
        key: &str,
    ) -> Result<NewDomain, KeyError> {
        let wrapper = Wrapper { service: Arc::clone(service), caller: caller.clone(), volume_id };
        NewDomain::make(&wrapper, DomainId(random::bytes()), &parse_key(key)?)
    }

    /// Opens the domains of a volume. Only the root domain's secret is unwrapped.
    ///
    /// # Errors
    /// [`KeyError`] if the root domain cannot be opened. Other domains fail when they are used.
    pub fn load(
        service: Arc<dyn KeyService>,
        caller: Caller,
        volume_dir: NodeRef,
        superblock: &Superblock,
    ) -> Result<Arc<Self>, KeyError> {
        Self::load_with(service, caller, volume_dir, superblock, KeyRingOptions::default())
    }

    /// As [`Self::load`], with other limits.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(
        service: Arc<dyn KeyService>,
        caller: Caller,
        volume_dir: NodeRef,
        superblock: &Superblock,
        options: KeyRingOptions,
    ) -> Result<Arc<Self>, KeyError> {
        let start = Instant::now();
        let clock: Clock = Arc::new(move || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
        let wrapper = Wrapper { service, caller, volume_id: superblock.volume_id };
        Self::load_at(wrapper, &volume_dir, superblock.root_domain, options, clock)
    }

    pub(super) fn load_at(
        wrapper: Wrapper,
        volume_dir: &NodeRef,
        root: DomainId,
        options: KeyRingOptions,
        clock: Clock,
    ) -> Result<Arc<Self>, KeyError> {
        let keys_dir = volume_dir.lookup(OsStr::new(KEYS_DIR))?;
        let root = Arc::new(Domain::closed(record::read(&*keys_dir, root)?));
        let shared = Arc::new(Shared {
            wrapper,
            keys_dir,
            root: Arc::clone(&root),
            domains: RwLock::new(HashMap::from([(root.id, Arc::clone(&root))])),
            cache: FileKeyCache::new(options.cache_entries),
            options,
            clock,
            bell: Bell::default(),
        });
        shared.open(&root)?;
        shared.reload()?;
        Ok(Arc::new(Self { shared, maker: Mutex::new(None) }))
    }

    /// The domain of the root directory.
    pub fn root_domain(&self) -> DomainId {
        self.shared.root.id
    }

    /// The volume.
    pub fn volume_id(&self) -> VolumeId {
        self.shared.wrapper.volume_id
    }

    /// The key management service.
    pub fn service(&self) -> &Arc<dyn KeyService> {
        &self.shared.wrapper.service
    }

    /// Who calls the service.
    pub fn caller(&self) -> &Caller {
        &self.shared.wrapper.caller
    }

    /// The keys of a domain's names. Unwrapped at first use and remembered: names can be listed and removed
    /// after the KMS key is gone.
    ///
    /// # Errors
    /// [`KeyError`] if the domain is not known or its secret does not open.
    pub fn domain_keys(&self, id: DomainId) -> Result<Arc<DomainKeys>, KeyError> {
        let domain = self.shared.domain(id)?;
        Ok(self.shared.open(&domain)?.1)
    }

    /// The domains whose id begins with `tag`.
    pub fn domains_with_tag(&self, tag: [u8; 4]) -> Vec<DomainId> {
        self.shared.domains.read().keys().filter(|id| id.0.starts_with(&tag)).copied().collect()
    }

    /// All domains, the root domain first.
    pub fn domains(&self) -> Vec<DomainSummary> {
        let mut all: Vec<_> = self.shared.domains.read().values().map(|domain| domain.summary()).collect();
        all.sort_by_key(|summary| (summary.id != self.root_domain(), summary.id));
        all
    }

    /// Makes a domain with a secret under the KMS key `key` (an ARN, an id or an alias), durably.
    ///
    /// # Errors
    /// [`KeyError`] if the key cannot be used or the record cannot be written.
    pub fn add_domain(&self, key: &str) -> Result<DomainId, KeyError> {
        let shared = &self.shared;
        let id = loop {
            let id = DomainId(random::bytes());
            let [a, b, c, d, ..] = id.0;
            // Directories name their domain by its first four bytes.
            if self.domains_with_tag([a, b, c, d]).is_empty() {
                break id;
            }
        };
        let mut new = NewDomain::make(&shared.wrapper, id, &parse_key(key)?)?;
        new.write(&*shared.keys_dir)?;
        let domain = Domain::created(new);
        domain.usability.confirm(shared.now());
        shared.domains.write().insert(id, Arc::new(domain));
        Ok(id)
    }

    /// Reads the domain records again: another process changed them.
    ///
    /// # Errors
    /// [`KeyError::Store`] if they cannot be listed. A record that is damaged is logged, and what is known of its
    /// domain stays.
    pub fn reload(&self) -> Result<(), KeyError> {
        self.shared.reload()
    }

    /// Has the service use the KMS key of each open domain. A domain whose key is disabled, deleted, refused or
    /// out of reach for longer than the grace time is closed, its unwrapped keys are forgotten; one whose
    /// key works again is opened. Returns the domains closed since the last call.
    pub fn poll_usability(&self) -> Vec<DomainId> {
        let shared = &self.shared;
        if let Err(error) = shared.reload() {
            tracing::warn!(%error, "the domain records cannot be read again");
        }
        let mut closed = Vec::new();
        for domain in shared.all().into_iter().filter(|domain| domain.opened().is_some()) {
            // The error is kept by the fence.
            let _ = shared.prove(&domain);
            if domain.usability.take_report() {
                closed.push(domain.id);
            }
        }
        closed
    }

    /// Ends the thread that makes keys ahead, and drops what it made.
    pub fn shutdown(&self) {
        self.shared.bell.stop();
        let thread = self.maker.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that makes data keys ahead panicked");
        }
        for domain in self.shared.all() {
            domain.pool.clear();
        }
    }

    /// Begins to rewrap a domain: raises its epoch and, with `key`, makes that the key that wraps. The former
    /// keys stay until [`Self::finish_rewrap`].
    ///
    /// # Errors
    /// [`KeyError`] if either key cannot be used or the record cannot be written.
    pub fn begin_rewrap(&self, id: DomainId, key: Option<&str>) -> Result<DomainSummary, KeyError> {
        let domain = self.shared.domain(id)?;
        let (record, keys) = self.shared.open(&domain)?;
        let current = record.keys.first().ok_or(KeyError::DomainTampered { domain: id })?;
        let target = parse_key(key.unwrap_or(&current.arn))?;
        let new = NewDomain::moved(&self.shared.wrapper, &record, current, &target)?;
        self.shared.replace(&domain, new, &keys)
    }

    /// Ends a rewrap: the domain's former keys open nothing any more.
    ///
    /// # Errors
    /// [`KeyError`] if the record cannot be written.
    pub fn finish_rewrap(&self, id: DomainId) -> Result<DomainSummary, KeyError> {
        let domain = self.shared.domain(id)?;
        let (record, keys) = self.shared.open(&domain)?;
        let mut new = DomainRecord::clone(&record);
        new.keys.truncate(1);
        if new.keys.len() == record.keys.len() {
            return Ok(domain.summary());
        }
        new.generation += 1;
        self.shared.replace(&domain, new, &keys)
    }

    /// The place of the slot that is wrapped under its domain's present key and epoch; of two, the one of the
    /// higher generation. Nothing is unwrapped for this.
    ///
    /// # Errors
    /// [`KeyError`] if the domain is not known or does not open.
    pub fn current_place(
        &self,
        identity: &Identity,
        slots: &[Option<KeySlot>; 2],
    ) -> Result<Option<usize>, KeyError> {
        let (record, _) = self.shared.open_id(identity.domain_id)?;
        let sound = slot::by_generation(slots).into_iter();
        Ok(sound.filter(|(_, slot)| slot::is_current(&record, slot)).map(|(place, _)| place).next())
    }

    /// Wraps a file's data key under its domain's present key and epoch. The old slot is authenticated, and the new
    /// wrap is proven by unwrapping it.
    ///
    /// # Errors
    /// [`KeyError`] if no slot opens, or a key cannot be used.
    pub fn rewrap_slot(
        &self,
        identity: &Identity,
        slots: &[Option<KeySlot>; 2],
    ) -> Result<SlotRewrap, KeyError> {
        let (record, _) = self.shared.open_id(identity.domain_id)?;
        let sound = slot::by_generation(slots);
        let tampered = KeyError::Tampered { file: identity.file_id };
        let generation = sound.first().map_or(0, |(_, slot)| slot.generation);
        let mut failure = None;
        for (replaced, old) in sound {
            match self.shared.wrapper.move_slot(&record, identity, old) {
                Ok((recipient, keys)) if slot::is_authentic(identity, old, &keys) => {
                    let mut slot = KeySlot {
                        generation: generation + 1,
                        time: record::unix_seconds(),
                        commitment: keys.commitment,
                        recipients: vec![recipient],
                        mac: [0; 32],
                    };
                    slot::authenticate(identity, &mut slot, &keys)?;
                    return Ok(SlotRewrap { slot, place: 1 - replaced, replaced });
                }
                Ok(_) => {
                    failure.get_or_insert_with(|| tampered.clone());
                }
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.unwrap_or(tampered))
    }

    /// Unwraps with a call to the service, whatever is remembered, and remembers nothing.
    ///
    /// # Errors
    /// As [`FileKeyProvider::unwrap`].
    pub fn unwrap_fresh(
        &self,
        identity: &Identity,
        slots: &[Option<KeySlot>; 2],
    ) -> Result<FileKeys, KeyError> {
        let domain = self.shared.domain(identity.domain_id)?;
        self.shared.unwrap(&domain, identity, slots).map(|(keys, _)| keys)
    }

    /// Starts the thread that fills the pools, once.
    fn start_maker(&self) {
        let mut maker = self.maker.lock();
        if maker.is_some() || self.shared.bell.is_stopped() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let run = move || {
            while shared.bell.wait() {
                shared.all().iter().for_each(|domain| shared.fill(domain));
            }
        };
        match std::thread::Builder::new().name("kmsfs-data-keys".to_owned()).spawn(run) {
            Ok(thread) => *maker = Some(thread),
            Err(error) => tracing::warn!(%error, "no thread to make data keys ahead"),
        }
    }

    #[cfg(test)]
    pub(super) fn pool_len(&self) -> usize {
        self.shared.root.pool.len()
    }

    #[cfg(test)]
    pub(super) fn cached(&self) -> usize {
        self.shared.cache.len()
    }
}

impl Drop for KeyRing {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl FileKeyProvider for KeyRing {
    fn new_file(&self, domain: DomainId) -> Result<NewFileKeys, KeyError> {
        let shared = &self.shared;
        let domain = shared.domain(domain)?;
        shared.check(&domain)?;
        let (made, left) = domain.pool.take();
        if left < shared.options.pool_low {
            self.start_maker();
            shared.bell.ring();
        }
        if let Some(made) = made {
            return Ok(made);
        }
        let (record, _) = shared.open(&domain)?;
        let now = shared.now();
        let made = shared.wrapper.new_files(&record, 1).pop();
        let made = made.unwrap_or(Err(KeyError::DomainTampered { domain: domain.id }));
        shared.heed(&domain, made, now)
    }

    fn unwrap(&self, identity: &Identity, slots: &[Option<KeySlot>; 2]) -> Result<Arc<FileKeys>, KeyError> {
        let shared = &self.shared;
        let domain = shared.domain(identity.domain_id)?;
        shared.check(&domain)?;
        let (record, _) = shared.open(&domain)?;
        let current = record.keys.first().map(|key| key.key_id);
        let (now, ttl) = (shared.now(), shared.options.cache_ttl);
        let valid = |kept: &Unwrapped| {
            let since_unwrap = Duration::from_millis(now.saturating_sub(kept.at));
            let by_poll = Some(kept.key_id) == current && domain.usability.unconfirmed_for(now) < ttl;
            by_poll || since_unwrap < ttl
        };
        let unwrapped = shared.cache.get_or_unwrap(identity, valid, || {
            let unwrapped = shared.unwrap(&domain, identity, slots);
            let (keys, key_id) = shared.heed(&domain, unwrapped, now)?;
            Ok(Unwrapped { identity: *identity, keys: Arc::new(keys), key_id, at: now })
        })?;
        if domain.usability.is_fenced() {
            // The fence closed while the service answered.
            shared.cache.forget_domain(domain.id);
        }
        // A remembered key never makes a header open that was tampered with since.
        if slots.iter().flatten().any(|slot| slot::is_authentic(identity, slot, &unwrapped.keys)) {
            Ok(unwrapped.keys)
        } else {
            Err(KeyError::Tampered { file: identity.file_id })
        }
    }

    fn check_usable(&self, domain: DomainId) -> Result<(), KeyError> {
        self.shared.domain(domain)?.usability.check()
    }
}
