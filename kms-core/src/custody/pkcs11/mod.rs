//! Keys in a PKCS#11 token: the custom key stores of type `AWS_CLOUDHSM`.
//!
//! A key is an AES-256 object that the token has made: sensitive, not extractable, under a random `CKA_ID`. Every
//! encryption and decryption happens in the token. The handle of a material is that id; its body in a blob is described
//! in [`cipher`].
//!
//! The standard leaves much open, and tokens differ. What holds here:
//! - A capability is believed after a trial, not from the list of mechanisms. A token without AES-GCM is refused when it
//!   is connected.
//! - One session stays open and logged in, because the login of a process ends with its last session. The others come
//!   from a pool of bounded size, so that a token that hangs holds a bounded number of threads.
//! - A token that went away and came back is found again by its serial number, without a restart ([`token`]).
//! - A PIN that the token refuses is not tried again.

mod cipher;
mod faults;
mod module;
mod pin;
mod token;

use std::sync::Arc;

use aws_lc_rs::digest;
use cryptoki::object::{Attribute, KeyType, ObjectClass};

use self::module::Module;
use self::token::Token;
use super::{
    Capabilities, ConnectFailure, CustodyError, KeyCustody, KeyStoreProvider, NewMaterial, OpenMaterial,
    TOKEN_BLOB_KIND,
};
use crate::error::KmsError;
use crate::model::{CustomKeyStoreId, KeyId, KeySpec, KeyStoreConfig, MaterialId, Plaintext, TokenConfig};
use crate::seal::fill_random;

/// The length of a `CKA_ID`.
const ID_LEN: usize = 16;

/// Connects tokens.
#[derive(Debug, Default)]
pub struct Pkcs11Provider;

impl Pkcs11Provider {
    /// A provider. The modules that it loads stay loaded until the process ends.
    pub fn new() -> Self {
        Self
    }
}

impl KeyStoreProvider for Pkcs11Provider {
    fn check(&self, config: &KeyStoreConfig, _: &'static str) -> Result<KeyStoreConfig, KmsError> {
        let KeyStoreConfig::Token(config) = config else { return Err(not_a_token()) };
        let found = token::find(&*Module::open(&config.module)?, config)?;
        let cluster_id = Some(cluster_id(config, &found));
        Ok(KeyStoreConfig::Token(TokenConfig {
            serial: found.serial,
            label: found.label,
            cluster_id,
            ..config.clone()
        }))
    }

    fn connect(
        &self,
        store: &CustomKeyStoreId,
        config: &KeyStoreConfig,
    ) -> Result<Arc<dyn KeyCustody>, ConnectFailure> {
        let KeyStoreConfig::Token(config) = config else {
            return Err(token::failure(store, &not_a_token().into()));
        };
        Ok(Arc::new(Pkcs11Custody { token: Token::connect(store, config)? }))
    }
}

fn not_a_token() -> KmsError {
    KmsError::Internal("the custom key store is not one of a token".into())
}

/// What stands for the token where AWS has the id of a cluster: the same token gives the same id on every host.
fn cluster_id(config: &TokenConfig, found: &token::Found) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [found.serial.as_deref(), found.label.as_deref()] {
        let part = part.unwrap_or_default();
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    if found.serial.is_none() {
        // A token that tells nothing about itself is known by where it is.
        context.update(config.module.as_os_str().as_encoded_bytes());
        context.update(&config.slot.unwrap_or(u64::MAX).to_le_bytes());
    }
    let hash = context.finish();
    let digits = hash.as_ref().iter().take(11).map(|byte| char::from(DIGITS[usize::from(byte & 31)]));
    std::iter::once("cluster-".to_owned()).chain(digits.map(String::from)).collect()
}

/// The keys in one token.
struct Pkcs11Custody {
    token: Arc<Token>,
}

/// What finds a key in the token.
fn search(id: &[u8]) -> [Attribute; 3] {
    [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::KeyType(KeyType::AES), Attribute::Id(id.to_vec())]
}

/// What a key is made of. `stays` is false for one that is gone with its session.
fn template(id: &[u8], label: &str, stays: bool) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(32.into()),
        Attribute::Token(stays),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Id(id.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
    ]
}

impl KeyCustody for Pkcs11Custody {
    fn capabilities(&self) -> Capabilities {
        Capabilities { generates: true, imports: false, rotates: false }
    }

    fn blob_kind(&self) -> u8 {
        TOKEN_BLOB_KIND
    }

    fn generate(&self, key_id: &KeyId, spec: KeySpec) -> Result<NewMaterial, CustodyError> {
        if !self.holds(spec) {
            return Err(CustodyError::Unsupported("keys of this spec"));
        }
        let mut id = [0; ID_LEN];
        fill_random(&mut id).map_err(|_| CustodyError::Internal)?;
        self.token.generate(&template(&id, &format!("kmsfs {key_id}"), true), &id)?;
        Ok(NewMaterial { material_id: material_id(key_id, &id), handle: id.to_vec() })
    }

    fn import(&self, _: &KeyId, _: KeySpec, _: &Plaintext) -> Result<NewMaterial, CustodyError> {
        Err(CustodyError::Unsupported("import"))
    }

    fn random(&self, len: usize) -> Result<Plaintext, CustodyError> {
        self.token.random(len)
    }

    fn open(
        &self,
        key_id: &KeyId,
        _: KeySpec,
        material: &MaterialId,
        handle: &[u8],
    ) -> Result<Arc<dyn OpenMaterial>, CustodyError> {
        let corrupt = || CustodyError::CorruptHandle { key_id: *key_id, material_id: *material };
        let id: [u8; ID_LEN] = handle.try_into().map_err(|_| corrupt())?;
        if material_id(key_id, &id) != *material {
            return Err(corrupt());
        }
        Ok(Arc::new(TokenMaterial { token: Arc::clone(&self.token), id }))
    }

    fn destroy(&self, _: &KeyId, _: &MaterialId, handle: &[u8]) -> Result<(), CustodyError> {
        self.token.destroy(handle)
    }
}

/// A hash of the key id and of what the token knows the key by. Nobody can compute it from the key, nor the key from it.
fn material_id(key_id: &KeyId, id: &[u8; ID_LEN]) -> MaterialId {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"kms-core token material id v1");
    context.update(&key_id.to_bytes());
    context.update(id);
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    MaterialId::from_bytes(out)
}

/// A key in the token.
struct TokenMaterial {
    token: Arc<Token>,
    id: [u8; ID_LEN],
}

impl OpenMaterial for TokenMaterial {
    fn encrypt(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        self.token.encrypt(&self.id, aad, plaintext)
    }

    fn decrypt(&self, aad: &[u8], body: &[u8]) -> Result<Plaintext, CustodyError> {
        self.token.decrypt(&self.id, aad, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PinSource;

    #[test]
    fn the_id_of_a_token_is_one_of_a_cluster_and_its_own() {
        let config = TokenConfig {
            module: "/m.so".into(),
            label: None,
            serial: None,
            slot: Some(1),
            pin: PinSource::Environment("PIN".into()),
            trust_anchor_certificate: None,
            cluster_id: None,
        };
        let found = |serial: Option<&str>, label: &str| token::Found {
            serial: serial.map(str::to_owned),
            label: Some(label.to_owned()),
        };
        let ids = [
            cluster_id(&config, &found(Some("1"), "a")),
            cluster_id(&config, &found(Some("2"), "a")),
            cluster_id(&config, &found(None, "a")),
            cluster_id(&TokenConfig { slot: Some(2), ..config.clone() }, &found(None, "a")),
        ];
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(id.len(), "cluster-".len() + 11);
            assert!(id.bytes().skip(8).all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')));
            assert!(!ids[..number].contains(id));
        }
    }

    #[test]
    fn a_material_id_is_bound_to_its_key() {
        let id = [7; ID_LEN];
        assert_ne!(material_id(&KeyId::generate(), &id), material_id(&KeyId::generate(), &id));
    }
}
