//! A keystore in a directory, or in a PostgreSQL database that several servers share.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::header::Header;
use super::{Argon2Params, CreateOptions, Keystore, KeystoreError, RootKeySource, SealKind};
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
        self.create_sealed(&[source], options)
    }

    /// Creates a keystore that each of `sources` opens by itself, and opens it; see [`Keystore::create_sealed`].
    pub fn create_sealed(
        &self,
        sources: &[&RootKeySource],
        options: &CreateOptions,
    ) -> Result<EmbeddedKms, KeystoreError> {
        let config = match self {
            Self::Directory(dir) => return Keystore::create_sealed(dir, sources, options),
            Self::Postgres(config) => config,
        };
        let stored = PostgresHeader::connect(config)?;
        stored.migrate()?;
        let root = RootKey::generate()?;
        let header = Header::seal(&root, sources, options, None)?;
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
        self.reseal_under(from, &[to], argon2)
    }

    /// Seals the root key under each of `to`; see [`Keystore::reseal_under`].
    pub fn reseal_under(
        &self,
        from: &RootKeySource,
        to: &[&RootKeySource],
        argon2: Argon2Params,
    ) -> Result<(), KeystoreError> {
        let config = match self {
            Self::Directory(dir) => return Keystore::reseal_under(dir, from, to, argon2),
            Self::Postgres(config) => config,
        };
        let stored = PostgresHeader::connect(config)?;
        let old = self.header(&stored)?;
        let new = old.resealed(&self.name(), from, to, argon2)?;
        match stored.replace(&new.to_json())? {
            true => Ok(()),
            false => Err(KeystoreError::Missing { path: self.name() }),
        }
    }

    /// What opens the keystore, the everyday way first.
    pub fn seals(&self) -> Result<Vec<SealKind>, KeystoreError> {
        match self {
            Self::Directory(dir) => Keystore::seals(dir),
            Self::Postgres(config) => Ok(self.header(&PostgresHeader::connect(config)?)?.kinds()),
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
