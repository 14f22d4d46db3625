//! `kmsfs init`: makes a volume, and the keystore if there is none yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use kms_core::client::KeyService;
use kms_core::model::Realm;
use kms_core::service::EmbeddedKms;
use serde::Serialize;

use super::error::CliError;
use super::keystore::{self, KeystoreArgs};
use super::output::{Output, note};
use super::volume::resolve_backing;
use crate::format::{NameMode, VOLUME_DIR};
use crate::store::posix::PosixStore;
use crate::volume::{self, InitOptions, VolumeError};

/// Make a volume in an empty directory
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// The backing directory: an empty one, or one to be made
    backing: PathBuf,
    /// The KMS key: an id, an ARN or an alias
    #[arg(long, value_name = "KEY", default_value = volume::DEFAULT_KEY)]
    key: String,
    /// Do not encrypt names of files and directories
    #[arg(long)]
    plain_names: bool,
    #[command(flatten)]
    keystore: KeystoreArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    volume_id: String,
    backing: PathBuf,
    key_id: String,
    keystore: PathBuf,
    keystore_created: bool,
}

/// What was made on the way, and goes again if the whole does not succeed.
#[derive(Default)]
struct Undo {
    keystore: Option<PathBuf>,
    key_file: Option<PathBuf>,
    backing: Option<PathBuf>,
}

impl Undo {
    fn keep(mut self) {
        self.keystore = None;
        self.key_file = None;
        self.backing = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        // Each was made by this command a moment ago; what cannot be removed is harmless.
        if let Some(keystore) = &self.keystore {
            let _ = std::fs::remove_dir_all(keystore);
        }
        if let Some(key_file) = &self.key_file {
            let _ = std::fs::remove_file(key_file);
        }
        if let Some(backing) = &self.backing {
            let _ = std::fs::remove_dir(backing);
        }
    }
}

pub(super) fn run(args: &InitArgs, output: Output) -> Result<()> {
    let mut undo = Undo::default();
    let backing = prepare_backing(&args.backing, &mut undo)?;
    let (service, keystore_created) = open_or_create(&args.keystore, &mut undo)?;
    let store = PosixStore::open(&backing).with_context(|| format!("cannot open {}", backing.display()))?;
    let name_mode = if args.plain_names { NameMode::Plain } else { NameMode::Encrypted };
    let options = InitOptions { key: Some(args.key.clone()), name_mode };
    let caller = keystore::service_caller(&service);
    let service: Arc<dyn KeyService> = service;
    let made = volume::init(&store, &service, &caller, &options)
        .map_err(|source| CliError::Volume { path: backing.clone(), source })?;
    undo.keep();
    let keystore = args.keystore.dir()?;
    if keystore_created {
        note(&format!(
            "made the keystore {}. Without it and what opens it the files cannot be read: keep a copy of both.",
            keystore.display()
        ));
    }
    let made =
        Made { volume_id: made.volume_id.to_string(), backing, key_id: made.key, keystore, keystore_created };
    output.show(&made, |made| {
        format!(
            "Made the volume {} in {} under the KMS key {}.",
            made.volume_id,
            made.backing.display(),
            made.key_id
        )
    })
}

/// The backing directory, made if it is missing. Refused if it is taken, before anything is asked.
fn prepare_backing(path: &Path, undo: &mut Undo) -> Result<PathBuf> {
    if !path.exists() {
        std::fs::create_dir(path).with_context(|| format!("cannot make {}", path.display()))?;
        undo.backing = Some(path.to_owned());
    }
    let backing = resolve_backing(path)?;
    let entries =
        std::fs::read_dir(&backing).with_context(|| format!("cannot read {}", backing.display()))?;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let source = match name.as_str() {
            VOLUME_DIR => VolumeError::AlreadyAVolume,
            // What an interrupted attempt left is cleared away by the library.
            name if name.starts_with('.') => continue,
            _ => VolumeError::NotEmpty { entry: name },
        };
        return Err(CliError::Volume { path: backing, source }.into());
    }
    Ok(backing)
}

/// The keystore's service, and whether the keystore was made just now.
fn open_or_create(args: &KeystoreArgs, undo: &mut Undo) -> Result<(Arc<EmbeddedKms>, bool)> {
    if args.exists()? {
        return Ok((args.open()?, false));
    }
    let dir = args.dir()?;
    if let Some(key_file) = &args.key_file
        && !key_file.exists()
    {
        undo.key_file = Some(key_file.clone());
    }
    let secret = args.new_secret()?;
    let service = keystore::create(&dir, &secret, Realm::local())?;
    // One in a database stays: it may have been made for more than this volume.
    undo.keystore = args.store.is_none().then_some(dir);
    Ok((Arc::new(service), true))
}
