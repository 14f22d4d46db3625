//! A keystore: the directory in which an embedded service lives.
//!
//! ```text
//! keystore.json   the root key, sealed under a passphrase or a key file, and what is needed to unseal it
//! keys.sqlite     the store; every row sealed under the root key
//! audit.sqlite    the audit log; signed with a key that is derived from the root key
//! ```
//! Several servers share one keystore in a PostgreSQL database instead; see [`Place`].
//!
//! The directory is readable only by its owner (0700, files 0600); a keystore that others can read is refused.

mod files;
mod header;
mod place;
mod secret_text;
mod shares;
mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use place::Place;
pub use shares::SecretShares;
pub use source::{Argon2Params, RootKeySource, SealKind};

use crate::audit::{AuditError, AuditKey, AuditStore};
use crate::error::KmsError;
use crate::model::Realm;
use crate::seal::{Purpose, RootKey, SealError};
use crate::service::{Builder, EmbeddedKms};
use crate::store::{RecordCodec, SqliteAuditStore, SqliteStore, StoreError, UnusableAuditStore};
use header::Header;

/// The sealed root key.
const HEADER_FILE: &str = "keystore.json";
/// The store.
const DATABASE_FILE: &str = "keys.sqlite";
/// The audit log.
const AUDIT_FILE: &str = "audit.sqlite";

/// Why a keystore could not be created or opened.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// There is no keystore at the path.
    #[error("there is no keystore at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something is at the path already.
    #[error("{} exists already", path.display())]
    AlreadyExists {
        /// The path.
        path: PathBuf,
    },
    /// The passphrase is not the one that seals the root key.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// The key file is not the one that seals the root key.
    #[error("wrong key file")]
    WrongKeyFile,
    /// The credential of the service manager is not the one that seals the root key.
    #[error("wrong systemd credential")]
    WrongCredential,
    /// The service manager passed no such credential.
    #[error("there is no systemd credential {name:?} (CREDENTIALS_DIRECTORY)")]
    NoCredential {
        /// Its name.
        name: String,
    },
    /// The recovery key is not that of the keystore, or was not copied right.
    #[error("wrong recovery key")]
    WrongRecoveryKey,
    /// The shares are not those of the keystore, or were not copied right.
    #[error("wrong shares")]
    WrongShares,
    /// More people have to come together.
    #[error("{given} shares were given and {needed} are needed")]
    TooFewShares {
        /// Shares that were given.
        given: usize,
        /// Shares that are needed.
        needed: u8,
    },
    /// The root key is sealed by another kind of source than the one that was given.
    #[error("the keystore is sealed by a {expected}")]
    WrongSource {
        /// What is needed.
        expected: &'static str,
    },
    /// The key file is missing, too short or too long.
    #[error("the key file {} {problem}", path.display())]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The passphrase is empty, or the cost parameters are outside their bounds.
    #[error("{0}")]
    Unsuitable(&'static str),
    /// A part of the keystore is damaged or missing.
    #[error("the keystore at {} is damaged: {what}", path.display())]
    Corrupt {
        /// The keystore.
        path: PathBuf,
        /// Which part.
        what: &'static str,
    },
    /// A later version of this software wrote the keystore.
    #[error("the keystore has version {found}, newer than {supported}")]
    NewerVersion {
        /// The version of the keystore.
        found: u64,
        /// The newest version that this software reads.
        supported: u64,
    },
    /// Others than the owner may read or change the file or directory.
    #[error("{} is accessible to others (mode {mode:03o})", path.display())]
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The operating system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// What it refused to open or change.
        path: PathBuf,
        /// The reason.
        #[source]
        error: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service could not be started.
    #[error(transparent)]
    Service(#[from] KmsError),
    /// The cryptographic library failed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// How a keystore is created.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// The Region and account of its keys.
    pub realm: Realm,
    /// The cost of trying a passphrase.
    pub argon2: Argon2Params,
}

/// Creates, opens and reseals keystores.
#[derive(Debug, Clone, Copy)]
pub struct Keystore;

impl Keystore {
    /// Creates a keystore with default options, and opens it.
    pub fn create(dir: &Path, source: &RootKeySource) -> Result<EmbeddedKms, KeystoreError> {
        Self::create_with(dir, source, &CreateOptions::default())
    }

    /// Creates a keystore, and opens it.
    ///
    /// The directory appears whole or not at all. It must not exist, or be empty.
    pub fn create_with(
        dir: &Path,
        source: &RootKeySource,
        options: &CreateOptions,
    ) -> Result<EmbeddedKms, KeystoreError> {
        Self::create_sealed(dir, &[source], options)
    }

    /// Creates a keystore that each of `sources` opens by itself, the first one every day, and opens it.
    pub fn create_sealed(
        dir: &Path,
        sources: &[&RootKeySource],
        options: &CreateOptions,
    ) -> Result<EmbeddedKms, KeystoreError> {
        if !files::is_free(dir)? {
            return Err(KeystoreError::AlreadyExists { path: dir.to_owned() });
        }
        let root = RootKey::generate()?;
        let header = Header::seal(&root, sources, options, None)?;
        let staged = files::StagedDir::beside(dir)?;
        files::write_new(&staged.path().join(HEADER_FILE), &header.to_json())?;
        let database = staged.path().join(DATABASE_FILE);
        files::write_new(&database, b"")?;
        // Closed again before the directory moves: SQLite keeps the path of its log.
        drop(open_store(&database, &root)?);
        staged.publish(dir)?;
        Ok(builder(dir, &root, &header)?.build())
    }

    /// Opens a keystore. Several processes may have it open; a process that forks opens it afterwards, because SQLite
    /// connections do not survive a fork.
    pub fn open(dir: &Path, source: &RootKeySource) -> Result<EmbeddedKms, KeystoreError> {
        Ok(Self::open_builder(dir, source)?.build())
    }

    /// Opens a keystore whose service needs another clock, authorizer or custody.
    pub fn open_builder(dir: &Path, source: &RootKeySource) -> Result<Builder, KeystoreError> {
        let header = read_header(dir)?;
        let root = header.unseal(dir, source)?;
        builder(dir, &root, &header)
    }

    /// Seals the root key under another source. The old one no longer opens the keystore, but it does open copies of the
    /// old `keystore.json`. A recovery key and shares stay as they are.
    pub fn reseal(
        dir: &Path,
        from: &RootKeySource,
        to: &RootKeySource,
        argon2: Argon2Params,
    ) -> Result<(), KeystoreError> {
        Self::reseal_under(dir, from, &[to], argon2)
    }

    /// As [`Self::reseal`], under each of `to`: the first one for every day; a recovery key or shares replace the ones that
    /// there were. After a crash either the old seals open the keystore or the new ones do.
    pub fn reseal_under(
        dir: &Path,
        from: &RootKeySource,
        to: &[&RootKeySource],
        argon2: Argon2Params,
    ) -> Result<(), KeystoreError> {
        let new = read_header(dir)?.resealed(dir, from, to, argon2)?;
        files::replace(&dir.join(HEADER_FILE), &new.to_json())
    }

    /// What opens the keystore, the everyday way first.
    pub fn seals(dir: &Path) -> Result<Vec<SealKind>, KeystoreError> {
        Ok(read_header(dir)?.kinds())
    }

    /// A fresh recovery key: a line for a person to keep.
    pub fn new_recovery_key() -> Result<zeroize::Zeroizing<String>, KeystoreError> {
        Ok(secret_text::new_recovery_key()?)
    }

    /// Writes a new key file with 32 random bytes, readable only by its owner.
    pub fn create_key_file(path: &Path) -> Result<(), KeystoreError> {
        source::create_key_file(path)
    }
}

fn read_header(dir: &Path) -> Result<Header, KeystoreError> {
    let path = dir.join(HEADER_FILE);
    if !path.exists() {
        return Err(KeystoreError::Missing { path: dir.to_owned() });
    }
    files::check_private(dir)?;
    files::check_private(&path)?;
    Header::parse(dir, &files::read_bounded(&path, header::MAX_LEN)?)
}

fn builder(dir: &Path, root: &RootKey, header: &Header) -> Result<Builder, KeystoreError> {
    let database = dir.join(DATABASE_FILE);
    if !database.exists() {
        // An empty database in its place would look like a keystore whose keys were all deleted.
        return Err(KeystoreError::Corrupt { path: dir.to_owned(), what: "keys.sqlite is missing" });
    }
    files::check_private(&database)?;
    let store = open_store(&database, root)?;
    let builder = EmbeddedKms::builder(Arc::new(store), root)?.realm(header.realm().clone());
    Ok(builder.audit(open_audit_log(&dir.join(AUDIT_FILE))?, AuditKey::of_root(root)?)?)
}

/// Opens the audit log; one that is missing is made, which the service notices if there was one before.
fn open_audit_log(path: &Path) -> Result<Arc<dyn AuditStore>, KeystoreError> {
    match files::write_new(path, b"") {
        Ok(()) | Err(KeystoreError::AlreadyExists { .. }) => {}
        Err(error) => return Err(error),
    }
    files::check_private(path)?;
    Ok(match SqliteAuditStore::open(path) {
        Ok(store) => Arc::new(store),
        Err(error) => Arc::new(UnusableAuditStore::new(AuditError::Backend(error.to_string()))),
    })
}

fn open_store(database: &Path, root: &RootKey) -> Result<SqliteStore, KeystoreError> {
    Ok(SqliteStore::open(database, RecordCodec::new(root.sealer(Purpose::Records)?))?)
}
