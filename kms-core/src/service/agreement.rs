//! Shared secrets: key agreement and key encapsulation.

use std::sync::Arc;

use super::Core;
use super::access::Purpose;
use crate::error::KmsError;
use crate::model::*;
use crate::policy::ConditionKey;
use crate::store::KeyRecord;

impl Core {
    pub(super) fn derive_shared_secret(
        &self,
        caller: &Caller,
        request: &DeriveSharedSecretRequest,
    ) -> Result<DeriveSharedSecretResponse, KmsError> {
        let algorithm = request.key_agreement_algorithm;
        let particulars = [(ConditionKey::KeyAgreementAlgorithm, algorithm.as_str().into())];
        let purpose =
            Purpose::without_context(Action::DeriveSharedSecret, &request.grant_tokens).with(&particulars);
        let record = self.key_of_usage(caller, &request.key_id, &purpose, KeyUsage::KeyAgreement)?;
        if request.dry_run {
            return Err(KmsError::dry_run());
        }
        let shared_secret = self.current(&record)?.derive_shared_secret(&request.public_key)?;
        self.used(&record, UsageOperation::DeriveSharedSecret);
        Ok(DeriveSharedSecretResponse {
            shared_secret,
            key_id: self.arn(&record.key_id),
            key_agreement_algorithm: request.key_agreement_algorithm,
            key_origin: record.origin,
        })
    }

    pub(super) fn encapsulate(
        &self,
        caller: &Caller,
        request: &EncapsulateRequest,
    ) -> Result<EncapsulateResponse, KmsError> {
        let purpose = Purpose::without_context(Action::Encapsulate, &request.grant_tokens);
        let record =
            self.key_of_usage(caller, &request.key_id, &purpose, KeyUsage::EncapsulateDecapsulate)?;
        if request.dry_run {
            return Err(KmsError::dry_run());
        }
        let made = self.current(&record)?.encapsulate()?;
        self.used(&record, UsageOperation::Encapsulate);
        Ok(EncapsulateResponse {
            key_id: self.arn(&record.key_id),
            shared_secret: made.shared_secret,
            shared_secret_ciphertext_blob: made.ciphertext.into(),
            encapsulation_algorithm: request.encapsulation_algorithm,
        })
    }

    pub(super) fn decapsulate(
        &self,
        caller: &Caller,
        request: &DecapsulateRequest,
    ) -> Result<DecapsulateResponse, KmsError> {
        let purpose = Purpose::without_context(Action::Decapsulate, &request.grant_tokens);
        let record =
            self.key_of_usage(caller, &request.key_id, &purpose, KeyUsage::EncapsulateDecapsulate)?;
        if request.dry_run {
            return Err(KmsError::dry_run());
        }
        let ciphertext = request.shared_secret_ciphertext_blob.as_bytes();
        let shared_secret = self.current(&record)?.decapsulate(ciphertext)?;
        self.used(&record, UsageOperation::Decapsulate);
        Ok(DecapsulateResponse {
            shared_secret,
            key_id: self.arn(&record.key_id),
            encapsulation_algorithm: request.encapsulation_algorithm,
        })
    }

    fn key_of_usage(
        &self,
        caller: &Caller,
        key_ref: &KeyRef,
        purpose: &Purpose<'_>,
        usage: KeyUsage,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        let record = self.use_key(caller, key_ref, purpose)?;
        self.check_usage(&record, usage, purpose.action)?;
        Ok(record)
    }
}
