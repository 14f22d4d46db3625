//! Who holds key material, behind one trait.
//!
//! A [`KeyCustody`] makes, takes, opens and destroys materials; an [`OpenMaterial`] does with one material what its kind
//! can do: encrypt, authenticate, sign, agree. The service stores an opaque handle for each material and never sees what
//! the handle stands for: sealed bytes for the software custody, an object id for a token, a key name for an external key
//! manager.

mod key_store;
mod pkcs11;
mod software;
mod xks;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use key_store::{ConnectFailure, KeyStoreProvider};
pub use pkcs11::Pkcs11Provider;
pub use software::{DataKeyPair, SoftwareCustody, generate_data_key_pair};
pub use xks::XksProvider;

use crate::error::KmsError;
use crate::model::{
    EncryptionAlgorithm, KeyId, KeySpec, MacAlgorithm, MaterialId, MessageType, Origin, Plaintext, RequestId,
    SigningAlgorithm,
};

/// The byte by which blobs say that a token made them. Part of the stored format, as all of these.
pub const TOKEN_BLOB_KIND: u8 = 2;
/// The same for an external key manager.
pub const EXTERNAL_BLOB_KIND: u8 = 3;

/// Why custody could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustodyError {
    /// The ciphertext, or what it is bound to, is not what was encrypted.
    #[error("the ciphertext is not authentic")]
    Unauthentic,
    /// The handle does not lead to the material.
    #[error("the material {material_id} of key {key_id} cannot be opened: its record is damaged")]
    CorruptHandle {
        /// The key.
        key_id: KeyId,
        /// The material.
        material_id: MaterialId,
    },
    /// Imported material has the wrong length.
    #[error("key material of {found} bytes where {expected} are needed")]
    MaterialLength {
        /// The length that was brought.
        found: usize,
        /// The length that is needed.
        expected: usize,
    },
    /// Imported material is not of the kind that the key has.
    #[error("the key material is not {0}")]
    MaterialInvalid(&'static str),
    /// The public key of a peer is damaged, or is not of the kind that the key has.
    #[error("The public key is not a valid {0} public key.")]
    PeerInvalid(KeySpec),
    /// This custody, or this kind of material, cannot do that at all.
    #[error("this key material does not support {0}")]
    Unsupported(&'static str),
    /// The token or the external key manager cannot be reached now.
    #[error("the key custody is not reachable: {0}")]
    Unavailable(String),
    /// The external key manager did not answer in time.
    #[error("the key custody did not answer in time: {0}")]
    TimedOut(String),
    /// The external key manager has the key, or had it, and does not let it be used. Somebody has to change that there.
    #[error("{0}")]
    Refused(String),
    /// The token has no room for another key.
    #[error("the token has no room for another key: {0}")]
    Full(String),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Internal,
}

impl From<CustodyError> for KmsError {
    fn from(error: CustodyError) -> Self {
        match error {
            CustodyError::Unauthentic => Self::invalid_ciphertext(),
            CustodyError::CorruptHandle { .. } => Self::CorruptRecord(error.to_string()),
            CustodyError::MaterialLength { .. } | CustodyError::MaterialInvalid(_) => {
                Self::IncorrectKeyMaterial(error.to_string())
            }
            CustodyError::PeerInvalid(_) => Self::Validation(error.to_string()),
            CustodyError::Unsupported(_) => Self::UnsupportedOperation(error.to_string()),
            CustodyError::Unavailable(_) => Self::KeyUnavailable(error.to_string()),
            CustodyError::TimedOut(_) => Self::DependencyTimeout(error.to_string()),
            CustodyError::Refused(message) => Self::KmsInvalidState(message),
            CustodyError::Full(_) => Self::LimitExceeded(error.to_string()),
            CustodyError::Internal => Self::Internal(error.to_string()),
        }
    }
}

/// What a custody can do. The service asks before it promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether it makes material itself.
    pub generates: bool,
    /// Whether it takes material that was made elsewhere.
    pub imports: bool,
    /// Whether a key may have more than one material, so that it can rotate.
    pub rotates: bool,
}

/// Who uses a key, and for what: what an external key manager is told.
#[derive(Debug, Clone, Copy)]
pub struct KeyUser<'a> {
    /// The ARN of the principal.
    pub principal: &'a str,
    /// The service that calls for it.
    pub via_service: Option<&'a str>,
    /// The name of the operation.
    pub operation: &'static str,
    /// The ARN of the KMS key.
    pub key_arn: &'a str,
    /// The id of the request in logs, where it has one already.
    pub request_id: Option<RequestId>,
}

/// A material that was made or taken.
#[derive(Debug)]
pub struct NewMaterial {
    /// Its id: a function of the key id and the material.
    pub material_id: MaterialId,
    /// What [`KeyCustody::open`] needs; stored by the service, authenticated but not secret.
    pub handle: Vec<u8>,
}

/// A holder of key materials.
pub trait KeyCustody: Send + Sync {
    /// What this custody can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether it holds material of this spec. Tokens and external key managers hold what encrypts data keys.
    fn holds(&self, spec: KeySpec) -> bool {
        spec == KeySpec::SymmetricDefault
    }

    /// The byte by which ciphertext blobs say that this kind of custody made them. Part of the stored format.
    fn blob_kind(&self) -> u8;

    /// Makes a material for a key.
    fn generate(&self, key_id: &KeyId, spec: KeySpec) -> Result<NewMaterial, CustodyError>;

    /// Takes a material for a key: the bytes of a symmetric or HMAC key, or a private key as a DER `PrivateKeyInfo`.
    fn import(
        &self,
        key_id: &KeyId,
        spec: KeySpec,
        material: &Plaintext,
    ) -> Result<NewMaterial, CustodyError>;

    /// Takes a key of an external key manager as the material of a key, after asking whether it is one that fits.
    fn adopt(
        &self,
        key_id: &KeyId,
        external_key_id: &str,
        user: &KeyUser<'_>,
    ) -> Result<NewMaterial, KmsError> {
        let _ = (key_id, external_key_id, user);
        Err(CustodyError::Unsupported("external keys").into())
    }

    /// Random bytes of its own source.
    fn random(&self, len: usize) -> Result<Plaintext, CustodyError> {
        let _ = len;
        Err(CustodyError::Unsupported("random bytes"))
    }

    /// Opens a material for use. The result is kept by the service until something in its store changes.
    fn open(
        &self,
        key_id: &KeyId,
        spec: KeySpec,
        material_id: &MaterialId,
        handle: &[u8],
    ) -> Result<Arc<dyn OpenMaterial>, CustodyError>;

    /// Destroys a material wherever it is beyond the handle. The service erases the handle.
    fn destroy(&self, key_id: &KeyId, material_id: &MaterialId, handle: &[u8]) -> Result<(), CustodyError>;
}

/// A secret that two parties share, and what tells it to the holder of the private key.
#[derive(Debug)]
pub struct Encapsulated {
    /// The secret.
    pub shared_secret: Plaintext,
    /// The secret under the public key.
    pub ciphertext: Vec<u8>,
}

/// A material ready for use. Dropping it wipes what secret bytes it has.
///
/// Every kind of material does its own part of this and refuses the rest with [`CustodyError::Unsupported`]. The service
/// has checked the key usage and the algorithm before, so that a caller does not meet these refusals.
pub trait OpenMaterial: Send + Sync {
    /// Encrypts `plaintext`, bound to `aad`. The result includes whatever random bytes or nonce it needs.
    fn encrypt(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        let _ = (aad, plaintext);
        Err(CustodyError::Unsupported("symmetric encryption"))
    }

    /// Decrypts what [`Self::encrypt`] made with the same `aad`.
    fn decrypt(&self, aad: &[u8], body: &[u8]) -> Result<Plaintext, CustodyError> {
        let _ = (aad, body);
        Err(CustodyError::Unsupported("symmetric decryption"))
    }

    /// [`Self::encrypt`], and tells the custody who asks.
    fn encrypt_for(&self, user: &KeyUser<'_>, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        let _ = user;
        self.encrypt(aad, plaintext)
    }

    /// [`Self::decrypt`], and tells the custody who asks.
    fn decrypt_for(&self, user: &KeyUser<'_>, aad: &[u8], body: &[u8]) -> Result<Plaintext, CustodyError> {
        let _ = user;
        self.decrypt(aad, body)
    }

    /// Makes a message authentication code.
    fn generate_mac(&self, algorithm: MacAlgorithm, message: &[u8]) -> Result<Vec<u8>, CustodyError> {
        let _ = (algorithm, message);
        Err(CustodyError::Unsupported("message authentication"))
    }

    /// Whether a message authentication code is that of the message, found out in constant time.
    fn verify_mac(&self, algorithm: MacAlgorithm, message: &[u8], mac: &[u8]) -> Result<bool, CustodyError> {
        let _ = (algorithm, message, mac);
        Err(CustodyError::Unsupported("message authentication"))
    }

    /// The public key as a DER `SubjectPublicKeyInfo`.
    fn public_key(&self) -> Result<Vec<u8>, CustodyError> {
        Err(CustodyError::Unsupported("a public key"))
    }

    /// Signs a message, or what `kind` says that it is. A digest has the length that the algorithm wants.
    fn sign(
        &self,
        algorithm: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
    ) -> Result<Vec<u8>, CustodyError> {
        let _ = (algorithm, kind, message);
        Err(CustodyError::Unsupported("signatures"))
    }

    /// Whether a signature is one of the message by this key.
    fn verify(
        &self,
        algorithm: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, CustodyError> {
        let _ = (algorithm, kind, message, signature);
        Err(CustodyError::Unsupported("signatures"))
    }

    /// Encrypts under the public key.
    fn encrypt_to_public(
        &self,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CustodyError> {
        let _ = (algorithm, plaintext);
        Err(CustodyError::Unsupported("public key encryption"))
    }

    /// Decrypts what was encrypted under the public key, here or elsewhere.
    fn decrypt_with_private(
        &self,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
    ) -> Result<Plaintext, CustodyError> {
        let _ = (algorithm, ciphertext);
        Err(CustodyError::Unsupported("public key encryption"))
    }

    /// The secret shared with the holder of `peer`, a DER `SubjectPublicKeyInfo`.
    fn derive_shared_secret(&self, peer: &[u8]) -> Result<Plaintext, CustodyError> {
        let _ = peer;
        Err(CustodyError::Unsupported("key agreement"))
    }

    /// Makes a shared secret and encapsulates it under the public key.
    fn encapsulate(&self) -> Result<Encapsulated, CustodyError> {
        Err(CustodyError::Unsupported("key encapsulation"))
    }

    /// Opens an encapsulated secret. [`CustodyError::Unauthentic`] only for a ciphertext of a wrong length.
    fn decapsulate(&self, ciphertext: &[u8]) -> Result<Plaintext, CustodyError> {
        let _ = ciphertext;
        Err(CustodyError::Unsupported("key encapsulation"))
    }
}

/// The custody for each origin of key material.
#[derive(Clone, Default)]
pub struct CustodyRegistry {
    by_origin: BTreeMap<Origin, Arc<dyn KeyCustody>>,
}

impl std::fmt::Debug for CustodyRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_origin.keys()).finish()
    }
}

impl CustodyRegistry {
    /// A registry without custody.
    pub fn new() -> Self {
        Self::default()
    }

    /// The software custody for generated and for imported material.
    pub fn software(custody: SoftwareCustody) -> Self {
        let custody: Arc<dyn KeyCustody> = Arc::new(custody);
        Self::new().with(Origin::AwsKms, Arc::clone(&custody)).with(Origin::External, custody)
    }

    /// Puts material of `origin` into `custody`.
    pub fn with(mut self, origin: Origin, custody: Arc<dyn KeyCustody>) -> Self {
        self.by_origin.insert(origin, custody);
        self
    }

    /// The custody of an origin; `UnsupportedOperationException` if there is none.
    pub fn of(&self, origin: Origin) -> Result<&dyn KeyCustody, KmsError> {
        self.by_origin.get(&origin).map(Arc::as_ref).ok_or_else(|| unsupported(origin))
    }

    /// The same, shared.
    pub fn shared(&self, origin: Origin) -> Result<Arc<dyn KeyCustody>, KmsError> {
        self.by_origin.get(&origin).cloned().ok_or_else(|| unsupported(origin))
    }
}

fn unsupported(origin: Origin) -> KmsError {
    KmsError::UnsupportedOperation(format!("Origin {origin} is not supported by this service."))
}
