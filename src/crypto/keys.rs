//! Derivation of the keys of a file and of a domain.

use std::sync::Arc;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Aead, DataKey, MacKey, NONCE_LEN, Nonce, SecretKey, SumKey, Tag};

/// What a data key must reproduce: AES-GCM-SIV alone would let one ciphertext open under two keys.
pub type Commitment = [u8; 32];

struct Derivation(Hkdf<Sha256>);

impl Derivation {
    fn new(salt: &[&[u8]], secret: &[u8; 32]) -> Self {
        Self(Hkdf::new(Some(&salt.concat()), secret))
    }

    fn bytes(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        self.0.expand(purpose.as_bytes(), &mut *out).expect("32 bytes are within the limit of RFC 5869");
        out
    }

    fn key(&self, purpose: &str) -> SecretKey {
        SecretKey::new(&self.bytes(purpose))
    }
}

/// The keys of one file, all derived from its data key, its file id and its volume id.
#[derive(Debug)]
pub struct FileKeys {
    /// Seals blocks.
    pub content: Aead,
    /// Seals the seal.
    pub seal: Aead,
    /// Key of the sums in the seal.
    pub sum: SumKey,
    /// Authenticates the key slots.
    pub header: MacKey,
    /// Seals names and values of extended attributes.
    pub xattr: Aead,
    /// What the key slot must say.
    pub commitment: Commitment,
}

impl FileKeys {
    /// Derives the keys of the file `file_id` of the volume `volume_id`.
    pub fn derive(data_key: &DataKey, volume_id: &[u8; 16], file_id: &[u8; 16]) -> Self {
        let derivation = Derivation::new(&[volume_id, file_id], data_key.expose());
        Self {
            content: Aead::new(&derivation.key("kmsfs v1 content")),
            seal: Aead::new(&derivation.key("kmsfs v1 seal")),
            sum: SumKey::new(&derivation.key("kmsfs v1 sum")),
            header: MacKey::new(&derivation.key("kmsfs v1 header")),
            xattr: Aead::new(&derivation.key("kmsfs v1 xattr")),
            commitment: *derivation.bytes("kmsfs v1 commitment"),
        }
    }
}

/// What wraps the data keys of a domain in one epoch, where that is not left to the KMS keys.
#[derive(Debug)]
pub struct DomainKey {
    wrap: Aead,
    /// How headers name it: a function of the key that shows nothing of it, so that another key is noticed.
    pub id: [u8; 16],
}

impl DomainKey {
    /// The key of the domain `domain_id` of the volume `volume_id` in `epoch`, from its secret.
    pub fn derive(secret: &SecretKey, volume_id: &[u8; 16], domain_id: &[u8; 16], epoch: u32) -> Self {
        let derivation = Derivation::new(&[volume_id, domain_id, &epoch.to_le_bytes()], secret.expose());
        let mut id = [0; 16];
        id.copy_from_slice(&derivation.bytes("kmsfs v1 domain key id")[..16]);
        Self { wrap: Aead::new(&derivation.key("kmsfs v1 domain key")), id }
    }

    /// `data_key` wrapped for the file that `file` names.
    pub fn wrap(&self, file: &[u8], data_key: &DataKey) -> Vec<u8> {
        self.wrap.seal_value(file, data_key.expose())
    }

    /// As [`Self::wrap`] with a given nonce.
    pub fn wrap_with(&self, nonce: &Nonce, file: &[u8], data_key: &DataKey) -> Vec<u8> {
        self.wrap.seal_value_with(nonce, file, data_key.expose())
    }

    /// The data key, if it was wrapped for the file that `file` names.
    pub fn unwrap(&self, file: &[u8], wrapped: &[u8]) -> Option<DataKey> {
        let plain = Zeroizing::new(self.wrap.open_value(file, wrapped).ok()?);
        SecretKey::from_slice(&plain).map(DataKey::new)
    }
}

/// What authenticates a journal.
#[derive(Debug)]
pub struct JournalKeys {
    /// Of the header pages.
    pub mac: MacKey,
    /// Of payloads: several times as fast as a hash, and they are most of a journal.
    payload: Aead,
}

impl JournalKeys {
    fn new(derivation: &Derivation) -> Self {
        Self {
            mac: MacKey::new(&derivation.key("kmsfs v1 journal")),
            payload: Aead::new(&derivation.key("kmsfs v1 journal payload")),
        }
    }

    /// Whose chunk it is makes each nonce one of its own.
    fn nonce(session: u32, lsn: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..4].copy_from_slice(&session.to_le_bytes());
        nonce[4..].copy_from_slice(&lsn.to_le_bytes());
        nonce
    }

    /// The tag of the payload of chunk `lsn` of `session`.
    pub fn payload_tag(&self, session: u32, lsn: u64, payload: &[u8]) -> Tag {
        self.payload.seal(&Self::nonce(session, lsn), payload, &[], &mut [])
    }

    /// Whether `tag` is that of the payload of chunk `lsn` of `session`; in constant time.
    pub fn verify_payload(&self, session: u32, lsn: u64, payload: &[u8], tag: &Tag) -> bool {
        self.payload.open(&Self::nonce(session, lsn), payload, &[], tag, &mut []).is_ok()
    }
}

/// The keys of one domain, all derived from its wrapped secret.
#[derive(Debug)]
pub struct DomainKeys {
    /// Encrypts names, deterministically within a directory.
    pub name: Aead,
    /// Encrypts symbolic link targets.
    pub symlink: Aead,
    /// Encrypts extended attributes of what has no data key: directories, symbolic links, special files.
    pub xattr: Aead,
    /// Authenticates directory ids, the domain record and, in the root domain, superblock and sessions.
    pub mac: MacKey,
    /// Authenticates the journal; only the root domain's is used.
    pub journal: Arc<JournalKeys>,
    /// What the domain record must say.
    pub commitment: Commitment,
}

impl DomainKeys {
    /// Derives the keys of the domain `domain_id` of the volume `volume_id`.
    pub fn derive(secret: &SecretKey, volume_id: &[u8; 16], domain_id: &[u8; 16]) -> Self {
        let derivation = Derivation::new(&[volume_id, domain_id], secret.expose());
        Self {
            name: Aead::new(&derivation.key("kmsfs v1 name")),
            symlink: Aead::new(&derivation.key("kmsfs v1 symlink")),
            xattr: Aead::new(&derivation.key("kmsfs v1 domain xattr")),
            mac: MacKey::new(&derivation.key("kmsfs v1 domain mac")),
            journal: Arc::new(JournalKeys::new(&derivation)),
            commitment: *derivation.bytes("kmsfs v1 domain commitment"),
        }
    }
}
