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
    let (key, operator, values) = match dice.below(9) {
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
        _ => (
            dice.pick(&["kms:RequestAlias", "aws:nothing", "kms:ViaService"]),
            "Null",
            dice.some(&["true", "false"]),
        ),
    };
    let mut operator = operator.to_owned();
    if operator != "Null" {
        operator = format!(
            "{}{operator}{}",
            dice.pick(&["", "", "ForAllValues:", "ForAnyValue:"]),
            dice.pick(&["", "", "IfExists"])
        );
    }
    json!({ operator: { key: values } })
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

/// The second evaluator. It knows no types: only JSON, texts, and the sentences of the documentation.
mod by_the_documentation {
    use super::*;

    pub(super) fn allows(case: &Case, arn: &str) -> bool {
        let key_statements = case.key_policy["Statement"].as_array().expect("a list");
        let own = case.who.policies.iter().flatten();
        let own: Vec<(&Value, &Value)> = own
            .flat_map(|policy| {
                policy["Statement"].as_array().expect("a list").iter().map(move |one| (policy, one))
            })
            .collect();
        let on_key = |effect: &'static str| {
            key_statements
                .iter()
                .filter(move |one| one["Effect"] == effect && applies(one, &case.key_policy, case, arn))
        };
        let own_says = |effect: &str| {
            own.iter().any(|(policy, one)| one["Effect"] == effect && applies(one, policy, case, arn))
        };
        if on_key("Deny").any(|one| denies_caller(one, &case.who)) || own_says("Deny") {
            return false;
        }
        let direct = on_key("Allow").any(|one| allows_caller(one, &case.who));
        let account = on_key("Allow").any(|one| allows_account(one, &case.who));
        let own_allows = case.who.policies.is_none() || own_says("Allow");
        let no_second_side = case.who.account == OWN || case.who.service;
        direct && no_second_side || (direct || account) && own_allows || granted(case)
    }

    fn applies(statement: &Value, policy: &Value, case: &Case, arn: &str) -> bool {
        let action = case.action.as_str().to_lowercase();
        let names_action = |list: &Value| texts(list).iter().any(|one| like(&one.to_lowercase(), &action));
        let names_key = |list: &Value| {
            texts(list).iter().any(|one| {
                let six = |text: &str| text.splitn(6, ':').map(str::to_owned).collect::<Vec<_>>();
                one == "*" || six(one).iter().zip(six(arn)).all(|(pattern, part)| like(pattern, &part))
            })
        };
        let by_action = match &statement["Action"] {
            Value::Null => !names_action(&statement["NotAction"]),
            list => names_action(list),
        };
        let by_resource = match (&statement["Resource"], &statement["NotResource"]) {
            (Value::Null, Value::Null) => false,
            (Value::Null, list) => !names_key(list),
            (list, _) => names_key(list),
        };
        by_action && by_resource && conditions_hold(statement, policy, case)
    }

    fn texts(json: &Value) -> Vec<String> {
        match json {
            Value::Array(list) => list.iter().map(|one| one.as_str().expect("a text").to_owned()).collect(),
            one => vec![one.as_str().expect("a text").to_owned()],
        }
    }

    /// `*` and `?`, by recursion.
    fn like(pattern: &str, text: &str) -> bool {
        match pattern.chars().next() {
            None => text.is_empty(),
            Some('*') => {
                like(&pattern[1..], text)
                    || text.chars().next().is_some_and(|first| like(pattern, &text[first.len_utf8()..]))
            }
            Some('?') => {
                text.chars().next().is_some_and(|first| like(&pattern[1..], &text[first.len_utf8()..]))
            }
            Some(one) => text.strip_prefix(one).is_some_and(|rest| like(&pattern[one.len_utf8()..], rest)),
        }
    }

    fn listed(principals: &Value) -> Vec<String> {
        match principals {
            Value::Null => Vec::new(),
            Value::String(star) => vec![star.clone()],
            kinds => kinds.as_object().expect("an object").values().flat_map(texts).collect(),
        }
    }

    /// The names of the caller itself, and those of its account.
    fn names(who: &Who) -> (Vec<String>, Vec<String>) {
        let account = if who.service {
            Vec::new()
        } else {
            vec![who.account.to_owned(), format!("arn:aws:iam::{}:root", who.account)]
        };
        let mut own: Vec<_> = std::iter::once(who.arn).chain(who.role).map(str::to_owned).collect();
        if who.arn.ends_with(":root") {
            own.extend(account.clone());
        }
        (own, account)
    }

    fn meets(list: &[String], names: &[String]) -> bool {
        list.iter().any(|one| names.contains(one))
    }

    fn denies_caller(statement: &Value, who: &Who) -> bool {
        let (own, account) = names(who);
        let (list, except) = (listed(&statement["Principal"]), listed(&statement["NotPrincipal"]));
        if except.is_empty() {
            return list.contains(&"*".to_owned()) || meets(&list, &own) || meets(&list, &account);
        }
        // "NotPrincipal" with "Deny": the account, the role and the session all have to be excepted.
        let root = who.arn.ends_with(":root");
        let account_out = who.service || meets(&except, &account);
        let role_out = who.role.is_none_or(|role| except.contains(&role.to_owned()));
        let itself_out = root || except.contains(&who.arn.to_owned());
        !(except.contains(&"*".to_owned()) || account_out && role_out && itself_out)
    }

    fn allows_caller(statement: &Value, who: &Who) -> bool {
        let (own, account) = names(who);
        let (list, except) = (listed(&statement["Principal"]), listed(&statement["NotPrincipal"]));
        if except.is_empty() {
            return list.contains(&"*".to_owned()) || meets(&list, &own);
        }
        !(except.contains(&"*".to_owned()) || meets(&except, &own) || meets(&except, &account))
    }

    fn allows_account(statement: &Value, who: &Who) -> bool {
        meets(&listed(&statement["Principal"]), &names(who).1)
    }

    fn conditions_hold(statement: &Value, policy: &Value, case: &Case) -> bool {
        let Some(block) = statement["Condition"].as_object() else { return true };
        block.iter().all(|(operator, keys)| {
            keys.as_object().expect("an object").iter().all(|(key, values)| {
                one_holds(
                    operator,
                    &key.to_lowercase(),
                    &texts(values),
                    policy["Version"] == "2012-10-17",
                    case,
                )
            })
        })
    }

    fn one_holds(operator: &str, key: &str, written: &[String], variables: bool, case: &Case) -> bool {
        let found = request_values(key, case);
        if operator == "Null" {
            return written.contains(&found.is_empty().to_string());
        }
        let if_exists = operator.ends_with("IfExists");
        let bare = operator.trim_end_matches("IfExists");
        let (set, bare) = bare.split_once(':').unwrap_or(("", bare));
        if found.is_empty() && if_exists {
            return true;
        }
        let negated = bare.contains("Not");
        let plain = bare.replace("Not", "");
        let matches = |value: &String| {
            written.iter().any(|text| {
                let text = if variables { fill_in(text, case) } else { Some(text.clone()) };
                text.is_some_and(|text| compare(&plain, &text, value))
            }) != negated
        };
        match (set, found.is_empty()) {
            ("ForAllValues", _) => found.iter().all(matches),
            ("ForAnyValue", _) => found.iter().any(matches),
            (_, true) => negated,
            (_, false) if negated => found.iter().all(matches),
            (_, false) => found.iter().any(matches),
        }
    }

    /// The one variable that is generated.
    fn fill_in(text: &str, case: &Case) -> Option<String> {
        match request_values("aws:username", case).first() {
            _ if !text.contains("${aws:username}") => Some(text.to_owned()),
            Some(name) => Some(text.replace("${aws:username}", name)),
            None => None,
        }
    }

    fn compare(operator: &str, written: &str, found: &str) -> bool {
        match operator {
            "StringEquals" => written == found,
            "StringEqualsIgnoreCase" => written.to_lowercase() == found.to_lowercase(),
            "StringLike" => like(written, found),
            "ArnLike" | "ArnEquals" => {
                let parts = |text: &str| text.splitn(6, ':').map(str::to_owned).collect::<Vec<_>>();
                let (pattern, arn) = (parts(written), parts(found));
                pattern.len() == arn.len() && pattern.iter().zip(arn).all(|(one, other)| like(one, &other))
            }
            // Times of one form compare as texts.
            "DateLessThan" => found < written,
            "DateGreaterThan" => found > written,
            "DateEquals" => found == written,
            "DateLessThanEquals" => found <= written,
            // Of the two ranges that are generated, one is a leading number and one a single address.
            "IpAddress" => match written {
                "10.0.0.0/8" => found.starts_with("10."),
                single => single == format!("{found}/32"),
            },
            other => panic!("{other} is not generated"),
        }
    }

    fn request_values(key: &str, case: &Case) -> Vec<String> {
        let who = &case.who;
        let named = |pairs: &[(&str, &str)], name: &str| {
            let same = pairs.iter().filter(|(found, _)| found.to_lowercase() == name);
            same.map(|(_, value)| (*value).to_owned()).collect::<Vec<_>>()
        };
        if let Some(name) = key.strip_prefix("kms:encryptioncontext:") {
            return named(&case.context, name);
        }
        if let Some(name) = key.strip_prefix("aws:resourcetag/") {
            return named(&case.tags, name);
        }
        let list: Vec<String> = match key {
            "kms:encryptioncontextkeys" => case.context.iter().map(|(name, _)| (*name).to_owned()).collect(),
            "kms:viaservice" => who.via.iter().map(|via| format!("{via}.local-1.amazonaws.com")).collect(),
            "kms:calleraccount" => vec![who.account.to_owned()],
            "aws:principalarn" if who.role.is_some() => vec!["arn:aws:iam::000000000000:role/ops".to_owned()],
            "aws:principalarn" => vec![who.arn.to_owned()],
            "aws:username" => {
                who.arn.split_once(":user/").into_iter().map(|(_, name)| name.to_owned()).collect()
            }
            "aws:currenttime" => vec![NOW.to_owned()],
            "aws:sourceip" => who.ip.iter().map(|ip| (*ip).to_owned()).collect(),
            "kms:requestalias" if case.by_alias => vec!["alias/data".to_owned()],
            _ => Vec::new(),
        };
        list
    }

    fn granted(case: &Case) -> bool {
        case.grants.iter().any(|(grantee, operation, constraint)| {
            let to_caller = *grantee == case.who.arn || Some(*grantee) == case.who.role;
            let fits = match constraint {
                _ if *operation == GrantOperation::DescribeKey => true,
                None => true,
                Some((true, whole)) => *whole == case.context,
                Some((false, part)) => part.iter().all(|pair| case.context.contains(pair)),
            };
            to_caller && fits && format!("kms:{operation}") == case.action.as_str()
        })
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
        let key_id = fixture.create();
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
