//! The connections of this process to custom key stores.
//!
//! Whether a store is connected is a fact of its record, which holds for every process. A process connects when it first
//! needs the store, and lets go when the record has changed. What a provider refuses for good, above all a PIN that is
//! wrong, is written into the record, so that no other process tries it again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Core;
use crate::custody::{
    ConnectFailure, CustodyError, KeyCustody, KeyStoreProvider, Pkcs11Provider, XksProvider,
};
use crate::error::KmsError;
use crate::model::{CustomKeyStoreId, CustomKeyStoreType, Origin, Region};
use crate::seal::Sealer;
use crate::store::{self, Connection, CustomKeyStoreRecord, KeyRecord, ReadTx};

/// After a failed attempt of this process, how long requests are refused without another one.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What connects stores of each type.
pub(super) type Providers = BTreeMap<CustomKeyStoreType, Arc<dyn KeyStoreProvider>>;

/// What the providers of each Region are made of.
#[derive(Clone)]
pub(super) struct Parts {
    /// Those that whoever built the service has brought.
    pub(super) given: Providers,
    /// Seals the own material of keys in external key managers.
    pub(super) external: Arc<Sealer>,
}

impl Parts {
    /// The given providers, and for each other type the one that every service has.
    fn providers(&self, region: &Region) -> Providers {
        let mut providers = self.given.clone();
        let token = || -> Arc<dyn KeyStoreProvider> { Arc::new(Pkcs11Provider::new()) };
        providers.entry(CustomKeyStoreType::AwsCloudHsm).or_insert_with(token);
        let proxy = || -> Arc<dyn KeyStoreProvider> {
            Arc::new(XksProvider::new(Arc::clone(&self.external), region.clone()))
        };
        providers.entry(CustomKeyStoreType::ExternalKeyStore).or_insert_with(proxy);
        providers
    }
}

/// The connections of this process to the stores of one Region.
pub(super) struct Connections {
    parts: Parts,
    providers: Providers,
    by_store: Mutex<HashMap<CustomKeyStoreId, Arc<Slot>>>,
}

/// The connection to one store at one epoch of its record.
struct Slot {
    epoch: u64,
    /// Locked while somebody connects, so that others wait for that and do not connect too.
    state: Mutex<SlotState>,
}

enum SlotState {
    Idle,
    Connected(Arc<dyn KeyCustody>),
    Failed { at: Instant, failure: ConnectFailure },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in there is replaced whole, so that a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    pub(super) fn new(parts: Parts, region: &Region) -> Self {
        Self { providers: parts.providers(region), parts, by_store: Mutex::default() }
    }

    /// Those of another Region: none yet.
    pub(super) fn at(&self, region: &Region) -> Self {
        Self::new(self.parts.clone(), region)
    }

    /// What connects stores of a type.
    pub(super) fn provider(&self, store_type: CustomKeyStoreType) -> Result<&dyn KeyStoreProvider, KmsError> {
        self.providers.get(&store_type).map(Arc::as_ref).ok_or_else(|| {
            KmsError::UnsupportedOperation(format!(
                "Custom key stores of type {store_type} are not supported by this service."
            ))
        })
    }

    /// The connection to a store, made if there is none.
    pub(super) fn open(&self, record: &CustomKeyStoreRecord) -> Result<Arc<dyn KeyCustody>, ConnectFailure> {
        let slot = self.slot(record);
        let mut state = lock(&slot.state);
        match &*state {
            SlotState::Connected(custody) => return Ok(Arc::clone(custody)),
            SlotState::Failed { at, failure } if failure.is_final || at.elapsed() < RETRY_PAUSE => {
                return Err(failure.clone());
            }
            SlotState::Failed { .. } | SlotState::Idle => {}
        }
        match self.connect(record) {
            Ok(custody) => {
                *state = SlotState::Connected(Arc::clone(&custody));
                Ok(custody)
            }
            Err(failure) => {
                tracing::warn!(store = %record.id, name = record.name, code = %failure.code, reason = failure.reason,
                    "a custom key store could not be connected");
                *state = SlotState::Failed { at: Instant::now(), failure: failure.clone() };
                Err(failure)
            }
        }
    }

    fn connect(&self, record: &CustomKeyStoreRecord) -> Result<Arc<dyn KeyCustody>, ConnectFailure> {
        let failed = |error: KmsError| ConnectFailure {
            store: record.id.clone(),
            code: crate::model::ConnectionErrorCode::InternalError,
            reason: error.to_string(),
            is_final: false,
        };
        self.provider(record.store_type()).map_err(failed)?.connect(&record.id, &record.config)
    }

    /// Lets go of a connection that the record no longer stands for.
    pub(super) fn release(&self, id: &CustomKeyStoreId, keep: Option<u64>) {
        let mut by_store = lock(&self.by_store);
        let stale = by_store.get(id).is_some_and(|slot| Some(slot.epoch) != keep);
        let slot = if stale { by_store.remove(id) } else { None };
        drop(by_store);
        // Logging out may take a while, so it happens outside the lock.
        drop(slot);
    }

    /// The stores to which there may be a connection.
    fn ids(&self) -> Vec<CustomKeyStoreId> {
        lock(&self.by_store).keys().cloned().collect()
    }

    fn slot(&self, record: &CustomKeyStoreRecord) -> Arc<Slot> {
        let fresh = || Arc::new(Slot { epoch: record.epoch, state: Mutex::new(SlotState::Idle) });
        let mut by_store = lock(&self.by_store);
        let slot = by_store.entry(record.id.clone()).or_insert_with(fresh);
        let stale = (slot.epoch != record.epoch).then(|| std::mem::replace(slot, fresh()));
        let slot = Arc::clone(slot);
        drop(by_store);
        drop(stale);
        slot
    }
}

impl Core {
    /// The byte by which blobs say which kind of custody made them; known without a connection.
    pub(super) fn blob_kind(&self, record: &KeyRecord) -> Result<u8, KmsError> {
        match record.origin {
            Origin::AwsKms | Origin::External => Ok(self.custody.of(record.origin)?.blob_kind()),
            Origin::AwsCloudHsm => Ok(crate::custody::TOKEN_BLOB_KIND),
            Origin::ExternalKeyStore => Ok(crate::custody::EXTERNAL_BLOB_KIND),
        }
    }

    /// Who holds the material of a key. Connects to its custom key store if need be.
    pub(super) fn custody_of(&self, record: &KeyRecord) -> Result<Arc<dyn KeyCustody>, KmsError> {
        let Some(binding) = &record.custom_key_store else { return self.custody.shared(record.origin) };
        let key_store = store::read(&*self.store, |tx| self.key_store_of(tx, record))?;
        match key_store {
            Some(key_store) if key_store.is_connected() => self.open_key_store(&key_store),
            Some(_) | None => {
                let message = format!("Custom key store {} is not connected.", binding.store_id);
                Err(KmsError::KmsInvalidState(message))
            }
        }
    }

    /// The connection to a store whose record says that it is connected.
    pub(super) fn open_key_store(
        &self,
        record: &CustomKeyStoreRecord,
    ) -> Result<Arc<dyn KeyCustody>, KmsError> {
        self.key_stores.open(record).map_err(|failure| {
            if failure.is_final {
                self.note_failure(record, &failure);
            }
            CustodyError::Unavailable(failure.to_string()).into()
        })
    }

    /// Writes into the record that the store cannot be connected, unless somebody has changed it meanwhile.
    fn note_failure(&self, seen: &CustomKeyStoreRecord, failure: &ConnectFailure) {
        let noted = store::write(&*self.store, |tx| {
            let Some(mut record) = tx.custom_key_store(&seen.id)? else { return Ok(()) };
            if record.epoch == seen.epoch && record.is_connected() {
                record.connection = Connection::Failed(failure.code);
                tx.put_custom_key_store(&record)?;
            }
            Ok(())
        });
        if let Err(error) = noted {
            tracing::warn!(store = %seen.id, %error, "that a connection failed could not be recorded");
        }
    }

    /// The custom key store of a key.
    pub(super) fn key_store_of(
        &self,
        tx: &(impl ReadTx + ?Sized),
        record: &KeyRecord,
    ) -> Result<Option<CustomKeyStoreRecord>, KmsError> {
        match &record.custom_key_store {
            Some(binding) => Ok(tx.custom_key_store(&binding.store_id)?),
            None => Ok(None),
        }
    }

    /// A key's record as read, with what its custom key store says about it.
    pub(super) fn with_availability(
        &self,
        tx: &(impl ReadTx + ?Sized),
        record: KeyRecord,
    ) -> Result<KeyRecord, KmsError> {
        let key_store = self.key_store_of(tx, &record)?;
        let connected = key_store.is_some_and(|key_store| key_store.is_connected());
        Ok(KeyRecord { unavailable: record.custom_key_store.is_some() && !connected, ..record })
    }

    /// Lets go of connections that other processes have ended.
    pub(super) fn release_connections(&self) -> Result<(), KmsError> {
        for id in self.key_stores.ids() {
            let record = store::read(&*self.store, |tx| Ok(tx.custom_key_store(&id)?))?;
            let keep = record.filter(CustomKeyStoreRecord::is_connected).map(|record| record.epoch);
            self.key_stores.release(&id, keep);
        }
        Ok(())
    }
}
