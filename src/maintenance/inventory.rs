//! What is under which key.

use std::collections::{BTreeMap, HashSet};

use rayon::prelude::*;

use super::header::{HeaderPage, read_header};
use super::walk::{Found, OtherObjects, Unreadable, Walk};
use super::{OnProgress, Progress};
use crate::format::DomainId;
use crate::format::{Identity, KeySlot};
use crate::keys::key_id_of;
use crate::store::FileAccess;
use crate::volume::OpenVolume;

/// Files looked at together.
const BATCH: usize = 256;

/// What a volume holds, by domain, KMS key and epoch. Read from headers alone: nothing is unwrapped.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Directories, without the root.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Pipes, sockets and devices.
    pub special: u64,
    /// Files whose header was never written; they are empty.
    pub nascent: u64,
    /// Files whose header or both key slots are damaged.
    pub damaged: u64,
    /// Objects that the backing directory does not let us read.
    pub unreadable: u64,
    /// Files by domain, key and epoch.
    pub groups: Vec<InventoryGroup>,
}

/// The files of one domain under one KMS key in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryGroup {
    /// The domain.
    pub domain: DomainId,
    /// How headers name the KMS key.
    pub key_id: [u8; 16],
    /// The ARN of the KMS key, if the domain's record names it.
    pub key: Option<String>,
    /// The epoch.
    pub epoch: u32,
    /// Whether this is the domain's present key and epoch.
    pub current: bool,
    /// Files; one with several names counts once.
    pub files: u64,
    /// Plain bytes of these files.
    pub bytes: u64,
}

/// By what files are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    domain: DomainId,
    key_id: [u8; 16],
    epoch: u32,
}

enum Counted {
    Nascent,
    Damaged,
    Unreadable,
    Under(GroupKey, u64),
    /// A further name of a file that was counted, by inode number.
    MayBeAgain(u64, Option<GroupKey>, u64),
}

/// The epoch of the slot that an open would use, by generation alone, and what its first wrap is under: a KMS key or a
/// domain key.
pub(super) fn newest_wrap(slots: &[Option<KeySlot>; 2]) -> Option<(u32, [u8; 16])> {
    let newest = slots.iter().flatten().max_by_key(|slot| slot.generation)?;
    let wrap = newest.recipients.first()?;
    Some((wrap.epoch, wrap.key_id))
}

fn group_of(identity: &Identity, slots: &[Option<KeySlot>; 2]) -> Option<GroupKey> {
    let (epoch, key_id) = newest_wrap(slots)?;
    Some(GroupKey { domain: identity.domain_id, key_id, epoch })
}

fn count(found: &Result<Found, Unreadable>) -> Counted {
    let Ok(found) = found else { return Counted::Unreadable };
    let read = found.node.open_file(FileAccess::Read).and_then(|file| {
        let stat = file.stat()?;
        Ok((stat, read_header(&file)?))
    });
    match read {
        Err(_) => Counted::Unreadable,
        Ok((_, HeaderPage::Nascent)) => Counted::Nascent,
        Ok((_, HeaderPage::Damaged)) => Counted::Damaged,
        Ok((stat, HeaderPage::Sound(sound))) => {
            let group = group_of(&sound.header.identity, &sound.header.slots);
            match group {
                group if stat.nlink > 1 => Counted::MayBeAgain(stat.ino, group, sound.plain_len),
                Some(group) => Counted::Under(group, sound.plain_len),
                None => Counted::Damaged,
            }
        }
    }
}

/// Counts what `volume` holds.
pub fn inventory(volume: &OpenVolume, progress: OnProgress<'_>) -> Inventory {
    let mut walk = Walk::new(volume.root(), volume.name_mode());
    let (mut others, mut done) = (OtherObjects::default(), Progress::default());
    let mut inventory = Inventory::default();
    let mut groups: BTreeMap<GroupKey, (u64, u64)> = BTreeMap::new();
    let mut seen = HashSet::new();
    loop {
        let batch = walk.next_files(BATCH, &mut others);
        if batch.is_empty() {
            break;
        }
        let counted: Vec<Counted> = batch.par_iter().map(count).collect();
        for counted in counted {
            done.files += 1;
            let (group, bytes) = match counted {
                Counted::Nascent => {
                    inventory.nascent += 1;
                    continue;
                }
                Counted::Unreadable => {
                    inventory.unreadable += 1;
                    continue;
                }
                Counted::MayBeAgain(ino, ..) if !seen.insert(ino) => continue,
                Counted::Under(group, bytes) | Counted::MayBeAgain(_, Some(group), bytes) => (group, bytes),
                Counted::Damaged | Counted::MayBeAgain(..) => {
                    inventory.damaged += 1;
                    continue;
                }
            };
            done.bytes += bytes;
            let (files, total) = groups.entry(group).or_default();
            *files += 1;
            *total += bytes;
        }
        progress(&done);
    }
    let OtherObjects { directories, symlinks, special } = others;
    inventory.groups = named(volume, groups);
    Inventory { directories, symlinks, special, ..inventory }
}

/// The groups with what the domain records say about their keys.
fn named(volume: &OpenVolume, groups: BTreeMap<GroupKey, (u64, u64)>) -> Vec<InventoryGroup> {
    let domains = volume.keys().domains();
    let group = |(GroupKey { domain, key_id, epoch }, (files, bytes))| {
        let record = domains.iter().find(|summary| summary.id == domain);
        let key_id = volume.keys().kms_key_of(domain, key_id);
        let place = record.and_then(|record| record.keys.iter().position(|arn| key_id_of(arn) == key_id));
        let key = record.zip(place).map(|(record, place)| record.keys[place].clone());
        let current = place == Some(0) && record.is_some_and(|record| record.epoch == epoch);
        InventoryGroup { domain, key_id, key, epoch, current, files, bytes }
    };
    groups.into_iter().map(group).collect()
}
