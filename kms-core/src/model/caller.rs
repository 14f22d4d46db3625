//! Who makes a request.

use std::fmt;

use super::AccountId;

/// The ARN of a principal: a user, a role session, or the root of an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
}

impl Caller {
    /// A user of this machine, calling directly.
    pub fn local(account: AccountId, principal_name: &str) -> Self {
        let principal = Principal::user(&account, principal_name);
        Self { principal, account, via_service: None, source_ip: None }
    }

    /// A service that calls for a user: the only way to use an AWS managed key.
    pub fn service(account: AccountId, principal_name: &str, service: impl Into<String>) -> Self {
        Self { via_service: Some(service.into()), ..Self::local(account, principal_name) }
    }
}
