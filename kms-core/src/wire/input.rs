//! From the members of a checked request to the types of the model.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::node::{Node, Object};
use super::shape::{self, Member, Mistyped};
use crate::error::KmsError;
use crate::model::*;

/// A request that was checked against its shape.
pub(super) struct Input<'a> {
    members: &'static [Member],
    object: Object<'a>,
}

impl<'a> Input<'a> {
    /// Checks the types of a request. The constraints are checked apart, because they fail with another error.
    pub(super) fn typed(members: &'static [Member], object: Object<'a>) -> Result<Self, Mistyped> {
        shape::check_types(members, &object)?;
        Ok(Self { members, object })
    }

    pub(super) fn check_constraints(&self) -> Result<(), KmsError> {
        shape::check_constraints(self.members, &self.object)
    }

    /// A member, parsed. What may be missing is an `Option`, or has a value for that: false, or empty.
    pub(super) fn get<T: FromMember>(&self, name: &str) -> Result<T, KmsError> {
        debug_assert!(self.members.iter().any(|member| member.name == name), "{name} is not in the shape");
        match self.object.get(name) {
            Some(node) => T::present(node),
            None => T::absent(name),
        }
    }

    /// `Limit` and `Marker`.
    pub(super) fn page(&self) -> Result<Page, KmsError> {
        Ok(Page { limit: self.get("Limit")?, marker: self.get("Marker")? })
    }

    /// Refuses a request that asks for something that this service does not do. Ignoring it would be worse: a
    /// plaintext would go to a client that wanted it encrypted.
    pub(super) fn refuse(&self, unsupported: &[&str]) -> Result<(), KmsError> {
        match unsupported.iter().find(|name| self.object.get(name).is_some()) {
            Some(name) => Err(KmsError::UnsupportedOperation(format!(
                "The parameter {name} is not supported by this service."
            ))),
            None => Ok(()),
        }
    }
}

/// A type that a member becomes.
pub(super) trait FromMember: Sized {
    /// From a value that is there.
    fn present(node: &Node<'_>) -> Result<Self, KmsError>;

    /// When there is none. Only reached for what the shape does not require.
    fn absent(name: &str) -> Result<Self, KmsError> {
        Err(KmsError::Validation(format!("The parameter {name} is missing.")))
    }
}

/// The types were checked before, so this is only reached by a shape that contradicts its operation.
fn contradiction() -> KmsError {
    KmsError::Internal("the shape of the request does not fit its operation".into())
}

fn text<'n>(node: &'n Node<'_>) -> Result<&'n str, KmsError> {
    match node {
        Node::Text(text) => Ok(text),
        _ => Err(contradiction()),
    }
}

fn parsed<T: FromStr<Err = KmsError>>(node: &Node<'_>) -> Result<T, KmsError> {
    text(node)?.parse()
}

impl<T: FromMember> FromMember for Option<T> {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        T::present(node).map(Some)
    }

    fn absent(_: &str) -> Result<Self, KmsError> {
        Ok(None)
    }
}

macro_rules! from_text {
    ($($name:ident)+) => {
        $(
            impl FromMember for $name {
                fn present(node: &Node<'_>) -> Result<Self, KmsError> {
                    parsed(node)
                }
            }
        )+
    };
}

from_text! {
    KeyRef AliasName MaterialId Region
    KeySpec KeyUsage Origin DataKeySpec EncryptionAlgorithm WrappingAlgorithm WrappingKeySpec
    ExpirationModel ImportType IncludeKeyMaterial
    GrantId GrantOperation
    SigningAlgorithm MessageType MacAlgorithm KeyAgreementAlgorithm EncapsulationAlgorithm DataKeyPairSpec
    CustomKeyStoreType XksProxyConnectivity
}

impl FromMember for String {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        text(node).map(str::to_owned)
    }
}

impl FromMember for SecretText {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        text(node).map(|text| Self::new(text.to_owned()))
    }
}

impl FromMember for ProxyCredential {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        let Node::Object(given) = node else { return Err(contradiction()) };
        let member = |name| given.get(name).ok_or_else(contradiction);
        Ok(Self {
            access_key_id: member("AccessKeyId").and_then(String::present)?,
            raw_secret_access_key: member("RawSecretAccessKey").and_then(SecretText::present)?,
        })
    }
}

impl FromMember for i32 {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        match node {
            // The shape has bounded it, unless the API has no bound that fits.
            Node::Integer(number) => Ok(Self::try_from(*number).unwrap_or(Self::MAX)),
            _ => Err(contradiction()),
        }
    }
}

impl FromMember for bool {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        match node {
            Node::Flag(flag) => Ok(*flag),
            _ => Err(contradiction()),
        }
    }

    fn absent(_: &str) -> Result<Self, KmsError> {
        Ok(false)
    }
}

impl FromMember for Timestamp {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        match node {
            Node::Integer(secs) => Ok(Self::from_millis(secs.saturating_mul(1000))),
            // Saturates, and a number that is none is the epoch: either is out of every range.
            Node::Fraction(secs) => Ok(Self::from_millis((secs * 1000.0).round() as i64)),
            _ => Err(contradiction()),
        }
    }
}

impl FromMember for Vec<u8> {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        STANDARD.decode(text(node)?).map_err(|_| contradiction())
    }
}

impl FromMember for CiphertextBlob {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        Vec::present(node).map(Self)
    }
}

impl FromMember for Plaintext {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        Vec::present(node).map(Self::new)
    }
}

impl FromMember for EncryptionContext {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        match node {
            Node::Object(map) => map.iter().map(|(name, value)| Ok((name, text(value)?))).collect(),
            _ => Err(contradiction()),
        }
    }

    fn absent(_: &str) -> Result<Self, KmsError> {
        Ok(Self::new())
    }
}

impl FromMember for Vec<String> {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        list(node)
    }

    fn absent(_: &str) -> Result<Self, KmsError> {
        Ok(Self::new())
    }
}

impl FromMember for Tag {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        let Node::Object(tag) = node else { return Err(contradiction()) };
        let member = |name| tag.get(name).ok_or_else(contradiction).and_then(String::present);
        Ok(Self { key: member("TagKey")?, value: member("TagValue")? })
    }
}

impl FromMember for Vec<Tag> {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        list(node)
    }

    fn absent(_: &str) -> Result<Self, KmsError> {
        Ok(Self::new())
    }
}

impl FromMember for Vec<GrantOperation> {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        list(node)
    }
}

impl FromMember for GrantConstraints {
    fn present(node: &Node<'_>) -> Result<Self, KmsError> {
        let Node::Object(given) = node else { return Err(contradiction()) };
        let context = |name| given.get(name).map(EncryptionContext::present).transpose();
        Ok(Self {
            encryption_context_equals: context("EncryptionContextEquals")?,
            encryption_context_subset: context("EncryptionContextSubset")?,
            source_arn: given.get("SourceArn").map(String::present).transpose()?,
        })
    }

    fn absent(_: &str) -> Result<Self, KmsError> {
        Ok(Self::default())
    }
}

fn list<T: FromMember>(node: &Node<'_>) -> Result<Vec<T>, KmsError> {
    match node {
        Node::List(entries) => entries.iter().map(T::present).collect(),
        _ => Err(contradiction()),
    }
}
