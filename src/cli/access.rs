//! How the command line reaches the services of a volume's keys.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use kms_core::KmsError;
use kms_core::service::EmbeddedKms;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::keystore::{self, KeystoreArgs, Secret};
use crate::format::{DomainRecord, VOLUME_DIR};
use crate::keys::{Connection, KEYS_DIR, KeyAt, KeyPlace, KeyServices, KeyTier};

/// How services elsewhere are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
pub(super) struct RemoteArgs {
    /// URL of the service that has the keys, if it is not AWS; of an existing volume, instead of the remembered one
    #[arg(long, value_name = "URL")]
    pub(super) endpoint_url: Option<String>,
    /// Profile in the AWS configuration whose credentials sign requests to services elsewhere
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,
}

/// What wraps data keys.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum TierArg {
    /// The KMS keys, each data key by a call
    Kms,
    /// A domain key, which is under the KMS keys
    Domain,
}

impl From<TierArg> for KeyTier {
    fn from(tier: TierArg) -> Self {
        match tier {
            TierArg::Kms => Self::Kms,
            TierArg::Domain => Self::Domain,
        }
    }
}

/// What opens a volume: a keystore, services elsewhere, or both.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AccessArgs {
    #[command(flatten)]
    pub(super) keystore: KeystoreArgs,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
}

impl AccessArgs {
    /// The services of the keys of the volume in `backing`, and of `more` keys. The keystore is opened if a key is in it.
    pub(super) fn services(&self, backing: &Path, more: &[KeyAt]) -> Result<Arc<dyn KeyServices>> {
        let keystore = if self.needs_keystore(backing, more)? { Some(self.keystore.open()?) } else { None };
        Ok(Arc::new(Services::new(keystore, self.remote.clone())))
    }

    /// The keystore and what opens it, if a key of the volume in `backing` is in it.
    pub(super) fn secret(&self, backing: &Path) -> Result<Option<(PathBuf, Secret)>> {
        if self.needs_keystore(backing, &[])? { self.keystore.secret().map(Some) } else { Ok(None) }
    }

    /// A keystore that is not there is done without if another service opens the volume too.
    fn needs_keystore(&self, backing: &Path, more: &[KeyAt]) -> Result<bool> {
        let places = key_places(backing)?;
        let asked = more.iter().any(|key| key.place == Some(KeyPlace::Keystore));
        let named = places.contains(&KeyPlace::Keystore);
        Ok(asked || (named && (places.len() == 1 || self.keystore.exists()?)))
    }
}

/// Where the keys of the volume in `backing` are, as its records lie there; nothing is authenticated. A damaged record
/// is passed over: who opens the volume says what is wrong with it.
pub(super) fn key_places(backing: &Path) -> Result<BTreeSet<KeyPlace>> {
    let dir = backing.join(VOLUME_DIR).join(KEYS_DIR);
    let failed = || format!("cannot read {}", dir.display());
    let mut places = BTreeSet::new();
    for entry in std::fs::read_dir(&dir).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        let record = std::fs::read(&path).ok().and_then(|bytes| DomainRecord::parse(&bytes).ok());
        let keys = record.map(|record| record.keys).unwrap_or_default();
        places.extend(keys.iter().filter_map(|key| key.place.parse::<KeyPlace>().ok()));
    }
    if places.is_empty() {
        places.insert(KeyPlace::Keystore);
    }
    Ok(places)
}

/// Whether a key of the volume in `backing` is elsewhere.
pub(super) fn is_remote(backing: &Path) -> Result<bool> {
    Ok(key_places(backing)?.iter().any(|place| *place != KeyPlace::Keystore))
}

/// The services that a command or a mount reaches: its keystore, and whatever a key's place names.
pub(super) struct Services {
    keystore: Option<Connection>,
    remote: RemoteArgs,
    /// Made at first use.
    elsewhere: Mutex<HashMap<KeyPlace, Connection>>,
}

impl Services {
    pub(super) fn new(keystore: Option<Arc<EmbeddedKms>>, remote: RemoteArgs) -> Self {
        let connection = |service: Arc<EmbeddedKms>| {
            let caller = keystore::service_caller(&service);
            Connection { service, caller }
        };
        Self { keystore: keystore.map(connection), remote, elsewhere: Mutex::default() }
    }
}

impl KeyServices for Services {
    fn connect(&self, place: &KeyPlace) -> Result<Connection, KmsError> {
        let KeyPlace::Remote { region, endpoint } = place else {
            let closed = || KmsError::DependencyTimeout("the keystore is not open".to_owned());
            return self.keystore.clone().ok_or_else(closed);
        };
        let mut elsewhere = self.elsewhere.lock();
        if let Some(known) = elsewhere.get(place) {
            return Ok(known.clone());
        }
        let url = self.remote.endpoint_url.as_deref().or(endpoint.as_deref());
        let made = remote::connect(Some(region), url, self.remote.profile.as_deref())?;
        elsewhere.insert(place.clone(), made.clone());
        Ok(made)
    }
}

pub(super) use remote::default_region;

#[cfg(feature = "aws")]
mod remote {
    use std::sync::Arc;

    use kms_core::KmsError;
    use kms_core::client::remote::{RemoteConfig, RemoteKms};
    use kms_core::model::{AccountId, Caller};

    use crate::keys::Connection;

    /// What the tools of AWS call the file with the certificates that servers are checked against.
    const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

    fn open(region: Option<&str>, url: Option<&str>, profile: Option<&str>) -> Result<RemoteKms, KmsError> {
        let owned = |text: &str| text.to_owned();
        let read = |path: std::ffi::OsString| {
            std::fs::read(&path)
                .map_err(|error| KmsError::Validation(format!("{CA_BUNDLE}: {}: {error}", path.display())))
        };
        let ca_bundle = std::env::var_os(CA_BUNDLE).filter(|path| !path.is_empty()).map(read).transpose()?;
        RemoteKms::connect(&RemoteConfig {
            region: region.map(owned),
            endpoint: url.map(owned),
            profile: profile.map(owned),
            ca_bundle,
            ..RemoteConfig::default()
        })
    }

    pub(super) fn connect(
        region: Option<&str>,
        url: Option<&str>,
        profile: Option<&str>,
    ) -> Result<Connection, KmsError> {
        let service = open(region, url, profile)?;
        // Whoever signs is the caller there.
        let caller = Caller::local(AccountId::local(), "signer");
        Ok(Connection { service: Arc::new(service), caller })
    }

    /// The Region that the environment or the profile names.
    pub(in crate::cli) fn default_region(profile: Option<&str>) -> Result<String, KmsError> {
        Ok(open(None, None, profile)?.region().to_owned())
    }
}

#[cfg(not(feature = "aws"))]
mod remote {
    use kms_core::KmsError;

    use crate::keys::Connection;

    fn left_out() -> KmsError {
        KmsError::UnsupportedOperation("this program was built without services elsewhere".to_owned())
    }

    pub(super) fn connect(_: Option<&str>, _: Option<&str>, _: Option<&str>) -> Result<Connection, KmsError> {
        Err(left_out())
    }

    pub(in crate::cli) fn default_region(_: Option<&str>) -> Result<String, KmsError> {
        Err(left_out())
    }
}
