//! Key policies and tags.

use super::*;

const POLICY_NAME: Member = optional(
    "PolicyName",
    Kind::Text {
        min: 1,
        max: 128,
        pattern: Some(Pattern {
            text: "[\\w]+",
            matches: |text| {
                !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            },
        }),
        secret: false,
    },
);

pub(super) const ALL: &[Operation] = &[
    Operation {
        name: "GetKeyPolicy",
        input: &[required("KeyId", KEY_ID), POLICY_NAME],
        run: |service, caller, input| {
            let request =
                GetKeyPolicyRequest { key_id: input.get("KeyId")?, policy_name: input.get("PolicyName")? };
            let found = service.get_key_policy(caller, &request)?;
            Ok(Answer::new().text("Policy", &found.policy).text("PolicyName", &found.policy_name))
        },
    },
    Operation {
        name: "PutKeyPolicy",
        input: &[
            required("KeyId", KEY_ID),
            POLICY_NAME,
            required("Policy", POLICY),
            optional("BypassPolicyLockoutSafetyCheck", Kind::Flag),
        ],
        run: |service, caller, input| {
            let request = PutKeyPolicyRequest {
                key_id: input.get("KeyId")?,
                policy_name: input.get("PolicyName")?,
                policy: input.get("Policy")?,
                bypass_policy_lockout_safety_check: input.get("BypassPolicyLockoutSafetyCheck")?,
            };
            service.put_key_policy(caller, &request).map(nothing)
        },
    },
    Operation {
        name: "ListKeyPolicies",
        input: &[required("KeyId", KEY_ID), LIMIT, MARKER],
        run: |service, caller, input| {
            let request = ListKeyPoliciesRequest { key_id: input.get("KeyId")?, page: input.page()? };
            let listed = service.list_key_policies(caller, &request)?;
            let names = listed.policy_names.iter();
            Ok(Answer::new().texts("PolicyNames", names).next_page(listed.next_marker.as_ref()))
        },
    },
    Operation {
        name: "TagResource",
        input: &[required("KeyId", KEY_ID), required("Tags", TAGS)],
        run: |service, caller, input| {
            let request = TagResourceRequest { key_id: input.get("KeyId")?, tags: input.get("Tags")? };
            service.tag_resource(caller, &request).map(nothing)
        },
    },
    Operation {
        name: "UntagResource",
        input: &[
            required("KeyId", KEY_ID),
            required("TagKeys", Kind::List { min: 0, max: usize::MAX, of: &text(1, 128) }),
        ],
        run: |service, caller, input| {
            let request =
                UntagResourceRequest { key_id: input.get("KeyId")?, tag_keys: input.get("TagKeys")? };
            service.untag_resource(caller, &request).map(nothing)
        },
    },
    Operation {
        name: "ListResourceTags",
        input: &[required("KeyId", KEY_ID), LIMIT, MARKER],
        run: |service, caller, input| {
            let request = ListResourceTagsRequest { key_id: input.get("KeyId")?, page: input.page()? };
            let listed = service.list_resource_tags(caller, &request)?;
            let tags = listed.tags.iter().map(tag);
            Ok(Answer::new().objects("Tags", tags).next_page(listed.next_marker.as_ref()))
        },
    },
];

/// The shape `Tag`.
pub(super) fn tag(tag: &Tag) -> Answer {
    Answer::new().text("TagKey", &tag.key).text("TagValue", &tag.value)
}
