//! Custom key stores: tokens and external key managers.
//!
//! Secrets are never taken from an argument, because other processes can read those: a PIN comes from a file, the
//! environment, systemd or the terminal, the credential of a proxy from a file.

use std::path::PathBuf;

use anyhow::Result;
use kms_core::client::KeyService;
use kms_core::model::{
    CreateCustomKeyStoreRequest, CustomKeyStoreOnlyRequest, CustomKeyStoresListEntry,
    DescribeCustomKeyStoresRequest, PinSource, ProxyCredential, SecretText, TokenConfig,
    UpdateCustomKeyStoreRequest, XksProxyMembers,
};
use serde_json::{Value, json};

use super::values::{self, show_time};
use super::{Kms, PageArgs, object, pages, parse_some, refused, text};
use crate::cli::error::CliError;
use crate::cli::keystore;

/// Create a custom key store, in a PKCS#11 token or behind the proxy of an external key manager
#[derive(Debug, clap::Args)]
pub(super) struct CreateCustomKeyStore {
    /// A name that no other store has
    #[arg(long)]
    custom_key_store_name: String,
    /// AWS_CLOUDHSM (a token) or EXTERNAL_KEY_STORE (a proxy) [default: AWS_CLOUDHSM]
    #[arg(long)]
    custom_key_store_type: Option<String>,
    /// The authority of the proxy's certificate, as file://FILE in PEM [default: those of the system]
    #[arg(long)]
    trust_anchor_certificate: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    proxy: ProxyArgs,
}

/// A token, and where its PIN is.
#[derive(Debug, clap::Args)]
struct TokenArgs {
    /// The PKCS#11 module of the token: a shared library
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// The label of the token
    #[arg(long, value_name = "LABEL")]
    token_label: Option<String>,
    /// The serial number of the token, if two have the same label
    #[arg(long, value_name = "SERIAL")]
    token_serial: Option<String>,
    /// The number of the slot, for a module that does not tell about its tokens
    #[arg(long, value_name = "NUMBER")]
    slot: Option<u64>,
    #[command(flatten)]
    pin: PinArgs,
}

/// Where a PIN is. Without any of these it is asked for, and kept sealed in the keystore.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct PinArgs {
    /// Read the PIN from the first line of FILE at every connection
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// Read the PIN from a variable of the environment at every connection
    #[arg(long, value_name = "NAME")]
    pin_env: Option<String>,
    /// Read the PIN from a systemd credential at every connection
    #[arg(long, value_name = "NAME")]
    pin_credential: Option<String>,
}

impl PinArgs {
    fn given(&self) -> Result<Option<PinSource>> {
        Ok(match (&self.pin_file, &self.pin_env, &self.pin_credential) {
            (Some(path), _, _) => Some(PinSource::File(std::path::absolute(path)?)),
            (_, Some(name), _) => Some(PinSource::Environment(name.clone())),
            (_, _, Some(name)) => Some(PinSource::Credential(name.clone())),
            (None, None, None) => None,
        })
    }

    fn source(&self) -> Result<PinSource> {
        match self.given()? {
            Some(source) => Ok(source),
            None => ask(),
        }
    }
}

fn ask() -> Result<PinSource> {
    let pin = keystore::ask("PIN of the token's user: ")?;
    Ok(PinSource::Sealed(SecretText::new(pin.to_string())))
}

/// A proxy.
#[derive(Debug, clap::Args)]
struct ProxyArgs {
    /// https://HOST or https://HOST:PORT of the proxy
    #[arg(long)]
    xks_proxy_uri_endpoint: Option<String>,
    /// The path of its API, which ends in /kms/xks/v1
    #[arg(long)]
    xks_proxy_uri_path: Option<String>,
    /// PUBLIC_ENDPOINT
    #[arg(long)]
    xks_proxy_connectivity: Option<String>,
    /// The credential that requests are signed with, as file://FILE with JSON: AccessKeyId, RawSecretAccessKey
    #[arg(long)]
    xks_proxy_authentication_credential: Option<String>,
    /// How long the proxy may take to answer, in milliseconds: 50 to 10000 [default: 250, as in AWS]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(50..=10_000))]
    xks_proxy_timeout_millis: Option<u32>,
}

impl ProxyArgs {
    fn members(&self, operation: &'static str) -> Result<XksProxyMembers> {
        let credential = self.xks_proxy_authentication_credential.as_deref().map(credential).transpose()?;
        Ok(XksProxyMembers {
            uri_endpoint: self.xks_proxy_uri_endpoint.clone(),
            uri_path: self.xks_proxy_uri_path.clone(),
            authentication_credential: credential,
            connectivity: parse_some(operation, self.xks_proxy_connectivity.as_ref())?,
            budget_millis: self.xks_proxy_timeout_millis,
            ..XksProxyMembers::default()
        })
    }
}

/// Reads a credential, alone or in the file that a proxy's administrator gets for the AWS console.
pub(in crate::cli) fn credential(text: &str) -> Result<ProxyCredential> {
    let refused = || {
        CliError::BadArgument(
            "a proxy's credential is file://FILE, and FILE is JSON with AccessKeyId and RawSecretAccessKey"
                .to_owned(),
        )
    };
    // The text itself would be on the command line, where others can read it.
    if !text.starts_with("file://") {
        return Err(refused().into());
    }
    let document = SecretText::new(values::document(text)?);
    let parsed: Value = serde_json::from_str(document.expose()).map_err(|_| refused())?;
    let inner = parsed.get("XksProxyAuthenticationCredential").unwrap_or(&parsed);
    let member = |name: &str| inner.get(name).and_then(Value::as_str).ok_or_else(refused);
    Ok(ProxyCredential {
        access_key_id: member("AccessKeyId")?.to_owned(),
        raw_secret_access_key: SecretText::new(member("RawSecretAccessKey")?.to_owned()),
    })
}

/// Change a custom key store
#[derive(Debug, clap::Args)]
pub(super) struct UpdateCustomKeyStore {
    /// The store: its id
    #[arg(long)]
    custom_key_store_id: String,
    /// Another name
    #[arg(long)]
    new_custom_key_store_name: Option<String>,
    /// Ask for another PIN, and keep it sealed in the keystore
    #[arg(long)]
    new_pin: bool,
    #[command(flatten)]
    pin: PinArgs,
    #[command(flatten)]
    proxy: ProxyArgs,
}

/// Describe all custom key stores, or one
#[derive(Debug, clap::Args)]
pub(super) struct DescribeCustomKeyStores {
    /// The store: its id
    #[arg(long)]
    custom_key_store_id: Option<String>,
    /// The store: its name
    #[arg(long)]
    custom_key_store_name: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// The options of a verb that only names a store.
#[derive(Debug, clap::Args)]
pub(super) struct StoreIdArg {
    /// The store: its id
    #[arg(long)]
    custom_key_store_id: String,
}

impl StoreIdArg {
    fn request(&self) -> CustomKeyStoreOnlyRequest {
        CustomKeyStoreOnlyRequest::new(&self.custom_key_store_id)
    }
}

pub(super) fn create(kms: &Kms, args: &CreateCustomKeyStore) -> Result<Value> {
    const OPERATION: &str = "CreateCustomKeyStore";
    let token = match &args.token.module {
        Some(module) => Some(TokenConfig {
            module: std::path::absolute(module)?,
            label: args.token.token_label.clone(),
            serial: args.token.token_serial.clone(),
            slot: args.token.slot,
            pin: args.token.pin.source()?,
            trust_anchor_certificate: None,
            cluster_id: None,
        }),
        None => None,
    };
    let certificate = args.trust_anchor_certificate.as_deref().map(values::document).transpose()?;
    let request = CreateCustomKeyStoreRequest {
        custom_key_store_name: args.custom_key_store_name.clone(),
        custom_key_store_type: parse_some(OPERATION, args.custom_key_store_type.as_ref())?,
        trust_anchor_certificate: certificate,
        token,
        xks_proxy: args.proxy.members(OPERATION)?,
        ..CreateCustomKeyStoreRequest::default()
    };
    let made = kms.service.create_custom_key_store(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(json!({ "CustomKeyStoreId": made.custom_key_store_id.to_string() }))
}

pub(super) fn describe(kms: &Kms, args: &DescribeCustomKeyStores) -> Result<Value> {
    pages(&args.page, "CustomKeyStores", |page| {
        let request = DescribeCustomKeyStoresRequest {
            custom_key_store_id: args.custom_key_store_id.clone(),
            custom_key_store_name: args.custom_key_store_name.clone(),
            page,
        };
        let found = kms.service.describe_custom_key_stores(&kms.caller, &request);
        let found = found.map_err(refused("DescribeCustomKeyStores"))?;
        Ok((found.custom_key_stores.iter().map(entry).collect(), found.next_marker))
    })
}

fn entry(store: &CustomKeyStoresListEntry) -> Value {
    let proxy = store.xks_proxy_configuration.as_ref().map_or(Value::Null, |proxy| {
        json!({
            "Connectivity": proxy.connectivity.as_str(),
            "AccessKeyId": proxy.access_key_id,
            "UriEndpoint": proxy.uri_endpoint,
            "UriPath": proxy.uri_path,
        })
    });
    // Beyond the API: where the token is on this host.
    let token = store.token.as_ref().map_or(Value::Null, |token| {
        object([
            ("Module", json!(token.module)),
            ("Label", text(token.label.as_ref())),
            ("SerialNumber", text(token.serial.as_ref())),
        ])
    });
    object([
        ("CustomKeyStoreId", json!(store.custom_key_store_id.as_str())),
        ("CustomKeyStoreName", json!(store.custom_key_store_name)),
        ("CloudHsmClusterId", text(store.cloud_hsm_cluster_id.as_ref())),
        ("TrustAnchorCertificate", text(store.trust_anchor_certificate.as_ref())),
        ("ConnectionState", json!(store.connection_state.as_str())),
        ("ConnectionErrorCode", text(store.connection_error_code)),
        ("CreationDate", json!(show_time(store.creation_date))),
        ("CustomKeyStoreType", json!(store.custom_key_store_type.as_str())),
        ("XksProxyConfiguration", proxy),
        ("Token", token),
    ])
}

pub(super) fn update(kms: &Kms, args: &UpdateCustomKeyStore) -> Result<Value> {
    const OPERATION: &str = "UpdateCustomKeyStore";
    let pin = match args.new_pin {
        true => Some(ask()?),
        false => args.pin.given()?,
    };
    let request = UpdateCustomKeyStoreRequest {
        custom_key_store_id: args.custom_key_store_id.clone(),
        new_custom_key_store_name: args.new_custom_key_store_name.clone(),
        pin,
        xks_proxy: args.proxy.members(OPERATION)?,
        ..UpdateCustomKeyStoreRequest::default()
    };
    kms.service.update_custom_key_store(&kms.caller, &request).map_err(refused(OPERATION))?;
    Ok(Value::Null)
}

pub(super) fn delete(kms: &Kms, args: &StoreIdArg) -> Result<Value> {
    kms.service
        .delete_custom_key_store(&kms.caller, &args.request())
        .map_err(refused("DeleteCustomKeyStore"))?;
    Ok(Value::Null)
}

pub(super) fn connect(kms: &Kms, args: &StoreIdArg) -> Result<Value> {
    kms.service
        .connect_custom_key_store(&kms.caller, &args.request())
        .map_err(refused("ConnectCustomKeyStore"))?;
    Ok(Value::Null)
}

pub(super) fn disconnect(kms: &Kms, args: &StoreIdArg) -> Result<Value> {
    kms.service
        .disconnect_custom_key_store(&kms.caller, &args.request())
        .map_err(refused("DisconnectCustomKeyStore"))?;
    Ok(Value::Null)
}
