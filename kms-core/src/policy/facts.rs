//! What a request says about itself, for conditions to ask about.

use std::borrow::Cow;
use std::net::IpAddr;

use super::key::ConditionKey;
use super::value::Number;
use crate::model::Timestamp;

/// The facts of one request.
pub trait Facts {
    /// The values of a condition key; none if the request does not have it.
    fn values(&self, key: &ConditionKey) -> Vec<Value<'_>>;

    /// The ARN that the request is about; `*` where it is about no particular resource.
    fn resource(&self) -> Cow<'_, str>;
}

/// One value of a condition key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A text or an ARN.
    Text(Cow<'a, str>),
    /// A whole number.
    Number(i64),
    /// A truth value.
    Bool(bool),
    /// A time.
    Time(Timestamp),
    /// A network address.
    Address(IpAddr),
}

impl Value<'_> {
    /// As the operators for texts and ARNs see it.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Bool(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
            Self::Time(time) => Cow::Owned(time.to_iso8601()),
            Self::Address(address) => Cow::Owned(address.to_string()),
        }
    }

    /// As the numeric operators see it.
    pub(super) fn number(&self) -> Option<Number> {
        match self {
            Self::Text(text) => Number::parse(text),
            Self::Number(number) => Number::of(*number as f64),
            Self::Bool(_) | Self::Time(_) | Self::Address(_) => None,
        }
    }

    /// As the date operators see it.
    pub(super) fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Text(text) => super::value::time(text),
            Self::Number(seconds) => Some(Timestamp::from_millis(seconds.saturating_mul(1000))),
            Self::Time(time) => Some(*time),
            Self::Bool(_) | Self::Address(_) => None,
        }
    }

    /// As the operator `Bool` sees it.
    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Self::Text(text) => super::value::truth(text),
            Self::Bool(truth) => Some(*truth),
            Self::Number(_) | Self::Time(_) | Self::Address(_) => None,
        }
    }

    /// As the address operators see it.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Address(address) => Some(*address),
            Self::Number(_) | Self::Bool(_) | Self::Time(_) => None,
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

/// A request that says nothing.
#[cfg(test)]
pub(super) struct NoFacts;

#[cfg(test)]
impl Facts for NoFacts {
    fn values(&self, _: &ConditionKey) -> Vec<Value<'_>> {
        Vec::new()
    }

    fn resource(&self) -> Cow<'_, str> {
        Cow::Borrowed("*")
    }
}
