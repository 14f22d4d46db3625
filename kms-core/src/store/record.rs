//! What is stored about keys, aliases and grants.

use serde::{Deserialize, Serialize};

use crate::model::{
    AccountId, AliasName, CustomKeyStoreBinding, ExpirationModel, GrantConstraints, GrantId, GrantOperation,
    KeyId, KeyManager, KeyMaterialState, KeySpec, KeyState, KeyUsage, MaterialId, MultiRegionKeyType, Origin,
    Principal, Region, RotationType, Tag, Timestamp,
};
use crate::policy::KeyPolicy;

/// Everything about one KMS key except the bytes of its materials.
///
/// The materials are listed in the record of their key, so that the seal of this one record also says which materials
/// there are, and in which role: a row removed by hand is missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The id.
    pub key_id: KeyId,
    /// The kind of key material.
    pub key_spec: KeySpec,
    /// What the key may be used for.
    pub key_usage: KeyUsage,
    /// Where the material comes from.
    pub origin: Origin,
    /// Who manages the key.
    pub key_manager: KeyManager,
    /// The service whose AWS managed key this is.
    pub managing_service: Option<String>,
    /// What the customer wrote about it.
    pub description: String,
    /// When it was created.
    pub creation_date: Timestamp,
    /// Whether it is switched on. The state also depends on deletion and on the materials.
    pub enabled: bool,
    /// When it will be deleted.
    pub deletion_date: Option<Timestamp>,
    /// Its rotation.
    pub rotation: RotationRecord,
    /// Its materials, oldest first.
    pub materials: Vec<MaterialRecord>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Its policy, parsed when the record is read. Absent where nobody has written one, and in records from before
    /// there were policies: then it has the default policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<KeyPolicy>,
    /// The custom key store that holds its material.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_key_store: Option<CustomKeyStoreBinding>,
    /// Whether that store is not connected. Not part of the record: whoever reads one finds it out.
    #[serde(skip)]
    pub unavailable: bool,
    /// The related keys of a multi-Region key. Absent in others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<FamilyRecord>,
    /// The waiting period of a multi-Region primary, which begins when its last replica is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_window_days: Option<u32>,
}

/// Related multi-Region keys: one key id in several Regions. Each has it in its record, and all change together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyRecord {
    /// Whether the record is that of the primary.
    pub is_primary: bool,
    /// The Region of the primary.
    pub primary: Region,
    /// The Regions of the replicas, in ascending order.
    pub replicas: Vec<Region>,
}

impl FamilyRecord {
    /// That of a new primary.
    pub fn alone(primary: Region) -> Self {
        Self { is_primary: true, primary, replicas: Vec::new() }
    }

    /// The same in the record of a replica.
    pub fn of_replica(&self) -> Self {
        Self { is_primary: false, ..self.clone() }
    }
}

/// The rotation of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationRecord {
    /// The automatic schedule; absent when rotation is off.
    pub schedule: Option<RotationSchedule>,
    /// How often the key was rotated on demand.
    pub on_demand_count: u32,
}

/// The automatic rotation of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationSchedule {
    /// The period.
    pub period_days: u32,
    /// The next rotation.
    pub next_date: Timestamp,
}

/// One key material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaterialRecord {
    /// The id.
    pub material_id: MaterialId,
    /// Its role.
    pub role: KeyMaterialState,
    /// Whether its bytes are in custody. Imported material can be gone.
    pub present: bool,
    /// Whether it expires, if it was imported.
    pub expiration_model: Option<ExpirationModel>,
    /// When it expires.
    pub valid_to: Option<Timestamp>,
    /// What the customer wrote about it.
    pub description: Option<String>,
    /// How it became current; absent for the first one.
    pub rotated: Option<RotationEvent>,
}

/// A rotation that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationEvent {
    /// When.
    pub date: Timestamp,
    /// Why.
    pub kind: RotationType,
}

impl MaterialRecord {
    /// A material that was just made or brought.
    pub fn new(material_id: MaterialId, role: KeyMaterialState) -> Self {
        Self {
            material_id,
            role,
            present: true,
            expiration_model: None,
            valid_to: None,
            description: None,
            rotated: None,
        }
    }

    /// Whether it waits for a rotation. Until then it is not part of its key: it can go without the key missing it.
    pub fn is_pending(&self) -> bool {
        match self.role {
            KeyMaterialState::PendingRotation | KeyMaterialState::PendingMultiRegionImportAndRotation => true,
            KeyMaterialState::Current | KeyMaterialState::NonCurrent => false,
        }
    }

    /// Whether its bytes are here and have not expired.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.present && !self.is_expired(now)
    }

    /// Whether its bytes are here and must go.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.present && self.valid_to.is_some_and(|valid_to| valid_to <= now)
    }
}

impl KeyRecord {
    /// The state at `now`. What is due but was not carried out yet counts as done.
    pub fn state(&self, now: Timestamp) -> KeyState {
        if self.deletion_date.is_some() {
            return KeyState::PendingDeletion;
        }
        if self.pending_window_days.is_some() {
            return KeyState::PendingReplicaDeletion;
        }
        if self.unavailable {
            return KeyState::Unavailable;
        }
        let mut lasting = self.materials.iter().filter(|material| !material.is_pending()).peekable();
        let complete = lasting.peek().is_some() && lasting.all(|material| material.is_usable(now));
        match (self.origin, complete, self.enabled) {
            (Origin::External, false, _) => KeyState::PendingImport,
            (_, _, true) => KeyState::Enabled,
            (_, _, false) => KeyState::Disabled,
        }
    }

    /// The part of a multi-Region key. One from before related keys were recorded is a primary.
    pub fn multi_region_key_type(&self) -> Option<MultiRegionKeyType> {
        let kind = if self.is_replica() { MultiRegionKeyType::Replica } else { MultiRegionKeyType::Primary };
        self.key_id.is_multi_region().then_some(kind)
    }

    /// Whether it is a replica of a multi-Region primary. What they share is changed at the primary alone.
    pub fn is_replica(&self) -> bool {
        self.family.as_ref().is_some_and(|family| !family.is_primary)
    }

    /// Whether the waiting period is over, so that the key counts as gone.
    pub fn is_deleted(&self, now: Timestamp) -> bool {
        self.deletion_date.is_some_and(|date| date <= now)
    }

    /// The material that encrypts.
    pub fn current_material(&self) -> Option<&MaterialRecord> {
        self.materials.iter().find(|material| material.role == KeyMaterialState::Current)
    }

    /// A material by its id.
    pub fn material(&self, material_id: &MaterialId) -> Option<&MaterialRecord> {
        self.materials.iter().find(|material| material.material_id == *material_id)
    }

    /// A material by its id, to change it.
    pub fn material_mut(&mut self, material_id: &MaterialId) -> Option<&mut MaterialRecord> {
        self.materials.iter_mut().find(|material| material.material_id == *material_id)
    }

    /// When something about this key is next due: deletion, expiry of a material, or rotation.
    ///
    /// A key that is not enabled does not rotate, so its rotation is not due however late it is.
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.deletion_date.is_some() {
            // Material may still expire before the key is deleted.
            return self.expiries().chain(self.deletion_date).min();
        }
        let may_rotate = self.enabled
            && self.origin == Origin::AwsKms
            && self.pending_window_days.is_none()
            && !self.is_replica();
        let rotation = self.rotation.schedule.filter(|_| may_rotate).map(|schedule| schedule.next_date);
        self.expiries().chain(rotation).min()
    }

    fn expiries(&self) -> impl Iterator<Item = Timestamp> {
        self.materials.iter().filter(|material| material.present).filter_map(|material| material.valid_to)
    }
}

/// An alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRecord {
    /// The name.
    pub name: AliasName,
    /// The key it points at.
    pub key_id: KeyId,
    /// When it was created.
    pub creation_date: Timestamp,
    /// When it was last pointed at a key.
    pub last_updated_date: Timestamp,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRecord {
    /// The id.
    pub grant_id: GrantId,
    /// The key.
    pub key_id: KeyId,
    /// Who may do something with the key.
    pub grantee: Principal,
    /// Who may retire the grant.
    pub retiring: Option<Principal>,
    /// The account that created it.
    pub issuing_account: AccountId,
    /// What it permits.
    pub operations: Vec<GrantOperation>,
    /// When it permits that.
    pub constraints: GrantConstraints,
    /// The name that makes its creation idempotent.
    pub name: Option<String>,
    /// When it was created.
    pub creation_date: Timestamp,
}
