//! Rotation: new key material under the same key id.

use super::Core;
use super::access::Purpose;
use super::paging::{after_marker, check_range, cut, page_size};
use super::states::OperationClass;
use crate::custody::NewMaterial;
use crate::error::KmsError;
use crate::model::*;
use crate::policy::{ConditionKey, Value};
use crate::store::{KeyRecord, MaterialRecord, RotationEvent, RotationSchedule};

/// The period when none is given, and that of AWS managed keys.
pub(super) const DEFAULT_PERIOD_DAYS: u32 = 365;
/// How often a key can be rotated on demand.
const MAX_ON_DEMAND: u32 = 25;

/// Makes `material_id` the current material. It may be new, or wait for its rotation already.
pub(super) fn rotate_to(record: &mut KeyRecord, material_id: MaterialId, kind: RotationType, now: Timestamp) {
    for material in &mut record.materials {
        if material.role == KeyMaterialState::Current {
            material.role = KeyMaterialState::NonCurrent;
        }
    }
    if record.material(&material_id).is_none() {
        record.materials.push(MaterialRecord::new(material_id, KeyMaterialState::Current));
    }
    if let Some(material) = record.material_mut(&material_id) {
        material.role = KeyMaterialState::Current;
        material.rotated = Some(RotationEvent { date: now, kind });
    }
}

impl Core {
    pub(super) fn enable_key_rotation(
        &self,
        caller: &Caller,
        request: &EnableKeyRotationRequest,
    ) -> Result<EnableKeyRotationResponse, KmsError> {
        let period = request.rotation_period_in_days;
        if let Some(days) = period {
            check_range(days, "rotationPeriodInDays", 90, 2560)?;
        }
        let days = period.map_or(i64::from(DEFAULT_PERIOD_DAYS), i64::from);
        let particulars = [(ConditionKey::RotationPeriodInDays, Value::Number(days))];
        let purpose =
            Purpose::new(Action::EnableKeyRotation, OperationClass::ConfigureRotation).with(&particulars);
        self.change_key(caller, &request.key_id, &purpose, |record, tx, now| {
            let period_days = match (period, record.rotation.schedule) {
                (Some(days), _) => days.unsigned_abs(),
                // Enabling once more without a period changes nothing.
                (None, Some(_)) => return Ok(EmptyResponse),
                (None, None) => DEFAULT_PERIOD_DAYS,
            };
            let next_date = now.plus_days(i64::from(period_days));
            record.rotation.schedule = Some(RotationSchedule { period_days, next_date });
            self.share(tx, record)?;
            Ok(EmptyResponse)
        })
    }

    pub(super) fn disable_key_rotation(
        &self,
        caller: &Caller,
        request: &DisableKeyRotationRequest,
    ) -> Result<DisableKeyRotationResponse, KmsError> {
        let purpose = Purpose::new(Action::DisableKeyRotation, OperationClass::ConfigureRotation);
        self.change_key(caller, &request.key_id, &purpose, |record, tx, _| {
            record.rotation.schedule = None;
            self.share(tx, record)?;
            Ok(EmptyResponse)
        })
    }

    pub(super) fn get_key_rotation_status(
        &self,
        caller: &Caller,
        request: &GetKeyRotationStatusRequest,
    ) -> Result<GetKeyRotationStatusResponse, KmsError> {
        let purpose = Purpose::new(Action::GetKeyRotationStatus, OperationClass::Read);
        let record = self.view_key(caller, &request.key_id, &purpose)?;
        let schedule = record.rotation.schedule;
        // A key that waits for its deletion keeps its schedule but does not rotate.
        let running =
            schedule.filter(|_| record.deletion_date.is_none() && record.pending_window_days.is_none());
        Ok(GetKeyRotationStatusResponse {
            key_rotation_enabled: running.is_some(),
            key_id: self.arn(&record.key_id),
            rotation_period_in_days: running.map(|schedule| schedule.period_days),
            next_rotation_date: running.map(|schedule| schedule.next_date),
            on_demand_rotation_start_date: None,
        })
    }

    pub(super) fn list_key_rotations(
        &self,
        caller: &Caller,
        request: &ListKeyRotationsRequest,
    ) -> Result<ListKeyRotationsResponse, KmsError> {
        let size = page_size(&request.page, 100, 1000)?;
        let after: Option<MaterialId> = after_marker(&request.page, "rotations")?;
        let purpose = Purpose::new(Action::ListKeyRotations, OperationClass::Read);
        let record = self.view_key(caller, &request.key_id, &purpose)?;
        if record.key_spec != KeySpec::SymmetricDefault {
            return Err(KmsError::wrong_spec(self.arn(&record.key_id), record.key_spec));
        }
        let all = request.include_key_material == Some(IncludeKeyMaterial::AllKeyMaterial);
        let start = match after {
            None => 0,
            Some(last) => {
                let position = record.materials.iter().position(|material| material.material_id == last);
                position.ok_or_else(|| KmsError::InvalidMarker(String::new()))? + 1
            }
        };
        let listed = |material: &&MaterialRecord| all || material.rotated.is_some();
        let mut materials: Vec<_> = record.materials[start..].iter().filter(listed).take(size + 1).collect();
        let next_marker = cut(&mut materials, size, "rotations", |material| material.material_id.to_string());
        let rotations =
            materials.into_iter().map(|material| self.rotation_entry(&record, material)).collect();
        Ok(ListKeyRotationsResponse { rotations, next_marker })
    }

    fn rotation_entry(&self, record: &KeyRecord, material: &MaterialRecord) -> RotationsListEntry {
        let imported = record.origin == Origin::External;
        let import_state = if material.present { ImportState::Imported } else { ImportState::PendingImport };
        RotationsListEntry {
            key_id: self.arn(&record.key_id),
            key_material_id: Some(material.material_id),
            key_material_description: material.description.clone(),
            import_state: imported.then_some(import_state),
            key_material_state: Some(material.role),
            expiration_model: material.expiration_model,
            valid_to: material.valid_to,
            rotation_date: material.rotated.map(|event| event.date),
            rotation_type: material.rotated.map(|event| event.kind),
        }
    }

    pub(super) fn rotate_key_on_demand(
        &self,
        caller: &Caller,
        request: &RotateKeyOnDemandRequest,
    ) -> Result<RotateKeyOnDemandResponse, KmsError> {
        let purpose = Purpose::new(Action::RotateKeyOnDemand, OperationClass::RotateOnDemand);
        // Asked once more in the transaction; here, so that nothing is made for a request that will be refused.
        let seen = self.view_key(caller, &request.key_id, &purpose)?;
        let fresh = match seen.origin {
            Origin::External => None,
            Origin::AwsKms | Origin::AwsCloudHsm | Origin::ExternalKeyStore => {
                Some(self.custody.of(seen.origin)?.generate(&seen.key_id, seen.key_spec)?)
            }
        };
        self.change_key(caller, &request.key_id, &purpose, |record, tx, now| {
            let arn = self.arn(&record.key_id);
            if record.rotation.on_demand_count >= MAX_ON_DEMAND {
                return Err(KmsError::LimitExceeded(format!(
                    "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations \
                     can be performed for this key: {arn}"
                )));
            }
            let material_id = material_to_rotate_to(record, fresh.as_ref(), &arn, now)?;
            rotate_to(record, material_id, RotationType::OnDemand, now);
            record.rotation.on_demand_count += 1;
            if let Some(fresh) = &fresh {
                tx.put_material_handle(&record.key_id, &fresh.material_id, &fresh.handle)?;
            }
            self.share(tx, record)?;
            Ok(RotateKeyOnDemandResponse { key_id: arn })
        })
    }
}

/// The material that was made for this rotation, or the imported one that waits for it.
fn material_to_rotate_to(
    record: &KeyRecord,
    fresh: Option<&NewMaterial>,
    arn: &KeyArn,
    now: Timestamp,
) -> Result<MaterialId, KmsError> {
    if let Some(fresh) = fresh {
        return Ok(fresh.material_id);
    }
    let ready = |material: &&MaterialRecord| {
        material.role == KeyMaterialState::PendingRotation && material.is_usable(now)
    };
    let pending = record.materials.iter().find(ready);
    pending.map(|material| material.material_id).ok_or_else(|| {
        KmsError::KmsInvalidState(format!("No available key material pending rotation for the key: {arn}."))
    })
}
