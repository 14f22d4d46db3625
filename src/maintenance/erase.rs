//! Crypto-erasure: destroying the KMS key, and proving that nothing under it opens any more.

use std::time::SystemTime;

use kms_core::KmsError;
use kms_core::model::{
    DeleteImportedKeyMaterialRequest, DescribeKeyRequest, KeyArn, KeyMetadata, KeyRef, Origin,
    ScheduleKeyDeletionRequest, Timestamp,
};

use super::header::{HeaderPage, SoundHeader, read_header};
use super::inventory::{InventoryGroup, inventory, newest_wrap};
use super::walk::Walk;
use super::{MaintenanceError, OnProgress};
use crate::format::{DomainId, VolumeId};
use crate::keys::{Connection, KeyRing, key_id_of};
use crate::store::{FileAccess, NodeKind};
use crate::volume::OpenVolume;

/// What is to be erased.
#[derive(Debug, Clone)]
pub struct EraseOptions {
    /// The KMS key (an ARN, an id or an alias).
    pub key: String,
    /// Days until a key that was not imported is deleted, 7 to 30; 30 if absent. It is unusable at once.
    pub pending_window_days: Option<i32>,
    /// How many files to prove it with.
    pub sample: usize,
}

/// How a key was destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EraseMethod {
    /// Its imported material was deleted, at once and for good, as far as this service goes.
    MaterialDeleted,
    /// Its deletion was scheduled: it is unusable now, and until the date its owner can take it back.
    DeletionScheduled {
        /// When the key is gone. Absent as long as a multi-Region key has replicas: its waiting period begins when the
        /// last of them is deleted.
        date: Option<Timestamp>,
    },
}

/// Evidence of an erasure.
#[derive(Debug, Clone)]
pub struct EraseReceipt {
    /// The volume.
    pub volume_id: VolumeId,
    /// The ARN of the destroyed KMS key.
    pub key: String,
    /// How it was destroyed.
    pub method: EraseMethod,
    /// When.
    pub time: SystemTime,
    /// Domains whose names are under the key: their names cannot be read any more either.
    pub domains: Vec<DomainId>,
    /// Files whose newest wrap is under the key, or all of whose domain is.
    pub files: u64,
    /// Plain bytes of these files.
    pub bytes: u64,
    /// Files that opened before.
    pub opened_before: usize,
    /// The same files, refused afterwards.
    pub refused_after: usize,
    /// Copies that may outlive the erasure, as sentences.
    pub may_outlive: Vec<String>,
}

/// Destroys the KMS key `options.key` and proves it on a sample of files.
///
/// # Errors
/// [`MaintenanceError::KeyNotUsed`] and [`MaintenanceError::AlsoOpens`] before anything is destroyed; [`MaintenanceError::Service`] if the service refuses;
/// [`MaintenanceError::StillOpens`] if a data key unwraps afterwards.
pub fn erase(
    volume: &OpenVolume,
    options: &EraseOptions,
    progress: OnProgress<'_>,
) -> Result<EraseReceipt, MaintenanceError> {
    let metadata = describe(volume, &options.key)?;
    let arn = metadata.arn.to_string();
    refuse_if_shared(volume, &arn)?;
    let used = inventory(volume, progress);
    let groups: Vec<&InventoryGroup> =
        used.groups.iter().filter(|group| group.key_id == key_id_of(&arn)).collect();
    let domains: Vec<DomainId> = volume
        .keys()
        .domains()
        .into_iter()
        .filter(|summary| summary.keys.first() == Some(&arn))
        .map(|summary| summary.id)
        .collect();
    if groups.is_empty() && domains.is_empty() {
        return Err(MaintenanceError::KeyNotUsed { key: arn });
    }
    let sample = sample_of(volume, &arn, options.sample)?;
    let opened_before = count_opening(volume.keys(), &sample);
    let method = destroy(volume, &metadata, options.pending_window_days)?;
    volume.keys().poll_usability();
    let opened = count_opening(volume.keys(), &sample);
    if opened > 0 {
        return Err(MaintenanceError::StillOpens { key: arn, opened, tried: sample.len() });
    }
    Ok(EraseReceipt {
        volume_id: volume.volume_id(),
        key: arn,
        method,
        time: SystemTime::now(),
        domains,
        files: groups.iter().map(|group| group.files).sum(),
        bytes: groups.iter().map(|group| group.bytes).sum(),
        opened_before,
        refused_after: sample.len(),
        may_outlive: outliving(method, &metadata),
    })
}

fn describe(volume: &OpenVolume, key: &str) -> Result<KeyMetadata, MaintenanceError> {
    let failed = |source: KmsError| MaintenanceError::Service { key: key.to_owned(), source };
    let Connection { service, caller } = volume.keys().connection(key)?;
    let request = DescribeKeyRequest::new(key.parse::<KeyRef>().map_err(failed)?);
    Ok(service.describe_key(&caller, &request).map_err(failed)?.key_metadata)
}

/// Fails if a domain that is under the key `arn` has another recipient: nothing would become unreadable.
fn refuse_if_shared(volume: &OpenVolume, arn: &str) -> Result<(), MaintenanceError> {
    for summary in volume.keys().domains() {
        let recipients = &summary.keys[..summary.recipients.min(summary.keys.len())];
        if recipients.iter().any(|key| key == arn)
            && let Some(other) = recipients.iter().find(|key| *key != arn)
        {
            return Err(MaintenanceError::AlsoOpens { key: arn.to_owned(), other: other.clone() });
        }
    }
    Ok(())
}

/// Headers of files under the key, the first ones of the tree. A file that a rewrap has not reached may have another
/// recipient still.
fn sample_of(volume: &OpenVolume, arn: &str, count: usize) -> Result<Vec<SoundHeader>, MaintenanceError> {
    let mut sample = Vec::new();
    for found in Walk::new(volume.root(), volume.name_mode()).flatten() {
        if sample.len() >= count {
            break;
        }
        if found.kind != NodeKind::File {
            continue;
        }
        if let HeaderPage::Sound(sound) = read_header(&found.node.open_file(FileAccess::Read)?)?
            && newest_wrap(&sound.header.slots).is_some_and(|(_, key_id)| {
                volume.keys().kms_key_of(sound.header.identity.domain_id, key_id) == key_id_of(arn)
            })
        {
            let wraps = sound.header.slots.iter().flatten().max_by_key(|slot| slot.generation);
            if wraps.is_some_and(|slot| slot.recipients.len() > 1) {
                let other = format!("another recipient of the file {}", found.path.display());
                return Err(MaintenanceError::AlsoOpens { key: arn.to_owned(), other });
            }
            sample.push(*sound);
        }
    }
    Ok(sample)
}

/// How many of the headers unwrap, each by a call to the service.
fn count_opening(keys: &KeyRing, sample: &[SoundHeader]) -> usize {
    let opens = |sound: &&SoundHeader| keys.unwrap_fresh(&sound.header.identity, &sound.header.slots).is_ok();
    sample.iter().filter(opens).count()
}

fn destroy(
    volume: &OpenVolume,
    metadata: &KeyMetadata,
    pending_window_in_days: Option<i32>,
) -> Result<EraseMethod, MaintenanceError> {
    let arn: &KeyArn = &metadata.arn;
    let Connection { service, caller } = volume.keys().connection(arn.as_str())?;
    let failed = |source: KmsError| MaintenanceError::Service { key: arn.to_string(), source };
    if metadata.origin == Origin::External {
        let request = DeleteImportedKeyMaterialRequest { key_id: arn.into(), key_material_id: None };
        service.delete_imported_key_material(&caller, &request).map_err(failed)?;
        return Ok(EraseMethod::MaterialDeleted);
    }
    let request = ScheduleKeyDeletionRequest { key_id: arn.into(), pending_window_in_days };
    let answer = service.schedule_key_deletion(&caller, &request).map_err(failed)?;
    Ok(EraseMethod::DeletionScheduled { date: answer.deletion_date })
}

fn outliving(method: EraseMethod, key: &KeyMetadata) -> Vec<String> {
    let mut copies = match method {
        EraseMethod::MaterialDeleted => vec![
            "The key material that was imported, wherever its owner kept it: importing it again makes the data \
             readable again.",
            "Backups of the keystore's database together with its root key.",
        ],
        EraseMethod::DeletionScheduled { .. } => vec![
            "The key itself until the date of its deletion: its owner can cancel the deletion and enable it.",
            "Backups of the keystore's database together with its root key.",
        ],
    };
    copies.extend([
        "Data keys and plaintext in the memory of processes that have the volume open: they give them up when they \
         next ask the service, at the latest after the poll interval.",
        "Copies of files that were made outside the volume, or inside it under another KMS key.",
    ]);
    copies.into_iter().map(str::to_owned).chain(related(key)).collect()
}

/// The same material in other Regions.
fn related(key: &KeyMetadata) -> Option<String> {
    let family = key.multi_region_configuration.as_ref()?;
    let all = std::iter::once(&family.primary_key).chain(&family.replica_keys);
    let others: Vec<String> =
        all.map(|one| &one.arn).filter(|arn| **arn != key.arn).map(KeyArn::to_string).collect();
    let names = others.join(", ");
    (!others.is_empty()).then(|| {
        format!(
            "The related keys in other Regions, which have the same material or may be given it: {names}."
        )
    })
}
