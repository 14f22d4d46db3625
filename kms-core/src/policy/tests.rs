//! The policy language on single policies. The evaluator as a whole is compared with an oracle in the contract tests.

use std::borrow::Cow;

use proptest::prelude::*;

use super::facts::NoFacts;
use super::*;
use crate::model::{Caller, Principal, Timestamp};

fn key_policy(statements: &str) -> Result<KeyPolicy, PolicyError> {
    KeyPolicy::parse(&format!(r#"{{"Version": "2012-10-17", "Statement": {statements}}}"#))
}

fn refusal(statements: &str) -> String {
    key_policy(statements).expect_err("is refused").to_string()
}

#[test]
fn errors_name_the_place() {
    let good = r#""Effect": "Allow", "Principal": "*", "Resource": "*""#;
    let with = |rest: &str| refusal(&format!(r#"[{{{good}, {rest}}}]"#));
    assert_eq!(
        with(r#""Action": ["kms:*", "x"]"#),
        "Statement[0].Action[1]: not an action, as in kms:Decrypt"
    );
    assert_eq!(with(r#""Sid": "x""#), "Statement[0].Action: missing");
    assert_eq!(with(r#""Actions": "kms:*""#), "Statement[0].Actions: no such element");
    assert_eq!(
        with(r#""Action": "kms:*", "Condition": {"StringSame": {"kms:ViaService": "x"}}"#),
        "Statement[0].Condition.StringSame.kms:ViaService: no such operator"
    );
    assert_eq!(
        with(
            r#""Action": "kms:*", "Condition": {"NumericLessThan": {"kms:RotationPeriodInDays": ["1", "x"]}}"#
        ),
        "Statement[0].Condition.NumericLessThan.kms:RotationPeriodInDays[1]: not a number"
    );
    assert_eq!(with(r#""Action": "kms:*", "NotAction": "kms:*""#), "Statement[0].NotAction: beside Action");
    assert_eq!(with(r#""Action": []"#), "Statement[0].Action: an empty list");
    let principal = |json: &str| {
        refusal(&format!(r#"{{"Effect": "Deny", "Action": "*", "Resource": "*", "Principal": {json}}}"#))
    };
    assert_eq!(
        principal(r#"{"AWS": ["*", "bob"]}"#),
        "Statement[0].Principal.AWS[1]: Policy contains a statement with one or more invalid principals."
    );
    assert_eq!(
        principal(r#"{"Federated": "x"}"#),
        "Statement[0].Principal.Federated: principals of a key policy are AWS or Service"
    );
    assert_eq!(refusal(r#"[{"Effect": "Allow"}]"#), "Statement[0].Principal: missing");
    assert!(
        refusal(r#"[{"Effect": "Allow", "Effect": "Deny"}]"#)
            .starts_with("not JSON: the member \"Effect\" appears twice")
    );
    assert_eq!(
        KeyPolicy::parse(&" ".repeat(32_769)).expect_err("long").to_string(),
        "longer than 32768 bytes"
    );
    let identity = |statement: &str| {
        IdentityPolicy::parse(&format!(r#"{{"Statement": {statement}}}"#))
            .expect_err("is refused")
            .to_string()
    };
    assert_eq!(identity(r#"{"Effect": "Allow", "Action": "*"}"#), "Statement[0].Resource: missing");
    assert_eq!(identity(r#"{"Principal": "*"}"#), "Statement[0].Principal: no such element");
    assert_eq!(
        identity(r#"{"Effect": "Allow", "Action": "*", "Resource": "arn:aws:kms:*"}"#),
        "Statement[0].Resource: not an ARN of six parts"
    );
}

#[test]
fn the_default_policy_is_that_of_aws() {
    let policy = KeyPolicy::default_of(&AccountId::local());
    assert_eq!(policy.id(), Some("key-default-1"));
    let [statement] = policy.statements() else { panic!("one statement") };
    assert_eq!(statement.statement.sid.as_deref(), Some("Enable IAM User Permissions"));
    assert!(Action::ALL.iter().all(|action| statement.statement.actions.contains(*action)));
    assert!(policy.text().contains(r#""AWS" : "arn:aws:iam::000000000000:root""#));
}

#[test]
fn a_key_statement_without_a_resource_has_no_effect() {
    let policy = key_policy(r#"[{"Effect": "Allow", "Principal": "*", "Action": "kms:*"}]"#).expect("parses");
    let caller = Caller::local(AccountId::local(), "x");
    assert_eq!(policy.evaluate(&caller, Action::Encrypt, &NoFacts), KeyVerdict::default());
}

/// One key with given values.
struct With(Vec<Value<'static>>);

impl Facts for With {
    fn values(&self, key: &ConditionKey) -> Vec<Value<'_>> {
        if *key == ConditionKey::TagKeys { self.0.clone() } else { Vec::new() }
    }

    fn resource(&self) -> Cow<'_, str> {
        Cow::Borrowed("arn:aws:kms:local-1:000000000000:key/x")
    }
}

fn holds(operator: &str, written: &str, values: &[Value<'static>]) -> bool {
    let condition = format!(r#""Condition": {{"{operator}": {{"aws:TagKeys": {written}}}}}"#);
    let policy = key_policy(&format!(
        r#"{{"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*", {condition}}}"#
    ));
    let caller = Caller::local(AccountId::local(), "x");
    let verdict = policy.expect("parses").evaluate(&caller, Action::Encrypt, &With(values.to_vec()));
    verdict.allowed == Some(0)
}

#[test]
fn every_operator_on_a_value_that_fits_one_that_does_not_and_none() {
    let time = Value::Time(Timestamp::parse_iso8601("2030-01-31").expect("a date"));
    let late = Value::Time(Timestamp::parse_iso8601("2031-01-31").expect("a date"));
    let address = |text: &str| Value::Address(text.parse().expect("an address"));
    let text = |text: &'static str| Value::from(text);
    let cases = [
        ("StringEquals", r#"["a", "b"]"#, text("b"), text("B"), false),
        ("StringNotEquals", r#"["a", "b"]"#, text("B"), text("b"), true),
        ("StringEqualsIgnoreCase", r#""ab""#, text("aB"), text("ac"), false),
        ("StringNotEqualsIgnoreCase", r#""ab""#, text("ac"), text("aB"), true),
        ("StringLike", r#""a*c?""#, text("abbcd"), text("abb"), false),
        ("StringNotLike", r#""a*""#, text("b"), text("ab"), true),
        ("StringEquals", r#""a*""#, text("a*"), text("ab"), false),
        ("Bool", "true", Value::Bool(true), Value::Bool(false), false),
        ("Bool", r#""False""#, text("false"), text("0"), false),
        ("NumericEquals", "7", Value::Number(7), Value::Number(8), false),
        ("NumericNotEquals", r#"["7", 8]"#, Value::Number(9), Value::Number(8), true),
        ("NumericLessThan", "7.5", Value::Number(7), Value::Number(8), false),
        ("NumericLessThanEquals", "7", Value::Number(7), text("x"), false),
        ("NumericGreaterThan", "7", text("7.1"), Value::Number(7), false),
        ("NumericGreaterThanEquals", "7", Value::Number(7), Value::Number(6), false),
        ("DateEquals", r#""2030-01-31T01:00+01:00""#, time.clone(), late.clone(), false),
        ("DateNotEquals", r#""2030-01-31""#, late.clone(), time.clone(), true),
        ("DateLessThan", r#""2030-06-01T00:00:00Z""#, time.clone(), late.clone(), false),
        ("DateLessThanEquals", r#""2030-01-31""#, time.clone(), late.clone(), false),
        ("DateGreaterThan", "1900000000", late.clone(), time.clone(), false),
        ("DateGreaterThanEquals", r#""2031-01-31""#, late, time, false),
        (
            "ArnEquals",
            r#""arn:aws:iam::*:user/a?""#,
            text("arn:aws:iam::1:user/ab"),
            text("arn:aws:iam:x:1:user/ab"),
            false,
        ),
        ("ArnLike", r#""arn:aws:s3:::b/*""#, text("arn:aws:s3:::b/c:d"), text("arn:aws:s3"), false),
        ("ArnNotLike", r#""arn:aws:s3:::b/*""#, text("arn:aws:s3:::c/d"), text("arn:aws:s3:::b/d"), true),
        ("ArnNotEquals", r#""arn:aws:s3:::b""#, text("b"), text("arn:aws:s3:::b"), true),
        ("IpAddress", r#""10.0.0.0/8""#, address("10.1.2.3"), address("11.1.2.3"), false),
        ("NotIpAddress", r#"["10.0.0.0/8", "::1"]"#, address("11.1.2.3"), address("::1"), true),
    ];
    for (operator, written, fits, other, negated) in cases {
        assert!(holds(operator, written, std::slice::from_ref(&fits)), "{operator} {written} {fits:?}");
        assert!(!holds(operator, written, std::slice::from_ref(&other)), "{operator} {written} {other:?}");
        assert_eq!(holds(operator, written, &[]), negated, "{operator} without a value");
        let if_exists = format!("{operator}IfExists");
        assert!(holds(&if_exists, written, &[]) && holds(&if_exists, written, std::slice::from_ref(&fits)));
        assert!(!holds(&if_exists, written, std::slice::from_ref(&other)));
        // With one value, the sets say the same; without any they differ.
        for set in ["ForAllValues", "ForAnyValue"] {
            let operator = format!("{set}:{operator}");
            assert!(holds(&operator, written, std::slice::from_ref(&fits)), "{operator} {written}");
            assert!(!holds(&operator, written, std::slice::from_ref(&other)), "{operator} {written}");
            assert_eq!(holds(&operator, written, &[]), set == "ForAllValues");
            let both = holds(&operator, written, &[fits.clone(), other.clone()]);
            assert_eq!(both, set == "ForAnyValue");
        }
    }
    assert!(holds("Null", "true", &[]) && !holds("Null", "true", &[text("a")]));
    assert!(holds("Null", r#""false""#, &[text("a")]) && !holds("Null", "false", &[]));
}

fn json_like() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("Version"),
        Just("2012-10-17"),
        Just("Statement"),
        Just("Effect"),
        Just("Allow"),
        Just("Principal"),
        Just("AWS"),
        Just("*"),
        Just("Action"),
        Just("kms:*"),
        Just("Resource"),
        Just("Condition"),
        Just("StringLike"),
        Just("kms:ViaService"),
        Just("${aws:username}"),
        Just("Bool"),
        Just("${"),
        Just("Id"),
    ];
    let leaf = prop_oneof![
        word.clone().prop_map(|word| format!("{word:?}")),
        Just("true".to_owned()),
        Just("1e300".to_owned()),
        Just("null".to_owned()),
        ".{0,6}".prop_map(|text| serde_json::to_string(&text).expect("a text")),
    ];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        let member = (word.clone(), inner.clone()).prop_map(|(name, value)| format!("{name:?}: {value}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            proptest::collection::vec(member, 0..6).prop_map(|list| format!("{{{}}}", list.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn parsing_is_total(text in prop_oneof![json_like(), "\\PC{0,60}"]) {
        let _ = KeyPolicy::parse(&text);
        let _ = IdentityPolicy::parse(&text);
    }

    /// Any one byte of a good policy changed: no panic, and what still parses evaluates.
    #[test]
    fn damaged_policies_are_refused_or_read(position in 0_usize..900, byte in 0_u8..128) {
        let policy = KeyPolicy::managed("kmsfs", &Region::local(), &AccountId::local());
        let mut bytes = policy.text().as_bytes().to_vec();
        let len = bytes.len();
        bytes[position % len] = byte;
        if let Ok(policy) = KeyPolicy::parse(&String::from_utf8(bytes).expect("ASCII")) {
            let caller = Caller { principal: Principal::from_arn("x"), ..Caller::local(AccountId::local(), "x") };
            policy.evaluate(&caller, Action::Encrypt, &NoFacts);
        }
    }
}
