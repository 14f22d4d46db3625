//! A JSON document as the client sent it, before anybody knows what it means.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value that borrows its texts from the request, so that a plaintext in it has no second copy.
///
/// A text with escapes is an exception, because it has to be unescaped. Base64 needs none.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'a> {
    Null,
    Flag(bool),
    Integer(i64),
    Fraction(f64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Object<'a>),
}

/// The members of a JSON object. A name that comes twice counts the last time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Node<'a>)>);

impl<'a> Object<'a> {
    /// Reads one document; anything behind it, or anything but an object, is `None`.
    ///
    /// Depth is bounded by serde_json, and memory by a small multiple of `json`.
    pub(super) fn parse(json: &'a [u8]) -> Option<Self> {
        match serde_json::from_slice(json).ok()? {
            Node::Object(object) => Some(object),
            _ => None,
        }
    }

    /// A member that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&Node<'a>> {
        let found = self.0.iter().rev().find(|(other, _)| other == name);
        found.map(|(_, node)| node).filter(|node| **node != Node::Null)
    }

    /// All members.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Node<'a>)> {
        self.0.iter().map(|(name, node)| (&**name, node))
    }
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

/// A member's name, borrowed where it can be.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(NodeVisitor)? {
            Node::Text(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("a name is a text")),
        }
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Node::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Node::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        // Beyond every range that the service has, so its exact value does not matter.
        Ok(Node::Integer(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Node::Fraction(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            list.push(entry);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), node)) = entries.next_entry()? {
            members.push((name, node));
        }
        Ok(Node::Object(Object(members)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_borrowed_and_the_last_of_two_members_counts() {
        let json = br#"{"a":"plain","a":"last","b":null,"c":[1,-2,1.5,true],"d":"es\"caped"}"#;
        let object = Object::parse(json).expect("an object");
        assert!(matches!(object.get("a"), Some(Node::Text(Cow::Borrowed("last")))));
        assert_eq!(object.get("b"), None);
        let list = [Node::Integer(1), Node::Integer(-2), Node::Fraction(1.5), Node::Flag(true)];
        assert_eq!(object.get("c"), Some(&Node::List(list.into())));
        assert_eq!(object.get("d"), Some(&Node::Text("es\"caped".into())));
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for json in ["", "null", "[]", "\"a\"", "{", "{} {}", "{\"a\":}", "\u{feff}{}"] {
            assert_eq!(Object::parse(json.as_bytes()), None, "{json:?}");
        }
        assert_eq!(Object::parse(b"{\"a\":\"\xff\"}"), None);
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Object::parse(deep.as_bytes()), None);
    }

    proptest::proptest! {
        #[test]
        fn parsing_is_total(json in proptest::collection::vec(0_u8.., 0..200)) {
            let _ = Object::parse(&json);
        }
    }
}
