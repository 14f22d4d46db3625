//! The service in this process.

mod access;
mod agreement;
mod aliases;
mod authorizer;
mod cache;
mod crypto;
mod data_key_pairs;
mod data_keys;
mod due;
mod identities;
mod import;
mod keys;
mod macs;
mod managed;
mod paging;
mod rotation;
mod signatures;
mod states;

use std::sync::Arc;

pub use authorizer::{AuthorizationRequest, Authorizer, Decision, DefaultPolicy, Resource};
pub use due::DueReport;
pub use identities::{Credential, Identities};
pub use states::{OperationClass, Verdict, verdict};

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
pub struct EmbeddedKms {
    core: Core,
}

impl std::fmt::Debug for EmbeddedKms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedKms").field("realm", &self.core.realm).finish_non_exhaustive()
    }
}

/// What the operations work with. Apart from [`EmbeddedKms`] so that its methods can have the names of the operations.
struct Core {
    store: Arc<dyn MetadataStore>,
    custody: CustodyRegistry,
    import_tokens: Sealer,
    clock: Arc<dyn Clock>,
    realm: Realm,
    authorizer: Arc<dyn Authorizer>,
    cache: cache::KeyCache,
    credentials: identities::CredentialCache,
}

/// Puts an [`EmbeddedKms`] together.
pub struct Builder {
    store: Arc<dyn MetadataStore>,
    custody: CustodyRegistry,
    import_tokens: Sealer,
    clock: Arc<dyn Clock>,
    realm: Realm,
    authorizer: Arc<dyn Authorizer>,
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

    /// Decides by something else than the default policy.
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = authorizer;
        self
    }

    /// Holds material of `origin` in `custody`, beside the software custody.
    pub fn custody(mut self, origin: Origin, custody: Arc<dyn crate::custody::KeyCustody>) -> Self {
        self.custody = self.custody.with(origin, custody);
        self
    }

    /// The service.
    pub fn build(self) -> EmbeddedKms {
        let Self { store, custody, import_tokens, clock, realm, authorizer } = self;
        let (cache, credentials) = (cache::KeyCache::default(), identities::CredentialCache::default());
        EmbeddedKms {
            core: Core { store, custody, import_tokens, clock, realm, authorizer, cache, credentials },
        }
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
            clock: Arc::new(SystemClock),
            realm: Realm::local(),
            authorizer: Arc::new(DefaultPolicy),
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

    /// Carries out what is due on keys that nobody touches: deletion after the waiting period, expiry of imported
    /// material, rotation. A daemon calls this now and then. It also wipes from memory what other processes have
    /// deleted from the store.
    pub fn run_due(&self) -> Result<DueReport, KmsError> {
        self.core.run_due()
    }
}

macro_rules! delegate {
    ($($method:ident($request:ident) -> $response:ident;)+) => {
        impl KeyService for EmbeddedKms {
            $(
                fn $method(&self, caller: &Caller, request: &$request) -> Result<$response, KmsError> {
                    self.core.$method(caller, request)
                }
            )+
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
    get_parameters_for_import(GetParametersForImportRequest) -> GetParametersForImportResponse;
    import_key_material(ImportKeyMaterialRequest) -> ImportKeyMaterialResponse;
    delete_imported_key_material(DeleteImportedKeyMaterialRequest) -> DeleteImportedKeyMaterialResponse;
}
