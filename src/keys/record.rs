//! Domain records in `.kmsfs/keys`: reading, making and replacing them.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::KeyError;
use super::domain_key::{self, KeyTier};
use super::place::{KeyAt, KeyPlace};
use super::wrapper::Wrapper;
use crate::crypto::{DomainKeys, random};
use crate::format::{DOMAIN_RECORD_LEN, DomainId, DomainRecord, FormatError, KeyReference};
use crate::store::{BackingNode, FileAccess, RenameMode, StoreResult};

/// The directory of the domain records, in the volume directory.
pub const KEYS_DIR: &str = "keys";
/// Begins the name of a file that is being written; readers pass over it.
const TEMPORARY_PREFIX: &str = ".tmp-";
/// Mode of everything in the volume directory: its owner reads and writes.
const RECORD_MODE: u32 = 0o600;
/// Entries read from a directory at a time.
const LIST_CHUNK: usize = 256;

/// How headers and domain records name the KMS key `arn`: the beginning of its SHA-256 digest.
pub fn key_id_of(arn: &str) -> [u8; 16] {
    let digest = Sha256::digest(arn.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id
}

/// Seconds since 1970; a clock before that counts as 1970.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Puts `bytes` into the file `name` so that after a crash it holds either its old content or this.
pub(crate) fn write_durably(dir: &dyn BackingNode, name: &OsStr, bytes: &[u8]) -> StoreResult<()> {
    let temporary = format!("{TEMPORARY_PREFIX}{:032x}", u128::from_le_bytes(random::bytes()));
    let temporary = OsStr::new(&temporary);
    let written = (|| {
        let (_, file) = dir.create_file(temporary, RECORD_MODE)?;
        file.write_at(bytes, 0)?;
        file.sync_all()?;
        dir.rename(temporary, dir, name, RenameMode::Replace)
    })();
    if let Err(error) = written {
        // The first error is the one to report; a temporary file that stays is passed over by readers.
        let _ = dir.unlink(temporary);
        return Err(error);
    }
    dir.sync_dir()
}

/// The ids of the domains that have a record in `keys_dir`, in no particular order.
pub(super) fn list(keys_dir: &dyn BackingNode) -> StoreResult<Vec<DomainId>> {
    let (mut found, mut cookie) = (Vec::new(), 0);
    loop {
        let entries = keys_dir.read_dir(cookie, LIST_CHUNK)?;
        let Some(last) = entries.last() else { return Ok(found) };
        cookie = last.cookie;
        let names = entries.iter().filter_map(|entry| std::str::from_utf8(&entry.name).ok());
        found.extend(names.filter_map(|name| name.parse::<DomainId>().ok()));
    }
}

/// Reads the record of `domain`. Its MAC is not checked here.
pub(super) fn read(keys_dir: &dyn BackingNode, domain: DomainId) -> Result<DomainRecord, KeyError> {
    let node = keys_dir.lookup(OsStr::new(&domain.to_string()))?;
    let file = node.open_file(FileAccess::Read)?;
    let mut bytes = [0; DOMAIN_RECORD_LEN];
    if file.read_at(&mut bytes, 0)? != DOMAIN_RECORD_LEN {
        return Err(FormatError::Short("domain record").into());
    }
    let record = DomainRecord::parse(&bytes)?;
    if record.domain_id == domain { Ok(record) } else { Err(KeyError::DomainTampered { domain }) }
}

/// Authenticates `record` and puts it into its file, durably.
pub(super) fn write(
    keys_dir: &dyn BackingNode,
    record: &mut DomainRecord,
    keys: &DomainKeys,
) -> Result<(), KeyError> {
    record.time = unix_seconds();
    record.mac = keys.mac.mac32(&[&record.mac_input()?]);
    let name = record.domain_id.to_string();
    write_durably(keys_dir, OsStr::new(&name), &record.encode()?)?;
    Ok(())
}

/// Whether `record` was written by a holder of `keys`.
pub(super) fn is_authentic(record: &DomainRecord, keys: &DomainKeys) -> bool {
    record.commitment == keys.commitment
        && record.mac_input().is_ok_and(|input| keys.mac.verify(&[&input], &record.mac))
}

/// The keys of `record` that wrap: each opens the domain's secret and, by itself, every file.
pub(super) fn recipients(record: &DomainRecord) -> impl Iterator<Item = &KeyReference> {
    record.keys.iter().filter(|key| !key.wrapped_secret.is_empty())
}

/// How the recipients of a domain change. Nothing in it rewraps under the same keys, in their present versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecipientChange {
    /// The key that takes the place of the first one.
    pub to: Option<KeyAt>,
    /// Keys that join.
    pub add: Vec<KeyAt>,
    /// Keys that leave, by ARN or id.
    pub remove: Vec<String>,
    /// What is to wrap data keys, if that changes.
    pub tier: Option<KeyTier>,
}

impl RecipientChange {
    /// Whether the recipients stay as they are.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One word without spaces, the same for the same change.
impl std::fmt::Display for RecipientChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let to = self.to.iter().map(ToString::to_string);
        let add = self.add.iter().map(|key| format!("+{key}"));
        let remove = self.remove.iter().map(|key| format!("-{key}"));
        let tier = self.tier.iter().map(|tier| format!("={tier:?}"));
        f.write_str(&to.chain(add).chain(remove).chain(tier).collect::<Vec<_>>().join(";"))
    }
}

/// A domain that has a secret but no record yet.
#[derive(Debug)]
pub struct NewDomain {
    pub(super) record: DomainRecord,
    pub(super) keys: Arc<DomainKeys>,
}

impl NewDomain {
    /// Makes a secret for the domain `id` under the KMS keys `targets`, which are where `default` is if they do not say.
    pub(super) fn make(
        wrapper: &Wrapper,
        id: DomainId,
        targets: &[KeyAt],
        default: &KeyPlace,
        tier: KeyTier,
    ) -> Result<Self, KeyError> {
        let made = wrapper.new_secret(id, targets, default)?;
        let keys = DomainKeys::derive(&made.secret, &wrapper.volume_id.0, &id.0);
        let mut record = DomainRecord {
            volume_id: wrapper.volume_id,
            domain_id: id,
            generation: 1,
            epoch: 1,
            time: 0,
            commitment: keys.commitment,
            keys: without_repeats(made.keys),
            domain_keys: Vec::new(),
            mac: [0; 32],
        };
        if tier == KeyTier::Domain {
            record.domain_keys = wrapper.new_domain_key(&record)?;
        }
        Ok(Self { record, keys: Arc::new(keys) })
    }

    /// `record` in the next epoch with its secret under the keys after `change`; its other keys only open from here on.
    pub(super) fn moved(
        wrapper: &Wrapper,
        record: &DomainRecord,
        change: &RecipientChange,
    ) -> Result<DomainRecord, KeyError> {
        let tampered = || KeyError::DomainTampered { domain: record.domain_id };
        let secret = wrapper.open_secret(record)?;
        let keys = DomainKeys::derive(&secret, &record.volume_id.0, &record.domain_id.0);
        if keys.commitment != record.commitment {
            return Err(tampered());
        }
        let default = record.keys.first().ok_or_else(tampered)?.place.parse().map_err(|_| tampered())?;
        let wrap = |target: &KeyAt| wrapper.wrap_secret(record.domain_id, &secret, target, &default);
        let mut wrapping = Vec::new();
        for target in targets(record, change)? {
            wrapping.push(wrap(&target)?);
        }
        let wrapping = without_repeats(wrapping);
        let ids: Vec<[u8; 16]> = wrapping.iter().map(|key| key.key_id).collect();
        let former = record.keys.iter().filter(|key| !ids.contains(&key.key_id));
        let former = former.map(|key| KeyReference { wrapped_secret: Vec::new(), ..key.clone() });
        let mut moved = DomainRecord {
            generation: record.generation + 1,
            epoch: record.epoch + 1,
            keys: wrapping.into_iter().chain(former).collect(),
            ..record.clone()
        };
        if change.tier.unwrap_or_else(|| domain_key::tier(record)) == KeyTier::Domain {
            let new = wrapper.new_domain_key(&moved)?;
            moved.domain_keys.extend(new);
        }
        Ok(moved)
    }

    /// The domain.
    pub fn id(&self) -> DomainId {
        self.record.domain_id
    }

    /// The ARNs of its KMS keys, at least one.
    pub fn key_arns(&self) -> Vec<String> {
        self.record.keys.iter().map(|key| key.arn.clone()).collect()
    }

    /// Its keys.
    pub fn keys(&self) -> &Arc<DomainKeys> {
        &self.keys
    }

    /// Writes the record into `keys_dir`, durably.
    ///
    /// # Errors
    /// [`KeyError::Store`], or [`KeyError::Format`] if the key's ARN is too long for a record.
    pub fn write(&mut self, keys_dir: &dyn BackingNode) -> Result<(), KeyError> {
        write(keys_dir, &mut self.record, &self.keys)
    }
}

/// The recipients of `record` after `change`.
fn targets(record: &DomainRecord, change: &RecipientChange) -> Result<Vec<KeyAt>, KeyError> {
    let mut staying: Vec<&KeyReference> = recipients(record).collect();
    for gone in &change.remove {
        let named = |key: &&KeyReference| key.arn == *gone || key.arn.ends_with(&format!("/{gone}"));
        let place = staying.iter().position(named);
        staying.remove(place.ok_or_else(|| KeyError::NotARecipient(gone.clone()))?);
    }
    if change.to.is_some() && !staying.is_empty() && change.remove.is_empty() {
        staying.remove(0);
    }
    let place_of = |key: &KeyReference| key.place.parse().ok();
    let staying = staying.into_iter().map(|key| KeyAt { key: key.arn.clone(), place: place_of(key) });
    let targets: Vec<KeyAt> =
        change.to.iter().cloned().chain(staying).chain(change.add.iter().cloned()).collect();
    match change.remove.last() {
        Some(last) if targets.is_empty() => Err(KeyError::LastRecipient(last.clone())),
        _ => Ok(targets),
    }
}

/// A key that was named twice wraps once.
fn without_repeats(keys: Vec<KeyReference>) -> Vec<KeyReference> {
    let mut once: Vec<KeyReference> = Vec::new();
    for key in keys {
        if once.iter().all(|known| known.key_id != key.key_id) {
            once.push(key);
        }
    }
    once
}
