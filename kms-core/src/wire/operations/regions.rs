//! Multi-Region keys.

use super::keys::{DESCRIPTION, metadata};
use super::policies::tag;
use super::*;

/// Two or three words and a number, with hyphens between them.
const REGION: Kind = Kind::Text {
    min: 1,
    max: 32,
    pattern: Some(Pattern {
        text: "^([a-z]+-){2,3}\\d+$",
        matches: |text| {
            let mut parts = text.split('-').rev();
            let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
            let numbered = parts.next().is_some_and(digits);
            let words: Vec<_> = parts.collect();
            numbered && matches!(words.len(), 2 | 3) && words.into_iter().all(word)
        },
    }),
    secret: false,
};

pub(super) const ALL: &[Operation] = &[
    Operation {
        name: "ReplicateKey",
        input: &[
            required("KeyId", KEY_ID),
            required("ReplicaRegion", REGION),
            optional("Policy", POLICY),
            optional("BypassPolicyLockoutSafetyCheck", Kind::Flag),
            optional("Description", DESCRIPTION),
            optional("Tags", TAGS),
        ],
        run: |service, caller, input| {
            let request = ReplicateKeyRequest {
                key_id: input.get("KeyId")?,
                replica_region: input.get("ReplicaRegion")?,
                policy: input.get("Policy")?,
                bypass_policy_lockout_safety_check: input.get("BypassPolicyLockoutSafetyCheck")?,
                description: input.get("Description")?,
                tags: input.get("Tags")?,
            };
            let made = service.replicate_key(caller, &request)?;
            let answer = Answer::new()
                .object("ReplicaKeyMetadata", metadata(&made.replica_key_metadata))
                .text("ReplicaPolicy", &made.replica_policy);
            Ok(if made.replica_tags.is_empty() {
                answer
            } else {
                answer.objects("ReplicaTags", made.replica_tags.iter().map(tag))
            })
        },
    },
    Operation {
        name: "UpdatePrimaryRegion",
        input: &[required("KeyId", KEY_ID), required("PrimaryRegion", REGION)],
        run: |service, caller, input| {
            let request = UpdatePrimaryRegionRequest {
                key_id: input.get("KeyId")?,
                primary_region: input.get("PrimaryRegion")?,
            };
            service.update_primary_region(caller, &request).map(nothing)
        },
    },
];
