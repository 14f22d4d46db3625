//! The service as its callers see it.

#[cfg(feature = "aws")]
pub mod remote;

use crate::error::KmsError;
use crate::model::*;

macro_rules! key_service {
    ($($(#[$doc:meta])* $method:ident($request:ident) -> $response:ident;)+) => {
        /// A key management service with the semantics of AWS KMS: one method per operation of the API.
        ///
        /// Implemented by the in-process service and by clients of a remote one. Every method is synchronous; a remote
        /// client hides its runtime. A refusal is a [`KmsError`] with the code and message of AWS.
        pub trait KeyService: Send + Sync {
            $(
                $(#[$doc])*
                fn $method(&self, caller: &Caller, request: &$request) -> Result<$response, KmsError>;
            )+

            /// [`Self::generate_data_key`] for many requests: one answer for each, in order.
            ///
            /// A remote client may send them together; this default sends one after the other.
            fn generate_data_keys(
                &self,
                caller: &Caller,
                requests: &[GenerateDataKeyRequest],
            ) -> Vec<Result<GenerateDataKeyResponse, KmsError>> {
                requests.iter().map(|request| self.generate_data_key(caller, request)).collect()
            }

            /// [`Self::decrypt`] for many requests: one answer for each, in order.
            fn decrypt_many(
                &self,
                caller: &Caller,
                requests: &[DecryptRequest],
            ) -> Vec<Result<DecryptResponse, KmsError>> {
                requests.iter().map(|request| self.decrypt(caller, request)).collect()
            }

            /// [`Self::re_encrypt`] for many requests: one answer for each, in order.
            fn re_encrypt_many(
                &self,
                caller: &Caller,
                requests: &[ReEncryptRequest],
            ) -> Vec<Result<ReEncryptResponse, KmsError>> {
                requests.iter().map(|request| self.re_encrypt(caller, request)).collect()
            }
        }
    };
}

key_service! {
    /// Creates a key.
    create_key(CreateKeyRequest) -> CreateKeyResponse;
    /// Describes a key, in every state.
    describe_key(DescribeKeyRequest) -> DescribeKeyResponse;
    /// Lists keys in the order of their ids.
    list_keys(ListKeysRequest) -> ListKeysResponse;
    /// Changes the description of a key.
    update_key_description(UpdateKeyDescriptionRequest) -> UpdateKeyDescriptionResponse;
    /// Makes a key usable.
    enable_key(EnableKeyRequest) -> EnableKeyResponse;
    /// Makes a key unusable, until it is enabled again.
    disable_key(DisableKeyRequest) -> DisableKeyResponse;
    /// Makes a key unusable, and deletes it after a waiting period.
    schedule_key_deletion(ScheduleKeyDeletionRequest) -> ScheduleKeyDeletionResponse;
    /// Ends the waiting period; the key comes back disabled.
    cancel_key_deletion(CancelKeyDeletionRequest) -> CancelKeyDeletionResponse;
    /// Creates a custom key store.
    create_custom_key_store(CreateCustomKeyStoreRequest) -> CreateCustomKeyStoreResponse;
    /// Describes custom key stores, in the order of their ids.
    describe_custom_key_stores(DescribeCustomKeyStoresRequest) -> DescribeCustomKeyStoresResponse;
    /// Changes a custom key store.
    update_custom_key_store(UpdateCustomKeyStoreRequest) -> UpdateCustomKeyStoreResponse;
    /// Deletes a custom key store that has no keys.
    delete_custom_key_store(DeleteCustomKeyStoreRequest) -> DeleteCustomKeyStoreResponse;
    /// Connects a custom key store.
    connect_custom_key_store(ConnectCustomKeyStoreRequest) -> ConnectCustomKeyStoreResponse;
    /// Disconnects a custom key store: its keys become unavailable.
    disconnect_custom_key_store(DisconnectCustomKeyStoreRequest) -> DisconnectCustomKeyStoreResponse;
    /// Creates an alias.
    create_alias(CreateAliasRequest) -> CreateAliasResponse;
    /// Points an alias at another key.
    update_alias(UpdateAliasRequest) -> UpdateAliasResponse;
    /// Deletes an alias.
    delete_alias(DeleteAliasRequest) -> DeleteAliasResponse;
    /// Lists aliases in the order of their names.
    list_aliases(ListAliasesRequest) -> ListAliasesResponse;
    /// Encrypts up to 4096 bytes.
    encrypt(EncryptRequest) -> EncryptResponse;
    /// Decrypts what [`Self::encrypt`] or [`Self::generate_data_key`] made.
    decrypt(DecryptRequest) -> DecryptResponse;
    /// Decrypts and encrypts again without the plaintext leaving the service.
    re_encrypt(ReEncryptRequest) -> ReEncryptResponse;
    /// Makes a data key and wraps it.
    generate_data_key(GenerateDataKeyRequest) -> GenerateDataKeyResponse;
    /// Makes a data key and returns only its wrapped form.
    generate_data_key_without_plaintext(GenerateDataKeyWithoutPlaintextRequest)
        -> GenerateDataKeyWithoutPlaintextResponse;
    /// Makes random bytes.
    generate_random(GenerateRandomRequest) -> GenerateRandomResponse;
    /// Makes a data key pair and wraps its private key.
    generate_data_key_pair(GenerateDataKeyPairRequest) -> GenerateDataKeyPairResponse;
    /// Makes a data key pair and returns its private key only in wrapped form.
    generate_data_key_pair_without_plaintext(GenerateDataKeyPairWithoutPlaintextRequest)
        -> GenerateDataKeyPairWithoutPlaintextResponse;
    /// Returns the public key of an asymmetric key.
    get_public_key(GetPublicKeyRequest) -> GetPublicKeyResponse;
    /// Signs up to 4096 bytes, or a digest.
    sign(SignRequest) -> SignResponse;
    /// Verifies what [`Self::sign`], or anybody with the private key, made.
    verify(VerifyRequest) -> VerifyResponse;
    /// Makes a message authentication code of up to 4096 bytes.
    generate_mac(GenerateMacRequest) -> GenerateMacResponse;
    /// Verifies a message authentication code.
    verify_mac(VerifyMacRequest) -> VerifyMacResponse;
    /// Derives the secret that a key shares with the key of a peer.
    derive_shared_secret(DeriveSharedSecretRequest) -> DeriveSharedSecretResponse;
    /// Makes a shared secret for the holder of a private key.
    encapsulate(EncapsulateRequest) -> EncapsulateResponse;
    /// Opens a secret that was made for this key.
    decapsulate(DecapsulateRequest) -> DecapsulateResponse;
    /// Turns automatic rotation on.
    enable_key_rotation(EnableKeyRotationRequest) -> EnableKeyRotationResponse;
    /// Turns automatic rotation off.
    disable_key_rotation(DisableKeyRotationRequest) -> DisableKeyRotationResponse;
    /// Tells whether and when a key rotates.
    get_key_rotation_status(GetKeyRotationStatusRequest) -> GetKeyRotationStatusResponse;
    /// Lists the rotations of a key.
    list_key_rotations(ListKeyRotationsRequest) -> ListKeyRotationsResponse;
    /// Rotates a key now.
    rotate_key_on_demand(RotateKeyOnDemandRequest) -> RotateKeyOnDemandResponse;
    /// Tells when a key was last used.
    get_key_last_usage(GetKeyLastUsageRequest) -> GetKeyLastUsageResponse;
    /// Makes a replica of a multi-Region key in another Region.
    replicate_key(ReplicateKeyRequest) -> ReplicateKeyResponse;
    /// Makes a replica the primary.
    update_primary_region(UpdatePrimaryRegionRequest) -> UpdatePrimaryRegionResponse;
    /// Returns the public key and the token for an import.
    get_parameters_for_import(GetParametersForImportRequest) -> GetParametersForImportResponse;
    /// Brings key material.
    import_key_material(ImportKeyMaterialRequest) -> ImportKeyMaterialResponse;
    /// Deletes imported key material.
    delete_imported_key_material(DeleteImportedKeyMaterialRequest) -> DeleteImportedKeyMaterialResponse;
    /// Returns the policy of a key.
    get_key_policy(GetKeyPolicyRequest) -> GetKeyPolicyResponse;
    /// Replaces the policy of a key.
    put_key_policy(PutKeyPolicyRequest) -> PutKeyPolicyResponse;
    /// Lists the names of the policies of a key.
    list_key_policies(ListKeyPoliciesRequest) -> ListKeyPoliciesResponse;
    /// Lets a principal use a key.
    create_grant(CreateGrantRequest) -> CreateGrantResponse;
    /// Lists the grants of a key.
    list_grants(ListGrantsRequest) -> ListGrantsResponse;
    /// Lists the grants that a principal may retire.
    list_retirable_grants(ListRetirableGrantsRequest) -> ListRetirableGrantsResponse;
    /// Ends a grant that has done its work.
    retire_grant(RetireGrantRequest) -> RetireGrantResponse;
    /// Takes a grant away.
    revoke_grant(RevokeGrantRequest) -> RevokeGrantResponse;
    /// Adds tags to a key, or changes their values.
    tag_resource(TagResourceRequest) -> TagResourceResponse;
    /// Removes tags from a key.
    untag_resource(UntagResourceRequest) -> UntagResourceResponse;
    /// Lists the tags of a key.
    list_resource_tags(ListResourceTagsRequest) -> ListResourceTagsResponse;
}
