//! What custom key stores connect to in tests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kms_core::KmsError;
use kms_core::custody::{
    Capabilities, ConnectFailure, CustodyError, KeyCustody, KeyStoreProvider, KeyUser, NewMaterial,
    OpenMaterial,
};
use kms_core::model::*;

/// A backend that holds keys in memory and does what the test wants.
#[derive(Default)]
pub(crate) struct Backend {
    pub(crate) keys: Mutex<BTreeMap<Vec<u8>, KeyId>>,
    pub(crate) refuse: Mutex<Option<ConnectionErrorCode>>,
    pub(crate) connects: AtomicUsize,
    pub(crate) users: Mutex<Vec<String>>,
}

/// Connects to it.
pub(crate) struct Provider(pub(crate) Arc<Backend>);
struct Held(Arc<Backend>);
struct Material(Arc<Backend>, Vec<u8>);

impl KeyStoreProvider for Provider {
    fn check(&self, config: &KeyStoreConfig, _: &'static str) -> Result<KeyStoreConfig, KmsError> {
        let mut config = config.clone();
        if let KeyStoreConfig::Token(token) = &mut config {
            let label = token.label.clone().unwrap_or_default();
            token.cluster_id = Some(format!("cluster-{label:a>11}"));
        }
        Ok(config)
    }

    fn connect(
        &self,
        store: &CustomKeyStoreId,
        _: &KeyStoreConfig,
    ) -> Result<Arc<dyn KeyCustody>, ConnectFailure> {
        self.0.connects.fetch_add(1, Ordering::SeqCst);
        match *self.0.refuse.lock().unwrap() {
            Some(code) => Err(ConnectFailure {
                store: store.clone(),
                code,
                reason: "the test wants it".into(),
                is_final: true,
            }),
            None => Ok(Arc::new(Held(Arc::clone(&self.0)))),
        }
    }
}

impl Held {
    fn take(&self, key_id: &KeyId, handle: Vec<u8>) -> NewMaterial {
        self.0.keys.lock().unwrap().insert(handle.clone(), *key_id);
        let mut id = [0; 32];
        id[..17].copy_from_slice(&key_id.to_bytes());
        NewMaterial { material_id: MaterialId::from_bytes(id), handle }
    }
}

impl KeyCustody for Held {
    fn capabilities(&self) -> Capabilities {
        Capabilities { generates: true, imports: false, rotates: false }
    }

    fn blob_kind(&self) -> u8 {
        2
    }

    fn generate(&self, key_id: &KeyId, _: KeySpec) -> Result<NewMaterial, CustodyError> {
        Ok(self.take(key_id, key_id.to_bytes().to_vec()))
    }

    fn import(&self, _: &KeyId, _: KeySpec, _: &Plaintext) -> Result<NewMaterial, CustodyError> {
        Err(CustodyError::Unsupported("import"))
    }

    fn adopt(&self, key_id: &KeyId, external: &str, user: &KeyUser<'_>) -> Result<NewMaterial, KmsError> {
        self.0.users.lock().unwrap().push(format!("{} {}", user.operation, user.principal));
        Ok(self.take(key_id, external.as_bytes().to_vec()))
    }

    fn random(&self, len: usize) -> Result<Plaintext, CustodyError> {
        Ok(Plaintext::new(vec![7; len]))
    }

    fn open(
        &self,
        _: &KeyId,
        _: KeySpec,
        _: &MaterialId,
        handle: &[u8],
    ) -> Result<Arc<dyn OpenMaterial>, CustodyError> {
        Ok(Arc::new(Material(Arc::clone(&self.0), handle.to_vec())))
    }

    fn destroy(&self, _: &KeyId, _: &MaterialId, handle: &[u8]) -> Result<(), CustodyError> {
        self.0.keys.lock().unwrap().remove(handle);
        Ok(())
    }
}

impl OpenMaterial for Material {
    fn encrypt_for(&self, user: &KeyUser<'_>, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        assert!(self.0.keys.lock().unwrap().contains_key(&self.1));
        self.0.users.lock().unwrap().push(format!("{} {}", user.operation, user.principal));
        Ok([&[u8::try_from(aad.len() % 251).unwrap()], plaintext].concat())
    }

    fn decrypt_for(&self, user: &KeyUser<'_>, aad: &[u8], body: &[u8]) -> Result<Plaintext, CustodyError> {
        self.0.users.lock().unwrap().push(format!("{} {}", user.operation, user.principal));
        match body.split_first() {
            Some((len, plaintext)) if usize::from(*len) == aad.len() % 251 => {
                Ok(Plaintext::copy_of(plaintext))
            }
            _ => Err(CustodyError::Unauthentic),
        }
    }
}
