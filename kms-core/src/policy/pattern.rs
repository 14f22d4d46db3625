//! Texts with `*`, `?` and `${variables}`.

use std::borrow::Cow;

use super::PolicyError;
use super::facts::Facts;
use super::glob::{self, Item};
use super::key::ConditionKey;

/// Up to this product of their lengths a pattern and a text are matched without preparation, which is faster for short
/// ones; beyond it in a time that does not grow with the product.
const MAX_UNPREPARED: usize = 16_384;

/// How the text of a policy value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Syntax {
    /// `*` and `?` stand for other characters.
    pub(super) wildcards: bool,
    /// `${name}` stands for a fact of the request: only in policies of version 2012-10-17.
    pub(super) variables: bool,
}

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Char(char),
    /// `?`: any one character.
    One,
    /// `*`: any characters, or none.
    Run,
    Variable {
        key: ConditionKey,
        default: Option<String>,
    },
}

/// A text with wildcards and variables, parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    parts: Vec<Part>,
    /// The text itself, where nothing in it stands for anything else.
    literal: Option<String>,
}

impl Pattern {
    /// Parses `text`. The message of an error says what is wrong with it.
    pub(super) fn parse(text: &str, syntax: Syntax) -> Result<Self, PolicyError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if syntax.variables && rest.starts_with("${") {
                let end = rest.find('}').ok_or_else(|| PolicyError::problem("a ${ has no }"))?;
                parts.push(variable(&rest[2..end])?);
                rest = &rest[end + 1..];
                continue;
            }
            parts.push(match first {
                '*' if syntax.wildcards => Part::Run,
                '?' if syntax.wildcards => Part::One,
                other => Part::Char(other),
            });
            rest = &rest[first.len_utf8()..];
        }
        Ok(Self::of(parts))
    }

    fn of(parts: Vec<Part>) -> Self {
        let chars = parts.iter().map(|part| if let Part::Char(one) = part { Some(*one) } else { None });
        let literal = chars.collect();
        Self { parts, literal }
    }

    /// Whether it matches every text.
    pub(super) fn is_any(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| *part == Part::Run)
    }

    /// Splits at the first `count - 1` colons that are written out; `None` if there are fewer.
    pub(super) fn split_at_colons(self, count: usize) -> Option<Vec<Self>> {
        let mut pieces = vec![Vec::new()];
        for part in self.parts {
            if part == Part::Char(':') && pieces.len() < count {
                pieces.push(Vec::new());
            } else if let Some(last) = pieces.last_mut() {
                last.push(part);
            }
        }
        (pieces.len() == count).then(|| pieces.into_iter().map(Self::of).collect())
    }

    /// Whether it matches `text`. A variable without a value makes the pattern match nothing.
    pub(super) fn matches(&self, text: &str, facts: &dyn Facts) -> bool {
        match &self.literal {
            Some(literal) => literal == text,
            None => self.expanded(facts).is_some_and(|parts| matches_text(&parts, text, false)),
        }
    }

    /// The same without regard to case.
    pub(super) fn matches_ignoring_case(&self, text: &str, facts: &dyn Facts) -> bool {
        self.expanded(facts).is_some_and(|parts| matches_text(&parts, text, true))
    }

    /// The same for a pattern without variables.
    pub(super) fn matches_plainly_ignoring_case(&self, text: &str) -> bool {
        matches_text(&self.parts, text, true)
    }

    /// The parts with the values of the variables in their place.
    fn expanded(&self, facts: &dyn Facts) -> Option<Cow<'_, [Part]>> {
        if !self.parts.iter().any(|part| matches!(part, Part::Variable { .. })) {
            return Some(Cow::Borrowed(&self.parts));
        }
        let mut parts = Vec::new();
        for part in &self.parts {
            match part {
                Part::Variable { key, default } => {
                    let values = facts.values(key);
                    let text = match (&values[..], default) {
                        ([value], _) => value.text().into_owned(),
                        ([], Some(default)) => default.clone(),
                        // Of several values none is the value.
                        (_, _) => return None,
                    };
                    parts.extend(text.chars().map(Part::Char));
                }
                other => parts.push(other.clone()),
            }
        }
        Some(Cow::Owned(parts))
    }
}

/// What stands between `${` and `}`.
fn variable(inside: &str) -> Result<Part, PolicyError> {
    if let "*" | "?" | "$" = inside {
        return Ok(Part::Char(inside.chars().next().unwrap_or('$')));
    }
    let (name, default) = match inside.split_once(',') {
        None => (inside, None),
        Some((name, rest)) => {
            let quoted = rest.trim().strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
            let default =
                quoted.ok_or_else(|| PolicyError::problem("a default of a variable is 'quoted'"))?;
            (name, Some(default.to_owned()))
        }
    };
    Ok(Part::Variable { key: ConditionKey::parse(name.trim())?, default })
}

/// What letters that differ by their case have in common. The one letter whose lower case is two characters has its
/// lower case to itself, so that it can stand for itself.
fn folded(letter: char) -> char {
    let mut lower = letter.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => letter,
    }
}

fn matches_text(parts: &[Part], text: &str, ignore_case: bool) -> bool {
    let fold = |letter: char| if ignore_case { folded(letter) } else { letter };
    if parts.len().saturating_mul(text.len()) <= MAX_UNPREPARED {
        return backtrack(parts, text, |one, other| one == other || ignore_case && fold(one) == fold(other));
    }
    let item = |part: &Part| match part {
        Part::Char(letter) => Some(Item::Char(fold(*letter))),
        Part::One => Some(Item::One),
        Part::Run => Some(Item::Run),
        // Only a pattern whose variables have their values is matched.
        Part::Variable { .. } => None,
    };
    let items: Option<Vec<_>> = parts.iter().map(item).collect();
    let text: Vec<_> = text.chars().map(fold).collect();
    items.is_some_and(|items| glob::matches(&items, &text))
}

/// Matches without recursion: on a mismatch, the last `*` takes one character more. At worst the product of both
/// lengths.
fn backtrack(parts: &[Part], text: &str, same: impl Fn(char, char) -> bool) -> bool {
    let (mut part, mut rest) = (0, text);
    let mut last_run: Option<(usize, &str)> = None;
    loop {
        let next = rest.chars().next();
        match (parts.get(part), next) {
            (Some(Part::Run), _) => {
                last_run = Some((part, rest));
                part += 1;
                continue;
            }
            (Some(Part::One), Some(found)) => {
                part += 1;
                rest = &rest[found.len_utf8()..];
                continue;
            }
            (Some(Part::Char(wanted)), Some(found)) if same(*wanted, found) => {
                part += 1;
                rest = &rest[found.len_utf8()..];
                continue;
            }
            (None, None) => return true,
            (_, _) => {}
        }
        let Some((run, from)) = last_run else { return false };
        let Some(taken) = from.chars().next() else { return false };
        rest = &from[taken.len_utf8()..];
        last_run = Some((run, rest));
        part = run + 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::facts::{NoFacts, Value};
    use super::*;

    const ALL: Syntax = Syntax { wildcards: true, variables: true };

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern, ALL).expect("parses").matches(text, &NoFacts)
    }

    /// The definition of a match, by recursion over characters.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|taken| by_definition(rest, &text[taken..])),
            (['?', rest @ ..], [_, text @ ..]) => by_definition(rest, text),
            ([one, rest @ ..], [other, text @ ..]) if one == other => by_definition(rest, text),
            (_, _) => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn wildcards_match_as_defined(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let (chars, letters): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text), by_definition(&chars, &letters));
        }

        /// Long enough to be prepared, and the same but for that.
        #[test]
        fn long_texts_match_as_short_ones(pattern in "[aB*?]{0,8}", text in "[Ab]{0,10}") {
            let long = "x".repeat(MAX_UNPREPARED);
            let parsed = |text: &str| Pattern::parse(text, ALL).expect("parses");
            let (one, other) = (parsed(&pattern), parsed(&format!("{long}{pattern}")));
            let padded = format!("{long}{text}");
            prop_assert_eq!(one.matches(&text, &NoFacts), other.matches(&padded, &NoFacts));
            let (short, long) =
                (one.matches_ignoring_case(&text, &NoFacts), other.matches_ignoring_case(&padded, &NoFacts));
            prop_assert_eq!(short, long);
        }

        #[test]
        fn parsing_and_matching_are_total(pattern in ".{0,40}", text in ".{0,40}") {
            if let Ok(parsed) = Pattern::parse(&pattern, ALL) {
                parsed.matches(&text, &NoFacts);
                parsed.matches_ignoring_case(&text, &NoFacts);
            }
        }
    }

    struct User;

    impl Facts for User {
        fn values(&self, key: &ConditionKey) -> Vec<Value<'_>> {
            match key {
                ConditionKey::UserName => vec![Value::from("a*b")],
                _ => Vec::new(),
            }
        }

        fn resource(&self) -> Cow<'_, str> {
            Cow::Borrowed("*")
        }
    }

    #[test]
    fn a_value_of_a_variable_has_no_wildcards() {
        let pattern = Pattern::parse("x-${aws:username}-${*}", ALL).expect("parses");
        assert!(pattern.matches("x-a*b-*", &User));
        assert!(!pattern.matches("x-a12b-*", &User));
        assert!(!pattern.matches("x-a*b-1", &User));
        assert!(!pattern.matches("x--*", &NoFacts), "without a value it matches nothing");
        let pattern = Pattern::parse("${aws:username, 'none'}", ALL).expect("parses");
        assert!(pattern.matches("none", &NoFacts) && pattern.matches("a*b", &User));
    }

    #[test]
    fn what_is_malformed_and_what_is_plain() {
        for text in ["${", "${}", "${a b}", "${aws:username, none}"] {
            assert!(Pattern::parse(text, ALL).is_err(), "{text}");
        }
        let plain = Syntax { wildcards: false, variables: false };
        assert!(Pattern::parse("${*", plain).expect("parses").matches("${*", &NoFacts));
        assert!(Pattern::parse("KMS:x*", ALL).expect("parses").matches_ignoring_case("kms:Xyz", &NoFacts));
    }
}
