//! Names and values of extended attributes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use super::NameError;
use crate::crypto::{Aead, NONCE_LEN};

const NAME_AAD: &[u8] = b"x1";
const VALUE_AAD: &[u8] = b"xv";
/// The namespaces whose attributes are encrypted.
const NAMESPACES: [&str; 2] = ["user.", "trusted."];
/// Stands behind the namespace in a stored name.
const STORED_MARK: &str = "kmsfs.";
/// Longest name of an attribute that Linux accepts, in bytes.
const XATTR_NAME_MAX: usize = 255;
const WHAT_NAME: &str = "the name of an extended attribute";
const WHAT_VALUE: &str = "the value of an extended attribute";

/// How the attribute of some name is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrClass {
    /// Name and value encrypted: `user.*` and `trusted.*`.
    Encrypted,
    /// As it is, because the kernel or the backing file system gives it a meaning: `system.posix_acl_*` and
    /// `security.*`.
    Clear,
    /// Not offered.
    Unsupported,
}

impl XattrClass {
    /// The class of the attribute called `name`.
    pub fn of(name: &OsStr) -> Self {
        let name = name.as_bytes();
        if NAMESPACES.iter().any(|space| name.starts_with(space.as_bytes())) {
            Self::Encrypted
        } else if name.starts_with(b"security.") || name.starts_with(b"system.posix_acl_") {
            Self::Clear
        } else {
            Self::Unsupported
        }
    }
}

/// What a stored attribute name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredXattr {
    /// One that a [`XattrSealer`] made.
    Sealed,
    /// One that is kept in the clear.
    Clear,
    /// One that is not shown.
    Foreign,
}

impl StoredXattr {
    /// What the stored attribute called `name` is.
    pub fn of(name: &[u8]) -> Self {
        for space in NAMESPACES {
            if let Some(rest) = name.strip_prefix(space.as_bytes()) {
                let ours = rest.starts_with(STORED_MARK.as_bytes());
                return if ours { Self::Sealed } else { Self::Foreign };
            }
        }
        match XattrClass::of(OsStr::from_bytes(name)) {
            XattrClass::Clear => Self::Clear,
            XattrClass::Encrypted | XattrClass::Unsupported => Self::Foreign,
        }
    }
}

/// Seals and opens the attributes of one object.
#[derive(Debug, Clone, Copy)]
pub struct XattrSealer<'a> {
    key: &'a Aead,
    /// What binds the attributes to the object where the key does not: the id of a directory.
    context: &'a [u8],
}

impl<'a> XattrSealer<'a> {
    /// A sealer with the attribute key of a file, or of a domain together with a directory's id.
    pub fn new(key: &'a Aead, context: &'a [u8]) -> Self {
        Self { key, context }
    }

    /// The stored form of the name `name` of class [`XattrClass::Encrypted`]: always the same for one object.
    ///
    /// # Errors
    /// [`NameError::TooLong`], [`NameError::Invalid`] if nothing stands behind the namespace.
    pub fn seal_name(&self, name: &OsStr) -> Result<OsString, NameError> {
        let (space, rest) = split_namespace(name.as_bytes()).ok_or(NameError::Invalid)?;
        if rest.is_empty() {
            return Err(NameError::Invalid);
        }
        // The zero nonce is stored nowhere: equal names give equal stored names, as a lookup needs.
        let sealed = self.key.seal_value_with(&[0; NONCE_LEN], &self.name_aad(), rest);
        let stored = format!("{space}{STORED_MARK}{}", BASE64URL.encode(&sealed[NONCE_LEN..]));
        if stored.len() > XATTR_NAME_MAX { Err(NameError::TooLong) } else { Ok(stored.into()) }
    }

    /// The name in the clear of the stored name `stored`.
    ///
    /// # Errors
    /// [`NameError::Tampered`] if it was not made for this object.
    pub fn open_name(&self, stored: &[u8]) -> Result<OsString, NameError> {
        let tampered = || NameError::Tampered(WHAT_NAME);
        let (space, rest) = split_namespace(stored).ok_or_else(tampered)?;
        let text = rest.strip_prefix(STORED_MARK.as_bytes()).ok_or_else(tampered)?;
        let bytes = BASE64URL.decode(text).map_err(|_| tampered())?;
        let sealed = [&[0; NONCE_LEN], bytes.as_slice()].concat();
        let plain = self.key.open_value(&self.name_aad(), &sealed).map_err(NameError::tampered(WHAT_NAME))?;
        Ok(OsString::from_vec([space.as_bytes(), &plain].concat()))
    }

    /// Seals the value of the attribute with the stored name `stored`.
    pub fn seal_value(&self, stored: &OsStr, value: &[u8]) -> Vec<u8> {
        self.key.seal_value(&self.value_aad(stored), value)
    }

    /// Opens what [`Self::seal_value`] made.
    ///
    /// # Errors
    /// [`NameError::Tampered`].
    pub fn open_value(&self, stored: &OsStr, sealed: &[u8]) -> Result<Vec<u8>, NameError> {
        self.key.open_value(&self.value_aad(stored), sealed).map_err(NameError::tampered(WHAT_VALUE))
    }

    fn name_aad(&self) -> Vec<u8> {
        [NAME_AAD, self.context].concat()
    }

    fn value_aad(&self, stored: &OsStr) -> Vec<u8> {
        [VALUE_AAD, self.context, stored.as_bytes()].concat()
    }
}

fn split_namespace(name: &[u8]) -> Option<(&'static str, &[u8])> {
    NAMESPACES.iter().find_map(|space| Some((*space, name.strip_prefix(space.as_bytes())?)))
}
