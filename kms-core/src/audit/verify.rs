//! Whether a log is as it was written.

use super::chain::{AuditKey, Block, ChainHash, Head, LogId};
use super::log::{Anchor, AuditStore, Break};
use super::{AuditError, AuditRecord};
use crate::model::Timestamp;

/// Blocks that are read at a time.
const PAGE: usize = 64;

/// How often a log is read that others write to, before what looks wrong is believed.
const TRIES: u32 = 5;

/// A length and a hash that the log must have had, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// What it is to contain.
    pub anchor: Anchor,
    /// Who says so, for the report.
    pub source: &'static str,
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is no head.
    #[error("the head of the log is missing")]
    HeadMissing,
    /// The head is not the one that was written.
    #[error("the head of the log was changed")]
    HeadForged,
    /// Records are not there, or not in their place.
    #[error("records {from} to {to} are missing")]
    Missing {
        /// The first one.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// There are records twice, or records that the head does not know.
    #[error("records from {from} on do not belong there")]
    Misplaced {
        /// The first one.
        from: u64,
    },
    /// A block does not carry its signature: it was made, moved or changed by somebody else.
    #[error("the block of {count} records from {first} on was not written by this keystore")]
    BlockForged {
        /// Its first record.
        first: u64,
        /// How many records it claims to have.
        count: u64,
    },
    /// The records of a block are not those that were written.
    #[error("the block of {count} records from {first} on was edited")]
    BlockEdited {
        /// Its first record.
        first: u64,
        /// How many records it claims to have.
        count: u64,
    },
    /// A block does not follow the one before it.
    #[error("the records from {first} on do not follow those before them")]
    LinkBroken {
        /// Its first record.
        first: u64,
    },
    /// Records are missing at the end.
    #[error("the log ends with {found} records, and there were {expected}")]
    Truncated {
        /// How many there were.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// The log is another one, or an older state of it, than somebody remembers.
    #[error("{source_name} knows {expected} records of log {log_id}, and the log does not have them")]
    Replaced {
        /// Who remembers.
        source_name: &'static str,
        /// Which log.
        log_id: LogId,
        /// How many records.
        expected: u64,
    },
    /// It was noticed before that records were missing.
    #[error("at {} the log {} had {} records, of {} that the keystore knew of", .0.time.to_iso8601(), .0.log_id, .0.found, .0.expected)]
    Broken(Break),
}

/// The result of looking at a whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The head, if it is authentic.
    pub head: Option<Head>,
    /// Records that are as they were written.
    pub sound: u64,
    /// Records that could not be written when they were to be, as sound records tell.
    pub lost: u64,
    /// When the oldest sound block was written, and when the newest.
    pub span: Option<(Timestamp, Timestamp)>,
    /// What is wrong, in the order of the log.
    pub problems: Vec<Problem>,
}

/// Reads a log from its oldest record to its head. `expected` are lengths that it must have had.
///
/// Others may write meanwhile, and drop the oldest records: what they disturb is read once more.
pub fn verify(
    store: &dyn AuditStore,
    key: &AuditKey,
    expected: &[Expected],
) -> Result<Verification, AuditError> {
    let mut tries = 0;
    loop {
        let before = store.head()?;
        let found = verify_once(store, key, expected)?;
        tries += 1;
        if found.problems.is_empty() || tries == TRIES || store.head()? == before {
            return Ok(found);
        }
    }
}

fn verify_once(
    store: &dyn AuditStore,
    key: &AuditKey,
    expected: &[Expected],
) -> Result<Verification, AuditError> {
    let verifying = key.verifying_key();
    let mut found = Verification { head: None, sound: 0, lost: 0, span: None, problems: Vec::new() };
    let Some(signed) = store.head()? else {
        found.problems.push(Problem::HeadMissing);
        found.problems.extend(expected.iter().map(replaced));
        return Ok(found);
    };
    let Some(head) = signed.open(&verifying) else {
        found.problems.push(Problem::HeadForged);
        return Ok(found);
    };
    let mut walk = Walk { next: head.base, hash: head.base_hash, expected, met: vec![false; expected.len()] };
    walk.meet(&head.log_id);
    let mut from = 0;
    // Only up to the head: others may append meanwhile.
    'pages: loop {
        let page = store.blocks(from, PAGE)?;
        let Some(last) = page.last() else { break };
        from = last.first.saturating_add(1);
        for block in &page {
            if block.first >= head.next && walk.next == head.next {
                // Written meanwhile, or put there by somebody: then no head knows it.
                let now = store.head()?.and_then(|now| now.open(&verifying));
                if now.is_none_or(|now| now.next <= block.first) {
                    found.problems.push(Problem::Misplaced { from: block.first });
                }
                break 'pages;
            }
            let signed = block.is_signed(&verifying, &head.log_id);
            walk.step(block, signed, &head.log_id, &mut found);
        }
    }
    finish(&walk, &head, &mut found);
    found.head = Some(head);
    Ok(found)
}

fn replaced(one: &Expected) -> Problem {
    Problem::Replaced { source_name: one.source, log_id: one.anchor.log_id, expected: one.anchor.next }
}

/// Compares the end of the walk with the head, and tells what was expected and not met.
fn finish(walk: &Walk<'_>, head: &Head, found: &mut Verification) {
    if walk.next < head.next {
        found.problems.push(Problem::Truncated { expected: head.next, found: walk.next });
    } else if walk.next > head.next {
        found.problems.push(Problem::Misplaced { from: head.next });
    } else if walk.hash != head.hash {
        found.problems.push(Problem::LinkBroken { first: head.next });
    }
    for (one, met) in walk.expected.iter().zip(&walk.met) {
        // What was dropped with leave cannot be compared any more.
        let dropped = one.anchor.log_id == head.log_id && one.anchor.next < head.base;
        if !met && !dropped {
            found.problems.push(replaced(one));
        }
    }
    found.problems.extend(head.breaks.iter().cloned().map(Problem::Broken));
}

/// Where the walk is.
struct Walk<'a> {
    next: u64,
    hash: ChainHash,
    expected: &'a [Expected],
    met: Vec<bool>,
}

impl Walk<'_> {
    /// Marks what was expected at this place.
    fn meet(&mut self, log_id: &LogId) {
        for (one, met) in self.expected.iter().zip(&mut self.met) {
            let Anchor { log_id: wanted, next, hash } = one.anchor;
            *met |= wanted == *log_id && next == self.next && hash == self.hash;
        }
    }

    fn step(&mut self, block: &Block, signed: bool, log_id: &LogId, found: &mut Verification) {
        let Block { first, count, .. } = *block;
        match first {
            _ if first > self.next => {
                found.problems.push(Problem::Missing { from: self.next, to: first - 1 })
            }
            _ if first < self.next => found.problems.push(Problem::Misplaced { from: first }),
            _ if block.start != self.hash => found.problems.push(Problem::LinkBroken { first }),
            _ => {}
        }
        // After a fault the walk goes on from what the block claims, so that one fault is told once.
        (self.next, self.hash) = (first, block.start);
        if !signed {
            found.problems.push(Problem::BlockForged { first, count });
        }
        let (mut lost, mut lines) = (0, 0);
        for line in block.lines() {
            lines += 1;
            self.next += 1;
            self.hash = self.hash.after(line);
            self.meet(log_id);
            lost += lost_records(line);
        }
        let edited = lines != count || self.hash != block.end;
        if edited && signed {
            found.problems.push(Problem::BlockEdited { first, count });
        }
        if signed && !edited {
            found.sound += count;
            found.lost += lost;
            let since = found.span.map_or(block.time, |(since, _)| since);
            found.span = Some((since, block.time));
        }
        (self.next, self.hash) = (first.saturating_add(count), block.end);
    }
}

/// How many lost records a record stands for.
fn lost_records(line: &[u8]) -> u64 {
    let name = AuditRecord::LOST.as_bytes();
    if !line.windows(name.len()).any(|window| window == name) {
        return 0;
    }
    let record = AuditRecord::parse(line).filter(|record| record.operation == AuditRecord::LOST);
    record.and_then(|record| record.resource?.parse().ok()).unwrap_or(0)
}
