//! Finding and opening the embedded keystore.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use kms_core::keystore::{CreateOptions, Keystore, KeystoreError, Place, RootKeySource, SecretShares};
use kms_core::model::{Caller, Plaintext, Region};
use kms_core::service::EmbeddedKms;
use kms_core::store::PostgresConfig;
use zeroize::Zeroizing;

use super::error::CliError;
use super::paths;

/// The short name of the file system as a service, in key policies and in `alias/aws/kmsfs`.
const SERVICE_NAME: &str = "kmsfs";
/// How the address of a database begins.
const ADDRESS_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
/// The parameter of an address that names the file with its password.
const PASSWORD_FILE: &str = "password_file=";
/// The longest passphrase file, in bytes.
const PASSPHRASE_MAX: u64 = 64 * 1024;

/// Which keystore, and what opens it.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct KeystoreArgs {
    /// Directory of the keystore [default: $XDG_DATA_HOME/kmsfs or ~/.local/share/kmsfs]
    #[arg(long, value_name = "DIR", env = "KMSFS_KEYSTORE", global = true)]
    pub(super) keystore: Option<PathBuf>,
    /// The keystore is in a PostgreSQL database, postgres://USER@HOST/DATABASE[?password_file=FILE], shared by several servers
    #[arg(long, value_name = "ADDRESS", env = "KMSFS_STORE", global = true)]
    pub(super) store: Option<String>,
    /// Read the keystore's passphrase from the first line of FILE
    #[arg(long, value_name = "FILE", env = "KMSFS_PASSPHRASE_FILE", global = true)]
    pub(super) passphrase_file: Option<PathBuf>,
    /// The keystore is sealed by this key file instead of a passphrase
    #[arg(long, value_name = "FILE", env = "KMSFS_KEY_FILE", global = true)]
    pub(super) key_file: Option<PathBuf>,
    /// The keystore is sealed by this credential of systemd (LoadCredential=, LoadCredentialEncrypted=)
    #[arg(long, value_name = "NAME", env = "KMSFS_CREDENTIAL", global = true)]
    pub(super) credential: Option<String>,
    /// Open the keystore with the recovery key in FILE, because what opens it else is lost
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) recovery_key_file: Option<PathBuf>,
    /// Open the keystore with shares, one in each FILE; given as often as shares are needed
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) share_file: Vec<PathBuf>,
}

/// What opens a keystore. Wiped when dropped; never printed.
pub(super) enum Secret {
    /// A passphrase.
    Passphrase(Zeroizing<String>),
    /// The path of a key file.
    KeyFile(PathBuf),
    /// The name of a credential of the service manager.
    Credential(String),
    /// The line of a recovery key.
    RecoveryKey(Zeroizing<String>),
    /// The lines of shares.
    Shares(Vec<Zeroizing<String>>),
}

impl Secret {
    /// The form that kms-core takes.
    pub(super) fn source(&self) -> Result<RootKeySource, KeystoreError> {
        Ok(match self {
            Self::Passphrase(text) => RootKeySource::passphrase(text),
            Self::KeyFile(path) => RootKeySource::key_file(path),
            Self::Credential(name) => RootKeySource::Credential(name.clone()),
            Self::RecoveryKey(line) => RootKeySource::RecoveryKey(Plaintext::copy_of(line.as_bytes())),
            Self::Shares(lines) => {
                let lines: Vec<&str> = lines.iter().map(|line| line.as_str()).collect();
                RootKeySource::Shares(SecretShares::parse(&lines)?)
            }
        })
    }

    /// Whether the keystore can be opened with it every day.
    pub(super) fn is_everyday(&self) -> bool {
        matches!(self, Self::Passphrase(_) | Self::KeyFile(_) | Self::Credential(_))
    }
}

impl KeystoreArgs {
    /// The directory of the keystore, or the address of its database.
    pub(super) fn dir(&self) -> Result<PathBuf> {
        if let Some(address) = &self.store {
            // Before anything is asked for.
            postgres(address)?;
            return Ok(PathBuf::from(address));
        }
        let dir = match &self.keystore {
            Some(dir) => dir.clone(),
            None => paths::default_keystore()?,
        };
        std::path::absolute(&dir).with_context(|| format!("cannot resolve {}", dir.display()))
    }

    /// Whether the keystore can be opened without a question.
    pub(super) fn has_secret(&self) -> bool {
        let paths = [&self.passphrase_file, &self.key_file, &self.recovery_key_file];
        paths.iter().any(|path| path.is_some()) || self.credential.is_some() || !self.share_file.is_empty()
    }

    /// Whether the keystore is there.
    pub(super) fn exists(&self) -> Result<bool> {
        Ok(place(&self.dir()?)?.exists()?)
    }

    /// The keystore's directory, which must be there, and its secret. A recovery key wins over shares, these over a
    /// credential, that over a key file, and that over a passphrase file, which may come from the environment.
    pub(super) fn secret(&self) -> Result<(PathBuf, Secret)> {
        let dir = self.dir()?;
        if !self.exists()? {
            return Err(KeystoreError::Missing { path: dir }.into());
        }
        if let Some(secret) = self.given_secret()? {
            return Ok((dir, secret));
        }
        let passphrase = ask(&format!("Passphrase of the keystore {}: ", place(&dir)?))?;
        Ok((dir, Secret::Passphrase(passphrase)))
    }

    /// The secret for a keystore that is to be made, by the options of the keystore itself.
    pub(super) fn new_secret(&self) -> Result<Secret> {
        self.everyday().new_secret()
    }

    fn everyday(&self) -> Everyday<'_> {
        Everyday {
            credential: self.credential.as_deref(),
            key_file: self.key_file.as_deref(),
            passphrase_file: self.passphrase_file.as_deref(),
        }
    }

    fn given_secret(&self) -> Result<Option<Secret>> {
        if let Some(path) = &self.recovery_key_file {
            return Ok(Some(Secret::RecoveryKey(read_line(path)?)));
        }
        if !self.share_file.is_empty() {
            let lines = self.share_file.iter().map(|path| read_line(path)).collect::<Result<_>>()?;
            return Ok(Some(Secret::Shares(lines)));
        }
        self.everyday().given()
    }

    /// Opens the keystore for its own Region, these ones, and no others.
    pub(super) fn open_for(&self, regions: &[Region]) -> Result<Arc<EmbeddedKms>> {
        let (dir, secret) = self.secret()?;
        let place = place(&dir)?;
        let builder = place
            .open_builder(&secret.source()?)
            .with_context(|| format!("cannot open the keystore {place}"))?;
        Ok(Arc::new(builder.regions(regions.iter().cloned()).build()))
    }

    /// Opens the keystore.
    pub(super) fn open(&self) -> Result<Arc<EmbeddedKms>> {
        let (dir, secret) = self.secret()?;
        open(&dir, &secret)
    }
}

/// What is to open a keystore from now on.
#[derive(Debug, clap::Args)]
pub(super) struct NewSecretArgs {
    /// Read the new passphrase from the first line of FILE
    #[arg(long, value_name = "FILE", conflicts_with_all = ["new_key_file", "new_credential"])]
    new_passphrase_file: Option<PathBuf>,
    /// The new key file; made if it is missing
    #[arg(long, value_name = "FILE", conflicts_with = "new_credential")]
    new_key_file: Option<PathBuf>,
    /// The credential of systemd that opens it from now on
    #[arg(long, value_name = "NAME")]
    new_credential: Option<String>,
}

impl NewSecretArgs {
    fn everyday(&self) -> Everyday<'_> {
        Everyday {
            credential: self.new_credential.as_deref(),
            key_file: self.new_key_file.as_deref(),
            passphrase_file: self.new_passphrase_file.as_deref(),
        }
    }

    /// The new secret.
    pub(super) fn new_secret(&self) -> Result<Secret> {
        self.everyday().new_secret()
    }

    /// Whether one was named.
    pub(super) fn is_given(&self) -> bool {
        let Everyday { credential, key_file, passphrase_file } = self.everyday();
        credential.is_some() || key_file.is_some() || passphrase_file.is_some()
    }
}

/// Ways to open a keystore every day, of which the first one that was named counts.
struct Everyday<'a> {
    credential: Option<&'a str>,
    key_file: Option<&'a Path>,
    passphrase_file: Option<&'a Path>,
}

impl Everyday<'_> {
    /// A secret that does not seal anything yet: a passphrase that was asked for is asked for twice, a key file that is
    /// missing is made.
    fn new_secret(&self) -> Result<Secret> {
        if let (None, Some(path)) = (self.credential, self.key_file)
            && !path.exists()
        {
            Keystore::create_key_file(path)?;
        }
        if let Some(secret) = self.given()? {
            return Ok(secret);
        }
        let first = ask("New passphrase for the keystore: ")?;
        if *first != *ask("The same passphrase again: ")? {
            return Err(CliError::PassphrasesDiffer.into());
        }
        Ok(Secret::Passphrase(first))
    }

    fn given(&self) -> Result<Option<Secret>> {
        match (self.credential, self.key_file, self.passphrase_file) {
            (Some(name), ..) => Ok(Some(Secret::Credential(name.to_owned()))),
            (None, Some(path), _) => {
                let path = std::path::absolute(path).with_context(|| format!("{}", path.display()))?;
                Ok(Some(Secret::KeyFile(path)))
            }
            (None, None, Some(path)) => Ok(Some(Secret::Passphrase(read_line(path)?))),
            (None, None, None) => Ok(None),
        }
    }
}

/// Makes the keystore `dir`, which `secret` opens every day and each of `further` by itself, and opens it.
pub(super) fn create(
    dir: &Path,
    secret: &Secret,
    further: &[RootKeySource],
    options: &CreateOptions,
) -> Result<EmbeddedKms> {
    let place = place(dir)?;
    if let (Place::Directory(dir), Some(parent)) = (&place, dir.parent()) {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make the directory of {}", dir.display()))?;
    }
    let source = secret.source()?;
    let sources: Vec<&RootKeySource> = std::iter::once(&source).chain(further).collect();
    place.create_sealed(&sources, options).with_context(|| format!("cannot make the keystore {place}"))
}

/// Opens the keystore at `dir`.
pub(super) fn open(dir: &Path, secret: &Secret) -> Result<Arc<EmbeddedKms>> {
    let place = place(dir)?;
    let service =
        place.open(&secret.source()?).with_context(|| format!("cannot open the keystore {place}"))?;
    Ok(Arc::new(service))
}

/// What a directory, or the address of a database in its place, means.
pub(super) fn place(dir: &Path) -> Result<Place> {
    match dir.to_str().filter(|text| ADDRESS_SCHEMES.iter().any(|scheme| text.starts_with(scheme))) {
        Some(address) => Ok(Place::Postgres(postgres(address)?)),
        None => Ok(Place::Directory(dir.to_owned())),
    }
}

/// Reads the address of a database. Its password is the first line of the file that the parameter `password_file` names.
fn postgres(address: &str) -> Result<PostgresConfig> {
    let refused = |problem: String| CliError::BadArgument(format!("--store: {problem}"));
    if !ADDRESS_SCHEMES.iter().any(|scheme| address.starts_with(scheme)) {
        return Err(refused("it is not postgres://USER@HOST/DATABASE".into()).into());
    }
    let (base, parameters) = address.split_once('?').unwrap_or((address, ""));
    let is_file = |parameter: &&str| parameter.starts_with(PASSWORD_FILE);
    let (files, others): (Vec<&str>, Vec<&str>) =
        parameters.split('&').filter(|parameter| !parameter.is_empty()).partition(is_file);
    let password = match files.first().and_then(|parameter| parameter.strip_prefix(PASSWORD_FILE)) {
        Some(path) => Some(Plaintext::copy_of(read_line(Path::new(path))?.as_bytes())),
        None => None,
    };
    let address = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
    let parsed = PostgresConfig::parse(&address, password.as_ref());
    Ok(parsed.map_err(|error| refused(error.to_string()))?)
}

/// The file system as it calls the service.
pub(super) fn service_caller(service: &EmbeddedKms) -> Caller {
    Caller::service(service.realm().account.clone(), &user_name(), SERVICE_NAME)
}

/// The user as they call the service themselves.
pub(super) fn user_caller(service: &EmbeddedKms) -> Caller {
    Caller::local(service.realm().account.clone(), &user_name())
}

fn user_name() -> String {
    let uid = rustix::process::geteuid();
    if uid.is_root() { "root".to_owned() } else { format!("uid-{}", uid.as_raw()) }
}

/// The first line of a file: a passphrase, a recovery key or a share.
fn read_line(path: &Path) -> Result<Zeroizing<String>> {
    let failed = || format!("cannot read {}", path.display());
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).with_context(failed)?;
    file.take(PASSPHRASE_MAX).read_to_string(&mut text).with_context(failed)?;
    let line = text.lines().next().unwrap_or_default();
    Ok(Zeroizing::new(line.to_owned()))
}

/// Asks at the terminal, without an echo.
pub(super) fn ask(prompt: &str) -> Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::NoTerminal.into());
    }
    Ok(Zeroizing::new(rpassword::prompt_password(prompt).context("cannot read the passphrase")?))
}
