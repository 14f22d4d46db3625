//! Custom key stores.

use super::*;
use crate::error::KmsError;
use crate::wire::input::Input;

const NAME: Kind = text(1, 256);
const ID: Kind = text(1, 64);
const ONLY_STORE: &[Member] = &[required("CustomKeyStoreId", ID)];

const fn pattern(
    min: usize,
    max: usize,
    text: &'static str,
    matches: fn(&str) -> bool,
    secret: bool,
) -> Kind {
    Kind::Text { min, max, pattern: Some(Pattern { text, matches }), secret }
}

const CLUSTER_ID: Kind = pattern(
    19,
    24,
    "cluster-[2-7a-zA-Z]{11,16}",
    |text| {
        let digits = text.strip_prefix("cluster-").unwrap_or_default();
        let legal = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'2'..=b'7');
        (11..=16).contains(&digits.len()) && digits.bytes().all(legal)
    },
    false,
);
const PASSWORD: Kind = Kind::Text { min: 7, max: 32, pattern: None, secret: true };
const URI_ENDPOINT: Kind = pattern(
    10,
    128,
    "^https://[a-zA-Z0-9.-]+$",
    |text| {
        let host = text.strip_prefix("https://").unwrap_or_default();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        !host.is_empty() && host.bytes().all(legal)
    },
    false,
);
const URI_PATH: Kind =
    pattern(10, 128, "^(/[a-zA-Z0-9\\/_-]+/kms/xks/v\\d{1,2})$|^(/kms/xks/v\\d{1,2})$", is_proxy_path, false);
const SERVICE_NAME: Kind = pattern(
    20,
    64,
    "^(com|eu)\\.amazonaws\\.vpce\\.([a-z]+-){2,3}\\d+\\.vpce-svc-[0-9a-z]+$",
    is_endpoint_service,
    false,
);
const ACCOUNT: Kind = pattern(
    12,
    12,
    "[0-9]{12}",
    |text| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()),
    false,
);
const CREDENTIAL: Kind = Kind::Structure(&[
    required(
        "AccessKeyId",
        pattern(
            20,
            30,
            "^[A-Z2-7]+$",
            |text| text.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')),
            true,
        ),
    ),
    required(
        "RawSecretAccessKey",
        pattern(
            43,
            64,
            "^[a-zA-Z0-9\\/+=]+$",
            |text| {
                text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'='))
            },
            true,
        ),
    ),
]);
const CONNECTIVITY: Kind = Kind::Name(XksProxyConnectivity::names);

/// Whether a text is the path of a proxy's API.
fn is_proxy_path(text: &str) -> bool {
    let Some((prefix, version)) = text.rsplit_once("/kms/xks/v") else { return false };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-');
    let prefixed = prefix.is_empty() || (prefix.len() > 1 && prefix.starts_with('/'));
    let numbered = matches!(version.len(), 1..=2) && version.bytes().all(|byte| byte.is_ascii_digit());
    prefixed && prefix.bytes().all(legal) && numbered
}

/// Whether a text is the name of an Amazon VPC endpoint service.
fn is_endpoint_service(text: &str) -> bool {
    let name = text.strip_prefix("com.").or_else(|| text.strip_prefix("eu.")).unwrap_or_default();
    let Some((region, service)) =
        name.strip_prefix("amazonaws.vpce.").and_then(|rest| rest.split_once(".vpce-svc-"))
    else {
        return false;
    };
    let Some((words, number)) = region.rsplit_once('-') else { return false };
    let lower = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let word_count = words.split('-').count();
    (2..=3).contains(&word_count)
        && words.split('-').all(lower)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !service.is_empty()
        && service.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

const PROXY: [Member; 6] = [
    optional("XksProxyUriEndpoint", URI_ENDPOINT),
    optional("XksProxyUriPath", URI_PATH),
    optional("XksProxyVpcEndpointServiceName", SERVICE_NAME),
    optional("XksProxyVpcEndpointServiceOwner", ACCOUNT),
    optional("XksProxyAuthenticationCredential", CREDENTIAL),
    optional("XksProxyConnectivity", CONNECTIVITY),
];

/// The members about a proxy.
fn proxy(input: &Input<'_>) -> Result<XksProxyMembers, KmsError> {
    Ok(XksProxyMembers {
        uri_endpoint: input.get("XksProxyUriEndpoint")?,
        uri_path: input.get("XksProxyUriPath")?,
        vpc_endpoint_service_name: input.get("XksProxyVpcEndpointServiceName")?,
        vpc_endpoint_service_owner: input.get("XksProxyVpcEndpointServiceOwner")?,
        authentication_credential: input.get("XksProxyAuthenticationCredential")?,
        connectivity: input.get("XksProxyConnectivity")?,
        budget_millis: None,
    })
}

fn only_store(input: &Input<'_>) -> Result<CustomKeyStoreOnlyRequest, KmsError> {
    Ok(CustomKeyStoreOnlyRequest { custom_key_store_id: input.get("CustomKeyStoreId")? })
}

pub(super) const ALL: &[Operation] = &[
    Operation {
        name: "CreateCustomKeyStore",
        input: &[
            required("CustomKeyStoreName", NAME),
            optional("CloudHsmClusterId", CLUSTER_ID),
            optional("TrustAnchorCertificate", text(1, 5000)),
            optional("KeyStorePassword", PASSWORD),
            optional("CustomKeyStoreType", Kind::Name(CustomKeyStoreType::names)),
            PROXY[0],
            PROXY[1],
            PROXY[2],
            PROXY[3],
            PROXY[4],
            PROXY[5],
        ],
        run: |service, caller, input| {
            let request = CreateCustomKeyStoreRequest {
                custom_key_store_name: input.get("CustomKeyStoreName")?,
                custom_key_store_type: input.get("CustomKeyStoreType")?,
                cloud_hsm_cluster_id: input.get("CloudHsmClusterId")?,
                trust_anchor_certificate: input.get("TrustAnchorCertificate")?,
                key_store_password: input.get("KeyStorePassword")?,
                token: None,
                xks_proxy: proxy(input)?,
            };
            let made = service.create_custom_key_store(caller, &request)?;
            Ok(Answer::new().text("CustomKeyStoreId", made.custom_key_store_id))
        },
    },
    Operation {
        name: "DescribeCustomKeyStores",
        input: &[optional("CustomKeyStoreId", ID), optional("CustomKeyStoreName", NAME), LIMIT, MARKER],
        run: |service, caller, input| {
            let request = DescribeCustomKeyStoresRequest {
                custom_key_store_id: input.get("CustomKeyStoreId")?,
                custom_key_store_name: input.get("CustomKeyStoreName")?,
                page: input.page()?,
            };
            let found = service.describe_custom_key_stores(caller, &request)?;
            let stores = found.custom_key_stores.iter().map(entry);
            Ok(Answer::new().objects("CustomKeyStores", stores).next_page(found.next_marker.as_ref()))
        },
    },
    Operation {
        name: "UpdateCustomKeyStore",
        input: &[
            required("CustomKeyStoreId", ID),
            optional("NewCustomKeyStoreName", NAME),
            optional("KeyStorePassword", PASSWORD),
            optional("CloudHsmClusterId", CLUSTER_ID),
            PROXY[0],
            PROXY[1],
            PROXY[2],
            PROXY[3],
            PROXY[4],
            PROXY[5],
        ],
        run: |service, caller, input| {
            let request = UpdateCustomKeyStoreRequest {
                custom_key_store_id: input.get("CustomKeyStoreId")?,
                new_custom_key_store_name: input.get("NewCustomKeyStoreName")?,
                key_store_password: input.get("KeyStorePassword")?,
                cloud_hsm_cluster_id: input.get("CloudHsmClusterId")?,
                pin: None,
                xks_proxy: proxy(input)?,
            };
            service.update_custom_key_store(caller, &request).map(nothing)
        },
    },
    Operation {
        name: "DeleteCustomKeyStore",
        input: ONLY_STORE,
        run: |service, caller, input| {
            service.delete_custom_key_store(caller, &only_store(input)?).map(nothing)
        },
    },
    Operation {
        name: "ConnectCustomKeyStore",
        input: ONLY_STORE,
        run: |service, caller, input| {
            service.connect_custom_key_store(caller, &only_store(input)?).map(nothing)
        },
    },
    Operation {
        name: "DisconnectCustomKeyStore",
        input: ONLY_STORE,
        run: |service, caller, input| {
            service.disconnect_custom_key_store(caller, &only_store(input)?).map(nothing)
        },
    },
];

/// The shape `CustomKeyStoresListEntry`.
fn entry(store: &CustomKeyStoresListEntry) -> Answer {
    let answer = Answer::new()
        .text("CustomKeyStoreId", &store.custom_key_store_id)
        .text("CustomKeyStoreName", &store.custom_key_store_name)
        .text_if("CloudHsmClusterId", store.cloud_hsm_cluster_id.as_ref())
        .text_if("TrustAnchorCertificate", store.trust_anchor_certificate.as_ref())
        .text("ConnectionState", store.connection_state)
        .text_if("ConnectionErrorCode", store.connection_error_code)
        .time("CreationDate", store.creation_date)
        .text("CustomKeyStoreType", store.custom_key_store_type);
    match &store.xks_proxy_configuration {
        Some(proxy) => answer.object(
            "XksProxyConfiguration",
            Answer::new()
                .text("Connectivity", proxy.connectivity)
                .text("AccessKeyId", &proxy.access_key_id)
                .text("UriEndpoint", &proxy.uri_endpoint)
                .text("UriPath", &proxy.uri_path),
        ),
        None => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_proxies_are_those_of_the_api() {
        for path in ["/kms/xks/v1", "/a/kms/xks/v12", "/a-b_c/d/kms/xks/v1", "/kms/xks/v1/kms/xks/v1"] {
            assert!(is_proxy_path(path), "{path}");
        }
        for path in
            ["kms/xks/v1", "/kms/xks/v", "/kms/xks/v123", "/kms/xks/vx", "/a.b/kms/xks/v1", "//kms/xks", "/"]
        {
            assert!(!is_proxy_path(path), "{path}");
        }
        for name in ["com.amazonaws.vpce.us-east-1.vpce-svc-0a", "eu.amazonaws.vpce.us-gov-east-1.vpce-svc-a"]
        {
            assert!(is_endpoint_service(name), "{name}");
        }
        for name in ["com.amazonaws.vpce.us-1.vpce-svc-0a", "com.amazonaws.vpce.us-east-1.vpce-svc-", "a", ""]
        {
            assert!(!is_endpoint_service(name), "{name}");
        }
    }
}
