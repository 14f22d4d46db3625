//! `keystore.json`: bytes to a sealed root key and back.

use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::source::{Argon2Params, RootKeySource, SALT_LEN, SealKind, SourceKey};
use super::{CreateOptions, KeystoreError};
use crate::model::Realm;
use crate::seal::{RootKey, SealError, derived, fill_random};

/// One seal, under a passphrase or a key file.
const VERSION_ONE_SEAL: u64 = 1;
/// Any seals; the newest version that this module reads.
const VERSION_SEALS: u64 = 2;
/// A header is under 4 KiB; a file beyond this is not one.
pub(super) const MAX_LEN: usize = 16 * 1024;
/// The most seals of a keystore.
const MAX_SEALS: usize = 8;
/// Part of the stored format.
const SEAL_INFO: &[u8] = b"kms-core root key seal v1";

/// The file, typed: the root key, sealed once or several times. Each seal opens it by itself.
#[derive(Debug)]
pub(super) struct Header {
    version: u64,
    realm: Realm,
    /// The first one is what the keystore is opened with every day.
    seals: Vec<Seal>,
}

/// The root key under one source.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    source: SourceFacts,
    /// Tells a wrong secret from a damaged file.
    check: String,
    /// The root key under the key of the source.
    sealed_root_key: String,
}

/// The file with one seal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OneSealFile {
    /// Authenticated with the seal.
    facts: Facts,
    check: String,
    sealed_root_key: String,
}

/// The file with any seals.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealsFile {
    facts: SharedFacts,
    seals: Vec<Seal>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedFacts {
    version: u64,
    realm: Realm,
}

/// What a seal of the root key is bound to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    version: u64,
    realm: Realm,
    source: SourceFacts,
}

/// What is needed, beside the secret, to derive the key of the source.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum SourceFacts {
    Passphrase { argon2id: Argon2Params, salt: String },
    KeyFile { salt: String },
    Credential { name: String, salt: String },
    RecoveryKey { salt: String },
    Shares { threshold: u8, shares: u8, salt: String },
}

/// The version alone, which every future version keeps in its place.
#[derive(Deserialize)]
struct VersionOnly {
    facts: VersionFacts,
}

#[derive(Deserialize)]
struct VersionFacts {
    version: u64,
}

impl Header {
    /// Seals a root key under each of `sources`, and keeps the seals of `kept` that are of other kinds, all in the realm of
    /// `options`.
    pub(super) fn seal(
        root: &RootKey,
        sources: &[&RootKeySource],
        options: &CreateOptions,
        kept: Option<&Self>,
    ) -> Result<Self, KeystoreError> {
        let kept: Vec<Seal> = kept.map(|header| header.further_seals(sources)).unwrap_or_default();
        let plain = matches!(sources, [RootKeySource::Passphrase(_) | RootKeySource::KeyFile(_)]);
        let version = if plain && kept.is_empty() { VERSION_ONE_SEAL } else { VERSION_SEALS };
        let mut seals = Vec::new();
        for source in sources {
            seals.push(Seal::make(root, version, source, options)?);
        }
        seals.extend(kept);
        Ok(Self { version, realm: options.realm.clone(), seals })
    }

    /// The same root key under each of `to` instead, opened with `from`. The seals behind the first one stay, unless one of
    /// `to` is of their kind.
    pub(super) fn resealed(
        &self,
        dir: &Path,
        from: &RootKeySource,
        to: &[&RootKeySource],
        argon2: Argon2Params,
    ) -> Result<Self, KeystoreError> {
        let root = self.unseal(dir, from)?;
        let options = CreateOptions { realm: self.realm.clone(), argon2 };
        let new = Self::seal(&root, to, &options, Some(self))?;
        for source in to {
            // What does not open must not take the place of what does.
            if new.unseal(dir, source)?.expose() != root.expose() {
                return Err(SealError::Internal.into());
            }
        }
        Ok(new)
    }

    /// The seals behind the first one that none of `sources` replaces.
    fn further_seals(&self, sources: &[&RootKeySource]) -> Vec<Seal> {
        let replaced = |seal: &&Seal| sources.iter().any(|source| seal.source.is_kind_of(source));
        self.seals.iter().skip(1).filter(|seal| !replaced(seal)).cloned().collect()
    }

    /// The file. JSON, so that an administrator sees which sources open it.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let Self { version, realm, seals } = self;
        let (version, realm) = (*version, realm.clone());
        let mut json = match seals.as_slice() {
            [seal] if version == VERSION_ONE_SEAL => serde_json::to_vec_pretty(&OneSealFile {
                facts: Facts { version, realm, source: seal.source.clone() },
                check: seal.check.clone(),
                sealed_root_key: seal.sealed_root_key.clone(),
            }),
            seals => serde_json::to_vec_pretty(&SealsFile {
                facts: SharedFacts { version, realm },
                seals: seals.to_vec(),
            }),
        }
        .expect("a header has only text and numbers");
        json.push(b'\n');
        json
    }

    /// Reads the file. Total: whatever the bytes are, the answer is a header or an error.
    pub(super) fn parse(dir: &Path, bytes: &[u8]) -> Result<Self, KeystoreError> {
        let corrupt = || KeystoreError::Corrupt { path: dir.to_owned(), what: "keystore.json" };
        if bytes.len() > MAX_LEN {
            return Err(corrupt());
        }
        let VersionOnly { facts: VersionFacts { version } } =
            serde_json::from_slice(bytes).map_err(|_| corrupt())?;
        match version {
            VERSION_ONE_SEAL => {
                let file: OneSealFile = serde_json::from_slice(bytes).map_err(|_| corrupt())?;
                let OneSealFile { facts: Facts { version, realm, source }, check, sealed_root_key } = file;
                Ok(Self { version, realm, seals: vec![Seal { source, check, sealed_root_key }] })
            }
            VERSION_SEALS => {
                let file: SealsFile = serde_json::from_slice(bytes).map_err(|_| corrupt())?;
                let SealsFile { facts: SharedFacts { version, realm }, seals } = file;
                let counted = (1..=MAX_SEALS).contains(&seals.len());
                if counted { Ok(Self { version, realm, seals }) } else { Err(corrupt()) }
            }
            newer if newer > VERSION_SEALS => {
                Err(KeystoreError::NewerVersion { found: newer, supported: VERSION_SEALS })
            }
            _ => Err(corrupt()),
        }
    }

    pub(super) fn realm(&self) -> &Realm {
        &self.realm
    }

    /// What opens the keystore, the everyday way first.
    pub(super) fn kinds(&self) -> Vec<SealKind> {
        self.seals.iter().map(|seal| seal.source.kind()).collect()
    }

    /// Unseals the root key with the first seal of the kind of `source` that opens.
    pub(super) fn unseal(&self, dir: &Path, source: &RootKeySource) -> Result<RootKey, KeystoreError> {
        let mut failure = None;
        for seal in self.seals.iter().filter(|seal| seal.source.is_kind_of(source)) {
            match seal.open(dir, self, source) {
                Ok(root) => return Ok(root),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        let expected = self.seals.first().map_or("nothing", |seal| seal.source.kind().name());
        Err(failure.unwrap_or(KeystoreError::WrongSource { expected }))
    }
}

impl Seal {
    fn make(
        root: &RootKey,
        version: u64,
        source: &RootKeySource,
        options: &CreateOptions,
    ) -> Result<Self, KeystoreError> {
        let mut salt = [0; SALT_LEN];
        fill_random(&mut salt)?;
        let text = STANDARD.encode(salt);
        let (key, source) = match source {
            RootKeySource::Passphrase(passphrase) => {
                let argon2id = options.argon2;
                let key = SourceKey::from_passphrase(passphrase, &salt, &argon2id)?;
                (key, SourceFacts::Passphrase { argon2id, salt: text })
            }
            RootKeySource::KeyFile(path) => {
                (SourceKey::from_key_file(path, &salt)?, SourceFacts::KeyFile { salt: text })
            }
            RootKeySource::Credential(name) => {
                let key = SourceKey::from_credential(name, &salt)?;
                (key, SourceFacts::Credential { name: name.clone(), salt: text })
            }
            RootKeySource::RecoveryKey(key) => {
                (SourceKey::from_recovery_key(key, &salt)?, SourceFacts::RecoveryKey { salt: text })
            }
            RootKeySource::Shares(shares) => {
                let (secret, threshold) = shares.combine()?;
                let count = u8::try_from(shares.len()).map_err(|_| KeystoreError::WrongShares)?;
                let key = SourceKey::from_shared_secret(&secret, &salt)?;
                (key, SourceFacts::Shares { threshold, shares: count, salt: text })
            }
        };
        let facts = Facts { version, realm: options.realm.clone(), source };
        let sealed = derived::seal(&key.0[..], &[SEAL_INFO], &facts.aad()?, &root.expose()[..])?;
        Ok(Self {
            check: STANDARD.encode(check_value(&key)?),
            sealed_root_key: STANDARD.encode(sealed),
            source: facts.source,
        })
    }

    fn open(&self, dir: &Path, header: &Header, source: &RootKeySource) -> Result<RootKey, KeystoreError> {
        let corrupt = || KeystoreError::Corrupt { path: dir.to_owned(), what: "keystore.json" };
        let salt = |text: &str| decode_salt(text).ok_or_else(corrupt);
        let (key, wrong) = match (&self.source, source) {
            (SourceFacts::Passphrase { argon2id, salt: text }, RootKeySource::Passphrase(passphrase)) => {
                if !argon2id.in_bounds() {
                    return Err(corrupt());
                }
                let key = SourceKey::from_passphrase(passphrase, &salt(text)?, argon2id)?;
                (key, KeystoreError::WrongPassphrase)
            }
            (SourceFacts::KeyFile { salt: text }, RootKeySource::KeyFile(path)) => {
                (SourceKey::from_key_file(path, &salt(text)?)?, KeystoreError::WrongKeyFile)
            }
            (SourceFacts::Credential { salt: text, .. }, RootKeySource::Credential(name)) => {
                (SourceKey::from_credential(name, &salt(text)?)?, KeystoreError::WrongCredential)
            }
            (SourceFacts::RecoveryKey { salt: text }, RootKeySource::RecoveryKey(key)) => {
                (SourceKey::from_recovery_key(key, &salt(text)?)?, KeystoreError::WrongRecoveryKey)
            }
            (SourceFacts::Shares { threshold, salt: text, .. }, RootKeySource::Shares(shares)) => {
                if shares.len() < usize::from(*threshold) {
                    return Err(KeystoreError::TooFewShares { given: shares.len(), needed: *threshold });
                }
                let (secret, _) = shares.combine()?;
                (SourceKey::from_shared_secret(&secret, &salt(text)?)?, KeystoreError::WrongShares)
            }
            (facts, _) => return Err(KeystoreError::WrongSource { expected: facts.kind().name() }),
        };
        let check = STANDARD.decode(&self.check).map_err(|_| corrupt())?;
        if verify_slices_are_equal(&check, &check_value(&key)?).is_err() {
            return Err(wrong);
        }
        let sealed = STANDARD.decode(&self.sealed_root_key).map_err(|_| corrupt())?;
        let (version, realm) = (header.version, header.realm.clone());
        let facts = Facts { version, realm, source: self.source.clone() };
        let opened =
            derived::open(&key.0[..], &[SEAL_INFO], &facts.aad()?, &sealed).map_err(|_| corrupt())?;
        let bytes: &[u8; 32] = opened.as_slice().try_into().map_err(|_| corrupt())?;
        Ok(RootKey::from_bytes(Zeroizing::new(*bytes)))
    }
}

impl SourceFacts {
    fn kind(&self) -> SealKind {
        match self {
            Self::Passphrase { .. } => SealKind::Passphrase,
            Self::KeyFile { .. } => SealKind::KeyFile,
            Self::Credential { name, .. } => SealKind::Credential { name: name.clone() },
            Self::RecoveryKey { .. } => SealKind::RecoveryKey,
            Self::Shares { threshold, shares, .. } => {
                SealKind::Shares { threshold: *threshold, shares: *shares }
            }
        }
    }

    fn is_kind_of(&self, source: &RootKeySource) -> bool {
        matches!(
            (self, source),
            (Self::Passphrase { .. }, RootKeySource::Passphrase(_))
                | (Self::KeyFile { .. }, RootKeySource::KeyFile(_))
                | (Self::Credential { .. }, RootKeySource::Credential(_))
                | (Self::RecoveryKey { .. }, RootKeySource::RecoveryKey(_))
                | (Self::Shares { .. }, RootKeySource::Shares(_))
        )
    }
}

impl Facts {
    fn aad(&self) -> Result<Vec<u8>, SealError> {
        serde_json::to_vec(self).map_err(|_| SealError::Internal)
    }
}

fn decode_salt(text: &str) -> Option<[u8; SALT_LEN]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// A derivation that shows whether the key is right without showing the key.
fn check_value(key: &SourceKey) -> Result<[u8; 32], SealError> {
    let mut check = [0; 32];
    Prk::new_less_safe(HKDF_SHA256, &key.0[..])
        .expand(&[b"kms-core root key check v1"], HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut check))
        .map_err(|_| SealError::Internal)?;
    Ok(check)
}
