//! From the text of a policy to its statements. Every element that is not understood is an error: a policy that does
//! less, or more, than its author believes is worse than one that is refused.

use super::condition::{ArnPattern, Condition, Order, Quantifier, Test};
use super::json::Json;
use super::key::ConditionKey;
use super::pattern::{Pattern, Syntax};
use super::principal::{PolicyPrincipal, Principals};
use super::value::{self, AddressRange, Number};
use super::{ActionSet, Effect, MAX_POLICY_LEN, PolicyError, Resources, Statement};
use crate::model::Action;

/// Whose policy it is, and so which elements its statements have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of a key: statements name principals. One without `Resource` has no effect, as in AWS.
    Key,
    /// Of a caller: statements name no principals.
    Identity,
}

type Members<'a> = &'a [(String, Json)];

/// A policy, parsed. Each statement comes with its principals, which the statements of a caller's policy do not have.
pub(super) struct Parsed {
    pub(super) id: Option<String>,
    pub(super) statements: Vec<(Statement, Option<Principals>)>,
}

/// Parses a policy.
pub(super) fn policy(text: &str, kind: Kind) -> Result<Parsed, PolicyError> {
    if text.len() > MAX_POLICY_LEN {
        return Err(PolicyError::problem(format_args!("longer than {MAX_POLICY_LEN} bytes")));
    }
    let json = Json::read(text).map_err(|error| PolicyError::problem(format_args!("not JSON: {error}")))?;
    let members = object(&json)?;
    let mut variables = false;
    for (name, value) in members {
        match (name.as_str(), value) {
            ("Version", Json::Text(version)) if version == "2012-10-17" => variables = true,
            ("Version", Json::Text(version)) if version == "2008-10-17" => {}
            ("Id", Json::Text(_)) | ("Statement", _) => {}
            ("Version", _) => return Err(PolicyError::problem("2012-10-17 or 2008-10-17").at("Version")),
            ("Id", _) => return Err(PolicyError::problem("not a text").at("Id")),
            (_, _) => return Err(PolicyError::problem("no such element").at(name)),
        }
    }
    let id = text_of(members, "Id").map(str::to_owned);
    let statement =
        member(members, "Statement").ok_or_else(|| PolicyError::problem("missing").at("Statement"))?;
    let list = match statement {
        Json::List(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let parse = |(index, one): (usize, &Json)| {
        Parser { kind, variables }
            .statement(one)
            .map_err(|error| error.at(format_args!("Statement[{index}]")))
    };
    let parsed: Result<Vec<_>, _> = list.iter().enumerate().map(parse).collect();
    Ok(Parsed { id, statements: parsed? })
}

fn object(json: &Json) -> Result<Members<'_>, PolicyError> {
    match json {
        Json::Object(members) => Ok(members),
        other => Err(PolicyError::problem(format_args!("{} where an object belongs", other.kind()))),
    }
}

fn member<'a>(members: Members<'a>, name: &str) -> Option<&'a Json> {
    members.iter().find(|(found, _)| found == name).map(|(_, value)| value)
}

fn text_of<'a>(members: Members<'a>, name: &str) -> Option<&'a str> {
    match member(members, name) {
        Some(Json::Text(text)) => Some(text),
        _ => None,
    }
}

/// Parses one value, or each of a list of at least one.
fn each<T>(json: &Json, parse: impl Fn(&Json) -> Result<T, PolicyError>) -> Result<Vec<T>, PolicyError> {
    match json {
        Json::List(list) if list.is_empty() => Err(PolicyError::problem("an empty list")),
        Json::List(list) => {
            let parse = |(index, one)| parse(one).map_err(|error| error.at(format_args!("[{index}]")));
            list.iter().enumerate().map(parse).collect()
        }
        one => Ok(vec![parse(one)?]),
    }
}

fn text(json: &Json) -> Result<&str, PolicyError> {
    match json {
        Json::Text(text) => Ok(text),
        other => Err(PolicyError::problem(format_args!("{} where a text belongs", other.kind()))),
    }
}

/// The value of a condition as a text: booleans and numbers may be written without quotes.
fn scalar(json: &Json) -> Result<String, PolicyError> {
    match json {
        Json::Text(text) => Ok(text.clone()),
        Json::Bool(truth) => Ok(truth.to_string()),
        Json::Number(number) => Ok(number.to_string()),
        other => Err(PolicyError::problem(format_args!("{} where a value belongs", other.kind()))),
    }
}

#[derive(Clone, Copy)]
struct Parser {
    kind: Kind,
    variables: bool,
}

impl Parser {
    fn statement(self, json: &Json) -> Result<(Statement, Option<Principals>), PolicyError> {
        let members = object(json)?;
        for (name, value) in members {
            let known = match name.as_str() {
                "Sid" => text(value).map(|_| true).map_err(|error| error.at("Sid"))?,
                "Effect" | "Action" | "NotAction" | "Resource" | "NotResource" | "Condition" => true,
                "Principal" | "NotPrincipal" => self.kind == Kind::Key,
                _ => false,
            };
            if !known {
                return Err(PolicyError::problem("no such element").at(name));
            }
        }
        let effect = match text_of(members, "Effect") {
            Some("Allow") => Effect::Allow,
            Some("Deny") => Effect::Deny,
            _ => return Err(PolicyError::problem("Allow or Deny").at("Effect")),
        };
        let principals = match self.kind {
            Kind::Key => Some(self.principals(members)?),
            Kind::Identity => None,
        };
        let statement = Statement {
            sid: text_of(members, "Sid").map(str::to_owned),
            effect,
            actions: actions(members)?,
            resources: self.resources(members)?,
            conditions: self.conditions(members)?,
        };
        Ok((statement, principals))
    }

    fn principals(self, members: Members<'_>) -> Result<Principals, PolicyError> {
        let (name, json, inverse) = either(members, "Principal", "NotPrincipal")?
            .ok_or_else(|| PolicyError::problem("missing").at("Principal"))?;
        let list = principal_list(json).map_err(|error| error.at(name))?;
        Ok(if inverse { Principals::NotIn(list) } else { Principals::In(list) })
    }

    fn resources(self, members: Members<'_>) -> Result<Option<Resources>, PolicyError> {
        let Some((name, json, inverse)) = either(members, "Resource", "NotResource")? else {
            return match self.kind {
                Kind::Key => Ok(None),
                Kind::Identity => Err(PolicyError::problem("missing").at("Resource")),
            };
        };
        let list = each(json, |one| self.arn_pattern(text(one)?)).map_err(|error| error.at(name))?;
        Ok(Some(if inverse { Resources::NotIn(list) } else { Resources::In(list) }))
    }

    fn pattern(self, text: &str, wildcards: bool) -> Result<Pattern, PolicyError> {
        Pattern::parse(text, Syntax { wildcards, variables: self.variables })
    }

    fn arn_pattern(self, text: &str) -> Result<ArnPattern, PolicyError> {
        let pattern = self.pattern(text, true)?;
        if pattern.is_any() {
            return Ok(ArnPattern::Any);
        }
        let parts = pattern.split_at_colons(6).filter(|_| text.starts_with("arn:"));
        parts.map(ArnPattern::Parts).ok_or_else(|| PolicyError::problem("not an ARN of six parts"))
    }

    fn conditions(self, members: Members<'_>) -> Result<Vec<Condition>, PolicyError> {
        let Some(json) = member(members, "Condition") else { return Ok(Vec::new()) };
        self.condition_block(json).map_err(|error| error.at("Condition"))
    }

    fn condition_block(self, json: &Json) -> Result<Vec<Condition>, PolicyError> {
        let mut conditions = Vec::new();
        for (operator, keys) in object(json)? {
            for (key, values) in object(keys).map_err(|error| error.at(operator))? {
                let parsed = ConditionKey::parse(key).and_then(|key| self.condition(operator, key, values));
                conditions.push(parsed.map_err(|error| error.at(key).at(operator))?);
            }
        }
        Ok(conditions)
    }

    fn condition(self, operator: &str, key: ConditionKey, values: &Json) -> Result<Condition, PolicyError> {
        if operator == "Null" {
            return Ok(Condition::Absent { key, expected: each(values, truth)? });
        }
        let (quantifier, rest) = match operator.split_once(':') {
            None => (Quantifier::One, operator),
            Some(("ForAllValues", rest)) => (Quantifier::All, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
            Some(_) => return Err(PolicyError::problem("no such operator")),
        };
        let (name, if_exists) = rest.strip_suffix("IfExists").map_or((rest, false), |name| (name, true));
        Ok(Condition::Test { key, quantifier, if_exists, test: self.test(name, values)? })
    }

    fn test(self, name: &str, values: &Json) -> Result<Test, PolicyError> {
        let texts = |negated, ignore_case, wildcards| {
            let values = each(values, |one| self.pattern(&scalar(one)?, wildcards))?;
            Ok(Test::Text { negated, ignore_case, values })
        };
        let arns =
            |negated| Ok(Test::Arn { negated, values: each(values, |one| self.arn_pattern(&scalar(one)?))? });
        let ranges = |negated| Ok(Test::Address { negated, values: each(values, range)? });
        match name {
            "StringEquals" => texts(false, false, false),
            "StringNotEquals" => texts(true, false, false),
            "StringEqualsIgnoreCase" => texts(false, true, false),
            "StringNotEqualsIgnoreCase" => texts(true, true, false),
            "StringLike" => texts(false, false, true),
            "StringNotLike" => texts(true, false, true),
            "ArnEquals" | "ArnLike" => arns(false),
            "ArnNotEquals" | "ArnNotLike" => arns(true),
            "IpAddress" => ranges(false),
            "NotIpAddress" => ranges(true),
            "Bool" => Ok(Test::Bool(each(values, truth)?)),
            _ => match (name.strip_prefix("Numeric"), name.strip_prefix("Date")) {
                (Some(rest), _) => Ok(Test::Number(order(rest)?, each(values, number)?)),
                (_, Some(rest)) => Ok(Test::Date(order(rest)?, each(values, time)?)),
                (None, None) => Err(PolicyError::problem("no such operator")),
            },
        }
    }
}

/// An element or its inverse, never both.
fn either<'a>(
    members: Members<'a>,
    name: &'static str,
    inverse: &'static str,
) -> Result<Option<(&'static str, &'a Json, bool)>, PolicyError> {
    match (member(members, name), member(members, inverse)) {
        (Some(json), None) => Ok(Some((name, json, false))),
        (None, Some(json)) => Ok(Some((inverse, json, true))),
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(PolicyError::problem(format_args!("beside {name}")).at(inverse)),
    }
}

fn principal_list(json: &Json) -> Result<Vec<PolicyPrincipal>, PolicyError> {
    match json {
        Json::Text(star) if star == "*" => Ok(vec![PolicyPrincipal::Everyone]),
        Json::Object(kinds) if !kinds.is_empty() => {
            let mut all = Vec::new();
            for (kind, names) in kinds {
                let list = match kind.as_str() {
                    "AWS" => each(names, |one| PolicyPrincipal::parse_aws(text(one)?)),
                    "Service" => each(names, |one| PolicyPrincipal::parse_service(text(one)?)),
                    _ => Err(PolicyError::problem("principals of a key policy are AWS or Service")),
                };
                all.extend(list.map_err(|error| error.at(kind))?);
            }
            Ok(all)
        }
        other => Err(PolicyError::problem(format_args!("{} where principals belong", other.kind()))),
    }
}

fn actions(members: Members<'_>) -> Result<ActionSet, PolicyError> {
    let (name, json, inverse) = either(members, "Action", "NotAction")?
        .ok_or_else(|| PolicyError::problem("missing").at("Action"))?;
    let patterns = each(json, |one| action_pattern(text(one)?)).map_err(|error| error.at(name))?;
    let named = |action: &Action| patterns.iter().any(|pattern| pattern.names(*action));
    Ok(Action::ALL.iter().copied().filter(|action| named(action) != inverse).collect())
}

/// `*`, or the prefix of a service and a pattern of its actions.
struct ActionPattern(Pattern);

impl ActionPattern {
    fn names(&self, action: Action) -> bool {
        self.0.matches_plainly_ignoring_case(action.as_str())
    }
}

fn action_pattern(text: &str) -> Result<ActionPattern, PolicyError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'*' | b'?');
    let shaped = match text.split_once(':') {
        Some((vendor, name)) => {
            !vendor.is_empty() && !name.is_empty() && vendor.bytes().chain(name.bytes()).all(legal)
        }
        None => text == "*",
    };
    if !shaped {
        return Err(PolicyError::problem("not an action, as in kms:Decrypt"));
    }
    Ok(ActionPattern(Pattern::parse(text, Syntax { wildcards: true, variables: false })?))
}

fn order(name: &str) -> Result<Order, PolicyError> {
    Ok(match name {
        "Equals" => Order::Equals,
        "NotEquals" => Order::NotEquals,
        "LessThan" => Order::LessThan,
        "LessThanEquals" => Order::LessThanEquals,
        "GreaterThan" => Order::GreaterThan,
        "GreaterThanEquals" => Order::GreaterThanEquals,
        _ => return Err(PolicyError::problem("no such operator")),
    })
}

fn truth(json: &Json) -> Result<bool, PolicyError> {
    value::truth(&scalar(json)?).ok_or_else(|| PolicyError::problem("true or false"))
}

fn number(json: &Json) -> Result<Number, PolicyError> {
    Number::parse(&scalar(json)?).ok_or_else(|| PolicyError::problem("not a number"))
}

fn time(json: &Json) -> Result<crate::model::Timestamp, PolicyError> {
    value::time(&scalar(json)?).ok_or_else(|| PolicyError::problem("not a time"))
}

fn range(json: &Json) -> Result<AddressRange, PolicyError> {
    AddressRange::parse(&scalar(json)?)
        .ok_or_else(|| PolicyError::problem("not an address or a range of them"))
}
