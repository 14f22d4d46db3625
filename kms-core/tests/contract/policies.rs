//! Key policies, policies of callers, and what follows from both.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;
use kms_core::policy::IdentityPolicy;

use crate::fixture::{Fixture, context, local, service};

const OTHER: &str = "444455556666";

fn put(fixture: &Fixture, caller: &Caller, key_id: KeyId, policy: &str) -> Result<(), KmsError> {
    let request = PutKeyPolicyRequest {
        key_id: key_id.into(),
        policy_name: None,
        policy: policy.into(),
        bypass_policy_lockout_safety_check: false,
    };
    fixture.kms.put_key_policy(caller, &request).map(drop)
}

fn get(fixture: &Fixture, key_id: KeyId, name: Option<&str>) -> Result<String, KmsError> {
    let request = GetKeyPolicyRequest { key_id: key_id.into(), policy_name: name.map(str::to_owned) };
    Ok(fixture.kms.get_key_policy(&fixture.caller, &request)?.policy)
}

/// A policy that leaves everything to the account, and has another statement.
fn with(statement: &str) -> String {
    let root =
        r#"{"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "kms:*", "Resource": "*"}"#;
    format!(r#"{{"Version": "2012-10-17", "Statement": [{root}, {statement}]}}"#)
}

fn identity(statements: &str) -> [IdentityPolicy; 1] {
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": {statements}}}"#);
    [IdentityPolicy::parse(&text).expect("parses")]
}

fn eve() -> Caller {
    Caller::local(OTHER.parse().expect("an account"), "eve")
}

fn encrypt(fixture: &Fixture, caller: &Caller, key_id: KeyId) -> Result<(), KmsError> {
    let request = EncryptRequest::new(key_id, Plaintext::copy_of(b"x"), context());
    fixture.kms.encrypt(caller, &request).map(drop)
}

fn denied(result: Result<(), KmsError>, ending: &str) {
    match result {
        Err(KmsError::AccessDenied(message)) => assert!(message.ends_with(ending), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_without_a_policy_has_the_default_policy_of_aws() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let expected = "{\n  \"Version\" : \"2012-10-17\",\n  \"Id\" : \"key-default-1\",\n  \"Statement\" : [ {\n    \
                    \"Sid\" : \"Enable IAM User Permissions\",\n    \"Effect\" : \"Allow\",\n    \"Principal\" : {\n      \
                    \"AWS\" : \"arn:aws:iam::000000000000:root\"\n    },\n    \"Action\" : \"kms:*\",\n    \
                    \"Resource\" : \"*\"\n  } ]\n}";
    assert_eq!(get(&fixture, key_id, Some("default")), Ok(expected.to_owned()));
    assert_eq!(get(&fixture, key_id, Some("other")), Err(KmsError::NotFound("No such policy exists".into())));
    let request = ListKeyPoliciesRequest { key_id: key_id.into(), page: Page::default() };
    let listed = fixture.kms.list_key_policies(&fixture.caller, &request).expect("lists");
    assert_eq!((listed.policy_names, listed.next_marker), (vec!["default".to_owned()], None));
}

#[test]
fn a_written_policy_holds_at_once_and_for_every_process() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    let other = fixture.reopen();
    let request = EncryptRequest::new(key_id, Plaintext::copy_of(b"x"), context());
    other.encrypt(&fixture.caller, &request).expect("the default policy allows");
    let policy = with(r#"{"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"}"#);
    put(&fixture, &fixture.caller, key_id, &policy).expect("puts");
    for kms in [&fixture.kms, &other, &fixture.reopen()] {
        let refused = kms.encrypt(&fixture.caller, &request).map(drop);
        denied(refused, "with an explicit deny in a resource-based policy");
    }
    assert_eq!(get(&fixture, key_id, None), Ok(policy));
}

#[test]
fn a_policy_may_come_with_the_key_and_is_kept_as_it_was_written() {
    for fixture in Fixture::on_every_store() {
        let policy = with(
            r#"{"Sid": "a", "Effect": "Allow", "Principal": "*", "Action": "kms:Sign", "Resource": "*"}"#,
        );
        let key_id =
            fixture.create_with(CreateKeyRequest { policy: Some(policy.clone()), ..Default::default() });
        assert_eq!(get(&fixture, key_id, None), Ok(policy));
    }
}

#[test]
fn a_policy_that_locks_its_author_out_is_refused_unless_that_is_wanted() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let ann = r#"{"Statement": {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:user/ann"}, "Action": "kms:*", "Resource": "*"}}"#;
    let message = "The new key policy will not allow you to update the key policy in the future.";
    let refused = Err(KmsError::MalformedPolicyDocument(message.into()));
    assert_eq!(put(&fixture, &fixture.caller, key_id, ann), refused);
    let new = CreateKeyRequest { policy: Some(ann.into()), ..Default::default() };
    assert_eq!(fixture.kms.create_key(&fixture.caller, &new).map(drop), refused);
    let bypassed = CreateKeyRequest { bypass_policy_lockout_safety_check: true, ..new };
    let key_id = fixture.create_with(bypassed);
    denied(
        encrypt(&fixture, &fixture.caller, key_id),
        "because no resource-based policy allows the kms:Encrypt action",
    );
    let ann = Caller::local(AccountId::local(), "ann");
    encrypt(&fixture, &ann, key_id).expect("named by the policy");
    // What the caller's own policies say can change without the key, so it does not count.
    let only_create = identity(r#"{"Effect": "Allow", "Action": "kms:CreateKey", "Resource": "*"}"#);
    let request = CreateKeyRequest {
        policy: Some(with(r#"{"Effect": "Deny", "Principal": "*", "Action": "kms:Sign", "Resource": "*"}"#)),
        ..Default::default()
    };
    fixture.kms.create_key(&local().with_policies(only_create), &request).expect("creates");
}

#[test]
fn malformed_policies_are_refused_with_their_place() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let refused = put(
        &fixture,
        &fixture.caller,
        key_id,
        &with(r#"{"Effect": "Allow", "Principal": {"AWS": "bob"}, "Action": "*", "Resource": "*"}"#),
    );
    let message =
        "Statement[1].Principal.AWS: Policy contains a statement with one or more invalid principals.";
    assert_eq!(refused, Err(KmsError::MalformedPolicyDocument(message.into())));
    assert!(matches!(put(&fixture, &fixture.caller, key_id, "{"), Err(KmsError::MalformedPolicyDocument(_))));
    for text in ["", "\u{1}", "\u{1F600}", &" ".repeat(131_073)] {
        let refused = put(&fixture, &fixture.caller, key_id, text);
        assert!(matches!(refused, Err(KmsError::Validation(_))), "{refused:?}");
    }
    assert!(matches!(
        put(&fixture, &fixture.caller, key_id, &" ".repeat(32_769)),
        Err(KmsError::LimitExceeded(_))
    ));
    let request = PutKeyPolicyRequest {
        key_id: key_id.into(),
        policy_name: Some("mine".into()),
        policy: with(r#"{"Effect": "Deny", "Principal": "*", "Action": "kms:Sign", "Resource": "*"}"#),
        bypass_policy_lockout_safety_check: false,
    };
    let refused = fixture.kms.put_key_policy(&fixture.caller, &request);
    assert_eq!(refused, Err(KmsError::NotFound("No such policy exists".into())));
}

#[test]
fn the_account_decides_with_the_policies_of_its_users() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let none = local().with_policies(Vec::new());
    denied(
        encrypt(&fixture, &none, key_id),
        "because no identity-based policy allows the kms:Encrypt action",
    );
    let arn = fixture.arn(key_id);
    let allow = local().with_policies(identity(&format!(
        r#"{{"Effect": "Allow", "Action": "kms:Enc*", "Resource": "{arn}"}}"#
    )));
    encrypt(&fixture, &allow, key_id).expect("allowed");
    denied(
        encrypt(&fixture, &allow, fixture.create()),
        "because no identity-based policy allows the kms:Encrypt action",
    );
    let both = r#"[{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny", "Action": "kms:Encrypt", "Resource": "*"}]"#;
    denied(
        encrypt(&fixture, &local().with_policies(identity(both)), key_id),
        "with an explicit deny in an identity-based policy",
    );
    // What the key policy allows to the user by name needs nothing else, but a Deny stands against it.
    let policy = with(
        r#"{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:user/tester"}, "Action": "kms:Encrypt", "Resource": "*"}"#,
    );
    put(&fixture, &fixture.caller, key_id, &policy).expect("puts");
    encrypt(&fixture, &none, key_id).expect("named by the key policy");
    let deny = identity(r#"{"Effect": "Deny", "NotAction": "kms:Decrypt", "Resource": "*"}"#);
    denied(
        encrypt(&fixture, &local().with_policies(deny), key_id),
        "with an explicit deny in an identity-based policy",
    );
    // The root of the account is the account.
    let root = Caller { principal: Principal::root(&AccountId::local()), ..local() };
    encrypt(&fixture, &root, key_id).expect("the root may do what the account may");
}

#[test]
fn another_account_needs_both_sides() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    denied(
        encrypt(&fixture, &eve(), key_id),
        "because no resource-based policy allows the kms:Encrypt action",
    );
    for principal in [OTHER.to_owned(), format!("arn:aws:iam::{OTHER}:user/eve"), "*".to_owned()] {
        let policy = with(&format!(
            r#"{{"Effect": "Allow", "Principal": {{"AWS": "{principal}"}}, "Action": "kms:Encrypt", "Resource": "*"}}"#
        ));
        put(&fixture, &fixture.caller, key_id, &policy).expect("puts");
        encrypt(&fixture, &eve(), key_id).expect("her account lets her do everything");
        denied(
            encrypt(&fixture, &eve().with_policies(Vec::new()), key_id),
            "because no identity-based policy allows the kms:Encrypt action",
        );
        let allow = identity(
            r#"{"Effect": "Allow", "Action": "kms:Encrypt", "Resource": "arn:aws:kms:*:000000000000:key/*"}"#,
        );
        encrypt(&fixture, &eve().with_policies(allow), key_id).expect("both sides");
    }
    // What is not a key is the account's own, whatever her policies say.
    assert!(matches!(
        fixture.kms.list_keys(&eve(), &ListKeysRequest::default()),
        Err(KmsError::AccessDenied(_))
    ));
}

#[test]
fn aliases_need_the_permission_on_the_alias_and_on_the_key() {
    let fixture = Fixture::in_memory();
    let (key_id, other) = (fixture.create(), fixture.create());
    let arn = fixture.arn(key_id);
    let allow = |resources: &str| {
        local().with_policies(identity(&format!(
            r#"{{"Effect": "Allow", "Action": "kms:*Alias", "Resource": {resources}}}"#
        )))
    };
    let create = |caller: &Caller, key_id: KeyId| {
        let request = CreateAliasRequest {
            alias_name: "alias/a".parse().expect("valid"),
            target_key_id: key_id.into(),
        };
        fixture.kms.create_alias(caller, &request).map(drop)
    };
    let alias = "arn:aws:kms:local-1:000000000000:alias/a";
    assert!(create(&allow(&format!(r#""{arn}""#)), key_id).is_err());
    assert!(create(&allow(&format!(r#""{alias}""#)), key_id).is_err());
    let both = allow(&format!(r#"["{arn}", "{alias}"]"#));
    create(&both, key_id).expect("both");
    let update =
        UpdateAliasRequest { alias_name: "alias/a".parse().expect("valid"), target_key_id: other.into() };
    assert!(fixture.kms.update_alias(&both, &update).is_err(), "the new key too");
    let delete = DeleteAliasRequest { alias_name: "alias/a".parse().expect("valid") };
    assert!(fixture.kms.delete_alias(&allow(&format!(r#""{alias}""#)), &delete).is_err());
    fixture.kms.delete_alias(&both, &delete).expect("both");
}

type Call = fn(&Fixture, &Caller, KeyId) -> Result<(), KmsError>;

fn import_parameters(fixture: &Fixture, caller: &Caller, key_id: KeyId) -> Result<(), KmsError> {
    let request = GetParametersForImportRequest {
        key_id: key_id.into(),
        wrapping_algorithm: WrappingAlgorithm::RsaesOaepSha256,
        wrapping_key_spec: WrappingKeySpec::Rsa2048,
    };
    fixture.kms.get_parameters_for_import(caller, &request).map(drop)
}

fn import_forever(fixture: &Fixture, caller: &Caller, key_id: KeyId) -> Result<(), KmsError> {
    let request = crate::fixture::import_request(key_id, &fixture.parameters(key_id)?, &[1; 32]);
    fixture.kms.import_key_material(caller, &request).map(drop)
}

fn create_tagged(fixture: &Fixture, caller: &Caller, _: KeyId) -> Result<(), KmsError> {
    let tags = vec![Tag { key: "Team".into(), value: "blue".into() }];
    let request = CreateKeyRequest { tags, multi_region: true, ..Default::default() };
    fixture.kms.create_key(caller, &request).map(drop)
}

fn create_external(fixture: &Fixture, caller: &Caller, _: KeyId) -> Result<(), KmsError> {
    let request = CreateKeyRequest { origin: Some(Origin::External), ..Default::default() };
    fixture.kms.create_key(caller, &request).map(drop)
}

fn re_encrypt(fixture: &Fixture, caller: &Caller, key_id: KeyId) -> Result<(), KmsError> {
    let blob = fixture.encrypt(key_id, b"x")?;
    fixture.kms.re_encrypt(caller, &ReEncryptRequest::new(blob, context(), key_id)).map(drop)
}

fn encrypt_by_alias(fixture: &Fixture, caller: &Caller, _: KeyId) -> Result<(), KmsError> {
    let alias: AliasName = "alias/data".parse().expect("valid");
    fixture.kms.encrypt(caller, &EncryptRequest::new(alias, Plaintext::copy_of(b"x"), context())).map(drop)
}

fn grant(fixture: &Fixture, caller: &Caller, key_id: KeyId) -> Result<(), KmsError> {
    let constraints = GrantConstraints { encryption_context_equals: Some(context()), ..Default::default() };
    let request = CreateGrantRequest {
        retiring_principal: Some("arn:aws:iam::000000000000:user/r".into()),
        constraints,
        ..CreateGrantRequest::new(key_id, "arn:aws:iam::444455556666:user/eve", [GrantOperation::Decrypt])
    };
    fixture.kms.create_grant(caller, &request).map(drop)
}

/// An operation, a condition that it fulfils, and one that it does not.
#[rustfmt::skip]
const CONDITIONS: &[(&str, Call, &str, &str)] = &[
    ("ViaService", encrypt, r#""StringEquals": {"kms:ViaService": "kmsfs.local-1.amazonaws.com"}"#, r#""StringEquals": {"kms:ViaService": "ebs.local-1.amazonaws.com"}"#),
    ("CallerAccount", encrypt, r#""StringEquals": {"kms:CallerAccount": "000000000000"}"#, r#""StringEquals": {"kms:CallerAccount": "444455556666"}"#),
    ("EncryptionContext", encrypt, r#""StringLike": {"kms:EncryptionContext:volume": "on?"}"#, r#""StringEquals": {"kms:EncryptionContext:volume": "two"}"#),
    ("EncryptionContextKeys", encrypt, r#""ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["volume", "inode"]}"#, r#""ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["volume"]}"#),
    ("EncryptionAlgorithm", encrypt, r#""StringEquals": {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}"#, r#""StringEquals": {"kms:EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}"#),
    ("KeySpec", encrypt, r#""StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT"}"#, r#""StringNotEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT"}"#),
    ("KeyUsage", encrypt, r#""StringEquals": {"kms:KeyUsage": "ENCRYPT_DECRYPT"}"#, r#""StringEquals": {"kms:KeyUsage": "SIGN_VERIFY"}"#),
    ("KeyOrigin", create_external, r#""StringEquals": {"kms:KeyOrigin": "EXTERNAL"}"#, r#""StringEquals": {"kms:KeyOrigin": "AWS_KMS"}"#),
    ("MultiRegion", create_tagged, r#""Bool": {"kms:MultiRegion": "true"}"#, r#""Bool": {"kms:MultiRegion": "false"}"#),
    ("RequestTag", create_tagged, r#""StringEquals": {"aws:RequestTag/Team": "blue"}"#, r#""StringEquals": {"aws:RequestTag/Team": "red"}"#),
    ("TagKeys", create_tagged, r#""ForAllValues:StringEquals": {"aws:TagKeys": ["Team", "Cost"]}"#, r#""ForAnyValue:StringEquals": {"aws:TagKeys": "Cost"}"#),
    ("ResourceTag", encrypt, r#""StringEquals": {"aws:ResourceTag/App": "one"}"#, r#""StringEquals": {"aws:ResourceTag/App": "two"}"#),
    ("ResourceAliases", encrypt, r#""ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/data"}"#, r#""ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/other"}"#),
    ("RequestAlias", encrypt_by_alias, r#""StringEquals": {"kms:RequestAlias": "alias/data"}"#, r#""Null": {"kms:RequestAlias": "true"}"#),
    ("ReEncryptOnSameKey", re_encrypt, r#""Bool": {"kms:ReEncryptOnSameKey": true}"#, r#""Bool": {"kms:ReEncryptOnSameKey": false}"#),
    ("PendingWindow", |f, c, k| f.kms.schedule_key_deletion(c, &ScheduleKeyDeletionRequest { key_id: k.into(), pending_window_in_days: Some(9) }).map(drop),
        r#""NumericGreaterThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": 8}"#, r#""NumericGreaterThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": "9"}"#),
    ("RotationPeriod", |f, c, k| f.kms.enable_key_rotation(c, &EnableKeyRotationRequest { key_id: k.into(), rotation_period_in_days: Some(100) }).map(drop),
        r#""NumericLessThanEquals": {"kms:RotationPeriodInDays": 100}"#, r#""NumericLessThan": {"kms:RotationPeriodInDays": 100}"#),
    ("PolicyName", |f, c, k| f.kms.get_key_policy(c, &GetKeyPolicyRequest { key_id: k.into(), policy_name: None }).map(drop),
        r#""StringEquals": {"kms:PolicyName": "default"}"#, r#""StringNotEquals": {"kms:PolicyName": "default"}"#),
    ("Bypass", |f, c, k| put(f, c, k, &with(r#"{"Effect": "Deny", "Principal": "*", "Action": "kms:Sign", "Resource": "*"}"#)),
        r#""Bool": {"kms:BypassPolicyLockoutSafetyCheck": "false"}"#, r#""Bool": {"kms:BypassPolicyLockoutSafetyCheck": "true"}"#),
    ("Wrapping", |f, c, _| import_parameters(f, c, f.create_external()), r#""StringEquals": {"kms:WrappingAlgorithm": "RSAES_OAEP_SHA_256", "kms:WrappingKeySpec": "RSA_2048"}"#, r#""StringEquals": {"kms:WrappingKeySpec": "RSA_4096"}"#),
    ("Expiration", |f, c, _| import_forever(f, c, f.create_external()), r#""StringEquals": {"kms:ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}, "Null": {"kms:ValidTo": true}"#, r#""DateLessThan": {"kms:ValidTo": "2999-01-01"}"#),
    ("Grantee", grant, r#""ArnLike": {"kms:GranteePrincipal": "arn:aws:iam::*:user/eve"}, "StringLike": {"kms:RetiringPrincipal": "*:user/r"}"#, r#""StringEquals": {"kms:GranteePrincipal": "arn:aws:iam::000000000000:user/eve"}"#),
    ("GrantOperations", grant, r#""ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt", "Encrypt"]}"#, r#""ForAllValues:StringEquals": {"kms:GrantOperations": "Encrypt"}"#),
    ("GrantConstraintType", grant, r#""StringEquals": {"kms:GrantConstraintType": "EncryptionContextEquals"}"#, r#""StringEquals": {"kms:GrantConstraintType": "EncryptionContextSubset"}"#),
    ("GrantIsForAWSResource", grant, r#""Bool": {"kms:GrantIsForAWSResource": true}"#, r#""Bool": {"kms:GrantIsForAWSResource": false}"#),
    ("GrantContext", grant, r#""StringEquals": {"kms:EncryptionContext:volume": "one"}"#, r#""StringEquals": {"kms:EncryptionContext:volume": "two"}"#),
    ("SourceIp", encrypt, r#""IpAddress": {"aws:SourceIp": "192.0.2.0/24"}"#, r#""NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}"#),
    ("CurrentTime", encrypt, r#""DateLessThan": {"aws:CurrentTime": "2028-01-01T00:00:00Z"}"#, r#""DateGreaterThan": {"aws:CurrentTime": "2028-01-01T00:00:00Z"}"#),
    ("PrincipalArn", encrypt, r#""ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/${aws:username}"}"#, r#""ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}"#),
    ("SourceArn", encrypt, r#""ArnLike": {"aws:SourceArn": "arn:aws:ec2:*:*:volume/*"}, "StringEquals": {"aws:SourceAccount": "000000000000"}"#, r#""Null": {"aws:SourceArn": true}"#),
];

#[test]
fn every_condition_key_decides() {
    for (name, call, fulfilled, other) in CONDITIONS {
        for (conditions, expected) in [(fulfilled, true), (other, false)] {
            let fixture = Fixture::in_memory();
            let tags = vec![Tag { key: "app".into(), value: "one".into() }];
            let key_id = fixture.create_with(CreateKeyRequest { tags, ..Default::default() });
            fixture.create_alias("alias/data", key_id).expect("creates");
            let allow = identity(&format!(
                r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {{{conditions}}}}}"#
            ));
            let caller = Caller {
                source_ip: Some("192.0.2.7".parse().expect("an address")),
                source_arn: Some("arn:aws:ec2:local-1:000000000000:volume/v".into()),
                ..service()
            };
            let result = call(&fixture, &caller.with_policies(allow), key_id);
            match expected {
                true => result.unwrap_or_else(|refused| panic!("{name}: {refused}")),
                false => assert!(matches!(result, Err(KmsError::AccessDenied(_))), "{name}: {result:?}"),
            }
        }
    }
}

#[test]
fn an_explanation_shows_the_statements_that_decided() {
    use kms_core::service::{Basis, ExplainRequest};
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let ask = |caller: &Caller, action| {
        let request = ExplainRequest { key_id: key_id.into(), action, encryption_context: context() };
        fixture.kms.explain(caller, &request)
    };
    let found = ask(&fixture.caller, Action::Encrypt).expect("explains");
    assert!(found.decision.allowed && found.refusal.is_none());
    assert_eq!(found.decision.basis, Basis::Administrator { through: Some(0) });
    assert!(found.key_statement.expect("took part").contains("Enable IAM User Permissions"));
    let policy = with(
        r#"{"Sid": "no", "Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"}"#,
    );
    put(&fixture, &fixture.caller, key_id, &policy).expect("puts");
    let found = ask(&fixture.caller, Action::Encrypt).expect("explains");
    assert_eq!((found.decision.allowed, found.decision.basis), (false, Basis::KeyPolicy(1)));
    assert!(found.key_statement.expect("took part").contains(r#""Sid":"no""#));
    assert_eq!(found.refusal, encrypt(&fixture, &fixture.caller, key_id).err());
    let own = local().with_policies(identity(
        r#"{"Sid": "own", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"}"#,
    ));
    let found = ask(&own, Action::Decrypt).expect("explains");
    assert_eq!(found.decision.basis, Basis::CallerPolicy { policy: 0, statement: 0, through: Some(0) });
    assert!(found.caller_statement.expect("took part").contains(r#""Sid":"own""#));
    grant(&fixture, &fixture.caller, key_id).expect("grants");
    let found = ask(&eve(), Action::Decrypt).expect("explains");
    assert_eq!(found.grant.map(|grant| grant.grantee_principal), Some(eve().principal));
    assert!(matches!(ask(&own, Action::ListKeys), Err(KmsError::Validation(_))));
    // Asking about the key of a service does not bring it into being.
    let managed = AliasName::of_service("kmsfs").expect("a service name");
    let request =
        ExplainRequest { key_id: managed.into(), action: Action::Encrypt, encryption_context: context() };
    assert!(matches!(fixture.kms.explain(&service(), &request), Err(KmsError::NotFound(_))));
}
