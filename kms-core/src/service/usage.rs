//! The last use of each key.
//!
//! A use is noted in memory, which costs a fraction of a microsecond, and written with the next
//! [`EmbeddedKms::run_due`](super::EmbeddedKms::run_due) or when the service ends: writing makes every process read its
//! keys again. So other processes learn of a use late, and a crash forgets those of the last minute.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use super::Core;
use super::access::Purpose;
use super::states::OperationClass;
use crate::error::KmsError;
use crate::model::*;
use crate::store::{self, KeyRecord};

/// How far a time is shifted to make room for the operation.
const OPERATION_BITS: u32 = 8;

/// The last use of keys, as this process knows it.
#[derive(Debug, Default)]
pub(super) struct UsageBook {
    entries: RwLock<HashMap<KeyId, Entry>>,
}

/// The last use of one key.
#[derive(Debug, Default)]
struct Entry {
    /// Milliseconds since the epoch, and below them which operation.
    packed: AtomicU64,
    /// Whether it has to be written.
    fresh: AtomicBool,
}

impl Entry {
    fn note(&self, usage: KeyLastUsage) {
        let new = pack(usage);
        // Of two within a millisecond the one that is noted last.
        let later = |old: u64| (new >> OPERATION_BITS >= old >> OPERATION_BITS).then_some(new);
        let _ = self.packed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        self.fresh.store(true, Ordering::Release);
    }
}

fn pack(usage: KeyLastUsage) -> u64 {
    let millis = u64::try_from(usage.timestamp.as_millis()).unwrap_or(0);
    millis << OPERATION_BITS | usage.operation as u64
}

fn unpack(packed: u64) -> Option<KeyLastUsage> {
    let index = usize::try_from(packed & ((1 << OPERATION_BITS) - 1)).ok()?;
    let millis = i64::try_from(packed >> OPERATION_BITS).ok()?;
    let operation = UsageOperation::ALL.get(index).copied()?;
    Some(KeyLastUsage { operation, timestamp: Timestamp::from_millis(millis) })
}

impl UsageBook {
    fn note(&self, key_id: &KeyId, usage: KeyLastUsage) {
        let known = self
            .entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key_id)
            .map(|one| one.note(usage));
        if known.is_none() {
            let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
            entries.entry(*key_id).or_default().note(usage);
        }
    }

    fn last(&self, key_id: &KeyId) -> Option<KeyLastUsage> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        unpack(entries.get(key_id)?.packed.load(Ordering::Relaxed))
    }

    /// Takes what has to be written. What is noted meanwhile is fresh again.
    fn take_fresh(&self) -> Vec<(KeyId, KeyLastUsage)> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let fresh = entries.iter().filter(|(_, entry)| entry.fresh.swap(false, Ordering::AcqRel));
        fresh
            .filter_map(|(key_id, entry)| Some((*key_id, unpack(entry.packed.load(Ordering::Relaxed))?)))
            .collect()
    }
}

impl Core {
    /// Notes that a key was used successfully.
    pub(super) fn used(&self, record: &KeyRecord, operation: UsageOperation) {
        self.usage.note(&record.key_id, KeyLastUsage { operation, timestamp: self.now() });
    }

    /// Writes what was noted since the last time.
    pub(super) fn write_usage(&self) -> Result<(), KmsError> {
        let fresh = self.usage.take_fresh();
        if fresh.is_empty() {
            return Ok(());
        }
        let written = store::write(&*self.store, |tx| {
            for (key_id, usage) in &fresh {
                let later = |known: KeyLastUsage| known.timestamp >= usage.timestamp;
                // The key may have been deleted since, and another process may have used it later.
                if tx.key(key_id)?.is_some() && !tx.last_usage(key_id)?.is_some_and(later) {
                    tx.put_last_usage(key_id, usage)?;
                }
            }
            Ok(())
        });
        if written.is_err() {
            fresh.iter().for_each(|(key_id, usage)| self.usage.note(key_id, *usage));
        }
        written
    }

    pub(super) fn get_key_last_usage(
        &self,
        caller: &Caller,
        request: &GetKeyLastUsageRequest,
    ) -> Result<GetKeyLastUsageResponse, KmsError> {
        let purpose = Purpose::new(Action::GetKeyLastUsage, OperationClass::Read);
        let record = self.view_key(caller, &request.key_id, &purpose)?;
        let (stored, since) =
            store::read(&*self.store, |tx| Ok((tx.last_usage(&record.key_id)?, tx.usage_recorded_since()?)))?;
        let here = self.usage.last(&record.key_id);
        Ok(GetKeyLastUsageResponse {
            key_id: self.arn(&record.key_id),
            key_last_usage: stored.into_iter().chain(here).max_by_key(|usage| usage.timestamp),
            tracking_start_date: since.max(record.creation_date),
            key_creation_date: record.creation_date,
        })
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Err(error) = self.write_usage() {
            tracing::warn!(%error, "the last use of keys could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_last_of_the_latest_is_kept(uses in proptest::collection::vec((0_i64..4, 0..14_usize), 1..6)) {
            let usage = |(millis, index): (i64, usize)| KeyLastUsage {
                operation: UsageOperation::ALL[index],
                timestamp: Timestamp::from_millis(millis),
            };
            let entry = Entry::default();
            uses.iter().for_each(|one| entry.note(usage(*one)));
            let latest = uses.iter().copied().max_by_key(|(millis, _)| *millis).map(usage);
            proptest::prop_assert_eq!(unpack(entry.packed.load(Ordering::Relaxed)), latest);
        }
    }
}
