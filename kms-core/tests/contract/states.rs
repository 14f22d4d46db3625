//! Every operation in every state, against a table written down by hand from the AWS documentation.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;
use kms_core::service::{OperationClass, Verdict, verdict};

use crate::fixture::{Fixture, context};

/// How an operation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ok,
    /// `DisabledException`: `<arn> is disabled.`
    Disabled,
    /// `KMSInvalidStateException` in the words of the state.
    State,
    /// `KMSInvalidStateException`: `<arn> is not pending deletion.`
    NotPending,
    /// `UnsupportedOperationException`: the origin.
    Origin,
}

type Operation = fn(&Fixture, KeyId) -> Result<(), KmsError>;

fn decrypt_any(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    // A blob of this key with a damaged tag: the state is reported before the ciphertext is opened.
    let mut bytes = vec![1, 1];
    bytes.extend_from_slice(&key_id.to_bytes());
    bytes.resize(120, 0);
    match fixture.kms.decrypt(&fixture.caller, &DecryptRequest::new(bytes.into(), context())) {
        Err(KmsError::InvalidCiphertext(_)) => Ok(()),
        other => other.map(drop),
    }
}

fn generate(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    fixture
        .kms
        .generate_data_key(&fixture.caller, &GenerateDataKeyRequest::aes_256(key_id, context()))
        .map(drop)
}

fn generate_without(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let request = GenerateDataKeyRequest::aes_256(key_id, context());
    fixture.kms.generate_data_key_without_plaintext(&fixture.caller, &request).map(drop)
}

fn re_encrypt_to(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let source = fixture.create();
    let blob = fixture.encrypt(source, b"x").expect("encrypts");
    fixture.kms.re_encrypt(&fixture.caller, &ReEncryptRequest::new(blob, context(), key_id)).map(drop)
}

fn describe_update(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let request = UpdateKeyDescriptionRequest { key_id: key_id.into(), description: "d".into() };
    fixture.kms.update_key_description(&fixture.caller, &request).map(drop)
}

fn update_alias(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let old = fixture.create();
    fixture.create_alias("alias/moving", old).expect("creates");
    let alias_name: AliasName = "alias/moving".parse().expect("valid");
    let request = UpdateAliasRequest { alias_name: alias_name.clone(), target_key_id: key_id.into() };
    fixture.kms.update_alias(&fixture.caller, &request).map(drop)
}

fn import_again(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    fixture.import(key_id, [1; 32], |_| {}).map(drop)
}

fn grant(key_id: KeyId) -> CreateGrantRequest {
    CreateGrantRequest::new(key_id, "arn:aws:iam::444455556666:user/eve", [GrantOperation::Decrypt])
}

fn put_policy(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let request = GetKeyPolicyRequest { key_id: key_id.into(), policy_name: None };
    let policy = fixture.kms.get_key_policy(&fixture.caller, &request)?.policy;
    let request = PutKeyPolicyRequest {
        key_id: key_id.into(),
        policy_name: None,
        policy,
        bypass_policy_lockout_safety_check: false,
    };
    fixture.kms.put_key_policy(&fixture.caller, &request).map(drop)
}

const OPERATIONS: &[(&str, Operation)] = &[
    ("Encrypt", |f, k| f.encrypt(k, b"x").map(drop)),
    ("Decrypt", decrypt_any),
    ("GenerateDataKey", generate),
    ("GenerateDataKeyWithoutPlaintext", generate_without),
    ("ReEncrypt", re_encrypt_to),
    ("EnableKey", |f, k| f.enable(k)),
    ("DisableKey", |f, k| f.disable(k)),
    ("ScheduleKeyDeletion", |f, k| f.schedule_deletion(k, 7)),
    ("CancelKeyDeletion", |f, k| f.cancel_deletion(k)),
    ("UpdateKeyDescription", describe_update),
    ("CreateAlias", |f, k| f.create_alias("alias/new", k)),
    ("UpdateAlias", update_alias),
    ("TagResource", |f, k| {
        let tags = vec![Tag { key: "a".into(), value: "1".into() }];
        f.kms.tag_resource(&f.caller, &TagResourceRequest { key_id: k.into(), tags }).map(drop)
    }),
    ("UntagResource", |f, k| {
        let tag_keys = vec!["a".into()];
        f.kms.untag_resource(&f.caller, &UntagResourceRequest { key_id: k.into(), tag_keys }).map(drop)
    }),
    ("CreateGrant", |f, k| f.kms.create_grant(&f.caller, &grant(k)).map(drop)),
    ("PutKeyPolicy", put_policy),
    ("GetKeyPolicy", |f, k| {
        f.kms
            .get_key_policy(&f.caller, &GetKeyPolicyRequest { key_id: k.into(), policy_name: None })
            .map(drop)
    }),
    ("ListKeyPolicies", |f, k| {
        let request = ListKeyPoliciesRequest { key_id: k.into(), page: Page::default() };
        f.kms.list_key_policies(&f.caller, &request).map(drop)
    }),
    ("ListResourceTags", |f, k| {
        let request = ListResourceTagsRequest { key_id: k.into(), page: Page::default() };
        f.kms.list_resource_tags(&f.caller, &request).map(drop)
    }),
    ("EnableKeyRotation", |f, k| f.enable_rotation(k, None)),
    ("DisableKeyRotation", |f, k| f.kms.disable_key_rotation(&f.caller, &KeyOnlyRequest::new(k)).map(drop)),
    ("RotateKeyOnDemand", |f, k| match f.rotate(k) {
        // An imported key is in the right state even if it has nothing to rotate to.
        Err(KmsError::KmsInvalidState(text)) if text.starts_with("No available key material") => Ok(()),
        other => other,
    }),
    ("GetParametersForImport", |f, k| f.parameters(k).map(drop)),
    ("ImportKeyMaterial", import_again),
    ("DeleteImportedKeyMaterial", |f, k| f.delete_material(k, None)),
    ("DescribeKey", |f, k| {
        f.describe(k);
        Ok(())
    }),
    ("GetKeyRotationStatus", |f, k| {
        f.kms.get_key_rotation_status(&f.caller, &KeyOnlyRequest::new(k)).map(drop)
    }),
    ("ListKeyRotations", |f, k| {
        f.materials(k);
        Ok(())
    }),
];

/// The ends in the order of `OPERATIONS`, for: generated E, D, PD; imported E, D, PD, PI.
#[rustfmt::skip]
const TABLE: &[[End; 7]] = {
    use End::{Disabled as D, NotPending as N, Ok as K, Origin as O, State as S};
    &[
        [K, D, S, K, D, S, S], // Encrypt
        [K, D, S, K, D, S, S], // Decrypt
        [K, D, S, K, D, S, S], // GenerateDataKey
        [K, D, S, K, D, S, S], // GenerateDataKeyWithoutPlaintext
        [K, D, S, K, D, S, S], // ReEncrypt
        [K, K, S, K, K, S, S], // EnableKey
        [K, K, S, K, K, S, S], // DisableKey
        [K, K, S, K, K, S, K], // ScheduleKeyDeletion
        [N, N, K, N, N, K, N], // CancelKeyDeletion
        [K, K, S, K, K, S, K], // UpdateKeyDescription
        [K, K, S, K, K, S, K], // CreateAlias
        [K, K, S, K, K, S, K], // UpdateAlias
        [K, K, S, K, K, S, K], // TagResource
        [K, K, S, K, K, S, K], // UntagResource
        [K, D, S, K, D, S, S], // CreateGrant
        [K, K, K, K, K, K, K], // PutKeyPolicy
        [K, K, K, K, K, K, K], // GetKeyPolicy
        [K, K, K, K, K, K, K], // ListKeyPolicies
        [K, K, K, K, K, K, K], // ListResourceTags
        [K, D, S, O, O, O, O], // EnableKeyRotation
        [K, D, S, O, O, O, O], // DisableKeyRotation
        [K, D, S, K, D, S, S], // RotateKeyOnDemand
        [O, O, O, K, K, S, K], // GetParametersForImport
        [O, O, O, K, K, S, K], // ImportKeyMaterial
        [O, O, O, K, K, K, K], // DeleteImportedKeyMaterial
        [K, K, K, K, K, K, K], // DescribeKey
        [K, K, K, K, K, K, K], // GetKeyRotationStatus
        [K, K, K, K, K, K, K], // ListKeyRotations
    ]
};

/// A fresh key in one of the seven columns.
fn key_in_column(fixture: &Fixture, column: usize) -> KeyId {
    let key_id = if column < 3 { fixture.create() } else { fixture.create_imported([1; 32]) };
    match column % 3 {
        _ if column == 6 => fixture.delete_material(key_id, None).expect("deletes"),
        1 => fixture.disable(key_id).expect("disables"),
        2 => fixture.schedule_deletion(key_id, 7).expect("schedules"),
        _ => {}
    }
    key_id
}

fn end_of(fixture: &Fixture, key_id: KeyId, result: Result<(), KmsError>) -> End {
    let arn = fixture.arn(key_id);
    match result {
        Ok(()) => End::Ok,
        Err(KmsError::Disabled(text)) if text == format!("{arn} is disabled.") => End::Disabled,
        Err(KmsError::KmsInvalidState(text)) if text == format!("{arn} is not pending deletion.") => {
            End::NotPending
        }
        Err(KmsError::KmsInvalidState(text))
            if text == format!("{arn} is pending deletion.")
                || text == format!("{arn} is pending import.") =>
        {
            End::State
        }
        Err(KmsError::UnsupportedOperation(text)) if text.contains(" origin is ") => End::Origin,
        Err(other) => panic!("unexpected refusal: {other}"),
    }
}

#[test]
fn every_operation_in_every_state() {
    assert_eq!(OPERATIONS.len(), TABLE.len());
    for ((name, operation), row) in OPERATIONS.iter().zip(TABLE) {
        let fixture = Fixture::in_memory();
        for (column, expected) in row.iter().enumerate() {
            let key_id = key_in_column(&fixture, column);
            let result = operation(&fixture, key_id);
            assert_eq!(end_of(&fixture, key_id, result), *expected, "{name} in column {column}");
            for alias in ["alias/new", "alias/moving"] {
                let request = DeleteAliasRequest { alias_name: alias.parse().expect("valid") };
                // Works in every state of the key; the alias may not exist.
                let _ = fixture.kms.delete_alias(&fixture.caller, &request);
            }
        }
    }
}

#[test]
fn only_an_enabled_key_does_cryptography() {
    for state in KeyState::ALL {
        let permitted = verdict(OperationClass::Cryptographic, *state) == Verdict::Permitted;
        assert_eq!(permitted, *state == KeyState::Enabled, "{state}");
    }
}

#[test]
fn nothing_but_reading_and_cancelling_is_permitted_while_creating() {
    for class in OperationClass::ALL {
        let permitted = verdict(*class, KeyState::Creating) == Verdict::Permitted;
        assert_eq!(permitted, *class == OperationClass::Read, "{class:?}");
        assert_eq!(verdict(OperationClass::Read, KeyState::Creating), Verdict::Permitted);
    }
}

#[test]
fn metadata_tells_the_state_and_enabled_only_in_enabled() {
    let fixture = Fixture::in_memory();
    for column in 0..7 {
        let metadata = fixture.describe(key_in_column(&fixture, column));
        assert_eq!(metadata.enabled(), metadata.key_state == KeyState::Enabled);
        let expected = match column {
            0 | 3 => KeyState::Enabled,
            1 | 4 => KeyState::Disabled,
            2 | 5 => KeyState::PendingDeletion,
            _ => KeyState::PendingImport,
        };
        assert_eq!(metadata.key_state, expected);
    }
}
