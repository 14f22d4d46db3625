//! Why a caller may or may not do something.

use super::Core;
use super::access::{CachedLookup, Purpose};
use super::authorizer::{Basis, Decision};
use super::crypto::algorithm_particular;
use super::states::OperationClass;
use crate::error::KmsError;
use crate::model::*;
use crate::policy::KeyPolicy;

/// Asks about one action on one key.
#[derive(Debug, Clone)]
pub struct ExplainRequest {
    /// The key; an alias is accepted.
    pub key_id: KeyRef,
    /// The action.
    pub action: Action,
    /// The encryption context that the operation would have.
    pub encryption_context: EncryptionContext,
}

/// The decision, with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The key.
    pub key_arn: KeyArn,
    /// The state of the key, which may stand in the way of an action that is allowed.
    pub key_state: KeyState,
    /// The decision.
    pub decision: Decision,
    /// The statement of the key policy that took part in the decision, as JSON.
    pub key_statement: Option<String>,
    /// The statement of a policy of the caller that took part in it, as JSON.
    pub caller_statement: Option<String>,
    /// The grant that decided.
    pub grant: Option<GrantListEntry>,
    /// How the request would be refused.
    pub refusal: Option<KmsError>,
}

impl Core {
    pub(super) fn explain(&self, caller: &Caller, request: &ExplainRequest) -> Result<Explanation, KmsError> {
        check_action(request.action)?;
        // Looking at a key must not bring it into being, so it is found as by nobody's service.
        let direct = Caller { via_service: None, ..caller.clone() };
        let key_id = self.resolve(&direct, &request.key_id)?;
        let record = self.load(&key_id)?;
        let particulars = [algorithm_particular(EncryptionAlgorithm::SymmetricDefault)];
        let purpose = Purpose {
            encryption_context: Some(&request.encryption_context),
            ..Purpose::new(request.action, OperationClass::Read).with(&particulars)
        };
        let (policy, lookup) = (self.policies.of(&record), CachedLookup(self));
        let question =
            self.question_on_key(caller, &record, &policy, &purpose, Some(&request.key_id), &lookup);
        let decision = question.decide()?;
        let (key_statement, caller_statement) = statements(&policy, caller, decision.basis);
        Ok(Explanation {
            key_arn: self.arn(&key_id),
            key_state: record.state(self.now()),
            decision,
            key_statement,
            caller_statement,
            grant: self.deciding_grant(decision.basis)?,
            refusal: (!decision.allowed).then(|| question.refusal(decision.basis)),
        })
    }

    fn deciding_grant(&self, basis: Basis) -> Result<Option<GrantListEntry>, KmsError> {
        let Basis::Grant(grant_id) = basis else { return Ok(None) };
        let found = crate::store::read(&*self.store, |tx| Ok(tx.grant(&grant_id)?))?;
        Ok(found.map(|grant| self.grant_entry(grant)))
    }
}

/// Only what policies decide on a key can be explained.
fn check_action(action: Action) -> Result<(), KmsError> {
    match action {
        Action::CreateKey
        | Action::ListKeys
        | Action::ListAliases
        | Action::ListRetirableGrants
        | Action::GenerateRandom
        | Action::CreateCustomKeyStore
        | Action::DescribeCustomKeyStores
        | Action::UpdateCustomKeyStore
        | Action::DeleteCustomKeyStore
        | Action::ConnectCustomKeyStore
        | Action::DisconnectCustomKeyStore => {
            Err(KmsError::Validation(format!("{action} is not an action on a key.")))
        }
        Action::RetireGrant => {
            Err(KmsError::Validation(format!("{action} is decided by the grant that is to be retired.")))
        }
        _ => Ok(()),
    }
}

/// The statements that took part: of the key policy, and of a policy of the caller.
fn statements(policy: &KeyPolicy, caller: &Caller, basis: Basis) -> (Option<String>, Option<String>) {
    let of_key = |index: usize| statement_text(policy.text(), index);
    match basis {
        Basis::KeyPolicy(index) => (of_key(index), None),
        Basis::Administrator { through } => (through.and_then(of_key), None),
        Basis::CallerPolicy { policy, statement, through } => {
            let own = match &caller.policies {
                CallerPolicies::Written(policies) => policies.get(policy),
                CallerPolicies::Administrator => None,
            };
            (through.and_then(of_key), own.and_then(|own| statement_text(own.text(), statement)))
        }
        Basis::Grant(_) | Basis::NoKeyStatement | Basis::NoCallerStatement => (None, None),
    }
}

/// A statement of a policy, as JSON.
fn statement_text(policy: &str, index: usize) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(policy).ok()?;
    let statement = match json.get("Statement")? {
        serde_json::Value::Array(list) => list.get(index)?,
        one => one,
    };
    Some(statement.to_string())
}
