//! Public keys and signatures.

use std::sync::Arc;

use super::Core;
use super::access::Purpose;
use super::crypto::check_message;
use crate::custody::OpenMaterial;
use crate::error::KmsError;
use crate::model::*;
use crate::policy::ConditionKey;
use crate::store::KeyRecord;

/// The length of the representative of a message in ML-DSA.
const MU_LEN: usize = 64;

impl Core {
    pub(super) fn get_public_key(
        &self,
        caller: &Caller,
        request: &GetPublicKeyRequest,
    ) -> Result<GetPublicKeyResponse, KmsError> {
        let purpose = Purpose::without_context(Action::GetPublicKey, &request.grant_tokens);
        let record = self.use_key(caller, &request.key_id, &purpose)?;
        if !record.key_spec.is_asymmetric() {
            return Err(KmsError::wrong_spec(self.arn(&record.key_id), record.key_spec));
        }
        Ok(GetPublicKeyResponse {
            public_key: self.current(&record)?.public_key()?,
            key_id: self.arn(&record.key_id),
            key_spec: record.key_spec,
            key_usage: record.key_usage,
            algorithms: Algorithms::of(record.key_spec, record.key_usage),
        })
    }

    pub(super) fn sign(&self, caller: &Caller, request: &SignRequest) -> Result<SignResponse, KmsError> {
        let wanted = Wanted {
            algorithm: request.signing_algorithm,
            kind: request.message_type.unwrap_or(MessageType::Raw),
            message: &request.message,
            grant_tokens: &request.grant_tokens,
            dry_run: request.dry_run,
        };
        let (record, material) = self.signing_material(caller, &request.key_id, Action::Sign, &wanted)?;
        let signature = material.sign(wanted.algorithm, wanted.kind, request.message.expose())?;
        self.used(&record, UsageOperation::Sign);
        Ok(SignResponse {
            key_id: self.arn(&record.key_id),
            signature,
            signing_algorithm: request.signing_algorithm,
        })
    }

    pub(super) fn verify(
        &self,
        caller: &Caller,
        request: &VerifyRequest,
    ) -> Result<VerifyResponse, KmsError> {
        let wanted = Wanted {
            algorithm: request.signing_algorithm,
            kind: request.message_type.unwrap_or(MessageType::Raw),
            message: &request.message,
            grant_tokens: &request.grant_tokens,
            dry_run: request.dry_run,
        };
        let (record, material) = self.signing_material(caller, &request.key_id, Action::Verify, &wanted)?;
        let message = request.message.expose();
        if !material.verify(wanted.algorithm, wanted.kind, message, &request.signature)? {
            return Err(KmsError::KmsInvalidSignature(String::new()));
        }
        self.used(&record, UsageOperation::Verify);
        Ok(VerifyResponse {
            key_id: self.arn(&record.key_id),
            signature_valid: true,
            signing_algorithm: request.signing_algorithm,
        })
    }

    /// What signing and verifying have in common: a key that may do it now, and a message that fits the algorithm.
    fn signing_material(
        &self,
        caller: &Caller,
        key_ref: &KeyRef,
        action: Action,
        wanted: &Wanted<'_>,
    ) -> Result<(Arc<KeyRecord>, Arc<dyn OpenMaterial>), KmsError> {
        check_message(wanted.message, "message")?;
        let particulars = [
            (ConditionKey::SigningAlgorithm, wanted.algorithm.as_str().into()),
            (ConditionKey::MessageType, wanted.kind.as_str().into()),
        ];
        let purpose = Purpose::without_context(action, wanted.grant_tokens).with(&particulars);
        let record = self.use_key(caller, key_ref, &purpose)?;
        self.check_usage(&record, KeyUsage::SignVerify, action)?;
        if !record.key_spec.signing_algorithms().contains(&wanted.algorithm) {
            return Err(KmsError::wrong_algorithm(wanted.algorithm, record.key_spec));
        }
        check_message_type(wanted)?;
        if wanted.dry_run {
            return Err(KmsError::dry_run());
        }
        let material = self.current(&record)?;
        Ok((record, material))
    }
}

/// What is to be signed or verified, and how.
struct Wanted<'a> {
    algorithm: SigningAlgorithm,
    kind: MessageType,
    message: &'a Plaintext,
    grant_tokens: &'a [String],
    dry_run: bool,
}

/// Refuses a message type that the algorithm does not have, and a digest of a wrong length.
fn check_message_type(wanted: &Wanted<'_>) -> Result<(), KmsError> {
    let algorithm = wanted.algorithm;
    let expected = match (wanted.kind, algorithm) {
        // Ed25519ph takes a digest, and nothing else.
        (MessageType::Raw, SigningAlgorithm::Ed25519PhSha512) => None,
        (MessageType::Raw, _) => return Ok(()),
        (MessageType::Digest, _) => algorithm.digest_len(),
        (MessageType::ExternalMu, SigningAlgorithm::MlDsaShake256) => Some(MU_LEN),
        (MessageType::ExternalMu, _) => None,
    };
    match expected {
        None => Err(KmsError::Validation(format!(
            "MessageType {} is not valid for algorithm {algorithm}.",
            wanted.kind
        ))),
        Some(len) if len != wanted.message.len() => {
            Err(KmsError::Validation(format!("Digest is invalid length for algorithm {algorithm}.")))
        }
        Some(_) => Ok(()),
    }
}
