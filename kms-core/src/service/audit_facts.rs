//! What a record tells of each kind of request and answer. No plaintext, ciphertext, signature or token is here.

use std::borrow::Cow;

use crate::model::*;

/// What a record tells of a request.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    /// The key, as the caller named it.
    pub(super) key: Option<&'a KeyRef>,
    /// Of a re-encryption, the key of the old ciphertext.
    pub(super) source: Option<&'a KeyRef>,
    /// A ciphertext that names its key. It is not recorded itself.
    pub(super) blob: Option<&'a CiphertextBlob>,
    /// The encryption context.
    pub(super) context: Option<&'a EncryptionContext>,
    /// Of a re-encryption, the context of the old ciphertext if it is another one.
    pub(super) source_context: Option<&'a EncryptionContext>,
    /// What else the request is about.
    pub(super) resource: Option<Cow<'a, str>>,
    /// Whether it only asks.
    pub(super) dry_run: bool,
}

/// A request that can be recorded.
pub(super) trait RequestFacts {
    /// What is recorded of it.
    fn facts(&self) -> Facts<'_>;
}

/// An answer that can be recorded.
pub(super) trait AnswerFacts {
    /// The key that was used, and of a re-encryption the key of the old ciphertext.
    fn keys(&self) -> (Option<&KeyArn>, Option<&KeyArn>) {
        (None, None)
    }
}

macro_rules! requests {
    ($($request:ident($it:ident) { $($field:ident: $value:expr),* })+) => {
        $(
            impl RequestFacts for $request {
                fn facts(&self) -> Facts<'_> {
                    let $it = self;
                    Facts { $($field: $value,)* ..Facts::default() }
                }
            }
        )+
    };
}

fn text(value: impl ToString) -> Option<Cow<'static, str>> {
    Some(value.to_string().into())
}

requests! {
    CreateKeyRequest(_it) {}
    DescribeKeyRequest(it) { key: Some(&it.key_id) }
    ListKeysRequest(_it) {}
    UpdateKeyDescriptionRequest(it) { key: Some(&it.key_id) }
    KeyOnlyRequest(it) { key: Some(&it.key_id) }
    ScheduleKeyDeletionRequest(it) { key: Some(&it.key_id) }
    CreateAliasRequest(it) { key: Some(&it.target_key_id), resource: Some(it.alias_name.as_str().into()) }
    UpdateAliasRequest(it) { key: Some(&it.target_key_id), resource: Some(it.alias_name.as_str().into()) }
    DeleteAliasRequest(it) { resource: Some(it.alias_name.as_str().into()) }
    ListAliasesRequest(it) { key: it.key_id.as_ref() }
    EncryptRequest(it) { key: Some(&it.key_id), context: Some(&it.encryption_context), dry_run: it.dry_run }
    DecryptRequest(it) {
        key: it.key_id.as_ref(),
        blob: Some(&it.ciphertext_blob),
        context: Some(&it.encryption_context),
        dry_run: it.dry_run
    }
    ReEncryptRequest(it) {
        key: Some(&it.destination_key_id),
        source: it.source_key_id.as_ref(),
        context: Some(&it.destination_encryption_context),
        source_context: Some(&it.source_encryption_context)
            .filter(|source| **source != it.destination_encryption_context),
        dry_run: it.dry_run
    }
    GenerateDataKeyRequest(it) {
        key: Some(&it.key_id),
        context: Some(&it.encryption_context),
        dry_run: it.dry_run
    }
    GenerateDataKeyPairRequest(it) {
        key: Some(&it.key_id),
        context: Some(&it.encryption_context),
        dry_run: it.dry_run
    }
    GenerateRandomRequest(_it) {}
    GetPublicKeyRequest(it) { key: Some(&it.key_id) }
    SignRequest(it) { key: Some(&it.key_id), dry_run: it.dry_run }
    VerifyRequest(it) { key: Some(&it.key_id), dry_run: it.dry_run }
    GenerateMacRequest(it) { key: Some(&it.key_id), dry_run: it.dry_run }
    VerifyMacRequest(it) { key: Some(&it.key_id), dry_run: it.dry_run }
    DeriveSharedSecretRequest(it) { key: Some(&it.key_id), dry_run: it.dry_run }
    EncapsulateRequest(it) { key: Some(&it.key_id), dry_run: it.dry_run }
    DecapsulateRequest(it) { key: Some(&it.key_id), dry_run: it.dry_run }
    EnableKeyRotationRequest(it) { key: Some(&it.key_id) }
    ListKeyRotationsRequest(it) { key: Some(&it.key_id) }
    GetParametersForImportRequest(it) { key: Some(&it.key_id) }
    ImportKeyMaterialRequest(it) { key: Some(&it.key_id), resource: it.key_material_id.and_then(text) }
    DeleteImportedKeyMaterialRequest(it) { key: Some(&it.key_id), resource: it.key_material_id.and_then(text) }
    GetKeyPolicyRequest(it) { key: Some(&it.key_id) }
    PutKeyPolicyRequest(it) { key: Some(&it.key_id) }
    ListKeyPoliciesRequest(it) { key: Some(&it.key_id) }
    CreateGrantRequest(it) {
        key: Some(&it.key_id),
        resource: it.grantee_principal.as_deref().or(it.grantee_service_principal.as_deref()).map(Cow::from),
        dry_run: it.dry_run
    }
    ListGrantsRequest(it) { key: Some(&it.key_id) }
    ListRetirableGrantsRequest(_it) {}
    RetireGrantRequest(it) { key: it.key_id.as_ref(), resource: it.grant_id.and_then(text), dry_run: it.dry_run }
    RevokeGrantRequest(it) { key: Some(&it.key_id), resource: text(it.grant_id), dry_run: it.dry_run }
    TagResourceRequest(it) { key: Some(&it.key_id) }
    UntagResourceRequest(it) { key: Some(&it.key_id) }
    ListResourceTagsRequest(it) { key: Some(&it.key_id) }
    CreateCustomKeyStoreRequest(it) { resource: Some(it.custom_key_store_name.as_str().into()) }
    DescribeCustomKeyStoresRequest(it) {
        resource: it.custom_key_store_id.as_deref().or(it.custom_key_store_name.as_deref()).map(Cow::from)
    }
    UpdateCustomKeyStoreRequest(it) { resource: Some(it.custom_key_store_id.as_str().into()) }
    CustomKeyStoreOnlyRequest(it) { resource: Some(it.custom_key_store_id.as_str().into()) }
    ReplicateKeyRequest(it) { key: Some(&it.key_id), resource: text(&it.replica_region) }
    UpdatePrimaryRegionRequest(it) { key: Some(&it.key_id), resource: text(&it.primary_region) }
}

macro_rules! answers {
    (with a key: $($keyed:ident)+; without: $($bare:ident)+;) => {
        $(
            impl AnswerFacts for $keyed {
                fn keys(&self) -> (Option<&KeyArn>, Option<&KeyArn>) {
                    (Some(&self.key_id), None)
                }
            }
        )+
        $(impl AnswerFacts for $bare {})+
    };
}

answers! {
    with a key:
        EncryptResponse DecryptResponse GenerateDataKeyResponse GenerateDataKeyWithoutPlaintextResponse
        GenerateDataKeyPairResponse GenerateDataKeyPairWithoutPlaintextResponse GetPublicKeyResponse SignResponse
        VerifyResponse GenerateMacResponse VerifyMacResponse DeriveSharedSecretResponse EncapsulateResponse
        DecapsulateResponse GetKeyRotationStatusResponse RotateKeyOnDemandResponse GetParametersForImportResponse
        ImportKeyMaterialResponse DeleteImportedKeyMaterialResponse ScheduleKeyDeletionResponse
        CancelKeyDeletionResponse GetKeyLastUsageResponse;
    without:
        EmptyResponse ListKeysResponse ListAliasesResponse GenerateRandomResponse ListKeyRotationsResponse
        GetKeyPolicyResponse ListKeyPoliciesResponse CreateGrantResponse ListGrantsResponse
        ListResourceTagsResponse CreateCustomKeyStoreResponse DescribeCustomKeyStoresResponse;
}

impl AnswerFacts for CreateKeyResponse {
    fn keys(&self) -> (Option<&KeyArn>, Option<&KeyArn>) {
        (Some(&self.key_metadata.arn), None)
    }
}

impl AnswerFacts for ReplicateKeyResponse {
    fn keys(&self) -> (Option<&KeyArn>, Option<&KeyArn>) {
        (Some(&self.replica_key_metadata.arn), None)
    }
}

impl AnswerFacts for DescribeKeyResponse {
    fn keys(&self) -> (Option<&KeyArn>, Option<&KeyArn>) {
        (Some(&self.key_metadata.arn), None)
    }
}

impl AnswerFacts for ReEncryptResponse {
    fn keys(&self) -> (Option<&KeyArn>, Option<&KeyArn>) {
        (Some(&self.key_id), Some(&self.source_key_id))
    }
}

/// The name of an operation, from that of its method.
pub(super) struct OperationName {
    letters: [u8; Self::ROOM],
    len: usize,
}

impl OperationName {
    const ROOM: usize = 64;

    /// `generate_data_key` to `GenerateDataKey`, when the program is compiled.
    pub(super) const fn of(method: &str) -> Self {
        let (bytes, mut letters) = (method.as_bytes(), [0; Self::ROOM]);
        let (mut at, mut len, mut begins) = (0, 0, true);
        while at < bytes.len() {
            if bytes[at] == b'_' {
                begins = true;
            } else {
                letters[len] = if begins { bytes[at].to_ascii_uppercase() } else { bytes[at] };
                (len, begins) = (len + 1, false);
            }
            at += 1;
        }
        Self { letters, len }
    }

    pub(super) fn as_str(&self) -> &str {
        // Made from the name of a method, which is a text.
        std::str::from_utf8(&self.letters[..self.len]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_have_the_names_of_their_operations() {
        for (method, name) in [
            ("encrypt", "Encrypt"),
            ("re_encrypt", "ReEncrypt"),
            ("generate_data_key_pair_without_plaintext", "GenerateDataKeyPairWithoutPlaintext"),
        ] {
            assert_eq!(OperationName::of(method).as_str(), name);
        }
    }
}
