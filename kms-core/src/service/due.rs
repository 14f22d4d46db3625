//! What time brings: deletion after the waiting period, expiry of imported material, rotation.
//!
//! Nothing here needs a timer. Every access to a key first carries out what is due on it, so a key is never used past
//! its time; [`EmbeddedKms::run_due`](super::EmbeddedKms::run_due) does the same for keys that nobody touches.

use super::{Core, custom_key_stores, rotation};
use crate::custody::NewMaterial;
use crate::error::KmsError;
use crate::model::{KeyArn, KeyId, KeyState, MaterialId, Origin, RotationType, Timestamp};
use crate::store::{self, KeyRecord, StoreError, WriteTx};

/// The most keys that one sweep takes on.
const SWEEP_LIMIT: usize = 10_000;

/// What [`EmbeddedKms::run_due`](super::EmbeddedKms::run_due) did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueReport {
    /// Keys on which something was carried out.
    pub settled: usize,
    /// Keys on which it failed, and why. They are tried again next time.
    pub failed: Vec<(KeyId, KmsError)>,
    /// Whether the store has nothing left of what was erased. `false` while a reader is in the way.
    pub scrubbed: bool,
}

/// Handles whose records are gone, to be destroyed in custody.
type ErasedHandles = Vec<(MaterialId, Vec<u8>)>;

/// What was due on a key and was carried out.
#[derive(Default)]
struct Settled {
    erased: ErasedHandles,
    /// How it is recorded.
    done: Vec<&'static str>,
    /// A primary whose waiting period began, because its last replica was deleted.
    begun: Option<KeyArn>,
}

impl Core {
    /// Carries out everything that is due on any key.
    pub(super) fn run_due(&self) -> Result<DueReport, KmsError> {
        // Also wipes what is cached of keys that another process has changed.
        let counter = self.sync_cache()?;
        self.credentials.sync(counter);
        let (settled, failed) = self.sweep()?;
        self.release_connections()?;
        // Nobody's request fails because the last use of a key could not be written down.
        if let Err(error) = self.write_usage() {
            tracing::warn!(%error, "the last use of keys could not be written");
        }
        let scrubbed = self.store.scrub()?;
        Ok(DueReport { settled, failed, scrubbed })
    }

    /// Carries out what is due, so that a list shows keys as they are now.
    pub(super) fn sweep(&self) -> Result<(usize, Vec<(KeyId, KmsError)>), KmsError> {
        let now = self.now();
        let due = store::read(&*self.store, |tx| Ok(tx.due_keys(now, SWEEP_LIMIT)?))?;
        let mut failed = Vec::new();
        for key_id in &due {
            if let Err(error) = self.settle(key_id) {
                tracing::warn!(%key_id, %error, "what is due on this key could not be carried out");
                failed.push((*key_id, error));
            }
        }
        Ok((due.len() - failed.len(), failed))
    }

    /// Carries out what is due on one key.
    pub(super) fn settle(&self, key_id: &KeyId) -> Result<(), KmsError> {
        let seen = self.load_as_stored(key_id)?;
        let now = self.now();
        // Made before the transaction, because custody may be slow, and dropped if somebody else rotated first.
        let fresh = match rotation_is_due(&seen, now) {
            true => Some(self.custody.of(seen.origin)?.generate(key_id, seen.key_spec)?),
            false => None,
        };
        let settled = store::write(&*self.store, |tx| self.settle_in(tx, key_id, fresh.as_ref(), now))?;
        let arn = self.arn(key_id);
        settled.done.iter().for_each(|operation| self.note_by_itself(operation, &arn));
        settled.begun.iter().for_each(|primary| self.note_by_itself("ScheduleKeyDeletion", primary));
        self.finish_erasure(&seen, &settled.erased)
    }

    fn settle_in(
        &self,
        tx: &dyn WriteTx,
        key_id: &KeyId,
        fresh: Option<&NewMaterial>,
        now: Timestamp,
    ) -> Result<Settled, KmsError> {
        let mut settled = Settled::default();
        let Some(before) = tx.key(key_id)? else { return Ok(settled) };
        let mut record = before.clone();
        if record.is_deleted(now) {
            settled.erased = handles(tx, &record, |_| true)?;
            custom_key_stores::leave_key_store(tx, &record)?;
            settled.done.push("DeleteKey");
            tx.erase_key(key_id)?;
            settled.begun = self.leave_family(tx, &record, now)?;
            return Ok(settled);
        }
        let erased = handles(tx, &record, |material_id| {
            record.material(material_id).is_some_and(|material| material.is_expired(now))
        })?;
        for (material_id, _) in &erased {
            erase_material(tx, &mut record, material_id)?;
            settled.done.push("DeleteExpiredKeyMaterial");
        }
        settled.erased = erased;
        if let (true, Some(fresh)) = (rotation_is_due(&record, now), fresh) {
            rotation::rotate_to(&mut record, fresh.material_id, RotationType::Automatic, now);
            settled.done.push("RotateKey");
            if let Some(schedule) = &mut record.rotation.schedule {
                // Counted from now: however long the service was down, the key rotates once.
                schedule.next_date = now.plus_days(i64::from(schedule.period_days));
            }
            tx.put_material_handle(key_id, &fresh.material_id, &fresh.handle)?;
        }
        if record != before {
            self.share(tx, &mut record)?;
        }
        // Of many threads that find a key due at the same moment, one writes.
        if record != before {
            tx.put_key(&record)?;
        }
        Ok(settled)
    }

    /// After the transaction: wipes memory, custody and the files of the store.
    pub(super) fn finish_erasure(&self, record: &KeyRecord, erased: &ErasedHandles) -> Result<(), KmsError> {
        if erased.is_empty() && record.deletion_date.is_none() {
            return Ok(());
        }
        self.cache.clear();
        if record.custom_key_store.is_some() {
            self.destroy_in_key_store(record, erased);
        } else {
            let custody = self.custody.of(record.origin)?;
            for (material_id, handle) in erased {
                custody.destroy(&record.key_id, material_id, handle)?;
            }
        }
        if !self.store.scrub()? {
            tracing::warn!(key_id = %record.key_id, "erased records remain in the store's log until its readers are done");
        }
        Ok(())
    }
}

impl Core {
    /// Destroys what a deleted key has in its custom key store. Nobody can use what is left when that fails, as in AWS;
    /// the log says what to remove by hand.
    fn destroy_in_key_store(&self, record: &KeyRecord, erased: &ErasedHandles) {
        let destroyed = self.custody_of(record).and_then(|custody| {
            erased.iter().try_for_each(|(material_id, handle)| {
                Ok(custody.destroy(&record.key_id, material_id, handle)?)
            })
        });
        if let (Err(error), Some(binding)) = (destroyed, &record.custom_key_store) {
            tracing::warn!(key_id = %record.key_id, store = %binding.store_id, %error,
                "a key was deleted, but its material remains in its custom key store");
        }
    }
}

fn rotation_is_due(record: &KeyRecord, now: Timestamp) -> bool {
    let due = record.rotation.schedule.is_some_and(|schedule| schedule.next_date <= now);
    due && record.origin == Origin::AwsKms && record.state(now) == KeyState::Enabled && !record.is_replica()
}

/// The handles of the materials that `wanted` picks and that are here.
pub(super) fn handles(
    tx: &dyn WriteTx,
    record: &KeyRecord,
    wanted: impl Fn(&MaterialId) -> bool,
) -> Result<ErasedHandles, StoreError> {
    let mut found = Vec::new();
    for material in
        record.materials.iter().filter(|material| material.present && wanted(&material.material_id))
    {
        // A damaged handle must not stand in the way of its own erasure.
        let handle = match tx.material_handle(&record.key_id, &material.material_id) {
            Err(StoreError::Corrupt { .. }) => None,
            other => other?,
        };
        found.push((material.material_id, handle.unwrap_or_default()));
    }
    Ok(found)
}

/// Erases one material. Its record stays, because only the same material may come back in its place; but not that of
/// one that waits for its rotation, which was never part of the key.
pub(super) fn erase_material(
    tx: &dyn WriteTx,
    record: &mut KeyRecord,
    material_id: &MaterialId,
) -> Result<(), StoreError> {
    if let Some(material) = record.material_mut(material_id) {
        material.present = false;
        material.valid_to = None;
        material.expiration_model = None;
    }
    if !record.is_replica() {
        record.materials.retain(|material| material.present || !material.is_pending());
    }
    tx.erase_material_handle(&record.key_id, material_id)
}
