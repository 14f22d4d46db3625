//! Encryption, data keys and random bytes.

use super::*;
use crate::client::KeyService;
use crate::error::KmsError;
use crate::wire::input::Input;

const ENCRYPTION_ALGORITHM: Kind = Kind::Name(EncryptionAlgorithm::names);
const ENCRYPTION_CONTEXT: Member = optional("EncryptionContext", Kind::Map);
const NUMBER_OF_BYTES: Member = optional("NumberOfBytes", Kind::Integer { min: 1, max: 1024 });
const DATA_KEY_SPEC: Member = optional("KeySpec", Kind::Name(DataKeySpec::names));

pub(super) const ALL: &[Operation] = &[
    Operation {
        name: "Encrypt",
        input: &[
            required("KeyId", KEY_ID),
            required("Plaintext", PLAINTEXT),
            ENCRYPTION_CONTEXT,
            GRANT_TOKENS,
            optional("EncryptionAlgorithm", ENCRYPTION_ALGORITHM),
            DRY_RUN,
        ],
        run: |service, caller, input| {
            let request = EncryptRequest {
                key_id: input.get("KeyId")?,
                plaintext: input.get("Plaintext")?,
                encryption_context: input.get("EncryptionContext")?,
                encryption_algorithm: input.get("EncryptionAlgorithm")?,
                grant_tokens: input.get("GrantTokens")?,
                dry_run: input.get("DryRun")?,
            };
            let made = service.encrypt(caller, &request)?;
            Ok(Answer::new()
                .blob("CiphertextBlob", made.ciphertext_blob.as_bytes())
                .text("KeyId", &made.key_id)
                .text("EncryptionAlgorithm", made.encryption_algorithm))
        },
    },
    Operation {
        name: "Decrypt",
        input: &[
            optional("CiphertextBlob", CIPHERTEXT),
            ENCRYPTION_CONTEXT,
            GRANT_TOKENS,
            optional("KeyId", KEY_ID),
            optional("EncryptionAlgorithm", ENCRYPTION_ALGORITHM),
            RECIPIENT,
            DRY_RUN,
            DRY_RUN_MODIFIERS,
        ],
        run: |service, caller, input| {
            input.refuse(&["Recipient", "DryRunModifiers"])?;
            let request = DecryptRequest {
                ciphertext_blob: input.get("CiphertextBlob")?,
                encryption_context: input.get("EncryptionContext")?,
                key_id: input.get("KeyId")?,
                encryption_algorithm: input.get("EncryptionAlgorithm")?,
                grant_tokens: input.get("GrantTokens")?,
                dry_run: input.get("DryRun")?,
            };
            let opened = service.decrypt(caller, &request)?;
            Ok(Answer::new()
                .text("KeyId", &opened.key_id)
                .blob("Plaintext", opened.plaintext.expose())
                .text("EncryptionAlgorithm", opened.encryption_algorithm)
                .text_if("KeyMaterialId", opened.key_material_id))
        },
    },
    Operation {
        name: "ReEncrypt",
        input: &[
            optional("CiphertextBlob", CIPHERTEXT),
            optional("SourceEncryptionContext", Kind::Map),
            optional("SourceKeyId", KEY_ID),
            required("DestinationKeyId", KEY_ID),
            optional("DestinationEncryptionContext", Kind::Map),
            optional("SourceEncryptionAlgorithm", ENCRYPTION_ALGORITHM),
            optional("DestinationEncryptionAlgorithm", ENCRYPTION_ALGORITHM),
            GRANT_TOKENS,
            DRY_RUN,
            DRY_RUN_MODIFIERS,
        ],
        run: re_encrypt,
    },
    Operation {
        name: "GenerateDataKey",
        input: &[
            required("KeyId", KEY_ID),
            ENCRYPTION_CONTEXT,
            NUMBER_OF_BYTES,
            DATA_KEY_SPEC,
            GRANT_TOKENS,
            RECIPIENT,
            DRY_RUN,
        ],
        run: |service, caller, input| {
            input.refuse(&["Recipient"])?;
            let made = service.generate_data_key(caller, &data_key_request(input)?)?;
            Ok(Answer::new()
                .blob("CiphertextBlob", made.ciphertext_blob.as_bytes())
                .blob("Plaintext", made.plaintext.expose())
                .text("KeyId", &made.key_id)
                .text_if("KeyMaterialId", made.key_material_id))
        },
    },
    Operation {
        name: "GenerateDataKeyWithoutPlaintext",
        input: &[
            required("KeyId", KEY_ID),
            ENCRYPTION_CONTEXT,
            DATA_KEY_SPEC,
            NUMBER_OF_BYTES,
            GRANT_TOKENS,
            DRY_RUN,
        ],
        run: |service, caller, input| {
            let made = service.generate_data_key_without_plaintext(caller, &data_key_request(input)?)?;
            Ok(Answer::new()
                .blob("CiphertextBlob", made.ciphertext_blob.as_bytes())
                .text("KeyId", &made.key_id)
                .text_if("KeyMaterialId", made.key_material_id))
        },
    },
    Operation {
        name: "GenerateRandom",
        input: &[NUMBER_OF_BYTES, CUSTOM_KEY_STORE_ID, RECIPIENT],
        run: |service, caller, input| {
            input.refuse(&["Recipient"])?;
            let request = GenerateRandomRequest {
                number_of_bytes: input.get("NumberOfBytes")?,
                custom_key_store_id: input.get("CustomKeyStoreId")?,
            };
            let made = service.generate_random(caller, &request)?;
            Ok(Answer::new().blob("Plaintext", made.plaintext.expose()))
        },
    },
];

fn data_key_request(input: &Input<'_>) -> Result<GenerateDataKeyRequest, KmsError> {
    Ok(GenerateDataKeyRequest {
        key_id: input.get("KeyId")?,
        encryption_context: input.get("EncryptionContext")?,
        key_spec: input.get("KeySpec")?,
        number_of_bytes: input.get("NumberOfBytes")?,
        grant_tokens: input.get("GrantTokens")?,
        dry_run: input.get("DryRun")?,
    })
}

fn re_encrypt(service: &dyn KeyService, caller: &Caller, input: &Input<'_>) -> Result<Answer, KmsError> {
    input.refuse(&["DryRunModifiers"])?;
    let request = ReEncryptRequest {
        ciphertext_blob: input.get("CiphertextBlob")?,
        source_encryption_context: input.get("SourceEncryptionContext")?,
        source_key_id: input.get("SourceKeyId")?,
        destination_key_id: input.get("DestinationKeyId")?,
        destination_encryption_context: input.get("DestinationEncryptionContext")?,
        source_encryption_algorithm: input.get("SourceEncryptionAlgorithm")?,
        destination_encryption_algorithm: input.get("DestinationEncryptionAlgorithm")?,
        grant_tokens: input.get("GrantTokens")?,
        dry_run: input.get("DryRun")?,
    };
    let made = service.re_encrypt(caller, &request)?;
    Ok(Answer::new()
        .blob("CiphertextBlob", made.ciphertext_blob.as_bytes())
        .text("SourceKeyId", &made.source_key_id)
        .text("KeyId", &made.key_id)
        .text("SourceEncryptionAlgorithm", made.source_encryption_algorithm)
        .text("DestinationEncryptionAlgorithm", made.destination_encryption_algorithm)
        .text_if("SourceKeyMaterialId", made.source_key_material_id)
        .text_if("DestinationKeyMaterialId", made.destination_key_material_id))
}
