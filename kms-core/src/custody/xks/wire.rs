//! The documents of the proxy API.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Bytes that travel as base64. Wiped when dropped, because some are plaintexts.
pub(super) struct Base64(pub(super) Zeroizing<Vec<u8>>);

impl Base64 {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(&*self.0)))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        STANDARD
            .decode(&*text)
            .map(|bytes| Self(Zeroizing::new(bytes)))
            .map_err(|_| D::Error::custom("no base64"))
    }
}

/// Who asks, and for what.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestMetadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aws_principal_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kms_key_arn: Option<&'a str>,
    pub(super) kms_operation: &'a str,
    pub(super) kms_request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kms_via_service: Option<&'a str>,
}

/// A request without parameters.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlainRequest<'a> {
    pub(super) request_metadata: RequestMetadata<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EncryptRequest<'a> {
    pub(super) request_metadata: RequestMetadata<'a>,
    pub(super) additional_authenticated_data: Base64,
    pub(super) plaintext: Base64,
    pub(super) encryption_algorithm: &'a str,
    pub(super) ciphertext_data_integrity_value_algorithm: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EncryptAnswer {
    pub(super) ciphertext: Base64,
    pub(super) ciphertext_metadata: Option<Base64>,
    pub(super) initialization_vector: Base64,
    pub(super) authentication_tag: Base64,
    pub(super) ciphertext_data_integrity_value: Base64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DecryptRequest<'a> {
    pub(super) request_metadata: RequestMetadata<'a>,
    pub(super) additional_authenticated_data: Base64,
    pub(super) ciphertext: Base64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ciphertext_metadata: Option<Base64>,
    pub(super) encryption_algorithm: &'a str,
    pub(super) initialization_vector: Base64,
    pub(super) authentication_tag: Base64,
}

#[derive(Deserialize)]
pub(super) struct DecryptAnswer {
    pub(super) plaintext: Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyMetadataAnswer {
    pub(super) key_spec: String,
    pub(super) key_usage: Vec<String>,
    pub(super) key_status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HealthAnswer {
    pub(super) xks_proxy_fleet_size: u64,
    // Mandatory in the API, of no use here.
    #[serde(rename = "xksProxyVendor")]
    pub(super) _vendor: String,
    #[serde(rename = "xksProxyModel")]
    pub(super) _model: String,
    #[serde(rename = "ekmVendor")]
    pub(super) _ekm_vendor: String,
    pub(super) ekm_fleet_details: Vec<FleetDetail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FleetDetail {
    #[serde(rename = "id")]
    pub(super) _id: String,
    #[serde(rename = "model")]
    pub(super) _model: String,
    pub(super) health_status: HealthStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum HealthStatus {
    Active,
    Degraded,
    Unavailable,
}
