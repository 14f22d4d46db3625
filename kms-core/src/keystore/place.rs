//! A keystore in a directory, or in a PostgreSQL database that several servers share.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::header::Header;
use super::{Argon2Params, CreateOptions, Keystore, KeystoreError, RootKeySource};
use crate::audit::AuditKey;
use crate::seal::{Purpose, RootKey};
use crate::service::{Builder, EmbeddedKms};
use crate::store::{PostgresAuditStore, PostgresConfig, PostgresHeader, PostgresStore, RecordCodec};

/// Where a keystore is.
#[derive(Debug, Clone)]
pub enum Place {
    /// A directory of this machine; see [`Keystore`].
    Directory(PathBuf),
    /// A database. It holds everything, the sealed root key too: whoever may connect and has what unseals the root key can
    /// serve it.
    Postgres(PostgresConfig),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(dir) => write!(f, "{}", dir.display()),
            Self::Postgres(config) => write!(f, "{config}"),
        }
    }
}

impl Place {
    /// How errors name a database.
    fn name(&self) -> PathBuf {
        PathBuf::from(self.to_string())
    }

    /// Whether there is a keystore.
    pub fn exists(&self) -> Result<bool, KeystoreError> {
        match self {
            Self::Directory(dir) => Ok(dir.join(super::HEADER_FILE).exists()),
            Self::Postgres(config) => Ok(PostgresHeader::connect(config)?.read()?.is_some()),
        }
    }

    /// Creates a keystore, and opens it.
    pub fn create(
        &self,
        source: &RootKeySource,
        options: &CreateOptions,
    ) -> Result<EmbeddedKms, KeystoreError> {
        let config = match self {
            Self::Directory(dir) => return Keystore::create_with(dir, source, options),
            Self::Postgres(config) => config,
        };
        let stored = PostgresHeader::connect(config)?;
        stored.migrate()?;
        let root = RootKey::generate()?;
        let header = Header::seal(&root, source, options)?;
        if !stored.create(&header.to_json())? {
            return Err(KeystoreError::AlreadyExists { path: self.name() });
        }
        Ok(builder(config, &root, &header)?.build())
    }

    /// Opens a keystore.
    pub fn open(&self, source: &RootKeySource) -> Result<EmbeddedKms, KeystoreError> {
        Ok(self.open_builder(source)?.build())
    }

    /// Opens a keystore whose service needs another clock, authorizer or custody.
    pub fn open_builder(&self, source: &RootKeySource) -> Result<Builder, KeystoreError> {
        let config = match self {
            Self::Directory(dir) => return Keystore::open_builder(dir, source),
            Self::Postgres(config) => config,
        };
        let stored = PostgresHeader::connect(config)?;
        let header = self.header(&stored)?;
        let root = header.unseal(&self.name(), source)?;
        stored.migrate()?;
        builder(config, &root, &header)
    }

    /// Seals the root key under another passphrase or key file; see [`Keystore::reseal`].
    pub fn reseal(
        &self,
        from: &RootKeySource,
        to: &RootKeySource,
        argon2: Argon2Params,
    ) -> Result<(), KeystoreError> {
        let config = match self {
            Self::Directory(dir) => return Keystore::reseal(dir, from, to, argon2),
            Self::Postgres(config) => config,
        };
        let stored = PostgresHeader::connect(config)?;
        let old = self.header(&stored)?;
        let root = old.unseal(&self.name(), from)?;
        let new = Header::seal(&root, to, &CreateOptions { realm: old.realm().clone(), argon2 })?;
        match stored.replace(&new.to_json())? {
            true => Ok(()),
            false => Err(KeystoreError::Missing { path: self.name() }),
        }
    }

    fn header(&self, stored: &PostgresHeader) -> Result<Header, KeystoreError> {
        let bytes = stored.read()?.ok_or_else(|| KeystoreError::Missing { path: self.name() })?;
        Header::parse(Path::new(&self.name()), &bytes)
    }
}

fn builder(config: &PostgresConfig, root: &RootKey, header: &Header) -> Result<Builder, KeystoreError> {
    let codec = || Ok::<_, KeystoreError>(RecordCodec::new(root.sealer(Purpose::Records)?));
    let store = Arc::new(PostgresStore::open(config, codec()?));
    let log = Arc::new(PostgresAuditStore::open(config, codec()?));
    let builder = EmbeddedKms::builder(store, root)?.realm(header.realm().clone());
    Ok(builder.audit(log, AuditKey::of_root(root)?)?)
}
