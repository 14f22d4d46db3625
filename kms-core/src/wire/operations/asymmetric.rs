//! Public keys, signatures, message authentication codes, shared secrets and data key pairs.

use super::*;
use crate::client::KeyService;
use crate::error::KmsError;
use crate::wire::input::Input;

const SIGNING_ALGORITHM: Member = required("SigningAlgorithm", Kind::Name(SigningAlgorithm::names));
const MESSAGE_TYPE: Member = optional("MessageType", Kind::Name(MessageType::names));
const MAC_ALGORITHM: Member = required("MacAlgorithm", Kind::Name(MacAlgorithm::names));
const ENCAPSULATION_ALGORITHM: Member =
    required("EncapsulationAlgorithm", Kind::Name(EncapsulationAlgorithm::names));
const KEY_PAIR_SPEC: Member = required("KeyPairSpec", Kind::Name(DataKeyPairSpec::names));

pub(super) const ALL: &[Operation] = &[
    Operation {
        name: "GetPublicKey",
        input: &[required("KeyId", KEY_ID), GRANT_TOKENS],
        run: |service, caller, input| {
            let request =
                GetPublicKeyRequest { key_id: input.get("KeyId")?, grant_tokens: input.get("GrantTokens")? };
            let found = service.get_public_key(caller, &request)?;
            let answer = Answer::new()
                .text("KeyId", &found.key_id)
                .blob("PublicKey", &found.public_key)
                .text("CustomerMasterKeySpec", found.key_spec)
                .text("KeySpec", found.key_spec)
                .text("KeyUsage", found.key_usage);
            Ok(keys::algorithms(answer, found.algorithms))
        },
    },
    Operation {
        name: "Sign",
        input: &[
            required("KeyId", KEY_ID),
            required("Message", PLAINTEXT),
            MESSAGE_TYPE,
            GRANT_TOKENS,
            SIGNING_ALGORITHM,
            DRY_RUN,
        ],
        run: |service, caller, input| {
            let request = SignRequest {
                key_id: input.get("KeyId")?,
                message: input.get("Message")?,
                message_type: input.get("MessageType")?,
                signing_algorithm: input.get("SigningAlgorithm")?,
                grant_tokens: input.get("GrantTokens")?,
                dry_run: input.get("DryRun")?,
            };
            let made = service.sign(caller, &request)?;
            Ok(Answer::new()
                .text("KeyId", &made.key_id)
                .blob("Signature", &made.signature)
                .text("SigningAlgorithm", made.signing_algorithm))
        },
    },
    Operation {
        name: "Verify",
        input: &[
            required("KeyId", KEY_ID),
            required("Message", PLAINTEXT),
            MESSAGE_TYPE,
            required("Signature", CIPHERTEXT),
            SIGNING_ALGORITHM,
            GRANT_TOKENS,
            DRY_RUN,
        ],
        run: verify,
    },
    Operation {
        name: "GenerateMac",
        input: &[
            required("Message", PLAINTEXT),
            required("KeyId", KEY_ID),
            MAC_ALGORITHM,
            GRANT_TOKENS,
            DRY_RUN,
        ],
        run: |service, caller, input| {
            let request = GenerateMacRequest {
                key_id: input.get("KeyId")?,
                message: input.get("Message")?,
                mac_algorithm: input.get("MacAlgorithm")?,
                grant_tokens: input.get("GrantTokens")?,
                dry_run: input.get("DryRun")?,
            };
            let made = service.generate_mac(caller, &request)?;
            Ok(Answer::new()
                .blob("Mac", &made.mac)
                .text("MacAlgorithm", made.mac_algorithm)
                .text("KeyId", &made.key_id))
        },
    },
    Operation {
        name: "VerifyMac",
        input: &[
            required("Message", PLAINTEXT),
            required("KeyId", KEY_ID),
            MAC_ALGORITHM,
            required("Mac", CIPHERTEXT),
            GRANT_TOKENS,
            DRY_RUN,
        ],
        run: |service, caller, input| {
            let request = VerifyMacRequest {
                key_id: input.get("KeyId")?,
                message: input.get("Message")?,
                mac_algorithm: input.get("MacAlgorithm")?,
                mac: input.get("Mac")?,
                grant_tokens: input.get("GrantTokens")?,
                dry_run: input.get("DryRun")?,
            };
            let found = service.verify_mac(caller, &request)?;
            Ok(Answer::new()
                .text("KeyId", &found.key_id)
                .flag("MacValid", found.mac_valid)
                .text("MacAlgorithm", found.mac_algorithm))
        },
    },
    Operation {
        name: "DeriveSharedSecret",
        input: &[
            required("KeyId", KEY_ID),
            required("KeyAgreementAlgorithm", Kind::Name(KeyAgreementAlgorithm::names)),
            required("PublicKey", Kind::Blob { min: 1, max: 8192 }),
            GRANT_TOKENS,
            DRY_RUN,
            RECIPIENT,
        ],
        run: derive_shared_secret,
    },
    Operation {
        name: "Encapsulate",
        input: &[required("KeyId", KEY_ID), ENCAPSULATION_ALGORITHM, GRANT_TOKENS, DRY_RUN],
        run: |service, caller, input| {
            let request = EncapsulateRequest {
                key_id: input.get("KeyId")?,
                encapsulation_algorithm: input.get("EncapsulationAlgorithm")?,
                grant_tokens: input.get("GrantTokens")?,
                dry_run: input.get("DryRun")?,
            };
            let made = service.encapsulate(caller, &request)?;
            Ok(Answer::new()
                .text("KeyId", &made.key_id)
                .blob("SharedSecret", made.shared_secret.expose())
                .blob("SharedSecretCiphertextBlob", made.shared_secret_ciphertext_blob.as_bytes())
                .text("EncapsulationAlgorithm", made.encapsulation_algorithm))
        },
    },
    Operation {
        name: "Decapsulate",
        input: &[
            required("KeyId", KEY_ID),
            required("SharedSecretCiphertextBlob", CIPHERTEXT),
            ENCAPSULATION_ALGORITHM,
            GRANT_TOKENS,
            DRY_RUN,
        ],
        run: |service, caller, input| {
            let request = DecapsulateRequest {
                key_id: input.get("KeyId")?,
                shared_secret_ciphertext_blob: input.get("SharedSecretCiphertextBlob")?,
                encapsulation_algorithm: input.get("EncapsulationAlgorithm")?,
                grant_tokens: input.get("GrantTokens")?,
                dry_run: input.get("DryRun")?,
            };
            let opened = service.decapsulate(caller, &request)?;
            Ok(Answer::new()
                .text("KeyId", &opened.key_id)
                .blob("SharedSecret", opened.shared_secret.expose())
                .text("EncapsulationAlgorithm", opened.encapsulation_algorithm))
        },
    },
    Operation {
        name: "GenerateDataKeyPair",
        input: &[
            optional("EncryptionContext", Kind::Map),
            required("KeyId", KEY_ID),
            KEY_PAIR_SPEC,
            GRANT_TOKENS,
            RECIPIENT,
            DRY_RUN,
        ],
        run: |service, caller, input| {
            input.refuse(&["Recipient"])?;
            let made = service.generate_data_key_pair(caller, &key_pair_request(input)?)?;
            Ok(Answer::new()
                .blob("PrivateKeyCiphertextBlob", made.private_key_ciphertext_blob.as_bytes())
                .blob("PrivateKeyPlaintext", made.private_key_plaintext.expose())
                .blob("PublicKey", &made.public_key)
                .text("KeyId", &made.key_id)
                .text("KeyPairSpec", made.key_pair_spec)
                .text_if("KeyMaterialId", made.key_material_id))
        },
    },
    Operation {
        name: "GenerateDataKeyPairWithoutPlaintext",
        input: &[
            optional("EncryptionContext", Kind::Map),
            required("KeyId", KEY_ID),
            KEY_PAIR_SPEC,
            GRANT_TOKENS,
            DRY_RUN,
        ],
        run: |service, caller, input| {
            let made = service.generate_data_key_pair_without_plaintext(caller, &key_pair_request(input)?)?;
            Ok(Answer::new()
                .blob("PrivateKeyCiphertextBlob", made.private_key_ciphertext_blob.as_bytes())
                .blob("PublicKey", &made.public_key)
                .text("KeyId", &made.key_id)
                .text("KeyPairSpec", made.key_pair_spec)
                .text_if("KeyMaterialId", made.key_material_id))
        },
    },
];

fn verify(service: &dyn KeyService, caller: &Caller, input: &Input<'_>) -> Result<Answer, KmsError> {
    let request = VerifyRequest {
        key_id: input.get("KeyId")?,
        message: input.get("Message")?,
        message_type: input.get("MessageType")?,
        signature: input.get("Signature")?,
        signing_algorithm: input.get("SigningAlgorithm")?,
        grant_tokens: input.get("GrantTokens")?,
        dry_run: input.get("DryRun")?,
    };
    let found = service.verify(caller, &request)?;
    Ok(Answer::new()
        .text("KeyId", &found.key_id)
        .flag("SignatureValid", found.signature_valid)
        .text("SigningAlgorithm", found.signing_algorithm))
}

fn derive_shared_secret(
    service: &dyn KeyService,
    caller: &Caller,
    input: &Input<'_>,
) -> Result<Answer, KmsError> {
    input.refuse(&["Recipient"])?;
    let request = DeriveSharedSecretRequest {
        key_id: input.get("KeyId")?,
        key_agreement_algorithm: input.get("KeyAgreementAlgorithm")?,
        public_key: input.get("PublicKey")?,
        grant_tokens: input.get("GrantTokens")?,
        dry_run: input.get("DryRun")?,
    };
    let made = service.derive_shared_secret(caller, &request)?;
    Ok(Answer::new()
        .text("KeyId", &made.key_id)
        .blob("SharedSecret", made.shared_secret.expose())
        .text("KeyAgreementAlgorithm", made.key_agreement_algorithm)
        .text("KeyOrigin", made.key_origin))
}

fn key_pair_request(input: &Input<'_>) -> Result<GenerateDataKeyPairRequest, KmsError> {
    Ok(GenerateDataKeyPairRequest {
        key_id: input.get("KeyId")?,
        encryption_context: input.get("EncryptionContext")?,
        key_pair_spec: input.get("KeyPairSpec")?,
        grant_tokens: input.get("GrantTokens")?,
        dry_run: input.get("DryRun")?,
    })
}
