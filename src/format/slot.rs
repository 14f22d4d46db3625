//! Key slots: the wrapped data key of a file (format.md, "Key slot").

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FormatError, check_crc, layout, put_crc, reserved};

/// Length of a key slot in bytes.
pub const SLOT_LEN: usize = 1024;
/// Room for recipients in a key slot, in bytes.
pub const RECIPIENTS_LEN: usize = 880;
const WHAT: &str = "key slot";
const VERSION: u16 = 1;
const RECIPIENTS_AT: usize = 96;
const MAC_AT: usize = 976;
const RESERVED_AT: usize = 1008;
const RECIPIENT_HEAD_LEN: usize = 24;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Layout {
    magic: [u8; 4],
    version: U16,
    dek_count: u8,
    recipient_count: u8,
    generation: U64,
    active_dek: U32,
    flags: U32,
    time: U64,
    commitment: [u8; 32],
    second_commitment: [u8; 32],
}

/// How a recipient wraps the data key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientKind {
    /// Under the domain key, locally.
    DomainKey,
    /// Under a KMS key, by the key management service.
    Kms,
}

/// One wrap of the data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// How it is wrapped.
    pub kind: RecipientKind,
    /// Epoch of the domain at the time of the wrap.
    pub epoch: u32,
    /// Which key of the domain record wraps.
    pub key_id: [u8; 16],
    /// The wrapped data key.
    pub payload: Vec<u8>,
}

/// A key slot: one data key, wrapped for each recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySlot {
    /// Counts the writes of the slots of a file; the higher one holds.
    pub generation: u64,
    /// Seconds since 1970 of the wrap.
    pub time: u64,
    /// What the data key must reproduce.
    pub commitment: [u8; 32],
    /// The wraps, at least one.
    pub recipients: Vec<Recipient>,
    /// HMAC over identity and slot under the file's header key.
    pub mac: [u8; 32],
}

impl KeySlot {
    /// Reads 1024 bytes. The MAC is not checked: that needs the data key.
    ///
    /// # Errors
    /// [`FormatError`] for anything but a well-formed slot.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes = bytes.get(..SLOT_LEN).ok_or(FormatError::Short(WHAT))?;
        let layout: &Layout = layout(bytes, WHAT)?;
        if &layout.magic != b"KSLT" {
            return Err(FormatError::Magic(WHAT));
        }
        check_crc(bytes, WHAT)?;
        if layout.version.get() != VERSION {
            return Err(FormatError::Version(WHAT, layout.version.get()));
        }
        if layout.dek_count != 1 || layout.active_dek.get() != 0 || layout.flags.get() != 0 {
            return Err(FormatError::Field(WHAT, "data key count"));
        }
        reserved(&layout.second_commitment, WHAT)?;
        reserved(&bytes[RESERVED_AT..SLOT_LEN - 4], WHAT)?;
        let mut mac = [0; 32];
        mac.copy_from_slice(&bytes[MAC_AT..RESERVED_AT]);
        Ok(Self {
            generation: layout.generation.get(),
            time: layout.time.get(),
            commitment: layout.commitment,
            recipients: parse_recipients(&bytes[RECIPIENTS_AT..MAC_AT], layout.recipient_count)?,
            mac,
        })
    }

    /// The generation that stands at the beginning of a slot, of a torn one too; `None` if there is no slot.
    pub fn generation_of(bytes: &[u8]) -> Option<u64> {
        let layout: &Layout = layout(bytes, WHAT).ok()?;
        (&layout.magic == b"KSLT").then(|| layout.generation.get())
    }

    /// The stored form, with the MAC as it stands in `self`.
    ///
    /// # Errors
    /// [`FormatError::Field`] if the recipients do not fit into [`RECIPIENTS_LEN`] bytes.
    pub fn encode(&self) -> Result<[u8; SLOT_LEN], FormatError> {
        let mut out = [0; SLOT_LEN];
        let count = u8::try_from(self.recipients.len()).ok().filter(|count| *count > 0);
        let layout = Layout {
            magic: *b"KSLT",
            version: VERSION.into(),
            dek_count: 1,
            recipient_count: count.ok_or(FormatError::Field(WHAT, "number of recipients"))?,
            generation: self.generation.into(),
            active_dek: U32::ZERO,
            flags: U32::ZERO,
            time: self.time.into(),
            commitment: self.commitment,
            second_commitment: [0; 32],
        };
        out[..RECIPIENTS_AT].copy_from_slice(layout.as_bytes());
        encode_recipients(&self.recipients, &mut out[RECIPIENTS_AT..MAC_AT])?;
        out[MAC_AT..RESERVED_AT].copy_from_slice(&self.mac);
        put_crc(&mut out);
        Ok(out)
    }

    /// The bytes that the MAC covers, behind the identity.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn mac_input(&self) -> Result<[u8; MAC_AT], FormatError> {
        let mut out = [0; MAC_AT];
        out.copy_from_slice(&self.encode()?[..MAC_AT]);
        Ok(out)
    }
}

fn parse_recipients(mut bytes: &[u8], count: u8) -> Result<Vec<Recipient>, FormatError> {
    if count == 0 {
        return Err(FormatError::Field(WHAT, "number of recipients"));
    }
    let mut recipients = Vec::new();
    for _ in 0..count {
        let (head, rest) =
            bytes.split_first_chunk::<RECIPIENT_HEAD_LEN>().ok_or(FormatError::Field(WHAT, "recipients"))?;
        let kind = match head[0] {
            1 => RecipientKind::DomainKey,
            2 => RecipientKind::Kms,
            _ => return Err(FormatError::Field(WHAT, "recipient type")),
        };
        if head[1] != 0 {
            return Err(FormatError::Field(WHAT, "data key index"));
        }
        let len = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let payload = rest.get(..len).ok_or(FormatError::Field(WHAT, "recipient length"))?;
        let mut key_id = [0; 16];
        key_id.copy_from_slice(&head[8..24]);
        let epoch = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        recipients.push(Recipient { kind, epoch, key_id, payload: payload.to_vec() });
        bytes = &rest[len..];
    }
    reserved(bytes, WHAT)?;
    Ok(recipients)
}

fn encode_recipients(recipients: &[Recipient], mut out: &mut [u8]) -> Result<(), FormatError> {
    for recipient in recipients {
        let needed = RECIPIENT_HEAD_LEN + recipient.payload.len();
        if needed > out.len() {
            return Err(FormatError::Field(WHAT, "recipients (longer than the slot)"));
        }
        let (place, rest) = out.split_at_mut(needed);
        place[0] = match recipient.kind {
            RecipientKind::DomainKey => 1,
            RecipientKind::Kms => 2,
        };
        let len = u16::try_from(recipient.payload.len()).expect("the payload fits into 880 bytes");
        place[2..4].copy_from_slice(&len.to_le_bytes());
        place[4..8].copy_from_slice(&recipient.epoch.to_le_bytes());
        place[8..24].copy_from_slice(&recipient.key_id);
        place[RECIPIENT_HEAD_LEN..].copy_from_slice(&recipient.payload);
        out = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn recipient() -> impl Strategy<Value = Recipient> {
        (any::<bool>(), any::<u32>(), any::<[u8; 16]>(), vec(any::<u8>(), 0..200)).prop_map(
            |(kms, epoch, key_id, payload)| {
                let kind = if kms { RecipientKind::Kms } else { RecipientKind::DomainKey };
                Recipient { kind, epoch, key_id, payload }
            },
        )
    }

    proptest! {
        #[test]
        fn round_trip(recipients in vec(recipient(), 1..4), generation: u64, mac: [u8; 32]) {
            let slot = KeySlot { generation, time: 3, commitment: [9; 32], recipients, mac };
            prop_assert_eq!(KeySlot::parse(&slot.encode().unwrap()).unwrap(), slot);
        }

        #[test]
        fn parse_is_total(mut bytes in vec(any::<u8>(), SLOT_LEN), sound in any::<bool>()) {
            if sound {
                bytes[..4].copy_from_slice(b"KSLT");
                bytes[4..6].copy_from_slice(&[1, 0]);
                put_crc(&mut bytes);
            }
            if let Ok(slot) = KeySlot::parse(&bytes) {
                prop_assert_eq!(slot.encode().unwrap().to_vec(), bytes);
            }
        }
    }

    #[test]
    fn recipients_longer_than_the_slot_are_refused() {
        let payload = vec![1; RECIPIENTS_LEN - RECIPIENT_HEAD_LEN];
        let recipient = Recipient { kind: RecipientKind::Kms, epoch: 0, key_id: [0; 16], payload };
        let mut slot = KeySlot {
            generation: 1,
            time: 0,
            commitment: [0; 32],
            recipients: vec![recipient],
            mac: [0; 32],
        };
        assert!(slot.encode().is_ok());
        slot.recipients[0].payload.push(1);
        assert!(slot.encode().is_err());
        slot.recipients.clear();
        assert!(slot.encode().is_err());
    }
}
