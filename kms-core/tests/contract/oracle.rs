//! The evaluator against a second one, written from the AWS documentation over plain JSON, on generated cases.

use std::sync::Arc;

use kms_core::model::*;
use kms_core::policy::{IdentityPolicy, KeyPolicy};
use kms_core::seal::RootKey;
use kms_core::service::{EmbeddedKms, ExplainRequest, Explanation};
use kms_core::store::{self, GrantRecord, KeyRecord, MemoryStore, MetadataStore};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::Fixture;

mod by_the_documentation;

/// Cases of one seed; with the number of seeds below, 120,000 in all.
const CASES_PER_SEED: usize = 600;
const SEEDS: u32 = 200;

const OWN: &str = "000000000000";
const OTHER: &str = "444455556666";
const NOW: &str = "2027-01-15T08:00:00Z";

/// A small generator of choices.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("small")
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// One of a list, or several of it as a JSON list.
    fn some(&mut self, list: &[&str]) -> Value {
        if self.one_in(2) {
            return json!(self.pick(list));
        }
        let count = 1 + self.below(3);
        (0..count).map(|_| self.pick(list)).collect()
    }
}

const PRINCIPALS: &[&str] = &[
    "*",
    "arn:aws:iam::000000000000:root",
    "arn:aws:iam::444455556666:root",
    "arn:aws:iam::000000000000:root",
    "000000000000",
    "arn:aws:iam::000000000000:user/ann",
    "arn:aws:iam::000000000000:user/bob",
    "arn:aws:iam::000000000000:role/dept/ops",
    "arn:aws:sts::000000000000:assumed-role/ops/today",
    "arn:aws:iam::444455556666:root",
    "arn:aws:iam::444455556666:user/eve",
];
const ACTIONS: &[&str] = &[
    "*",
    "*",
    "kms:*",
    "kms:*",
    "kms:Decrypt",
    "kms:decrypt",
    "kms:*crypt",
    "kms:Describe???",
    "kms:PutKeyPolicy",
    "s3:*",
];
const ASKED: &[Action] = &[Action::Decrypt, Action::Encrypt, Action::DescribeKey, Action::PutKeyPolicy];

/// A caller: what both evaluators are told.
#[derive(Debug, Clone)]
struct Who {
    arn: &'static str,
    account: &'static str,
    /// The role, of a session.
    role: Option<&'static str>,
    service: bool,
    via: Option<&'static str>,
    ip: Option<&'static str>,
    /// `None` is an administrator.
    policies: Option<Vec<Value>>,
}

type Pairs = Vec<(&'static str, &'static str)>;

/// A grant: grantee, operation, and the context that it needs, exactly or as a part.
type Given = (&'static str, GrantOperation, Option<(bool, Pairs)>);

#[derive(Debug, Clone)]
struct Case {
    who: Who,
    action: Action,
    key_policy: Value,
    context: Pairs,
    tags: Pairs,
    by_alias: bool,
    grants: Vec<Given>,
}

fn pairs(dice: &mut Dice) -> Pairs {
    let list = [("app", "one"), ("App", "two"), ("zone", "one")];
    list.into_iter().filter(|_| dice.one_in(2)).collect()
}

fn condition(dice: &mut Dice) -> Value {
    let texts: &[&str] = &["one", "two", "ONE", "on*", "?wo", "${aws:username}", "ann"];
    let (key, operator, values) = match dice.below(11) {
        0 | 1 => {
            let key = dice.pick(&[
                "kms:EncryptionContext:app",
                "kms:encryptioncontext:zone",
                "aws:ResourceTag/app",
                "aws:username",
            ]);
            (
                key,
                dice.pick(&[
                    "StringEquals",
                    "StringNotEquals",
                    "StringLike",
                    "StringNotLike",
                    "StringEqualsIgnoreCase",
                    "StringNotEqualsIgnoreCase",
                ]),
                dice.some(texts),
            )
        }
        2 => (
            "kms:EncryptionContextKeys",
            dice.pick(&["StringEquals", "StringLike", "StringNotLike"]),
            dice.some(&["app", "App", "zone", "a*"]),
        ),
        3 => (
            "kms:ViaService",
            dice.pick(&["StringEquals", "StringNotEquals"]),
            dice.some(&["kmsfs.local-1.amazonaws.com", "ebs.local-1.amazonaws.com"]),
        ),
        4 => ("kms:CallerAccount", "StringEquals", dice.some(&[OWN, OTHER])),
        5 => (
            "aws:PrincipalArn",
            dice.pick(&["ArnLike", "ArnNotLike", "ArnEquals"]),
            dice.some(&["arn:aws:iam::*:user/*", "arn:aws:iam::000000000000:role/ops", "arn:*:*:*:*:*"]),
        ),
        6 => (
            "aws:CurrentTime",
            dice.pick(&[
                "DateLessThan",
                "DateGreaterThan",
                "DateEquals",
                "DateNotEquals",
                "DateLessThanEquals",
            ]),
            dice.some(&["2027-01-15T08:00:00Z", "2027-01-15T08:00:01Z", "2020-01-01T00:00:00Z"]),
        ),
        7 => (
            "aws:SourceIp",
            dice.pick(&["IpAddress", "NotIpAddress"]),
            dice.some(&["10.0.0.0/8", "192.168.1.1/32"]),
        ),
        8 => ("kms:MultiRegion", "Bool", dice.some(&["true", "false"])),
        9 => (
            dice.pick(&["kms:MultiRegionKeyType", "kms:KeySpec", "kms:KeyOrigin", "kms:ResourceAliases"]),
            dice.pick(&["StringEquals", "StringNotEquals", "StringLike"]),
            dice.some(&["PRIMARY", "REPLICA", "SYMMETRIC_DEFAULT", "AWS_KMS", "alias/data", "alias/*"]),
        ),
        _ => (
            dice.pick(&["kms:RequestAlias", "aws:nothing", "kms:ViaService"]),
            "Null",
            dice.some(&["true", "false"]),
        ),
    };
    json!({ spelled(dice, operator): { key: values } })
}

/// The operator with what may stand before and behind it.
fn spelled(dice: &mut Dice, operator: &str) -> String {
    let mut operator = operator.to_owned();
    if operator != "Null" {
        operator = format!(
            "{}{operator}{}",
            dice.pick(&["", "", "ForAllValues:", "ForAnyValue:"]),
            dice.pick(&["", "", "IfExists"])
        );
    }
    operator
}

fn statement(dice: &mut Dice, key: bool) -> Value {
    let mut members = serde_json::Map::new();
    members.insert("Effect".into(), json!(if dice.one_in(5) { "Deny" } else { "Allow" }));
    let action = if dice.one_in(5) { "NotAction" } else { "Action" };
    members.insert(action.into(), dice.some(ACTIONS));
    let resources =
        ["*", "*", "*", "arn:aws:kms:local-1:000000000000:key/*", "arn:aws:kms:*:444455556666:key/*"];
    let resource = if dice.one_in(8) { "NotResource" } else { "Resource" };
    if !(key && dice.one_in(10)) {
        members.insert(resource.into(), dice.some(&resources));
    }
    if key {
        let name = if dice.one_in(5) { "NotPrincipal" } else { "Principal" };
        let who = match dice.below(6) {
            0 => json!("*"),
            1 => json!({ "Service": "backup.amazonaws.com", "AWS": dice.some(PRINCIPALS) }),
            _ => json!({ "AWS": dice.some(PRINCIPALS) }),
        };
        members.insert(name.into(), who);
    }
    if dice.one_in(2) {
        members.insert("Condition".into(), condition(dice));
    }
    Value::Object(members)
}

fn policy(dice: &mut Dice, key: bool) -> Value {
    let count = dice.below(6);
    let statements: Vec<_> = (0..count).map(|_| statement(dice, key)).collect();
    json!({ "Version": dice.pick(&["2012-10-17", "2012-10-17", "2008-10-17"]), "Statement": statements })
}

fn who(dice: &mut Dice) -> Who {
    let (arn, account, role) = dice.pick(&[
        ("arn:aws:iam::000000000000:user/ann", OWN, None),
        ("arn:aws:iam::000000000000:user/ann", OWN, None),
        ("arn:aws:iam::000000000000:root", OWN, None),
        (
            "arn:aws:sts::000000000000:assumed-role/ops/today",
            OWN,
            Some("arn:aws:iam::000000000000:role/dept/ops"),
        ),
        ("arn:aws:iam::444455556666:user/eve", OTHER, None),
        ("arn:aws:iam::444455556666:root", OTHER, None),
        ("backup.amazonaws.com", OTHER, None),
    ]);
    let policies = (!dice.one_in(3)).then(|| {
        let count = dice.below(3);
        (0..count).map(|_| policy(dice, false)).collect()
    });
    Who {
        arn,
        account,
        role,
        service: !arn.starts_with("arn:"),
        via: dice.pick(&[None, None, Some("kmsfs"), Some("ebs")]),
        ip: dice.pick(&[None, Some("10.1.2.3"), Some("192.168.1.1")]),
        policies,
    }
}

fn case(dice: &mut Dice) -> Case {
    let count = if dice.one_in(3) { 1 + dice.below(2) } else { 0 };
    let grantees = [
        "arn:aws:iam::000000000000:user/ann",
        "arn:aws:iam::000000000000:role/dept/ops",
        "arn:aws:iam::444455556666:user/eve",
    ];
    let operations = [GrantOperation::Decrypt, GrantOperation::Encrypt, GrantOperation::DescribeKey];
    let grant = |dice: &mut Dice| {
        let constraint = if dice.one_in(2) { Some((dice.one_in(2), pairs(dice))) } else { None };
        (dice.pick(&grantees), dice.pick(&operations), constraint)
    };
    Case {
        who: who(dice),
        action: dice.pick(ASKED),
        key_policy: policy(dice, true),
        context: pairs(dice),
        tags: pairs(dice),
        by_alias: dice.one_in(2),
        grants: (0..count).map(|_| grant(dice)).collect(),
    }
}

/// The service, with one key whose policy, tags and grants are those of the case at hand.
struct Bench {
    kms: EmbeddedKms,
    store: Arc<MemoryStore>,
    record: KeyRecord,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let root = RootKey::generate().expect("random");
        let now = Timestamp::parse_iso8601(NOW).expect("a time");
        let clock = Arc::new(TestClock::at(now));
        let kms = EmbeddedKms::builder(Arc::<MemoryStore>::clone(&store), &root)
            .expect("derives")
            .clock(clock.clone())
            .build();
        let fixture = Fixture { kms, clock, caller: crate::fixture::local(), dir: None };
        let key_id = fixture.create_with(CreateKeyRequest { multi_region: true, ..Default::default() });
        fixture.create_alias("alias/data", key_id).expect("creates");
        let record = store::read(&*store, |tx| Ok(tx.key(&key_id)?)).expect("reads").expect("is there");
        Self { kms: fixture.kms, store, record }
    }

    fn arn(&self) -> String {
        KeyArn::new(self.kms.realm(), &self.record.key_id).to_string()
    }

    fn explain(&self, case: &Case) -> Explanation {
        let tag = |(key, value): &(&str, &str)| Tag { key: (*key).into(), value: (*value).into() };
        let record = KeyRecord {
            policy: Some(KeyPolicy::parse(&case.key_policy.to_string()).expect("parses")),
            tags: case.tags.iter().map(tag).collect(),
            ..self.record.clone()
        };
        store::write(&*self.store as &dyn MetadataStore, |tx| {
            tx.put_key(&record)?;
            (0..2).try_for_each(|number| tx.delete_grant(&GrantId::from_bytes([number; 32])))?;
            case.grants
                .iter()
                .zip(0..)
                .try_for_each(|(grant, number)| tx.put_grant(&self.grant(grant, number)))?;
            Ok(())
        })
        .expect("writes");
        let key_id = match case.by_alias {
            true => KeyRef::from("alias/data".parse::<AliasName>().expect("valid")),
            false => KeyRef::from(record.key_id),
        };
        let encryption_context = case.context.iter().copied().collect();
        let request = ExplainRequest { key_id, action: case.action, encryption_context };
        self.kms.explain(&caller(&case.who), &request).expect("explains")
    }

    fn grant(&self, (grantee, operation, constraint): &Given, number: u8) -> GrantRecord {
        let mut constraints = GrantConstraints::default();
        if let Some((whole, pairs)) = constraint {
            let place = match whole {
                true => &mut constraints.encryption_context_equals,
                false => &mut constraints.encryption_context_subset,
            };
            *place = Some(pairs.iter().copied().collect());
        }
        GrantRecord {
            grant_id: GrantId::from_bytes([number; 32]),
            key_id: self.record.key_id,
            grantee: Principal::from_arn(*grantee),
            retiring: None,
            issuing_account: AccountId::local(),
            operations: vec![*operation],
            constraints,
            name: None,
            creation_date: self.record.creation_date,
        }
    }
}

fn caller(who: &Who) -> Caller {
    let account: AccountId = who.account.parse().expect("an account");
    let caller = Caller {
        principal: Principal::from_arn(who.arn),
        via_service: who.via.map(str::to_owned),
        source_ip: who.ip.map(|ip| ip.parse().expect("an address")),
        ..Caller::local(account, "x")
    };
    match &who.policies {
        None => caller,
        Some(policies) => {
            let parse = |policy: &Value| IdentityPolicy::parse(&policy.to_string()).expect("parses");
            caller.with_policies(policies.iter().map(parse).collect::<Vec<_>>())
        }
    }
}

/// Policies without their `index`-th Allow, counted over all policies of the case.
fn without_allow(case: &Case, index: usize) -> Option<Case> {
    let mut changed = case.clone();
    let mut left = index;
    let policies = std::iter::once(&mut changed.key_policy).chain(changed.who.policies.iter_mut().flatten());
    for policy in policies {
        let list = policy["Statement"].as_array_mut().expect("a list");
        let allows: Vec<_> = (0..list.len()).filter(|at| list[*at]["Effect"] == "Allow").collect();
        if let Some(at) = allows.get(left) {
            list.remove(*at);
            return Some(changed);
        }
        left -= allows.len();
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(SEEDS))]

    #[test]
    fn both_evaluators_agree(seed in 1..u64::MAX) {
        let (bench, mut dice) = (Bench::new(), Dice(seed));
        let arn = bench.arn();
        for _ in 0..CASES_PER_SEED {
            let case = case(&mut dice);
            let allowed = bench.explain(&case).decision.allowed;
            prop_assert_eq!(allowed, by_the_documentation::allows(&case, &arn), "{:#?}", case);
        }
    }
}

/// That two evaluators agree means something only if the cases go through everything that can decide.
#[test]
fn the_cases_reach_every_basis_of_a_decision() {
    let (bench, mut dice) = (Bench::new(), Dice(1));
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..3_000 {
        let decision = bench.explain(&case(&mut dice)).decision;
        let basis = format!("{:?}", decision.basis);
        let kind = basis.split(['(', ' ']).next().unwrap_or_default().to_owned();
        *counts.entry((decision.allowed, kind)).or_insert(0) += 1;
    }
    for (allowed, kind) in [
        (true, "KeyPolicy"),
        (true, "CallerPolicy"),
        (true, "Administrator"),
        (true, "Grant"),
        (false, "KeyPolicy"),
        (false, "CallerPolicy"),
        (false, "NoKeyStatement"),
        (false, "NoCallerStatement"),
    ] {
        let count = counts.get(&(allowed, kind.to_owned())).copied().unwrap_or(0);
        assert!(count >= 20, "{kind}: {count} of {counts:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn an_explicit_deny_wins_and_grants_do_not_widen_it(seed in 1..u64::MAX) {
        let (bench, mut dice) = (Bench::new(), Dice(seed));
        let deny_all = json!({ "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*" });
        for _ in 0..200 {
            let mut case = case(&mut dice);
            let bare = bench.explain(&Case { grants: Vec::new(), ..case.clone() });
            let granted = bench.explain(&Case { grants: vec![grant_to(&case)], ..case.clone() });
            let explicit = bare.refusal.as_ref().is_some_and(|refusal| refusal.message().contains("explicit deny"));
            prop_assert!(!explicit || !granted.decision.allowed, "{:#?}", case);
            prop_assert!(!bare.decision.allowed || granted.decision.allowed, "a grant takes nothing away");
            let statements = case.key_policy["Statement"].as_array_mut().expect("a list");
            let place = dice.below(statements.len() + 1);
            statements.insert(place, deny_all.clone());
            case.grants = vec![grant_to(&case)];
            prop_assert!(!bench.explain(&case).decision.allowed, "{:#?}", case);
        }
    }

    #[test]
    fn without_an_allow_nobody_may_do_more(seed in 1..u64::MAX) {
        let (bench, mut dice) = (Bench::new(), Dice(seed));
        for _ in 0..100 {
            let case = case(&mut dice);
            let before = bench.explain(&case).decision.allowed;
            for changed in (0..).map_while(|index| without_allow(&case, index)) {
                prop_assert!(before || !bench.explain(&changed).decision.allowed, "{:#?}", changed);
            }
        }
    }
}

/// A grant of everything that is asked.
fn grant_to(case: &Case) -> Given {
    (
        case.who.role.unwrap_or(case.who.arn),
        GrantOperation::of(case.action).unwrap_or(GrantOperation::Sign),
        None,
    )
}
