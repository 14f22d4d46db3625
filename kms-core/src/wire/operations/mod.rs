//! One operation after the other, with the constraints of the API reference.

mod aliases;
mod asymmetric;
mod crypto;
mod custom_key_stores;
mod grants;
mod import;
mod keys;
mod policies;
mod regions;
mod rotation;

use super::Operation;
use super::answer::Answer;
use super::shape::{Kind, Member, Pattern, optional, required};
use crate::model::*;

/// All operations, by group.
pub(super) const ALL: &[&[Operation]] = &[
    keys::ALL,
    aliases::ALL,
    crypto::ALL,
    asymmetric::ALL,
    rotation::ALL,
    import::ALL,
    policies::ALL,
    grants::ALL,
    custom_key_stores::ALL,
    regions::ALL,
];

const KEY_ID: Kind = text(1, 2048);
const GRANT_TOKEN: Kind = Kind::Text { min: 1, max: 8192, pattern: None, secret: true };
const GRANT_TOKENS: Member = optional("GrantTokens", Kind::List { min: 0, max: 10, of: &GRANT_TOKEN });
const DRY_RUN: Member = optional("DryRun", Kind::Flag);
const DRY_RUN_MODIFIERS: Member = optional(
    "DryRunModifiers",
    Kind::List { min: 0, max: usize::MAX, of: &Kind::Name(|| vec!["IGNORE_CIPHERTEXT"]) },
);
const PLAINTEXT: Kind = Kind::Blob { min: 1, max: 4096 };
const CIPHERTEXT: Kind = Kind::Blob { min: 1, max: 6144 };
const LIMIT: Member = optional("Limit", Kind::Integer { min: 1, max: 1000 });
const MARKER: Member = optional(
    "Marker",
    Kind::Text {
        min: 1,
        max: 1024,
        pattern: Some(Pattern {
            text: "[\\u0020-\\u00FF]*",
            matches: |text| text.chars().all(|letter| matches!(letter, '\u{20}'..='\u{ff}')),
        }),
        secret: false,
    },
);
const MATERIAL_ID: Kind = Kind::Text {
    min: 64,
    max: 64,
    pattern: Some(Pattern {
        text: "^[a-f0-9]+$",
        matches: |text| {
            !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'a'..=b'f' | b'0'..=b'9'))
        },
    }),
    secret: false,
};
/// Where an enclave wants the plaintext encrypted for itself.
const RECIPIENT: Member = optional(
    "Recipient",
    Kind::Structure(&[
        optional("KeyEncryptionAlgorithm", Kind::Name(|| vec!["RSAES_OAEP_SHA_256"])),
        optional("AttestationDocument", Kind::Blob { min: 1, max: 262_144 }),
    ]),
);
const CUSTOM_KEY_STORE_ID: Member = optional("CustomKeyStoreId", text(1, 64));

/// Policies are ASCII and Latin-1, as the API says.
const POLICY: Kind = Kind::Text {
    min: 1,
    max: 131_072,
    pattern: Some(Pattern {
        text: "[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+",
        matches: |text| {
            !text.is_empty()
                && text.chars().all(|letter| matches!(letter, '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}'))
        },
    }),
    secret: false,
};
const TAG: Kind = Kind::Structure(&[required("TagKey", text(1, 128)), required("TagValue", text(0, 256))]);
const TAGS: Kind = Kind::List { min: 0, max: usize::MAX, of: &TAG };

/// A text of some length.
const fn text(min: usize, max: usize) -> Kind {
    Kind::Text { min, max, pattern: None, secret: false }
}

/// The key of an operation that takes nothing else.
const ONLY_KEY: &[Member] = &[required("KeyId", KEY_ID)];

/// What an operation without a result answers.
fn nothing(EmptyResponse: EmptyResponse) -> Answer {
    Answer::new()
}
