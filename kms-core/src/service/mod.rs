//! The service in this process.

mod access;
mod agreement;
mod aliases;
mod audit;
mod audit_facts;
mod authorizer;
mod cache;
mod crypto;
mod custom_key_stores;
mod data_key_pairs;
mod data_keys;
mod due;
mod explain;
mod external;
mod family;
mod grant_set;
mod grants;
mod identities;
mod import;
mod key_store_config;
mod key_store_connections;
mod keys;
mod macs;
mod managed;
mod paging;
mod policies;
mod regions;
mod rotation;
mod signatures;
mod states;
mod tags;
mod usage;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use audit::Audit;
pub use authorizer::{Basis, Decision};
pub use due::DueReport;
pub use explain::{ExplainRequest, Explanation};
pub use external::ExternalCiphertext;
pub use identities::{Credential, Identities};
pub use states::{OperationClass, Verdict, verdict};

use audit_facts::OperationName;

use crate::audit::{AuditKey, AuditStore};
use crate::client::KeyService;
use crate::custody::{CustodyRegistry, SoftwareCustody};
use crate::error::KmsError;
use crate::model::*;
use crate::seal::{Purpose, RootKey, SealError, Sealer};
use crate::store::{MemoryStore, MetadataStore};

/// A [`KeyService`] over a store and custody of this process.
///
/// Several instances, in one process or in many, may work on one store: each change by one of them holds for the next
/// operation of all.
///
/// It stands for one Region; [`Self::in_region`] is the same service in another one.
#[derive(Clone)]
pub struct EmbeddedKms {
    core: Arc<Core>,
    regions: Arc<regions::Regions>,
}

impl std::fmt::Debug for EmbeddedKms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedKms").field("realm", &self.core.realm).finish_non_exhaustive()
    }
}

/// What the operations work with. Apart from [`EmbeddedKms`] so that its methods can have the names of the operations.
/// One for each Region.
struct Core {
    store: Arc<dyn MetadataStore>,
    custody: CustodyRegistry,
    import_tokens: Arc<Sealer>,
    grant_tokens: Arc<Sealer>,
    clock: Arc<dyn Clock>,
    realm: Realm,
    /// The Region of the keystore, whose rows the store has under no name.
    home: Region,
    policies: policies::PolicyBook,
    cache: cache::KeyCache,
    usage: usage::UsageBook,
    credentials: Arc<identities::CredentialCache>,
    auditor: Option<Arc<audit::Auditor>>,
    key_stores: key_store_connections::Connections,
}

/// Puts an [`EmbeddedKms`] together.
pub struct Builder {
    store: Arc<dyn MetadataStore>,
    custody: CustodyRegistry,
    import_tokens: Sealer,
    grant_tokens: Sealer,
    clock: Arc<dyn Clock>,
    realm: Realm,
    regions: Option<BTreeSet<Region>>,
    audit: Option<(Arc<dyn AuditStore>, AuditKey)>,
    key_stores: key_store_connections::Parts,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl Builder {
    /// Uses another clock than that of the system.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Stands for another Region and account than the local ones.
    pub fn realm(mut self, realm: Realm) -> Self {
        self.realm = realm;
        self
    }

    /// Serves these Regions beside its own and no others. Without this, every Region that somebody asks for.
    pub fn regions(mut self, regions: impl IntoIterator<Item = Region>) -> Self {
        self.regions = Some(regions.into_iter().collect());
        self
    }

    /// Holds material of `origin` in `custody`, beside the software custody.
    pub fn custody(mut self, origin: Origin, custody: Arc<dyn crate::custody::KeyCustody>) -> Self {
        self.custody = self.custody.with(origin, custody);
        self
    }

    /// Connects custom key stores of one type by `provider`.
    pub fn key_store_provider(
        mut self,
        store_type: CustomKeyStoreType,
        provider: Arc<dyn crate::custody::KeyStoreProvider>,
    ) -> Self {
        self.key_stores.given.insert(store_type, provider);
        self
    }

    /// Records what happens in `log`, signed with `key`. A log that cannot be used does not keep anybody from their
    /// keys, unless the keystore requires records: then each request is refused.
    ///
    /// # Errors
    /// [`KmsError`] if the store cannot be read.
    pub fn audit(mut self, log: Arc<dyn AuditStore>, key: AuditKey) -> Result<Self, KmsError> {
        audit::open(&*log, &key, &*self.store, self.clock.now())?;
        self.audit = Some((log, key));
        Ok(self)
    }

    /// The service.
    pub fn build(self) -> EmbeddedKms {
        let key_stores = key_store_connections::Connections::new(self.key_stores, &self.realm.region);
        let auditor =
            self.audit.map(|(log, key)| Arc::new(audit::Auditor::new(log, key, &self.store, &self.clock)));
        let core = Arc::new(Core {
            store: self.store,
            custody: self.custody,
            import_tokens: Arc::new(self.import_tokens),
            grant_tokens: Arc::new(self.grant_tokens),
            clock: self.clock,
            home: self.realm.region.clone(),
            policies: policies::PolicyBook::new(self.realm.clone()),
            realm: self.realm,
            cache: cache::KeyCache::default(),
            usage: usage::UsageBook::default(),
            credentials: Arc::default(),
            auditor,
            key_stores,
        });
        EmbeddedKms { regions: Arc::new(regions::Regions::new(Arc::clone(&core), self.regions)), core }
    }
}

impl EmbeddedKms {
    /// Starts a service over `store`, with material sealed under `root`.
    pub fn builder(store: Arc<dyn MetadataStore>, root: &RootKey) -> Result<Builder, SealError> {
        let software = SoftwareCustody::new(root.sealer(Purpose::Material)?);
        Ok(Builder {
            store,
            custody: CustodyRegistry::software(software),
            import_tokens: root.sealer(Purpose::ImportTokens)?,
            grant_tokens: root.sealer(Purpose::GrantTokens)?,
            clock: Arc::new(SystemClock),
            realm: Realm::local(),
            regions: None,
            audit: None,
            key_stores: key_store_connections::Parts {
                given: key_store_connections::Providers::new(),
                external: Arc::new(root.sealer(Purpose::ExternalMaterial)?),
            },
        })
    }

    /// A service that forgets everything when it is dropped: for trials and tests.
    pub fn in_memory() -> Result<Self, SealError> {
        Ok(Self::builder(Arc::new(MemoryStore::new()), &RootKey::generate()?)?.build())
    }

    /// The Region and account that this service stands for.
    pub fn realm(&self) -> &Realm {
        &self.core.realm
    }

    /// Whether the store answers.
    pub fn check_health(&self) -> Result<(), KmsError> {
        self.core.store.change_counter()?;
        Ok(())
    }

    /// Whether a caller may do something with a key, and which statement or grant decides. Changes nothing.
    pub fn explain(&self, caller: &Caller, request: &ExplainRequest) -> Result<Explanation, KmsError> {
        self.core.explain(caller, request)
    }

    /// Carries out what is due on keys that nobody touches: deletion after the waiting period, expiry of imported
    /// material, rotation. A daemon calls this now and then. It also wipes from memory what other processes have
    /// deleted from the store.
    pub fn run_due(&self) -> Result<DueReport, KmsError> {
        self.regions.run_due()
    }
}

macro_rules! delegate {
    ($($method:ident($request:ident) -> $response:ident;)+) => {
        impl KeyService for EmbeddedKms {
            $(
                fn $method(&self, caller: &Caller, request: &$request) -> Result<$response, KmsError> {
                    const NAME: OperationName = OperationName::of(stringify!($method));
                    self.core.audited(NAME.as_str(), caller, request, |core| core.$method(caller, request))
                }
            )+

            fn replicate_key(
                &self,
                caller: &Caller,
                request: &ReplicateKeyRequest,
            ) -> Result<ReplicateKeyResponse, KmsError> {
                self.core.audited("ReplicateKey", caller, request, |core| {
                    let target = self.regions.core(&request.replica_region)?;
                    core.replicate_key(&target, caller, request)
                })
            }

            fn update_primary_region(
                &self,
                caller: &Caller,
                request: &UpdatePrimaryRegionRequest,
            ) -> Result<UpdatePrimaryRegionResponse, KmsError> {
                self.core.audited("UpdatePrimaryRegion", caller, request, |core| {
                    let target = self.regions.core(&request.primary_region)?;
                    core.update_primary_region(&target, caller, request)
                })
            }
        }
    };
}

delegate! {
    create_key(CreateKeyRequest) -> CreateKeyResponse;
    describe_key(DescribeKeyRequest) -> DescribeKeyResponse;
    list_keys(ListKeysRequest) -> ListKeysResponse;
    update_key_description(UpdateKeyDescriptionRequest) -> UpdateKeyDescriptionResponse;
    enable_key(EnableKeyRequest) -> EnableKeyResponse;
    disable_key(DisableKeyRequest) -> DisableKeyResponse;
    schedule_key_deletion(ScheduleKeyDeletionRequest) -> ScheduleKeyDeletionResponse;
    cancel_key_deletion(CancelKeyDeletionRequest) -> CancelKeyDeletionResponse;
    create_custom_key_store(CreateCustomKeyStoreRequest) -> CreateCustomKeyStoreResponse;
    describe_custom_key_stores(DescribeCustomKeyStoresRequest) -> DescribeCustomKeyStoresResponse;
    update_custom_key_store(UpdateCustomKeyStoreRequest) -> UpdateCustomKeyStoreResponse;
    delete_custom_key_store(DeleteCustomKeyStoreRequest) -> DeleteCustomKeyStoreResponse;
    connect_custom_key_store(ConnectCustomKeyStoreRequest) -> ConnectCustomKeyStoreResponse;
    disconnect_custom_key_store(DisconnectCustomKeyStoreRequest) -> DisconnectCustomKeyStoreResponse;
    create_alias(CreateAliasRequest) -> CreateAliasResponse;
    update_alias(UpdateAliasRequest) -> UpdateAliasResponse;
    delete_alias(DeleteAliasRequest) -> DeleteAliasResponse;
    list_aliases(ListAliasesRequest) -> ListAliasesResponse;
    encrypt(EncryptRequest) -> EncryptResponse;
    decrypt(DecryptRequest) -> DecryptResponse;
    re_encrypt(ReEncryptRequest) -> ReEncryptResponse;
    generate_data_key(GenerateDataKeyRequest) -> GenerateDataKeyResponse;
    generate_data_key_without_plaintext(GenerateDataKeyWithoutPlaintextRequest)
        -> GenerateDataKeyWithoutPlaintextResponse;
    generate_random(GenerateRandomRequest) -> GenerateRandomResponse;
    generate_data_key_pair(GenerateDataKeyPairRequest) -> GenerateDataKeyPairResponse;
    generate_data_key_pair_without_plaintext(GenerateDataKeyPairWithoutPlaintextRequest)
        -> GenerateDataKeyPairWithoutPlaintextResponse;
    get_public_key(GetPublicKeyRequest) -> GetPublicKeyResponse;
    sign(SignRequest) -> SignResponse;
    verify(VerifyRequest) -> VerifyResponse;
    generate_mac(GenerateMacRequest) -> GenerateMacResponse;
    verify_mac(VerifyMacRequest) -> VerifyMacResponse;
    derive_shared_secret(DeriveSharedSecretRequest) -> DeriveSharedSecretResponse;
    encapsulate(EncapsulateRequest) -> EncapsulateResponse;
    decapsulate(DecapsulateRequest) -> DecapsulateResponse;
    enable_key_rotation(EnableKeyRotationRequest) -> EnableKeyRotationResponse;
    disable_key_rotation(DisableKeyRotationRequest) -> DisableKeyRotationResponse;
    get_key_rotation_status(GetKeyRotationStatusRequest) -> GetKeyRotationStatusResponse;
    list_key_rotations(ListKeyRotationsRequest) -> ListKeyRotationsResponse;
    rotate_key_on_demand(RotateKeyOnDemandRequest) -> RotateKeyOnDemandResponse;
    get_key_last_usage(GetKeyLastUsageRequest) -> GetKeyLastUsageResponse;
    get_parameters_for_import(GetParametersForImportRequest) -> GetParametersForImportResponse;
    import_key_material(ImportKeyMaterialRequest) -> ImportKeyMaterialResponse;
    delete_imported_key_material(DeleteImportedKeyMaterialRequest) -> DeleteImportedKeyMaterialResponse;
    get_key_policy(GetKeyPolicyRequest) -> GetKeyPolicyResponse;
    put_key_policy(PutKeyPolicyRequest) -> PutKeyPolicyResponse;
    list_key_policies(ListKeyPoliciesRequest) -> ListKeyPoliciesResponse;
    create_grant(CreateGrantRequest) -> CreateGrantResponse;
    list_grants(ListGrantsRequest) -> ListGrantsResponse;
    list_retirable_grants(ListRetirableGrantsRequest) -> ListRetirableGrantsResponse;
    retire_grant(RetireGrantRequest) -> RetireGrantResponse;
    revoke_grant(RevokeGrantRequest) -> RevokeGrantResponse;
    tag_resource(TagResourceRequest) -> TagResourceResponse;
    untag_resource(UntagResourceRequest) -> UntagResourceResponse;
    list_resource_tags(ListResourceTagsRequest) -> ListResourceTagsResponse;
}
