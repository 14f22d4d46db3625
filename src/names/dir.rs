//! The names of one directory.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{DomainSource, NameError};
use crate::crypto::{DomainKeys, NONCE_LEN, Nonce, TAG_LEN, random};
use crate::format::{
    BackingName, DIR_ID_NAME, DirId, DomainId, EncodedName, LONG_ENTRY_PREFIX, LONG_NAME_PREFIX, NAME_MAX,
    NameMode, VOLUME_DIR, decode_dir_id, decode_name, encode_dir_id, encode_name, long_digest_name,
    parse_backing_name,
};
use crate::store::BackingNode;

/// Names are padded with zeros to a multiple of this many bytes.
const NAME_PAD: usize = 16;
const NAME_AAD: &[u8] = b"n1";
const DIR_ID_MAC_LABEL: &[u8] = b"kmsfs dir id";
const WHAT_NAME: &str = "an encrypted name";
const WHAT_DIR_ID: &str = "a directory id";

/// Where an entry is in its backing directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingEntry {
    /// The name of the entry itself.
    pub name: OsString,
    /// The link that holds the full cipher name, if that is too long for an entry.
    pub long: Option<LongName>,
}

/// The symbolic link that belongs to an entry with a long name. Made before the entry, removed after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongName {
    /// Name of the link.
    pub link: OsString,
    /// Target of the link: the full cipher name.
    pub target: String,
}

/// What a name found in a backing directory stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlainEntry {
    /// An entry of the user, with its name.
    Name(OsString),
    /// Something of kmsfs's own, never shown.
    Internal,
}

/// How names are stored in one directory.
#[derive(Debug)]
enum Codec {
    /// As they are.
    Plain,
    /// Encrypted under the domain's name key and the directory's id.
    Encrypted { dir_id: DirId, aad: [u8; 18] },
}

/// The names of one directory: its id, its domain and the domain's keys.
#[derive(Debug)]
pub struct DirNames {
    domain: DomainId,
    keys: Arc<DomainKeys>,
    codec: Codec,
    is_root: bool,
}

impl DirNames {
    /// The names of any directory of a volume with plain names, which has one domain only.
    pub fn plain(domain: DomainId, keys: Arc<DomainKeys>, is_root: bool) -> Self {
        Self { domain, keys, codec: Codec::Plain, is_root }
    }

    fn encrypted(dir_id: DirId, domain: DomainId, keys: Arc<DomainKeys>, is_root: bool) -> Self {
        let mut aad = [0; 18];
        aad[..2].copy_from_slice(NAME_AAD);
        aad[2..].copy_from_slice(&dir_id.0);
        Self { domain, keys, codec: Codec::Encrypted { dir_id, aad }, is_root }
    }

    /// Reads the directory id of `node`. A directory that is empty in the backing directory and has none, as a
    /// crash between `mkdir` and the id leaves it, is given one in `parent_domain`.
    ///
    /// # Errors
    /// [`NameError::NoDirectoryId`], [`NameError::Tampered`] if no domain's MAC fits, and what the store and
    /// the key service say.
    pub fn load(
        node: &dyn BackingNode,
        domains: &dyn DomainSource,
        mode: NameMode,
        parent_domain: DomainId,
        is_root: bool,
    ) -> Result<Self, NameError> {
        if mode == NameMode::Plain {
            let domain = domains.root_domain();
            return Ok(Self::plain(domain, domains.domain_keys(domain)?, is_root));
        }
        let target = match node.read_link_at(OsStr::new(DIR_ID_NAME)) {
            Ok(target) => target,
            Err(error) if error.is_not_found() => {
                return Self::repair_empty(node, domains, parent_domain, is_root);
            }
            Err(error) => return Err(error.into()),
        };
        let (dir_id, tag, mac) = decode_dir_id(&target)?;
        for domain in domains.domains_with_tag(tag) {
            let keys = domains.domain_keys(domain)?;
            if keys.mac.verify(&[DIR_ID_MAC_LABEL, &dir_id.0, &tag], &mac) {
                return Ok(Self::encrypted(dir_id, domain, keys, is_root));
            }
        }
        Err(NameError::Tampered(WHAT_DIR_ID))
    }

    fn repair_empty(
        node: &dyn BackingNode,
        domains: &dyn DomainSource,
        domain: DomainId,
        is_root: bool,
    ) -> Result<Self, NameError> {
        let others = node.read_dir(0, 2)?;
        if others.iter().any(|entry| !(is_root && entry.name == VOLUME_DIR.as_bytes())) {
            return Err(NameError::NoDirectoryId);
        }
        Self::make(node, domain, domains.domain_keys(domain)?, is_root)
    }

    /// Gives the new, empty directory `node` an id in `domain`.
    ///
    /// # Errors
    /// [`NameError::Store`].
    pub fn make(
        node: &dyn BackingNode,
        domain: DomainId,
        keys: Arc<DomainKeys>,
        is_root: bool,
    ) -> Result<Self, NameError> {
        let dir_id = DirId(random::bytes());
        let mut tag = [0; 4];
        tag.copy_from_slice(&domain.0[..4]);
        let whole = keys.mac.mac32(&[DIR_ID_MAC_LABEL, &dir_id.0, &tag]);
        let mut mac = [0; 12];
        mac.copy_from_slice(&whole[..12]);
        let target = encode_dir_id(&dir_id, tag, &mac);
        node.make_symlink(OsStr::new(DIR_ID_NAME), target.as_bytes())?;
        // What is made in the directory cannot be read without it.
        node.order_names()?;
        Ok(Self::encrypted(dir_id, domain, keys, is_root))
    }

    /// Makes the names of the new, empty directory `node` inside this one, in the same domain.
    ///
    /// # Errors
    /// [`NameError::Store`].
    pub fn make_child(&self, node: &dyn BackingNode) -> Result<Self, NameError> {
        match self.codec {
            Codec::Plain => Ok(Self::plain(self.domain, Arc::clone(&self.keys), false)),
            Codec::Encrypted { .. } => Self::make(node, self.domain, Arc::clone(&self.keys), false),
        }
    }

    /// The domain of the directory and of the files in it.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// The keys of the domain.
    pub fn keys(&self) -> &Arc<DomainKeys> {
        &self.keys
    }

    /// What binds the directory's attributes to it: its id, or nothing where directories have none.
    pub fn context(&self) -> &[u8] {
        match &self.codec {
            Codec::Plain => &[],
            Codec::Encrypted { dir_id, .. } => &dir_id.0,
        }
    }

    /// Where the entry called `name` is.
    ///
    /// # Errors
    /// [`NameError::TooLong`], [`NameError::Invalid`], and [`NameError::Reserved`] for a name of kmsfs in a
    /// volume with plain names.
    pub fn encrypt(&self, name: &OsStr) -> Result<BackingEntry, NameError> {
        let plain = name.as_bytes();
        if plain.len() > NAME_MAX {
            return Err(NameError::TooLong);
        }
        if plain.is_empty() || plain == b"." || plain == b".." || plain.iter().any(|b| matches!(b, 0 | b'/'))
        {
            return Err(NameError::Invalid);
        }
        let Codec::Encrypted { dir_id, aad } = &self.codec else {
            let reserved = self.is_root && plain == VOLUME_DIR.as_bytes();
            return if reserved {
                Err(NameError::Reserved)
            } else {
                Ok(BackingEntry { name: name.to_owned(), long: None })
            };
        };
        let padded_len = plain.len().next_multiple_of(NAME_PAD);
        let mut padded = vec![0; padded_len];
        padded[..plain.len()].copy_from_slice(plain);
        let mut cipher = vec![0; TAG_LEN + padded_len];
        let tag = self.keys.name.seal(&name_nonce(dir_id), aad, &padded, &mut cipher[TAG_LEN..]);
        cipher[..TAG_LEN].copy_from_slice(&tag);
        Ok(match encode_name(&cipher) {
            EncodedName::Short(name) => BackingEntry { name: name.into(), long: None },
            EncodedName::Long(target) => {
                let digest = Sha256::digest(&cipher).into();
                BackingEntry {
                    name: long_digest_name(LONG_ENTRY_PREFIX, &digest).into(),
                    long: Some(LongName { link: long_digest_name(LONG_NAME_PREFIX, &digest).into(), target }),
                }
            }
        })
    }

    /// What the backing name `name`, found in the directory `node`, stands for.
    ///
    /// # Errors
    /// [`NameError`] for a name that was not made here, or a long name whose link is missing or another one.
    pub fn decrypt(&self, node: &dyn BackingNode, name: &[u8]) -> Result<PlainEntry, NameError> {
        if matches!(self.codec, Codec::Plain) {
            let internal = self.is_root && name == VOLUME_DIR.as_bytes();
            return Ok(if internal {
                PlainEntry::Internal
            } else {
                PlainEntry::Name(OsString::from_vec(name.to_vec()))
            });
        }
        let cipher = match parse_backing_name(name)? {
            BackingName::Internal => return Ok(PlainEntry::Internal),
            BackingName::Entry(cipher) => cipher,
            BackingName::LongEntry(digest) => {
                let link = format!("{LONG_NAME_PREFIX}{digest}");
                let cipher = decode_name(&node.read_link_at(OsStr::new(&link))?)?;
                if long_digest_name(LONG_NAME_PREFIX, &Sha256::digest(&cipher).into()) != link {
                    return Err(NameError::Tampered(WHAT_NAME));
                }
                cipher
            }
        };
        self.open_name(&cipher).map(PlainEntry::Name)
    }

    fn open_name(&self, cipher: &[u8]) -> Result<OsString, NameError> {
        let Codec::Encrypted { dir_id, aad } = &self.codec else {
            return Err(NameError::Tampered(WHAT_NAME));
        };
        let (tag, cipher) = cipher.split_first_chunk::<TAG_LEN>().ok_or(NameError::Tampered(WHAT_NAME))?;
        let mut plain = vec![0; cipher.len()];
        self.keys
            .name
            .open(&name_nonce(dir_id), aad, cipher, tag, &mut plain)
            .map_err(NameError::tampered(WHAT_NAME))?;
        let len = plain.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        plain.truncate(len);
        if plain.is_empty() || plain.iter().any(|b| matches!(b, 0 | b'/')) {
            return Err(NameError::Tampered(WHAT_NAME));
        }
        Ok(OsString::from_vec(plain))
    }
}

/// Names are deterministic within a directory: the nonce is the beginning of its random id.
fn name_nonce(dir_id: &DirId) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&dir_id.0[..NONCE_LEN]);
    nonce
}
