//! Matching of `*` and `?` in a time that grows with the lengths of pattern and text, not with their product.
//!
//! Between two `*` stands a segment of characters and `?`. The first segment is anchored at the beginning of the text
//! and the last one at its end; each of those between is taken where it first occurs, because taking a later occurrence
//! never helps what follows. An occurrence is found by simulating the segment's states side by side, 64 in a word.

use std::collections::HashMap;

/// What a pattern is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// This character.
    Char(char),
    /// Any one character: `?`.
    One,
    /// Any characters, also none: `*`.
    Run,
}

/// Whether `pattern` matches all of `text`.
pub(super) fn matches(pattern: &[Item], text: &[char]) -> bool {
    let segments: Vec<&[Item]> = pattern.split(|item| *item == Item::Run).collect();
    let [first, between @ .., last] = &segments[..] else {
        return fits(pattern, text);
    };
    if first.len() + last.len() > text.len() {
        return false;
    }
    let (head, rest) = text.split_at(first.len());
    let (mut rest, tail) = rest.split_at(rest.len() - last.len());
    if !fits(first, head) || !fits(last, tail) {
        return false;
    }
    for segment in between {
        match end_of_first(segment, rest) {
            Some(end) => rest = &rest[end..],
            None => return false,
        }
    }
    true
}

/// Whether a segment matches a text of its own length.
fn fits(segment: &[Item], text: &[char]) -> bool {
    segment.len() == text.len() && segment.iter().zip(text).all(|(item, found)| accepts(*item, *found))
}

fn accepts(item: Item, found: char) -> bool {
    match item {
        Item::Char(wanted) => wanted == found,
        Item::One | Item::Run => true,
    }
}

/// Where the first occurrence of a segment ends.
fn end_of_first(segment: &[Item], text: &[char]) -> Option<usize> {
    if segment.is_empty() {
        return Some(0);
    }
    let words = segment.len().div_ceil(64);
    // For a character, the positions of the segment that accept it. For one that the segment does not have, those of `?`.
    let set = |mask: &mut [u64], position: usize| mask[position / 64] |= 1 << (position % 64);
    let mut any = vec![0_u64; words];
    let mut places: HashMap<char, Vec<usize>> = HashMap::new();
    for (position, item) in segment.iter().enumerate() {
        match item {
            Item::Char(wanted) => places.entry(*wanted).or_default().push(position),
            Item::One | Item::Run => set(&mut any, position),
        }
    }
    // Made only for characters that the text has.
    let mut masks: HashMap<char, Vec<u64>> = HashMap::new();
    let mut states = vec![0_u64; words];
    for (index, found) in text.iter().enumerate() {
        let accepted: &[u64] = match places.get(found) {
            None => &any,
            Some(positions) => masks.entry(*found).or_insert_with(|| {
                let mut mask = any.clone();
                positions.iter().for_each(|position| set(&mut mask, *position));
                mask
            }),
        };
        // Each state moves on by one, and the segment may begin anywhere.
        let mut carry = 1;
        for (state, accepted) in states.iter_mut().zip(accepted) {
            let moved = *state << 1 | carry;
            carry = *state >> 63;
            *state = moved & accepted;
        }
        if states[words - 1] >> ((segment.len() - 1) % 64) & 1 == 1 {
            return Some(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn items(pattern: &str) -> Vec<Item> {
        let item = |one| match one {
            '*' => Item::Run,
            '?' => Item::One,
            other => Item::Char(other),
        };
        pattern.chars().map(item).collect()
    }

    /// The definition of a match, by a table over all prefixes.
    fn by_definition(pattern: &[Item], text: &[char]) -> bool {
        let mut row = vec![false; text.len() + 1];
        row[0] = true;
        for item in pattern {
            let mut next = vec![false; text.len() + 1];
            for end in 0..=text.len() {
                next[end] = match item {
                    Item::Run => row[end] || end > 0 && next[end - 1],
                    item => end > 0 && row[end - 1] && accepts(*item, text[end - 1]),
                };
            }
            row = next;
        }
        row[text.len()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn short_ones_match_as_defined(pattern in "[ab*?]{0,12}", text in "[ab]{0,16}") {
            let text: Vec<_> = text.chars().collect();
            prop_assert_eq!(matches(&items(&pattern), &text), by_definition(&items(&pattern), &text));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Segments of more than a word, some of which occur.
        #[test]
        fn long_ones_match_as_defined(
            text in "[ab]{150,400}",
            from in 0..70_usize,
            len in 60..80_usize,
            holes in proptest::collection::vec(0..60_usize, 0..5),
            wrong in proptest::option::weighted(0.3, 0..60_usize),
        ) {
            let text: Vec<_> = text.chars().collect();
            let mut segment: Vec<_> = text[from..from + len].iter().map(|one| Item::Char(*one)).collect();
            holes.into_iter().for_each(|hole| segment[hole] = Item::One);
            if let Some(wrong) = wrong {
                segment[wrong] = Item::Char('c');
            }
            let pattern = [&[Item::Run][..], &segment, &[Item::Run], &segment[..10], &[Item::Run]].concat();
            prop_assert_eq!(matches(&pattern, &text), by_definition(&pattern, &text));
        }
    }

    /// The worst that a policy and an encryption context of the largest sizes can ask for.
    #[test]
    fn the_worst_case_takes_no_time() {
        let text = vec!['a'; 8_192];
        for pattern in [
            format!("*{}b*", "a".repeat(16_000)),
            format!("*{}b*", "a".repeat(4_000)),
            format!("*{}b*", "a?".repeat(2_000)),
            "*a".repeat(16_000),
            format!("{}b", "*aa".repeat(2_000)),
        ] {
            let started = Instant::now();
            assert!(!matches(&items(&pattern), &text));
            let took = started.elapsed();
            assert!(took < Duration::from_millis(200), "{took:?}: {}", &pattern[..10]);
        }
    }
}
