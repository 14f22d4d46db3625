//! Symbolic link targets.

use std::ffi::OsStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use super::NameError;
use crate::crypto::{DomainKeys, random};
use crate::format::{SymlinkTarget, long_symlink_target, parse_symlink_target, symlink_target};
use crate::store::{FileAccess, NodeRef};

const TARGET_AAD: &[u8] = b"l1";
const KEPT_AAD: &[u8] = b"l2";
/// Longest target in the clear that Linux accepts, in bytes.
const PLAIN_MAX: usize = 4095;
/// Longest sealed target: nonce and tag stand before the ciphertext.
const SEALED_MAX: usize = PLAIN_MAX + 28;
const WHAT: &str = "a symbolic link target";

/// The kept targets of a volume: those too long for a symbolic link once they are sealed.
///
/// Each is a file of its own, named by a random id that the link carries, so that renaming the link or giving
/// it a further name stays a single call.
pub struct Targets {
    /// The directory `.kmsfs/targets`.
    dir: NodeRef,
}

impl std::fmt::Debug for Targets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Targets(..)")
    }
}

fn kept_name(id: &[u8; 16]) -> String {
    BASE64URL.encode(id)
}

fn kept_aad(id: &[u8; 16]) -> [u8; 18] {
    let mut aad = [0; 18];
    aad[..2].copy_from_slice(KEPT_AAD);
    aad[2..].copy_from_slice(id);
    aad
}

impl Targets {
    /// The kept targets in `dir`.
    pub fn new(dir: NodeRef) -> Self {
        Self { dir }
    }

    /// Seals `plain` and returns the backing target. If that is kept in a file, the file is durable before
    /// this returns, because nothing orders its content before the link that needs it.
    ///
    /// # Errors
    /// [`NameError::TooLong`], [`NameError::Invalid`] for an empty target, [`NameError::Store`].
    pub fn seal(&self, keys: &DomainKeys, plain: &[u8]) -> Result<String, NameError> {
        if plain.len() > PLAIN_MAX {
            return Err(NameError::TooLong);
        }
        if plain.is_empty() {
            return Err(NameError::Invalid);
        }
        if let Some(target) = symlink_target(&keys.symlink.seal_value(TARGET_AAD, plain)) {
            return Ok(target);
        }
        let id: [u8; 16] = random::bytes();
        let sealed = keys.symlink.seal_value(&kept_aad(&id), plain);
        let name = kept_name(&id);
        let (_node, file) = self.dir.create_file(OsStr::new(&name), 0o600)?;
        if let Err(error) = file.write_at(&sealed, 0).and_then(|()| file.sync_data()) {
            self.dir.unlink(OsStr::new(&name)).ok();
            return Err(error.into());
        }
        Ok(long_symlink_target(&id, plain.len() as u16))
    }

    /// Reads the kept target `id`, as [`read_target`] needs it.
    fn read_kept(&self, id: &[u8; 16]) -> Result<Vec<u8>, NameError> {
        let node = self.dir.lookup(OsStr::new(&kept_name(id)))?;
        let mut sealed = vec![0; SEALED_MAX + 1];
        let len = node.open_file(FileAccess::Read)?.read_at(&mut sealed, 0)?;
        sealed.truncate(len);
        Ok(sealed)
    }

    /// Removes the kept target `id`, once the last name of its link is gone. One that is gone already is no
    /// error.
    ///
    /// # Errors
    /// [`NameError::Store`].
    pub fn remove(&self, id: &[u8; 16]) -> Result<(), NameError> {
        match self.dir.unlink(OsStr::new(&kept_name(id))) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// The target in the clear of a symbolic link with the backing target `stored`.
///
/// # Errors
/// [`NameError::Tampered`], [`NameError::Format`], [`NameError::Store`].
pub fn read_target(targets: &Targets, keys: &DomainKeys, stored: &[u8]) -> Result<Vec<u8>, NameError> {
    match parse_symlink_target(stored)? {
        SymlinkTarget::Sealed(sealed) => {
            keys.symlink.open_value(TARGET_AAD, &sealed).map_err(NameError::tampered(WHAT))
        }
        SymlinkTarget::Kept { id, plain_len } => {
            let sealed = targets.read_kept(&id)?;
            let plain =
                keys.symlink.open_value(&kept_aad(&id), &sealed).map_err(NameError::tampered(WHAT))?;
            if plain.len() == usize::from(plain_len) { Ok(plain) } else { Err(NameError::Tampered(WHAT)) }
        }
    }
}

/// The id of the kept target that a symbolic link with the backing target `stored` needs, if it needs one.
///
/// # Errors
/// [`NameError::Format`].
pub fn parse_kept(stored: &[u8]) -> Result<Option<[u8; 16]>, NameError> {
    Ok(match parse_symlink_target(stored)? {
        SymlinkTarget::Sealed(_) => None,
        SymlinkTarget::Kept { id, .. } => Some(id),
    })
}
