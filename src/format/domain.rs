//! Domain records: `.kmsfs/keys/<domain>` (format.md, "Domain record").

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{DomainId, FormatError, VolumeId, check_crc, layout, put_crc, reserved};

/// Length of a domain record in bytes.
pub const DOMAIN_RECORD_LEN: usize = 4096;
/// The most keys that a domain record names.
pub const MAX_DOMAIN_KEYS: usize = 8;
const WHAT: &str = "domain record";
/// The version of a record with one recipient, in the keystore.
const VERSION_PLAIN: u16 = 1;
/// The version of a record with keys elsewhere, with several recipients, or with domain keys.
const VERSION_PLACES: u16 = 2;
/// The most wraps of domain keys in a record.
const MAX_DOMAIN_KEY_WRAPS: usize = 32;
const DOMAIN_KEY_HEAD_LEN: usize = 40;
const KEYS_AT: usize = 96;
const MAC_AT: usize = 4032;
const KEY_HEAD_LEN: usize = 24;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    version: U16,
    key_count: u8,
    domain_key_count: u8,
    epoch: U32,
    volume_id: VolumeId,
    domain_id: DomainId,
    generation: U64,
    commitment: [u8; 32],
    time: U64,
}

/// A KMS key of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReference {
    /// How headers name it.
    pub key_id: [u8; 16],
    /// The key's ARN.
    pub arn: String,
    /// The domain's secret, wrapped under it; empty for a key that only opens headers not rewrapped yet.
    pub wrapped_secret: Vec<u8>,
    /// The service that has the key; empty for the keystore.
    pub place: String,
}

/// A domain key under one KMS key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainKeyWrap {
    /// The epoch in which it wraps data keys.
    pub epoch: u32,
    /// The KMS key, as headers name it.
    pub key_id: [u8; 16],
    /// How headers name the domain key.
    pub domain_key_id: [u8; 16],
    /// The domain key, wrapped.
    pub wrapped: Vec<u8>,
}

/// What a domain is: its KMS keys and its wrapped secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRecord {
    /// The volume.
    pub volume_id: VolumeId,
    /// The domain.
    pub domain_id: DomainId,
    /// Counts the writes of the record.
    pub generation: u64,
    /// Raised by every rewrap: a header of a lower epoch has not been rewrapped.
    pub epoch: u32,
    /// Seconds since 1970 of the last write.
    pub time: u64,
    /// What the secret must reproduce.
    pub commitment: [u8; 32],
    /// The keys; the first one wraps new data keys.
    pub keys: Vec<KeyReference>,
    /// Domain keys; without one of the present epoch, each data key is wrapped by the KMS keys themselves.
    pub domain_keys: Vec<DomainKeyWrap>,
    /// HMAC under the domain's MAC key.
    pub mac: [u8; 32],
}

impl DomainRecord {
    /// Reads 4096 bytes. The MAC is not checked: that needs the secret.
    ///
    /// # Errors
    /// [`FormatError`] for anything but a well-formed record.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() != DOMAIN_RECORD_LEN {
            return Err(FormatError::Short(WHAT));
        }
        let layout: &Layout = layout(bytes, WHAT)?;
        if &layout.magic != b"KMSFSDOM" {
            return Err(FormatError::Magic(WHAT));
        }
        let has_places = match layout.version.get() {
            VERSION_PLAIN => false,
            VERSION_PLACES => true,
            other => return Err(FormatError::Version(WHAT, other)),
        };
        check_crc(bytes, WHAT)?;
        if !has_places {
            reserved(&[layout.domain_key_count], WHAT)?;
        }
        reserved(&bytes[MAC_AT + 32..DOMAIN_RECORD_LEN - 4], WHAT)?;
        let mut mac = [0; 32];
        mac.copy_from_slice(&bytes[MAC_AT..MAC_AT + 32]);
        let (keys, rest) = parse_keys(&bytes[KEYS_AT..MAC_AT], layout.key_count, has_places)?;
        let record = Self {
            volume_id: layout.volume_id,
            domain_id: layout.domain_id,
            generation: layout.generation.get(),
            epoch: layout.epoch.get(),
            time: layout.time.get(),
            commitment: layout.commitment,
            keys,
            domain_keys: parse_domain_keys(rest, layout.domain_key_count)?,
            mac,
        };
        // One record has one form.
        if record.version() == layout.version.get() {
            Ok(record)
        } else {
            Err(FormatError::Field(WHAT, "version"))
        }
    }

    /// The stored form, with the MAC as it stands in `self`.
    ///
    /// # Errors
    /// [`FormatError::Field`] if there is no key, too many, or they do not fit.
    pub fn encode(&self) -> Result<[u8; DOMAIN_RECORD_LEN], FormatError> {
        if self.keys.is_empty() || self.keys.len() > MAX_DOMAIN_KEYS {
            return Err(FormatError::Field(WHAT, "number of keys"));
        }
        if self.domain_keys.len() > MAX_DOMAIN_KEY_WRAPS {
            return Err(FormatError::Field(WHAT, "number of domain keys"));
        }
        let layout = Layout {
            magic: *b"KMSFSDOM",
            version: self.version().into(),
            key_count: self.keys.len() as u8,
            domain_key_count: self.domain_keys.len() as u8,
            epoch: self.epoch.into(),
            volume_id: self.volume_id,
            domain_id: self.domain_id,
            generation: self.generation.into(),
            commitment: self.commitment,
            time: self.time.into(),
        };
        let mut out = [0; DOMAIN_RECORD_LEN];
        out[..KEYS_AT].copy_from_slice(layout.as_bytes());
        let rest = encode_keys(&self.keys, &mut out[KEYS_AT..MAC_AT])?;
        encode_domain_keys(&self.domain_keys, rest)?;
        out[MAC_AT..MAC_AT + 32].copy_from_slice(&self.mac);
        put_crc(&mut out);
        Ok(out)
    }

    /// The lowest version that can say what the record says.
    fn version(&self) -> u16 {
        let mut keys = self.keys.iter();
        let plain = self.domain_keys.is_empty()
            && keys.next().is_none_or(|key| key.place.is_empty())
            && keys.all(|key| key.place.is_empty() && key.wrapped_secret.is_empty());
        if plain { VERSION_PLAIN } else { VERSION_PLACES }
    }

    /// The bytes that the MAC covers.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn mac_input(&self) -> Result<[u8; MAC_AT], FormatError> {
        let mut out = [0; MAC_AT];
        out.copy_from_slice(&self.encode()?[..MAC_AT]);
        Ok(out)
    }
}

fn parse_keys(
    mut bytes: &[u8],
    count: u8,
    has_places: bool,
) -> Result<(Vec<KeyReference>, &[u8]), FormatError> {
    if count == 0 || usize::from(count) > MAX_DOMAIN_KEYS {
        return Err(FormatError::Field(WHAT, "number of keys"));
    }
    let mut keys = Vec::new();
    for _ in 0..count {
        let (head, rest) =
            bytes.split_first_chunk::<KEY_HEAD_LEN>().ok_or(FormatError::Field(WHAT, "keys"))?;
        reserved(&head[if has_places { 6 } else { 4 }..8], WHAT)?;
        let len = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
        let (arn, rest) = rest.split_at_checked(len(0)).ok_or(FormatError::Field(WHAT, "key length"))?;
        let (secret, rest) =
            rest.split_at_checked(len(2)).ok_or(FormatError::Field(WHAT, "secret length"))?;
        let (place, rest) = rest.split_at_checked(len(4)).ok_or(FormatError::Field(WHAT, "place length"))?;
        let text = |bytes: &[u8], what| {
            let text = std::str::from_utf8(bytes).map_err(|_| FormatError::Field(WHAT, what))?;
            Ok::<_, FormatError>(text.to_owned())
        };
        let mut key_id = [0; 16];
        key_id.copy_from_slice(&head[8..]);
        keys.push(KeyReference {
            key_id,
            arn: text(arn, "key ARN")?,
            wrapped_secret: secret.to_vec(),
            place: text(place, "key place")?,
        });
        bytes = rest;
    }
    Ok((keys, bytes))
}

fn parse_domain_keys(mut bytes: &[u8], count: u8) -> Result<Vec<DomainKeyWrap>, FormatError> {
    if usize::from(count) > MAX_DOMAIN_KEY_WRAPS {
        return Err(FormatError::Field(WHAT, "number of domain keys"));
    }
    let mut wraps = Vec::new();
    for _ in 0..count {
        let (head, rest) = bytes
            .split_first_chunk::<DOMAIN_KEY_HEAD_LEN>()
            .ok_or(FormatError::Field(WHAT, "domain keys"))?;
        reserved(&head[6..8], WHAT)?;
        let epoch = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let len = usize::from(u16::from_le_bytes([head[4], head[5]]));
        let (wrapped, rest) =
            rest.split_at_checked(len).ok_or(FormatError::Field(WHAT, "domain key length"))?;
        let id = |at: usize| {
            let mut id = [0; 16];
            id.copy_from_slice(&head[at..at + 16]);
            id
        };
        wraps.push(DomainKeyWrap { epoch, key_id: id(8), domain_key_id: id(24), wrapped: wrapped.to_vec() });
        bytes = rest;
    }
    reserved(bytes, WHAT)?;
    Ok(wraps)
}

fn encode_domain_keys(wraps: &[DomainKeyWrap], mut out: &mut [u8]) -> Result<(), FormatError> {
    for wrap in wraps {
        let needed = DOMAIN_KEY_HEAD_LEN + wrap.wrapped.len();
        if needed > out.len() {
            return Err(FormatError::Field(WHAT, "domain keys (longer than the record)"));
        }
        let (place, rest) = out.split_at_mut(needed);
        place[..4].copy_from_slice(&wrap.epoch.to_le_bytes());
        // A record is shorter than 64 KiB.
        place[4..6].copy_from_slice(&(wrap.wrapped.len() as u16).to_le_bytes());
        place[8..24].copy_from_slice(&wrap.key_id);
        place[24..DOMAIN_KEY_HEAD_LEN].copy_from_slice(&wrap.domain_key_id);
        place[DOMAIN_KEY_HEAD_LEN..].copy_from_slice(&wrap.wrapped);
        out = rest;
    }
    Ok(())
}

/// Returns what is left of `out`.
fn encode_keys<'a>(keys: &[KeyReference], mut out: &'a mut [u8]) -> Result<&'a mut [u8], FormatError> {
    for key in keys {
        let parts = [key.arn.as_bytes(), &key.wrapped_secret, key.place.as_bytes()];
        let needed = KEY_HEAD_LEN + parts.iter().map(|part| part.len()).sum::<usize>();
        if needed > out.len() {
            return Err(FormatError::Field(WHAT, "keys (longer than the record)"));
        }
        let (place, rest) = std::mem::take(&mut out).split_at_mut(needed);
        place[8..KEY_HEAD_LEN].copy_from_slice(&key.key_id);
        let mut at = KEY_HEAD_LEN;
        for (index, part) in parts.into_iter().enumerate() {
            // A record is shorter than 64 KiB.
            place[2 * index..2 * index + 2].copy_from_slice(&(part.len() as u16).to_le_bytes());
            place[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        out = rest;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = KeyReference> {
        (any::<[u8; 16]>(), "[a-z:/-]{1,90}", vec(any::<u8>(), 0..300), "([a-z:/-]{1,60})?").prop_map(
            |(key_id, arn, wrapped_secret, place)| KeyReference { key_id, arn, wrapped_secret, place },
        )
    }

    fn domain_key() -> impl Strategy<Value = DomainKeyWrap> {
        (any::<u32>(), any::<[u8; 16]>(), any::<[u8; 16]>(), vec(any::<u8>(), 0..200)).prop_map(
            |(epoch, key_id, domain_key_id, wrapped)| DomainKeyWrap { epoch, key_id, domain_key_id, wrapped },
        )
    }

    proptest! {
        #[test]
        fn round_trip(
            keys in vec(key(), 1..5),
            domain_keys in vec(domain_key(), 0..4),
            epoch: u32,
            at in 0usize..DOMAIN_RECORD_LEN,
        ) {
            let record = DomainRecord {
                volume_id: VolumeId([1; 16]),
                domain_id: DomainId([2; 16]),
                generation: 3,
                epoch,
                time: 4,
                commitment: [5; 32],
                keys,
                domain_keys,
                mac: [6; 32],
            };
            let mut bytes = record.encode().unwrap();
            prop_assert_eq!(DomainRecord::parse(&bytes).unwrap(), record);
            bytes[at] ^= 4;
            prop_assert!(DomainRecord::parse(&bytes).is_err());
        }

        #[test]
        fn parse_is_total(mut bytes in vec(any::<u8>(), DOMAIN_RECORD_LEN)) {
            let version = bytes[8] % 2 + 1;
            bytes[..12].copy_from_slice(b"KMSFSDOM\x01\0\x03\0");
            bytes[8] = version;
            put_crc(&mut bytes);
            let _ = DomainRecord::parse(&bytes);
        }
    }
}
