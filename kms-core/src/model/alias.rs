//! Alias names.

use std::fmt;
use std::str::FromStr;

use super::Realm;
use crate::error::KmsError;

/// The longest alias name that the API accepts, prefix included.
const MAX_ALIAS_LEN: usize = 256;

/// The name of an alias, with its prefix `alias/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AliasName(String);

impl AliasName {
    /// The text, `alias/...`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name belongs to AWS managed keys: `alias/aws/...`.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("alias/aws/")
    }

    /// The alias of the AWS managed key of a service. `None` for a name that cannot be a service.
    pub fn of_service(service: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=32).contains(&service.len()) && service.bytes().all(legal) {
            return Some(Self(format!("alias/aws/{service}")));
        }
        None
    }

    /// The service whose AWS managed key this names.
    pub fn service(&self) -> Option<&str> {
        self.0.strip_prefix("alias/aws/")
    }

    /// The ARN of the alias in a realm.
    pub fn arn(&self, realm: &Realm) -> String {
        format!("arn:aws:kms:{}:{}:{}", realm.region, realm.account, self.0)
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AliasName {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<Self, KmsError> {
        if text.is_empty() || text.len() > MAX_ALIAS_LEN {
            let bound =
                if text.is_empty() { "greater than or equal to 1" } else { "less than or equal to 256" };
            return Err(KmsError::constraint(None, "aliasName", format_args!("have length {bound}")));
        }
        let Some(rest) = text.strip_prefix("alias/") else {
            return Err(KmsError::Validation(
                "Alias must start with the prefix \"alias/\". Please see \
                 https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
                    .into(),
            ));
        };
        if rest.is_empty() {
            return Err(KmsError::Validation("Invalid identifier".into()));
        }
        if !rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'/' | b'_' | b'-'))
        {
            return Err(KmsError::constraint(
                Some(text),
                "aliasName",
                format_args!("satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"),
            ));
        }
        if rest.contains(':') {
            return Err(KmsError::Validation(format!("{text} contains invalid characters for an alias")));
        }
        Ok(Self(text.to_owned()))
    }
}

text_serde!(AliasName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_aws() {
        let message = |text: &str| text.parse::<AliasName>().expect_err("malformed").message().to_owned();
        assert!(
            message("data").starts_with("Alias must start with the prefix \"alias/\". Please see https://")
        );
        assert_eq!(message("alias/"), "Invalid identifier");
        assert_eq!(
            message("alias/a b"),
            "1 validation error detected: Value 'alias/a b' at 'aliasName' failed to satisfy constraint: Member \
             must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"
        );
        assert_eq!(message("alias/a:b"), "alias/a:b contains invalid characters for an alias");
    }

    #[test]
    fn reserved_names_are_those_of_services() {
        assert!("alias/aws/kmsfs".parse::<AliasName>().expect("valid").is_reserved());
        assert!(!"alias/awsome".parse::<AliasName>().expect("valid").is_reserved());
        assert_eq!(AliasName::of_service("kmsfs").expect("valid").as_str(), "alias/aws/kmsfs");
        assert_eq!(AliasName::of_service("a/b"), None);
    }
}
