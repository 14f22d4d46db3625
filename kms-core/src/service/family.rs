//! Related multi-Region keys: one key id and one material in several Regions.
//!
//! Each key has a record of its own, with a policy, grants, aliases, tags and a state of its own. What they share is
//! changed at the primary, and written into the records of the replicas in the same transaction: there is no moment at
//! which they differ, so that the states `Creating` and `Updating` do not occur.

use super::Core;
use super::access::Purpose;
use super::authorizer::Resource;
use super::keys::check_description;
use super::policies;
use super::states::{self, OperationClass};
use super::tags::{check_tags, tag_particulars};
use crate::error::KmsError;
use crate::model::*;
use crate::policy::{ConditionKey, Value};
use crate::store::{FamilyRecord, KeyRecord, Locality, MaterialRecord, WriteTx};

impl Core {
    /// The related keys of a multi-Region key. One from before they were recorded is alone.
    fn family(&self, record: &KeyRecord) -> Option<FamilyRecord> {
        let alone = || FamilyRecord::alone(self.realm.region.clone());
        record.key_id.is_multi_region().then(|| record.family.clone().unwrap_or_else(alone))
    }

    pub(super) fn multi_region_configuration(&self, record: &KeyRecord) -> Option<MultiRegionConfiguration> {
        let family = self.family(record)?;
        let key = |region: &Region| MultiRegionKey {
            arn: self.arn_in(region, &record.key_id),
            region: region.clone(),
        };
        Some(MultiRegionConfiguration {
            multi_region_key_type: record.multi_region_key_type()?,
            primary_key: key(&family.primary),
            replica_keys: family.replicas.iter().map(key).collect(),
        })
    }

    fn arn_in(&self, region: &Region, key_id: &KeyId) -> KeyArn {
        KeyArn::new(&Realm { region: region.clone(), account: self.realm.account.clone() }, key_id)
    }

    fn locality(&self, region: &Region) -> Locality {
        Locality::of(region, &self.home)
    }

    /// Makes a replica; `target` is the service in its Region.
    pub(super) fn replicate_key(
        &self,
        target: &Self,
        caller: &Caller,
        request: &ReplicateKeyRequest,
    ) -> Result<ReplicateKeyResponse, KmsError> {
        check_description(request.description.as_deref().unwrap_or_default())?;
        check_tags(&request.tags)?;
        let policy = request.policy.as_deref().map(policies::parse).transpose()?;
        let particulars = [(ConditionKey::ReplicaRegion, request.replica_region.as_str().into())];
        let purpose = Purpose::new(Action::ReplicateKey, OperationClass::Replicate).with(&particulars);
        // Asked once more in the transaction; here, so that a refusal comes before those of the other Region.
        let seen = self.view_key(caller, &request.key_id, &purpose)?;
        let template = KeyRecord {
            description: request.description.clone().unwrap_or_default(),
            creation_date: self.now(),
            enabled: true,
            tags: request.tags.clone(),
            policy,
            family: self.family(&seen).map(|family| family.of_replica()),
            materials: Vec::new(),
            ..KeyRecord::clone(&seen)
        };
        target.authorize_replica(caller, request, &template)?;
        // A former replica whose waiting period is over makes room.
        match target.load(&seen.key_id) {
            Ok(_) | Err(KmsError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        let replica = self.change_key(caller, &request.key_id, &purpose, |record, tx, _| {
            let there = tx.at(&self.locality(&request.replica_region));
            if there.key(&record.key_id)?.is_some() {
                let arn = target.arn(&record.key_id);
                return Err(KmsError::AlreadyExists(format!("{arn} already exists")));
            }
            let mut family = self.family(record).ok_or_else(not_multi_region)?;
            family.replicas.push(request.replica_region.clone());
            family.replicas.sort();
            record.family = Some(family);
            there.put_key(&template)?;
            self.share(tx, record)?;
            there.key(&record.key_id)?.ok_or_else(not_multi_region)
        })?;
        Ok(ReplicateKeyResponse {
            replica_policy: target.policies.of(&replica).text().to_owned(),
            replica_tags: replica.tags.clone(),
            replica_key_metadata: target.metadata(&replica),
        })
    }

    /// A replica is a new key of its Region, so the caller needs there what creating a key needs.
    fn authorize_replica(
        &self,
        caller: &Caller,
        request: &ReplicateKeyRequest,
        template: &KeyRecord,
    ) -> Result<(), KmsError> {
        let bypass = request.bypass_policy_lockout_safety_check;
        let mut particulars = vec![
            (ConditionKey::KeySpec, template.key_spec.as_str().into()),
            (ConditionKey::KeyUsage, template.key_usage.as_str().into()),
            (ConditionKey::KeyOrigin, template.origin.as_str().into()),
            (ConditionKey::MultiRegion, Value::Bool(true)),
            (ConditionKey::MultiRegionKeyType, MultiRegionKeyType::Replica.as_str().into()),
            (ConditionKey::BypassPolicyLockoutSafetyCheck, Value::Bool(bypass)),
        ];
        particulars.extend(tag_particulars(&request.tags));
        self.authorize_other(caller, Action::CreateKey, Resource::Account, &particulars)?;
        if !request.tags.is_empty() {
            let resource = Resource::NewKey(&template.key_id);
            self.authorize_other(caller, Action::TagResource, resource, &particulars)?;
        }
        self.check_new_policy(caller, template, bypass)
    }

    /// Makes a replica the primary; `target` is the service in its Region.
    pub(super) fn update_primary_region(
        &self,
        target: &Self,
        caller: &Caller,
        request: &UpdatePrimaryRegionRequest,
    ) -> Result<UpdatePrimaryRegionResponse, KmsError> {
        let particulars = [(ConditionKey::PrimaryRegion, request.primary_region.as_str().into())];
        let action = Action::UpdatePrimaryRegion;
        let purpose = Purpose::new(action, OperationClass::Replicate).with(&particulars);
        let promotion = Purpose { class: OperationClass::Promote, ..purpose };
        let key_id = self.view_key(caller, &request.key_id, &purpose)?.key_id;
        // The replica has a policy of its own, which has to permit it too.
        target.use_resolved(caller, &key_id, &promotion, None)?;
        self.change_key(caller, &request.key_id, &purpose, |record, tx, now| {
            let there = tx.at(&self.locality(&request.primary_region));
            let arn = target.arn(&key_id);
            let mut primary = there.key(&key_id)?.ok_or_else(|| KmsError::key_not_found(&arn))?;
            states::check(OperationClass::Promote, &primary, &arn, now)?;
            let mut family = self.family(record).ok_or_else(not_multi_region)?;
            let former = std::mem::replace(&mut family.primary, request.primary_region.clone());
            family.replicas.retain(|region| *region != request.primary_region);
            family.replicas.push(former);
            family.replicas.sort();
            record.family = Some(family.of_replica());
            tx.put_key(record)?;
            primary.family = Some(family);
            target.share(&*there, &mut primary)?;
            there.put_key(&primary)?;
            self.reread(tx, record)?;
            Ok(EmptyResponse)
        })
    }

    /// Brings what a primary shares into the records of its replicas, in the transaction that changes it. The record of
    /// the primary itself is left to the caller. Does nothing for any other key.
    pub(super) fn share(&self, tx: &dyn WriteTx, primary: &mut KeyRecord) -> Result<(), KmsError> {
        let Some(family) = primary.family.clone().filter(|family| family.is_primary) else { return Ok(()) };
        let mut replicas = Vec::new();
        for region in &family.replicas {
            let there = tx.at(&self.locality(region));
            if let Some(record) = there.key(&primary.key_id)? {
                replicas.push((there, record));
            }
        }
        let imported_by_all = |material: &MaterialRecord| {
            let has =
                |record: &KeyRecord| record.material(&material.material_id).is_some_and(|one| one.present);
            replicas.iter().all(|(_, record)| has(record))
        };
        for material in primary.materials.iter_mut().filter(|material| material.is_pending()) {
            material.role = match imported_by_all(material) {
                true => KeyMaterialState::PendingRotation,
                false => KeyMaterialState::PendingMultiRegionImportAndRotation,
            };
        }
        for (there, mut replica) in replicas {
            replica.family = Some(family.of_replica());
            replica.rotation = primary.rotation.clone();
            match primary.origin {
                Origin::External => share_roles(&*there, primary, &mut replica)?,
                Origin::AwsKms | Origin::AwsCloudHsm | Origin::ExternalKeyStore => {
                    share_materials(tx, &*there, primary, &mut replica)?;
                }
            }
            there.put_key(&replica)?;
        }
        Ok(())
    }

    /// The same after a change that a replica makes too: an import.
    pub(super) fn share_from_any(&self, tx: &dyn WriteTx, record: &mut KeyRecord) -> Result<(), KmsError> {
        let Some(family) = record.family.clone().filter(|family| !family.is_primary) else {
            return self.share(tx, record);
        };
        tx.put_key(record)?;
        let there = tx.at(&self.locality(&family.primary));
        if let Some(mut primary) = there.key(&record.key_id)? {
            self.share(&*there, &mut primary)?;
            there.put_key(&primary)?;
        }
        self.reread(tx, record)
    }

    fn reread(&self, tx: &dyn WriteTx, record: &mut KeyRecord) -> Result<(), KmsError> {
        let found = tx.key(&record.key_id)?;
        *record = found.ok_or_else(|| KmsError::key_not_found(self.arn(&record.key_id)))?;
        Ok(())
    }

    /// Takes a key that was deleted out of the records of its relatives. A primary that waited for its last replica
    /// begins its own waiting period now, not when the replica was due: whoever wants to keep it has all of that time.
    /// Its ARN is returned then.
    pub(super) fn leave_family(
        &self,
        tx: &dyn WriteTx,
        gone: &KeyRecord,
        now: Timestamp,
    ) -> Result<Option<KeyArn>, KmsError> {
        let Some(family) = gone.family.as_ref().filter(|family| !family.is_primary) else { return Ok(None) };
        let there = tx.at(&self.locality(&family.primary));
        let Some(mut primary) = there.key(&gone.key_id)? else { return Ok(None) };
        let mut begun = None;
        if let Some(family) = &mut primary.family {
            family.replicas.retain(|region| *region != self.realm.region);
            if let (true, Some(window)) = (family.replicas.is_empty(), primary.pending_window_days) {
                primary.pending_window_days = None;
                primary.deletion_date = Some(now.plus_days(i64::from(window)));
                begun = Some(self.arn_in(&family.primary, &gone.key_id));
            }
        }
        self.share(&*there, &mut primary)?;
        there.put_key(&primary)?;
        Ok(begun)
    }
}

fn not_multi_region() -> KmsError {
    KmsError::Internal("a multi-Region key has lost its family".into())
}

/// Gives a replica the materials of its primary, whose handles open in every Region.
fn share_materials(
    tx: &dyn WriteTx,
    there: &dyn WriteTx,
    primary: &KeyRecord,
    replica: &mut KeyRecord,
) -> Result<(), KmsError> {
    let missing = |material: &&MaterialRecord| replica.material(&material.material_id).is_none();
    let missing: Vec<_> =
        primary.materials.iter().filter(missing).map(|material| material.material_id).collect();
    replica.materials.clone_from(&primary.materials);
    if !missing.is_empty() {
        // A handle needs its key, which may be new.
        there.put_key(replica)?;
    }
    for material_id in missing {
        let handle = tx.material_handle(&primary.key_id, &material_id)?.ok_or_else(|| {
            let key_id = primary.key_id;
            KmsError::CorruptRecord(format!("the stored material {material_id} of key {key_id} is missing"))
        })?;
        there.put_material_handle(&primary.key_id, &material_id, &handle)?;
    }
    Ok(())
}

/// Tells a replica which imported materials its primary has, and in which roles. Their bytes are imported into each
/// Region, and expire and are deleted there, apart.
fn share_roles(there: &dyn WriteTx, primary: &KeyRecord, replica: &mut KeyRecord) -> Result<(), KmsError> {
    for material in &primary.materials {
        if replica.material(&material.material_id).is_none() {
            let absent = MaterialRecord::new(material.material_id, material.role);
            replica.materials.push(MaterialRecord { present: false, ..absent });
        }
        if let Some(own) = replica.material_mut(&material.material_id) {
            own.role = material.role;
            own.rotated = material.rotated;
        }
    }
    let gone: Vec<_> = replica.materials.iter().map(|own| own.material_id).collect();
    for material_id in gone.into_iter().filter(|id| primary.material(id).is_none()) {
        there.erase_material_handle(&primary.key_id, &material_id)?;
        replica.materials.retain(|own| own.material_id != material_id);
    }
    Ok(())
}
