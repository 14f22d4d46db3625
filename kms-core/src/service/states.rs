//! Which operation is possible in which state: one table, written as one exhaustive match.

use crate::error::KmsError;
use crate::model::{KeyArn, KeySpec, KeyState, Origin, Timestamp};
use crate::store::KeyRecord;

/// Operations that the same states refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationClass {
    /// Everything that uses key material.
    Cryptographic,
    /// `EnableKey`, `DisableKey`.
    Switch,
    /// `ScheduleKeyDeletion`.
    ScheduleDeletion,
    /// `CancelKeyDeletion`.
    CancelDeletion,
    /// `CreateAlias`, `UpdateAlias` (the key it will point at), tags, `UpdateKeyDescription`.
    Annotate,
    /// `CreateGrant`.
    Grant,
    /// `EnableKeyRotation`, `DisableKeyRotation`.
    ConfigureRotation,
    /// `RotateKeyOnDemand`.
    RotateOnDemand,
    /// `ReplicateKey`, and `UpdatePrimaryRegion` as far as it is about the present primary.
    Replicate,
    /// `UpdatePrimaryRegion` as far as it is about the replica that becomes the primary.
    Promote,
    /// `GetParametersForImport`, `ImportKeyMaterial`.
    Import,
    /// `DeleteImportedKeyMaterial`.
    DeleteMaterial,
    /// Everything that only tells: `DescribeKey`, `List*`, `GetKeyRotationStatus`.
    Read,
}

impl OperationClass {
    /// Every class, for tests that go through the whole table.
    pub const ALL: &'static [Self] = &[
        Self::Cryptographic,
        Self::Switch,
        Self::ScheduleDeletion,
        Self::CancelDeletion,
        Self::Annotate,
        Self::Grant,
        Self::ConfigureRotation,
        Self::RotateOnDemand,
        Self::Replicate,
        Self::Promote,
        Self::Import,
        Self::DeleteMaterial,
        Self::Read,
    ];

    /// Whether the operation makes sense for material of this origin at all.
    const fn fits_origin(self, origin: Origin) -> bool {
        match self {
            Self::ConfigureRotation => matches!(origin, Origin::AwsKms),
            Self::RotateOnDemand => matches!(origin, Origin::AwsKms | Origin::External),
            Self::Import | Self::DeleteMaterial => matches!(origin, Origin::External),
            Self::Cryptographic
            | Self::Switch
            | Self::ScheduleDeletion
            | Self::CancelDeletion
            | Self::Annotate
            | Self::Grant
            | Self::Replicate
            | Self::Promote
            | Self::Read => true,
        }
    }

    /// Whether the operation makes sense for this kind of material at all: only symmetric keys rotate.
    const fn fits_spec(self, spec: KeySpec) -> bool {
        match self {
            Self::ConfigureRotation | Self::RotateOnDemand => matches!(spec, KeySpec::SymmetricDefault),
            Self::Cryptographic
            | Self::Switch
            | Self::ScheduleDeletion
            | Self::CancelDeletion
            | Self::Annotate
            | Self::Grant
            | Self::Replicate
            | Self::Promote
            | Self::Import
            | Self::DeleteMaterial
            | Self::Read => true,
        }
    }

    /// Refuses a key that never can be what the operation is about among related multi-Region keys.
    fn check_family(self, record: &KeyRecord, arn: &KeyArn) -> Result<(), KmsError> {
        let refused = |what: &str| Err(KmsError::UnsupportedOperation(format!("{arn} {what}")));
        match self {
            Self::Replicate | Self::Promote if !record.key_id.is_multi_region() => {
                refused("is not a multi-Region key.")
            }
            Self::ConfigureRotation | Self::RotateOnDemand | Self::Replicate if record.is_replica() => {
                refused("is a multi-Region replica key, and this operation is for primary keys.")
            }
            Self::Promote if !record.is_replica() => refused("is a multi-Region primary key already."),
            _ => Ok(()),
        }
    }
}

/// What the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The operation goes on.
    Permitted,
    /// Refused, in the words of the state.
    RefusedByState,
    /// Refused, because only a key that waits for its deletion can be taken back from it.
    NotPendingDeletion,
}

/// The table of states and operations.
pub const fn verdict(operation: OperationClass, state: KeyState) -> Verdict {
    use KeyState::{
        Creating, Disabled, Enabled, PendingDeletion, PendingImport, PendingReplicaDeletion, Unavailable,
        Updating,
    };
    use OperationClass as Op;
    use Verdict::{NotPendingDeletion, Permitted, RefusedByState};

    match (operation, state) {
        (Op::Read, _) => Permitted,
        (Op::Cryptographic, Enabled | Updating) => Permitted,
        (
            Op::Cryptographic,
            Disabled | PendingDeletion | PendingReplicaDeletion | PendingImport | Unavailable | Creating,
        ) => RefusedByState,
        (Op::Switch, Enabled | Disabled | Unavailable) => Permitted,
        (Op::Switch, PendingDeletion | PendingReplicaDeletion | PendingImport | Creating | Updating) => {
            RefusedByState
        }
        (Op::ScheduleDeletion, Enabled | Disabled | PendingImport | Unavailable) => Permitted,
        (Op::ScheduleDeletion, PendingDeletion | PendingReplicaDeletion | Creating | Updating) => {
            RefusedByState
        }
        (Op::CancelDeletion, PendingDeletion | PendingReplicaDeletion) => Permitted,
        (Op::CancelDeletion, Enabled | Disabled | PendingImport | Unavailable | Creating | Updating) => {
            NotPendingDeletion
        }
        (Op::Annotate, Enabled | Disabled | PendingImport | Unavailable | Updating) => Permitted,
        (Op::Annotate, PendingDeletion | PendingReplicaDeletion | Creating) => RefusedByState,
        (Op::Grant, Enabled | Unavailable | Updating) => Permitted,
        (Op::Grant, Disabled | PendingDeletion | PendingReplicaDeletion | PendingImport | Creating) => {
            RefusedByState
        }
        (Op::ConfigureRotation, Enabled) => Permitted,
        (
            Op::ConfigureRotation,
            Disabled
            | PendingDeletion
            | PendingReplicaDeletion
            | PendingImport
            | Unavailable
            | Creating
            | Updating,
        ) => RefusedByState,
        (Op::RotateOnDemand | Op::Replicate | Op::Promote, Enabled) => Permitted,
        (
            Op::RotateOnDemand | Op::Replicate | Op::Promote,
            Disabled
            | PendingDeletion
            | PendingReplicaDeletion
            | PendingImport
            | Unavailable
            | Creating
            | Updating,
        ) => RefusedByState,
        (Op::Import, Enabled | Disabled | PendingImport) => Permitted,
        (Op::Import, PendingDeletion | PendingReplicaDeletion | Unavailable | Creating | Updating) => {
            RefusedByState
        }
        (
            Op::DeleteMaterial,
            Enabled | Disabled | PendingImport | PendingDeletion | PendingReplicaDeletion,
        ) => Permitted,
        (Op::DeleteMaterial, Unavailable | Creating | Updating) => RefusedByState,
    }
}

/// Refuses an operation on `record` that its origin, its family, its state at `now` or its spec does not permit: in this
/// order, in which AWS reports a disabled asymmetric key as disabled, and not as one that never rotates.
pub(super) fn check(
    operation: OperationClass,
    record: &KeyRecord,
    arn: &KeyArn,
    now: Timestamp,
) -> Result<(), KmsError> {
    if !operation.fits_origin(record.origin) {
        return Err(KmsError::wrong_origin(arn, record.origin));
    }
    operation.check_family(record, arn)?;
    let state = record.state(now);
    match verdict(operation, state) {
        Verdict::Permitted if !operation.fits_spec(record.key_spec) => {
            Err(KmsError::wrong_spec(arn, record.key_spec))
        }
        Verdict::Permitted => Ok(()),
        Verdict::RefusedByState => Err(KmsError::wrong_state(arn, state)),
        Verdict::NotPendingDeletion => {
            Err(KmsError::KmsInvalidState(format!("{arn} is not pending deletion.")))
        }
    }
}
