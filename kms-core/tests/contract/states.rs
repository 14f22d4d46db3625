//! Every operation in every state, against a table written down by hand from the AWS documentation.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;
use kms_core::service::{OperationClass, Verdict, verdict};
use kms_core::wire;

use crate::fixture::{Fixture, context};
use crate::kinds::create_request;
use crate::refusals;

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
    /// There is no such key.
    Absent,
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
    refusals::import(fixture, key_id, &refusals::material(fixture, KeySpec::SymmetricDefault))
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

fn generate_pair(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let request = GenerateDataKeyPairRequest::new(key_id, DataKeyPairSpec::EccNistP256, context());
    fixture.kms.generate_data_key_pair(&fixture.caller, &request).map(drop)
}

fn generate_pair_without(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let request = GenerateDataKeyPairRequest::new(key_id, DataKeyPairSpec::EccNistP256, context());
    fixture.kms.generate_data_key_pair_without_plaintext(&fixture.caller, &request).map(drop)
}

fn get_public_key(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    fixture.kms.get_public_key(&fixture.caller, &GetPublicKeyRequest::new(key_id)).map(drop)
}

fn delete_alias(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let request = DeleteAliasRequest { alias_name: own_alias(key_id) };
    fixture.kms.delete_alias(&fixture.caller, &request).map(drop)
}

fn list_aliases(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let request = ListAliasesRequest { key_id: Some(key_id.into()), page: Page::default() };
    let listed = fixture.kms.list_aliases(&fixture.caller, &request)?.aliases;
    assert_eq!(listed.iter().map(|one| &one.alias_name).collect::<Vec<_>>(), [&own_alias(key_id)]);
    Ok(())
}

fn tag(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let tags = vec![Tag { key: "a".into(), value: "1".into() }];
    let request = TagResourceRequest { key_id: key_id.into(), tags };
    fixture.kms.tag_resource(&fixture.caller, &request).map(drop)
}

fn untag(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let request = UntagResourceRequest { key_id: key_id.into(), tag_keys: vec!["a".into()] };
    fixture.kms.untag_resource(&fixture.caller, &request).map(drop)
}

fn list_tags(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let request = ListResourceTagsRequest { key_id: key_id.into(), page: Page::default() };
    fixture.kms.list_resource_tags(&fixture.caller, &request).map(drop)
}

fn revoke_grant(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let grant_id = own_grant(fixture, key_id);
    let request = RevokeGrantRequest { key_id: key_id.into(), grant_id, dry_run: false };
    fixture.kms.revoke_grant(&fixture.caller, &request).map(drop)
}

fn retire_grant(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let grant_id = Some(own_grant(fixture, key_id));
    let request =
        RetireGrantRequest { grant_token: None, key_id: Some(key_id.into()), grant_id, dry_run: false };
    fixture.kms.retire_grant(&fixture.caller, &request).map(drop)
}

fn get_policy(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let request = GetKeyPolicyRequest { key_id: key_id.into(), policy_name: None };
    fixture.kms.get_key_policy(&fixture.caller, &request).map(drop)
}

fn list_policies(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let request = ListKeyPoliciesRequest { key_id: key_id.into(), page: Page::default() };
    fixture.kms.list_key_policies(&fixture.caller, &request).map(drop)
}

fn disable_rotation(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    fixture.kms.disable_key_rotation(&fixture.caller, &KeyOnlyRequest::new(key_id)).map(drop)
}

fn rotate(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    match fixture.rotate(key_id) {
        // An imported key is in the right state even if it has nothing to rotate to.
        Err(KmsError::KmsInvalidState(text)) if text.starts_with("No available key material") => Ok(()),
        other => other,
    }
}

fn rotation_status(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    fixture.kms.get_key_rotation_status(&fixture.caller, &KeyOnlyRequest::new(key_id)).map(drop)
}

fn last_usage(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    fixture.kms.get_key_last_usage(&fixture.caller, &KeyOnlyRequest::new(key_id)).map(drop)
}

fn replicate(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let request = ReplicateKeyRequest::new(key_id, "eu-west-1".parse().expect("a Region"));
    fixture.kms.replicate_key(&fixture.caller, &request).map(drop)
}

fn promote(fixture: &Fixture, key_id: KeyId) -> Result<(), KmsError> {
    let primary_region = "eu-west-1".parse().expect("a Region");
    let request = UpdatePrimaryRegionRequest { key_id: key_id.into(), primary_region };
    fixture.kms.update_primary_region(&fixture.caller, &request).map(drop)
}

/// The keys that a row is tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Symmetric,
    Hmac,
    Signing,
    Agreeing,
    Encapsulating,
    MultiRegion,
    /// A multi-Region primary with a replica.
    Related,
}

impl Kind {
    fn spec(self) -> (KeySpec, KeyUsage) {
        match self {
            Self::Symmetric | Self::MultiRegion | Self::Related => {
                (KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt)
            }
            Self::Hmac => (KeySpec::Hmac256, KeyUsage::GenerateVerifyMac),
            Self::Signing => (KeySpec::EccNistP256, KeyUsage::SignVerify),
            Self::Agreeing => (KeySpec::EccNistP256, KeyUsage::KeyAgreement),
            Self::Encapsulating => (KeySpec::MlKem768, KeyUsage::EncapsulateDecapsulate),
        }
    }
}

fn own_alias(key_id: KeyId) -> AliasName {
    format!("alias/own/{key_id}").parse().expect("valid")
}

/// The grant that every key of the table was given.
fn own_grant(fixture: &Fixture, key_id: KeyId) -> GrantId {
    fixture.grants(key_id)[0].grant_id
}

type Row = (&'static str, Kind, Operation, [End; 8]);

/// Each operation on a key, and its ends, for: generated E, D, PD, PRD; imported E, D, PD, PI.
#[rustfmt::skip]
const TABLE: &[Row] = {
    use End::{Absent as X, Disabled as D, NotPending as N, Ok as K, Origin as O, State as S};
    use Kind::{Agreeing, Encapsulating, Hmac, MultiRegion, Related, Signing, Symmetric};
    &[
        ("Encrypt", Symmetric, |f, k| f.encrypt(k, b"x").map(drop), [K, D, S, S, K, D, S, S]),
        ("Decrypt", Symmetric, decrypt_any, [K, D, S, S, K, D, S, S]),
        ("ReEncrypt", Symmetric, re_encrypt_to, [K, D, S, S, K, D, S, S]),
        ("GenerateDataKey", Symmetric, generate, [K, D, S, S, K, D, S, S]),
        ("GenerateDataKeyWithoutPlaintext", Symmetric, generate_without, [K, D, S, S, K, D, S, S]),
        ("GenerateDataKeyPair", Symmetric, generate_pair, [K, D, S, S, K, D, S, S]),
        ("GenerateDataKeyPairWithoutPlaintext", Symmetric, generate_pair_without, [K, D, S, S, K, D, S, S]),
        ("GenerateMac", Hmac, |f, k| refusals::generate_mac(f, k, false), [K, D, S, S, K, D, S, S]),
        ("VerifyMac", Hmac, |f, k| refusals::verify_mac(f, k, false), [K, D, S, S, K, D, S, S]),
        ("Sign", Signing, |f, k| refusals::sign(f, k, false), [K, D, S, S, K, D, S, S]),
        ("Verify", Signing, |f, k| refusals::verify(f, k, false), [K, D, S, S, K, D, S, S]),
        ("GetPublicKey", Signing, get_public_key, [K, D, S, S, K, D, S, S]),
        ("DeriveSharedSecret", Agreeing, |f, k| refusals::derive(f, k, false), [K, D, S, S, K, D, S, S]),
        ("Encapsulate", Encapsulating, |f, k| refusals::encapsulate(f, k, false), [K, D, S, S, K, D, S, S]),
        ("Decapsulate", Encapsulating, |f, k| refusals::decapsulate(f, k, false), [K, D, S, S, K, D, S, S]),
        ("EnableKey", Symmetric, |f, k| f.enable(k), [K, K, S, S, K, K, S, S]),
        ("DisableKey", Symmetric, |f, k| f.disable(k), [K, K, S, S, K, K, S, S]),
        ("ScheduleKeyDeletion", Symmetric, |f, k| f.schedule_deletion(k, 7), [K, K, S, S, K, K, S, K]),
        ("CancelKeyDeletion", Symmetric, |f, k| f.cancel_deletion(k), [N, N, K, K, N, N, K, N]),
        ("UpdateKeyDescription", Symmetric, describe_update, [K, K, S, S, K, K, S, K]),
        ("CreateAlias", Symmetric, |f, k| f.create_alias("alias/new", k), [K, K, S, S, K, K, S, K]),
        ("UpdateAlias", Symmetric, update_alias, [K, K, S, S, K, K, S, K]),
        ("DeleteAlias", Symmetric, delete_alias, [K, K, K, K, K, K, K, K]),
        ("ListAliases", Symmetric, list_aliases, [K, K, K, K, K, K, K, K]),
        ("TagResource", Symmetric, tag, [K, K, S, S, K, K, S, K]),
        ("UntagResource", Symmetric, untag, [K, K, S, S, K, K, S, K]),
        ("ListResourceTags", Symmetric, list_tags, [K, K, K, K, K, K, K, K]),
        ("CreateGrant", Symmetric, |f, k| f.kms.create_grant(&f.caller, &grant(k)).map(drop), [K, D, S, S, K, D, S, S]),
        ("ListGrants", Symmetric, |f, k| { own_grant(f, k); Ok(()) }, [K, K, K, K, K, K, K, K]),
        ("RevokeGrant", Symmetric, revoke_grant, [K, K, K, K, K, K, K, K]),
        ("RetireGrant", Symmetric, retire_grant, [K, K, K, K, K, K, K, K]),
        ("PutKeyPolicy", Symmetric, put_policy, [K, K, K, K, K, K, K, K]),
        ("GetKeyPolicy", Symmetric, get_policy, [K, K, K, K, K, K, K, K]),
        ("ListKeyPolicies", Symmetric, list_policies, [K, K, K, K, K, K, K, K]),
        ("EnableKeyRotation", Symmetric, |f, k| f.enable_rotation(k, None), [K, D, S, S, O, O, O, O]),
        ("DisableKeyRotation", Symmetric, disable_rotation, [K, D, S, S, O, O, O, O]),
        ("RotateKeyOnDemand", Symmetric, rotate, [K, D, S, S, K, D, S, S]),
        ("GetKeyRotationStatus", Symmetric, rotation_status, [K, K, K, K, K, K, K, K]),
        ("ListKeyRotations", Symmetric, |f, k| { f.materials(k); Ok(()) }, [K, K, K, K, K, K, K, K]),
        ("GetParametersForImport", Symmetric, |f, k| f.parameters(k).map(drop), [O, O, O, O, K, K, S, K]),
        ("ImportKeyMaterial", Symmetric, import_again, [O, O, O, O, K, K, S, K]),
        ("DeleteImportedKeyMaterial", Symmetric, |f, k| f.delete_material(k, None), [O, O, O, O, K, K, K, K]),
        ("DescribeKey", Symmetric, |f, k| { f.describe(k); Ok(()) }, [K, K, K, K, K, K, K, K]),
        ("GetKeyLastUsage", Symmetric, last_usage, [K, K, K, K, K, K, K, K]),
        ("ReplicateKey", MultiRegion, replicate, [K, D, S, S, K, D, S, S]),
        // A primary with a replica never is pending deletion.
        ("UpdatePrimaryRegion", Related, promote, [K, D, X, S, X, X, X, X]),
    ]
};

/// Operations that are about no key that could be in a state.
const WITHOUT_A_KEY: &[&str] = &["CreateKey", "ListKeys", "ListRetirableGrants", "GenerateRandom"];

#[test]
fn the_table_has_every_operation() {
    let mut told: Vec<_> = TABLE.iter().map(|row| row.0).chain(WITHOUT_A_KEY.iter().copied()).collect();
    let about_stores = |name: &&str| name.contains("CustomKeyStore");
    let mut served: Vec<_> =
        wire::operations().map(|one| one.name()).filter(|name| !about_stores(name)).collect();
    told.sort_unstable();
    served.sort_unstable();
    assert_eq!(told, served);
    assert_eq!(served.len(), 50);
}

/// A fresh key of a kind in one of the eight columns, with an alias and a grant.
fn key_in_column(fixture: &Fixture, kind: Kind, column: usize) -> KeyId {
    let (spec, usage) = kind.spec();
    let related = kind == Kind::Related || column == 3;
    let imported = column >= 4;
    let key_id = fixture.create_with(CreateKeyRequest {
        origin: imported.then_some(Origin::External),
        multi_region: related || kind == Kind::MultiRegion,
        ..create_request(spec, usage)
    });
    if imported {
        let material = refusals::material(fixture, spec);
        refusals::import(fixture, key_id, &material).expect("imports");
    }
    fixture.create_alias(own_alias(key_id).as_str(), key_id).expect("creates");
    let request = CreateGrantRequest {
        retiring_principal: Some(fixture.caller.principal.to_string()),
        ..CreateGrantRequest::new(key_id, fixture.caller.principal.as_str(), [grantable(usage)])
    };
    fixture.kms.create_grant(&fixture.caller, &request).expect("grants");
    if related {
        replicate(fixture, key_id).expect("replicates");
    }
    match column {
        1 | 5 => fixture.disable(key_id).expect("disables"),
        2 | 3 | 6 => fixture.schedule_deletion(key_id, 7).expect("schedules"),
        7 => fixture.delete_material(key_id, None).expect("deletes"),
        _ => {}
    }
    key_id
}

fn grantable(usage: KeyUsage) -> GrantOperation {
    match usage {
        KeyUsage::EncryptDecrypt => GrantOperation::Decrypt,
        KeyUsage::SignVerify => GrantOperation::Verify,
        KeyUsage::GenerateVerifyMac => GrantOperation::VerifyMac,
        KeyUsage::KeyAgreement => GrantOperation::DeriveSharedSecret,
        KeyUsage::EncapsulateDecapsulate => GrantOperation::Decapsulate,
    }
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
                || text == format!("{arn} is pending replica deletion.")
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
    for (name, kind, operation, ends) in TABLE {
        let fixture = Fixture::in_memory();
        for (column, expected) in ends.iter().enumerate().filter(|(_, end)| **end != End::Absent) {
            let key_id = key_in_column(&fixture, *kind, column);
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
fn only_a_key_in_use_does_cryptography() {
    for state in KeyState::ALL {
        let permitted = verdict(OperationClass::Cryptographic, *state) == Verdict::Permitted;
        // While its primary Region changes a key stays usable.
        let expected = matches!(state, KeyState::Enabled | KeyState::Updating);
        assert_eq!(permitted, expected, "{state}");
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
    for column in 0..8 {
        let metadata = fixture.describe(key_in_column(&fixture, Kind::Symmetric, column));
        assert_eq!(metadata.enabled(), metadata.key_state == KeyState::Enabled);
        let expected = match column {
            0 | 4 => KeyState::Enabled,
            1 | 5 => KeyState::Disabled,
            2 | 6 => KeyState::PendingDeletion,
            3 => KeyState::PendingReplicaDeletion,
            _ => KeyState::PendingImport,
        };
        assert_eq!(metadata.key_state, expected);
    }
}
