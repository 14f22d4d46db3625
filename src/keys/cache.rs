//! Unwrapped file keys: bounded in number, and one call for all who ask at once.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::{Condvar, Mutex};

use super::KeyError;
use crate::crypto::FileKeys;
use crate::format::{DomainId, FileId, Identity};

/// Keys that were unwrapped, and under which KMS key and when.
#[derive(Debug, Clone)]
pub(super) struct Unwrapped {
    pub(super) identity: Identity,
    pub(super) keys: Arc<FileKeys>,
    pub(super) key_id: [u8; 16],
    /// Milliseconds of the key ring's clock.
    pub(super) at: u64,
}

type Outcome = Result<Unwrapped, KeyError>;

/// The cache of a key ring.
#[derive(Debug)]
pub(super) struct FileKeyCache {
    /// Taken alone or before a flight's lock.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    kept: LruCache<FileId, Unwrapped>,
    flights: HashMap<FileId, Arc<Flight>>,
}

/// An unwrap that is under way.
#[derive(Debug, Default)]
struct Flight {
    outcome: Mutex<Option<Outcome>>,
    landed: Condvar,
}

impl FileKeyCache {
    /// A cache of at most `capacity` files.
    pub(super) fn new(capacity: NonZeroUsize) -> Self {
        Self { state: Mutex::new(State { kept: LruCache::new(capacity), flights: HashMap::new() }) }
    }

    /// The keys of `identity` if they are kept and still `valid`, else what `unwrap` returns. Of several threads
    /// that ask for one file at once, one calls `unwrap` and all get its outcome.
    pub(super) fn get_or_unwrap(
        &self,
        identity: &Identity,
        valid: impl Fn(&Unwrapped) -> bool,
        unwrap: impl FnOnce() -> Outcome,
    ) -> Outcome {
        let (flight, first) = {
            let mut state = self.state.lock();
            match state.kept.get(&identity.file_id) {
                Some(kept) if kept.identity == *identity && valid(kept) => return Ok(kept.clone()),
                _ => {}
            }
            match state.flights.get(&identity.file_id) {
                Some(flight) => (Arc::clone(flight), false),
                None => {
                    let flight = Arc::new(Flight::default());
                    state.flights.insert(identity.file_id, Arc::clone(&flight));
                    (flight, true)
                }
            }
        };
        if !first {
            let mut outcome = flight.outcome.lock();
            flight.landed.wait_while(&mut outcome, |outcome| outcome.is_none());
            // Another identity under the same file id is somebody's tampering: it gets no keys from here.
            return match &*outcome {
                Some(Ok(unwrapped)) if unwrapped.identity == *identity => Ok(unwrapped.clone()),
                Some(Err(error)) => Err(error.clone()),
                _ => Err(KeyError::Tampered { file: identity.file_id }),
            };
        }
        let landing = Landing { cache: self, file: identity.file_id, flight: &flight };
        let outcome = unwrap();
        landing.land(outcome.clone());
        outcome
    }

    /// Forgets the keys of all files of `domain`.
    pub(super) fn forget_domain(&self, domain: DomainId) {
        let mut state = self.state.lock();
        let files = state.kept.iter().filter(|(_, kept)| kept.identity.domain_id == domain);
        let files: Vec<FileId> = files.map(|(file, _)| *file).collect();
        for file in files {
            state.kept.pop(&file);
        }
    }

    /// Number of files whose keys are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state.lock().kept.len()
    }
}

/// Ends a flight even if its unwrap panics: nobody waits for ever.
struct Landing<'a> {
    cache: &'a FileKeyCache,
    file: FileId,
    flight: &'a Flight,
}

impl Landing<'_> {
    fn land(self, outcome: Outcome) {
        *self.flight.outcome.lock() = Some(outcome);
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut state = self.cache.state.lock();
        state.flights.remove(&self.file);
        let mut outcome = self.flight.outcome.lock();
        let landed = outcome.get_or_insert(Err(KeyError::Tampered { file: self.file }));
        if let Ok(unwrapped) = landed {
            state.kept.put(self.file, unwrapped.clone());
        }
        self.flight.landed.notify_all();
    }
}
