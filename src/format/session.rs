//! Session records: `.kmsfs/sessions` (format.md, "Sessions").

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FormatError, SessionNumber, check_crc, layout, put_crc, reserved};

/// Length of a session record in bytes.
pub const SESSION_RECORD_LEN: usize = 64;
const WHAT: &str = "session record";

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Layout {
    session: U32,
    event: u8,
    zero: [u8; 3],
    time: U64,
    host: [u8; 16],
    mac: [u8; 16],
    reserved: [u8; 12],
    crc: U32,
}

/// What happened to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEvent {
    /// A mount began.
    Start,
    /// It ended with everything in place.
    Clean,
    /// It crashed, and its journal was replayed by a later mount.
    Recovered,
}

/// One line of the volume's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRecord {
    /// The session.
    pub session: SessionNumber,
    /// What happened.
    pub event: SessionEvent,
    /// Seconds since 1970.
    pub time: u64,
    /// The first 16 bytes of the host's name, zero-padded.
    pub host: [u8; 16],
    /// HMAC of the first 32 bytes under the root domain's MAC key, cut to 16 bytes.
    pub mac: [u8; 16],
}

impl SessionRecord {
    /// Reads 64 bytes.
    ///
    /// # Errors
    /// [`FormatError`] for a torn or damaged record.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes = bytes.get(..SESSION_RECORD_LEN).ok_or(FormatError::Short(WHAT))?;
        check_crc(bytes, WHAT)?;
        let layout: &Layout = layout(bytes, WHAT)?;
        reserved(&layout.zero, WHAT)?;
        reserved(&layout.reserved, WHAT)?;
        let event = match layout.event {
            1 => SessionEvent::Start,
            2 => SessionEvent::Clean,
            3 => SessionEvent::Recovered,
            _ => return Err(FormatError::Field(WHAT, "event")),
        };
        Ok(Self {
            session: SessionNumber(layout.session.get()),
            event,
            time: layout.time.get(),
            host: layout.host,
            mac: layout.mac,
        })
    }

    /// The stored form, with the MAC as it stands in `self`.
    pub fn encode(&self) -> [u8; SESSION_RECORD_LEN] {
        let event = match self.event {
            SessionEvent::Start => 1,
            SessionEvent::Clean => 2,
            SessionEvent::Recovered => 3,
        };
        let mut out: [u8; SESSION_RECORD_LEN] = zerocopy::transmute!(Layout {
            session: self.session.0.into(),
            event,
            zero: [0; 3],
            time: self.time.into(),
            host: self.host,
            mac: self.mac,
            reserved: [0; 12],
            crc: U32::ZERO,
        });
        put_crc(&mut out);
        out
    }

    /// The bytes that the MAC covers.
    pub fn mac_input(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(&self.encode()[..32]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_flip() {
        let record = SessionRecord {
            session: SessionNumber(9),
            event: SessionEvent::Recovered,
            time: 1,
            host: *b"host\0\0\0\0\0\0\0\0\0\0\0\0",
            mac: [5; 16],
        };
        let bytes = record.encode();
        assert_eq!(SessionRecord::parse(&bytes).unwrap(), record);
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(SessionRecord::parse(&broken).is_err());
        }
    }
}
