//! Custom key stores.

use super::Page;
use crate::model::{
    ConnectionErrorCode, ConnectionState, CustomKeyStoreId, CustomKeyStoreType, PinSource, ProxyCredential,
    SecretText, Timestamp, TokenConfig, XksProxyConnectivity,
};

/// The members about an external key store proxy. Absent ones are not changed by an update.
#[derive(Debug, Clone, Default)]
pub struct XksProxyMembers {
    /// `https://` and the name of a host. Callers in this process may add a port.
    pub uri_endpoint: Option<String>,
    /// A path that ends in `/kms/xks/v1`.
    pub uri_path: Option<String>,
    /// The name of an Amazon VPC endpoint service. There are none here, so that it is not found.
    pub vpc_endpoint_service_name: Option<String>,
    /// The account that owns the service.
    pub vpc_endpoint_service_owner: Option<String>,
    /// What requests are signed with.
    pub authentication_credential: Option<ProxyCredential>,
    /// How the proxy is reached.
    pub connectivity: Option<XksProxyConnectivity>,
    /// How long an answer may take, in milliseconds: 50 to 10,000, 250 as in AWS if absent. For callers in this process.
    pub budget_millis: Option<u32>,
}

/// Creates a custom key store, which is not connected at first.
#[derive(Debug, Clone, Default)]
pub struct CreateCustomKeyStoreRequest {
    /// A name that no other store has.
    pub custom_key_store_name: String,
    /// Default [`CustomKeyStoreType::AwsCloudHsm`].
    pub custom_key_store_type: Option<CustomKeyStoreType>,
    /// The id of a token that is known already.
    pub cloud_hsm_cluster_id: Option<String>,
    /// A certificate. For a proxy, the authority of its certificate (AWS takes public authorities only).
    pub trust_anchor_certificate: Option<String>,
    /// The PIN of the token's user.
    pub key_store_password: Option<SecretText>,
    /// The token. Only callers in this process name one: it loads a library.
    pub token: Option<TokenConfig>,
    /// The proxy.
    pub xks_proxy: XksProxyMembers,
}

/// The new store.
#[derive(Debug, Clone)]
pub struct CreateCustomKeyStoreResponse {
    /// Its id.
    pub custom_key_store_id: CustomKeyStoreId,
}

/// Describes all stores, or one.
#[derive(Debug, Clone, Default)]
pub struct DescribeCustomKeyStoresRequest {
    /// The id of the one.
    pub custom_key_store_id: Option<String>,
    /// The name of the one.
    pub custom_key_store_name: Option<String>,
    /// Paging: 1 to 1000 entries, default 100.
    pub page: Page,
}

/// What is told about a store. Secrets are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomKeyStoresListEntry {
    /// The id.
    pub custom_key_store_id: CustomKeyStoreId,
    /// The name.
    pub custom_key_store_name: String,
    /// The id of its token.
    pub cloud_hsm_cluster_id: Option<String>,
    /// The certificate that it was created with.
    pub trust_anchor_certificate: Option<String>,
    /// Whether it is connected.
    pub connection_state: ConnectionState,
    /// Why the last connection failed, in [`ConnectionState::Failed`].
    pub connection_error_code: Option<ConnectionErrorCode>,
    /// When it was created.
    pub creation_date: Timestamp,
    /// What it connects to.
    pub custom_key_store_type: CustomKeyStoreType,
    /// The proxy, without the secret.
    pub xks_proxy_configuration: Option<XksProxyConfiguration>,
    /// The token. Not part of the API: shown to callers in this process.
    pub token: Option<TokenDescription>,
}

/// What is told about a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XksProxyConfiguration {
    /// How it is reached.
    pub connectivity: XksProxyConnectivity,
    /// The id of what requests are signed with.
    pub access_key_id: String,
    /// The host.
    pub uri_endpoint: String,
    /// The path.
    pub uri_path: String,
}

/// What is told about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenDescription {
    /// The PKCS#11 module.
    pub module: std::path::PathBuf,
    /// The label.
    pub label: Option<String>,
    /// The serial number.
    pub serial: Option<String>,
}

/// A page of stores.
#[derive(Debug, Clone)]
pub struct DescribeCustomKeyStoresResponse {
    /// The stores.
    pub custom_key_stores: Vec<CustomKeyStoresListEntry>,
    /// Present if there are more; then `Truncated` is true on the wire.
    pub next_marker: Option<String>,
}

/// Changes a store. What is absent stays.
#[derive(Debug, Clone, Default)]
pub struct UpdateCustomKeyStoreRequest {
    /// The store.
    pub custom_key_store_id: String,
    /// Another name.
    pub new_custom_key_store_name: Option<String>,
    /// Another PIN, kept sealed from now on.
    pub key_store_password: Option<SecretText>,
    /// Another place of the PIN, for callers in this process.
    pub pin: Option<PinSource>,
    /// The id of the same token.
    pub cloud_hsm_cluster_id: Option<String>,
    /// What changes about the proxy.
    pub xks_proxy: XksProxyMembers,
}

/// Names a store for an operation that takes nothing else.
#[derive(Debug, Clone)]
pub struct CustomKeyStoreOnlyRequest {
    /// The store.
    pub custom_key_store_id: String,
}

impl CustomKeyStoreOnlyRequest {
    /// Names a store.
    pub fn new(id: impl ToString) -> Self {
        Self { custom_key_store_id: id.to_string() }
    }
}

/// Deletes a store that has no keys.
pub type DeleteCustomKeyStoreRequest = CustomKeyStoreOnlyRequest;
/// Connects a store.
pub type ConnectCustomKeyStoreRequest = CustomKeyStoreOnlyRequest;
/// Disconnects a store: its keys become unavailable.
pub type DisconnectCustomKeyStoreRequest = CustomKeyStoreOnlyRequest;
/// The answer of `UpdateCustomKeyStore`.
pub type UpdateCustomKeyStoreResponse = super::EmptyResponse;
/// The answer of `DeleteCustomKeyStore`.
pub type DeleteCustomKeyStoreResponse = super::EmptyResponse;
/// The answer of `ConnectCustomKeyStore`, which does not say whether the store is connected.
pub type ConnectCustomKeyStoreResponse = super::EmptyResponse;
/// The answer of `DisconnectCustomKeyStore`.
pub type DisconnectCustomKeyStoreResponse = super::EmptyResponse;
