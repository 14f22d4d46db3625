//! Users and their access keys: who calls over a network.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Plaintext, Timestamp};
use crate::error::KmsError;

/// The name of a user: 1 to 64 letters, digits and `+=,.@_-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(String);

impl UserName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UserName {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<Self, KmsError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
            return Ok(Self(text.to_owned()));
        }
        Err(KmsError::Validation(
            "A user name has 1 to 64 characters, each a letter, a digit or one of +=,.@_-".into(),
        ))
    }
}

text_serde!(UserName);

/// The id of an access key, which is not secret: `AKIA` and sixteen characters of base32.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    const PREFIX: &str = "AKIA";
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    /// The random bytes of an id, one for each digit.
    pub(crate) const RANDOM_LEN: usize = 16;

    /// An id of random bytes; five bits of each count.
    pub(crate) fn of_random(bytes: &[u8; Self::RANDOM_LEN]) -> Self {
        let digits = bytes.iter().map(|byte| char::from(Self::DIGITS[usize::from(byte & 31)]));
        Self(Self::PREFIX.chars().chain(digits).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AccessKeyId {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<Self, KmsError> {
        let digits = text.strip_prefix(Self::PREFIX).unwrap_or_default();
        if digits.len() == Self::RANDOM_LEN && digits.bytes().all(|byte| Self::DIGITS.contains(&byte)) {
            return Ok(Self(text.to_owned()));
        }
        Err(KmsError::Validation("An access key id has the form AKIAXXXXXXXXXXXXXXXX".into()))
    }
}

/// An access key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The id.
    pub access_key_id: AccessKeyId,
    /// Whose it is.
    pub user: UserName,
    /// When it was made.
    pub creation_date: Timestamp,
}

/// What a request is signed with: 40 characters of base64. Shared, so that there is one copy in memory, and wiped when
/// the last owner drops it.
#[derive(Debug, Clone)]
pub struct SecretAccessKey(Arc<Plaintext>);

impl SecretAccessKey {
    /// Takes over the text of a secret.
    pub fn new(text: Plaintext) -> Self {
        Self(Arc::new(text))
    }

    /// The text. Every call of this is a place to look at in a review.
    pub fn expose(&self) -> &str {
        // Made from base64 here, and authenticated when it was read; an empty secret signs nothing.
        std::str::from_utf8(self.0.expose()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip() {
        let id = AccessKeyId::of_random(&std::array::from_fn(|index| 255 - index as u8));
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.as_str().len(), 20);
        for text in ["", "AKIA", "AKIA000000000000AAAA", "ASIAAAAAAAAAAAAAAAAA", "AKIAaAAAAAAAAAAAAAAA"] {
            assert!(text.parse::<AccessKeyId>().is_err(), "{text}");
        }
    }

    #[test]
    fn user_names_are_those_of_iam() {
        assert!("build-server_1@example.org".parse::<UserName>().is_ok());
        for text in ["", "a b", "a/b", "a:b", &"x".repeat(65)] {
            assert!(text.parse::<UserName>().is_err(), "{text}");
        }
    }
}
