//! A service on a test clock, and the few calls that every test makes.

use std::path::PathBuf;
use std::sync::Arc;

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::import::wrap_material;
use kms_core::keystore::{Argon2Params, CreateOptions, Keystore, Place, RootKeySource};
use kms_core::model::*;
use kms_core::seal::RootKey;
use kms_core::service::EmbeddedKms;
use kms_core::store::{MemoryStore, PostgresConfig};
use tempfile::TempDir;

use crate::cluster::Cluster;

/// The passphrase of every test keystore.
pub(crate) const PASSPHRASE: &str = "correct horse battery staple";

/// A service, its clock, and the directory that it lives in.
pub(crate) struct Fixture {
    pub(crate) kms: EmbeddedKms,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) caller: Caller,
    pub(crate) dir: Option<TempDir>,
}

impl Fixture {
    /// A service that forgets.
    pub(crate) fn in_memory() -> Self {
        let clock = Arc::new(TestClock::default());
        let root = RootKey::generate().expect("random");
        let builder = EmbeddedKms::builder(Arc::new(MemoryStore::new()), &root).expect("derives");
        Self { kms: builder.clock(clock.clone()).build(), clock, caller: local(), dir: None }
    }

    /// A service over a keystore on disk.
    pub(crate) fn on_disk() -> Self {
        let dir = TempDir::new().expect("temporary directory");
        let options = CreateOptions { argon2: Argon2Params::dangerous_fast(), ..CreateOptions::default() };
        Keystore::create_with(&dir.path().join("ks"), &source(), &options).expect("creates");
        let clock = Arc::new(TestClock::default());
        let kms = open(&dir.path().join("ks"), &clock);
        Self { kms, clock, caller: local(), dir: Some(dir) }
    }

    /// A service over a database that several servers may share.
    pub(crate) fn on_postgres() -> Self {
        let place = postgres_place();
        let clock = Arc::new(TestClock::default());
        let kms = place.open_builder(&source()).expect("opens").clock(clock.clone()).build();
        Self { kms, clock, caller: local(), dir: None }
    }

    /// One over each store, for promises that must not depend on it.
    pub(crate) fn on_every_store() -> [Self; 3] {
        [Self::in_memory(), Self::on_disk(), Self::on_postgres()]
    }

    /// The keystore of a service on disk.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.as_ref().expect("a fixture on disk").path().join("ks")
    }

    /// Another service over the same keystore, as another process would have it.
    pub(crate) fn reopen(&self) -> EmbeddedKms {
        open(&self.path(), &self.clock)
    }

    /// The same service as somebody in another Region sees it.
    pub(crate) fn in_region(&self, name: &str) -> Self {
        let region = name.parse().expect("a Region");
        let kms = self.kms.in_region(&region).expect("served");
        Self { kms, clock: self.clock.clone(), caller: self.caller.clone(), dir: None }
    }

    pub(crate) fn create(&self) -> KeyId {
        self.create_with(CreateKeyRequest::default())
    }

    pub(crate) fn create_external(&self) -> KeyId {
        self.create_with(CreateKeyRequest { origin: Some(Origin::External), ..Default::default() })
    }

    pub(crate) fn create_multi_region(&self) -> KeyId {
        self.create_with(CreateKeyRequest { multi_region: true, ..Default::default() })
    }

    pub(crate) fn create_with(&self, request: CreateKeyRequest) -> KeyId {
        self.kms.create_key(&self.caller, &request).expect("creates").key_metadata.key_id
    }

    /// An external key with `material` in it that does not expire.
    pub(crate) fn create_imported(&self, material: [u8; 32]) -> KeyId {
        let key_id = self.create_external();
        self.import(key_id, material, |_| {}).expect("imports");
        key_id
    }

    pub(crate) fn arn(&self, key_id: KeyId) -> String {
        KeyArn::new(self.kms.realm(), &key_id).to_string()
    }

    pub(crate) fn describe(&self, key_id: KeyId) -> KeyMetadata {
        self.kms.describe_key(&self.caller, &DescribeKeyRequest::new(key_id)).expect("describes").key_metadata
    }

    pub(crate) fn state(&self, key_id: KeyId) -> KeyState {
        self.describe(key_id).key_state
    }

    pub(crate) fn encrypt(&self, key_id: impl Into<KeyRef>, text: &[u8]) -> Result<CiphertextBlob, KmsError> {
        let request = EncryptRequest::new(key_id, Plaintext::copy_of(text), context());
        Ok(self.kms.encrypt(&self.caller, &request)?.ciphertext_blob)
    }

    pub(crate) fn decrypt(&self, blob: &CiphertextBlob) -> Result<Vec<u8>, KmsError> {
        let request = DecryptRequest::new(blob.clone(), context());
        Ok(self.kms.decrypt(&self.caller, &request)?.plaintext.expose().to_vec())
    }

    pub(crate) fn enable(&self, key_id: KeyId) -> Result<(), KmsError> {
        self.kms.enable_key(&self.caller, &KeyOnlyRequest::new(key_id)).map(drop)
    }

    pub(crate) fn disable(&self, key_id: KeyId) -> Result<(), KmsError> {
        self.kms.disable_key(&self.caller, &KeyOnlyRequest::new(key_id)).map(drop)
    }

    pub(crate) fn schedule_deletion(&self, key_id: KeyId, days: i32) -> Result<(), KmsError> {
        let request =
            ScheduleKeyDeletionRequest { key_id: key_id.into(), pending_window_in_days: Some(days) };
        self.kms.schedule_key_deletion(&self.caller, &request).map(drop)
    }

    pub(crate) fn cancel_deletion(&self, key_id: KeyId) -> Result<(), KmsError> {
        self.kms.cancel_key_deletion(&self.caller, &KeyOnlyRequest::new(key_id)).map(drop)
    }

    pub(crate) fn rotate(&self, key_id: KeyId) -> Result<(), KmsError> {
        self.kms.rotate_key_on_demand(&self.caller, &KeyOnlyRequest::new(key_id)).map(drop)
    }

    pub(crate) fn enable_rotation(&self, key_id: KeyId, days: Option<i32>) -> Result<(), KmsError> {
        let request = EnableKeyRotationRequest { key_id: key_id.into(), rotation_period_in_days: days };
        self.kms.enable_key_rotation(&self.caller, &request).map(drop)
    }

    pub(crate) fn replicate(&self, key_id: KeyId, to: &str) -> Result<KeyMetadata, KmsError> {
        let request = ReplicateKeyRequest::new(key_id, to.parse()?);
        Ok(self.kms.replicate_key(&self.caller, &request)?.replica_key_metadata)
    }

    pub(crate) fn promote(&self, key_id: KeyId, to: &str) -> Result<(), KmsError> {
        let request = UpdatePrimaryRegionRequest { key_id: key_id.into(), primary_region: to.parse()? };
        self.kms.update_primary_region(&self.caller, &request).map(drop)
    }

    pub(crate) fn grants(&self, key_id: KeyId) -> Vec<GrantListEntry> {
        let request = ListGrantsRequest {
            key_id: key_id.into(),
            grant_id: None,
            grantee_principal: None,
            grantee_service_principal: None,
            page: Page::default(),
        };
        self.kms.list_grants(&self.caller, &request).expect("lists").grants
    }

    pub(crate) fn create_alias(&self, name: &str, key_id: KeyId) -> Result<(), KmsError> {
        let request = CreateAliasRequest { alias_name: name.parse()?, target_key_id: key_id.into() };
        self.kms.create_alias(&self.caller, &request).map(drop)
    }

    pub(crate) fn materials(&self, key_id: KeyId) -> Vec<RotationsListEntry> {
        let request = ListKeyRotationsRequest {
            key_id: key_id.into(),
            include_key_material: Some(IncludeKeyMaterial::AllKeyMaterial),
            page: Page::default(),
        };
        self.kms.list_key_rotations(&self.caller, &request).expect("lists").rotations
    }

    pub(crate) fn parameters(&self, key_id: KeyId) -> Result<GetParametersForImportResponse, KmsError> {
        let request = GetParametersForImportRequest {
            key_id: key_id.into(),
            wrapping_algorithm: WrappingAlgorithm::RsaesOaepSha256,
            wrapping_key_spec: WrappingKeySpec::Rsa2048,
        };
        self.kms.get_parameters_for_import(&self.caller, &request)
    }

    /// Imports `material` that does not expire, after `adjust` has changed the request.
    pub(crate) fn import(
        &self,
        key_id: KeyId,
        material: [u8; 32],
        adjust: impl FnOnce(&mut ImportKeyMaterialRequest),
    ) -> Result<MaterialId, KmsError> {
        let mut request = import_request(key_id, &self.parameters(key_id)?, &material);
        adjust(&mut request);
        let response = self.kms.import_key_material(&self.caller, &request)?;
        Ok(response.key_material_id.expect("a symmetric key has material ids"))
    }

    pub(crate) fn delete_material(
        &self,
        key_id: KeyId,
        material: Option<MaterialId>,
    ) -> Result<(), KmsError> {
        let request = DeleteImportedKeyMaterialRequest { key_id: key_id.into(), key_material_id: material };
        self.kms.delete_imported_key_material(&self.caller, &request).map(drop)
    }
}

/// A keystore in a new database.
pub(crate) fn postgres_place() -> Place {
    let config = PostgresConfig::parse(&Cluster::shared().database(), None).expect("an address");
    let place = Place::Postgres(config);
    let options = CreateOptions { argon2: Argon2Params::dangerous_fast(), ..CreateOptions::default() };
    place.create(&source(), &options).expect("creates");
    place
}

/// A request that imports `material` for good.
pub(crate) fn import_request(
    key_id: KeyId,
    parameters: &GetParametersForImportResponse,
    material: &[u8],
) -> ImportKeyMaterialRequest {
    let wrapped =
        wrap_material(parameters, &Plaintext::copy_of(material), WrappingAlgorithm::RsaesOaepSha256);
    ImportKeyMaterialRequest {
        key_id: key_id.into(),
        import_token: parameters.import_token.clone(),
        encrypted_key_material: wrapped.expect("wraps"),
        valid_to: None,
        expiration_model: Some(ExpirationModel::KeyMaterialDoesNotExpire),
        import_type: None,
        key_material_description: None,
        key_material_id: None,
    }
}

pub(crate) fn open(path: &std::path::Path, clock: &Arc<TestClock>) -> EmbeddedKms {
    Keystore::open_builder(path, &source()).expect("opens").clock(clock.clone()).build()
}

pub(crate) fn source() -> RootKeySource {
    RootKeySource::passphrase(PASSPHRASE)
}

pub(crate) fn local() -> Caller {
    Caller::local(AccountId::local(), "tester")
}

/// The file system, calling for the same user.
pub(crate) fn service() -> Caller {
    Caller::service(AccountId::local(), "tester", "kmsfs")
}

pub(crate) fn context() -> EncryptionContext {
    EncryptionContext::from([("volume", "one"), ("inode", "42")])
}
