//! Message authentication codes.

use std::sync::Arc;

use super::Core;
use super::access::Purpose;
use super::crypto::check_message;
use crate::error::KmsError;
use crate::model::*;
use crate::policy::ConditionKey;
use crate::store::KeyRecord;

impl Core {
    pub(super) fn generate_mac(
        &self,
        caller: &Caller,
        request: &GenerateMacRequest,
    ) -> Result<GenerateMacResponse, KmsError> {
        check_message(&request.message, "message")?;
        let (algorithm, tokens) = (request.mac_algorithm, &request.grant_tokens);
        let record = self.key_for_mac(caller, &request.key_id, Action::GenerateMac, tokens, algorithm)?;
        if request.dry_run {
            return Err(KmsError::dry_run());
        }
        let mac = self.current(&record)?.generate_mac(request.mac_algorithm, request.message.expose())?;
        self.used(&record, UsageOperation::GenerateMac);
        Ok(GenerateMacResponse {
            key_id: self.arn(&record.key_id),
            mac,
            mac_algorithm: request.mac_algorithm,
        })
    }

    pub(super) fn verify_mac(
        &self,
        caller: &Caller,
        request: &VerifyMacRequest,
    ) -> Result<VerifyMacResponse, KmsError> {
        check_message(&request.message, "message")?;
        let (algorithm, tokens) = (request.mac_algorithm, &request.grant_tokens);
        let record = self.key_for_mac(caller, &request.key_id, Action::VerifyMac, tokens, algorithm)?;
        if request.dry_run {
            return Err(KmsError::dry_run());
        }
        let material = self.current(&record)?;
        if !material.verify_mac(request.mac_algorithm, request.message.expose(), &request.mac)? {
            return Err(KmsError::KmsInvalidMac(String::new()));
        }
        self.used(&record, UsageOperation::VerifyMac);
        Ok(VerifyMacResponse {
            key_id: self.arn(&record.key_id),
            mac_valid: true,
            mac_algorithm: request.mac_algorithm,
        })
    }

    fn key_for_mac(
        &self,
        caller: &Caller,
        key_ref: &KeyRef,
        action: Action,
        grant_tokens: &[String],
        algorithm: MacAlgorithm,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        let particulars = [(ConditionKey::MacAlgorithm, algorithm.as_str().into())];
        let purpose = Purpose::without_context(action, grant_tokens).with(&particulars);
        let record = self.use_key(caller, key_ref, &purpose)?;
        self.check_usage(&record, KeyUsage::GenerateVerifyMac, action)?;
        if !record.key_spec.mac_algorithms().contains(&algorithm) {
            return Err(KmsError::wrong_algorithm(algorithm, record.key_spec));
        }
        Ok(record)
    }
}
