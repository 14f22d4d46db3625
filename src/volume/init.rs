//! Making a volume.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kms_core::client::KeyService;
use kms_core::model::Caller;

use super::{JOURNAL_DIR, SUPERBLOCK_NAME, VolumeError, lock::LOCK_NAME};
use crate::config::VolumeConfig;
use crate::crypto::random;
use crate::format::{DIR_ID_NAME, NameMode, VOLUME_DIR, VolumeId, decode_dir_id};
use crate::journal::sessions::SessionLog;
use crate::keys::{Connection, KEYS_DIR, KeyAt, KeyRing, KeyServices, KeyTier, NewDomain, write_durably};
use crate::names::{DirNames, TARGETS_DIR, TRASH_DIR};
use crate::store::{BackingNode, BackingStore, NodeKind, RenameMode, StoreErrorKind, StoreResult};

/// The KMS key of a volume whose maker names none: the service's own, made at first use.
pub const DEFAULT_KEY: &str = "alias/aws/kmsfs";
/// Begins the name of a volume directory that is being made.
const DRAFT_PREFIX: &str = ".kmsfs.new-";
/// Entries read from a directory at a time.
const LIST_CHUNK: usize = 256;
/// Mode of directories that only the owner of the volume looks into.
const PRIVATE_DIR: u32 = 0o700;
/// Mode of files that only the owner of the volume reads.
const PRIVATE_FILE: u32 = 0o600;

/// What a new volume is to be.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The KMS key, in the form of [`KeyAt`]; [`DEFAULT_KEY`] if there is none.
    pub key: Option<String>,
    /// Further keys, each of which opens the volume by itself.
    pub recipients: Vec<KeyAt>,
    /// What wraps data keys.
    pub tier: KeyTier,
    /// Whether names are encrypted.
    pub name_mode: NameMode,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self { key: None, recipients: Vec::new(), tier: KeyTier::Kms, name_mode: NameMode::Encrypted }
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVolume {
    /// The volume.
    pub volume_id: VolumeId,
    /// The ARN of its KMS key.
    pub key: String,
    /// The ARNs of the other keys that open it.
    pub recipients: Vec<String>,
}

/// Makes a volume in the empty directory of `store`, durably. When it fails, nothing stays behind.
///
/// # Errors
/// [`VolumeError::AlreadyAVolume`], [`VolumeError::NotEmpty`], [`VolumeError::Key`] if the KMS key cannot be used,
/// and what the backing directory says.
pub fn init(
    store: &dyn BackingStore,
    service: &Arc<dyn KeyService>,
    caller: &Caller,
    options: &InitOptions,
) -> Result<NewVolume, VolumeError> {
    let keystore = Connection { service: Arc::clone(service), caller: caller.clone() };
    init_at(store, &(Arc::new(keystore) as _), options)
}

/// As [`init`], with keys at any service.
///
/// # Errors
/// As there.
pub fn init_at(
    store: &dyn BackingStore,
    services: &Arc<dyn KeyServices>,
    options: &InitOptions,
) -> Result<NewVolume, VolumeError> {
    let root = store.root();
    clear_drafts(&*root)?;
    let volume_id = VolumeId(random::bytes());
    let first = options.key.as_deref().unwrap_or(DEFAULT_KEY).parse::<KeyAt>();
    let mut keys = vec![first.map_err(|error| VolumeError::Key(error.into()))?];
    keys.extend(options.recipients.iter().cloned());
    let domain = KeyRing::new_root(services, volume_id, &keys, options.tier).map_err(VolumeError::Key)?;
    let mut arns = domain.key_arns();
    let made = NewVolume { volume_id, key: arns.remove(0), recipients: arns };
    let draft = format!("{DRAFT_PREFIX}{:032x}", u128::from_le_bytes(random::bytes()));
    let draft = OsStr::new(&draft);
    let outcome = make(&*root, draft, domain, volume_id, options.name_mode);
    if outcome.is_err() {
        // The first error is the one to report.
        let _ = root.unlink(OsStr::new(DIR_ID_NAME));
        let _ = remove_tree(&*root, draft);
        let _ = root.sync_dir();
    }
    outcome.map(|()| made)
}

/// Fails unless the directory is empty but for what an interrupted `init` left; removes that.
fn clear_drafts(root: &dyn BackingNode) -> Result<(), VolumeError> {
    let (mut left, mut cookie) = (Vec::new(), 0);
    loop {
        let entries = root.read_dir(cookie, LIST_CHUNK)?;
        let Some(last) = entries.last() else { break };
        cookie = last.cookie;
        for entry in entries {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            if name == VOLUME_DIR {
                return Err(VolumeError::AlreadyAVolume);
            }
            let ours = name.starts_with(DRAFT_PREFIX) || (name == DIR_ID_NAME && has_dir_id(root));
            if !ours {
                return Err(VolumeError::NotEmpty { entry: name });
            }
            left.push(name);
        }
    }
    for name in left {
        let name = OsStr::new(&name);
        match root.stat_at(name)?.kind {
            NodeKind::Directory => remove_tree(root, name)?,
            _ => root.unlink(name)?,
        }
    }
    Ok(())
}

/// Whether the directory's `.k` is a directory id, as an `init` that was interrupted leaves it.
fn has_dir_id(root: &dyn BackingNode) -> bool {
    root.read_link_at(OsStr::new(DIR_ID_NAME)).is_ok_and(|target| decode_dir_id(&target).is_ok())
}

fn make(
    root: &dyn BackingNode,
    draft: &OsStr,
    mut domain: NewDomain,
    volume_id: VolumeId,
    name_mode: NameMode,
) -> Result<(), VolumeError> {
    let dir = root.make_dir(draft, PRIVATE_DIR)?;
    for name in [JOURNAL_DIR, TARGETS_DIR, TRASH_DIR] {
        dir.make_dir(OsStr::new(name), PRIVATE_DIR)?.sync_dir()?;
    }
    domain.write(&*dir.make_dir(OsStr::new(KEYS_DIR), PRIVATE_DIR)?)?;
    SessionLog::create(&*dir)?;
    dir.create_file(OsStr::new(LOCK_NAME), PRIVATE_FILE)?.1.sync_all()?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let config = VolumeConfig::new(volume_id, name_mode, domain.id(), created);
    let superblock = config.sealed(&domain.keys().mac).encode();
    write_durably(&*dir, OsStr::new(SUPERBLOCK_NAME), &superblock)?;
    if name_mode == NameMode::Encrypted {
        DirNames::make(root, domain.id(), Arc::clone(domain.keys()), true)?;
    }
    root.rename(draft, root, OsStr::new(VOLUME_DIR), RenameMode::NoReplace)?;
    Ok(root.sync_dir()?)
}

/// Removes the directory `name` with all that is in it.
fn remove_tree(parent: &dyn BackingNode, name: &OsStr) -> StoreResult<()> {
    let dir = match parent.lookup(name) {
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(()),
        dir => dir?,
    };
    loop {
        let entries = dir.read_dir(0, LIST_CHUNK)?;
        if entries.is_empty() {
            return parent.remove_dir(name);
        }
        for entry in entries {
            let entry = String::from_utf8_lossy(&entry.name).into_owned();
            let entry = OsStr::new(&entry);
            match dir.stat_at(entry)?.kind {
                NodeKind::Directory => remove_tree(&*dir, entry)?,
                _ => dir.unlink(entry)?,
            }
        }
    }
}
