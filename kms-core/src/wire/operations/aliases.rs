//! Aliases.

use super::*;

const ALIAS_NAME: Member = required(
    "AliasName",
    Kind::Text {
        min: 1,
        max: 256,
        pattern: Some(Pattern {
            text: "^[a-zA-Z0-9:/_-]+$",
            matches: |text| {
                let legal =
                    |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'/' | b'_' | b'-');
                !text.is_empty() && text.bytes().all(legal)
            },
        }),
        secret: false,
    },
);
const ALIAS_TARGET: &[Member] = &[ALIAS_NAME, required("TargetKeyId", KEY_ID)];

pub(super) const ALL: &[Operation] = &[
    Operation {
        name: "CreateAlias",
        input: ALIAS_TARGET,
        run: |service, caller, input| {
            let request = CreateAliasRequest {
                alias_name: input.get("AliasName")?,
                target_key_id: input.get("TargetKeyId")?,
            };
            service.create_alias(caller, &request).map(nothing)
        },
    },
    Operation {
        name: "UpdateAlias",
        input: ALIAS_TARGET,
        run: |service, caller, input| {
            let request = UpdateAliasRequest {
                alias_name: input.get("AliasName")?,
                target_key_id: input.get("TargetKeyId")?,
            };
            service.update_alias(caller, &request).map(nothing)
        },
    },
    Operation {
        name: "DeleteAlias",
        input: &[ALIAS_NAME],
        run: |service, caller, input| {
            service
                .delete_alias(caller, &DeleteAliasRequest { alias_name: input.get("AliasName")? })
                .map(nothing)
        },
    },
    Operation {
        name: "ListAliases",
        input: &[optional("KeyId", KEY_ID), LIMIT, MARKER],
        run: |service, caller, input| {
            let request = ListAliasesRequest { key_id: input.get("KeyId")?, page: input.page()? };
            let listed = service.list_aliases(caller, &request)?;
            let aliases = listed.aliases.iter().map(|alias| {
                Answer::new()
                    .text("AliasName", &alias.alias_name)
                    .text("AliasArn", &alias.alias_arn)
                    .text("TargetKeyId", alias.target_key_id)
                    .time("CreationDate", alias.creation_date)
                    .time("LastUpdatedDate", alias.last_updated_date)
            });
            Ok(Answer::new().objects("Aliases", aliases).next_page(listed.next_marker.as_ref()))
        },
    },
];
