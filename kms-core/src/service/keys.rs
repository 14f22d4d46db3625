//! Keys and their states.

use super::Core;
use super::access::Purpose;
use super::authorizer::Resource;
use super::paging::{after_marker, check_range, cut, page_size};
use super::policies;
use super::states::OperationClass;
use super::tags::{check_tags, tag_particulars};
use crate::error::KmsError;
use crate::model::*;
use crate::policy::{ConditionKey, Value};
use crate::store::{self, FamilyRecord, KeyRecord, MaterialRecord, RotationRecord};

/// The longest description in bytes.
const MAX_DESCRIPTION_LEN: usize = 8192;
/// The waiting period of a deletion when none is given.
const DEFAULT_WINDOW_DAYS: i32 = 30;

impl Core {
    pub(super) fn create_key(
        &self,
        caller: &Caller,
        request: &CreateKeyRequest,
    ) -> Result<CreateKeyResponse, KmsError> {
        let template = self.new_key(request)?;
        let particulars = creation_particulars(request, &template);
        self.authorize_other(caller, Action::CreateKey, Resource::Account, &particulars)?;
        if !request.tags.is_empty() {
            let resource = Resource::NewKey(&template.key_id);
            self.authorize_other(caller, Action::TagResource, resource, &particulars)?;
        }
        self.check_new_policy(caller, &template, request.bypass_policy_lockout_safety_check)?;
        Ok(CreateKeyResponse { key_metadata: self.store_new_key(caller, template)? })
    }

    /// Makes the first material of a key, unless somebody has to bring it, and stores the key.
    fn store_new_key(&self, caller: &Caller, mut record: KeyRecord) -> Result<KeyMetadata, KmsError> {
        let material = match (record.origin, &record.custom_key_store) {
            (Origin::External, _) => None,
            (_, Some(binding)) => Some(self.material_in_key_store(caller, &record, binding)?),
            (_, None) => Some(self.custody.of(record.origin)?.generate(&record.key_id, record.key_spec)?),
        };
        if let Some(material) = &material {
            record.materials.push(MaterialRecord::new(material.material_id, KeyMaterialState::Current));
        }
        let stored = store::write(&*self.store, |tx| {
            self.join_key_store(tx, &record)?;
            tx.put_key(&record)?;
            if let Some(material) = &material {
                tx.put_material_handle(&record.key_id, &material.material_id, &material.handle)?;
            }
            Ok(())
        });
        if let (Err(_), Some(material), Some(_)) = (&stored, &material, &record.custom_key_store) {
            self.abandon_material(&record, material);
        }
        stored?;
        Ok(self.metadata(&record))
    }

    fn new_key(&self, request: &CreateKeyRequest) -> Result<KeyRecord, KmsError> {
        let (key_spec, key_usage) = spec_and_usage(request)?;
        let description = request.description.clone().unwrap_or_default();
        check_description(&description)?;
        check_tags(&request.tags)?;
        let policy = request.policy.as_deref().map(policies::parse).transpose()?;
        let origin = request.origin.unwrap_or(Origin::AwsKms);
        let in_store = matches!(origin, Origin::AwsCloudHsm | Origin::ExternalKeyStore);
        // Tokens and external key managers hold what encrypts data keys.
        let held = match in_store {
            true => key_spec == KeySpec::SymmetricDefault,
            false => self.custody.of(origin)?.holds(key_spec),
        };
        if !held {
            return Err(KmsError::UnsupportedOperation(format!(
                "KeySpec {key_spec} is not supported for Origin {origin}."
            )));
        }
        if in_store && request.multi_region {
            return Err(KmsError::UnsupportedOperation(format!(
                "MultiRegion is not supported for Origin {origin}."
            )));
        }
        let custom_key_store = self.binding(request, origin)?;
        let key_id = match request.multi_region {
            true => KeyId::generate_multi_region(),
            false => KeyId::generate(),
        };
        Ok(KeyRecord {
            key_id,
            key_spec,
            key_usage,
            origin,
            key_manager: KeyManager::Customer,
            managing_service: None,
            description,
            creation_date: self.now(),
            enabled: true,
            deletion_date: None,
            rotation: RotationRecord::default(),
            materials: Vec::new(),
            tags: request.tags.clone(),
            policy,
            custom_key_store,
            unavailable: false,
            family: request.multi_region.then(|| FamilyRecord::alone(self.realm.region.clone())),
            pending_window_days: None,
        })
    }

    /// The description of a key as of now.
    pub(super) fn metadata(&self, record: &KeyRecord) -> KeyMetadata {
        let current = record.current_material();
        // Only these can have more than one material, so that AWS names it.
        let rotates = record.key_spec == KeySpec::SymmetricDefault && record.custom_key_store.is_none();
        let symmetric = current.filter(|_| rotates);
        let binding = record.custom_key_store.as_ref();
        KeyMetadata {
            account_id: self.realm.account.clone(),
            key_id: record.key_id,
            arn: self.arn(&record.key_id),
            creation_date: record.creation_date,
            description: record.description.clone(),
            key_usage: record.key_usage,
            key_state: record.state(self.now()),
            deletion_date: record.deletion_date,
            valid_to: current.and_then(|material| material.valid_to),
            origin: record.origin,
            custom_key_store_id: binding.map(|binding| binding.store_id.to_string()),
            cloud_hsm_cluster_id: binding.and_then(|binding| binding.cluster_id.clone()),
            xks_key_id: binding.and_then(|binding| binding.xks_key_id.clone()),
            expiration_model: current.and_then(|material| material.expiration_model),
            key_manager: record.key_manager,
            key_spec: record.key_spec,
            algorithms: Algorithms::of(record.key_spec, record.key_usage),
            multi_region: record.key_id.is_multi_region(),
            multi_region_configuration: self.multi_region_configuration(record),
            pending_deletion_window_in_days: record.pending_window_days,
            current_key_material_id: symmetric.map(|material| material.material_id),
        }
    }

    pub(super) fn describe_key(
        &self,
        caller: &Caller,
        request: &DescribeKeyRequest,
    ) -> Result<DescribeKeyResponse, KmsError> {
        let purpose = Purpose {
            grant_tokens: &request.grant_tokens,
            ..Purpose::new(Action::DescribeKey, OperationClass::Read)
        };
        let record = self.use_key(caller, &request.key_id, &purpose)?;
        Ok(DescribeKeyResponse { key_metadata: self.metadata(&record) })
    }

    pub(super) fn list_keys(
        &self,
        caller: &Caller,
        request: &ListKeysRequest,
    ) -> Result<ListKeysResponse, KmsError> {
        self.authorize_other(caller, Action::ListKeys, Resource::Account, &[])?;
        let size = page_size(&request.page, 100, 1000)?;
        let after: Option<KeyId> = after_marker(&request.page, "keys")?;
        self.sweep()?;
        let mut ids = store::read(&*self.store, |tx| {
            let ids = tx.list_keys(after.as_ref(), size + 1)?;
            // An id is believed only with the record behind it.
            for key_id in &ids {
                tx.key(key_id)?;
            }
            Ok(ids)
        })?;
        let next_marker = cut(&mut ids, size, "keys", KeyId::to_string);
        let keys =
            ids.into_iter().map(|key_id| KeyListEntry { key_id, key_arn: self.arn(&key_id) }).collect();
        Ok(ListKeysResponse { keys, next_marker })
    }

    pub(super) fn update_key_description(
        &self,
        caller: &Caller,
        request: &UpdateKeyDescriptionRequest,
    ) -> Result<UpdateKeyDescriptionResponse, KmsError> {
        check_description(&request.description)?;
        let purpose = Purpose::new(Action::UpdateKeyDescription, OperationClass::Annotate);
        self.change_key(caller, &request.key_id, &purpose, |record, _, _| {
            record.description.clone_from(&request.description);
            Ok(EmptyResponse)
        })
    }

    pub(super) fn enable_key(
        &self,
        caller: &Caller,
        request: &EnableKeyRequest,
    ) -> Result<EnableKeyResponse, KmsError> {
        let purpose = Purpose::new(Action::EnableKey, OperationClass::Switch);
        let key_id = self.change_key(caller, &request.key_id, &purpose, |record, _, _| {
            record.enabled = true;
            Ok(record.key_id)
        })?;
        // A rotation that fell due while the key was disabled happens now.
        self.load(&key_id)?;
        Ok(EmptyResponse)
    }

    pub(super) fn disable_key(
        &self,
        caller: &Caller,
        request: &DisableKeyRequest,
    ) -> Result<DisableKeyResponse, KmsError> {
        let purpose = Purpose::new(Action::DisableKey, OperationClass::Switch);
        self.change_key(caller, &request.key_id, &purpose, |record, _, _| {
            record.enabled = false;
            Ok(EmptyResponse)
        })
    }

    pub(super) fn schedule_key_deletion(
        &self,
        caller: &Caller,
        request: &ScheduleKeyDeletionRequest,
    ) -> Result<ScheduleKeyDeletionResponse, KmsError> {
        let window = request.pending_window_in_days.unwrap_or(DEFAULT_WINDOW_DAYS);
        check_range(window, "pendingWindowInDays", 7, 30)?;
        let particulars =
            [(ConditionKey::ScheduleKeyDeletionPendingWindowInDays, Value::Number(i64::from(window)))];
        let purpose =
            Purpose::new(Action::ScheduleKeyDeletion, OperationClass::ScheduleDeletion).with(&particulars);
        self.change_key(caller, &request.key_id, &purpose, |record, _, now| {
            let replicas = record.family.as_ref().filter(|family| family.is_primary);
            if replicas.is_some_and(|family| !family.replicas.is_empty()) {
                record.pending_window_days = Some(window.unsigned_abs());
            } else {
                record.deletion_date = Some(now.plus_days(i64::from(window)));
            }
            Ok(ScheduleKeyDeletionResponse {
                key_id: self.arn(&record.key_id),
                deletion_date: record.deletion_date,
                key_state: record.state(now),
                pending_window_in_days: window.unsigned_abs(),
            })
        })
    }

    pub(super) fn cancel_key_deletion(
        &self,
        caller: &Caller,
        request: &CancelKeyDeletionRequest,
    ) -> Result<CancelKeyDeletionResponse, KmsError> {
        let purpose = Purpose::new(Action::CancelKeyDeletion, OperationClass::CancelDeletion);
        self.change_key(caller, &request.key_id, &purpose, |record, _, _| {
            record.deletion_date = None;
            record.pending_window_days = None;
            record.enabled = false;
            Ok(CancelKeyDeletionResponse { key_id: self.arn(&record.key_id) })
        })
    }
}

/// The spec and the usage of a new key, in the words of AWS when they do not go together.
fn spec_and_usage(request: &CreateKeyRequest) -> Result<(KeySpec, KeyUsage), KmsError> {
    let key_spec = match (request.key_spec, request.customer_master_key_spec) {
        (Some(_), Some(_)) => {
            return Err(KmsError::Validation(
                "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is \
                 deprecated."
                    .into(),
            ));
        }
        (spec, deprecated) => spec.or(deprecated).unwrap_or(KeySpec::SymmetricDefault),
    };
    let key_usage = match (request.key_usage, key_spec) {
        (Some(usage), _) => usage,
        (None, KeySpec::SymmetricDefault) => KeyUsage::EncryptDecrypt,
        (None, _) => {
            return Err(KmsError::Validation(
                "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
                    .into(),
            ));
        }
    };
    if !key_spec.usages().contains(&key_usage) {
        return Err(KmsError::Validation(format!(
            "KeyUsage {key_usage} is not compatible with KeySpec {key_spec}"
        )));
    }
    Ok((key_spec, key_usage))
}

pub(super) fn check_description(description: &str) -> Result<(), KmsError> {
    if description.len() > MAX_DESCRIPTION_LEN {
        let bound = format_args!("have length less than or equal to {MAX_DESCRIPTION_LEN}");
        return Err(KmsError::constraint(None, "description", bound));
    }
    Ok(())
}

/// What conditions may ask about a key that is to be created.
fn creation_particulars<'a>(
    request: &'a CreateKeyRequest,
    template: &KeyRecord,
) -> Vec<(ConditionKey, Value<'a>)> {
    let mut particulars = vec![
        (ConditionKey::KeySpec, template.key_spec.as_str().into()),
        (ConditionKey::CustomerMasterKeySpec, template.key_spec.as_str().into()),
        (ConditionKey::KeyUsage, template.key_usage.as_str().into()),
        (ConditionKey::CustomerMasterKeyUsage, template.key_usage.as_str().into()),
        (ConditionKey::KeyOrigin, template.origin.as_str().into()),
        (ConditionKey::MultiRegion, Value::Bool(request.multi_region)),
        (
            ConditionKey::BypassPolicyLockoutSafetyCheck,
            Value::Bool(request.bypass_policy_lockout_safety_check),
        ),
    ];
    let kind = template.multi_region_key_type();
    particulars.extend(kind.map(|kind| (ConditionKey::MultiRegionKeyType, kind.as_str().into())));
    particulars.extend(tag_particulars(&request.tags));
    particulars
}
