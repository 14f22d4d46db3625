//! Data keys and random bytes.

use super::Core;
use super::access::Purpose;
use super::authorizer::Resource;
use super::crypto::algorithm_particular;
use super::paging::check_range;
use crate::error::KmsError;
use crate::model::*;
use crate::seal::fill_random;

/// The most random bytes in one answer.
const MAX_RANDOM_LEN: i32 = 1024;

impl Core {
    pub(super) fn generate_data_key(
        &self,
        caller: &Caller,
        request: &GenerateDataKeyRequest,
    ) -> Result<GenerateDataKeyResponse, KmsError> {
        self.make_data_key(caller, request, Action::GenerateDataKey, UsageOperation::GenerateDataKey)
    }

    pub(super) fn generate_data_key_without_plaintext(
        &self,
        caller: &Caller,
        request: &GenerateDataKeyWithoutPlaintextRequest,
    ) -> Result<GenerateDataKeyWithoutPlaintextResponse, KmsError> {
        let action = Action::GenerateDataKeyWithoutPlaintext;
        let operation = UsageOperation::GenerateDataKeyWithoutPlaintext;
        let made = self.make_data_key(caller, request, action, operation)?;
        Ok(GenerateDataKeyWithoutPlaintextResponse {
            ciphertext_blob: made.ciphertext_blob,
            key_id: made.key_id,
            key_material_id: made.key_material_id,
        })
    }

    fn make_data_key(
        &self,
        caller: &Caller,
        request: &GenerateDataKeyRequest,
        action: Action,
        operation: UsageOperation,
    ) -> Result<GenerateDataKeyResponse, KmsError> {
        let len = data_key_len(request)?;
        let context = &request.encryption_context;
        let particulars = [algorithm_particular(EncryptionAlgorithm::SymmetricDefault)];
        let purpose = Purpose::cryptographic(action, context, &request.grant_tokens).with(&particulars);
        let record = self.key_for_data_keys(caller, &request.key_id, &purpose)?;
        if request.dry_run {
            return Err(KmsError::dry_run());
        }
        let plaintext = random(len)?;
        let (ciphertext_blob, material_id) =
            self.seal(&record, caller, action, context, plaintext.expose())?;
        self.used(&record, operation);
        Ok(GenerateDataKeyResponse {
            ciphertext_blob,
            plaintext,
            key_id: self.arn(&record.key_id),
            key_material_id: Some(material_id),
        })
    }

    pub(super) fn generate_random(
        &self,
        caller: &Caller,
        request: &GenerateRandomRequest,
    ) -> Result<GenerateRandomResponse, KmsError> {
        self.authorize_other(caller, Action::GenerateRandom, Resource::Account, &[])?;
        let len = request
            .number_of_bytes
            .ok_or_else(|| KmsError::Validation("NumberOfBytes is required.".into()))
            .and_then(checked_len)?;
        let Some(id) = &request.custom_key_store_id else {
            return Ok(GenerateRandomResponse { plaintext: random(len)? });
        };
        let key_store = self.connected_key_store(id)?;
        if key_store.store_type() != CustomKeyStoreType::AwsCloudHsm {
            return Err(KmsError::UnsupportedOperation(format!(
                "GenerateRandom is not supported for custom key stores of type {}.",
                key_store.store_type()
            )));
        }
        Ok(GenerateRandomResponse { plaintext: self.open_key_store(&key_store)?.random(len)? })
    }
}

/// The length of the data key: by name or in bytes, never both.
fn data_key_len(request: &GenerateDataKeyRequest) -> Result<usize, KmsError> {
    match (request.key_spec, request.number_of_bytes) {
        (Some(spec), None) => Ok(spec.len_bytes()),
        (None, Some(number)) => checked_len(number),
        (None, None) | (Some(_), Some(_)) => {
            Err(KmsError::Validation("Please specify either number of bytes or key spec.".into()))
        }
    }
}

fn checked_len(number: i32) -> Result<usize, KmsError> {
    check_range(number, "numberOfBytes", 1, MAX_RANDOM_LEN)?;
    usize::try_from(number).map_err(|_| KmsError::Internal("a length in range is not negative".into()))
}

fn random(len: usize) -> Result<Plaintext, KmsError> {
    let mut bytes = vec![0; len];
    fill_random(&mut bytes).map_err(|error| KmsError::Internal(error.to_string()))?;
    Ok(Plaintext::new(bytes))
}
