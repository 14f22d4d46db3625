//! Rotation of key material.

use super::*;

pub(super) const ALL: &[Operation] = &[
    Operation {
        name: "EnableKeyRotation",
        input: &[
            required("KeyId", KEY_ID),
            optional("RotationPeriodInDays", Kind::Integer { min: 90, max: 2560 }),
        ],
        run: |service, caller, input| {
            let request = EnableKeyRotationRequest {
                key_id: input.get("KeyId")?,
                rotation_period_in_days: input.get("RotationPeriodInDays")?,
            };
            service.enable_key_rotation(caller, &request).map(nothing)
        },
    },
    Operation {
        name: "DisableKeyRotation",
        input: ONLY_KEY,
        run: |service, caller, input| {
            service.disable_key_rotation(caller, &KeyOnlyRequest { key_id: input.get("KeyId")? }).map(nothing)
        },
    },
    Operation {
        name: "GetKeyRotationStatus",
        input: ONLY_KEY,
        run: |service, caller, input| {
            let found =
                service.get_key_rotation_status(caller, &KeyOnlyRequest { key_id: input.get("KeyId")? })?;
            Ok(Answer::new()
                .flag("KeyRotationEnabled", found.key_rotation_enabled)
                .text("KeyId", &found.key_id)
                .number_if("RotationPeriodInDays", found.rotation_period_in_days)
                .time_if("NextRotationDate", found.next_rotation_date)
                .time_if("OnDemandRotationStartDate", found.on_demand_rotation_start_date))
        },
    },
    Operation {
        name: "ListKeyRotations",
        input: &[
            required("KeyId", KEY_ID),
            optional("IncludeKeyMaterial", Kind::Name(IncludeKeyMaterial::names)),
            LIMIT,
            MARKER,
        ],
        run: |service, caller, input| {
            let request = ListKeyRotationsRequest {
                key_id: input.get("KeyId")?,
                include_key_material: input.get("IncludeKeyMaterial")?,
                page: input.page()?,
            };
            let listed = service.list_key_rotations(caller, &request)?;
            let rotations = listed.rotations.iter().map(entry);
            Ok(Answer::new().objects("Rotations", rotations).next_page(listed.next_marker.as_ref()))
        },
    },
    Operation {
        name: "RotateKeyOnDemand",
        input: ONLY_KEY,
        run: |service, caller, input| {
            let made =
                service.rotate_key_on_demand(caller, &KeyOnlyRequest { key_id: input.get("KeyId")? })?;
            Ok(Answer::new().text("KeyId", &made.key_id))
        },
    },
];

/// The shape `RotationsListEntry`.
fn entry(rotation: &RotationsListEntry) -> Answer {
    Answer::new()
        .text("KeyId", &rotation.key_id)
        .text_if("KeyMaterialId", rotation.key_material_id)
        .text_if("KeyMaterialDescription", rotation.key_material_description.as_ref())
        .text_if("ImportState", rotation.import_state)
        .text_if("KeyMaterialState", rotation.key_material_state)
        .text_if("ExpirationModel", rotation.expiration_model)
        .time_if("ValidTo", rotation.valid_to)
        .time_if("RotationDate", rotation.rotation_date)
        .text_if("RotationType", rotation.rotation_type)
}
