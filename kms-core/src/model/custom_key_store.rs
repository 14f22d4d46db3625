//! Custom key stores: where keys live that this service does not hold itself, and what connects to them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Origin, SecretText};
use crate::error::KmsError;

api_enum! {
    /// What a custom key store connects to.
    CustomKeyStoreType at "customKeyStoreType" {
        /// A hardware token; here any with a PKCS#11 module.
        AwsCloudHsm = "AWS_CLOUDHSM",
        /// An external key manager behind a proxy.
        ExternalKeyStore = "EXTERNAL_KEY_STORE",
    }
}

impl CustomKeyStoreType {
    /// The origin of the keys in such a store.
    pub const fn origin(self) -> Origin {
        match self {
            Self::AwsCloudHsm => Origin::AwsCloudHsm,
            Self::ExternalKeyStore => Origin::ExternalKeyStore,
        }
    }
}

api_enum! {
    /// Whether a custom key store is connected.
    ConnectionState at "connectionState" {
        /// Its keys can be used.
        Connected = "CONNECTED",
        /// Somebody is connecting it.
        Connecting = "CONNECTING",
        /// It could not be connected. Disconnect it before the next attempt.
        Failed = "FAILED",
        /// Nobody has connected it, or somebody has disconnected it.
        Disconnected = "DISCONNECTED",
        /// Somebody is disconnecting it.
        Disconnecting = "DISCONNECTING",
    }
}

api_enum! {
    /// Why a custom key store could not be connected.
    ConnectionErrorCode at "connectionErrorCode" {
        /// The token refused the PIN. It was tried once.
        InvalidCredentials = "INVALID_CREDENTIALS",
        /// There is no such token.
        ClusterNotFound = "CLUSTER_NOT_FOUND",
        /// The token does not answer.
        NetworkErrors = "NETWORK_ERRORS",
        /// Something else failed; the log says what.
        InternalError = "INTERNAL_ERROR",
        /// The token cannot do what the store needs.
        InsufficientCloudHsmHsms = "INSUFFICIENT_CLOUDHSM_HSMS",
        /// The token has locked its user out.
        UserLockedOut = "USER_LOCKED_OUT",
        /// The token has no user PIN.
        UserNotFound = "USER_NOT_FOUND",
        /// The user is logged in elsewhere.
        UserLoggedIn = "USER_LOGGED_IN",
        /// Of CloudHSM only.
        SubnetNotFound = "SUBNET_NOT_FOUND",
        /// Of CloudHSM only.
        InsufficientFreeAddressesInSubnet = "INSUFFICIENT_FREE_ADDRESSES_IN_SUBNET",
        /// The proxy refused the credential.
        XksProxyAccessDenied = "XKS_PROXY_ACCESS_DENIED",
        /// The proxy cannot be reached.
        XksProxyNotReachable = "XKS_PROXY_NOT_REACHABLE",
        /// Of VPC endpoint services only.
        XksVpcEndpointServiceNotFound = "XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND",
        /// The proxy's answer cannot be understood.
        XksProxyInvalidResponse = "XKS_PROXY_INVALID_RESPONSE",
        /// The path is not one of the proxy's, or its key manager does not work.
        XksProxyInvalidConfiguration = "XKS_PROXY_INVALID_CONFIGURATION",
        /// Of VPC endpoint services only.
        XksVpcEndpointServiceInvalidConfiguration = "XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION",
        /// The proxy did not answer in time.
        XksProxyTimedOut = "XKS_PROXY_TIMED_OUT",
        /// The proxy's certificate is not one that the store trusts.
        XksProxyInvalidTlsConfiguration = "XKS_PROXY_INVALID_TLS_CONFIGURATION",
    }
}

api_enum! {
    /// How an external key store proxy is reached.
    XksProxyConnectivity at "xksProxyConnectivity" {
        /// By its name in the DNS.
        PublicEndpoint = "PUBLIC_ENDPOINT",
        /// Through an Amazon VPC endpoint service. There are none here.
        VpcEndpointService = "VPC_ENDPOINT_SERVICE",
    }
}

/// The id of a custom key store: `cks-` and 17 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CustomKeyStoreId(String);

impl CustomKeyStoreId {
    const PREFIX: &str = "cks-";
    const DIGITS: usize = 17;

    /// A fresh id.
    pub fn generate() -> Self {
        let digits = uuid::Uuid::new_v4().simple().to_string();
        Self(format!("{}{}", Self::PREFIX, &digits[..Self::DIGITS]))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CustomKeyStoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CustomKeyStoreId {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<Self, KmsError> {
        let digits = text.strip_prefix(Self::PREFIX).unwrap_or_default();
        let legal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() == Self::DIGITS && digits.bytes().all(legal) {
            return Ok(Self(text.to_owned()));
        }
        Err(KmsError::custom_key_store_not_found(text))
    }
}

text_serde!(CustomKeyStoreId);

/// What a custom key store connects to. Stored; sealed like every record, because it holds secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyStoreConfig {
    /// A PKCS#11 token: the type `AWS_CLOUDHSM`.
    Token(TokenConfig),
    /// A proxy of an external key manager: the type `EXTERNAL_KEY_STORE`.
    Proxy(ProxyConfig),
}

impl KeyStoreConfig {
    /// The id that stands for a token where AWS has that of a CloudHSM cluster.
    pub fn cluster_id(&self) -> Option<&str> {
        match self {
            Self::Token(token) => token.cluster_id.as_deref(),
            Self::Proxy(_) => None,
        }
    }
}

/// A token, and how to log in to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenConfig {
    /// The PKCS#11 module: a shared library, which becomes part of this process.
    pub module: PathBuf,
    /// The label of the token.
    pub label: Option<String>,
    /// The serial number of the token, which tells two tokens of one label apart. Filled in when the store is created.
    pub serial: Option<String>,
    /// The number of the slot, for modules that do not tell about their tokens.
    pub slot: Option<u64>,
    /// Where the PIN of the user is.
    pub pin: PinSource,
    /// The certificate that the creator of the store named; kept because AWS shows it.
    pub trust_anchor_certificate: Option<String>,
    /// `cluster-` and eleven characters that follow from module, serial number and label. Filled in as above.
    pub cluster_id: Option<String>,
}

/// Where a PIN comes from. It is read when a connection is made, and wiped after the login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PinSource {
    /// Kept with the store, sealed.
    Sealed(SecretText),
    /// The first line of a file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// A credential that systemd hands to the service.
    Credential(String),
}

/// A proxy of an external key manager, and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyConfig {
    /// How the proxy is reached.
    pub connectivity: XksProxyConnectivity,
    /// `https://` and the name of the host, with a port if it is not 443.
    pub uri_endpoint: String,
    /// The path of the API on that host, which ends in `/kms/xks/v1`.
    pub uri_path: String,
    /// What requests are signed with.
    pub credential: ProxyCredential,
    /// The certificates, as PEM, that the proxy's certificate has to lead to; those of the system if absent.
    pub trust_anchor_certificate: Option<String>,
    /// How long an answer may take, in milliseconds; as in AWS if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_millis: Option<u32>,
}

impl ProxyConfig {
    /// The address of the API.
    pub fn uri(&self) -> String {
        format!("{}{}", self.uri_endpoint, self.uri_path)
    }
}

/// What signs requests to a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyCredential {
    /// The id, which is not secret.
    pub access_key_id: String,
    /// The secret.
    pub raw_secret_access_key: SecretText,
}

/// The part of a key's record that says where its material is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomKeyStoreBinding {
    /// The store.
    pub store_id: CustomKeyStoreId,
    /// The id of its token.
    pub cluster_id: Option<String>,
    /// The name of the key in the external key manager.
    pub xks_key_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_ids_round_trip() {
        let id = CustomKeyStoreId::generate();
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        for text in ["", "cks-", "cks-0123456789abcdef", "cks-0123456789abcdefG", "cks-0123456789ABCDEF0"] {
            assert!(matches!(text.parse::<CustomKeyStoreId>(), Err(KmsError::CustomKeyStoreNotFound(_))));
        }
    }
}
