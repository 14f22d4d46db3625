//! Whom a statement of a key policy is about.

use super::PolicyError;
use crate::model::{AccountId, Caller, Principal};

/// One principal of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PolicyPrincipal {
    /// `*`: everybody.
    Everyone,
    /// An account: its root, and whomever the account's own policies let do it.
    Account(AccountId),
    /// A user, a role or a session.
    Arn(Principal),
    /// A service that calls for itself.
    Service(Principal),
}

impl PolicyPrincipal {
    /// The form under `AWS`: `*`, an account id, or the ARN of an account, a user, a role or a session.
    pub fn parse_aws(text: &str) -> Result<Self, PolicyError> {
        if text == "*" {
            return Ok(Self::Everyone);
        }
        if let Ok(account) = text.parse() {
            return Ok(Self::Account(account));
        }
        let principal = Principal::from_arn(text);
        let Some((account, resource)) = principal.parts() else { return Err(invalid()) };
        let account = account.parse::<AccountId>().map_err(|_| invalid())?;
        if resource == "root" {
            return Ok(Self::Account(account));
        }
        let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'?' | b'"' | b'\\');
        let (kind, name) = resource.split_once('/').ok_or_else(invalid)?;
        let named = !name.is_empty() && name.bytes().all(legal);
        let known = matches!(kind, "user" | "role" | "assumed-role" | "federated-user");
        if named && known { Ok(Self::Arn(principal)) } else { Err(invalid()) }
    }

    /// The form under `Service`: the DNS name of a service.
    pub fn parse_service(text: &str) -> Result<Self, PolicyError> {
        let principal = Principal::from_arn(text);
        if principal.is_service() { Ok(Self::Service(principal)) } else { Err(invalid()) }
    }
}

fn invalid() -> PolicyError {
    PolicyError::problem("Policy contains a statement with one or more invalid principals.")
}

/// `Principal` or `NotPrincipal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principals {
    /// The statement is about these.
    In(Vec<PolicyPrincipal>),
    /// The statement is about everybody but these.
    NotIn(Vec<PolicyPrincipal>),
}

/// How a statement is about a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aim {
    /// Not at all.
    Missed,
    /// Through the caller's account: an Allow leaves the decision to the account's own policies.
    Account,
    /// The caller itself.
    Direct,
}

impl Principals {
    /// How an Allow is about `caller`.
    pub(super) fn allow_aim(&self, caller: &Caller) -> Aim {
        match self {
            Self::In(list) => list.iter().map(|one| aim(one, caller)).max().unwrap_or(Aim::Missed),
            Self::NotIn(list) => {
                let listed = list.iter().any(|one| aim(one, caller) != Aim::Missed);
                if listed { Aim::Missed } else { Aim::Direct }
            }
        }
    }

    /// Whether a Deny is about `caller`. A Deny of an account is one of everybody in it.
    ///
    /// A caller is excepted by `NotPrincipal` only if everything that it is has been listed: the session, its role,
    /// and the account.
    pub(super) fn denies(&self, caller: &Caller) -> bool {
        match self {
            Self::In(list) => list.iter().any(|one| aim(one, caller) != Aim::Missed),
            Self::NotIn(list) => !excepted(list, caller),
        }
    }
}

fn aim(principal: &PolicyPrincipal, caller: &Caller) -> Aim {
    let direct = match principal {
        PolicyPrincipal::Everyone => true,
        PolicyPrincipal::Account(account) => {
            if caller.principal.is_service() || *account != caller.account {
                return Aim::Missed;
            }
            if !caller.principal.is_root() {
                return Aim::Account;
            }
            true
        }
        PolicyPrincipal::Arn(arn) | PolicyPrincipal::Service(arn) => arn.stands_for(&caller.principal),
    };
    if direct { Aim::Direct } else { Aim::Missed }
}

fn excepted(list: &[PolicyPrincipal], caller: &Caller) -> bool {
    if list.contains(&PolicyPrincipal::Everyone) {
        return true;
    }
    let names = |one: &PolicyPrincipal, wanted: &Principal| match one {
        PolicyPrincipal::Arn(arn) | PolicyPrincipal::Service(arn) => arn == wanted,
        PolicyPrincipal::Everyone | PolicyPrincipal::Account(_) => false,
    };
    let itself = caller.principal.is_root() || list.iter().any(|one| names(one, &caller.principal));
    // The path of a role is not part of the name of its sessions, so the role is found by its name.
    let is_role = |one: &PolicyPrincipal| {
        matches!(one, PolicyPrincipal::Arn(arn)
        if *arn != caller.principal && arn.stands_for(&caller.principal))
    };
    let role = !caller.principal.is_role_session() || list.iter().any(is_role);
    let account =
        caller.principal.is_service() || list.contains(&PolicyPrincipal::Account(caller.account.clone()));
    itself && role && account
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(arn: &str) -> Caller {
        let account = "111122223333".parse().expect("an account");
        Caller { principal: Principal::from_arn(arn), ..Caller::local(account, "x") }
    }

    fn list(texts: &[&str]) -> Vec<PolicyPrincipal> {
        let parse = |text: &&str| PolicyPrincipal::parse_aws(text).or(PolicyPrincipal::parse_service(text));
        texts.iter().map(|text| parse(text).expect("a principal")).collect()
    }

    const USER: &str = "arn:aws:iam::111122223333:user/dept/bob";
    const ROLE: &str = "arn:aws:iam::111122223333:role/dept/ops";
    const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/ops/today";
    const ROOT: &str = "arn:aws:iam::111122223333:root";

    #[test]
    fn an_allow_is_about_the_caller_or_its_account() {
        let aim = |principal: &str, who: &str| Principals::In(list(&[principal])).allow_aim(&caller(who));
        assert_eq!(aim("*", USER), Aim::Direct);
        assert_eq!(aim(USER, USER), Aim::Direct);
        assert_eq!(aim(USER, ROLE), Aim::Missed);
        assert_eq!(aim(ROLE, SESSION), Aim::Direct);
        assert_eq!(aim(SESSION, SESSION), Aim::Direct);
        assert_eq!(aim(ROOT, USER), Aim::Account);
        assert_eq!(aim("111122223333", SESSION), Aim::Account);
        assert_eq!(aim(ROOT, ROOT), Aim::Direct);
        assert_eq!(aim("444455556666", USER), Aim::Missed);
        assert_eq!(aim("ebs.amazonaws.com", "ebs.amazonaws.com"), Aim::Direct);
        assert_eq!(aim(ROOT, "ebs.amazonaws.com"), Aim::Missed);
    }

    #[test]
    fn not_principal_excepts_only_those_who_are_listed_whole() {
        let denies = |except: &[&str], who: &str| Principals::NotIn(list(except)).denies(&caller(who));
        assert!(denies(&[USER], USER), "the account is not listed");
        assert!(!denies(&[USER, ROOT], USER));
        assert!(denies(&[ROOT], USER), "an account is not its users");
        assert!(!denies(&[ROOT], ROOT));
        assert!(denies(&[SESSION, ROOT], SESSION), "the role is not listed");
        assert!(!denies(&[SESSION, ROLE, ROOT], SESSION));
        assert!(!denies(&["*"], USER));
        assert_eq!(Principals::NotIn(list(&[ROOT])).allow_aim(&caller(USER)), Aim::Missed);
    }

    #[test]
    fn only_principals_that_can_exist_parse() {
        for text in [
            "",
            "bob",
            "1111",
            "arn:aws:iam::111122223333:user/*",
            "arn:aws:iam::*:root",
            "arn:aws:iam::111122223333:group/admins",
            "arn:aws:s3:::bucket",
            "arn:aws:iam::111122223333:user/",
        ] {
            assert!(PolicyPrincipal::parse_aws(text).is_err(), "{text}");
        }
        assert!(
            PolicyPrincipal::parse_service("ebs").is_err() && PolicyPrincipal::parse_service("a..b").is_err()
        );
    }
}
