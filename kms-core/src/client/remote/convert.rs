//! Types of the API to those of the client library and back.

use std::collections::HashMap;

use aws_sdk_kms::primitives::{Blob, DateTime};
use aws_sdk_kms::types::{
    EncryptionAlgorithmSpec, KeyMetadata as SdkMetadata, MultiRegionConfiguration as SdkConfiguration,
    MultiRegionKey as SdkMultiRegionKey,
};

use crate::error::KmsError;
use crate::model::*;

pub(super) fn context(context: &EncryptionContext) -> Option<HashMap<String, String>> {
    let pairs = context.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    (!context.is_empty()).then(|| pairs.collect())
}

pub(super) fn tokens(tokens: &[String]) -> Option<Vec<String>> {
    (!tokens.is_empty()).then(|| tokens.to_vec())
}

pub(super) fn algorithm(algorithm: Option<EncryptionAlgorithm>) -> Option<EncryptionAlgorithmSpec> {
    algorithm.map(|algorithm| EncryptionAlgorithmSpec::from(algorithm.as_str()))
}

/// A member that every answer of this kind has.
pub(super) fn member<T>(name: &str, value: Option<T>) -> Result<T, KmsError> {
    value.ok_or_else(|| KmsError::Internal(format!("the answer has no {name}")))
}

/// A text of an answer, parsed.
pub(super) fn parsed<T: std::str::FromStr>(name: &str, value: Option<&str>) -> Result<T, KmsError> {
    let text = member(name, value)?;
    text.parse().map_err(|_| KmsError::Internal(format!("the answer has a {name} that is not one: {text:?}")))
}

/// A text that may be missing, parsed.
pub(super) fn parsed_if<T: std::str::FromStr>(
    name: &str,
    value: Option<&str>,
) -> Result<Option<T>, KmsError> {
    value.map(|text| parsed(name, Some(text))).transpose()
}

pub(super) fn ciphertext(blob: Option<Blob>) -> Result<CiphertextBlob, KmsError> {
    Ok(CiphertextBlob::from(member("CiphertextBlob", blob)?.into_inner()))
}

/// Takes the bytes over; they are wiped when they are dropped.
pub(super) fn plaintext(blob: Option<Blob>) -> Result<Plaintext, KmsError> {
    Ok(Plaintext::new(member("Plaintext", blob)?.into_inner()))
}

/// The algorithm of an answer; one that says nothing is of the time before there was a choice.
pub(super) fn answered_algorithm(
    algorithm: Option<&EncryptionAlgorithmSpec>,
) -> Result<EncryptionAlgorithm, KmsError> {
    let parsed = parsed_if("EncryptionAlgorithm", algorithm.map(EncryptionAlgorithmSpec::as_str))?;
    Ok(parsed.unwrap_or(EncryptionAlgorithm::SymmetricDefault))
}

pub(super) fn time(time: &DateTime) -> Timestamp {
    Timestamp::from_millis(time.to_millis().unwrap_or(i64::MAX))
}

pub(super) fn metadata(found: &SdkMetadata) -> Result<KeyMetadata, KmsError> {
    let key_usage = parsed("KeyUsage", found.key_usage().map(|usage| usage.as_str()))?;
    let key_spec = parsed("KeySpec", found.key_spec().map(|spec| spec.as_str()))?;
    Ok(KeyMetadata {
        account_id: parsed("AWSAccountId", found.aws_account_id())?,
        key_id: parsed("KeyId", Some(found.key_id()))?,
        arn: parsed("Arn", found.arn())?,
        creation_date: time(member("CreationDate", found.creation_date())?),
        description: found.description().unwrap_or_default().to_owned(),
        key_usage,
        key_state: parsed("KeyState", found.key_state().map(|state| state.as_str()))?,
        deletion_date: found.deletion_date().map(time),
        valid_to: found.valid_to().map(time),
        origin: parsed("Origin", found.origin().map(|origin| origin.as_str()))?,
        custom_key_store_id: found.custom_key_store_id().map(str::to_owned),
        cloud_hsm_cluster_id: found.cloud_hsm_cluster_id().map(str::to_owned),
        xks_key_id: found.xks_key_configuration().and_then(|xks| xks.id()).map(str::to_owned),
        expiration_model: parsed_if("ExpirationModel", found.expiration_model().map(|model| model.as_str()))?,
        key_manager: parsed("KeyManager", found.key_manager().map(|manager| manager.as_str()))?,
        key_spec,
        algorithms: Algorithms::of(key_spec, key_usage),
        multi_region: found.multi_region().unwrap_or(false),
        multi_region_configuration: found.multi_region_configuration().map(related).transpose()?,
        pending_deletion_window_in_days: found
            .pending_deletion_window_in_days()
            .and_then(|days| u32::try_from(days).ok()),
        current_key_material_id: parsed_if("CurrentKeyMaterialId", found.current_key_material_id())?,
    })
}

fn related(found: &SdkConfiguration) -> Result<MultiRegionConfiguration, KmsError> {
    Ok(MultiRegionConfiguration {
        multi_region_key_type: parsed(
            "MultiRegionKeyType",
            found.multi_region_key_type().map(|kind| kind.as_str()),
        )?,
        primary_key: related_key(member("PrimaryKey", found.primary_key())?)?,
        replica_keys: found.replica_keys().iter().map(related_key).collect::<Result<_, _>>()?,
    })
}

fn related_key(found: &SdkMultiRegionKey) -> Result<MultiRegionKey, KmsError> {
    Ok(MultiRegionKey { arn: parsed("Arn", found.arn())?, region: parsed("Region", found.region())? })
}
