//! `kmsfs key`: the embedded key management service, in the vocabulary of the AWS command line.
//!
//! Verbs, options and the JSON that is printed are those of `aws kms`, so that scripts carry over.

mod agreement;
mod aliases;
mod crypto;
mod explain;
mod grants;
mod import;
mod keys;
mod policies;
mod regions;
mod rotation;
mod signatures;
pub(in crate::cli) mod stores;
mod tags;
pub(in crate::cli) mod values;

use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;
use kms_core::KmsError;
use kms_core::model::{Caller, KeyRef, Page};
use kms_core::service::EmbeddedKms;
use serde_json::{Map, Value};

use super::error::CliError;
use super::keystore::{self, KeystoreArgs};
use super::output::print_json;

/// Manage keys of the keystore, in the vocabulary of `aws kms`
#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    #[command(flatten)]
    keystore: KeystoreArgs,
    /// Work in this Region [default: that of the keystore]
    #[arg(long, value_name = "REGION", global = true)]
    region: Option<String>,
    #[command(subcommand)]
    verb: KeyVerb,
}

#[derive(Debug, clap::Subcommand)]
enum KeyVerb {
    CreateKey(keys::CreateKey),
    DescribeKey(keys::DescribeKey),
    ListKeys(PageArgs),
    UpdateKeyDescription(keys::UpdateKeyDescription),
    EnableKey(KeyIdArg),
    DisableKey(KeyIdArg),
    GetKeyLastUsage(KeyIdArg),
    ScheduleKeyDeletion(keys::ScheduleKeyDeletion),
    CancelKeyDeletion(KeyIdArg),
    CreateCustomKeyStore(stores::CreateCustomKeyStore),
    DescribeCustomKeyStores(stores::DescribeCustomKeyStores),
    UpdateCustomKeyStore(stores::UpdateCustomKeyStore),
    DeleteCustomKeyStore(stores::StoreIdArg),
    ConnectCustomKeyStore(stores::StoreIdArg),
    DisconnectCustomKeyStore(stores::StoreIdArg),
    CreateAlias(aliases::AliasTarget),
    UpdateAlias(aliases::AliasTarget),
    DeleteAlias(aliases::DeleteAlias),
    ListAliases(aliases::ListAliases),
    Encrypt(crypto::Encrypt),
    Decrypt(crypto::Decrypt),
    ReEncrypt(crypto::ReEncrypt),
    GenerateDataKey(crypto::GenerateDataKey),
    GenerateDataKeyWithoutPlaintext(crypto::GenerateDataKey),
    GenerateRandom(crypto::GenerateRandom),
    GenerateDataKeyPair(agreement::GenerateDataKeyPair),
    GenerateDataKeyPairWithoutPlaintext(agreement::GenerateDataKeyPair),
    GetPublicKey(signatures::GetPublicKey),
    Sign(signatures::Sign),
    Verify(signatures::Verify),
    GenerateMac(signatures::GenerateMac),
    VerifyMac(signatures::VerifyMac),
    DeriveSharedSecret(agreement::DeriveSharedSecret),
    Encapsulate(agreement::Encapsulate),
    Decapsulate(agreement::Decapsulate),
    EnableKeyRotation(rotation::EnableKeyRotation),
    DisableKeyRotation(KeyIdArg),
    GetKeyRotationStatus(KeyIdArg),
    ListKeyRotations(rotation::ListKeyRotations),
    RotateKeyOnDemand(KeyIdArg),
    ReplicateKey(regions::ReplicateKey),
    UpdatePrimaryRegion(regions::UpdatePrimaryRegion),
    GetParametersForImport(import::GetParametersForImport),
    ImportKeyMaterial(import::ImportKeyMaterial),
    DeleteImportedKeyMaterial(import::DeleteImportedKeyMaterial),
    GetKeyPolicy(policies::GetKeyPolicy),
    PutKeyPolicy(policies::PutKeyPolicy),
    ListKeyPolicies(policies::ListKeyPolicies),
    CreateGrant(grants::CreateGrant),
    ListGrants(grants::ListGrants),
    ListRetirableGrants(grants::ListRetirableGrants),
    RetireGrant(grants::RetireGrant),
    RevokeGrant(grants::RevokeGrant),
    TagResource(tags::TagResource),
    UntagResource(tags::UntagResource),
    ListResourceTags(tags::ListResourceTags),
    Import(import::Import),
    Explain(explain::Explain),
}

/// The options of a verb that only names a key.
#[derive(Debug, clap::Args)]
struct KeyIdArg {
    /// The key: its id or its ARN
    #[arg(long)]
    key_id: String,
}

/// The options of a list. Without them all pages are fetched.
#[derive(Debug, Default, clap::Args)]
struct PageArgs {
    /// The most entries of one page
    #[arg(long)]
    limit: Option<i32>,
    /// The NextMarker of the page before
    #[arg(long)]
    marker: Option<String>,
}

/// The service, and who calls it.
struct Kms {
    service: Arc<EmbeddedKms>,
    caller: Caller,
}

pub(super) fn run(args: &KeyArgs) -> Result<()> {
    let mut service = args.keystore.open()?;
    if let Some(region) = &args.region {
        let region = region.parse().map_err(CliError::bad_argument)?;
        service = Arc::new(service.in_region(&region).map_err(refused("Region"))?);
    }
    let caller = keystore::user_caller(&service);
    let kms = Kms { service, caller };
    match call(&kms, &args.verb)? {
        // The AWS command line prints nothing either.
        Value::Null => Ok(()),
        answer => print_json(&answer),
    }
}

fn call(kms: &Kms, verb: &KeyVerb) -> Result<Value> {
    match verb {
        KeyVerb::CreateKey(args) => keys::create_key(kms, args),
        KeyVerb::DescribeKey(args) => keys::describe_key(kms, args),
        KeyVerb::ListKeys(args) => keys::list_keys(kms, args),
        KeyVerb::UpdateKeyDescription(args) => keys::update_key_description(kms, args),
        KeyVerb::EnableKey(args) => keys::enable_key(kms, args),
        KeyVerb::DisableKey(args) => keys::disable_key(kms, args),
        KeyVerb::GetKeyLastUsage(args) => keys::get_key_last_usage(kms, args),
        KeyVerb::ScheduleKeyDeletion(args) => keys::schedule_key_deletion(kms, args),
        KeyVerb::CancelKeyDeletion(args) => keys::cancel_key_deletion(kms, args),
        KeyVerb::CreateCustomKeyStore(args) => stores::create(kms, args),
        KeyVerb::DescribeCustomKeyStores(args) => stores::describe(kms, args),
        KeyVerb::UpdateCustomKeyStore(args) => stores::update(kms, args),
        KeyVerb::DeleteCustomKeyStore(args) => stores::delete(kms, args),
        KeyVerb::ConnectCustomKeyStore(args) => stores::connect(kms, args),
        KeyVerb::DisconnectCustomKeyStore(args) => stores::disconnect(kms, args),
        KeyVerb::CreateAlias(args) => aliases::create_alias(kms, args),
        KeyVerb::UpdateAlias(args) => aliases::update_alias(kms, args),
        KeyVerb::DeleteAlias(args) => aliases::delete_alias(kms, args),
        KeyVerb::ListAliases(args) => aliases::list_aliases(kms, args),
        KeyVerb::Encrypt(args) => crypto::encrypt(kms, args),
        KeyVerb::Decrypt(args) => crypto::decrypt(kms, args),
        KeyVerb::ReEncrypt(args) => crypto::re_encrypt(kms, args),
        KeyVerb::GenerateDataKey(args) => crypto::generate_data_key(kms, args),
        KeyVerb::GenerateDataKeyWithoutPlaintext(args) => crypto::generate_wrapped_data_key(kms, args),
        KeyVerb::GenerateRandom(args) => crypto::generate_random(kms, args),
        KeyVerb::GenerateDataKeyPair(args) => agreement::generate_data_key_pair(kms, args),
        KeyVerb::GenerateDataKeyPairWithoutPlaintext(args) => {
            agreement::generate_wrapped_data_key_pair(kms, args)
        }
        KeyVerb::GetPublicKey(args) => signatures::get_public_key(kms, args),
        KeyVerb::Sign(args) => signatures::sign(kms, args),
        KeyVerb::Verify(args) => signatures::verify(kms, args),
        KeyVerb::GenerateMac(args) => signatures::generate_mac(kms, args),
        KeyVerb::VerifyMac(args) => signatures::verify_mac(kms, args),
        KeyVerb::DeriveSharedSecret(args) => agreement::derive_shared_secret(kms, args),
        KeyVerb::Encapsulate(args) => agreement::encapsulate(kms, args),
        KeyVerb::Decapsulate(args) => agreement::decapsulate(kms, args),
        KeyVerb::EnableKeyRotation(args) => rotation::enable_key_rotation(kms, args),
        KeyVerb::DisableKeyRotation(args) => rotation::disable_key_rotation(kms, args),
        KeyVerb::GetKeyRotationStatus(args) => rotation::get_key_rotation_status(kms, args),
        KeyVerb::ListKeyRotations(args) => rotation::list_key_rotations(kms, args),
        KeyVerb::RotateKeyOnDemand(args) => rotation::rotate_key_on_demand(kms, args),
        KeyVerb::ReplicateKey(args) => regions::replicate_key(kms, args),
        KeyVerb::UpdatePrimaryRegion(args) => regions::update_primary_region(kms, args),
        KeyVerb::GetParametersForImport(args) => import::get_parameters_for_import(kms, args),
        KeyVerb::ImportKeyMaterial(args) => import::import_key_material(kms, args),
        KeyVerb::DeleteImportedKeyMaterial(args) => import::delete_imported_key_material(kms, args),
        KeyVerb::GetKeyPolicy(args) => policies::get_key_policy(kms, args),
        KeyVerb::PutKeyPolicy(args) => policies::put_key_policy(kms, args),
        KeyVerb::ListKeyPolicies(args) => policies::list_key_policies(kms, args),
        KeyVerb::CreateGrant(args) => grants::create_grant(kms, args),
        KeyVerb::ListGrants(args) => grants::list_grants(kms, args),
        KeyVerb::ListRetirableGrants(args) => grants::list_retirable_grants(kms, args),
        KeyVerb::RetireGrant(args) => grants::retire_grant(kms, args),
        KeyVerb::RevokeGrant(args) => grants::revoke_grant(kms, args),
        KeyVerb::TagResource(args) => tags::tag_resource(kms, args),
        KeyVerb::UntagResource(args) => tags::untag_resource(kms, args),
        KeyVerb::ListResourceTags(args) => tags::list_resource_tags(kms, args),
        KeyVerb::Import(args) => import::import(kms, args),
        KeyVerb::Explain(args) => explain::explain(kms, args),
    }
}

/// Names the operation in a refusal, as the AWS command line does.
fn refused(operation: &'static str) -> impl Fn(KmsError) -> CliError {
    move |refusal| CliError::Kms { operation, refusal }
}

/// A value that the service would refuse is refused in its words.
fn parse<T: FromStr<Err = KmsError>>(operation: &'static str, text: &str) -> Result<T> {
    Ok(text.parse().map_err(refused(operation))?)
}

fn parse_some<T: FromStr<Err = KmsError>>(
    operation: &'static str,
    text: Option<&String>,
) -> Result<Option<T>> {
    text.map(|text| parse(operation, text)).transpose()
}

fn key_ref(operation: &'static str, text: &str) -> Result<KeyRef> {
    parse(operation, text)
}

/// An object without the members that are absent.
fn object<const LEN: usize>(members: [(&str, Value); LEN]) -> Value {
    let present = members.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(present.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// The text of a value that may be absent.
fn text(value: Option<impl ToString>) -> Value {
    value.map_or(Value::Null, |value| Value::String(value.to_string()))
}

/// One page if the options ask for one, and else all pages together. `fetch` returns a page and its `NextMarker`.
fn pages(
    args: &PageArgs,
    member: &str,
    mut fetch: impl FnMut(Page) -> Result<(Vec<Value>, Option<String>)>,
) -> Result<Value> {
    let mut page = Page { limit: args.limit, marker: args.marker.clone() };
    let mut all = Vec::new();
    loop {
        let (entries, next) = fetch(page)?;
        all.extend(entries);
        let one_page = args.limit.is_some() || args.marker.is_some();
        match next {
            Some(next) if !one_page => page = Page { limit: None, marker: Some(next) },
            next => {
                let truncated = one_page.then(|| next.is_some());
                return Ok(object([
                    (member, Value::Array(all)),
                    ("NextMarker", text(next)),
                    ("Truncated", truncated.map_or(Value::Null, Value::Bool)),
                ]));
            }
        }
    }
}
