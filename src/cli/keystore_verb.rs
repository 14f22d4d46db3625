//! `kmsfs keystore`: making a keystore without a volume, and changing what opens it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use kms_core::keystore::{Argon2Params, KeystoreError};
use kms_core::model::Realm;
use serde::Serialize;

use super::error::CliError;
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
    },
    /// Seal the keystore under another passphrase or key file
    ///
    /// Copies of the old keystore.json still open with the old one.
    Reseal(NewSecretArgs),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Done {
    keystore: PathBuf,
}

pub(super) fn run(args: &KeystoreVerbArgs, output: Output) -> Result<()> {
    let dir = args.keystore.dir()?;
    match &args.verb {
        KeystoreVerb::Create { region, account } => {
            let realm = realm(region.as_deref(), account.as_deref())?;
            if args.keystore.exists()? {
                return Err(KeystoreError::AlreadyExists { path: dir }.into());
            }
            let secret = args.keystore.new_secret()?;
            keystore::create(&dir, &secret, realm, Argon2Params::default())?;
        }
        KeystoreVerb::Reseal(new) => {
            let (dir, old) = args.keystore.secret()?;
            let new = new.new_secret()?;
            keystore::place(&dir)?
                .reseal(&old.source(), &new.source(), Argon2Params::default())
                .with_context(|| format!("cannot reseal the keystore {}", dir.display()))?;
        }
    }
    output.show(&Done { keystore: dir }, |done| format!("{} is sealed.", done.keystore.display()))
}

/// Where the keys of a new keystore are, in their ARNs.
fn realm(region: Option<&str>, account: Option<&str>) -> Result<Realm> {
    let mut realm = Realm::local();
    if let Some(region) = region {
        realm.region = region.parse().map_err(CliError::bad_argument)?;
    }
    if let Some(account) = account {
        realm.account = account.parse().map_err(CliError::bad_argument)?;
    }
    Ok(realm)
}
