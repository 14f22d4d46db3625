//! Grants: who they let do what, who may give them on, and how they end.

use std::sync::Arc;

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;
use kms_core::seal::RootKey;
use kms_core::service::EmbeddedKms;
use kms_core::store::{self, GrantFilter, GrantRecord, MemoryStore};

use crate::fixture::{Fixture, context, local};

const EVE: &str = "arn:aws:iam::444455556666:user/eve";
const RAY: &str = "arn:aws:iam::444455556666:user/ray";

fn caller(arn: &str) -> Caller {
    let account: AccountId = arn.split(':').nth(4).and_then(|text| text.parse().ok()).expect("an account");
    Caller { principal: Principal::from_arn(arn), ..Caller::local(account, "x") }.with_policies(Vec::new())
}

fn create(fixture: &Fixture, request: &CreateGrantRequest) -> CreateGrantResponse {
    fixture.kms.create_grant(&fixture.caller, request).expect("grants")
}

fn encrypt(fixture: &Fixture, who: &str, key_id: KeyId, context: EncryptionContext) -> Result<(), KmsError> {
    let request = EncryptRequest::new(key_id, Plaintext::copy_of(b"x"), context);
    fixture.kms.encrypt(&caller(who), &request).map(drop)
}

fn list(fixture: &Fixture, key_id: KeyId) -> Vec<GrantId> {
    fixture.grants(key_id).iter().map(|grant| grant.grant_id).collect()
}

fn retire(fixture: &Fixture, who: &str, key_id: KeyId, grant_id: GrantId) -> Result<(), KmsError> {
    let request =
        RetireGrantRequest { key_id: Some(key_id.into()), grant_id: Some(grant_id), ..Default::default() };
    fixture.kms.retire_grant(&caller(who), &request).map(drop)
}

fn revoke(fixture: &Fixture, key_id: KeyId, grant_id: GrantId) -> Result<(), KmsError> {
    let request = RevokeGrantRequest { key_id: key_id.into(), grant_id, dry_run: false };
    fixture.kms.revoke_grant(&fixture.caller, &request).map(drop)
}

#[test]
fn a_grant_permits_its_operations_to_its_grantee_until_it_is_revoked() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create();
        assert!(matches!(encrypt(&fixture, EVE, key_id, context()), Err(KmsError::AccessDenied(_))));
        let made = create(&fixture, &CreateGrantRequest::new(key_id, EVE, [GrantOperation::Encrypt]));
        encrypt(&fixture, EVE, key_id, context()).expect("granted");
        assert!(encrypt(&fixture, RAY, key_id, context()).is_err());
        let describe = fixture.kms.describe_key(&caller(EVE), &DescribeKeyRequest::new(key_id));
        assert!(matches!(describe, Err(KmsError::AccessDenied(_))), "not among the operations");
        assert!(encrypt(&fixture, EVE, fixture.create(), context()).is_err(), "another key");
        assert_eq!(list(&fixture, key_id), [made.grant_id]);
        revoke(&fixture, key_id, made.grant_id).expect("revokes");
        assert!(encrypt(&fixture, EVE, key_id, context()).is_err());
        let gone = KmsError::NotFound(format!("Grant ID {} not found", made.grant_id));
        assert_eq!(revoke(&fixture, key_id, made.grant_id), Err(gone));
    }
}

#[test]
fn a_role_has_its_grants_in_every_session() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    let role = "arn:aws:iam::444455556666:role/dept/ops";
    create(&fixture, &CreateGrantRequest::new(key_id, role, [GrantOperation::Encrypt]));
    encrypt(&fixture, role, key_id, context()).expect("the role");
    encrypt(&fixture, "arn:aws:sts::444455556666:assumed-role/ops/today", key_id, context())
        .expect("a session");
    let other = "arn:aws:sts::444455556666:assumed-role/dev/today";
    assert!(encrypt(&fixture, other, key_id, context()).is_err());
}

#[test]
fn constraints_bind_the_encryption_context() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let pair = EncryptionContext::from([("volume", "one")]);
    let with = |equals: Option<EncryptionContext>, subset: Option<EncryptionContext>| CreateGrantRequest {
        constraints: GrantConstraints {
            encryption_context_equals: equals,
            encryption_context_subset: subset,
            source_arn: None,
        },
        ..CreateGrantRequest::new(key_id, EVE, [GrantOperation::Encrypt, GrantOperation::DescribeKey])
    };
    let exact = create(&fixture, &with(Some(pair.clone()), None));
    encrypt(&fixture, EVE, key_id, pair.clone()).expect("the same context");
    assert!(encrypt(&fixture, EVE, key_id, context()).is_err(), "one pair too many");
    assert!(encrypt(&fixture, EVE, key_id, EncryptionContext::new()).is_err());
    let describe = fixture.kms.describe_key(&caller(EVE), &DescribeKeyRequest::new(key_id));
    describe.expect("DescribeKey has no context to constrain");
    revoke(&fixture, key_id, exact.grant_id).expect("revokes");
    create(&fixture, &with(None, Some(pair.clone())));
    encrypt(&fixture, EVE, key_id, pair).expect("the pair");
    encrypt(&fixture, EVE, key_id, context()).expect("the pair and another");
    let other = EncryptionContext::from([("volume", "two"), ("inode", "42")]);
    assert!(encrypt(&fixture, EVE, key_id, other).is_err());
}

#[test]
fn a_grant_never_beats_a_deny() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    create(&fixture, &CreateGrantRequest::new(key_id, EVE, [GrantOperation::Encrypt]));
    encrypt(&fixture, EVE, key_id, context()).expect("granted");
    let policy = format!(
        r#"{{"Statement": [{{"Effect": "Allow", "Principal": {{"AWS": "000000000000"}}, "Action": "*", "Resource": "*"}},
        {{"Effect": "Deny", "Principal": {{"AWS": "{EVE}"}}, "Action": "kms:Encrypt", "Resource": "*"}}]}}"#
    );
    let request = PutKeyPolicyRequest {
        key_id: key_id.into(),
        policy_name: None,
        policy,
        bypass_policy_lockout_safety_check: false,
    };
    fixture.kms.put_key_policy(&fixture.caller, &request).expect("puts");
    assert!(matches!(encrypt(&fixture, EVE, key_id, context()), Err(KmsError::AccessDenied(_))));
}

#[test]
fn the_same_name_and_parameters_are_the_same_grant() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create();
        let named = CreateGrantRequest {
            name: Some("snapshot".into()),
            ..CreateGrantRequest::new(key_id, EVE, [GrantOperation::Encrypt, GrantOperation::Decrypt])
        };
        let (first, second) = (create(&fixture, &named), create(&fixture, &named));
        assert_eq!(first.grant_id, second.grant_id);
        assert_ne!(first.grant_token, second.grant_token);
        let order = CreateGrantRequest {
            operations: vec![GrantOperation::Decrypt, GrantOperation::Encrypt],
            ..named.clone()
        };
        assert_eq!(create(&fixture, &order).grant_id, first.grant_id);
        let fewer = CreateGrantRequest { operations: vec![GrantOperation::Encrypt], ..named.clone() };
        assert_ne!(create(&fixture, &fewer).grant_id, first.grant_id);
        let unnamed = CreateGrantRequest { name: None, ..named };
        assert_ne!(create(&fixture, &unnamed).grant_id, create(&fixture, &unnamed).grant_id);
        assert_eq!(list(&fixture, key_id).len(), 4);
    }
}

#[test]
fn tokens_are_ours_or_refused() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create();
    let token =
        create(&fixture, &CreateGrantRequest::new(key_id, EVE, [GrantOperation::Encrypt])).grant_token;
    let with = |tokens: Vec<String>| {
        let mut request = EncryptRequest::new(key_id, Plaintext::copy_of(b"x"), context());
        request.grant_tokens = tokens;
        fixture.kms.encrypt(&caller(EVE), &request).map(drop)
    };
    with(vec![token.clone()]).expect("a token of the grant");
    let mut changed = token.clone();
    changed.replace_range(10..11, if &token[10..11] == "A" { "B" } else { "A" });
    for bad in ["x".to_owned(), changed, format!("{token}{}", "A".repeat(9000)), String::new()] {
        assert!(matches!(with(vec![bad]), Err(KmsError::InvalidGrantToken(_))));
    }
    assert!(matches!(with(vec![token; 11]), Err(KmsError::Validation(_))));
}

#[test]
fn a_grantee_gives_on_only_what_it_has() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let pair = EncryptionContext::from([("volume", "one")]);
    let operations = [GrantOperation::Encrypt, GrantOperation::CreateGrant];
    let subset = |context: &EncryptionContext| GrantConstraints {
        encryption_context_subset: Some(context.clone()),
        ..Default::default()
    };
    let equals = |context: &EncryptionContext| GrantConstraints {
        encryption_context_equals: Some(context.clone()),
        ..Default::default()
    };
    let request =
        CreateGrantRequest { constraints: subset(&pair), ..CreateGrantRequest::new(key_id, EVE, operations) };
    create(&fixture, &request);
    let give = |operations: &[GrantOperation], constraints: GrantConstraints| {
        let request = CreateGrantRequest { constraints, ..CreateGrantRequest::new(key_id, RAY, operations) };
        fixture.kms.create_grant(&caller(EVE), &request).map(drop)
    };
    let encrypt_only = &[GrantOperation::Encrypt];
    give(encrypt_only, subset(&pair)).expect("the same constraint");
    give(encrypt_only, subset(&context())).expect("a stricter one");
    give(encrypt_only, equals(&pair)).expect("one whole context");
    for (operations, constraints) in [
        (&encrypt_only[..], GrantConstraints::default()),
        (&encrypt_only[..], subset(&EncryptionContext::from([("inode", "42")]))),
        (&[GrantOperation::Encrypt, GrantOperation::Decrypt][..], subset(&pair)),
    ] {
        let refused = give(operations, constraints);
        assert!(matches!(refused, Err(KmsError::AccessDenied(_))), "{refused:?}");
    }
    encrypt(&fixture, RAY, key_id, context()).expect("given on");
    let ray = caller(RAY);
    let request = CreateGrantRequest::new(key_id, EVE, [GrantOperation::Encrypt]);
    assert!(fixture.kms.create_grant(&ray, &request).is_err(), "CreateGrant was not given on");
}

#[test]
fn who_may_retire_a_grant_is_written_in_it() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let root = "arn:aws:iam::000000000000:root";
    let own = "arn:aws:iam::000000000000:user/tester";
    let with = |operations: &[GrantOperation], retiring: Option<&str>| {
        let request = CreateGrantRequest {
            retiring_principal: retiring.map(str::to_owned),
            ..CreateGrantRequest::new(key_id, EVE, operations)
        };
        create(&fixture, &request).grant_id
    };
    let plain = &[GrantOperation::Decrypt];
    let able = &[GrantOperation::Decrypt, GrantOperation::RetireGrant];
    let grant_id = with(plain, None);
    for who in [EVE, RAY, own, "arn:aws:iam::444455556666:root"] {
        assert!(matches!(retire(&fixture, who, key_id, grant_id), Err(KmsError::AccessDenied(_))), "{who}");
    }
    let administrator = fixture.kms.retire_grant(
        &local(),
        &RetireGrantRequest { key_id: Some(key_id.into()), grant_id: Some(grant_id), ..Default::default() },
    );
    assert!(matches!(administrator, Err(KmsError::AccessDenied(_))), "policies allow it to nobody");
    retire(&fixture, root, key_id, grant_id).expect("the issuing account");
    retire(&fixture, EVE, key_id, with(able, None)).expect("the grantee");
    retire(&fixture, RAY, key_id, with(plain, Some(RAY))).expect("the retiring principal");
    // A disabled key does not stand in the way, and a token names the grant too.
    let request = CreateGrantRequest::new(key_id, EVE, able.to_vec());
    let grant_token = Some(create(&fixture, &request).grant_token);
    fixture.disable(key_id).expect("disables");
    let request = RetireGrantRequest { grant_token, ..Default::default() };
    let dry = RetireGrantRequest { dry_run: true, ..request.clone() };
    assert!(matches!(fixture.kms.retire_grant(&caller(EVE), &dry), Err(KmsError::DryRunOperation(_))));
    fixture.kms.retire_grant(&caller(EVE), &request).expect("by its token");
    assert!(matches!(fixture.kms.retire_grant(&caller(EVE), &request), Err(KmsError::NotFound(_))));
    let neither = fixture.kms.retire_grant(&caller(EVE), &RetireGrantRequest::default());
    assert!(matches!(neither, Err(KmsError::Validation(_))));
    assert!(list(&fixture, key_id).is_empty());
}

#[test]
fn lists_have_pages_and_filters() {
    for fixture in Fixture::on_every_store() {
        let (key_id, other) = (fixture.create(), fixture.create());
        let mut ids = Vec::new();
        for (key_id, grantee, retiring) in
            [(key_id, EVE, Some(RAY)), (key_id, RAY, None), (other, EVE, Some(RAY))]
        {
            let request = CreateGrantRequest {
                retiring_principal: retiring.map(str::to_owned),
                name: Some("n".into()),
                ..CreateGrantRequest::new(key_id, grantee, [GrantOperation::Decrypt])
            };
            ids.push(create(&fixture, &request).grant_id);
        }
        let request = ListGrantsRequest {
            key_id: key_id.into(),
            grant_id: None,
            grantee_principal: None,
            grantee_service_principal: None,
            page: Page { limit: Some(1), marker: None },
        };
        let list =
            |request: &ListGrantsRequest| fixture.kms.list_grants(&fixture.caller, request).expect("lists");
        let first = list(&request);
        let page = Page { limit: Some(1), marker: first.next_marker.clone() };
        let second = list(&ListGrantsRequest { page, ..request.clone() });
        let mut both = [first.grants[0].grant_id, second.grants[0].grant_id];
        assert!(both[0] < both[1] && second.next_marker.is_none());
        let mut expected = [ids[0], ids[1]];
        both.sort();
        expected.sort();
        assert_eq!(both, expected);
        let to_eve = list(&ListGrantsRequest { grantee_principal: Some(EVE.into()), ..request.clone() });
        assert_eq!((to_eve.grants.len(), to_eve.grants[0].grant_id), (1, ids[0]));
        let entry = &to_eve.grants[0];
        assert_eq!(entry.issuing_account.as_str(), "arn:aws:iam::000000000000:root");
        assert_eq!(
            (entry.name.as_deref(), entry.operations.as_slice()),
            (Some("n"), &[GrantOperation::Decrypt][..])
        );
        let by_id =
            |grant_id| list(&ListGrantsRequest { grant_id: Some(grant_id), ..request.clone() }).grants.len();
        assert_eq!((by_id(ids[1]), by_id(ids[2])), (1, 0));
        let request =
            ListRetirableGrantsRequest { retiring_principal: Some(RAY.into()), ..Default::default() };
        let retirable = fixture.kms.list_retirable_grants(&fixture.caller, &request).expect("lists").grants;
        assert_eq!(retirable.len(), 2);
        assert!(retirable.iter().all(|grant| grant.grant_id != ids[1]));
    }
}

#[test]
fn malformed_requests_are_refused() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let good = CreateGrantRequest::new(key_id, EVE, [GrantOperation::Decrypt]);
    let refused = |change: &dyn Fn(&mut CreateGrantRequest)| {
        let mut request = good.clone();
        change(&mut request);
        fixture.kms.create_grant(&fixture.caller, &request).expect_err("refused")
    };
    let invalid = KmsError::InvalidArn("ARN does not refer to a valid principal".into());
    for text in ["bob", "*", "arn:aws:iam::444455556666:user/*", "444455556666"] {
        assert_eq!(refused(&|request| request.grantee_principal = Some(text.into())), invalid, "{text}");
        assert_eq!(refused(&|request| request.retiring_principal = Some(text.into())), invalid, "{text}");
    }
    let validation = |error: KmsError| assert!(matches!(error, KmsError::Validation(_)), "{error}");
    validation(refused(&|request| request.grantee_principal = None));
    validation(refused(&|request| request.grantee_service_principal = Some("ebs.amazonaws.com".into())));
    validation(refused(&|request| request.operations.clear()));
    validation(refused(&|request| request.name = Some("a b".into())));
    validation(refused(&|request| request.name = Some(String::new())));
    validation(refused(&|request| request.operations = vec![GrantOperation::Sign]));
    validation(refused(&|request| request.constraints.source_arn = Some("arn:aws:s3:::bucket".into())));
    let dry = refused(&|request| request.dry_run = true);
    assert!(matches!(dry, KmsError::DryRunOperation(_)));
    assert!(list(&fixture, key_id).is_empty());
    assert!(matches!("x".parse::<GrantId>(), Err(KmsError::InvalidGrantId(_))));
}

#[test]
fn a_service_acts_for_the_resource_that_its_grant_names() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let volume = "arn:aws:ec2:local-1:000000000000:volume/v";
    let request = CreateGrantRequest {
        grantee_principal: None,
        grantee_service_principal: Some("ebs.amazonaws.com".into()),
        constraints: GrantConstraints { source_arn: Some(volume.into()), ..Default::default() },
        ..CreateGrantRequest::new(key_id, "", [GrantOperation::Encrypt])
    };
    create(&fixture, &request);
    let act = |arn: Option<&str>| {
        let ebs = Caller {
            principal: Principal::from_arn("ebs.amazonaws.com"),
            source_arn: arn.map(str::to_owned),
            ..local().with_policies(Vec::new())
        };
        let request = EncryptRequest::new(key_id, Plaintext::copy_of(b"x"), context());
        fixture.kms.encrypt(&ebs, &request).is_ok()
    };
    assert!(act(Some(volume)) && !act(None) && !act(Some("arn:aws:ec2:local-1:000000000000:volume/w")));
}

#[test]
fn the_grants_of_a_key_go_with_it() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create();
        let request = CreateGrantRequest {
            retiring_principal: Some(RAY.into()),
            ..CreateGrantRequest::new(key_id, EVE, [GrantOperation::Decrypt])
        };
        let token = create(&fixture, &request).grant_token;
        fixture.schedule_deletion(key_id, 7).expect("schedules");
        fixture.clock.advance_days(7);
        fixture.kms.run_due().expect("runs");
        let request =
            ListRetirableGrantsRequest { retiring_principal: Some(RAY.into()), ..Default::default() };
        assert!(
            fixture.kms.list_retirable_grants(&fixture.caller, &request).expect("lists").grants.is_empty()
        );
        let request = RetireGrantRequest { grant_token: Some(token), ..Default::default() };
        assert!(matches!(fixture.kms.retire_grant(&caller(RAY), &request), Err(KmsError::NotFound(_))));
    }
}

#[test]
fn a_key_has_fifty_thousand_grants_at_most() {
    let store = Arc::new(MemoryStore::new());
    let root = RootKey::generate().expect("random");
    let kms = EmbeddedKms::builder(Arc::<MemoryStore>::clone(&store), &root).expect("derives").build();
    let key_id = kms.create_key(&local(), &CreateKeyRequest::default()).expect("creates").key_metadata.key_id;
    let request = CreateGrantRequest::new(key_id, EVE, [GrantOperation::Decrypt]);
    let first = kms.create_grant(&local(), &request).expect("grants").grant_id;
    store::write(&*store, |tx| {
        let model = tx.list_grants(GrantFilter::Key(&key_id), None, 1)?.remove(0);
        for number in 1..50_000_u64 {
            let mut bytes = *first.as_bytes();
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            tx.put_grant(&GrantRecord { grant_id: GrantId::from_bytes(bytes), ..model.clone() })?;
        }
        Ok(())
    })
    .expect("writes");
    assert!(matches!(kms.create_grant(&local(), &request), Err(KmsError::LimitExceeded(_))));
    kms.revoke_grant(
        &local(),
        &RevokeGrantRequest { key_id: key_id.into(), grant_id: first, dry_run: false },
    )
    .expect("revokes");
    kms.create_grant(&local(), &request).expect("there is room again");
}
