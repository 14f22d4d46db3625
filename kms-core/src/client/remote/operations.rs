//! The operations, one after the other.

use aws_sdk_kms::operation::generate_data_key::builders::GenerateDataKeyFluentBuilder;
use aws_sdk_kms::operation::generate_data_key::{GenerateDataKeyError, GenerateDataKeyOutput};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec as SdkDataKeySpec;

use super::convert::{
    algorithm, answered_algorithm, ciphertext, context, member, metadata, parsed, parsed_if, plaintext, time,
    tokens,
};
use super::*;
use crate::model::*;

/// Operations of whoever manages keys.
macro_rules! managed_there {
    ($($method:ident($request:ident) -> $response:ident;)+) => {
        $(fn $method(&self, _: &Caller, _: &$request) -> Result<$response, KmsError> {
            Err(KmsError::UnsupportedOperation(format!(
                "{} is a service elsewhere; its keys are managed with its own tools, for example `aws kms`.",
                self.name
            )))
        })+
    };
}

impl RemoteKms {
    fn data_key(&self, request: &GenerateDataKeyRequest) -> GenerateDataKeyFluentBuilder {
        self.client
            .generate_data_key()
            .key_id(request.key_id.typed())
            .set_encryption_context(context(&request.encryption_context))
            .set_key_spec(request.key_spec.map(|spec| SdkDataKeySpec::from(spec.as_str())))
            .set_number_of_bytes(request.number_of_bytes)
            .set_grant_tokens(tokens(&request.grant_tokens))
            .set_dry_run(request.dry_run.then_some(true))
    }

    /// Sends requests side by side, a limited number at a time.
    fn data_keys(
        &self,
        requests: &[GenerateDataKeyRequest],
    ) -> Vec<Result<GenerateDataKeyResponse, KmsError>> {
        if let Err(error) = self.breaker.admit(Instant::now()) {
            return vec![Err(error)];
        }
        let answers = self.runtime().block_on(async {
            let sent = requests.iter().map(|request| {
                let (request, permits) = (self.data_key(request), Arc::clone(&self.permits));
                tokio::spawn(async move {
                    let _permit = permits.acquire().await;
                    request.send().await
                })
            });
            let mut answers = Vec::with_capacity(requests.len());
            for task in sent.collect::<Vec<_>>() {
                answers.push(task.await);
            }
            answers
        });
        let settle = |answer| match answer {
            Ok(answer) => made(self.settle::<_, GenerateDataKeyError>(answer)?),
            Err(_) => Err(KmsError::Internal("the client of the service panicked".into())),
        };
        answers.into_iter().map(settle).collect()
    }
}

fn made(answer: GenerateDataKeyOutput) -> Result<GenerateDataKeyResponse, KmsError> {
    Ok(GenerateDataKeyResponse {
        key_id: parsed("KeyId", answer.key_id())?,
        key_material_id: parsed_if("KeyMaterialId", answer.key_material_id())?,
        ciphertext_blob: ciphertext(answer.ciphertext_blob)?,
        plaintext: plaintext(answer.plaintext)?,
    })
}

impl KeyService for RemoteKms {
    fn describe_key(
        &self,
        _: &Caller,
        request: &DescribeKeyRequest,
    ) -> Result<DescribeKeyResponse, KmsError> {
        let call = self.client.describe_key().key_id(request.key_id.typed());
        let answer = self.call(call.set_grant_tokens(tokens(&request.grant_tokens)).send())?;
        let found = member("KeyMetadata", answer.key_metadata())?;
        Ok(DescribeKeyResponse { key_metadata: metadata(found)? })
    }

    fn encrypt(&self, _: &Caller, request: &EncryptRequest) -> Result<EncryptResponse, KmsError> {
        let call = self
            .client
            .encrypt()
            .key_id(request.key_id.typed())
            .plaintext(Blob::new(request.plaintext.expose()))
            .set_encryption_context(context(&request.encryption_context))
            .set_encryption_algorithm(algorithm(request.encryption_algorithm))
            .set_grant_tokens(tokens(&request.grant_tokens))
            .set_dry_run(request.dry_run.then_some(true));
        let answer = self.call(call.send())?;
        Ok(EncryptResponse {
            key_id: parsed("KeyId", answer.key_id())?,
            encryption_algorithm: answered_algorithm(answer.encryption_algorithm())?,
            ciphertext_blob: ciphertext(answer.ciphertext_blob)?,
        })
    }

    fn decrypt(&self, _: &Caller, request: &DecryptRequest) -> Result<DecryptResponse, KmsError> {
        let call = self
            .client
            .decrypt()
            .ciphertext_blob(Blob::new(request.ciphertext_blob.as_bytes()))
            .set_encryption_context(context(&request.encryption_context))
            .set_key_id(request.key_id.as_ref().map(|key| key.typed().to_owned()))
            .set_encryption_algorithm(algorithm(request.encryption_algorithm))
            .set_grant_tokens(tokens(&request.grant_tokens))
            .set_dry_run(request.dry_run.then_some(true));
        let answer = self.call(call.send())?;
        Ok(DecryptResponse {
            key_id: parsed("KeyId", answer.key_id())?,
            encryption_algorithm: answered_algorithm(answer.encryption_algorithm())?,
            key_material_id: parsed_if("KeyMaterialId", answer.key_material_id())?,
            plaintext: plaintext(answer.plaintext)?,
        })
    }

    fn re_encrypt(&self, _: &Caller, request: &ReEncryptRequest) -> Result<ReEncryptResponse, KmsError> {
        let call = self
            .client
            .re_encrypt()
            .ciphertext_blob(Blob::new(request.ciphertext_blob.as_bytes()))
            .set_source_encryption_context(context(&request.source_encryption_context))
            .set_source_key_id(request.source_key_id.as_ref().map(|key| key.typed().to_owned()))
            .destination_key_id(request.destination_key_id.typed())
            .set_destination_encryption_context(context(&request.destination_encryption_context))
            .set_source_encryption_algorithm(algorithm(request.source_encryption_algorithm))
            .set_destination_encryption_algorithm(algorithm(request.destination_encryption_algorithm))
            .set_grant_tokens(tokens(&request.grant_tokens))
            .set_dry_run(request.dry_run.then_some(true));
        let answer = self.call(call.send())?;
        let material = |name, id: Option<&str>| parsed_if(name, id);
        Ok(ReEncryptResponse {
            source_key_id: parsed("SourceKeyId", answer.source_key_id())?,
            key_id: parsed("KeyId", answer.key_id())?,
            source_encryption_algorithm: answered_algorithm(answer.source_encryption_algorithm())?,
            destination_encryption_algorithm: answered_algorithm(answer.destination_encryption_algorithm())?,
            source_key_material_id: material("SourceKeyMaterialId", answer.source_key_material_id())?,
            destination_key_material_id: material(
                "DestinationKeyMaterialId",
                answer.destination_key_material_id(),
            )?,
            ciphertext_blob: ciphertext(answer.ciphertext_blob)?,
        })
    }

    fn generate_data_key(
        &self,
        _: &Caller,
        request: &GenerateDataKeyRequest,
    ) -> Result<GenerateDataKeyResponse, KmsError> {
        made(self.call(self.data_key(request).send())?)
    }

    fn generate_data_keys(
        &self,
        _: &Caller,
        requests: &[GenerateDataKeyRequest],
    ) -> Vec<Result<GenerateDataKeyResponse, KmsError>> {
        self.together(requests).unwrap_or_else(|| self.data_keys(requests))
    }

    fn decrypt_many(
        &self,
        caller: &Caller,
        requests: &[DecryptRequest],
    ) -> Vec<Result<DecryptResponse, KmsError>> {
        let one_by_one = || requests.iter().map(|request| self.decrypt(caller, request)).collect();
        self.together(requests).unwrap_or_else(one_by_one)
    }

    fn re_encrypt_many(
        &self,
        caller: &Caller,
        requests: &[ReEncryptRequest],
    ) -> Vec<Result<ReEncryptResponse, KmsError>> {
        let one_by_one = || requests.iter().map(|request| self.re_encrypt(caller, request)).collect();
        self.together(requests).unwrap_or_else(one_by_one)
    }

    fn schedule_key_deletion(
        &self,
        _: &Caller,
        request: &ScheduleKeyDeletionRequest,
    ) -> Result<ScheduleKeyDeletionResponse, KmsError> {
        let call = self.client.schedule_key_deletion().key_id(request.key_id.typed());
        let answer = self.call(call.set_pending_window_in_days(request.pending_window_in_days).send())?;
        let days = answer.pending_window_in_days().and_then(|days| u32::try_from(days).ok());
        Ok(ScheduleKeyDeletionResponse {
            key_id: parsed("KeyId", answer.key_id())?,
            deletion_date: answer.deletion_date().map(time),
            key_state: parsed("KeyState", answer.key_state().map(|state| state.as_str()))?,
            pending_window_in_days: member("PendingWindowInDays", days)?,
        })
    }

    fn delete_imported_key_material(
        &self,
        _: &Caller,
        request: &DeleteImportedKeyMaterialRequest,
    ) -> Result<DeleteImportedKeyMaterialResponse, KmsError> {
        let call = self.client.delete_imported_key_material().key_id(request.key_id.typed());
        let material = request.key_material_id.as_ref().map(ToString::to_string);
        let answer = self.call(call.set_key_material_id(material).send())?;
        Ok(DeleteImportedKeyMaterialResponse {
            key_id: parsed("KeyId", answer.key_id())?,
            key_material_id: parsed_if("KeyMaterialId", answer.key_material_id())?,
        })
    }

    managed_there! {
        get_key_last_usage(GetKeyLastUsageRequest) -> GetKeyLastUsageResponse;
        replicate_key(ReplicateKeyRequest) -> ReplicateKeyResponse;
        update_primary_region(UpdatePrimaryRegionRequest) -> UpdatePrimaryRegionResponse;
        create_key(CreateKeyRequest) -> CreateKeyResponse;
        list_keys(ListKeysRequest) -> ListKeysResponse;
        update_key_description(UpdateKeyDescriptionRequest) -> UpdateKeyDescriptionResponse;
        enable_key(EnableKeyRequest) -> EnableKeyResponse;
        disable_key(DisableKeyRequest) -> DisableKeyResponse;
        cancel_key_deletion(CancelKeyDeletionRequest) -> CancelKeyDeletionResponse;
        create_alias(CreateAliasRequest) -> CreateAliasResponse;
        update_alias(UpdateAliasRequest) -> UpdateAliasResponse;
        delete_alias(DeleteAliasRequest) -> DeleteAliasResponse;
        list_aliases(ListAliasesRequest) -> ListAliasesResponse;
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
        create_custom_key_store(CreateCustomKeyStoreRequest) -> CreateCustomKeyStoreResponse;
        describe_custom_key_stores(DescribeCustomKeyStoresRequest) -> DescribeCustomKeyStoresResponse;
        update_custom_key_store(UpdateCustomKeyStoreRequest) -> UpdateCustomKeyStoreResponse;
        delete_custom_key_store(DeleteCustomKeyStoreRequest) -> DeleteCustomKeyStoreResponse;
        connect_custom_key_store(ConnectCustomKeyStoreRequest) -> ConnectCustomKeyStoreResponse;
        disconnect_custom_key_store(DisconnectCustomKeyStoreRequest) -> DisconnectCustomKeyStoreResponse;
    }
}
