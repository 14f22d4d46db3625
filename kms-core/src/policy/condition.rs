//! Conditions of a statement.

use super::facts::{Facts, Value};
use super::key::ConditionKey;
use super::pattern::Pattern;
use super::value::{AddressRange, Number};
use crate::model::Timestamp;

/// A pattern of an ARN: its six parts are matched one by one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ArnPattern {
    /// `*` alone.
    Any,
    /// The parts.
    Parts(Vec<Pattern>),
}

impl ArnPattern {
    /// Whether it matches an ARN.
    pub(super) fn matches(&self, arn: &str, facts: &dyn Facts) -> bool {
        match self {
            Self::Any => true,
            Self::Parts(parts) => {
                let found: Vec<_> = arn.splitn(6, ':').collect();
                found.len() == parts.len()
                    && parts.iter().zip(found).all(|(part, found)| part.matches(found, facts))
            }
        }
    }
}

/// How numbers and times are compared with the value in the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The same.
    Equals,
    /// Not the same.
    NotEquals,
    /// Before.
    LessThan,
    /// Before or the same.
    LessThanEquals,
    /// After.
    GreaterThan,
    /// After or the same.
    GreaterThanEquals,
}

impl Order {
    /// `NotEquals` compares as `Equals`; that it is negated is [`Test::negated`].
    fn holds<T: PartialOrd>(self, found: T, written: T) -> bool {
        match self {
            Self::Equals | Self::NotEquals => found == written,
            Self::LessThan => found < written,
            Self::LessThanEquals => found <= written,
            Self::GreaterThan => found > written,
            Self::GreaterThanEquals => found >= written,
        }
    }
}

/// What is asked about the values of a key, with the values in the policy, any of which is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// `StringEquals`, `StringLike`, and their negations.
    Text {
        /// Whether the operator is a negation.
        negated: bool,
        /// Whether `a` is `A`.
        ignore_case: bool,
        /// The values.
        values: Vec<Pattern>,
    },
    /// `Numeric*`.
    Number(Order, Vec<Number>),
    /// `Date*`.
    Date(Order, Vec<Timestamp>),
    /// `Bool`.
    Bool(Vec<bool>),
    /// `ArnEquals`, `ArnLike`, which are the same, and their negations.
    Arn {
        /// Whether the operator is a negation.
        negated: bool,
        /// The values.
        values: Vec<ArnPattern>,
    },
    /// `IpAddress` and `NotIpAddress`.
    Address {
        /// Whether the operator is a negation.
        negated: bool,
        /// The values.
        values: Vec<AddressRange>,
    },
}

impl Test {
    const fn negated(&self) -> bool {
        match self {
            Self::Text { negated, .. } | Self::Arn { negated, .. } | Self::Address { negated, .. } => {
                *negated
            }
            Self::Number(order, _) | Self::Date(order, _) => matches!(order, Order::NotEquals),
            Self::Bool(_) => false,
        }
    }

    /// Whether one value of the request is among the values of the policy, before negation.
    fn finds(&self, found: &Value<'_>, facts: &dyn Facts) -> bool {
        match self {
            Self::Text { ignore_case: false, values, .. } => {
                values.iter().any(|value| value.matches(&found.text(), facts))
            }
            Self::Text { ignore_case: true, values, .. } => {
                values.iter().any(|value| value.matches_ignoring_case(&found.text(), facts))
            }
            Self::Number(order, values) => {
                found.number().is_some_and(|found| values.iter().any(|value| order.holds(found, *value)))
            }
            Self::Date(order, values) => {
                found.time().is_some_and(|found| values.iter().any(|value| order.holds(found, *value)))
            }
            Self::Bool(values) => found.truth().is_some_and(|found| values.contains(&found)),
            Self::Arn { values, .. } => values.iter().any(|value| value.matches(&found.text(), facts)),
            Self::Address { values, .. } => {
                found.address().is_some_and(|found| values.iter().any(|value| value.contains(found)))
            }
        }
    }
}

/// Which values of a key the test is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    /// The one value. Of several, any for an operator, all for its negation.
    One,
    /// `ForAllValues`: each of them; true without any.
    All,
    /// `ForAnyValue`: at least one of them.
    Any,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// `Null`: whether the request does not have the key.
    Absent {
        /// The key.
        key: ConditionKey,
        /// The values; any of them is enough.
        expected: Vec<bool>,
    },
    /// An operator.
    Test {
        /// The key.
        key: ConditionKey,
        /// `ForAllValues`, `ForAnyValue`, or neither.
        quantifier: Quantifier,
        /// `...IfExists`: true if the request does not have the key.
        if_exists: bool,
        /// The operator and its values.
        test: Test,
    },
}

impl Condition {
    /// Whether the condition holds for a request.
    pub(super) fn holds(&self, facts: &dyn Facts) -> bool {
        match self {
            Self::Absent { key, expected } => expected.contains(&facts.values(key).is_empty()),
            Self::Test { key, quantifier, if_exists, test } => {
                let (values, negated) = (facts.values(key), test.negated());
                let passes = |value: &Value<'_>| test.finds(value, facts) != negated;
                match quantifier {
                    _ if *if_exists && values.is_empty() => true,
                    // Without a value nothing matches, which is what a negation asks for.
                    Quantifier::One if values.is_empty() => negated,
                    Quantifier::One if negated => values.iter().all(passes),
                    Quantifier::One | Quantifier::Any => values.iter().any(passes),
                    Quantifier::All => values.iter().all(passes),
                }
            }
        }
    }
}
