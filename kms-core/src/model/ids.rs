//! Key ids, key material ids, account ids and ARNs.

use std::fmt;
use std::str::FromStr;

use crate::error::KmsError;

/// The id of a KMS key: a UUID in lower case, or `mrk-` and 32 hexadecimal digits for a multi-Region key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId {
    multi_region: bool,
    bytes: [u8; 16],
}

impl KeyId {
    /// The length of [`Self::to_bytes`].
    pub const BYTES: usize = 17;

    /// A fresh id of a single-Region key.
    pub fn generate() -> Self {
        Self { multi_region: false, bytes: *uuid::Uuid::new_v4().as_bytes() }
    }

    /// A fresh id of a multi-Region key.
    pub fn generate_multi_region() -> Self {
        Self { multi_region: true, bytes: *uuid::Uuid::new_v4().as_bytes() }
    }

    /// Whether this is the id of a multi-Region key.
    pub const fn is_multi_region(&self) -> bool {
        self.multi_region
    }

    /// The binary form: one byte of kind, then the 128 bits.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[0] = u8::from(self.multi_region);
        out[1..].copy_from_slice(&self.bytes);
        out
    }

    /// Reads the binary form; `None` for a kind that does not exist.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let multi_region = match bytes[0] {
            0 => false,
            1 => true,
            _ => return None,
        };
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[1..]);
        Some(Self { multi_region, bytes: id })
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uuid = uuid::Uuid::from_bytes(self.bytes);
        if self.multi_region {
            write!(f, "mrk-{}", uuid.simple())
        } else {
            write!(f, "{}", uuid.hyphenated())
        }
    }
}

impl FromStr for KeyId {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<Self, KmsError> {
        let (multi_region, digits, expected_len) = match text.strip_prefix("mrk-") {
            Some(digits) => (true, digits, 32),
            None => (false, text, 36),
        };
        // The uuid crate also reads braces, URNs and upper case; a key id has one spelling.
        let plain = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        if digits.len() != expected_len || !plain {
            return Err(KmsError::invalid_key_id(text));
        }
        let uuid = uuid::Uuid::try_parse(digits).map_err(|_| KmsError::invalid_key_id(text))?;
        Ok(Self { multi_region, bytes: *uuid.as_bytes() })
    }
}

text_serde!(KeyId);

/// The id of one key material: a keyed function of the material and its KMS key that does not reveal the material.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MaterialId([u8; 32]);

impl MaterialId {
    /// From the 32 bytes of the keyed function.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for MaterialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for MaterialId {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<Self, KmsError> {
        let refused = || {
            KmsError::constraint(
                Some(text),
                "keyMaterialId",
                format_args!("satisfy regular expression pattern: ^[a-f0-9]+$"),
            )
        };
        hex_bytes(text).map(Self).ok_or_else(refused)
    }
}

text_serde!(MaterialId);

/// The id of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId([u8; 32]);

impl GrantId {
    /// From 32 random bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for GrantId {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<Self, KmsError> {
        hex_bytes(text)
            .map(Self)
            .ok_or_else(|| KmsError::InvalidGrantId(format!("Invalid grant ID '{text}'")))
    }
}

text_serde!(GrantId);

/// 32 bytes as 64 digits in lower case.
fn hex_bytes(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (hex_digit(pair[0]), hex_digit(pair[1]));
        *byte = high.zip(low).map(|(high, low)| high << 4 | low)?;
    }
    (digits.len() == 64).then_some(bytes)
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// The twelve digits of an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(String);

impl AccountId {
    /// The account of a keystore that nobody gave another one.
    pub fn local() -> Self {
        Self("000000000000".to_owned())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AccountId {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<Self, KmsError> {
        if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self(text.to_owned()));
        }
        Err(KmsError::Validation(format!("Invalid account ID '{text}'")))
    }
}

text_serde!(AccountId);

/// The name of a Region: letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region(String);

impl Region {
    /// The Region of a keystore that nobody gave another one.
    pub fn local() -> Self {
        Self("local-1".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Region {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<Self, KmsError> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(legal) {
            return Ok(Self(text.to_owned()));
        }
        Err(KmsError::Validation(format!("Invalid region '{text}'")))
    }
}

text_serde!(Region);

/// The Region and the account that a service stands for: the middle of every ARN that it makes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Realm {
    /// The Region.
    pub region: Region,
    /// The account.
    pub account: AccountId,
}

impl Realm {
    /// The realm of a keystore that nobody gave another one.
    pub fn local() -> Self {
        Self { region: Region::local(), account: AccountId::local() }
    }
}

impl Default for Realm {
    fn default() -> Self {
        Self::local()
    }
}

/// The ARN of a KMS key: `arn:aws:kms:REGION:ACCOUNT:key/ID`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyArn(String);

impl KeyArn {
    /// The ARN of a key in a realm.
    pub fn new(realm: &Realm, key_id: &KeyId) -> Self {
        Self(format!("arn:aws:kms:{}:{}:key/{key_id}", realm.region, realm.account))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id after `key/`.
    pub fn key_id(&self) -> KeyId {
        let id = self.0.rsplit('/').next().unwrap_or_default();
        id.parse().expect("a KeyArn is only made from a valid key id")
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyArn {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<Self, KmsError> {
        let parts = super::key_ref::split_arn(text)?;
        match parts.resource.strip_prefix("key/") {
            Some(id) => {
                id.parse::<KeyId>()?;
                Ok(Self(text.to_owned()))
            }
            None => Err(KmsError::InvalidArn(format!("Invalid arn '{text}'"))),
        }
    }
}

text_serde!(KeyArn);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_round_trip() {
        for id in [KeyId::generate(), KeyId::generate_multi_region()] {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(KeyId::from_bytes(&id.to_bytes()), Some(id));
        }
    }

    #[test]
    fn a_key_id_has_one_spelling() {
        for text in [
            "",
            "mrk-",
            "6F1B8BD8-3B57-4F2B-9D6B-2C1F7C1B0A11",
            "6f1b8bd83b574f2b9d6b2c1f7c1b0a11",
            "mrk-6f1b8bd8-3b57-4f2b-9d6b-2c1f7c1b0a11",
            "{6f1b8bd8-3b57-4f2b-9d6b-2c1f7c1b0a11}",
        ] {
            let error = text.parse::<KeyId>().expect_err("not a key id");
            assert_eq!(error.message(), format!("Invalid keyId '{text}'"));
        }
    }

    #[test]
    fn material_ids_round_trip() {
        let id = MaterialId::from_bytes([0xA5; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("a5".parse::<MaterialId>().is_err());
        assert!("G".repeat(64).parse::<MaterialId>().is_err());
    }
}
