//! Imported key material.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::Core;
use super::access::Purpose;
use super::due;
use super::states::OperationClass;
use crate::custody::NewMaterial;
use crate::error::KmsError;
use crate::import::WrappingKey;
use crate::model::*;
use crate::policy::{ConditionKey, Value};
use crate::store::{KeyRecord, MaterialRecord};

/// How long an import token is good.
const TOKEN_HOURS: i64 = 24;
/// The latest expiry of material, in days from now.
const MAX_VALID_DAYS: i64 = 365;
/// The longest description of a material.
const MAX_DESCRIPTION_LEN: usize = 256;
/// The longest token that the API accepts; that of a 4096-bit key is about 3.3 KiB.
const MAX_TOKEN_LEN: usize = 6144;
/// What the seal of a token is for.
const TOKEN_PLACE: &[u8] = b"import token v1";

/// What a token carries, sealed: the service keeps nothing between the two calls of an import.
#[derive(Serialize, Deserialize)]
struct ImportToken {
    key_id: KeyId,
    /// Related multi-Region keys have one id. Absent in tokens from before there were any.
    #[serde(default)]
    region: Option<Region>,
    algorithm: WrappingAlgorithm,
    expires: Timestamp,
    private_key: String,
}

impl Drop for ImportToken {
    fn drop(&mut self) {
        self.private_key.zeroize();
    }
}

/// When a material expires, checked.
#[derive(Clone, Copy)]
struct Expiry {
    model: ExpirationModel,
    valid_to: Option<Timestamp>,
}

impl Core {
    pub(super) fn get_parameters_for_import(
        &self,
        caller: &Caller,
        request: &GetParametersForImportRequest,
    ) -> Result<GetParametersForImportResponse, KmsError> {
        let particulars = [
            (ConditionKey::WrappingAlgorithm, request.wrapping_algorithm.as_str().into()),
            (ConditionKey::WrappingKeySpec, request.wrapping_key_spec.as_str().into()),
        ];
        let purpose = Purpose::new(Action::GetParametersForImport, OperationClass::Import).with(&particulars);
        let record = self.view_key(caller, &request.key_id, &purpose)?;
        match request.wrapping_algorithm {
            WrappingAlgorithm::RsaesOaepSha1
            | WrappingAlgorithm::RsaesOaepSha256
            | WrappingAlgorithm::RsaAesKeyWrapSha1
            | WrappingAlgorithm::RsaAesKeyWrapSha256 => {}
            WrappingAlgorithm::RsaesPkcs1V15 | WrappingAlgorithm::Sm2pke => {
                return Err(KmsError::UnsupportedOperation(format!(
                    "Wrapping algorithm {} is not supported by this service.",
                    request.wrapping_algorithm
                )));
            }
        }
        check_wrappable(record.key_spec, request)?;
        let wrapping_key = WrappingKey::generate(request.wrapping_key_spec)?;
        let expires = Timestamp::from_millis(self.now().as_millis() + TOKEN_HOURS * 60 * 60 * 1000);
        let token = ImportToken {
            key_id: record.key_id,
            region: Some(self.realm.region.clone()),
            algorithm: request.wrapping_algorithm,
            expires,
            private_key: STANDARD.encode(&*wrapping_key.to_pkcs8()?),
        };
        Ok(GetParametersForImportResponse {
            key_id: self.arn(&record.key_id),
            import_token: self.seal_token(&token)?,
            public_key: wrapping_key.public_der()?,
            parameters_valid_to: expires,
        })
    }

    fn seal_token(&self, token: &ImportToken) -> Result<Vec<u8>, KmsError> {
        let failed = |error: &dyn std::fmt::Display| KmsError::Internal(error.to_string());
        // Large enough from the start: a vector that grows leaves its old bytes behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TOKEN_LEN));
        serde_json::to_writer(&mut *bytes, token).map_err(|error| failed(&error))?;
        self.import_tokens.seal(&[TOKEN_PLACE], &bytes).map_err(|error| failed(&error))
    }

    /// Opens a token; it must be ours, for this key, and not too old.
    fn open_token(&self, sealed: &[u8], key_id: &KeyId) -> Result<ImportToken, KmsError> {
        let refused = || KmsError::InvalidImportToken(String::new());
        if sealed.len() > MAX_TOKEN_LEN {
            return Err(refused());
        }
        let bytes = self.import_tokens.open(&[TOKEN_PLACE], sealed).map_err(|_| refused())?;
        let token: ImportToken = serde_json::from_slice(&bytes).map_err(|_| refused())?;
        let elsewhere = token.region.as_ref().is_some_and(|region| *region != self.realm.region);
        if token.key_id != *key_id || elsewhere {
            return Err(refused());
        }
        if token.expires <= self.now() {
            return Err(KmsError::ExpiredImportToken(String::new()));
        }
        Ok(token)
    }

    pub(super) fn import_key_material(
        &self,
        caller: &Caller,
        request: &ImportKeyMaterialRequest,
    ) -> Result<ImportKeyMaterialResponse, KmsError> {
        let model = request.expiration_model.unwrap_or(ExpirationModel::KeyMaterialExpires);
        let valid_to = request.valid_to.map(|valid_to| (ConditionKey::ValidTo, Value::Time(valid_to)));
        let particulars: Vec<_> =
            std::iter::once((ConditionKey::ExpirationModel, model.as_str().into())).chain(valid_to).collect();
        let purpose = Purpose::new(Action::ImportKeyMaterial, OperationClass::Import).with(&particulars);
        // Asked once more in the transaction; here, so that nothing is unwrapped for a request that will be refused.
        let seen = self.view_key(caller, &request.key_id, &purpose)?;
        check_material_description(request.key_material_description.as_deref())?;
        let expiry = checked_expiry(request, self.now())?;
        let token = self.open_token(&request.import_token, &seen.key_id)?;
        let pkcs8 = STANDARD
            .decode(&token.private_key)
            .map(Zeroizing::new)
            .map_err(|_| KmsError::InvalidImportToken(String::new()))?;
        let material =
            WrappingKey::from_pkcs8(&pkcs8)?.unwrap(token.algorithm, &request.encrypted_key_material)?;
        let taken = self.custody.of(seen.origin)?.import(&seen.key_id, seen.key_spec, &material)?;
        self.change_key(caller, &request.key_id, &purpose, |record, tx, now| {
            let was_waiting = record.state(now) == KeyState::PendingImport;
            place_material(record, request, &taken, &self.arn(&record.key_id))?;
            if let Some(material) = record.material_mut(&taken.material_id) {
                material.present = true;
                material.expiration_model = Some(expiry.model);
                material.valid_to = expiry.valid_to;
                if request.key_material_description.is_some() {
                    material.description.clone_from(&request.key_material_description);
                }
            }
            // The last missing material makes the key usable again.
            record.enabled |= was_waiting && record.state(now) != KeyState::PendingImport;
            tx.put_material_handle(&record.key_id, &taken.material_id, &taken.handle)?;
            self.share_from_any(tx, record)?;
            Ok(ImportKeyMaterialResponse {
                key_id: self.arn(&record.key_id),
                key_material_id: Some(taken.material_id),
            })
        })
    }

    pub(super) fn delete_imported_key_material(
        &self,
        caller: &Caller,
        request: &DeleteImportedKeyMaterialRequest,
    ) -> Result<DeleteImportedKeyMaterialResponse, KmsError> {
        let purpose = Purpose::new(Action::DeleteImportedKeyMaterial, OperationClass::DeleteMaterial);
        let (record, material_id, erased) =
            self.change_key(caller, &request.key_id, &purpose, |record, tx, _| {
                let target = match request.key_material_id {
                    Some(id) => {
                        Some(record.material(&id).map(|material| material.material_id).ok_or_else(|| {
                            KmsError::NotFound(format!(
                                "Key material {id} is not associated with the key {}",
                                self.arn(&record.key_id)
                            ))
                        })?)
                    }
                    None => record.current_material().map(|material| material.material_id),
                };
                let erased = due::handles(tx, record, |id| Some(*id) == target)?;
                for (material_id, _) in &erased {
                    due::erase_material(tx, record, material_id)?;
                }
                self.share(tx, record)?;
                Ok((record.clone(), target, erased))
            })?;
        self.finish_erasure(&record, &erased)?;
        Ok(DeleteImportedKeyMaterialResponse {
            key_id: self.arn(&record.key_id),
            key_material_id: material_id,
        })
    }
}

/// Finds or makes the place of a material in its key.
fn place_material(
    record: &mut KeyRecord,
    request: &ImportKeyMaterialRequest,
    taken: &NewMaterial,
    arn: &KeyArn,
) -> Result<(), KmsError> {
    let first_import = record.materials.is_empty();
    let default = if first_import { ImportType::NewKeyMaterial } else { ImportType::ExistingKeyMaterial };
    let import_type = request.import_type.unwrap_or(default);
    let known = record.material(&taken.material_id).is_some();
    if request.key_material_id.is_some() && import_type == ImportType::NewKeyMaterial {
        return Err(KmsError::Validation(
            "You cannot specify KeyMaterialId when ImportType is NEW_KEY_MATERIAL.".into(),
        ));
    }
    if request.key_material_id.is_some_and(|expected| expected != taken.material_id) {
        return Err(KmsError::IncorrectKeyMaterial(String::new()));
    }
    match import_type {
        ImportType::NewKeyMaterial if record.is_replica() => Err(KmsError::UnsupportedOperation(format!(
            "{arn} is a multi-Region replica key. Import new key material into its primary key first."
        ))),
        ImportType::ExistingKeyMaterial if known => Ok(()),
        ImportType::ExistingKeyMaterial => Err(KmsError::IncorrectKeyMaterial(String::new())),
        ImportType::NewKeyMaterial if known => Err(KmsError::IncorrectKeyMaterial(String::new())),
        ImportType::NewKeyMaterial if first_import => {
            record.materials.push(MaterialRecord::new(taken.material_id, KeyMaterialState::Current));
            Ok(())
        }
        // Only symmetric keys have more than one material.
        ImportType::NewKeyMaterial if record.key_spec != KeySpec::SymmetricDefault => {
            Err(KmsError::IncorrectKeyMaterial(String::new()))
        }
        ImportType::NewKeyMaterial => {
            if record.materials.iter().any(MaterialRecord::is_pending) {
                return Err(KmsError::KmsInvalidState(format!(
                    "{arn} already has key material that is pending rotation."
                )));
            }
            record.materials.push(MaterialRecord::new(taken.material_id, KeyMaterialState::PendingRotation));
            Ok(())
        }
    }
}

/// Refuses to wrap directly under RSA what is longer than its modulus permits: RSA private keys always, those of P-521
/// under a 2048-bit modulus.
fn check_wrappable(spec: KeySpec, request: &GetParametersForImportRequest) -> Result<(), KmsError> {
    let (algorithm, wrapping_spec) = (request.wrapping_algorithm, request.wrapping_key_spec);
    let direct = matches!(algorithm, WrappingAlgorithm::RsaesOaepSha1 | WrappingAlgorithm::RsaesOaepSha256);
    let too_long = match spec {
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => true,
        KeySpec::EccNistP521 => wrapping_spec == WrappingKeySpec::Rsa2048,
        _ => false,
    };
    if direct && too_long {
        return Err(KmsError::UnsupportedOperation(format!(
            "Wrapping algorithm {algorithm} with wrapping key spec {wrapping_spec} is not supported for key spec {spec}."
        )));
    }
    Ok(())
}

fn checked_expiry(request: &ImportKeyMaterialRequest, now: Timestamp) -> Result<Expiry, KmsError> {
    let model = request.expiration_model.unwrap_or(ExpirationModel::KeyMaterialExpires);
    let refused = |message: &str| Err(KmsError::Validation(message.to_owned()));
    match (model, request.valid_to) {
        (ExpirationModel::KeyMaterialExpires, None) => {
            refused("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
        }
        (ExpirationModel::KeyMaterialDoesNotExpire, Some(_)) => {
            refused("A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE")
        }
        (_, Some(valid_to)) if valid_to <= now => refused("The validTo date must be in the future."),
        (_, Some(valid_to)) if valid_to > now.plus_days(MAX_VALID_DAYS) => {
            refused("The validTo date must be at most 365 days from now.")
        }
        (model, valid_to) => Ok(Expiry { model, valid_to }),
    }
}

fn check_material_description(description: Option<&str>) -> Result<(), KmsError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c.is_whitespace() || ":/_.-".contains(c);
    match description {
        Some(text) if text.len() > MAX_DESCRIPTION_LEN => {
            let bound = format_args!("have length less than or equal to {MAX_DESCRIPTION_LEN}");
            Err(KmsError::constraint(None, "keyMaterialDescription", bound))
        }
        Some(text) if !text.chars().all(legal) => {
            let bound = format_args!("satisfy regular expression pattern: ^[a-zA-Z0-9:/_\\s.-]+$");
            Err(KmsError::constraint(Some(text), "keyMaterialDescription", bound))
        }
        Some(_) | None => Ok(()),
    }
}
