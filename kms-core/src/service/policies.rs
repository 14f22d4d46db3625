//! Key policies.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::Core;
use super::access::{CachedLookup, Purpose, TxLookup};
use super::authorizer::Lookup;
use super::paging::page_size;
use super::states::OperationClass;
use crate::error::KmsError;
use crate::model::*;
use crate::policy::{ConditionKey, KeyPolicy, MAX_POLICY_LEN, Value};
use crate::store::KeyRecord;

/// The name of every key policy.
const POLICY_NAME: &str = "default";
/// The longest policy that the API accepts; the service refuses shorter ones already.
const MAX_SHAPE_LEN: usize = 131_072;

/// The policies that nobody has written: the same for many keys, so parsed once.
#[derive(Debug)]
pub(super) struct PolicyBook {
    realm: Realm,
    default: KeyPolicy,
    managed: RwLock<HashMap<String, KeyPolicy>>,
}

impl PolicyBook {
    pub(super) fn new(realm: Realm) -> Self {
        let default = KeyPolicy::default_of(&realm.account);
        Self { realm, default, managed: RwLock::default() }
    }

    /// The policy of a key.
    pub(super) fn of(&self, record: &KeyRecord) -> KeyPolicy {
        match (&record.policy, &record.managing_service) {
            (Some(written), _) => written.clone(),
            (None, None) => self.default.clone(),
            (None, Some(service)) => self.managed(service),
        }
    }

    fn managed(&self, service: &str) -> KeyPolicy {
        let known = self.managed.read().unwrap_or_else(PoisonError::into_inner).get(service).cloned();
        known.unwrap_or_else(|| {
            let policy = KeyPolicy::managed(service, &self.realm.region, &self.realm.account);
            let mut managed = self.managed.write().unwrap_or_else(PoisonError::into_inner);
            managed.entry(service.to_owned()).or_insert(policy).clone()
        })
    }
}

/// Parses a policy that a caller sent.
pub(super) fn parse(text: &str) -> Result<KeyPolicy, KmsError> {
    let legal = |one: char| matches!(one, '\t' | '\n' | '\r' | ' '..='\u{ff}');
    let problem = match text.len() {
        0 => Some(format_args!("have length greater than or equal to 1")),
        1..=MAX_SHAPE_LEN if text.chars().all(legal) => None,
        1..=MAX_SHAPE_LEN => {
            Some(format_args!("satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+"))
        }
        _ => Some(format_args!("have length less than or equal to {MAX_SHAPE_LEN}")),
    };
    if let Some(problem) = problem {
        return Err(KmsError::constraint(None, "policy", problem));
    }
    if text.len() > MAX_POLICY_LEN {
        return Err(KmsError::LimitExceeded(format!(
            "The key policy has {} bytes, more than the {MAX_POLICY_LEN} that it can have.",
            text.len()
        )));
    }
    Ok(KeyPolicy::parse(text)?)
}

fn check_name(name: Option<&str>) -> Result<(), KmsError> {
    match name {
        None | Some(POLICY_NAME) => Ok(()),
        Some(_) => Err(KmsError::NotFound("No such policy exists".into())),
    }
}

fn name_particular() -> (ConditionKey, Value<'static>) {
    (ConditionKey::PolicyName, POLICY_NAME.into())
}

impl Core {
    pub(super) fn get_key_policy(
        &self,
        caller: &Caller,
        request: &GetKeyPolicyRequest,
    ) -> Result<GetKeyPolicyResponse, KmsError> {
        let particulars = [name_particular()];
        let purpose = Purpose::new(Action::GetKeyPolicy, OperationClass::Read).with(&particulars);
        let record = self.view_key(caller, &request.key_id, &purpose)?;
        check_name(request.policy_name.as_deref())?;
        let policy = self.policies.of(&record).text().to_owned();
        Ok(GetKeyPolicyResponse { policy, policy_name: POLICY_NAME.to_owned() })
    }

    pub(super) fn put_key_policy(
        &self,
        caller: &Caller,
        request: &PutKeyPolicyRequest,
    ) -> Result<PutKeyPolicyResponse, KmsError> {
        let bypass = request.bypass_policy_lockout_safety_check;
        let particulars =
            [name_particular(), (ConditionKey::BypassPolicyLockoutSafetyCheck, Value::Bool(bypass))];
        let purpose = Purpose::new(Action::PutKeyPolicy, OperationClass::Read).with(&particulars);
        // Asked once more in the transaction; here, so that the key comes before what is wrong with the policy.
        self.view_key(caller, &request.key_id, &purpose)?;
        let policy = parse(&request.policy)?;
        self.change_key(caller, &request.key_id, &purpose, |record, tx, _| {
            check_name(request.policy_name.as_deref())?;
            self.check_lockout(caller, record, &policy, bypass, &TxLookup(tx))?;
            record.policy = Some(policy.clone());
            Ok(EmptyResponse)
        })
    }

    pub(super) fn list_key_policies(
        &self,
        caller: &Caller,
        request: &ListKeyPoliciesRequest,
    ) -> Result<ListKeyPoliciesResponse, KmsError> {
        page_size(&request.page, 100, 1000)?;
        if request.page.marker.is_some() {
            // The one name is always on the first page.
            return Err(KmsError::InvalidMarker(String::new()));
        }
        let purpose = Purpose::new(Action::ListKeyPolicies, OperationClass::Read);
        self.view_key(caller, &request.key_id, &purpose)?;
        Ok(ListKeyPoliciesResponse { policy_names: vec![POLICY_NAME.to_owned()], next_marker: None })
    }

    /// The policy of a new key must not lock out whoever creates it.
    pub(super) fn check_new_policy(
        &self,
        caller: &Caller,
        record: &KeyRecord,
        bypass: bool,
    ) -> Result<(), KmsError> {
        match &record.policy {
            Some(policy) => self.check_lockout(caller, record, policy, bypass, &CachedLookup(self)),
            None => Ok(()),
        }
    }

    /// Refuses a policy after which the caller could not change the policy again: the key might be lost to everybody.
    /// What the policies of the caller say does not count, since they can be changed without the key.
    fn check_lockout(
        &self,
        caller: &Caller,
        record: &KeyRecord,
        policy: &KeyPolicy,
        bypass: bool,
        lookup: &dyn Lookup,
    ) -> Result<(), KmsError> {
        let particulars =
            [name_particular(), (ConditionKey::BypassPolicyLockoutSafetyCheck, Value::Bool(false))];
        let purpose = Purpose::new(Action::PutKeyPolicy, OperationClass::Read).with(&particulars);
        let administrator = Caller { policies: CallerPolicies::Administrator, ..caller.clone() };
        let question = self.question_on_key(&administrator, record, policy, &purpose, None, lookup);
        if bypass || question.decide()?.allowed {
            return Ok(());
        }
        Err(KmsError::MalformedPolicyDocument(
            "The new key policy will not allow you to update the key policy in the future.".into(),
        ))
    }
}
