//! The keys of an open volume.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::cache::{FileKeyCache, Unwrapped};
use super::domain::Domain;
use super::domain_key::KeyTier;
use super::place::{Connection, KeyAt, KeyPlace, KeyServices};
use super::pool::Bell;
use super::record::{self, KEYS_DIR, NewDomain, RecipientChange};
use super::shared::Shared;
use super::wrapper::Wrapper;
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
    /// Keys that are asked of the service together.
    pub pool_batch: usize,
}

impl KeyRingOptions {
    /// The limits for keys at a service elsewhere: more are made ahead, and together, to hide the way there.
    pub fn remote() -> Self {
        Self { pool_low: 256, pool_high: 512, pool_batch: 64, ..Self::default() }
    }
}

impl Default for KeyRingOptions {
    fn default() -> Self {
        Self {
            cache_entries: NonZeroUsize::new(4096).expect("4096 is not zero"),
            cache_ttl: Duration::from_secs(60),
            grace: Duration::from_secs(300),
            pool_low: 16,
            pool_high: 64,
            pool_batch: 16,
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
    /// The ARNs of its KMS keys; the first ones wrap, the others open what has not been rewrapped.
    pub keys: Vec<String>,
    /// Where each of the keys is.
    pub places: Vec<KeyPlace>,
    /// How many of the keys wrap.
    pub recipients: usize,
    /// What wraps data keys.
    pub tier: KeyTier,
    /// How headers name the present domain key.
    pub domain_key: Option<[u8; 16]>,
    /// How headers name all domain keys, each with one of the KMS keys that it is under.
    pub domain_keys: Vec<([u8; 16], [u8; 16])>,
    /// Why its files are closed at present, if they are.
    pub unusable: Option<KeyError>,
}

impl DomainSummary {
    /// Whether the record still has keys that wrap nothing new.
    pub fn has_former(&self) -> bool {
        self.keys.len() > self.recipients
            || self.domain_keys.iter().any(|(id, _)| Some(*id) != self.domain_key)
    }
}

/// The keys of an open volume: its domains, the data keys made ahead, the unwrapped ones, and the fences.
///
/// Dropping it ends its thread and wipes what it holds.
pub struct KeyRing {
    pub(super) shared: Arc<Shared>,
    maker: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("volume", &self.shared.wrapper.volume_id).finish_non_exhaustive()
    }
}

impl KeyRing {
    /// Makes the first domain of a new volume, in memory: its secret under the KMS keys `keys`, each in the form of
    /// [`KeyAt`]. The caller writes it.
    ///
    /// # Errors
    /// [`KeyError`] if a key cannot be used.
    pub fn new_root(
        services: &Arc<dyn KeyServices>,
        volume_id: VolumeId,
        keys: &[KeyAt],
        tier: KeyTier,
    ) -> Result<NewDomain, KeyError> {
        let wrapper = Wrapper { services: Arc::clone(services), volume_id };
        // The others are where the first one is, if they do not say.
        let default = keys.first().and_then(|key| key.place.clone()).unwrap_or(KeyPlace::Keystore);
        NewDomain::make(&wrapper, DomainId(random::bytes()), keys, &default, tier)
    }

    /// Opens the domains of a volume. Only the root domain's secret is unwrapped.
    ///
    /// # Errors
    /// [`KeyError`] if the root domain cannot be opened. Other domains fail when they are used.
    pub fn load(
        services: Arc<dyn KeyServices>,
        volume_dir: NodeRef,
        superblock: &Superblock,
        options: KeyRingOptions,
    ) -> Result<Arc<Self>, KeyError> {
        let start = Instant::now();
        let clock: Clock = Arc::new(move || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
        let wrapper = Wrapper { services, volume_id: superblock.volume_id };
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

    /// The service that has the key `key` (an ARN or an id): that of the domain record that names it, and else that of the
    /// root domain's first key.
    ///
    /// # Errors
    /// [`KeyError::Service`] if there is no way there.
    pub fn connection(&self, key: &str) -> Result<Connection, KeyError> {
        let place = self.shared.place_of(key).unwrap_or_else(|| self.shared.root.place());
        self.shared.wrapper.connect(key, &place)
    }

    /// The KMS key that a wrap which names `key_id` is under in the end: of a domain key, the first of its KMS keys.
    pub fn kms_key_of(&self, domain: DomainId, key_id: [u8; 16]) -> [u8; 16] {
        let summary = self.shared.domain(domain).map(|domain| domain.summary().domain_keys);
        let found = summary.ok().and_then(|keys| keys.into_iter().find(|(id, _)| *id == key_id));
        found.map_or(key_id, |(_, kms)| kms)
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

    /// As [`Self::add_domain_for`], for one key in the form of [`KeyAt`].
    ///
    /// # Errors
    /// As there, and [`KeyError::Place`].
    pub fn add_domain(&self, key: &str) -> Result<DomainId, KeyError> {
        self.add_domain_for(&[key.parse()?])
    }

    /// Makes a domain of the root domain's tier with a secret under the KMS keys `keys`, which are where the root domain's first key is if they
    /// do not say, durably.
    ///
    /// # Errors
    /// [`KeyError`] if a key cannot be used or the record cannot be written.
    pub fn add_domain_for(&self, keys: &[KeyAt]) -> Result<DomainId, KeyError> {
        let shared = &self.shared;
        let id = loop {
            let id = DomainId(random::bytes());
            let [a, b, c, d, ..] = id.0;
            // Directories name their domain by its first four bytes.
            if self.domains_with_tag([a, b, c, d]).is_empty() {
                break id;
            }
        };
        let mut new =
            NewDomain::make(&shared.wrapper, id, keys, &shared.root.place(), shared.root.summary().tier)?;
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

    /// Begins to rewrap a domain: raises its epoch and makes those the keys that wrap which `change` leaves. The former
    /// keys stay until [`Self::finish_rewrap`].
    ///
    /// # Errors
    /// [`KeyError`] if a key cannot be used or the record cannot be written.
    pub fn begin_rewrap(&self, id: DomainId, change: &RecipientChange) -> Result<DomainSummary, KeyError> {
        let domain = self.shared.domain(id)?;
        let (record, keys) = self.shared.open(&domain)?;
        let new = NewDomain::moved(&self.shared.wrapper, &record, change)?;
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
        new.domain_keys.retain(|wrap| wrap.epoch == record.epoch);
        new.keys.retain(|key| !key.wrapped_secret.is_empty());
        if new == *record {
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
        let domain = self.shared.domain(identity.domain_id)?;
        let (record, _) = self.shared.open(&domain)?;
        let domain_key = |id| self.shared.domain_key(&domain, &record, id, false);
        let sound = slot::by_generation(slots);
        let tampered = KeyError::Tampered { file: identity.file_id };
        let generation = sound.first().map_or(0, |(_, slot)| slot.generation);
        let mut failure = None;
        for (replaced, old) in sound {
            match self.shared.wrapper.move_slot(&record, identity, old, &domain_key) {
                Ok((recipients, keys)) => {
                    match slot::replacing(identity, old, replaced, generation, recipients, &keys)? {
                        Some(rewrap) => return Ok(rewrap),
                        None => {
                            failure.get_or_insert_with(|| tampered.clone());
                        }
                    }
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
        self.shared.unwrap(&domain, identity, slots, true).map(|(keys, _)| keys)
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
        let domain_key = |id| shared.domain_key(&domain, &record, id, false);
        let made = shared.wrapper.new_files(&record, 1, &domain_key).pop();
        let made = made.unwrap_or(Err(KeyError::DomainTampered { domain: domain.id }));
        shared.heed(&domain, made, now)
    }

    fn unwrap(&self, identity: &Identity, slots: &[Option<KeySlot>; 2]) -> Result<Arc<FileKeys>, KeyError> {
        let shared = &self.shared;
        let domain = shared.domain(identity.domain_id)?;
        shared.check(&domain)?;
        let (record, _) = shared.open(&domain)?;
        let current: Vec<[u8; 16]> = record::recipients(&record).map(|key| key.key_id).collect();
        let (now, ttl) = (shared.now(), shared.options.cache_ttl);
        let valid = |kept: &Unwrapped| {
            let since_unwrap = Duration::from_millis(now.saturating_sub(kept.at));
            let by_poll = current.contains(&kept.key_id) && domain.usability.unconfirmed_for(now) < ttl;
            by_poll || since_unwrap < ttl
        };
        let unwrapped = shared.cache.get_or_unwrap(identity, valid, || {
            let unwrapped = shared.unwrap(&domain, identity, slots, false);
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
