//! `kmsfs keystore`: making a keystore without a volume, and changing what opens it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kms_core::KmsError;
use kms_core::keystore::{Argon2Params, CreateOptions, KeystoreError, RootKeySource, SealKind};
use kms_core::model::Realm;
use serde::Serialize;

use super::error::CliError;
use super::further_seals::FurtherSealsArgs;
use super::keystore::{self, KeystoreArgs, NewSecretArgs};
use super::output::Output;

/// Make a keystore, or change what opens it
#[derive(Debug, clap::Args)]
pub(super) struct KeystoreVerbArgs {
    #[command(flatten)]
    keystore: KeystoreArgs,
    #[command(subcommand)]
    verb: KeystoreVerb,
}

#[derive(Debug, clap::Subcommand)]
enum KeystoreVerb {
    /// Make a keystore, for keys that are there before the first volume
    Create {
        /// The Region of its keys, which clients have to sign for [default: local-1]
        #[arg(long)]
        region: Option<String>,
        /// The account of its keys, twelve digits [default: 000000000000]
        #[arg(long)]
        account: Option<String>,
        #[command(flatten)]
        further: FurtherSealsArgs,
    },
    /// Seal the keystore under another passphrase, key file or credential
    Reseal(ResealArgs),
    /// Show what opens the keystore
    Info,
}

/// Seal the keystore under another passphrase, key file or credential
///
/// Copies of the old keystore.json still open with the old one. A recovery key and shares stay, unless new ones are
/// asked for.
#[derive(Debug, clap::Args)]
pub(super) struct ResealArgs {
    #[command(flatten)]
    new: NewSecretArgs,
    #[command(flatten)]
    further: FurtherSealsArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Done {
    keystore: PathBuf,
}

pub(super) fn run(args: &KeystoreVerbArgs, output: Output) -> Result<()> {
    let dir = args.keystore.dir()?;
    match &args.verb {
        KeystoreVerb::Create { region, account, further } => {
            let realm = realm(region.as_deref(), account.as_deref())?;
            if args.keystore.exists()? {
                return Err(KeystoreError::AlreadyExists { path: dir }.into());
            }
            let secret = args.keystore.new_secret()?;
            let further = further.for_new()?;
            let options = CreateOptions { realm, ..CreateOptions::default() };
            keystore::create(&dir, &secret, &further.sources, &options)?;
            further.keep();
        }
        KeystoreVerb::Reseal(reseal_args) => return reseal(&args.keystore, reseal_args, output),
        KeystoreVerb::Info => return info(&dir, output),
    }
    output.show(&Done { keystore: dir }, |done| format!("{} is sealed.", done.keystore.display()))
}

/// Changes what opens a keystore.
pub(super) fn reseal(keystore_args: &KeystoreArgs, args: &ResealArgs, output: Output) -> Result<()> {
    let (dir, old) = keystore_args.secret()?;
    // Further seals alone leave the everyday one as it is.
    let stays = args.further.is_given() && !args.new.is_given() && old.is_everyday();
    let new = if stays { None } else { Some(args.new.new_secret()?) };
    let further = args.further.asked_for()?;
    let from = old.source()?;
    let first = new.as_ref().unwrap_or(&old).source()?;
    let sources: Vec<&RootKeySource> = std::iter::once(&first).chain(&further.sources).collect();
    keystore::place(&dir)?
        .reseal_under(&from, &sources, Argon2Params::default())
        .with_context(|| format!("cannot reseal the keystore {}", dir.display()))?;
    further.keep();
    output.show(&Done { keystore: dir }, |done| format!("{} is sealed.", done.keystore.display()))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct KeystoreInfo {
    keystore: PathBuf,
    /// The everyday one first.
    seals: Vec<String>,
}

fn info(dir: &Path, output: Output) -> Result<()> {
    let describe = |kind: SealKind| match kind {
        SealKind::Credential { name } => format!("systemd credential {name}"),
        SealKind::Shares { threshold, shares } => format!("{threshold} of {shares} shares"),
        kind => kind.name().to_owned(),
    };
    let seals = keystore::place(dir)?.seals()?.into_iter().map(describe).collect();
    output.show(&KeystoreInfo { keystore: dir.to_owned(), seals }, |info| {
        format!("{} opens with any of: {}", info.keystore.display(), info.seals.join(", "))
    })
}

/// Where the keys of a new keystore are, in their ARNs.
fn realm(region: Option<&str>, account: Option<&str>) -> Result<Realm> {
    let refused = |error: KmsError| CliError::BadArgument(error.message().to_owned());
    let mut realm = Realm::local();
    if let Some(region) = region {
        realm.region = region.parse().map_err(refused)?;
    }
    if let Some(account) = account {
        realm.account = account.parse().map_err(refused)?;
    }
    Ok(realm)
}
