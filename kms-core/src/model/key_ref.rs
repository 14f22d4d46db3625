//! What a caller typed to name a key: an id, an ARN, an alias or the ARN of an alias.

use std::fmt;
use std::str::FromStr;

use super::{AccountId, AliasName, KeyId, Realm, Region};
use crate::error::KmsError;

/// The longest `KeyId` parameter that the API accepts.
const MAX_KEY_REF_LEN: usize = 2048;

/// A reference to a KMS key, parsed, with the text as typed (conditions and messages show it).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRef {
    typed: String,
    target: KeyTarget,
    realm: Option<Realm>,
}

/// What a [`KeyRef`] points at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyTarget {
    /// A key, by its id.
    Id(KeyId),
    /// A key, through an alias.
    Alias(AliasName),
}

impl KeyRef {
    /// What it points at.
    pub fn target(&self) -> &KeyTarget {
        &self.target
    }

    /// The text as the caller typed it.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// The alias, if it was one.
    pub fn alias(&self) -> Option<&AliasName> {
        match &self.target {
            KeyTarget::Id(_) => None,
            KeyTarget::Alias(name) => Some(name),
        }
    }

    /// The Region and account, if it was an ARN.
    pub fn realm(&self) -> Option<&Realm> {
        self.realm.as_ref()
    }
}

impl From<KeyId> for KeyRef {
    fn from(id: KeyId) -> Self {
        Self { typed: id.to_string(), target: KeyTarget::Id(id), realm: None }
    }
}

impl From<AliasName> for KeyRef {
    fn from(name: AliasName) -> Self {
        Self { typed: name.to_string(), target: KeyTarget::Alias(name), realm: None }
    }
}

impl From<&super::KeyArn> for KeyRef {
    fn from(arn: &super::KeyArn) -> Self {
        let realm = split_arn(arn.as_str()).ok().map(|parts| parts.realm);
        Self { typed: arn.to_string(), target: KeyTarget::Id(arn.key_id()), realm }
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

impl FromStr for KeyRef {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<Self, KmsError> {
        if text.is_empty() || text.len() > MAX_KEY_REF_LEN {
            let bound =
                if text.is_empty() { "greater than or equal to 1" } else { "less than or equal to 2048" };
            return Err(KmsError::constraint(None, "keyId", format_args!("have length {bound}")));
        }
        let (resource, realm) = if text.starts_with("arn:") {
            let parts = split_arn(text)?;
            let key = parts.resource.strip_prefix("key/");
            (key.unwrap_or(parts.resource), Some(parts.realm))
        } else {
            (text, None)
        };
        let target = if resource.starts_with("alias/") {
            // An alias that cannot exist is simply not found.
            let name = resource.parse().map_err(|_| KmsError::invalid_key_id(text))?;
            KeyTarget::Alias(name)
        } else {
            KeyTarget::Id(resource.parse().map_err(|_| KmsError::invalid_key_id(text))?)
        };
        Ok(Self { typed: text.to_owned(), target, realm })
    }
}

/// The parts of a KMS ARN that matter here.
pub(super) struct ArnParts<'a> {
    pub(super) realm: Realm,
    pub(super) resource: &'a str,
}

/// Splits `arn:aws:kms:REGION:ACCOUNT:RESOURCE`.
pub(super) fn split_arn(text: &str) -> Result<ArnParts<'_>, KmsError> {
    let refused = || KmsError::InvalidArn(format!("Invalid arn '{text}'"));
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [scheme, partition, service, region, account, resource] = parts[..] else { return Err(refused()) };
    if scheme != "arn" || !partition.starts_with("aws") || service != "kms" || resource.is_empty() {
        return Err(refused());
    }
    let region: Region = region.parse().map_err(|_| refused())?;
    let account: AccountId = account.parse().map_err(|_| refused())?;
    Ok(ArnParts { realm: Realm { region, account }, resource })
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn parsing_is_total_and_keeps_what_was_typed(
            text in "(arn:aws:kms:[a-z-]{0,4}:[0-9]{0,12}:)?(key/|alias/)?[a-f0-9/:-]{0,40}|.{0,40}",
        ) {
            if let Ok(key_ref) = parse(&text) {
                proptest::prop_assert_eq!(key_ref.to_string(), text);
            }
        }
    }

    const ID: &str = "6f1b8bd8-3b57-4f2b-9d6b-2c1f7c1b0a11";

    fn parse(text: &str) -> Result<KeyRef, KmsError> {
        text.parse()
    }

    #[test]
    fn all_four_forms_parse() {
        let id = ID.parse().expect("a key id");
        assert_eq!(parse(ID).expect("id").target(), &KeyTarget::Id(id));
        let arn = parse(&format!("arn:aws:kms:eu-west-1:111122223333:key/{ID}")).expect("arn");
        assert_eq!(arn.target(), &KeyTarget::Id(id));
        assert_eq!(arn.realm().map(|realm| realm.region.as_str()), Some("eu-west-1"));
        assert_eq!(parse("alias/data").expect("alias").alias().map(AliasName::as_str), Some("alias/data"));
        let arn = parse("arn:aws:kms:eu-west-1:111122223333:alias/a/b").expect("alias arn");
        assert_eq!(arn.alias().map(AliasName::as_str), Some("alias/a/b"));
    }

    #[test]
    fn each_malformed_form_has_its_error() {
        assert_eq!(parse("nonsense"), Err(KmsError::NotFound("Invalid keyId 'nonsense'".into())));
        assert!(matches!(parse("arn:aws:s3:::bucket"), Err(KmsError::InvalidArn(_))));
        assert!(matches!(parse("arn:aws:kms:r:1:key/x"), Err(KmsError::InvalidArn(_))));
        assert!(matches!(parse(""), Err(KmsError::Validation(_))));
        assert!(matches!(parse(&"x".repeat(2049)), Err(KmsError::Validation(_))));
    }
}
