//! Data key pairs.

use super::Core;
use super::access::Purpose;
use super::crypto::algorithm_particular;
use crate::custody;
use crate::error::KmsError;
use crate::model::*;
use crate::policy::ConditionKey;

impl Core {
    pub(super) fn generate_data_key_pair(
        &self,
        caller: &Caller,
        request: &GenerateDataKeyPairRequest,
    ) -> Result<GenerateDataKeyPairResponse, KmsError> {
        self.make_data_key_pair(
            caller,
            request,
            Action::GenerateDataKeyPair,
            UsageOperation::GenerateDataKeyPair,
        )
    }

    pub(super) fn generate_data_key_pair_without_plaintext(
        &self,
        caller: &Caller,
        request: &GenerateDataKeyPairWithoutPlaintextRequest,
    ) -> Result<GenerateDataKeyPairWithoutPlaintextResponse, KmsError> {
        let action = Action::GenerateDataKeyPairWithoutPlaintext;
        let operation = UsageOperation::GenerateDataKeyPairWithoutPlaintext;
        let made = self.make_data_key_pair(caller, request, action, operation)?;
        Ok(GenerateDataKeyPairWithoutPlaintextResponse {
            private_key_ciphertext_blob: made.private_key_ciphertext_blob,
            public_key: made.public_key,
            key_id: made.key_id,
            key_pair_spec: made.key_pair_spec,
            key_material_id: made.key_material_id,
        })
    }

    fn make_data_key_pair(
        &self,
        caller: &Caller,
        request: &GenerateDataKeyPairRequest,
        action: Action,
        operation: UsageOperation,
    ) -> Result<GenerateDataKeyPairResponse, KmsError> {
        let context = &request.encryption_context;
        let particulars = [
            algorithm_particular(EncryptionAlgorithm::SymmetricDefault),
            (ConditionKey::DataKeyPairSpec, request.key_pair_spec.as_str().into()),
        ];
        let purpose = Purpose::cryptographic(action, context, &request.grant_tokens).with(&particulars);
        let record = self.key_for_data_keys(caller, &request.key_id, &purpose)?;
        // What AWS keeps in a custom key store wraps data keys, but not key pairs.
        match record.origin {
            Origin::AwsKms | Origin::External => {}
            Origin::AwsCloudHsm | Origin::ExternalKeyStore => {
                return Err(KmsError::wrong_origin(self.arn(&record.key_id), record.origin));
            }
        }
        if request.key_pair_spec == DataKeyPairSpec::Sm2 {
            return Err(KmsError::UnsupportedOperation(format!(
                "KeyPairSpec {} is not supported in this region.",
                request.key_pair_spec
            )));
        }
        if request.dry_run {
            return Err(KmsError::dry_run());
        }
        let pair = custody::generate_data_key_pair(request.key_pair_spec)?;
        let (private_key_ciphertext_blob, material_id) =
            self.seal(&record, caller, action, context, pair.private_key.expose())?;
        self.used(&record, operation);
        Ok(GenerateDataKeyPairResponse {
            private_key_ciphertext_blob,
            private_key_plaintext: pair.private_key,
            public_key: pair.public_key,
            key_id: self.arn(&record.key_id),
            key_pair_spec: request.key_pair_spec,
            key_material_id: Some(material_id),
        })
    }
}
