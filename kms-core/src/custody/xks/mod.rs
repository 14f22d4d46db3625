//! Keys in an external key manager, behind a proxy: the custom key stores of type `EXTERNAL_KEY_STORE`.
//!
//! **Double encryption.** A KMS key has material of its own, sealed under the root key like all material of the software
//! custody, and an external key that never comes here. A plaintext is encrypted under the own material, and the result
//! under the external key. Neither opens it alone: the manager never sees a plaintext, and this service cannot decrypt
//! without the manager.
//!
//! The body of a blob:
//! ```text
//! format (1): 1 | m (1): at most 20 | metadata (m) | i (1): 12 or 16 | IV (i) | tag (16) | ciphertext | MAC (32)
//! ```
//! The MAC is HMAC-SHA256 under a key derived from the own material, over `len(aad) | aad` and everything before it. So
//! a blob that is damaged, or presented with another context, is found out here with certainty, and what the manager
//! refuses after that is a matter of the manager. The proxy authenticates the SHA-256 of `aad`, which has the same length
//! always.

mod client;
mod refusals;
mod wire;

use std::sync::Arc;

use aws_lc_rs::{digest, hkdf, hmac};
use zeroize::Zeroizing;

use self::client::{ProxyClient, ProxyError};
use self::wire::{Base64, HealthStatus, RequestMetadata};
use super::{
    Capabilities, ConnectFailure, CustodyError, EXTERNAL_BLOB_KIND, KeyCustody, KeyStoreProvider, KeyUser,
    NewMaterial, OpenMaterial,
};
use crate::error::KmsError;
use crate::model::{CustomKeyStoreId, KeyId, KeySpec, KeyStoreConfig, MaterialId, Plaintext, Region};
use crate::seal::{Sealer, derived, fill_random};

const FORMAT: u8 = 1;
const MATERIAL_LEN: usize = 32;
const TAG_LEN: usize = 16;
const MAC_LEN: usize = 32;
const MAX_METADATA_LEN: usize = 20;
/// The longest name of an external key.
const MAX_NAME_LEN: usize = 128;
const ALGORITHM: &str = "AES_GCM";
const INTEGRITY_ALGORITHM: &str = "SHA_256";

/// Connects external key stores.
#[derive(Debug)]
pub struct XksProvider {
    sealer: Arc<Sealer>,
    region: Region,
}

impl XksProvider {
    /// A provider that seals the own material of keys with `sealer`, and signs as coming from `region`.
    pub fn new(sealer: Arc<Sealer>, region: Region) -> Self {
        Self { sealer, region }
    }

    fn client(&self, config: &KeyStoreConfig) -> Result<ProxyClient, ProxyError> {
        match config {
            KeyStoreConfig::Proxy(config) => ProxyClient::new(config, self.region.as_str()),
            KeyStoreConfig::Token(_) => Err(ProxyError::Configuration("it is one of a token")),
        }
    }
}

impl KeyStoreProvider for XksProvider {
    fn check(&self, config: &KeyStoreConfig, operation: &'static str) -> Result<KeyStoreConfig, KmsError> {
        let client = self.client(config).map_err(|error| refusals::of_store(&error))?;
        check_health(&client, operation).map_err(|error| refusals::of_store(&error))?;
        Ok(config.clone())
    }

    fn connect(
        &self,
        store: &CustomKeyStoreId,
        config: &KeyStoreConfig,
    ) -> Result<Arc<dyn KeyCustody>, ConnectFailure> {
        let failed = |error: ProxyError| ConnectFailure {
            store: store.clone(),
            code: refusals::code(&error),
            reason: error.to_string(),
            is_final: false,
        };
        let client = self.client(config).map_err(failed)?;
        check_health(&client, "ConnectCustomKeyStore").map_err(failed)?;
        Ok(Arc::new(XksCustody {
            link: Arc::new(Link { client, store: store.clone() }),
            sealer: Arc::clone(&self.sealer),
        }))
    }
}

/// Whether the proxy answers, and its key manager works.
fn check_health(client: &ProxyClient, operation: &'static str) -> Result<(), ProxyError> {
    let metadata = RequestMetadata {
        aws_principal_arn: None,
        kms_key_arn: None,
        kms_operation: operation,
        kms_request_id: request_id(),
        kms_via_service: None,
    };
    let request = json(&wire::PlainRequest { request_metadata: metadata }, 0)?;
    let answer: wire::HealthAnswer = client.post("/health", &request)?;
    let fleet = &answer.ekm_fleet_details;
    if answer.xks_proxy_fleet_size == 0 || fleet.is_empty() || fleet.len() > 10 {
        return Err(ProxyError::Malformed("the size of its fleet"));
    }
    if fleet.iter().all(|one| one.health_status == HealthStatus::Unavailable) {
        return Err(ProxyError::Unreachable("its key manager is unavailable".to_owned()));
    }
    Ok(())
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A document, in a buffer that is large enough from the start: it may hold a plaintext.
fn json(document: &impl serde::Serialize, payload_len: usize) -> Result<Zeroizing<Vec<u8>>, ProxyError> {
    let mut out = Zeroizing::new(Vec::with_capacity(16 * 1024 + 2 * payload_len));
    serde_json::to_writer(&mut *out, document).map_err(|_| ProxyError::Configuration("no document"))?;
    Ok(out)
}

/// A proxy, and the store that it belongs to.
struct Link {
    client: ProxyClient,
    store: CustomKeyStoreId,
}

impl Link {
    /// What an operation with a key failed for.
    fn failed(&self, error: &ProxyError) -> CustodyError {
        tracing::warn!(store = %self.store, %error, "an external key store proxy failed");
        refusals::of_use(error)
    }

    fn metadata<'a>(user: &KeyUser<'a>) -> RequestMetadata<'a> {
        RequestMetadata {
            aws_principal_arn: Some(user.principal),
            kms_key_arn: Some(user.key_arn),
            kms_operation: user.operation,
            kms_request_id: user.request_id.map_or_else(request_id, |id| id.uuid().to_string()),
            kms_via_service: user.via_service,
        }
    }
}

/// The keys of one external key store.
struct XksCustody {
    link: Arc<Link>,
    sealer: Arc<Sealer>,
}

impl XksCustody {
    /// Asks whether a key is one that KMS keys can go with.
    fn check_key(&self, external: &str, user: &KeyUser<'_>) -> Result<(), KmsError> {
        let refused = |error: &ProxyError| {
            tracing::warn!(store = %self.link.store, external, %error, "an external key cannot be used");
            refusals::of_new_key(error)
        };
        // The ARN of a key that is not there yet is not told.
        let metadata = RequestMetadata { kms_key_arn: None, ..Link::metadata(user) };
        let request =
            json(&wire::PlainRequest { request_metadata: metadata }, 0).map_err(|error| refused(&error))?;
        let path = format!("/keys/{external}/metadata");
        let found: wire::KeyMetadataAnswer =
            self.link.client.post(&path, &request).map_err(|error| refused(&error))?;
        let usable = |usage: &str| found.key_usage.iter().any(|own| own == usage);
        match (found.key_spec.as_str(), found.key_status.as_str()) {
            (_, "DISABLED") => Err(refusals::disabled_key()),
            ("AES_256", "ENABLED") if usable("ENCRYPT") && usable("DECRYPT") => Ok(()),
            _ => Err(refusals::unfit_key()),
        }
    }
}

impl KeyCustody for XksCustody {
    fn capabilities(&self) -> Capabilities {
        Capabilities { generates: false, imports: false, rotates: false }
    }

    fn blob_kind(&self) -> u8 {
        EXTERNAL_BLOB_KIND
    }

    fn generate(&self, _: &KeyId, _: KeySpec) -> Result<NewMaterial, CustodyError> {
        Err(CustodyError::Unsupported("keys without an external key"))
    }

    fn import(&self, _: &KeyId, _: KeySpec, _: &Plaintext) -> Result<NewMaterial, CustodyError> {
        Err(CustodyError::Unsupported("import"))
    }

    fn adopt(
        &self,
        key_id: &KeyId,
        external_key_id: &str,
        user: &KeyUser<'_>,
    ) -> Result<NewMaterial, KmsError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let dots = matches!(external_key_id, "." | "..");
        let fits = (1..=MAX_NAME_LEN).contains(&external_key_id.len());
        if !fits || dots || !external_key_id.bytes().all(legal) {
            return Err(KmsError::constraint(
                Some(external_key_id),
                "xksKeyId",
                format_args!("satisfy regular expression pattern: ^[a-zA-Z0-9-_.]+$"),
            ));
        }
        self.check_key(external_key_id, user)?;
        let mut secret = Zeroizing::new([0; MATERIAL_LEN]);
        fill_random(&mut secret[..]).map_err(|_| CustodyError::Internal)?;
        let name = external_key_id.as_bytes();
        let material_id = material_id(key_id, name, &secret);
        let sealed = self
            .sealer
            .seal(&[&key_id.to_bytes(), material_id.as_bytes(), name], &secret[..])
            .map_err(|_| CustodyError::Internal)?;
        let name_len = u8::try_from(name.len()).map_err(|_| CustodyError::Internal)?;
        Ok(NewMaterial { material_id, handle: [&[name_len], name, &sealed].concat() })
    }

    fn open(
        &self,
        key_id: &KeyId,
        _: KeySpec,
        material_id: &MaterialId,
        handle: &[u8],
    ) -> Result<Arc<dyn OpenMaterial>, CustodyError> {
        let corrupt = || CustodyError::CorruptHandle { key_id: *key_id, material_id: *material_id };
        let (name_len, rest) = handle.split_first().ok_or_else(corrupt)?;
        let (name, sealed) = rest.split_at_checked(usize::from(*name_len)).ok_or_else(corrupt)?;
        let place: [&[u8]; 3] = [&key_id.to_bytes(), material_id.as_bytes(), name];
        let opened = self.sealer.open(&place, sealed).map_err(|_| corrupt())?;
        let mut secret = Zeroizing::new([0; MATERIAL_LEN]);
        if opened.len() != MATERIAL_LEN {
            return Err(corrupt());
        }
        secret.copy_from_slice(&opened);
        let external = std::str::from_utf8(name).map_err(|_| corrupt())?.to_owned();
        let mac_key = mac_key(&secret, key_id).ok_or(CustodyError::Internal)?;
        Ok(Arc::new(XksMaterial {
            link: Arc::clone(&self.link),
            key_id: key_id.to_bytes(),
            external,
            secret,
            mac_key,
        }))
    }

    fn destroy(&self, _: &KeyId, _: &MaterialId, _: &[u8]) -> Result<(), CustodyError> {
        // The external key is its manager's; without the own material, which the service erases, it opens nothing.
        Ok(())
    }
}

/// A MAC under the own material, as in the software custody.
fn material_id(key_id: &KeyId, name: &[u8], secret: &[u8; MATERIAL_LEN]) -> MaterialId {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(b"kms-core external material id v1");
    context.update(&key_id.to_bytes());
    context.update(name);
    let mut id = [0; 32];
    id.copy_from_slice(context.sign().as_ref());
    MaterialId::from_bytes(id)
}

fn mac_key(secret: &[u8; MATERIAL_LEN], key_id: &KeyId) -> Option<hmac::Key> {
    let mut bytes = Zeroizing::new([0; 32]);
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, secret)
        .expand(&[b"kms-core external mac v1", &key_id.to_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut bytes[..]))
        .ok()?;
    Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes[..]))
}

/// The own material of a key, and the name of its external key.
struct XksMaterial {
    link: Arc<Link>,
    key_id: [u8; KeyId::BYTES],
    external: String,
    secret: Zeroizing<[u8; MATERIAL_LEN]>,
    mac_key: hmac::Key,
}

/// The outer encryption of a body.
struct Outer<'a> {
    metadata: &'a [u8],
    iv: &'a [u8],
    tag: &'a [u8],
    ciphertext: &'a [u8],
}

impl XksMaterial {
    fn info(&self) -> [&[u8]; 2] {
        [b"kms-core external v1", &self.key_id]
    }

    fn mac_input(aad: &[u8], signed: &[u8]) -> Vec<u8> {
        [&(aad.len() as u64).to_le_bytes()[..], aad, signed].concat()
    }

    /// Takes a body apart after its MAC was found right.
    fn parse<'b>(&self, aad: &[u8], body: &'b [u8]) -> Result<Outer<'b>, CustodyError> {
        let refused = || CustodyError::Unauthentic;
        let signed_len = body.len().checked_sub(MAC_LEN).ok_or_else(refused)?;
        let (signed, mac) = body.split_at(signed_len);
        hmac::verify(&self.mac_key, &Self::mac_input(aad, signed), mac).map_err(|_| refused())?;
        let (format, rest) = signed.split_first().ok_or_else(refused)?;
        let (metadata_len, rest) = rest.split_first().ok_or_else(refused)?;
        let (metadata, rest) = rest.split_at_checked(usize::from(*metadata_len)).ok_or_else(refused)?;
        let (iv_len, rest) = rest.split_first().ok_or_else(refused)?;
        let (iv, rest) = rest.split_at_checked(usize::from(*iv_len)).ok_or_else(refused)?;
        let (tag, ciphertext) = rest.split_at_checked(TAG_LEN).ok_or_else(refused)?;
        if *format != FORMAT {
            return Err(refused());
        }
        Ok(Outer { metadata, iv, tag, ciphertext })
    }

    fn encrypt_at_proxy(
        &self,
        user: &KeyUser<'_>,
        aad_digest: &[u8],
        inner: &[u8],
    ) -> Result<Vec<u8>, ProxyError> {
        let request = wire::EncryptRequest {
            request_metadata: Link::metadata(user),
            additional_authenticated_data: Base64::of(aad_digest),
            plaintext: Base64::of(inner),
            encryption_algorithm: ALGORITHM,
            ciphertext_data_integrity_value_algorithm: INTEGRITY_ALGORITHM,
        };
        let path = format!("/keys/{}/encrypt", self.external);
        let answer: wire::EncryptAnswer = self.link.client.post(&path, &json(&request, inner.len())?)?;
        let metadata = answer.ciphertext_metadata.map(|metadata| metadata.0).unwrap_or_default();
        let (iv, tag) = (&*answer.initialization_vector.0, &*answer.authentication_tag.0);
        let ciphertext = &*answer.ciphertext.0;
        let integrity = [aad_digest, &metadata, iv, ciphertext, tag].concat();
        if digest::digest(&digest::SHA256, &integrity).as_ref()
            != &answer.ciphertext_data_integrity_value.0[..]
        {
            return Err(ProxyError::Malformed("its integrity value"));
        }
        let lengths_fit = metadata.len() <= MAX_METADATA_LEN
            && matches!(iv.len(), 12 | 16)
            && tag.len() == TAG_LEN
            && ciphertext.len() == inner.len();
        if !lengths_fit {
            return Err(ProxyError::Malformed("the length of a part"));
        }
        let len = |part: &[u8]| [u8::try_from(part.len()).unwrap_or_default()];
        Ok([&[FORMAT][..], &len(&metadata), &metadata, &len(iv), iv, tag, ciphertext].concat())
    }

    fn decrypt_at_proxy(
        &self,
        user: &KeyUser<'_>,
        aad_digest: &[u8],
        outer: &Outer<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, ProxyError> {
        let request = wire::DecryptRequest {
            request_metadata: Link::metadata(user),
            additional_authenticated_data: Base64::of(aad_digest),
            ciphertext: Base64::of(outer.ciphertext),
            ciphertext_metadata: (!outer.metadata.is_empty()).then(|| Base64::of(outer.metadata)),
            encryption_algorithm: ALGORITHM,
            initialization_vector: Base64::of(outer.iv),
            authentication_tag: Base64::of(outer.tag),
        };
        let path = format!("/keys/{}/decrypt", self.external);
        let request = json(&request, outer.ciphertext.len())?;
        let answer: wire::DecryptAnswer = self.link.client.post(&path, &request)?;
        Ok(answer.plaintext.0)
    }
}

/// Somebody who uses a material without saying who they are: tests of a custody.
const NOBODY: KeyUser<'static> = KeyUser {
    principal: "AWS Internal",
    via_service: None,
    operation: "Internal",
    key_arn: "-",
    request_id: None,
};

impl OpenMaterial for XksMaterial {
    fn encrypt(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        self.encrypt_for(&NOBODY, aad, plaintext)
    }

    fn decrypt(&self, aad: &[u8], body: &[u8]) -> Result<Plaintext, CustodyError> {
        self.decrypt_for(&NOBODY, aad, body)
    }

    fn encrypt_for(&self, user: &KeyUser<'_>, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        let inner = derived::seal(&self.secret[..], &self.info(), aad, plaintext)
            .map_err(|_| CustodyError::Internal)?;
        let aad_digest = digest::digest(&digest::SHA256, aad);
        let mut body = self
            .encrypt_at_proxy(user, aad_digest.as_ref(), &inner)
            .map_err(|error| self.link.failed(&error))?;
        let mac = hmac::sign(&self.mac_key, &Self::mac_input(aad, &body));
        body.extend_from_slice(mac.as_ref());
        Ok(body)
    }

    fn decrypt_for(&self, user: &KeyUser<'_>, aad: &[u8], body: &[u8]) -> Result<Plaintext, CustodyError> {
        let outer = self.parse(aad, body)?;
        let aad_digest = digest::digest(&digest::SHA256, aad);
        let inner = self
            .decrypt_at_proxy(user, aad_digest.as_ref(), &outer)
            .map_err(|error| self.link.failed(&error))?;
        // The body was ours, so what does not open now is not what the proxy was given to encrypt.
        let mut opened = derived::open(&self.secret[..], &self.info(), aad, &inner)
            .map_err(|_| self.link.failed(&ProxyError::Malformed("its plaintext")))?;
        Ok(Plaintext::new(std::mem::take(&mut *opened)))
    }
}
