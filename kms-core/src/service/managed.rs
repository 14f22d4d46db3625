//! AWS managed keys: `alias/aws/<service>`, made when the service first uses them.

use super::Core;
use super::rotation::DEFAULT_PERIOD_DAYS;
use crate::error::KmsError;
use crate::model::{AliasName, Caller, KeyId, KeyManager, KeyMaterialState, KeySpec, KeyUsage, Origin};
use crate::store::{self, AliasRecord, KeyRecord, MaterialRecord, RotationRecord, RotationSchedule};

impl Core {
    /// Only a service brings its own key into being, and only in its own account.
    pub(super) fn may_create_managed(&self, caller: &Caller, name: &AliasName) -> bool {
        caller.account == self.realm.account
            && caller.via_service.as_deref().and_then(AliasName::of_service).as_ref() == Some(name)
    }

    /// Creates the key behind `name`, or finds the one that another process has created meanwhile.
    pub(super) fn create_managed_key(&self, name: &AliasName) -> Result<KeyId, KmsError> {
        let key_id = KeyId::generate();
        let material = self.custody.of(Origin::AwsKms)?.generate(&key_id, KeySpec::SymmetricDefault)?;
        let now = self.now();
        let service = name.service().unwrap_or_default();
        let record = KeyRecord {
            key_id,
            key_spec: KeySpec::SymmetricDefault,
            key_usage: KeyUsage::EncryptDecrypt,
            origin: Origin::AwsKms,
            key_manager: KeyManager::Aws,
            managing_service: Some(service.to_owned()),
            description: format!("Default key that protects data of {service} when no other key is defined"),
            creation_date: now,
            enabled: true,
            deletion_date: None,
            rotation: RotationRecord {
                schedule: Some(RotationSchedule {
                    period_days: DEFAULT_PERIOD_DAYS,
                    next_date: now.plus_days(i64::from(DEFAULT_PERIOD_DAYS)),
                }),
                on_demand_count: 0,
            },
            materials: vec![MaterialRecord::new(material.material_id, KeyMaterialState::Current)],
            tags: Vec::new(),
            policy: None,
            custom_key_store: None,
            unavailable: false,
            family: None,
            pending_window_days: None,
        };
        let alias = AliasRecord { name: name.clone(), key_id, creation_date: now, last_updated_date: now };
        let found = store::write(&*self.store, |tx| {
            if let Some(existing) = tx.alias(name)? {
                return Ok(existing.key_id);
            }
            tx.put_key(&record)?;
            tx.put_material_handle(&key_id, &material.material_id, &material.handle)?;
            tx.put_alias(&alias)?;
            Ok(key_id)
        })?;
        if found == key_id {
            self.note_by_itself("CreateKey", &self.arn(&key_id));
        }
        Ok(found)
    }
}
