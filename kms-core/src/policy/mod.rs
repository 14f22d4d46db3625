//! The policy language: parsed once into types that cannot hold an illegal value, evaluated without clock or I/O.
//!
//! A [`KeyPolicy`] belongs to a key and names principals; an [`IdentityPolicy`] belongs to a caller. Both are evaluated
//! on a [`Caller`](crate::model::Caller), an [`Action`] and the [`Facts`] of a request, and say which statement spoke. What follows from both
//! together is decided by the service. The meaning of every element is that of the AWS documentation ("IAM JSON policy
//! elements reference", "Key policies in AWS KMS").

mod condition;
mod evaluate;
mod facts;
mod glob;
mod json;
mod key;
mod parse;
mod pattern;
mod principal;
mod value;

use std::fmt;
use std::sync::Arc;

pub use condition::{ArnPattern, Condition, Order, Quantifier, Test};
pub use evaluate::{IdentityVerdict, KeyVerdict};
pub use facts::{Facts, Value};
pub use key::ConditionKey;
pub use pattern::Pattern;
pub use principal::{PolicyPrincipal, Principals};
pub use value::{AddressRange, Number};

use crate::error::KmsError;
use crate::model::{AccountId, Action, Region};
use parse::Kind;

/// The longest policy in bytes.
pub const MAX_POLICY_LEN: usize = 32_768;

/// Why a text is not a policy, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    place: String,
    problem: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.problem)
    }
}

impl PolicyError {
    fn problem(problem: impl fmt::Display) -> Self {
        Self { place: String::new(), problem: problem.to_string() }
    }

    /// The same, found inside `place`.
    fn at(mut self, place: impl fmt::Display) -> Self {
        let dot = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = format!("{place}{dot}{}", self.place);
        self
    }

    /// Where in the policy: `Statement[0].Condition.Bool`. Empty for the policy as a whole.
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl From<PolicyError> for KmsError {
    fn from(error: PolicyError) -> Self {
        Self::MalformedPolicyDocument(error.to_string())
    }
}

/// What a statement does when it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It allows.
    Allow,
    /// It denies, whatever else allows.
    Deny,
}

/// A set of the actions of this service. Patterns are resolved when a policy is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ActionSet(u128);

impl ActionSet {
    const fn bit(action: Action) -> u128 {
        1 << (action as u32)
    }

    /// Whether an action is in the set.
    pub const fn contains(self, action: Action) -> bool {
        self.0 & Self::bit(action) != 0
    }
}

impl FromIterator<Action> for ActionSet {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        Self(actions.into_iter().fold(0, |set, action| set | Self::bit(action)))
    }
}

/// `Resource` or `NotResource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resources {
    /// The statement is about these.
    In(Vec<ArnPattern>),
    /// The statement is about all but these.
    NotIn(Vec<ArnPattern>),
}

/// A statement without its principals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its name.
    pub sid: Option<String>,
    /// Whether it allows or denies.
    pub effect: Effect,
    /// The actions.
    pub actions: ActionSet,
    /// The resources. A statement of a key policy without them has no effect.
    pub resources: Option<Resources>,
    /// All of these must hold.
    pub conditions: Vec<Condition>,
}

/// A statement of a key policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatement {
    /// Whom it is about.
    pub principals: Principals,
    /// The rest of it.
    pub statement: Statement,
}

/// The policy of a key: its text, and what it says. Cheap to clone.
#[derive(Clone)]
pub struct KeyPolicy(Arc<Document<KeyStatement>>);

/// A policy of a caller, as in IAM. Cheap to clone.
#[derive(Clone)]
pub struct IdentityPolicy(Arc<Document<Statement>>);

struct Document<S> {
    text: String,
    id: Option<String>,
    statements: Vec<S>,
}

impl KeyPolicy {
    /// Parses the text of a key policy.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let parsed = parse::policy(text, Kind::Key)?;
        let pair = |(statement, principals): (Statement, Option<Principals>)| {
            principals.map(|principals| KeyStatement { principals, statement })
        };
        let statements = parsed.statements.into_iter().filter_map(pair).collect();
        Ok(Self(Arc::new(Document { text: text.to_owned(), id: parsed.id, statements })))
    }

    /// What a key gets that is created without a policy: the account decides with its own policies.
    pub fn default_of(account: &AccountId) -> Self {
        let text = include_str!("default_key_policy.json").trim_end().replace("ACCOUNT", account.as_str());
        Self::parse(&text).expect("the default key policy is valid for every account")
    }

    /// What the AWS managed key of a service has: it is used only through its service, and everybody in the account
    /// may look at it. A name that cannot be a service gets a policy that allows nothing.
    pub fn managed(service: &str, region: &Region, account: &AccountId) -> Self {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let text = match service.bytes().all(legal) {
            true => include_str!("managed_key_policy.json").trim_end(),
            false => r#"{"Version": "2012-10-17", "Statement": []}"#,
        };
        let text = text
            .replace("ACCOUNT", account.as_str())
            .replace("SERVICE_NAME", &service.to_uppercase())
            .replace("SERVICE", service)
            .replace("REGION", region.as_str());
        Self::parse(&text).expect("the policy of a managed key is valid for every service")
    }

    /// The text, as it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Its name.
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// Its statements.
    pub fn statements(&self) -> &[KeyStatement] {
        &self.0.statements
    }
}

impl IdentityPolicy {
    /// Parses the text of a policy of a caller.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let parsed = parse::policy(text, Kind::Identity)?;
        let statements = parsed.statements.into_iter().map(|(statement, _)| statement).collect();
        Ok(Self(Arc::new(Document { text: text.to_owned(), id: parsed.id, statements })))
    }

    /// The text, as it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Its name.
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// Its statements.
    pub fn statements(&self) -> &[Statement] {
        &self.0.statements
    }
}

/// Two policies are the same if their texts are.
macro_rules! compared_by_text {
    ($($name:ident),+) => {$(
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.text() == other.text()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.text()).finish()
            }
        }
    )+};
}

compared_by_text!(KeyPolicy, IdentityPolicy);

/// Stored as its text, and parsed when it is read: once for each time that its record is.
impl serde::Serialize for KeyPolicy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl<'de> serde::Deserialize<'de> for KeyPolicy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
