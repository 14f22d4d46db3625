//! Who makes a request.

use std::fmt;
use std::sync::Arc;

use super::AccountId;
use crate::policy::IdentityPolicy;

/// The ARN of a principal: a user, a role, a session, or the root of an account. Of a service that calls for itself,
/// its DNS name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Principal(String);

impl Principal {
    /// Takes the ARN as authentication established it.
    pub fn from_arn(arn: impl Into<String>) -> Self {
        Self(arn.into())
    }

    /// The IAM user `name` of an account.
    pub fn user(account: &AccountId, name: &str) -> Self {
        Self(format!("arn:aws:iam::{account}:user/{name}"))
    }

    /// The root of an account.
    pub fn root(account: &AccountId) -> Self {
        Self(format!("arn:aws:iam::{account}:root"))
    }

    /// The ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Account and resource of the ARN of a principal; `None` for what is not one.
    pub(crate) fn parts(&self) -> Option<(&str, &str)> {
        let mut parts = self.0.splitn(6, ':');
        let (scheme, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        let known = scheme == "arn" && partition.starts_with("aws") && matches!(service, "iam" | "sts");
        (known && region.is_empty()).then_some((account, resource))
    }

    /// The account in its ARN; `None` for a service.
    pub fn account(&self) -> Option<AccountId> {
        self.parts().and_then(|(account, _)| account.parse().ok())
    }

    /// Whether it is the root of an account.
    pub fn is_root(&self) -> bool {
        self.parts().is_some_and(|(_, resource)| resource == "root")
    }

    /// Whether it is a service that calls for itself.
    pub fn is_service(&self) -> bool {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let mut labels = self.0.split('.');
        self.0.contains('.') && labels.all(|label| !label.is_empty() && label.bytes().all(legal))
    }

    /// Whether it is a session of a role.
    pub fn is_role_session(&self) -> bool {
        self.session_role().is_some()
    }

    /// The name of an IAM user, without its path.
    pub fn user_name(&self) -> Option<&str> {
        let (_, resource) = self.parts()?;
        resource.strip_prefix("user/")?.rsplit('/').next()
    }

    /// The role of a session, and every other principal as it is: what conditions call the principal.
    pub fn without_session(&self) -> std::borrow::Cow<'_, str> {
        match self.session_role() {
            Some((account, role)) => format!("arn:aws:iam::{account}:role/{role}").into(),
            None => self.0.as_str().into(),
        }
    }

    /// The name under which grants to this principal are found. That of a role has no path, because those of its
    /// sessions have none.
    pub(crate) fn lookup_name(&self) -> std::borrow::Cow<'_, str> {
        let role =
            self.parts().and_then(|(account, resource)| Some((account, resource.strip_prefix("role/")?)));
        match role.and_then(|(account, path)| Some((account, path.rsplit_once('/')?.1))) {
            Some((account, name)) => format!("arn:aws:iam::{account}:role/{name}").into(),
            None => self.0.as_str().into(),
        }
    }

    /// Whether what is given to `self` is given to `other`: to itself, or to a session of the role that it is. The
    /// names of sessions do not have the path of their role, and within an account the name alone says which role.
    pub fn stands_for(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        let Some((account, role)) = other.session_role() else { return false };
        self.parts().is_some_and(|(own_account, resource)| {
            let name = resource.strip_prefix("role/").and_then(|path| path.rsplit('/').next());
            own_account == account && name == Some(role)
        })
    }

    /// Account and name of the role of a session.
    fn session_role(&self) -> Option<(&str, &str)> {
        let (account, resource) = self.parts()?;
        let (role, _) = resource.strip_prefix("assumed-role/")?.split_once('/')?;
        Some((account, role))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the account of a caller lets it do: the IAM side of every decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerPolicies {
    /// Everything: an administrator of its account. What every local user is, as long as nobody writes policies.
    Administrator,
    /// What these policies allow; with none of them, nothing.
    Written(Arc<[IdentityPolicy]>),
}

/// The id of a request, and of one item of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    uuid: uuid::Uuid,
    item: Option<u32>,
}

impl RequestId {
    /// The id of a request.
    pub fn new(uuid: uuid::Uuid) -> Self {
        Self { uuid, item: None }
    }

    /// The same for one of its items.
    pub fn of_item(self, item: u32) -> Self {
        Self { item: Some(item), ..self }
    }

    /// The id.
    pub fn uuid(&self) -> &uuid::Uuid {
        &self.uuid
    }

    /// Which item.
    pub fn item(&self) -> Option<u32> {
        self.item
    }
}

/// The authenticated caller of an operation: what policies and grants are evaluated against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The principal.
    pub principal: Principal,
    /// The account of the principal.
    pub account: AccountId,
    /// The service that calls for the principal, by its short name (`kmsfs`), as in the condition `kms:ViaService`.
    pub via_service: Option<String>,
    /// The address of the client, where the request came over the network.
    pub source_ip: Option<std::net::IpAddr>,
    /// The resource for which a service calls, as in the condition `aws:SourceArn`.
    pub source_arn: Option<String>,
    /// The id of the request in logs and records, where it has one already.
    pub request_id: Option<RequestId>,
    /// What its account lets it do.
    pub policies: CallerPolicies,
}

impl Caller {
    /// A user of this machine, calling directly.
    pub fn local(account: AccountId, principal_name: &str) -> Self {
        let principal = Principal::user(&account, principal_name);
        Self {
            principal,
            account,
            via_service: None,
            source_ip: None,
            source_arn: None,
            request_id: None,
            policies: CallerPolicies::Administrator,
        }
    }

    /// The same caller with policies of its own.
    pub fn with_policies(self, policies: impl Into<Arc<[IdentityPolicy]>>) -> Self {
        Self { policies: CallerPolicies::Written(policies.into()), ..self }
    }

    /// A service that calls for a user: the only way to use an AWS managed key.
    pub fn service(account: AccountId, principal_name: &str, service: impl Into<String>) -> Self {
        Self { via_service: Some(service.into()), ..Self::local(account, principal_name) }
    }
}
