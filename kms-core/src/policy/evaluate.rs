//! What a policy says to a request.

use super::facts::Facts;
use super::principal::Aim;
use super::{ArnPattern, Effect, IdentityPolicy, KeyPolicy, Resources, Statement};
use crate::model::{Action, Caller};

/// What a key policy says: the first statement of each kind, by its index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyVerdict {
    /// A Deny. Nothing else counts then.
    pub denied: Option<usize>,
    /// An Allow of the caller itself.
    pub allowed: Option<usize>,
    /// An Allow of the caller's account, whose own policies decide.
    pub delegated: Option<usize>,
}

/// What the policy of a caller says: the first statement of each kind, by its index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IdentityVerdict {
    /// A Deny. Nothing else counts then.
    pub denied: Option<usize>,
    /// An Allow.
    pub allowed: Option<usize>,
}

impl KeyPolicy {
    /// What the policy says to `caller`, who asks for `action`.
    pub fn evaluate(&self, caller: &Caller, action: Action, facts: &dyn Facts) -> KeyVerdict {
        let mut verdict = KeyVerdict::default();
        for (index, one) in self.statements().iter().enumerate() {
            if !one.statement.actions.contains(action) {
                continue;
            }
            let place = match one.statement.effect {
                Effect::Deny if one.principals.denies(caller) => &mut verdict.denied,
                Effect::Deny => continue,
                Effect::Allow => match one.principals.allow_aim(caller) {
                    Aim::Direct => &mut verdict.allowed,
                    Aim::Account => &mut verdict.delegated,
                    Aim::Missed => continue,
                },
            };
            if place.is_none() && applies(&one.statement, facts) {
                *place = Some(index);
            }
        }
        verdict
    }
}

impl IdentityPolicy {
    /// What the policy says to its principal, who asks for `action`.
    pub fn evaluate(&self, action: Action, facts: &dyn Facts) -> IdentityVerdict {
        let mut verdict = IdentityVerdict::default();
        for (index, one) in self.statements().iter().enumerate() {
            let place = match one.effect {
                Effect::Deny => &mut verdict.denied,
                Effect::Allow => &mut verdict.allowed,
            };
            if place.is_none() && one.actions.contains(action) && applies(one, facts) {
                *place = Some(index);
            }
        }
        verdict
    }
}

fn applies(statement: &Statement, facts: &dyn Facts) -> bool {
    let about = match &statement.resources {
        None => false,
        Some(Resources::In(list)) => any(list, facts),
        Some(Resources::NotIn(list)) => !any(list, facts),
    };
    about && statement.conditions.iter().all(|condition| condition.holds(facts))
}

fn any(list: &[ArnPattern], facts: &dyn Facts) -> bool {
    // The ARN is made only where it is looked at.
    list.contains(&ArnPattern::Any) || {
        let resource = facts.resource();
        list.iter().any(|pattern| pattern.matches(&resource, facts))
    }
}
