//! Keys and their states.

use super::*;

pub(super) const DESCRIPTION: Kind = text(0, 8192);
const XKS_KEY_ID: Kind = Kind::Text {
    min: 1,
    max: 128,
    pattern: Some(Pattern {
        text: "^[a-zA-Z0-9-_.]+$",
        matches: |text| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        },
    }),
    secret: false,
};
const RESOURCE_OWNERS: Kind =
    Kind::List { min: 1, max: 2, of: &Kind::Name(|| vec!["SELF", "OTHER_ACCOUNTS_VIA_RAM"]) };

/// The specs that had this name before there were others.
fn customer_master_key_specs() -> Vec<&'static str> {
    let newer = |name: &str| name.starts_with("ML_") || name == "ECC_NIST_EDWARDS25519";
    KeySpec::names().into_iter().filter(|name| !newer(name)).collect()
}

pub(super) const ALL: &[Operation] = &[
    Operation {
        name: "CreateKey",
        input: &[
            optional("Policy", POLICY),
            optional("Description", DESCRIPTION),
            optional("KeyUsage", Kind::Name(KeyUsage::names)),
            optional("CustomerMasterKeySpec", Kind::Name(customer_master_key_specs)),
            optional("KeySpec", Kind::Name(KeySpec::names)),
            optional("Origin", Kind::Name(Origin::names)),
            CUSTOM_KEY_STORE_ID,
            optional("BypassPolicyLockoutSafetyCheck", Kind::Flag),
            optional("Tags", TAGS),
            optional("MultiRegion", Kind::Flag),
            optional("XksKeyId", XKS_KEY_ID),
        ],
        run: |service, caller, input| {
            let request = CreateKeyRequest {
                policy: input.get("Policy")?,
                bypass_policy_lockout_safety_check: input.get("BypassPolicyLockoutSafetyCheck")?,
                description: input.get("Description")?,
                key_usage: input.get("KeyUsage")?,
                key_spec: input.get("KeySpec")?,
                customer_master_key_spec: input.get("CustomerMasterKeySpec")?,
                origin: input.get("Origin")?,
                custom_key_store_id: input.get("CustomKeyStoreId")?,
                xks_key_id: input.get("XksKeyId")?,
                tags: input.get("Tags")?,
                multi_region: input.get("MultiRegion")?,
            };
            let made = service.create_key(caller, &request)?;
            Ok(Answer::new().object("KeyMetadata", metadata(&made.key_metadata)))
        },
    },
    Operation {
        name: "DescribeKey",
        input: &[required("KeyId", KEY_ID), GRANT_TOKENS],
        run: |service, caller, input| {
            let request =
                DescribeKeyRequest { key_id: input.get("KeyId")?, grant_tokens: input.get("GrantTokens")? };
            let found = service.describe_key(caller, &request)?;
            Ok(Answer::new().object("KeyMetadata", metadata(&found.key_metadata)))
        },
    },
    Operation {
        name: "ListKeys",
        input: &[LIMIT, MARKER, optional("ResourceOwners", RESOURCE_OWNERS)],
        run: |service, caller, input| {
            // Every key here is the account's own, so the answer is the same whichever owners are asked for.
            let listed = service.list_keys(caller, &ListKeysRequest { page: input.page()? })?;
            let keys = listed
                .keys
                .iter()
                .map(|key| Answer::new().text("KeyId", key.key_id).text("KeyArn", &key.key_arn));
            Ok(Answer::new().objects("Keys", keys).next_page(listed.next_marker.as_ref()))
        },
    },
    Operation {
        name: "UpdateKeyDescription",
        input: &[required("KeyId", KEY_ID), required("Description", DESCRIPTION)],
        run: |service, caller, input| {
            let request = UpdateKeyDescriptionRequest {
                key_id: input.get("KeyId")?,
                description: input.get("Description")?,
            };
            service.update_key_description(caller, &request).map(nothing)
        },
    },
    Operation {
        name: "GetKeyLastUsage",
        input: ONLY_KEY,
        run: |service, caller, input| {
            let found =
                service.get_key_last_usage(caller, &KeyOnlyRequest { key_id: input.get("KeyId")? })?;
            let usage = found.key_last_usage.map(|usage| {
                Answer::new().text("Operation", usage.operation).time("Timestamp", usage.timestamp)
            });
            Ok(Answer::new()
                .text("KeyId", &found.key_id)
                .object("KeyLastUsage", usage.unwrap_or_else(Answer::new))
                .time("TrackingStartDate", found.tracking_start_date)
                .time("KeyCreationDate", found.key_creation_date))
        },
    },
    Operation {
        name: "EnableKey",
        input: ONLY_KEY,
        run: |service, caller, input| {
            service.enable_key(caller, &KeyOnlyRequest { key_id: input.get("KeyId")? }).map(nothing)
        },
    },
    Operation {
        name: "DisableKey",
        input: ONLY_KEY,
        run: |service, caller, input| {
            service.disable_key(caller, &KeyOnlyRequest { key_id: input.get("KeyId")? }).map(nothing)
        },
    },
    Operation {
        name: "ScheduleKeyDeletion",
        input: &[
            required("KeyId", KEY_ID),
            optional("PendingWindowInDays", Kind::Integer { min: 1, max: 365 }),
        ],
        run: |service, caller, input| {
            let request = ScheduleKeyDeletionRequest {
                key_id: input.get("KeyId")?,
                pending_window_in_days: input.get("PendingWindowInDays")?,
            };
            let made = service.schedule_key_deletion(caller, &request)?;
            Ok(Answer::new()
                .text("KeyId", &made.key_id)
                .time_if("DeletionDate", made.deletion_date)
                .text("KeyState", made.key_state)
                .number("PendingWindowInDays", made.pending_window_in_days))
        },
    },
    Operation {
        name: "CancelKeyDeletion",
        input: ONLY_KEY,
        run: |service, caller, input| {
            let made =
                service.cancel_key_deletion(caller, &KeyOnlyRequest { key_id: input.get("KeyId")? })?;
            Ok(Answer::new().text("KeyId", &made.key_id))
        },
    },
];

/// The shape `KeyMetadata`.
pub(super) fn metadata(key: &KeyMetadata) -> Answer {
    let answer = Answer::new()
        .text("AWSAccountId", &key.account_id)
        .text("KeyId", key.key_id)
        .text("Arn", &key.arn)
        .time("CreationDate", key.creation_date)
        .flag("Enabled", key.enabled())
        .text("Description", &key.description)
        .text("KeyUsage", key.key_usage)
        .text("KeyState", key.key_state)
        .time_if("DeletionDate", key.deletion_date)
        .time_if("ValidTo", key.valid_to)
        .text("Origin", key.origin)
        .text_if("CustomKeyStoreId", key.custom_key_store_id.as_ref())
        .text_if("CloudHsmClusterId", key.cloud_hsm_cluster_id.as_ref())
        .text_if("ExpirationModel", key.expiration_model)
        .text("KeyManager", key.key_manager)
        .text("CustomerMasterKeySpec", key.key_spec)
        .text("KeySpec", key.key_spec)
        .flag("MultiRegion", key.multi_region)
        .object_if("MultiRegionConfiguration", key.multi_region_configuration.as_ref().map(related))
        .number_if("PendingDeletionWindowInDays", key.pending_deletion_window_in_days)
        .text_if("CurrentKeyMaterialId", key.current_key_material_id);
    let answer = algorithms(answer, key.algorithms).texts_if("MacAlgorithms", key.algorithms.mac);
    match &key.xks_key_id {
        Some(id) => answer.object("XksKeyConfiguration", Answer::new().text("Id", id)),
        None => answer,
    }
}

/// The shape `MultiRegionConfiguration`.
fn related(configuration: &MultiRegionConfiguration) -> Answer {
    let key = |key: &MultiRegionKey| Answer::new().text("Arn", &key.arn).text("Region", &key.region);
    Answer::new()
        .text("MultiRegionKeyType", configuration.multi_region_key_type)
        .object("PrimaryKey", key(&configuration.primary_key))
        .objects("ReplicaKeys", configuration.replica_keys.iter().map(key))
}

/// The lists of algorithms that the usage of a key has; the others are left out.
pub(super) fn algorithms(answer: Answer, algorithms: Algorithms) -> Answer {
    answer
        .texts_if("EncryptionAlgorithms", algorithms.encryption)
        .texts_if("SigningAlgorithms", algorithms.signing)
        .texts_if("KeyAgreementAlgorithms", algorithms.key_agreement)
        .texts_if("EncapsulationAlgorithms", algorithms.encapsulation)
}
