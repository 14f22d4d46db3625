//! Public keys, signatures and message authentication codes.

use anyhow::Result;
use kms_core::client::KeyService;
use kms_core::model::{
    Algorithms, GenerateMacRequest, GetPublicKeyRequest, SignRequest, VerifyMacRequest, VerifyRequest,
};
use serde_json::{Value, json};

use super::values::{self, base64};
use super::{Kms, key_ref, object, parse, parse_some, refused};

/// Print the public key of an asymmetric key
#[derive(Debug, clap::Args)]
pub(super) struct GetPublicKey {
    /// The key: an id, an ARN or an alias
    #[arg(long)]
    key_id: String,
}

/// Sign up to 4096 bytes, or a digest
#[derive(Debug, clap::Args)]
pub(super) struct Sign {
    #[command(flatten)]
    what: Signed,
}

/// Verify a signature
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    what: Signed,
    /// The signature: base64, or fileb://FILE
    #[arg(long)]
    signature: String,
}

/// What is signed, and how.
#[derive(Debug, clap::Args)]
struct Signed {
    /// The key: an id, an ARN or an alias
    #[arg(long)]
    key_id: String,
    /// The message: base64, or fileb://FILE
    #[arg(long)]
    message: String,
    /// RAW, DIGEST or EXTERNAL_MU [default: RAW]
    #[arg(long)]
    message_type: Option<String>,
    /// For example RSASSA_PSS_SHA_256, ECDSA_SHA_256, ED25519_SHA_512 or ML_DSA_SHAKE_256
    #[arg(long)]
    signing_algorithm: String,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

/// Make a message authentication code
#[derive(Debug, clap::Args)]
pub(super) struct GenerateMac {
    #[command(flatten)]
    what: Authenticated,
}

/// Verify a message authentication code
#[derive(Debug, clap::Args)]
pub(super) struct VerifyMac {
    #[command(flatten)]
    what: Authenticated,
    /// The code: base64, or fileb://FILE
    #[arg(long)]
    mac: String,
}

/// What is authenticated, and how.
#[derive(Debug, clap::Args)]
struct Authenticated {
    /// The key: an id, an ARN or an alias
    #[arg(long)]
    key_id: String,
    /// The message: base64, or fileb://FILE
    #[arg(long)]
    message: String,
    /// HMAC_SHA_224, HMAC_SHA_256, HMAC_SHA_384 or HMAC_SHA_512
    #[arg(long)]
    mac_algorithm: String,
    /// Check only
    #[arg(long)]
    dry_run: bool,
}

/// The lists of algorithms that a key has; the others are left out.
pub(super) fn algorithm_lists(algorithms: Algorithms) -> [(&'static str, Value); 5] {
    fn list<T: std::fmt::Display>(algorithms: &[T]) -> Value {
        match algorithms {
            [] => Value::Null,
            some => some.iter().map(T::to_string).collect(),
        }
    }
    [
        ("EncryptionAlgorithms", list(algorithms.encryption)),
        ("SigningAlgorithms", list(algorithms.signing)),
        ("MacAlgorithms", list(algorithms.mac)),
        ("KeyAgreementAlgorithms", list(algorithms.key_agreement)),
        ("EncapsulationAlgorithms", list(algorithms.encapsulation)),
    ]
}

pub(super) fn get_public_key(kms: &Kms, args: &GetPublicKey) -> Result<Value> {
    const OPERATION: &str = "GetPublicKey";
    let request = GetPublicKeyRequest::new(key_ref(OPERATION, &args.key_id)?);
    let found = kms.service.get_public_key(&kms.caller, &request).map_err(refused(OPERATION))?;
    let [encryption, signing, _, agreement, encapsulation] = algorithm_lists(found.algorithms);
    Ok(object([
        ("KeyId", json!(found.key_id.to_string())),
        ("PublicKey", json!(base64(&found.public_key))),
        ("CustomerMasterKeySpec", json!(found.key_spec.as_str())),
        ("KeySpec", json!(found.key_spec.as_str())),
        ("KeyUsage", json!(found.key_usage.as_str())),
        encryption,
        signing,
        agreement,
        encapsulation,
    ]))
}

fn sign_request(operation: &'static str, what: &Signed) -> Result<SignRequest> {
    Ok(SignRequest {
        key_id: key_ref(operation, &what.key_id)?,
        message: values::secret(&what.message)?,
        message_type: parse_some(operation, what.message_type.as_ref())?,
        signing_algorithm: parse(operation, &what.signing_algorithm)?,
        grant_tokens: Vec::new(),
        dry_run: what.dry_run,
    })
}

pub(super) fn sign(kms: &Kms, args: &Sign) -> Result<Value> {
    const OPERATION: &str = "Sign";
    let request = sign_request(OPERATION, &args.what)?;
    let made = kms.service.sign(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({
        "KeyId": made.key_id.to_string(),
        "Signature": base64(&made.signature),
        "SigningAlgorithm": made.signing_algorithm.as_str(),
    }))
}

pub(super) fn verify(kms: &Kms, args: &Verify) -> Result<Value> {
    const OPERATION: &str = "Verify";
    let SignRequest { key_id, message, message_type, signing_algorithm, grant_tokens, dry_run } =
        sign_request(OPERATION, &args.what)?;
    let signature = values::blob(&args.signature)?.to_vec();
    let request =
        VerifyRequest { key_id, message, message_type, signature, signing_algorithm, grant_tokens, dry_run };
    let valid = kms.service.verify(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({
        "KeyId": valid.key_id.to_string(),
        "SignatureValid": valid.signature_valid,
        "SigningAlgorithm": valid.signing_algorithm.as_str(),
    }))
}

fn mac_request(operation: &'static str, what: &Authenticated) -> Result<GenerateMacRequest> {
    Ok(GenerateMacRequest {
        key_id: key_ref(operation, &what.key_id)?,
        message: values::secret(&what.message)?,
        mac_algorithm: parse(operation, &what.mac_algorithm)?,
        grant_tokens: Vec::new(),
        dry_run: what.dry_run,
    })
}

pub(super) fn generate_mac(kms: &Kms, args: &GenerateMac) -> Result<Value> {
    const OPERATION: &str = "GenerateMac";
    let request = mac_request(OPERATION, &args.what)?;
    let made = kms.service.generate_mac(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({
        "Mac": base64(&made.mac),
        "MacAlgorithm": made.mac_algorithm.as_str(),
        "KeyId": made.key_id.to_string(),
    }))
}

pub(super) fn verify_mac(kms: &Kms, args: &VerifyMac) -> Result<Value> {
    const OPERATION: &str = "VerifyMac";
    let GenerateMacRequest { key_id, message, mac_algorithm, grant_tokens, dry_run } =
        mac_request(OPERATION, &args.what)?;
    let mac = values::blob(&args.mac)?.to_vec();
    let request = VerifyMacRequest { key_id, message, mac_algorithm, mac, grant_tokens, dry_run };
    let valid = kms.service.verify_mac(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({
        "KeyId": valid.key_id.to_string(),
        "MacValid": valid.mac_valid,
        "MacAlgorithm": valid.mac_algorithm.as_str(),
    }))
}
