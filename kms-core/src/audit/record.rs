//! One record: what somebody asked for, and what came of it. No key, plaintext, ciphertext or signature is ever part of
//! it; encryption contexts are.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{EncryptionContext, Timestamp};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It was carried out.
    Success,
    /// It is about to be carried out. Written before a change when records are required, so that no change is made
    /// that could not be recorded.
    Begun,
    /// It was refused with this code and message.
    Refused(&'a str, &'a str),
}

/// A record that is about to be written. Borrows everything, because it is made for every use of a key.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AuditEntry<'a> {
    /// When, in milliseconds since the epoch.
    pub time: i64,
    /// The id of the request, as in the log of the server and in its answer.
    pub request_id: &'a str,
    /// Which of several items of a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// The name of the operation.
    pub operation: &'a str,
    /// Who asked: the ARN of a principal, or the name of a service.
    pub principal: &'a str,
    /// The service that called for the principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via_service: Option<&'a str>,
    /// Where the request came from, if it came over a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<IpAddr>,
    /// The key: its ARN, or what was typed where no key was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<&'a str>,
    /// Of a re-encryption, the key of the old ciphertext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_key_id: Option<&'a str>,
    /// What else the request is about: an alias, a grant, a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<&'a str>,
    /// The encryption context.
    #[serde(skip_serializing_if = "is_absent")]
    pub encryption_context: Option<&'a EncryptionContext>,
    /// Of a re-encryption, the context of the old ciphertext if it is another one.
    #[serde(skip_serializing_if = "is_absent")]
    pub source_encryption_context: Option<&'a EncryptionContext>,
    /// Whether the request only asked whether it would succeed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// `Success`, `Begun`, or the code of the refusal.
    pub outcome: &'a str,
    /// The message of the refusal.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: &'a str,
}

fn is_absent(context: &Option<&EncryptionContext>) -> bool {
    context.is_none_or(EncryptionContext::is_empty)
}

impl<'a> AuditEntry<'a> {
    /// The same with its outcome.
    pub fn with_outcome(self, outcome: Outcome<'a>) -> Self {
        let (outcome, message) = match outcome {
            Outcome::Success => (AuditRecord::SUCCESS, ""),
            Outcome::Begun => (AuditRecord::BEGUN, ""),
            Outcome::Refused(code, message) => (code, message),
        };
        Self { outcome, message, ..self }
    }

    /// The record as it is stored: one line of JSON.
    pub fn encode(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(512);
        // Texts and numbers into memory: there is no way to fail.
        let _ = serde_json::to_writer(&mut line, self);
        line.push(b'\n');
        line
    }
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AuditRecord {
    /// When.
    pub time: Timestamp,
    /// The id of the request.
    pub request_id: String,
    /// Which of several items of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// The name of the operation.
    pub operation: String,
    /// Who asked.
    pub principal: String,
    /// The service that called for the principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via_service: Option<String>,
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<IpAddr>,
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The key of the old ciphertext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_key_id: Option<String>,
    /// What else the request is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The encryption context.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub encryption_context: EncryptionContext,
    /// The context of the old ciphertext if it is another one.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub source_encryption_context: EncryptionContext,
    /// Whether the request only asked whether it would succeed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// `Success`, `Begun`, or the code of the refusal.
    pub outcome: String,
    /// The message of the refusal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl AuditRecord {
    /// The outcome of what was carried out.
    pub const SUCCESS: &str = "Success";
    /// The outcome of what is about to be carried out.
    pub const BEGUN: &str = "Begun";
    /// The operation of the record that stands for records which could not be written.
    pub const LOST: &str = "AuditRecordsLost";

    /// Reads the record of one line.
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// Whether the request was refused. A dry run that would have succeeded is answered by an error, but was not.
    pub fn is_refusal(&self) -> bool {
        !matches!(self.outcome.as_str(), Self::SUCCESS | Self::BEGUN | "DryRunOperationException")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_absent_takes_no_room() {
        let context = EncryptionContext::from([("volume", "a\n\"b\"")]);
        let entry = AuditEntry {
            time: 7,
            request_id: "r",
            operation: "Decrypt",
            principal: "p",
            via_service: Some("kmsfs"),
            source_ip: Some("::1".parse().expect("an address")),
            key_id: Some("k"),
            encryption_context: Some(&context),
            ..AuditEntry::default()
        };
        let line =
            entry.clone().with_outcome(Outcome::Refused("DisabledException", "k is disabled.")).encode();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line each");
        let read = AuditRecord::parse(&line).expect("a record");
        assert_eq!((read.time, read.key_id.as_deref()), (Timestamp::from_millis(7), Some("k")));
        assert_eq!((&read.encryption_context, read.is_refusal()), (&context, true));
        assert_eq!(read.message, "k is disabled.");
        let bare = AuditEntry { encryption_context: Some(&EncryptionContext::new()), key_id: None, ..entry };
        let line = String::from_utf8(bare.with_outcome(Outcome::Success).encode()).expect("text");
        assert!(!line.contains("Context") && !line.contains("KeyId") && !line.contains("Message"), "{line}");
        assert!(!AuditRecord::parse(line.as_bytes()).expect("a record").is_refusal());
    }
}
