//! What a member of a request may be, and the check of a whole request against it.
//!
//! A request is checked in two passes, as AWS does it: first the types (`SerializationException`), then the
//! constraints, all of them, in one `ValidationException`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::node::{Node, Object};
use crate::error::KmsError;

/// The longest value that a message repeats.
const MAX_SHOWN_LEN: usize = 256;

/// A member of a structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

/// A member that has to be there.
pub(super) const fn required(name: &'static str, kind: Kind) -> Member {
    Member { name, kind, required: true }
}

/// A member that may be missing.
pub(super) const fn optional(name: &'static str, kind: Kind) -> Member {
    Member { name, kind, required: false }
}

/// The type of a member with its constraints, as in the API reference. Lengths of texts count characters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text {
        min: usize,
        max: usize,
        pattern: Option<Pattern>,
        secret: bool,
    },
    /// One of some names. The names are a function, because an array of them cannot be made of the enum's own.
    Name(fn() -> Vec<&'static str>),
    Blob {
        min: usize,
        max: usize,
    },
    Integer {
        min: i64,
        max: i64,
    },
    Flag,
    Time,
    /// Texts to texts.
    Map,
    List {
        min: usize,
        max: usize,
        of: &'static Kind,
    },
    Structure(&'static [Member]),
}

/// A regular expression of the API reference, and the function that stands for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pattern {
    pub(super) text: &'static str,
    pub(super) matches: fn(&str) -> bool,
}

/// Why a value does not have the type of its member: the message of a `SerializationException`.
pub(super) type Mistyped = String;

impl Kind {
    fn check_type(&self, node: &Node<'_>) -> Result<(), Mistyped> {
        match (self, node) {
            (Self::Text { .. } | Self::Name(_), Node::Text(_))
            | (Self::Integer { .. }, Node::Integer(_))
            | (Self::Flag, Node::Flag(_))
            | (Self::Time, Node::Integer(_) | Node::Fraction(_)) => Ok(()),
            (Self::Blob { .. }, Node::Text(text)) => match decoded_len(text) {
                Some(_) => Ok(()),
                None => Err("The value cannot be converted to a blob: it is not base64".into()),
            },
            (Self::Map, Node::Object(map)) => map.iter().try_for_each(|(_, value)| match value {
                Node::Text(_) => Ok(()),
                other => Err(mistyped(other, "a String")),
            }),
            (Self::List { of, .. }, Node::List(entries)) => {
                entries.iter().try_for_each(|entry| of.check_type(entry))
            }
            (Self::Structure(members), Node::Object(object)) => check_types(members, object),
            (_, other) => Err(mistyped(other, self.type_name())),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Text { .. } | Self::Name(_) => "a String",
            Self::Blob { .. } => "a blob",
            Self::Integer { .. } => "an Integer",
            Self::Flag => "a Boolean",
            Self::Time => "milliseconds since epoch",
            Self::Map => "a map",
            Self::List { .. } => "a list",
            Self::Structure(_) => "a structure",
        }
    }

    /// Adds what is wrong with a value of the right type to `found`.
    fn check(&self, path: &str, node: &Node<'_>, found: &mut Violations) {
        match (self, node) {
            (Self::Text { min, max, pattern, secret }, Node::Text(text)) => {
                let shown = (!secret).then_some(&**text);
                found.check_len(path, shown, text.chars().count(), *min, *max);
                if let Some(pattern) = pattern.filter(|pattern| !(pattern.matches)(text)) {
                    found.add(
                        path,
                        shown,
                        format_args!("satisfy regular expression pattern: {}", pattern.text),
                    );
                }
            }
            (Self::Name(names), Node::Text(text)) => {
                let names = names();
                if !names.contains(&&**text) {
                    found.add(
                        path,
                        Some(text),
                        format_args!("satisfy enum value set: [{}]", names.join(", ")),
                    );
                }
            }
            (Self::Blob { min, max }, Node::Text(text)) => {
                found.check_len(path, None, decoded_len(text).unwrap_or(0), *min, *max);
            }
            (Self::Integer { min, max }, Node::Integer(number)) => {
                let bound = match number {
                    number if number < min => ("greater", min),
                    number if number > max => ("less", max),
                    _ => return,
                };
                let shown = number.to_string();
                found.add(
                    path,
                    Some(&shown),
                    format_args!("have value {} than or equal to {}", bound.0, bound.1),
                );
            }
            (Self::List { min, max, of }, Node::List(entries)) => {
                found.check_len(path, None, entries.len(), *min, *max);
                for (number, entry) in (1..).zip(entries) {
                    of.check(&format!("{path}.{number}.member"), entry, found);
                }
            }
            (Self::Structure(members), Node::Object(object)) => {
                check_members(members, object, &format!("{path}."), found);
            }
            _ => {}
        }
    }
}

/// The length of the bytes that `text` is the base64 of. The bytes are not made: they may be secret.
fn decoded_len(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches('=');
    let padded = text.len().is_multiple_of(4) && text.len() - digits.len() <= 2;
    let legal = digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    let len = digits.len() / 4 * 3 + [0, 0, 1, 2][digits.len() % 4];
    // The last digit has bits to spare, which have to be zero; the decoder knows.
    let tail = &text.as_bytes()[text.len().saturating_sub(4)..];
    (padded && legal && STANDARD.decode(tail).is_ok()).then_some(len)
}

fn mistyped(node: &Node<'_>, expected: &str) -> Mistyped {
    let token = match node {
        Node::Null => "NULL_VALUE",
        Node::Flag(true) => "TRUE_VALUE",
        Node::Flag(false) => "FALSE_VALUE",
        Node::Integer(_) => "NUMBER_VALUE",
        Node::Fraction(_) => "DECIMAL_VALUE",
        Node::Text(_) => "STRING_VALUE",
        Node::List(_) => return "Start of list found where not expected".into(),
        Node::Object(_) => return "Start of structure or map found where not expected.".into(),
    };
    format!("{token} can not be converted to {expected}")
}

/// The first pass. Members that nobody knows are ignored, as AWS does, so that newer clients are served.
pub(super) fn check_types(members: &[Member], object: &Object<'_>) -> Result<(), Mistyped> {
    members
        .iter()
        .filter_map(|member| Some((member, object.get(member.name)?)))
        .try_for_each(|(member, node)| member.kind.check_type(node))
}

/// The second pass.
pub(super) fn check_constraints(members: &[Member], object: &Object<'_>) -> Result<(), KmsError> {
    let mut found = Violations::default();
    check_members(members, object, "", &mut found);
    found.into_result()
}

fn check_members(members: &[Member], object: &Object<'_>, prefix: &str, found: &mut Violations) {
    for member in members {
        let path = format!("{prefix}{}", lower_camel(member.name));
        match object.get(member.name) {
            Some(node) => member.kind.check(&path, node, found),
            None if member.required => found.texts.push(format!(
                "Value null at '{path}' failed to satisfy constraint: Member must not be null"
            )),
            None => {}
        }
    }
}

/// Paths in messages begin with a small letter.
fn lower_camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

/// Broken constraints.
#[derive(Debug, Default)]
struct Violations {
    texts: Vec<String>,
}

impl Violations {
    fn add(&mut self, path: &str, shown: Option<&str>, constraint: std::fmt::Arguments<'_>) {
        let value = shown.filter(|text| text.len() <= MAX_SHOWN_LEN).map(|text| format!(" '{text}'"));
        self.texts.push(format!(
            "Value{} at '{path}' failed to satisfy constraint: Member must {constraint}",
            value.unwrap_or_default()
        ));
    }

    fn check_len(&mut self, path: &str, shown: Option<&str>, len: usize, min: usize, max: usize) {
        let bound = match len {
            len if len < min => ("greater", min),
            len if len > max => ("less", max),
            _ => return,
        };
        self.add(path, shown, format_args!("have length {} than or equal to {}", bound.0, bound.1));
    }

    fn into_result(self) -> Result<(), KmsError> {
        let plural = if self.texts.len() == 1 { "" } else { "s" };
        match self.texts.len() {
            0 => Ok(()),
            count => Err(KmsError::Validation(format!(
                "{count} validation error{plural} detected: {}",
                self.texts.join("; ")
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Kind = Kind::Text { min: 1, max: 3, pattern: None, secret: false };
    const SHAPE: &[Member] = &[
        required("KeyId", TEXT),
        optional("Limit", Kind::Integer { min: 1, max: 9 }),
        optional("Blob", Kind::Blob { min: 1, max: 4 }),
        optional("Tags", Kind::List { min: 0, max: 2, of: &Kind::Structure(&[required("TagKey", TEXT)]) }),
    ];

    fn check(json: &str) -> Result<(), KmsError> {
        check_constraints(SHAPE, &Object::parse(json.as_bytes()).expect("an object"))
    }

    #[test]
    fn every_broken_constraint_is_named() {
        assert_eq!(check(r#"{"KeyId":"a","Limit":9,"Blob":"AAAA","Tags":[{"TagKey":"k"}],"New":1}"#), Ok(()));
        let error =
            check(r#"{"Limit":10,"Blob":"","Tags":[{"TagKey":"k"},{"TagKey":""}]}"#).expect_err("broken");
        assert_eq!(
            error.message(),
            "4 validation errors detected: Value null at 'keyId' failed to satisfy constraint: Member must not be \
             null; Value '10' at 'limit' failed to satisfy constraint: Member must have value less than or equal to \
             9; Value at 'blob' failed to satisfy constraint: Member must have length greater than or equal to 1; \
             Value '' at 'tags.2.member.tagKey' failed to satisfy constraint: Member must have length greater than \
             or equal to 1"
        );
    }

    #[test]
    fn a_wrong_type_is_named_before_any_constraint() {
        for (json, message) in [
            (r#"{"KeyId":1}"#, "NUMBER_VALUE can not be converted to a String"),
            (r#"{"Limit":"1"}"#, "STRING_VALUE can not be converted to an Integer"),
            (r#"{"Limit":1.5}"#, "DECIMAL_VALUE can not be converted to an Integer"),
            (r#"{"Tags":{}}"#, "Start of structure or map found where not expected."),
            (r#"{"Tags":[[]]}"#, "Start of list found where not expected"),
            (r#"{"Blob":"!"}"#, "The value cannot be converted to a blob: it is not base64"),
        ] {
            let object = Object::parse(json.as_bytes()).expect("an object");
            assert_eq!(check_types(SHAPE, &object), Err(message.to_owned()), "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_length_of_base64_is_that_of_its_bytes(text in "[A-Za-z0-9+/]{0,9}={0,3}|.{0,6}") {
            let expected = STANDARD.decode(&text).ok().map(|bytes| bytes.len());
            proptest::prop_assert_eq!(decoded_len(&text), expected);
        }
    }
}
