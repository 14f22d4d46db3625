//! Records to sealed bytes and back.

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{AliasRecord, CustomKeyStoreRecord, GrantRecord, KeyRecord, Locality, StoreError, UserRecord};
use crate::model::{
    AccessKey, AliasName, CustomKeyStoreId, GrantId, KeyId, KeyLastUsage, MaterialId, Plaintext,
    SecretAccessKey, UserName,
};
use crate::seal::{SealError, Sealer};

/// Seals each record for the row that it lies in: a row that was changed, exchanged with another one, or brought from
/// another keystore does not open.
///
/// What this cannot notice is an old version of a row put back in its place; see the threat model.
#[derive(Debug)]
pub struct RecordCodec {
    sealer: Sealer,
}

impl RecordCodec {
    /// A codec under a sealer for records.
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer }
    }

    pub(super) fn seal_key(&self, at: &Locality, record: &KeyRecord) -> Result<Vec<u8>, StoreError> {
        let id = record.key_id.to_bytes();
        self.seal(&at.bind(&[b"key", &id]), &json(record)?)
    }

    pub(super) fn open_key(
        &self,
        at: &Locality,
        key_id: &KeyId,
        sealed: &[u8],
    ) -> Result<KeyRecord, StoreError> {
        let what = || format!("key {key_id}");
        let record: KeyRecord = self.open_json(&at.bind(&[b"key", &key_id.to_bytes()]), sealed, what)?;
        if record.key_id != *key_id {
            return Err(StoreError::Corrupt { what: what() });
        }
        Ok(record)
    }

    pub(super) fn seal_handle(
        &self,
        at: &Locality,
        key_id: &KeyId,
        material_id: &MaterialId,
        handle: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        self.seal(&at.bind(&[b"material", &key_id.to_bytes(), material_id.as_bytes()]), handle)
    }

    pub(super) fn open_handle(
        &self,
        at: &Locality,
        key_id: &KeyId,
        material_id: &MaterialId,
        sealed: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        self.sealer
            .open(&at.bind(&[b"material", &key_id.to_bytes(), material_id.as_bytes()]), sealed)
            .map(|handle| handle.to_vec())
            .map_err(|error| unsealed(error, || format!("material {material_id} of key {key_id}")))
    }

    pub(super) fn seal_alias(&self, at: &Locality, record: &AliasRecord) -> Result<Vec<u8>, StoreError> {
        let place: [&[u8]; 3] = [b"alias", record.name.as_str().as_bytes(), &record.key_id.to_bytes()];
        self.seal(&at.bind(&place), &json(record)?)
    }

    pub(super) fn open_alias(
        &self,
        at: &Locality,
        name: &AliasName,
        key_id: &KeyId,
        sealed: &[u8],
    ) -> Result<AliasRecord, StoreError> {
        let place: [&[u8]; 3] = [b"alias", name.as_str().as_bytes(), &key_id.to_bytes()];
        self.open_json(&at.bind(&place), sealed, || format!("alias {name} of key {key_id}"))
    }

    pub(super) fn seal_user(&self, record: &UserRecord) -> Result<Vec<u8>, StoreError> {
        self.seal(&[b"user", record.name.as_str().as_bytes()], &json(record)?)
    }

    pub(super) fn open_user(&self, name: &UserName, sealed: &[u8]) -> Result<UserRecord, StoreError> {
        self.open_json(&[b"user", name.as_str().as_bytes()], sealed, || format!("user {name}"))
    }

    pub(super) fn seal_access_key(
        &self,
        key: &AccessKey,
        secret: &SecretAccessKey,
    ) -> Result<Vec<u8>, StoreError> {
        let created = key.creation_date.as_millis().to_le_bytes();
        self.seal(&access_key_place(key, &created), secret.expose().as_bytes())
    }

    pub(super) fn open_access_key(
        &self,
        key: &AccessKey,
        sealed: &[u8],
    ) -> Result<SecretAccessKey, StoreError> {
        let created = key.creation_date.as_millis().to_le_bytes();
        let opened = self.sealer.open(&access_key_place(key, &created), sealed);
        opened
            .map(|secret| SecretAccessKey::new(Plaintext::copy_of(&secret)))
            .map_err(|error| unsealed(error, || format!("access key {}", key.access_key_id)))
    }

    pub(super) fn seal_key_store(
        &self,
        at: &Locality,
        record: &CustomKeyStoreRecord,
    ) -> Result<Vec<u8>, StoreError> {
        // The record holds secrets. Room for all of it from the start, so that no copy is left behind by growing.
        let mut json = Zeroizing::new(Vec::with_capacity(record.json_len_bound()));
        serde_json::to_writer(&mut *json, record).map_err(|error| StoreError::Backend(error.to_string()))?;
        self.seal(&at.bind(&[b"custom key store", record.id.as_str().as_bytes()]), &json)
    }

    pub(super) fn open_key_store(
        &self,
        at: &Locality,
        id: &CustomKeyStoreId,
        sealed: &[u8],
    ) -> Result<CustomKeyStoreRecord, StoreError> {
        let place: [&[u8]; 2] = [b"custom key store", id.as_str().as_bytes()];
        self.open_json(&at.bind(&place), sealed, || format!("custom key store {id}"))
    }

    pub(super) fn seal_grant(&self, at: &Locality, record: &GrantRecord) -> Result<Vec<u8>, StoreError> {
        let place: [&[u8]; 3] = [b"grant", record.grant_id.as_bytes(), &record.key_id.to_bytes()];
        self.seal(&at.bind(&place), &json(record)?)
    }

    pub(super) fn open_grant(
        &self,
        at: &Locality,
        grant_id: &GrantId,
        key_id: &KeyId,
        sealed: &[u8],
    ) -> Result<GrantRecord, StoreError> {
        let place: [&[u8]; 3] = [b"grant", grant_id.as_bytes(), &key_id.to_bytes()];
        self.open_json(&at.bind(&place), sealed, || format!("grant {grant_id} of key {key_id}"))
    }

    pub(super) fn seal_usage(
        &self,
        at: &Locality,
        key_id: &KeyId,
        usage: &KeyLastUsage,
    ) -> Result<Vec<u8>, StoreError> {
        self.seal(&at.bind(&[b"usage", &key_id.to_bytes()]), &json(usage)?)
    }

    pub(super) fn open_usage(
        &self,
        at: &Locality,
        key_id: &KeyId,
        sealed: &[u8],
    ) -> Result<KeyLastUsage, StoreError> {
        let what = || format!("last use of key {key_id}");
        self.open_json(&at.bind(&[b"usage", &key_id.to_bytes()]), sealed, what)
    }

    pub(super) fn seal_setting(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.seal(&[b"setting", name.as_bytes()], value)
    }

    pub(super) fn open_setting(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let opened = self.sealer.open(&[b"setting", name.as_bytes()], sealed);
        opened.map(|value| value.to_vec()).map_err(|error| unsealed(error, || format!("setting {name}")))
    }

    fn seal(&self, place: &[&[u8]], plaintext: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.sealer.seal(place, plaintext).map_err(|error| StoreError::Backend(error.to_string()))
    }

    fn open_json<T: DeserializeOwned>(
        &self,
        place: &[&[u8]],
        sealed: &[u8],
        what: impl Fn() -> String,
    ) -> Result<T, StoreError> {
        let bytes = self.sealer.open(place, sealed).map_err(|error| unsealed(error, &what))?;
        serde_json::from_slice(&bytes).map_err(|_| StoreError::Corrupt { what: what() })
    }
}

/// Everything about an access key that is not secret, so that none of it can be changed.
fn access_key_place<'a>(key: &'a AccessKey, created: &'a [u8; 8]) -> [&'a [u8]; 4] {
    [b"access key", key.access_key_id.as_str().as_bytes(), key.user.as_str().as_bytes(), created]
}

fn json<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| StoreError::Backend(error.to_string()))
}

fn unsealed(error: SealError, what: impl Fn() -> String) -> StoreError {
    match error {
        SealError::Unauthentic => StoreError::Corrupt { what: what() },
        SealError::Internal => StoreError::Backend(error.to_string()),
    }
}
