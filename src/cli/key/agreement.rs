//! Shared secrets and data key pairs.

use anyhow::Result;
use kms_core::client::KeyService;
use kms_core::model::{
    CiphertextBlob, DecapsulateRequest, DeriveSharedSecretRequest, EncapsulateRequest,
    GenerateDataKeyPairRequest,
};
use serde_json::{Value, json};

use super::values::{self, base64};
use super::{Kms, key_ref, object, parse, refused, text};

/// Derive the secret that a key shares with the key of a peer
#[derive(Debug, clap::Args)]
pub(super) struct DeriveSharedSecret {
    /// The key: an id, an ARN or an alias
    #[arg(long)]
    key_id: String,
    /// ECDH
    #[arg(long)]
    key_agreement_algorithm: String,
    /// The public key of the peer in DER: base64, or fileb://FILE
    #[arg(long)]
    public_key: String,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

/// Make a shared secret for the holder of a private key
#[derive(Debug, clap::Args)]
pub(super) struct Encapsulate {
    /// The key: an id, an ARN or an alias
    #[arg(long)]
    key_id: String,
    /// ML_KEM
    #[arg(long)]
    encapsulation_algorithm: String,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

/// Open a shared secret that was made for this key
#[derive(Debug, clap::Args)]
pub(super) struct Decapsulate {
    /// The key: an id, an ARN or an alias
    #[arg(long)]
    key_id: String,
    /// The encapsulated secret: base64, or fileb://FILE
    #[arg(long)]
    shared_secret_ciphertext_blob: String,
    /// ML_KEM
    #[arg(long)]
    encapsulation_algorithm: String,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

/// Make a data key pair
#[derive(Debug, clap::Args)]
pub(super) struct GenerateDataKeyPair {
    /// The symmetric key that wraps the private key: an id, an ARN or an alias
    #[arg(long)]
    key_id: String,
    /// For example RSA_2048, ECC_NIST_P256 or ML_KEM_768
    #[arg(long)]
    key_pair_spec: String,
    /// name=value,name=value, or a JSON object
    #[arg(long)]
    encryption_context: Option<String>,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn derive_shared_secret(kms: &Kms, args: &DeriveSharedSecret) -> Result<Value> {
    const OPERATION: &str = "DeriveSharedSecret";
    let request = DeriveSharedSecretRequest {
        key_id: key_ref(OPERATION, &args.key_id)?,
        key_agreement_algorithm: parse(OPERATION, &args.key_agreement_algorithm)?,
        public_key: values::blob(&args.public_key)?.to_vec(),
        grant_tokens: Vec::new(),
        dry_run: args.dry_run,
    };
    let made = kms.service.derive_shared_secret(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({
        "KeyId": made.key_id.to_string(),
        "SharedSecret": base64(made.shared_secret.expose()),
        "KeyAgreementAlgorithm": made.key_agreement_algorithm.as_str(),
        "KeyOrigin": made.key_origin.as_str(),
    }))
}

pub(super) fn encapsulate(kms: &Kms, args: &Encapsulate) -> Result<Value> {
    const OPERATION: &str = "Encapsulate";
    let request = EncapsulateRequest {
        key_id: key_ref(OPERATION, &args.key_id)?,
        encapsulation_algorithm: parse(OPERATION, &args.encapsulation_algorithm)?,
        grant_tokens: Vec::new(),
        dry_run: args.dry_run,
    };
    let made = kms.service.encapsulate(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({
        "KeyId": made.key_id.to_string(),
        "SharedSecret": base64(made.shared_secret.expose()),
        "SharedSecretCiphertextBlob": base64(made.shared_secret_ciphertext_blob.as_bytes()),
        "EncapsulationAlgorithm": made.encapsulation_algorithm.as_str(),
    }))
}

pub(super) fn decapsulate(kms: &Kms, args: &Decapsulate) -> Result<Value> {
    const OPERATION: &str = "Decapsulate";
    let request = DecapsulateRequest {
        key_id: key_ref(OPERATION, &args.key_id)?,
        shared_secret_ciphertext_blob: CiphertextBlob(
            values::blob(&args.shared_secret_ciphertext_blob)?.to_vec(),
        ),
        encapsulation_algorithm: parse(OPERATION, &args.encapsulation_algorithm)?,
        grant_tokens: Vec::new(),
        dry_run: args.dry_run,
    };
    let opened = kms.service.decapsulate(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({
        "KeyId": opened.key_id.to_string(),
        "SharedSecret": base64(opened.shared_secret.expose()),
        "EncapsulationAlgorithm": opened.encapsulation_algorithm.as_str(),
    }))
}

fn pair_request(operation: &'static str, args: &GenerateDataKeyPair) -> Result<GenerateDataKeyPairRequest> {
    Ok(GenerateDataKeyPairRequest {
        key_id: key_ref(operation, &args.key_id)?,
        encryption_context: values::context(args.encryption_context.as_ref())?,
        key_pair_spec: parse(operation, &args.key_pair_spec)?,
        grant_tokens: Vec::new(),
        dry_run: args.dry_run,
    })
}

pub(super) fn generate_data_key_pair(kms: &Kms, args: &GenerateDataKeyPair) -> Result<Value> {
    const OPERATION: &str = "GenerateDataKeyPair";
    let request = pair_request(OPERATION, args)?;
    let made = kms.service.generate_data_key_pair(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(object([
        ("PrivateKeyCiphertextBlob", json!(base64(made.private_key_ciphertext_blob.as_bytes()))),
        ("PrivateKeyPlaintext", json!(base64(made.private_key_plaintext.expose()))),
        ("PublicKey", json!(base64(&made.public_key))),
        ("KeyId", json!(made.key_id.to_string())),
        ("KeyPairSpec", json!(made.key_pair_spec.as_str())),
        ("KeyMaterialId", text(made.key_material_id)),
    ]))
}

pub(super) fn generate_wrapped_data_key_pair(kms: &Kms, args: &GenerateDataKeyPair) -> Result<Value> {
    const OPERATION: &str = "GenerateDataKeyPairWithoutPlaintext";
    let request = pair_request(OPERATION, args)?;
    let made = kms
        .service
        .generate_data_key_pair_without_plaintext(&kms.caller, &request)
        .map_err(refused(OPERATION))?;
    Ok(object([
        ("PrivateKeyCiphertextBlob", json!(base64(made.private_key_ciphertext_blob.as_bytes()))),
        ("PublicKey", json!(base64(&made.public_key))),
        ("KeyId", json!(made.key_id.to_string())),
        ("KeyPairSpec", json!(made.key_pair_spec.as_str())),
        ("KeyMaterialId", text(made.key_material_id)),
    ]))
}
