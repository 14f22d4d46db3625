//! Who may do what: the seam where policies and grants are evaluated.

use crate::error::KmsError;
use crate::model::{Action, AliasName, Caller, EncryptionContext, KeyArn, KeyManager, KeyRef, Realm};
use crate::store::KeyRecord;

/// What an action is about.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// No particular key: `CreateKey`, `ListKeys`, `ListAliases`, `GenerateRandom`.
    Account,
    /// A key.
    Key(&'a KeyRecord),
    /// An alias. Alias operations ask twice: for the alias and for its key.
    Alias(&'a AliasName),
}

impl Resource<'_> {
    /// The ARN that a refusal shows.
    fn arn(&self, realm: &Realm) -> String {
        match self {
            Self::Account => "*".to_owned(),
            Self::Key(record) => KeyArn::new(realm, &record.key_id).to_string(),
            Self::Alias(name) => name.arn(realm),
        }
    }
}

/// Everything a decision may depend on.
#[derive(Debug, Clone, Copy)]
pub struct AuthorizationRequest<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// What for.
    pub action: Action,
    /// On what.
    pub resource: Resource<'a>,
    /// The Region and account of the service.
    pub realm: &'a Realm,
    /// The encryption context of a cryptographic operation.
    pub encryption_context: Option<&'a EncryptionContext>,
    /// The grant tokens of the request.
    pub grant_tokens: &'a [String],
    /// The key as the caller typed it, for `kms:RequestAlias`.
    pub typed: Option<&'a KeyRef>,
}

impl<'a> AuthorizationRequest<'a> {
    /// A request without context, tokens or a typed key.
    pub fn new(caller: &'a Caller, action: Action, resource: Resource<'a>, realm: &'a Realm) -> Self {
        Self { caller, action, resource, realm, encryption_context: None, grant_tokens: &[], typed: None }
    }

    /// The refusal of this request, in the words of AWS.
    pub(super) fn refusal(&self) -> KmsError {
        let managed = matches!(self.resource, Resource::Key(key) if key.key_manager == KeyManager::Aws);
        let policy = if managed { "resource-based" } else { "identity-based" };
        KmsError::AccessDenied(format!(
            "User: {} is not authorized to perform: {action} on resource: {} because no {policy} policy allows the \
             {action} action",
            self.caller.principal,
            self.resource.arn(self.realm),
            action = self.action,
        ))
    }
}

/// Whether a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

/// Decides on every operation, before the state of the key is looked at.
///
/// A decision that concerns a change runs inside the transaction of that change, so that it is made on what is really
/// there. It must not use the store itself: what it needs comes with the request.
pub trait Authorizer: Send + Sync {
    /// The decision on one request.
    fn decide(&self, request: &AuthorizationRequest<'_>) -> Decision;
}

/// What holds where nobody has written a policy: the account may do everything with its own keys, and an AWS managed
/// key serves only the service that it belongs to.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultPolicy;

impl Authorizer for DefaultPolicy {
    fn decide(&self, request: &AuthorizationRequest<'_>) -> Decision {
        let same_account = request.caller.account == request.realm.account;
        let allowed = match request.resource {
            Resource::Key(key) if key.key_manager == KeyManager::Aws => {
                same_account && managed_key_allows(key, request)
            }
            Resource::Key(_) | Resource::Account | Resource::Alias(_) => same_account,
        };
        if allowed { Decision::Allow } else { Decision::Deny }
    }
}

/// The policy of an AWS managed key: the account may look at it, its service may use it, nobody may change it.
fn managed_key_allows(key: &KeyRecord, request: &AuthorizationRequest<'_>) -> bool {
    match request.action {
        Action::DescribeKey
        | Action::ListAliases
        | Action::GetKeyRotationStatus
        | Action::ListKeyRotations => true,
        Action::Encrypt
        | Action::Decrypt
        | Action::ReEncryptFrom
        | Action::ReEncryptTo
        | Action::GenerateDataKey
        | Action::GenerateDataKeyWithoutPlaintext
        | Action::GenerateDataKeyPair
        | Action::GenerateDataKeyPairWithoutPlaintext => {
            request.caller.via_service.is_some() && request.caller.via_service == key.managing_service
        }
        _ => false,
    }
}
