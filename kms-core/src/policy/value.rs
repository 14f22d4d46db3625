//! Numbers, truth values, times and address ranges as policies write them.

use std::net::IpAddr;

use crate::model::Timestamp;

/// A number that can be compared with every other.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Number(f64);

// Never NaN.
impl Eq for Number {}

impl Number {
    /// `None` for what has no order.
    pub(super) fn of(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value))
    }

    /// A decimal number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
        text.parse().ok().filter(|_| plain).and_then(Self::of)
    }
}

/// `true` or `false`, in any case.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A time: ISO 8601, or seconds since 1970.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    match text.parse::<i64>() {
        Ok(seconds) => seconds.checked_mul(1000).map(Timestamp::from_millis),
        Err(_) => Timestamp::parse_iso8601(text),
    }
}

/// A range of network addresses: an address and how many of its first bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    address: IpAddr,
    prefix_len: u32,
}

impl AddressRange {
    /// `address` or `address/prefix-length`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix_len) = match text.split_once('/') {
            None => (text.parse::<IpAddr>().ok()?, None),
            Some((address, len)) => {
                let digits = !len.is_empty() && len.bytes().all(|byte| byte.is_ascii_digit());
                (address.parse().ok()?, Some(len.parse::<u32>().ok().filter(|_| digits)?))
            }
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = prefix_len.unwrap_or(bits);
        (prefix_len <= bits).then_some(Self { address, prefix_len })
    }

    /// Whether an address lies in the range. An IPv4 address that came as IPv6 is an IPv4 address.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let (own, other, bits) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let ignored = bits - self.prefix_len;
        // A shift by the full width, where nothing counts, leaves nothing.
        let cut = |value: u128| value.checked_shr(ignored).unwrap_or(0);
        cut(own) == cut(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_shares_their_prefix() {
        let contains = |range: &str, address: &str| {
            AddressRange::parse(range).expect("a range").contains(address.parse().expect("an address"))
        };
        assert!(contains("203.0.113.0/24", "203.0.113.255") && !contains("203.0.113.0/24", "203.0.114.0"));
        assert!(contains("0.0.0.0/0", "255.1.2.3") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "2001:db8::1") && !contains("2001:db8::/32", "2001:db9::1"));
        assert!(contains("10.0.0.1", "10.0.0.1") && contains("10.0.0.1", "::ffff:10.0.0.1"));
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "::/129"] {
            assert_eq!(AddressRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_decimal() {
        assert!(Number::parse("-1.5").is_some() && Number::parse("1e3") == Number::of(1000.0));
        for text in ["", "nan", "inf", "1e999", "0x1", " 1"] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }
}
