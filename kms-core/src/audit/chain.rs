//! Links between records, and signatures over blocks of them. Pure.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::log::Break;
use crate::model::Timestamp;
use crate::seal::{Purpose, RootKey, SealError};

/// The bytes of a signature.
const SIGNATURE_LEN: usize = 64;

/// The hash of everything up to some record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// What the first record of a log is linked to.
    pub fn genesis(log_id: &LogId) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(b"kms-core audit log v1");
        context.update(&log_id.0);
        Self::of(context)
    }

    /// Takes the bytes of a stored hash.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash after one more record.
    pub fn after(&self, line: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        context.update(&(line.len() as u64).to_le_bytes());
        context.update(line);
        Self::of(context)
    }

    fn of(context: Context) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self(hash)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for ChainHash {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        hex(text).map(Self).ok_or(())
    }
}

/// Which log this is. A new one has another id, so that it never passes for the old one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogId([u8; 16]);

impl LogId {
    /// The id of a new log.
    pub(super) fn generate() -> Result<Self, SealError> {
        let mut bytes = [0; 16];
        crate::seal::fill_random(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for LogId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        hex(text).map(Self).ok_or(())
    }
}

/// Reads lower-case hexadecimal digits of exactly the right number.
fn hex<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let digits = text.as_bytes();
    let mut bytes = [0; LEN];
    if digits.len() != 2 * LEN {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

macro_rules! text_serde {
    ($($name:ident)+) => {
        $(
            impl Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(|()| serde::de::Error::custom("not lower-case hexadecimal digits"))
                }
            }
        )+
    };
}

text_serde!(ChainHash LogId);

/// Records that were written together, with where they stand. Records are lines of JSON, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The number of its first record; the first one of a log has the number 0.
    pub first: u64,
    /// How many records it has.
    pub count: u64,
    /// When it was written.
    pub time: Timestamp,
    /// The hash before its first record.
    pub start: ChainHash,
    /// The hash after its last record.
    pub end: ChainHash,
    /// The records.
    pub records: Vec<u8>,
    /// Over all of the above and the id of the log.
    pub signature: Vec<u8>,
}

impl Block {
    /// Links and signs records that follow `start`.
    pub(super) fn seal(
        key: &AuditKey,
        log_id: &LogId,
        first: u64,
        start: ChainHash,
        time: Timestamp,
        lines: &[&[u8]],
    ) -> Self {
        let end = lines.iter().fold(start, |hash, line| hash.after(line));
        let (count, records) = (lines.len() as u64, lines.concat());
        let mut block = Self { first, count, time, start, end, records, signature: Vec::new() };
        block.signature = key.sign(&block.signed(log_id));
        block
    }

    fn signed(&self, log_id: &LogId) -> Vec<u8> {
        let mut bytes = b"kms-core audit block v1".to_vec();
        bytes.extend_from_slice(&log_id.0);
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.time.as_millis().to_le_bytes());
        bytes.extend_from_slice(&self.start.0);
        bytes.extend_from_slice(&self.end.0);
        bytes
    }

    /// Whether a holder of the key wrote this block at this place of this log.
    pub(super) fn is_signed(&self, key: &VerifyingKey, log_id: &LogId) -> bool {
        verifies(key, &self.signed(log_id), &self.signature)
    }

    /// The records, each with its line break.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.records.split_inclusive(|byte| *byte == b'\n')
    }
}

/// What a log has: from where on records are kept, how many there ever were, and the hash of the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Head {
    /// Which log.
    pub log_id: LogId,
    /// The number of the oldest record that is kept.
    pub base: u64,
    /// The hash before it.
    pub base_hash: ChainHash,
    /// The number that the next record will have.
    pub next: u64,
    /// The hash after the last one.
    pub hash: ChainHash,
    /// The bytes of the records that are kept.
    pub bytes: u64,
    /// When the head was written.
    pub time: Timestamp,
    /// Where it was noticed that records were missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breaks: Vec<Break>,
}

/// A head as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// The JSON of a [`Head`].
    pub body: Vec<u8>,
    /// Over the body.
    pub signature: Vec<u8>,
}

impl SignedHead {
    /// Signs a head.
    pub(super) fn seal(key: &AuditKey, head: &Head) -> Self {
        let body = serde_json::to_vec(head).expect("a head has only text and numbers");
        let signature = key.sign(&Self::signed(&body));
        Self { body, signature }
    }

    /// The head, if a holder of the key signed it.
    pub fn open(&self, key: &VerifyingKey) -> Option<Head> {
        verifies(key, &Self::signed(&self.body), &self.signature)
            .then(|| serde_json::from_slice(&self.body).ok())
            .flatten()
    }

    /// Begins otherwise than what a block signs, so that none passes for the other.
    fn signed(body: &[u8]) -> Vec<u8> {
        [b"kms-core audit head v1", body].concat()
    }
}

fn verifies(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = <[u8; SIGNATURE_LEN]>::try_from(signature) else { return false };
    key.verify(message, &Signature::from_bytes(&signature)).is_ok()
}

/// What signs a log: an Ed25519 key that is derived from the root key of the keystore.
pub struct AuditKey(SigningKey);

impl AuditKey {
    /// The key of a keystore.
    pub fn of_root(root: &RootKey) -> Result<Self, SealError> {
        Ok(Self(SigningKey::from_bytes(&*root.derive(Purpose::Audit)?)))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).to_bytes().to_vec()
    }

    /// What verifies the signatures.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.0.verifying_key()
    }

    /// The public key (RFC 8032), as base64.
    pub fn public_text(&self) -> String {
        STANDARD.encode(self.verifying_key().as_bytes())
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_depends_on_where_a_record_ends() {
        let start = ChainHash::genesis(&LogId([1; 16]));
        assert_ne!(start.after(b"ab").after(b"c"), start.after(b"a").after(b"bc"));
        assert_ne!(start, ChainHash::genesis(&LogId([2; 16])));
    }

    #[test]
    fn hashes_and_ids_round_trip_as_text() {
        let hash = ChainHash::from_bytes(std::array::from_fn(|index| (index as u8).wrapping_mul(9)));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        let id = LogId([0xa5; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "A5", &"g".repeat(64), &"a".repeat(63)] {
            assert!(text.parse::<ChainHash>().is_err(), "{text}");
        }
    }
}
