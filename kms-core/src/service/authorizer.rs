//! Who may do what: key policy, policies of the caller, and grants, brought together.
//!
//! Nothing is implicit. An explicit Deny of either policy wins. Else the key policy allows the caller itself, or leaves
//! the decision to the caller's account and the caller's own policies allow, or a grant allows. A caller of another
//! account needs both policies; a grant stands on its own there too, as in AWS.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use super::grant_set::{Asked, GrantSet};
use crate::error::KmsError;
use crate::model::{
    Action, AliasName, Caller, CallerPolicies, EncryptionContext, GrantId, GrantOperation, KeyArn, KeyId,
    KeyRef, Principal, Realm, Timestamp,
};
use crate::policy::{ConditionKey, Facts, IdentityPolicy, KeyPolicy, Value};
use crate::store::KeyRecord;

/// What an action is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resource<'a> {
    /// No particular key: `CreateKey`, `ListKeys`, `ListAliases`, `GenerateRandom`.
    Account,
    /// A key, with the policy that it has.
    Key(&'a KeyRecord, &'a KeyPolicy),
    /// A key that is about to be created. It has no policy yet that could allow anything.
    NewKey(&'a KeyId),
    /// An alias. Alias operations ask twice: for the alias and for its key.
    Alias(&'a AliasName),
}

impl Resource<'_> {
    /// The ARN that policies are matched with, and that a refusal shows.
    fn arn(&self, realm: &Realm) -> String {
        match self {
            Self::Account => "*".to_owned(),
            Self::Key(record, _) => KeyArn::new(realm, &record.key_id).to_string(),
            Self::NewKey(key_id) => KeyArn::new(realm, key_id).to_string(),
            Self::Alias(name) => name.arn(realm),
        }
    }
}

/// What the store knows and a decision may need. Asked only where the answer matters.
pub(super) trait Lookup {
    /// The grants of a key to a principal.
    fn grants(&self, key_id: &KeyId, grantee: &Principal) -> Result<Arc<GrantSet>, KmsError>;

    /// The names of the aliases of a key.
    fn aliases(&self, key_id: &KeyId) -> Result<Arc<[AliasName]>, KmsError>;
}

/// The values of condition keys that only one operation has. A key with several values comes several times.
pub(super) type Particulars<'a> = &'a [(ConditionKey, Value<'a>)];

/// Everything a decision may depend on.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) caller: &'a Caller,
    pub(super) action: Action,
    pub(super) resource: Resource<'a>,
    pub(super) realm: &'a Realm,
    pub(super) now: Timestamp,
    pub(super) encryption_context: Option<&'a EncryptionContext>,
    /// The key as the caller typed it.
    pub(super) typed: Option<&'a KeyRef>,
    pub(super) particulars: Particulars<'a>,
    /// The grant that is about to be created.
    pub(super) new_grant: Option<&'a crate::store::GrantRecord>,
    pub(super) lookup: &'a dyn Lookup,
}

/// What a decision rests on. Statements are named by their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// A statement of the key policy.
    KeyPolicy(usize),
    /// A statement of one of the caller's policies; `through` is the statement of the key policy that lets them decide.
    CallerPolicy {
        /// Which policy.
        policy: usize,
        /// Which of its statements.
        statement: usize,
        /// The statement of the key policy.
        through: Option<usize>,
    },
    /// The caller is an administrator of its account; `through` as above.
    Administrator {
        /// The statement of the key policy.
        through: Option<usize>,
    },
    /// A grant.
    Grant(GrantId),
    /// Nothing on the side of the key allows it.
    NoKeyStatement,
    /// The key leaves it to the policies of the caller, and none of them allows it.
    NoCallerStatement,
}

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub allowed: bool,
    /// Why.
    pub basis: Basis,
}

impl Decision {
    pub(super) const fn allow(basis: Basis) -> Self {
        Self { allowed: true, basis }
    }

    pub(super) const fn deny(basis: Basis) -> Self {
        Self { allowed: false, basis }
    }
}

/// What the caller's own policies say.
enum CallerSide {
    Denied { policy: usize, statement: usize },
    Allowed { policy: usize, statement: usize },
    Administrator,
    Silent,
}

impl CallerSide {
    /// The basis of an Allow that needs this side, if this side allows.
    fn basis(&self, through: Option<usize>) -> Option<Basis> {
        match *self {
            Self::Allowed { policy, statement } => Some(Basis::CallerPolicy { policy, statement, through }),
            Self::Administrator => Some(Basis::Administrator { through }),
            Self::Denied { .. } | Self::Silent => None,
        }
    }
}

impl<'a> Question<'a> {
    /// A question without particulars.
    pub(super) fn new(
        caller: &'a Caller,
        action: Action,
        resource: Resource<'a>,
        realm: &'a Realm,
        now: Timestamp,
        lookup: &'a dyn Lookup,
    ) -> Self {
        Self {
            caller,
            action,
            resource,
            realm,
            now,
            encryption_context: None,
            typed: None,
            particulars: &[],
            new_grant: None,
            lookup,
        }
    }

    /// The decision.
    pub(super) fn decide(&self) -> Result<Decision, KmsError> {
        let facts = StoredFacts { question: self, failed: RefCell::new(None) };
        let decision = self.by_policies(&facts);
        // A condition that could not be looked up decides nothing.
        if let Some(error) = facts.failed.into_inner() {
            return Err(error);
        }
        if decision.allowed || !matches!(decision.basis, Basis::NoKeyStatement | Basis::NoCallerStatement) {
            return Ok(decision);
        }
        Ok(self.granted()?.map_or(decision, |grant_id| Decision::allow(Basis::Grant(grant_id))))
    }

    /// The explicit Deny, if there is one: what not even a grant stands against.
    pub(super) fn denial(&self) -> Result<Option<Decision>, KmsError> {
        let facts = StoredFacts { question: self, failed: RefCell::new(None) };
        let decision = self.by_policies(&facts);
        if let Some(error) = facts.failed.into_inner() {
            return Err(error);
        }
        let explicit = matches!(decision.basis, Basis::KeyPolicy(_) | Basis::CallerPolicy { .. });
        Ok((!decision.allowed && explicit).then_some(decision))
    }

    fn by_policies(&self, facts: &dyn Facts) -> Decision {
        let own_side = self.caller_side(facts);
        let same_account = self.caller.account == self.realm.account;
        let Resource::Key(_, policy) = self.resource else {
            return match own_side {
                CallerSide::Denied { policy, statement } => {
                    Decision::deny(Basis::CallerPolicy { policy, statement, through: None })
                }
                // What is not a key belongs to the account alone.
                _ => own_side
                    .basis(None)
                    .filter(|_| same_account)
                    .map_or(Decision::deny(Basis::NoCallerStatement), Decision::allow),
            };
        };
        let verdict = policy.evaluate(self.caller, self.action, facts);
        if let Some(statement) = verdict.denied {
            return Decision::deny(Basis::KeyPolicy(statement));
        }
        if let CallerSide::Denied { policy, statement } = own_side {
            return Decision::deny(Basis::CallerPolicy { policy, statement, through: None });
        }
        // A service that calls for itself has no account that could object.
        let alone = same_account || self.caller.principal.is_service();
        if let Some(statement) = verdict.allowed.filter(|_| alone) {
            return Decision::allow(Basis::KeyPolicy(statement));
        }
        match verdict.allowed.or(verdict.delegated) {
            None => Decision::deny(Basis::NoKeyStatement),
            through => {
                own_side.basis(through).map_or(Decision::deny(Basis::NoCallerStatement), Decision::allow)
            }
        }
    }

    fn caller_side(&self, facts: &dyn Facts) -> CallerSide {
        let policies: &[IdentityPolicy] = match &self.caller.policies {
            CallerPolicies::Administrator => return CallerSide::Administrator,
            CallerPolicies::Written(policies) => policies,
        };
        let mut side = CallerSide::Silent;
        for (policy, one) in policies.iter().enumerate() {
            let verdict = one.evaluate(self.action, facts);
            if let Some(statement) = verdict.denied {
                return CallerSide::Denied { policy, statement };
            }
            if let (Some(statement), CallerSide::Silent) = (verdict.allowed, &side) {
                side = CallerSide::Allowed { policy, statement };
            }
        }
        side
    }

    /// A grant to the caller that permits this.
    fn granted(&self) -> Result<Option<GrantId>, KmsError> {
        let Resource::Key(record, _) = self.resource else { return Ok(None) };
        let Some(operation) = GrantOperation::of(self.action) else { return Ok(None) };
        let asked = Asked {
            caller: self.caller,
            operation,
            encryption_context: self.encryption_context,
            new_grant: self.new_grant,
        };
        let principal = &self.caller.principal;
        if let Some(found) = self.lookup.grants(&record.key_id, principal)?.permitting(&asked) {
            return Ok(Some(found));
        }
        if !principal.is_role_session() {
            return Ok(None);
        }
        let role = Principal::from_arn(principal.without_session());
        Ok(self.lookup.grants(&record.key_id, &role)?.permitting(&asked))
    }

    /// The refusal, in the words of AWS.
    pub(super) fn refusal(&self, basis: Basis) -> KmsError {
        let action = self.action;
        let reason = match basis {
            Basis::KeyPolicy(_) => "with an explicit deny in a resource-based policy".to_owned(),
            Basis::CallerPolicy { .. } => "with an explicit deny in an identity-based policy".to_owned(),
            Basis::NoKeyStatement => {
                format!("because no resource-based policy allows the {action} action")
            }
            Basis::Administrator { .. } | Basis::Grant(_) | Basis::NoCallerStatement => {
                format!("because no identity-based policy allows the {action} action")
            }
        };
        KmsError::AccessDenied(format!(
            "User: {} is not authorized to perform: {action} on resource: {} {reason}",
            self.caller.principal,
            self.resource.arn(self.realm),
        ))
    }
}

/// The facts of a question, with the first failure to look one of them up.
struct StoredFacts<'a> {
    question: &'a Question<'a>,
    failed: RefCell<Option<KmsError>>,
}

/// At most one value.
fn one<'a>(value: Option<Value<'a>>) -> Vec<Value<'a>> {
    value.into_iter().collect()
}

impl Facts for StoredFacts<'_> {
    fn values(&self, key: &ConditionKey) -> Vec<Value<'_>> {
        let (question, caller) = (self.question, self.question.caller);
        match key {
            ConditionKey::CallerAccount | ConditionKey::PrincipalAccount => {
                vec![caller.account.as_str().into()]
            }
            ConditionKey::ViaService => one(caller
                .via_service
                .as_ref()
                .map(|service| format!("{service}.{}.amazonaws.com", question.realm.region).into())),
            ConditionKey::ViaAwsService => vec![Value::Bool(caller.via_service.is_some())],
            ConditionKey::PrincipalArn => vec![Value::Text(caller.principal.without_session())],
            ConditionKey::PrincipalIsAwsService => vec![Value::Bool(caller.principal.is_service())],
            ConditionKey::UserName => one(caller.principal.user_name().map(Value::from)),
            ConditionKey::SourceIp => one(caller.source_ip.map(Value::Address)),
            ConditionKey::SourceArn => one(caller.source_arn.as_deref().map(Value::from)),
            ConditionKey::SourceAccount => {
                let account = caller.source_arn.as_deref().and_then(|arn| arn.split(':').nth(4));
                one(account.filter(|account| !account.is_empty()).map(Value::from))
            }
            ConditionKey::CurrentTime => vec![Value::Time(question.now)],
            ConditionKey::EpochTime => vec![Value::Number(question.now.as_millis().div_euclid(1000))],
            ConditionKey::RequestedRegion => vec![question.realm.region.as_str().into()],
            ConditionKey::ResourceAccount => vec![question.realm.account.as_str().into()],
            ConditionKey::RequestAlias => {
                one(question.typed.and_then(KeyRef::alias).map(|alias| alias.as_str().into()))
            }
            ConditionKey::EncryptionContext(name) => self.context_values(|found| same_name(found, name)),
            ConditionKey::EncryptionContextKeys => {
                let context = question.encryption_context.into_iter();
                context.flat_map(EncryptionContext::iter).map(|(name, _)| name.into()).collect()
            }
            _ => self.key_values(key),
        }
    }

    fn resource(&self) -> Cow<'_, str> {
        self.question.resource.arn(self.question.realm).into()
    }
}

impl StoredFacts<'_> {
    fn context_values(&self, wanted: impl Fn(&str) -> bool) -> Vec<Value<'_>> {
        let pairs = self.question.encryption_context.into_iter().flat_map(EncryptionContext::iter);
        pairs.filter(|(name, _)| wanted(name)).map(|(_, value)| value.into()).collect()
    }

    /// What the key itself tells, and else what only this operation has.
    fn key_values(&self, key: &ConditionKey) -> Vec<Value<'_>> {
        if let Resource::Key(record, _) = self.question.resource {
            match key {
                ConditionKey::KeySpec | ConditionKey::CustomerMasterKeySpec => {
                    return vec![record.key_spec.as_str().into()];
                }
                ConditionKey::KeyUsage | ConditionKey::CustomerMasterKeyUsage => {
                    return vec![record.key_usage.as_str().into()];
                }
                ConditionKey::KeyOrigin => return vec![record.origin.as_str().into()],
                ConditionKey::MultiRegion => return vec![Value::Bool(record.key_id.is_multi_region())],
                ConditionKey::MultiRegionKeyType => {
                    if let Some(kind) = record.multi_region_key_type() {
                        return vec![kind.as_str().into()];
                    }
                }
                ConditionKey::ResourceTag(name) => {
                    let tags = record.tags.iter().filter(|tag| same_name(&tag.key, name));
                    return tags.map(|tag| tag.value.as_str().into()).collect();
                }
                ConditionKey::ResourceAliases => return self.aliases(&record.key_id),
                _ => {}
            }
        }
        let named = |(found, _): &&(ConditionKey, Value<'_>)| match (found, key) {
            (ConditionKey::RequestTag(found), ConditionKey::RequestTag(wanted)) => same_name(found, wanted),
            (found, wanted) => found == wanted,
        };
        self.question.particulars.iter().filter(named).map(|(_, value)| value.clone()).collect()
    }

    fn aliases(&self, key_id: &KeyId) -> Vec<Value<'_>> {
        match self.question.lookup.aliases(key_id) {
            Ok(names) => names.iter().map(|name| Value::from(name.to_string())).collect(),
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                Vec::new()
            }
        }
    }
}

/// The names in condition keys do not differ by case.
fn same_name(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}
