//! Encryption, data keys and random bytes.

use anyhow::Result;
use kms_core::client::KeyService;
use kms_core::model::{
    CiphertextBlob, DecryptRequest, EncryptRequest, GenerateDataKeyRequest, GenerateRandomRequest,
    ReEncryptRequest,
};
use serde_json::{Value, json};

use super::values::{self, base64};
use super::{Kms, key_ref, object, parse_some, refused, text};

/// Encrypt up to 4096 bytes
#[derive(Debug, clap::Args)]
pub(super) struct Encrypt {
    /// The key: an id, an ARN or an alias
    #[arg(long)]
    key_id: String,
    /// The plaintext: base64, or fileb://FILE
    #[arg(long)]
    plaintext: String,
    /// SYMMETRIC_DEFAULT, RSAES_OAEP_SHA_1 or RSAES_OAEP_SHA_256 [default: SYMMETRIC_DEFAULT]
    #[arg(long)]
    encryption_algorithm: Option<String>,
    /// name=value,name=value, or a JSON object
    #[arg(long)]
    encryption_context: Option<String>,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

/// Decrypt a blob
#[derive(Debug, clap::Args)]
pub(super) struct Decrypt {
    /// The blob: base64, or fileb://FILE
    #[arg(long)]
    ciphertext_blob: String,
    /// name=value,name=value, or a JSON object
    #[arg(long)]
    encryption_context: Option<String>,
    /// The key that must have made it
    #[arg(long)]
    key_id: Option<String>,
    /// SYMMETRIC_DEFAULT, RSAES_OAEP_SHA_1 or RSAES_OAEP_SHA_256 [default: SYMMETRIC_DEFAULT]
    #[arg(long)]
    encryption_algorithm: Option<String>,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

/// Decrypt a blob and encrypt it again; the plaintext stays inside
#[derive(Debug, clap::Args)]
pub(super) struct ReEncrypt {
    /// The blob: base64, or fileb://FILE
    #[arg(long)]
    ciphertext_blob: String,
    /// The context that it was made with
    #[arg(long)]
    source_encryption_context: Option<String>,
    /// The key that must have made it
    #[arg(long)]
    source_key_id: Option<String>,
    /// How it was made
    #[arg(long)]
    source_encryption_algorithm: Option<String>,
    /// The key of the new blob: an id, an ARN or an alias
    #[arg(long)]
    destination_key_id: String,
    /// How to make the new blob
    #[arg(long)]
    destination_encryption_algorithm: Option<String>,
    /// The context of the new blob
    #[arg(long)]
    destination_encryption_context: Option<String>,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

/// Make a data key
#[derive(Debug, clap::Args)]
pub(super) struct GenerateDataKey {
    /// The key that wraps it: an id, an ARN or an alias
    #[arg(long)]
    key_id: String,
    /// AES_256 or AES_128
    #[arg(long)]
    key_spec: Option<String>,
    /// Its length in bytes, instead of --key-spec
    #[arg(long)]
    number_of_bytes: Option<i32>,
    /// name=value,name=value, or a JSON object
    #[arg(long)]
    encryption_context: Option<String>,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

/// Make random bytes
#[derive(Debug, clap::Args)]
pub(super) struct GenerateRandom {
    /// 1 to 1024
    #[arg(long)]
    number_of_bytes: Option<i32>,
}

fn blob(text: &str) -> Result<CiphertextBlob> {
    Ok(CiphertextBlob(values::blob(text)?.to_vec()))
}

pub(super) fn encrypt(kms: &Kms, args: &Encrypt) -> Result<Value> {
    const OPERATION: &str = "Encrypt";
    let context = values::context(args.encryption_context.as_ref())?;
    let plaintext = values::secret(&args.plaintext)?;
    let mut request = EncryptRequest::new(key_ref(OPERATION, &args.key_id)?, plaintext, context);
    request.encryption_algorithm = parse_some(OPERATION, args.encryption_algorithm.as_ref())?;
    request.dry_run = args.dry_run;
    let made = kms.service.encrypt(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({
        "CiphertextBlob": base64(made.ciphertext_blob.as_bytes()),
        "KeyId": made.key_id.to_string(),
        "EncryptionAlgorithm": made.encryption_algorithm.as_str(),
    }))
}

pub(super) fn decrypt(kms: &Kms, args: &Decrypt) -> Result<Value> {
    const OPERATION: &str = "Decrypt";
    let context = values::context(args.encryption_context.as_ref())?;
    let mut request = DecryptRequest::new(blob(&args.ciphertext_blob)?, context);
    request.key_id = parse_some(OPERATION, args.key_id.as_ref())?;
    request.encryption_algorithm = parse_some(OPERATION, args.encryption_algorithm.as_ref())?;
    request.dry_run = args.dry_run;
    let opened = kms.service.decrypt(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(object([
        ("KeyId", json!(opened.key_id.to_string())),
        ("Plaintext", json!(base64(opened.plaintext.expose()))),
        ("EncryptionAlgorithm", json!(opened.encryption_algorithm.as_str())),
        ("KeyMaterialId", text(opened.key_material_id)),
    ]))
}

pub(super) fn re_encrypt(kms: &Kms, args: &ReEncrypt) -> Result<Value> {
    const OPERATION: &str = "ReEncrypt";
    let destination = key_ref(OPERATION, &args.destination_key_id)?;
    let source_context = values::context(args.source_encryption_context.as_ref())?;
    let mut request = ReEncryptRequest::new(blob(&args.ciphertext_blob)?, source_context, destination);
    request.destination_encryption_context = values::context(args.destination_encryption_context.as_ref())?;
    request.source_key_id = parse_some(OPERATION, args.source_key_id.as_ref())?;
    request.source_encryption_algorithm = parse_some(OPERATION, args.source_encryption_algorithm.as_ref())?;
    request.destination_encryption_algorithm =
        parse_some(OPERATION, args.destination_encryption_algorithm.as_ref())?;
    request.dry_run = args.dry_run;
    let made = kms.service.re_encrypt(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(object([
        ("CiphertextBlob", json!(base64(made.ciphertext_blob.as_bytes()))),
        ("SourceKeyId", json!(made.source_key_id.to_string())),
        ("KeyId", json!(made.key_id.to_string())),
        ("SourceEncryptionAlgorithm", json!(made.source_encryption_algorithm.as_str())),
        ("DestinationEncryptionAlgorithm", json!(made.destination_encryption_algorithm.as_str())),
        ("SourceKeyMaterialId", text(made.source_key_material_id)),
        ("DestinationKeyMaterialId", text(made.destination_key_material_id)),
    ]))
}

fn data_key_request(operation: &'static str, args: &GenerateDataKey) -> Result<GenerateDataKeyRequest> {
    Ok(GenerateDataKeyRequest {
        key_id: key_ref(operation, &args.key_id)?,
        encryption_context: values::context(args.encryption_context.as_ref())?,
        key_spec: parse_some(operation, args.key_spec.as_ref())?,
        number_of_bytes: args.number_of_bytes,
        grant_tokens: Vec::new(),
        dry_run: args.dry_run,
    })
}

pub(super) fn generate_data_key(kms: &Kms, args: &GenerateDataKey) -> Result<Value> {
    const OPERATION: &str = "GenerateDataKey";
    let request = data_key_request(OPERATION, args)?;
    let made = kms.service.generate_data_key(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(object([
        ("CiphertextBlob", json!(base64(made.ciphertext_blob.as_bytes()))),
        ("Plaintext", json!(base64(made.plaintext.expose()))),
        ("KeyId", json!(made.key_id.to_string())),
        ("KeyMaterialId", text(made.key_material_id)),
    ]))
}

pub(super) fn generate_wrapped_data_key(kms: &Kms, args: &GenerateDataKey) -> Result<Value> {
    const OPERATION: &str = "GenerateDataKeyWithoutPlaintext";
    let request = data_key_request(OPERATION, args)?;
    let made =
        kms.service.generate_data_key_without_plaintext(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(object([
        ("CiphertextBlob", json!(base64(made.ciphertext_blob.as_bytes()))),
        ("KeyId", json!(made.key_id.to_string())),
        ("KeyMaterialId", text(made.key_material_id)),
    ]))
}

pub(super) fn generate_random(kms: &Kms, args: &GenerateRandom) -> Result<Value> {
    let request = GenerateRandomRequest { number_of_bytes: args.number_of_bytes, custom_key_store_id: None };
    let made = kms.service.generate_random(&kms.caller, &request).map_err(refused("GenerateRandom"))?;
    Ok(json!({ "Plaintext": base64(made.plaintext.expose()) }))
}
