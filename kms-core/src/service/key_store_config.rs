//! What a custom key store connects to, from the members of a request.

use crate::error::KmsError;
use crate::model::*;

fn missing(member: &str, store_type: CustomKeyStoreType) -> KmsError {
    KmsError::Validation(format!("{member} is required for a custom key store of type {store_type}."))
}

fn foreign(member: &str, store_type: CustomKeyStoreType) -> KmsError {
    KmsError::Validation(format!("{member} is not valid for a custom key store of type {store_type}."))
}

/// The token of a new store. A network client cannot name one that this host does not know: it would make the service
/// load a library.
pub(super) fn new_token(request: &CreateCustomKeyStoreRequest) -> Result<TokenConfig, KmsError> {
    const TYPE: CustomKeyStoreType = CustomKeyStoreType::AwsCloudHsm;
    if let Some(member) = named_proxy_member(&request.xks_proxy) {
        return Err(foreign(member, TYPE));
    }
    if let Some(token) = &request.token {
        let mut token = token.clone();
        token.trust_anchor_certificate.clone_from(&request.trust_anchor_certificate);
        return Ok(token);
    }
    let required = [
        ("CloudHsmClusterId", request.cloud_hsm_cluster_id.is_some()),
        ("TrustAnchorCertificate", request.trust_anchor_certificate.is_some()),
        ("KeyStorePassword", request.key_store_password.is_some()),
    ];
    match required.iter().find(|(_, present)| !present) {
        Some((member, _)) => Err(missing(member, TYPE)),
        None => Err(KmsError::CloudHsmClusterNotFound(
            "The cluster does not exist. A key store in a token is created on the host of this service."
                .into(),
        )),
    }
}

fn named_proxy_member(members: &XksProxyMembers) -> Option<&'static str> {
    let named = [
        ("XksProxyUriEndpoint", members.uri_endpoint.is_some()),
        ("XksProxyUriPath", members.uri_path.is_some()),
        ("XksProxyVpcEndpointServiceName", members.vpc_endpoint_service_name.is_some()),
        ("XksProxyVpcEndpointServiceOwner", members.vpc_endpoint_service_owner.is_some()),
        ("XksProxyAuthenticationCredential", members.authentication_credential.is_some()),
        ("XksProxyConnectivity", members.connectivity.is_some()),
    ];
    named.into_iter().find(|(_, present)| *present).map(|(member, _)| member)
}

/// The proxy of a new store.
pub(super) fn new_proxy(request: &CreateCustomKeyStoreRequest) -> Result<ProxyConfig, KmsError> {
    const TYPE: CustomKeyStoreType = CustomKeyStoreType::ExternalKeyStore;
    if request.cloud_hsm_cluster_id.is_some() {
        return Err(foreign("CloudHsmClusterId", TYPE));
    }
    if request.key_store_password.is_some() || request.token.is_some() {
        return Err(foreign("KeyStorePassword", TYPE));
    }
    let members = &request.xks_proxy;
    let connectivity = members.connectivity.ok_or_else(|| missing("XksProxyConnectivity", TYPE))?;
    check_connectivity(Some(connectivity), members)?;
    Ok(ProxyConfig {
        connectivity,
        uri_endpoint: members.uri_endpoint.clone().ok_or_else(|| missing("XksProxyUriEndpoint", TYPE))?,
        uri_path: members.uri_path.clone().ok_or_else(|| missing("XksProxyUriPath", TYPE))?,
        credential: members
            .authentication_credential
            .clone()
            .ok_or_else(|| missing("XksProxyAuthenticationCredential", TYPE))?,
        trust_anchor_certificate: request.trust_anchor_certificate.clone(),
        budget_millis: members.budget_millis,
    })
}

/// There are no VPC endpoint services here.
fn check_connectivity(
    connectivity: Option<XksProxyConnectivity>,
    members: &XksProxyMembers,
) -> Result<(), KmsError> {
    let named = members.vpc_endpoint_service_name.is_some() || members.vpc_endpoint_service_owner.is_some();
    match connectivity {
        Some(XksProxyConnectivity::VpcEndpointService) => Err(KmsError::XksProxyVpcEndpointServiceNotFound(
            "The VPC endpoint service does not exist: this service has none.".into(),
        )),
        _ if named => Err(KmsError::Validation(
            "The members of a VPC endpoint service are valid only for XksProxyConnectivity VPC_ENDPOINT_SERVICE.".into(),
        )),
        _ => Ok(()),
    }
}

/// What a store connects to after a change.
pub(super) fn updated_config(
    config: &KeyStoreConfig,
    request: &UpdateCustomKeyStoreRequest,
) -> Result<KeyStoreConfig, KmsError> {
    match config {
        KeyStoreConfig::Token(token) => updated_token(token, request).map(KeyStoreConfig::Token),
        KeyStoreConfig::Proxy(proxy) => updated_proxy(proxy, request).map(KeyStoreConfig::Proxy),
    }
}

fn updated_token(old: &TokenConfig, request: &UpdateCustomKeyStoreRequest) -> Result<TokenConfig, KmsError> {
    if let Some(member) = named_proxy_member(&request.xks_proxy) {
        return Err(foreign(member, CustomKeyStoreType::AwsCloudHsm));
    }
    if request.cloud_hsm_cluster_id.is_some() && request.cloud_hsm_cluster_id != old.cluster_id {
        return Err(KmsError::CloudHsmClusterNotRelated(
            "The cluster is another one than that of the custom key store.".into(),
        ));
    }
    let mut token = old.clone();
    if let Some(pin) = &request.pin {
        token.pin.clone_from(pin);
    }
    if let Some(password) = &request.key_store_password {
        token.pin = PinSource::Sealed(password.clone());
    }
    Ok(token)
}

fn updated_proxy(old: &ProxyConfig, request: &UpdateCustomKeyStoreRequest) -> Result<ProxyConfig, KmsError> {
    const TYPE: CustomKeyStoreType = CustomKeyStoreType::ExternalKeyStore;
    if request.cloud_hsm_cluster_id.is_some() {
        return Err(foreign("CloudHsmClusterId", TYPE));
    }
    if request.key_store_password.is_some() || request.pin.is_some() {
        return Err(foreign("KeyStorePassword", TYPE));
    }
    let members = &request.xks_proxy;
    check_connectivity(members.connectivity, members)?;
    let mut proxy = old.clone();
    if let Some(endpoint) = &members.uri_endpoint {
        proxy.uri_endpoint.clone_from(endpoint);
    }
    if let Some(path) = &members.uri_path {
        proxy.uri_path.clone_from(path);
    }
    if members.budget_millis.is_some() {
        proxy.budget_millis = members.budget_millis;
    }
    if let Some(credential) = &members.authentication_credential {
        proxy.credential.clone_from(credential);
    }
    Ok(proxy)
}
