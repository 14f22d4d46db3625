//! `kmsfs init`: makes a volume, and the keystore if there is none yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use kms_core::keystore::{Argon2Params, CreateOptions};
use kms_core::model::Realm;
use kms_core::service::EmbeddedKms;
use serde::Serialize;

use super::access::{AccessArgs, Services, TierArg, default_region};
use super::error::CliError;
use super::further_seals::{FurtherSeals, FurtherSealsArgs};
use super::keystore;
use super::output::{Output, note};
use super::volume::resolve_backing;
use crate::format::{NameMode, VOLUME_DIR};
use crate::keys::{KeyAt, KeyPlace, KeyServices, PlaceError, region_of_arn};
use crate::store::posix::PosixStore;
use crate::volume::{self, InitOptions, VolumeError};

/// Make a volume in an empty directory
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// The backing directory: an empty one, or one to be made
    pub(super) backing: PathBuf,
    /// The KMS key: an id, an ARN or an alias [default: alias/aws/kmsfs of the keystore]
    ///
    /// With --region or --endpoint-url it is a key of AWS KMS, or of another service with its interface.
    #[arg(long, value_name = "KEY")]
    pub(super) key: Option<KeyAt>,
    /// A further key that opens the volume by itself; can be given several times
    ///
    /// KEY is where the first key is; KEY,keystore and KEY,region=NAME[,endpoint-url=URL] are somewhere else.
    #[arg(long, value_name = "KEY")]
    pub(super) recipient: Vec<KeyAt>,
    /// The Region of the key, if it is a key of a service elsewhere
    #[arg(long, value_name = "NAME")]
    pub(super) region: Option<String>,
    /// What wraps data keys: the KMS key, each by a call; or a domain key, which costs one call for all
    ///
    /// With a domain key the KMS does not see single files, and whoever once had the domain key opens all of them until the
    /// next rewrap.
    #[arg(long, value_enum, default_value_t = TierArg::Kms)]
    pub(super) key_tier: TierArg,
    /// Do not encrypt names of files and directories
    #[arg(long)]
    pub(super) plain_names: bool,
    /// Seal a new keystore so that a mount opens it at once, and anybody can guess its passphrase. For tests
    #[arg(long, hide = true)]
    pub(super) dangerous_fast_kdf: bool,
    #[command(flatten)]
    pub(super) access: AccessArgs,
    #[command(flatten)]
    pub(super) further: FurtherSealsArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Made {
    volume_id: String,
    backing: PathBuf,
    key_id: String,
    /// The recipients besides it.
    recipients: Vec<String>,
    /// None if no key is in it.
    keystore: Option<PathBuf>,
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

impl InitArgs {
    /// The key and the further recipients, each with its place.
    fn keys(&self) -> Result<(KeyAt, Vec<KeyAt>)> {
        let url = self.access.remote.endpoint_url.as_deref();
        let elsewhere = self.region.is_some() || url.is_some();
        let Some(mut first) = self.key.clone() else {
            if elsewhere {
                return Err(CliError::BadArgument("a service elsewhere needs --key KEY".to_owned()).into());
            }
            let key = volume::DEFAULT_KEY.to_owned();
            return Ok((KeyAt { key, place: Some(KeyPlace::Keystore) }, self.recipient.clone()));
        };
        if first.place.is_none() {
            first.place = Some(if elsewhere {
                KeyPlace::remote(&self.region_of(&first.key)?, url).map_err(bad_argument)?
            } else {
                KeyPlace::Keystore
            });
        }
        Ok((first, self.recipient.clone()))
    }

    /// What was said, what the ARN says, what the environment or the profile says.
    fn region_of(&self, key: &str) -> Result<String> {
        let said = self.region.as_deref().or_else(|| region_of_arn(key));
        match said {
            Some(region) => Ok(region.to_owned()),
            None => {
                let found = default_region(self.access.remote.profile.as_deref());
                Ok(found.map_err(|error| CliError::BadArgument(error.message().to_owned()))?)
            }
        }
    }
}

fn bad_argument(error: PlaceError) -> CliError {
    CliError::BadArgument(error.to_string())
}

pub(super) fn run(args: &InitArgs, output: Output) -> Result<()> {
    let made = make(args)?;
    if let (Some(keystore), true) = (&made.keystore, made.keystore_created) {
        note(&format!(
            "made the keystore {}. Without it and what opens it the files cannot be read: keep a copy of both.",
            keystore.display()
        ));
    }
    output.show(&made, |made| {
        format!(
            "Made the volume {} in {} under the KMS key {}.",
            made.volume_id,
            made.backing.display(),
            made.key_id
        )
    })
}

/// Makes the volume, and the keystore if it is missing.
pub(super) fn make(args: &InitArgs) -> Result<Made> {
    let mut undo = Undo::default();
    let backing = prepare_backing(&args.backing, &mut undo)?;
    let (first, recipients) = args.keys()?;
    let mut keys = std::iter::once(&first).chain(&recipients);
    let in_keystore = |key: &KeyAt| key.place.as_ref().or(first.place.as_ref()) == Some(&KeyPlace::Keystore);
    let keystore = match keys.any(in_keystore) {
        true => Some(open_or_create(args, &mut undo)?),
        false => None,
    };
    let (service, further) = keystore.unzip();
    let further = further.flatten();
    let keystore_created = further.is_some();
    let keystore = service.is_some().then(|| args.access.keystore.dir()).transpose()?;
    let services: Arc<dyn KeyServices> = Arc::new(Services::new(service, args.access.remote.clone()));
    let store = PosixStore::open(&backing).with_context(|| format!("cannot open {}", backing.display()))?;
    let name_mode = if args.plain_names { NameMode::Plain } else { NameMode::Encrypted };
    let options =
        InitOptions { key: Some(first.to_string()), recipients, tier: args.key_tier.into(), name_mode };
    let made = volume::init_at(&store, &services, &options)
        .map_err(|source| CliError::Volume { path: backing.clone(), source })?;
    undo.keep();
    further.into_iter().for_each(FurtherSeals::keep);
    Ok(Made {
        volume_id: made.volume_id.to_string(),
        backing,
        key_id: made.key,
        recipients: made.recipients,
        keystore,
        keystore_created,
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

/// The keystore's service, and its further seals if it was made just now.
fn open_or_create(args: &InitArgs, undo: &mut Undo) -> Result<(Arc<EmbeddedKms>, Option<FurtherSeals>)> {
    let keystore = &args.access.keystore;
    if keystore.exists()? {
        return Ok((keystore.open()?, None));
    }
    let dir = keystore.dir()?;
    if let Some(key_file) = &keystore.key_file
        && !key_file.exists()
    {
        undo.key_file = Some(key_file.clone());
    }
    let secret = keystore.new_secret()?;
    let further = args.further.for_new()?;
    let options = CreateOptions { realm: Realm::local(), argon2: cost(args.dangerous_fast_kdf) };
    let service = keystore::create(&dir, &secret, &further.sources, &options)?;
    // One in a database stays: it may have been made for more than this volume.
    undo.keystore = keystore.store.is_none().then_some(dir);
    Ok((Arc::new(service), Some(further)))
}

/// What it costs to try a passphrase.
fn cost(dangerous_fast_kdf: bool) -> Argon2Params {
    if dangerous_fast_kdf { Argon2Params::dangerous_fast() } else { Argon2Params::default() }
}
