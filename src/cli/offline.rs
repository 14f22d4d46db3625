//! A volume that is opened without a mount.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::access::AccessArgs;
use super::error::CliError;
use super::volume::read_config;
use crate::keys::KeyAt;
use crate::store::BackingStore;
use crate::store::posix::PosixStore;
use crate::volume::{OpenMode, OpenOptions, OpenVolume};

/// Room for what a command writes, in bytes: far less than a mount needs.
const JOURNAL_LEN: u64 = 4 << 20;

/// A volume that is opened without a mount, to be closed at the end.
pub(super) struct OfflineVolume {
    backing: PathBuf,
    volume: OpenVolume,
}

impl OfflineVolume {
    /// Opens the volume in `backing`, for a command that also uses `more` keys. The keystore is asked for only if there
    /// is a volume with a key in it.
    pub(super) fn open(backing: &Path, access: &AccessArgs, more: &[KeyAt], mode: OpenMode) -> Result<Self> {
        read_config(backing)?;
        let services = access.services(backing, more)?;
        let store =
            PosixStore::open(backing).with_context(|| format!("cannot open {}", backing.display()))?;
        let store: Arc<dyn BackingStore> = Arc::new(store);
        let options = OpenOptions { journal_len: JOURNAL_LEN, ..OpenOptions::new(mode) };
        let volume = OpenVolume::open_at(store, services, &options)
            .map_err(|source| CliError::Volume { path: backing.to_owned(), source })?;
        Ok(Self { backing: backing.to_owned(), volume })
    }

    /// The volume.
    pub(super) fn get(&self) -> &OpenVolume {
        &self.volume
    }

    /// Closes it.
    pub(super) fn close(self) -> Result<()> {
        let path = self.backing;
        Ok(self.volume.close().map_err(|source| CliError::Volume { path, source })?)
    }
}
