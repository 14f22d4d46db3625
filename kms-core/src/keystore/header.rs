//! `keystore.json`: bytes to a sealed root key and back.

use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::source::{Argon2Params, RootKeySource, SALT_LEN, SourceKey};
use super::{CreateOptions, KeystoreError};
use crate::model::Realm;
use crate::seal::{RootKey, SealError, derived, fill_random};

/// The version that this module writes, and the newest that it reads.
const VERSION: u64 = 1;
/// A header is under 1 KiB; a file beyond this is not one.
pub(super) const MAX_LEN: usize = 16 * 1024;
/// Part of the stored format.
const SEAL_INFO: &[u8] = b"kms-core root key seal v1";

/// The file, typed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// Authenticated with the seal.
    facts: Facts,
    /// Tells a wrong passphrase from a damaged file.
    check: String,
    /// The root key under the key of the source.
    sealed_root_key: String,
}

/// What the seal of the root key is bound to.
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
    /// Seals a root key under `source`.
    pub(super) fn seal(
        root: &RootKey,
        source: &RootKeySource,
        options: &CreateOptions,
    ) -> Result<Self, KeystoreError> {
        let mut salt = [0; SALT_LEN];
        fill_random(&mut salt)?;
        let (key, source) = match source {
            RootKeySource::Passphrase(passphrase) => {
                let argon2id = options.argon2;
                let key = SourceKey::from_passphrase(passphrase, &salt, &argon2id)?;
                (key, SourceFacts::Passphrase { argon2id, salt: STANDARD.encode(salt) })
            }
            RootKeySource::KeyFile(path) => {
                let key = SourceKey::from_key_file(path, &salt)?;
                (key, SourceFacts::KeyFile { salt: STANDARD.encode(salt) })
            }
        };
        let facts = Facts { version: VERSION, realm: options.realm.clone(), source };
        let sealed = derived::seal(&key.0[..], &[SEAL_INFO], &facts.aad()?, &root.expose()[..])?;
        Ok(Self {
            check: STANDARD.encode(check_value(&key)?),
            sealed_root_key: STANDARD.encode(sealed),
            facts,
        })
    }

    /// The file. JSON, so that an administrator sees which source is needed.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a header has only text and numbers");
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
        if version > VERSION {
            return Err(KeystoreError::NewerVersion { found: version, supported: VERSION });
        }
        let header: Self = serde_json::from_slice(bytes).map_err(|_| corrupt())?;
        if header.facts.version != VERSION {
            return Err(corrupt());
        }
        Ok(header)
    }

    pub(super) fn realm(&self) -> &Realm {
        &self.facts.realm
    }

    /// Unseals the root key.
    pub(super) fn unseal(&self, dir: &Path, source: &RootKeySource) -> Result<RootKey, KeystoreError> {
        let corrupt = || KeystoreError::Corrupt { path: dir.to_owned(), what: "keystore.json" };
        let (key, wrong) = match (&self.facts.source, source) {
            (SourceFacts::Passphrase { argon2id, salt }, RootKeySource::Passphrase(passphrase)) => {
                if !argon2id.in_bounds() {
                    return Err(corrupt());
                }
                let salt = decode_salt(salt).ok_or_else(corrupt)?;
                (SourceKey::from_passphrase(passphrase, &salt, argon2id)?, KeystoreError::WrongPassphrase)
            }
            (SourceFacts::KeyFile { salt }, RootKeySource::KeyFile(path)) => {
                let salt = decode_salt(salt).ok_or_else(corrupt)?;
                (SourceKey::from_key_file(path, &salt)?, KeystoreError::WrongKeyFile)
            }
            (SourceFacts::Passphrase { .. }, RootKeySource::KeyFile(_)) => {
                return Err(KeystoreError::WrongSource { expected: "passphrase" });
            }
            (SourceFacts::KeyFile { .. }, RootKeySource::Passphrase(_)) => {
                return Err(KeystoreError::WrongSource { expected: "key file" });
            }
        };
        let check = STANDARD.decode(&self.check).map_err(|_| corrupt())?;
        if verify_slices_are_equal(&check, &check_value(&key)?).is_err() {
            return Err(wrong);
        }
        let sealed = STANDARD.decode(&self.sealed_root_key).map_err(|_| corrupt())?;
        let opened =
            derived::open(&key.0[..], &[SEAL_INFO], &self.facts.aad()?, &sealed).map_err(|_| corrupt())?;
        let bytes: &[u8; 32] = opened.as_slice().try_into().map_err(|_| corrupt())?;
        Ok(RootKey::from_bytes(Zeroizing::new(*bytes)))
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
