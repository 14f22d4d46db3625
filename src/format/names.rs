//! Backing names, directory ids and symbolic link targets (format.md, "Names").

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use super::{DirId, FormatError};

/// The longest name that a user can give, in bytes.
pub const NAME_MAX: usize = 255;
/// The directory of kmsfs's own files, at the root of the backing directory.
pub const VOLUME_DIR: &str = ".kmsfs";
/// The symbolic link that holds a directory's id.
pub const DIR_ID_NAME: &str = ".k";
/// Begins the symbolic link that holds a long cipher name.
pub const LONG_NAME_PREFIX: &str = ".n";
/// Begins the entry that a long cipher name stands for.
pub const LONG_ENTRY_PREFIX: &str = ".l";
/// Begin the stored names of encrypted extended attributes.
pub const SEALED_XATTR_PREFIXES: [&str; 2] = ["user.kmsfs.", "trusted.kmsfs."];
/// Begins the backing target of a symbolic link whose sealed target is kept in a file.
const LONG_TARGET_PREFIX: &str = "2";
const TARGET_PREFIX: &str = "1";
const DIR_ID_PREFIX: &str = "1";
const DIR_ID_BYTES: usize = 32;
const DIGEST_CHARS: usize = 43;
/// Bytes that a sealed target has on top of its plaintext: nonce and tag.
const TARGET_OVERHEAD: u64 = 28;
/// Longest target that Linux stores in a symbolic link.
const TARGET_MAX: usize = 4095;
const WHAT_DIR_ID: &str = "directory id";
const WHAT_NAME: &str = "backing name";
const WHAT_TARGET: &str = "symbolic link target";

/// How an encrypted name is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodedName {
    /// As the entry's name.
    Short(String),
    /// Behind a digest, because it is too long for an entry: see [`long_digest_name`].
    Long(String),
}

/// What a name in the backing directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackingName {
    /// An entry, with the decoded bytes of its encrypted name.
    Entry(Vec<u8>),
    /// The entry of a long name, with the digest's text.
    LongEntry(String),
    /// A name that belongs to kmsfs and is never shown.
    Internal,
}

/// The stored form of an encrypted name (tag and ciphertext).
pub fn encode_name(cipher_name: &[u8]) -> EncodedName {
    let text = BASE64URL.encode(cipher_name);
    if text.len() <= NAME_MAX { EncodedName::Short(text) } else { EncodedName::Long(text) }
}

/// The name of a long name's entry or link: `prefix` and the SHA-256 digest of the full cipher name.
pub fn long_digest_name(prefix: &str, digest: &[u8; 32]) -> String {
    format!("{prefix}{}", BASE64URL.encode(digest))
}

/// Reads the text of an encrypted name, as an entry or the link of a long name has it.
///
/// # Errors
/// [`FormatError::Field`] if it is not base64url.
pub fn decode_name(text: &[u8]) -> Result<Vec<u8>, FormatError> {
    BASE64URL.decode(text).map_err(|_| FormatError::Field(WHAT_NAME, "base64url"))
}

/// What `name` in a directory with encrypted names is.
///
/// # Errors
/// [`FormatError::Field`] for a name that kmsfs never makes.
pub fn parse_backing_name(name: &[u8]) -> Result<BackingName, FormatError> {
    if !name.starts_with(b".") {
        return decode_name(name).map(BackingName::Entry);
    }
    if let Some(digest) = name.strip_prefix(LONG_ENTRY_PREFIX.as_bytes()) {
        let text = std::str::from_utf8(digest).map_err(|_| FormatError::Field(WHAT_NAME, "digest"))?;
        if text.len() != DIGEST_CHARS {
            return Err(FormatError::Field(WHAT_NAME, "digest"));
        }
        return Ok(BackingName::LongEntry(text.to_owned()));
    }
    Ok(BackingName::Internal)
}

/// The target of a directory's `.k`: its id, the first bytes of its domain's id, and the MAC over both.
pub fn encode_dir_id(dir_id: &DirId, domain_tag: [u8; 4], mac: &[u8; 12]) -> String {
    let mut bytes = [0; DIR_ID_BYTES];
    bytes[..16].copy_from_slice(&dir_id.0);
    bytes[16..20].copy_from_slice(&domain_tag);
    bytes[20..].copy_from_slice(mac);
    format!("{DIR_ID_PREFIX}{}", BASE64URL.encode(bytes))
}

/// Reads what [`encode_dir_id`] made.
///
/// # Errors
/// [`FormatError`] for anything else. The MAC is not checked: that needs the domain's secret.
pub fn decode_dir_id(target: &[u8]) -> Result<(DirId, [u8; 4], [u8; 12]), FormatError> {
    let text = target.strip_prefix(DIR_ID_PREFIX.as_bytes()).ok_or(FormatError::Magic(WHAT_DIR_ID))?;
    let bytes = BASE64URL.decode(text).map_err(|_| FormatError::Field(WHAT_DIR_ID, "base64url"))?;
    let bytes: [u8; DIR_ID_BYTES] = bytes.try_into().map_err(|_| FormatError::Short(WHAT_DIR_ID))?;
    let (mut id, mut tag, mut mac) = ([0; 16], [0; 4], [0; 12]);
    id.copy_from_slice(&bytes[..16]);
    tag.copy_from_slice(&bytes[16..20]);
    mac.copy_from_slice(&bytes[20..]);
    Ok((DirId(id), tag, mac))
}

/// The backing target for a sealed symbolic link target; `None` if it is too long for a symbolic link.
pub fn symlink_target(sealed: &[u8]) -> Option<String> {
    let text = format!("{TARGET_PREFIX}{}", BASE64URL.encode(sealed));
    (text.len() <= TARGET_MAX).then_some(text)
}

/// The backing target for a symbolic link whose sealed target of `plain_len` bytes is kept in the file `id`.
pub fn long_symlink_target(id: &[u8; 16], plain_len: u16) -> String {
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(id);
    bytes[16..].copy_from_slice(&plain_len.to_le_bytes());
    format!("{LONG_TARGET_PREFIX}{}", BASE64URL.encode(bytes))
}

/// A parsed backing target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SymlinkTarget {
    /// The sealed target.
    Sealed(Vec<u8>),
    /// The sealed target is in the file of this id.
    Kept {
        /// Id of the file.
        id: [u8; 16],
        /// Length of the target in the clear, in bytes.
        plain_len: u16,
    },
}

/// Reads a backing target.
///
/// # Errors
/// [`FormatError`] for one that kmsfs never makes.
pub fn parse_symlink_target(target: &[u8]) -> Result<SymlinkTarget, FormatError> {
    let (prefix, text) = target.split_at_checked(1).ok_or(FormatError::Short(WHAT_TARGET))?;
    let bytes = BASE64URL.decode(text).map_err(|_| FormatError::Field(WHAT_TARGET, "base64url"))?;
    if prefix == TARGET_PREFIX.as_bytes() {
        return Ok(SymlinkTarget::Sealed(bytes));
    }
    if prefix != LONG_TARGET_PREFIX.as_bytes() {
        return Err(FormatError::Magic(WHAT_TARGET));
    }
    let bytes: [u8; 18] = bytes.try_into().map_err(|_| FormatError::Short(WHAT_TARGET))?;
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[..16]);
    Ok(SymlinkTarget::Kept { id, plain_len: u16::from_le_bytes([bytes[16], bytes[17]]) })
}

/// The length of the target in the clear, from the length of the backing target alone; `None` if the target
/// is kept in a file and has to be read.
pub fn symlink_plain_len(backing_len: u64) -> Option<u64> {
    let sealed = backing_len.saturating_sub(1) * 3 / 4;
    sealed.checked_sub(TARGET_OVERHEAD)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn target_lengths(plain in 0usize..3000) {
            let target = symlink_target(&vec![7; plain + TARGET_OVERHEAD as usize]).unwrap();
            prop_assert_eq!(symlink_plain_len(target.len() as u64), Some(plain as u64));
            let sealed = vec![7; plain + TARGET_OVERHEAD as usize];
            prop_assert_eq!(parse_symlink_target(target.as_bytes()).unwrap(), SymlinkTarget::Sealed(sealed));
        }

        #[test]
        fn parsers_are_total(bytes in vec(any::<u8>(), 0..300)) {
            let _ = parse_symlink_target(&bytes);
            let _ = parse_backing_name(&bytes);
            let _ = decode_dir_id(&bytes);
        }

        #[test]
        fn names(cipher in vec(any::<u8>(), 17..280)) {
            match encode_name(&cipher) {
                EncodedName::Short(name) => {
                    prop_assert!(name.len() <= NAME_MAX && !name.contains('.'));
                    prop_assert_eq!(parse_backing_name(name.as_bytes()).unwrap(), BackingName::Entry(cipher));
                }
                EncodedName::Long(full) => {
                    prop_assert_eq!(decode_name(full.as_bytes()).unwrap(), cipher);
                    prop_assert_eq!(long_digest_name(LONG_ENTRY_PREFIX, &[1; 32]).len(), 2 + DIGEST_CHARS);
                }
            }
        }
    }

    #[test]
    fn kept_targets_and_dir_ids() {
        let target = long_symlink_target(&[3; 16], 4000);
        assert_eq!(symlink_plain_len(target.len() as u64), None);
        let kept = SymlinkTarget::Kept { id: [3; 16], plain_len: 4000 };
        assert_eq!(parse_symlink_target(target.as_bytes()).unwrap(), kept);
        let text = encode_dir_id(&DirId([1; 16]), [2; 4], &[3; 12]);
        assert_eq!(text.len(), 44);
        assert_eq!(decode_dir_id(text.as_bytes()).unwrap(), (DirId([1; 16]), [2; 4], [3; 12]));
    }
}
