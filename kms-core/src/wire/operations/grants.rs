//! Grants.

use super::*;
use crate::error::KmsError;
use crate::wire::input::Input;

const GRANT_ID: Kind = text(1, 128);
const PRINCIPAL: Kind = Kind::Text {
    min: 1,
    max: 256,
    pattern: Some(Pattern {
        text: "^[\\w+=,.@:/-]+$",
        matches: |text| {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
            !text.is_empty() && text.bytes().all(legal)
        },
    }),
    secret: false,
};
/// A DNS name of three labels or more.
const SERVICE_PRINCIPAL: Kind = Kind::Text {
    min: 1,
    max: 128,
    pattern: Some(Pattern {
        text: "^([A-Za-z0-9\\-]+)\\.([A-Za-z0-9\\-]+)(\\.[A-Za-z0-9\\-]+)+$",
        matches: |text| {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            let label = |label: &str| !label.is_empty() && label.bytes().all(legal);
            text.split('.').count() >= 3 && text.split('.').all(label)
        },
    }),
    secret: false,
};
const SOURCE_ARN: Kind = Kind::Text {
    min: 20,
    max: 512,
    pattern: Some(Pattern {
        text: "^arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+$",
        matches: is_source_arn,
    }),
    secret: false,
};
const GRANT_NAME: Kind = Kind::Text {
    min: 1,
    max: 256,
    pattern: Some(Pattern {
        text: "^[a-zA-Z0-9:/_-]+$",
        matches: |text| {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b":/_-".contains(&byte);
            !text.is_empty() && text.bytes().all(legal)
        },
    }),
    secret: false,
};
const CONSTRAINTS: Kind = Kind::Structure(&[
    optional("EncryptionContextSubset", Kind::Map),
    optional("EncryptionContextEquals", Kind::Map),
    optional("SourceArn", SOURCE_ARN),
]);

fn is_source_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, region, account, resource] = parts[..] else { return false };
    let legal = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    arn == "arn"
        && partition.starts_with("aws")
        && [partition, service, region].into_iter().all(legal)
        && !service.is_empty()
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && !resource.is_empty()
}

pub(super) const ALL: &[Operation] = &[
    Operation {
        name: "CreateGrant",
        input: &[
            required("KeyId", KEY_ID),
            optional("GranteePrincipal", PRINCIPAL),
            optional("RetiringPrincipal", PRINCIPAL),
            required(
                "Operations",
                Kind::List { min: 0, max: usize::MAX, of: &Kind::Name(GrantOperation::names) },
            ),
            optional("Constraints", CONSTRAINTS),
            GRANT_TOKENS,
            optional("Name", GRANT_NAME),
            DRY_RUN,
            optional("GranteeServicePrincipal", SERVICE_PRINCIPAL),
            optional("RetiringServicePrincipal", SERVICE_PRINCIPAL),
        ],
        run: |service, caller, input| {
            let made = service.create_grant(caller, &create_grant_request(input)?)?;
            Ok(Answer::new().text("GrantToken", &made.grant_token).text("GrantId", made.grant_id))
        },
    },
    Operation {
        name: "ListGrants",
        input: &[
            LIMIT,
            MARKER,
            required("KeyId", KEY_ID),
            optional("GrantId", GRANT_ID),
            optional("GranteePrincipal", PRINCIPAL),
            optional("GranteeServicePrincipal", SERVICE_PRINCIPAL),
        ],
        run: |service, caller, input| {
            let request = ListGrantsRequest {
                key_id: input.get("KeyId")?,
                grant_id: input.get("GrantId")?,
                grantee_principal: input.get("GranteePrincipal")?,
                grantee_service_principal: input.get("GranteeServicePrincipal")?,
                page: input.page()?,
            };
            service.list_grants(caller, &request).map(grants)
        },
    },
    Operation {
        name: "ListRetirableGrants",
        input: &[
            LIMIT,
            MARKER,
            optional("RetiringPrincipal", PRINCIPAL),
            optional("RetiringServicePrincipal", SERVICE_PRINCIPAL),
        ],
        run: |service, caller, input| {
            let request = ListRetirableGrantsRequest {
                retiring_principal: input.get("RetiringPrincipal")?,
                retiring_service_principal: input.get("RetiringServicePrincipal")?,
                page: input.page()?,
            };
            service.list_retirable_grants(caller, &request).map(grants)
        },
    },
    Operation {
        name: "RetireGrant",
        input: &[
            optional("GrantToken", GRANT_TOKEN),
            optional("KeyId", KEY_ID),
            optional("GrantId", GRANT_ID),
            DRY_RUN,
        ],
        run: |service, caller, input| {
            let request = RetireGrantRequest {
                grant_token: input.get("GrantToken")?,
                key_id: input.get("KeyId")?,
                grant_id: input.get("GrantId")?,
                dry_run: input.get("DryRun")?,
            };
            service.retire_grant(caller, &request).map(nothing)
        },
    },
    Operation {
        name: "RevokeGrant",
        input: &[required("KeyId", KEY_ID), required("GrantId", GRANT_ID), DRY_RUN],
        run: |service, caller, input| {
            let request = RevokeGrantRequest {
                key_id: input.get("KeyId")?,
                grant_id: input.get("GrantId")?,
                dry_run: input.get("DryRun")?,
            };
            service.revoke_grant(caller, &request).map(nothing)
        },
    },
];

fn create_grant_request(input: &Input<'_>) -> Result<CreateGrantRequest, KmsError> {
    Ok(CreateGrantRequest {
        key_id: input.get("KeyId")?,
        grantee_principal: input.get("GranteePrincipal")?,
        grantee_service_principal: input.get("GranteeServicePrincipal")?,
        retiring_principal: input.get("RetiringPrincipal")?,
        retiring_service_principal: input.get("RetiringServicePrincipal")?,
        operations: input.get("Operations")?,
        constraints: input.get("Constraints")?,
        grant_tokens: input.get("GrantTokens")?,
        name: input.get("Name")?,
        dry_run: input.get("DryRun")?,
    })
}

/// The shape `ListGrantsResponse`.
fn grants(listed: ListGrantsResponse) -> Answer {
    Answer::new().objects("Grants", listed.grants.iter().map(entry)).next_page(listed.next_marker.as_ref())
}

/// The shape `GrantListEntry`. A service has members of its own.
fn entry(grant: &GrantListEntry) -> Answer {
    let principal = |answer: Answer, name: &str, service_name: &str, principal: &Principal| {
        answer.text(if principal.is_service() { service_name } else { name }, principal)
    };
    let answer = Answer::new()
        .text("KeyId", &grant.key_id)
        .text("GrantId", grant.grant_id)
        .text("Name", grant.name.as_deref().unwrap_or_default())
        .time("CreationDate", grant.creation_date)
        .text("IssuingAccount", &grant.issuing_account)
        .texts("Operations", &grant.operations);
    let answer = principal(answer, "GranteePrincipal", "GranteeServicePrincipal", &grant.grantee_principal);
    let answer = match &grant.retiring_principal {
        Some(retiring) => principal(answer, "RetiringPrincipal", "RetiringServicePrincipal", retiring),
        None => answer,
    };
    if grant.constraints.is_empty() {
        return answer;
    }
    let GrantConstraints { encryption_context_equals, encryption_context_subset, source_arn } =
        &grant.constraints;
    let map = |answer: Answer, name: &str, context: &Option<EncryptionContext>| match context {
        Some(context) => {
            let pairs = context.iter().fold(Answer::new(), |map, (name, value)| map.text(name, value));
            answer.object(name, pairs)
        }
        None => answer,
    };
    let constraints = map(Answer::new(), "EncryptionContextEquals", encryption_context_equals);
    let constraints = map(constraints, "EncryptionContextSubset", encryption_context_subset);
    answer.object("Constraints", constraints.text_if("SourceArn", source_arn.as_ref()))
}
