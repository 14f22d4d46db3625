//! The embedded service in memory, with counters and faults, for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::import::wrap_material;
use kms_core::model::*;
use kms_core::service::EmbeddedKms;

use super::place::{Connection, KeyServices};

/// An embedded service that counts calls and can be cut off.
pub(crate) struct TestService {
    inner: EmbeddedKms,
    pub(crate) decrypts: AtomicUsize,
    pub(crate) generated: AtomicUsize,
    /// Calls that took several requests.
    pub(crate) together: AtomicUsize,
    /// No answer to anything.
    pub(crate) outage: AtomicBool,
    /// Cryptographic operations are refused, as by a key policy.
    pub(crate) denied: AtomicBool,
}

impl TestService {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: EmbeddedKms::in_memory().unwrap(),
            decrypts: AtomicUsize::new(0),
            generated: AtomicUsize::new(0),
            together: AtomicUsize::new(0),
            outage: AtomicBool::new(false),
            denied: AtomicBool::new(false),
        })
    }

    /// As the file system calls.
    pub(crate) fn caller() -> Caller {
        Caller::service(AccountId::local(), "root", "kmsfs")
    }

    /// As the only service there is.
    pub(crate) fn services(self: &Arc<Self>) -> Arc<dyn KeyServices> {
        Arc::new(Connection { service: self.clone(), caller: Self::caller() })
    }

    /// A new customer managed key, by its ARN.
    pub(crate) fn new_key(&self) -> String {
        let made = self.inner.create_key(&Self::caller(), &CreateKeyRequest::default()).unwrap();
        made.key_metadata.arn.to_string()
    }

    /// A new customer managed key whose material is to be imported, by its ARN.
    pub(crate) fn new_external_key(&self) -> String {
        let request = CreateKeyRequest { origin: Some(Origin::External), ..CreateKeyRequest::default() };
        self.inner.create_key(&Self::caller(), &request).unwrap().key_metadata.arn.to_string()
    }

    /// Imports `material` that does not expire.
    pub(crate) fn import(&self, arn: &str, material: [u8; 32]) {
        let wrapping_algorithm = WrappingAlgorithm::RsaesOaepSha256;
        let request = GetParametersForImportRequest {
            key_id: key(arn),
            wrapping_algorithm,
            wrapping_key_spec: WrappingKeySpec::Rsa2048,
        };
        let parameters = self.inner.get_parameters_for_import(&Self::caller(), &request).unwrap();
        let material = Plaintext::copy_of(&material);
        let request = ImportKeyMaterialRequest {
            key_id: key(arn),
            import_token: parameters.import_token.clone(),
            encrypted_key_material: wrap_material(&parameters, &material, wrapping_algorithm).unwrap(),
            valid_to: None,
            expiration_model: Some(ExpirationModel::KeyMaterialDoesNotExpire),
            import_type: None,
            key_material_description: None,
            key_material_id: None,
        };
        self.inner.import_key_material(&Self::caller(), &request).unwrap();
    }

    pub(crate) fn disable(&self, arn: &str) {
        self.inner.disable_key(&Self::caller(), &KeyOnlyRequest::new(key(arn))).unwrap();
    }

    pub(crate) fn enable(&self, arn: &str) {
        self.inner.enable_key(&Self::caller(), &KeyOnlyRequest::new(key(arn))).unwrap();
    }

    pub(crate) fn decrypts(&self) -> usize {
        self.decrypts.load(Ordering::SeqCst)
    }

    fn answer(&self, cryptographic: bool) -> Result<(), KmsError> {
        if self.outage.load(Ordering::SeqCst) {
            return Err(KmsError::DependencyTimeout("no answer".into()));
        }
        if cryptographic && self.denied.load(Ordering::SeqCst) {
            return Err(KmsError::AccessDenied("the key policy says no".into()));
        }
        Ok(())
    }
}

pub(crate) fn key(arn: &str) -> KeyRef {
    arn.parse().unwrap()
}

macro_rules! delegate {
    ($($method:ident($request:ident) -> $response:ident;)+) => {
        $(fn $method(&self, caller: &Caller, request: &$request) -> Result<$response, KmsError> {
            self.answer(false)?;
            self.inner.$method(caller, request)
        })+
    };
}

impl KeyService for TestService {
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
        re_encrypt(ReEncryptRequest) -> ReEncryptResponse;
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
        get_key_last_usage(GetKeyLastUsageRequest) -> GetKeyLastUsageResponse;
        replicate_key(ReplicateKeyRequest) -> ReplicateKeyResponse;
        update_primary_region(UpdatePrimaryRegionRequest) -> UpdatePrimaryRegionResponse;
        rotate_key_on_demand(RotateKeyOnDemandRequest) -> RotateKeyOnDemandResponse;
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

    fn decrypt(&self, caller: &Caller, request: &DecryptRequest) -> Result<DecryptResponse, KmsError> {
        self.decrypts.fetch_add(1, Ordering::SeqCst);
        self.answer(true)?;
        self.inner.decrypt(caller, request)
    }

    fn generate_data_key(
        &self,
        caller: &Caller,
        request: &GenerateDataKeyRequest,
    ) -> Result<GenerateDataKeyResponse, KmsError> {
        self.generated.fetch_add(1, Ordering::SeqCst);
        self.answer(true)?;
        self.inner.generate_data_key(caller, request)
    }

    fn re_encrypt_many(
        &self,
        caller: &Caller,
        requests: &[ReEncryptRequest],
    ) -> Vec<Result<ReEncryptResponse, KmsError>> {
        self.together.fetch_add(1, Ordering::SeqCst);
        requests.iter().map(|request| self.re_encrypt(caller, request)).collect()
    }

    fn decrypt_many(
        &self,
        caller: &Caller,
        requests: &[DecryptRequest],
    ) -> Vec<Result<DecryptResponse, KmsError>> {
        self.together.fetch_add(1, Ordering::SeqCst);
        requests.iter().map(|request| self.decrypt(caller, request)).collect()
    }
}
