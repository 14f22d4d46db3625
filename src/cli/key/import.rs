//! Imported key material.

use std::path::PathBuf;

use anyhow::{Context, Result};
use kms_core::client::KeyService;
use kms_core::import::wrap_material;
use kms_core::model::{
    DeleteImportedKeyMaterialRequest, ExpirationModel, GetParametersForImportRequest,
    ImportKeyMaterialRequest, ImportKeyMaterialResponse, Plaintext, WrappingAlgorithm, WrappingKeySpec,
};
use serde_json::{Value, json};

use super::values::{self, base64, show_time};
use super::{Kms, key_ref, object, parse, parse_some, refused, text};

/// Get the public key and the token for an import
#[derive(Debug, clap::Args)]
pub(super) struct GetParametersForImport {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// RSAES_OAEP_SHA_256, RSAES_OAEP_SHA_1, RSA_AES_KEY_WRAP_SHA_256 or RSA_AES_KEY_WRAP_SHA_1
    #[arg(long)]
    wrapping_algorithm: String,
    /// RSA_2048, RSA_3072 or RSA_4096
    #[arg(long)]
    wrapping_key_spec: String,
}

/// Bring key material that is wrapped already
#[derive(Debug, clap::Args)]
pub(super) struct ImportKeyMaterial {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// The token of get-parameters-for-import: base64, or fileb://FILE
    #[arg(long)]
    import_token: String,
    /// The material under the public key: base64, or fileb://FILE
    #[arg(long)]
    encrypted_key_material: String,
    /// KEY_MATERIAL_EXPIRES or KEY_MATERIAL_DOES_NOT_EXPIRE
    #[arg(long)]
    expiration_model: Option<String>,
    #[command(flatten)]
    about: MaterialArgs,
}

/// Wrap key material from a file and import it
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// The key, created with --origin EXTERNAL: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// A file of 32 secret bytes
    #[arg(long, value_name = "FILE")]
    material_file: PathBuf,
    #[command(flatten)]
    about: MaterialArgs,
}

/// What is said about imported material.
#[derive(Debug, clap::Args)]
struct MaterialArgs {
    /// When the material expires, for example 2030-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    valid_to: Option<String>,
    /// NEW_KEY_MATERIAL or EXISTING_KEY_MATERIAL
    #[arg(long)]
    import_type: Option<String>,
    /// What the material is
    #[arg(long)]
    key_material_description: Option<String>,
    /// The id that the material must turn out to have
    #[arg(long)]
    key_material_id: Option<String>,
}

/// Delete imported key material, and with it the use of everything under it
#[derive(Debug, clap::Args)]
pub(super) struct DeleteImportedKeyMaterial {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
    /// The material [default: the current one]
    #[arg(long)]
    key_material_id: Option<String>,
}

pub(super) fn get_parameters_for_import(kms: &Kms, args: &GetParametersForImport) -> Result<Value> {
    const OPERATION: &str = "GetParametersForImport";
    let request = GetParametersForImportRequest {
        key_id: key_ref(OPERATION, &args.key_id)?,
        wrapping_algorithm: parse(OPERATION, &args.wrapping_algorithm)?,
        wrapping_key_spec: parse(OPERATION, &args.wrapping_key_spec)?,
    };
    let found = kms.service.get_parameters_for_import(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({
        "KeyId": found.key_id.to_string(),
        "ImportToken": base64(&found.import_token),
        "PublicKey": base64(&found.public_key),
        "ParametersValidTo": show_time(found.parameters_valid_to),
    }))
}

pub(super) fn import_key_material(kms: &Kms, args: &ImportKeyMaterial) -> Result<Value> {
    const OPERATION: &str = "ImportKeyMaterial";
    let token = values::blob(&args.import_token)?.to_vec();
    let wrapped = values::blob(&args.encrypted_key_material)?.to_vec();
    let expiration_model = parse_some(OPERATION, args.expiration_model.as_ref())?;
    bring(kms, &args.key_id, token, wrapped, expiration_model, &args.about)
}

/// All three steps of an import. Material without an end does not expire.
pub(super) fn import(kms: &Kms, args: &Import) -> Result<Value> {
    const OPERATION: &str = "GetParametersForImport";
    const ALGORITHM: WrappingAlgorithm = WrappingAlgorithm::RsaAesKeyWrapSha256;
    let file = &args.material_file;
    let material = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let material = Plaintext::new(material);
    let request = GetParametersForImportRequest {
        key_id: key_ref(OPERATION, &args.key_id)?,
        wrapping_algorithm: ALGORITHM,
        wrapping_key_spec: WrappingKeySpec::Rsa3072,
    };
    let found = kms.service.get_parameters_for_import(&kms.caller, &request).map_err(refused(OPERATION))?;
    let wrapped = wrap_material(&found, &material, ALGORITHM).map_err(refused("ImportKeyMaterial"))?;
    let model = match args.about.valid_to {
        Some(_) => ExpirationModel::KeyMaterialExpires,
        None => ExpirationModel::KeyMaterialDoesNotExpire,
    };
    bring(kms, &args.key_id, found.import_token, wrapped, Some(model), &args.about)
}

fn bring(
    kms: &Kms,
    key_id: &str,
    import_token: Vec<u8>,
    encrypted_key_material: Vec<u8>,
    expiration_model: Option<ExpirationModel>,
    about: &MaterialArgs,
) -> Result<Value> {
    const OPERATION: &str = "ImportKeyMaterial";
    let request = ImportKeyMaterialRequest {
        key_id: key_ref(OPERATION, key_id)?,
        import_token,
        encrypted_key_material,
        valid_to: about.valid_to.as_deref().map(values::time).transpose()?,
        expiration_model,
        import_type: parse_some(OPERATION, about.import_type.as_ref())?,
        key_material_description: about.key_material_description.clone(),
        key_material_id: parse_some(OPERATION, about.key_material_id.as_ref())?,
    };
    let ImportKeyMaterialResponse { key_id, key_material_id } =
        kms.service.import_key_material(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(object([("KeyId", json!(key_id.to_string())), ("KeyMaterialId", text(key_material_id))]))
}

pub(super) fn delete_imported_key_material(kms: &Kms, args: &DeleteImportedKeyMaterial) -> Result<Value> {
    const OPERATION: &str = "DeleteImportedKeyMaterial";
    let request = DeleteImportedKeyMaterialRequest {
        key_id: key_ref(OPERATION, &args.key_id)?,
        key_material_id: parse_some(OPERATION, args.key_material_id.as_ref())?,
    };
    let gone = kms.service.delete_imported_key_material(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(object([("KeyId", json!(gone.key_id.to_string())), ("KeyMaterialId", text(gone.key_material_id))]))
}
