//! Imported key material.

use super::*;

const MATERIAL_DESCRIPTION: Kind = Kind::Text {
    min: 0,
    max: 256,
    pattern: Some(Pattern {
        text: "^[a-zA-Z0-9:/_\\s.-]+$",
        matches: |text| {
            let legal = |letter: char| {
                letter.is_ascii_alphanumeric()
                    || letter.is_ascii_whitespace()
                    || ":/_.-\u{b}".contains(letter)
            };
            // A length of zero is legal, although the expression says otherwise.
            text.chars().all(legal)
        },
    }),
    secret: false,
};

pub(super) const ALL: &[Operation] = &[
    Operation {
        name: "GetParametersForImport",
        input: &[
            required("KeyId", KEY_ID),
            required("WrappingAlgorithm", Kind::Name(WrappingAlgorithm::names)),
            required("WrappingKeySpec", Kind::Name(WrappingKeySpec::names)),
        ],
        run: |service, caller, input| {
            let request = GetParametersForImportRequest {
                key_id: input.get("KeyId")?,
                wrapping_algorithm: input.get("WrappingAlgorithm")?,
                wrapping_key_spec: input.get("WrappingKeySpec")?,
            };
            let found = service.get_parameters_for_import(caller, &request)?;
            Ok(Answer::new()
                .text("KeyId", &found.key_id)
                .blob("ImportToken", &found.import_token)
                .blob("PublicKey", &found.public_key)
                .time("ParametersValidTo", found.parameters_valid_to))
        },
    },
    Operation {
        name: "ImportKeyMaterial",
        input: &[
            required("KeyId", KEY_ID),
            required("ImportToken", CIPHERTEXT),
            required("EncryptedKeyMaterial", CIPHERTEXT),
            optional("ValidTo", Kind::Time),
            optional("ExpirationModel", Kind::Name(ExpirationModel::names)),
            optional("ImportType", Kind::Name(ImportType::names)),
            optional("KeyMaterialDescription", MATERIAL_DESCRIPTION),
            optional("KeyMaterialId", MATERIAL_ID),
        ],
        run: |service, caller, input| {
            let request = ImportKeyMaterialRequest {
                key_id: input.get("KeyId")?,
                import_token: input.get("ImportToken")?,
                encrypted_key_material: input.get("EncryptedKeyMaterial")?,
                valid_to: input.get("ValidTo")?,
                expiration_model: input.get("ExpirationModel")?,
                import_type: input.get("ImportType")?,
                key_material_description: input.get("KeyMaterialDescription")?,
                key_material_id: input.get("KeyMaterialId")?,
            };
            let made = service.import_key_material(caller, &request)?;
            Ok(Answer::new().text("KeyId", &made.key_id).text_if("KeyMaterialId", made.key_material_id))
        },
    },
    Operation {
        name: "DeleteImportedKeyMaterial",
        input: &[required("KeyId", KEY_ID), optional("KeyMaterialId", MATERIAL_ID)],
        run: |service, caller, input| {
            let request = DeleteImportedKeyMaterialRequest {
                key_id: input.get("KeyId")?,
                key_material_id: input.get("KeyMaterialId")?,
            };
            let gone = service.delete_imported_key_material(caller, &request)?;
            Ok(Answer::new().text("KeyId", &gone.key_id).text_if("KeyMaterialId", gone.key_material_id))
        },
    },
];
