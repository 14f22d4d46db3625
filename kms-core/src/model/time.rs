//! Points in time, and where they come from.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil;
use jiff::tz::TimeZone;

/// Milliseconds in a day: waiting periods and rotation periods count days of 24 hours.
pub const MILLIS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// A point in time: milliseconds since the epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Fractional seconds since the epoch, the form of the wire.
    pub fn as_epoch_secs(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// This time and `days` days. Saturates at the end of time.
    pub const fn plus_days(self, days: i64) -> Self {
        Self(self.0.saturating_add(days.saturating_mul(MILLIS_PER_DAY)))
    }
}

/// The calendar, in UTC and in the years 1970 to 9999.
impl Timestamp {
    /// Reads a date, or a date and a time of day: `2030-01-31`, `2030-01-31T01:02:03.5Z`, `2030-01-31T01:02+02:00`.
    /// What has no zone is UTC.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        let in_utc = || TimeZone::UTC.to_timestamp(text.parse::<civil::DateTime>().ok()?).ok();
        let time = text.parse::<jiff::Timestamp>().ok().or_else(in_utc)?;
        Some(Self(time.as_millisecond())).filter(|time| time.0 >= 0)
    }

    /// The form `2030-01-31T01:02:03.500Z`; the last moment of the calendar for what is behind it.
    pub fn to_iso8601(self) -> String {
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    }
}

/// Where the service reads the time. Injected, so that a test can let a year pass.
pub trait Clock: Send + Sync {
    /// The present time.
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 is treated as 1970: the only effect is that nothing is due yet.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// A clock that stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_millis()))
    }

    /// Moves forward by whole days.
    pub fn advance_days(&self, days: i64) {
        self.0.fetch_add(days * MILLIS_PER_DAY, Ordering::SeqCst);
    }

    /// Moves forward by milliseconds.
    pub fn advance_millis(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Default for TestClock {
    /// Stands at a fixed moment of the year 2027.
    fn default() -> Self {
        Self::at(Timestamp::from_millis(1_800_000_000_000))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(text: &str) -> Option<i64> {
        Timestamp::parse_iso8601(text).map(|time| time.as_millis() / 1000)
    }

    #[test]
    fn calendar_times_read() {
        assert_eq!(secs("1970-01-01"), Some(0));
        assert_eq!(secs("2000-02-29T00:00:00Z"), Some(951_782_400));
        assert_eq!(secs("2030-01-31 01:02:03.5+00:00"), Some(1_896_051_723));
        assert_eq!(secs("2030-01-31T03:02:03+0200"), secs("2030-01-31T01:02:03Z"));
        assert_eq!(secs("2030-01-30T23:32-01:30"), secs("2030-01-31T01:02"));
        for text in [
            "",
            "x",
            "2023-02-29",
            "2023-13-01",
            "2023-01-01T25:00",
            "1969-12-31",
            "2023-01-01T1:2:3:4",
            "2023-01-01T00:00+",
            "2023-01-01T00:00.Z",
            "2023-1",
        ] {
            assert_eq!(secs(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_reads_back(millis in 0..jiff::Timestamp::MAX.as_millisecond()) {
            let time = Timestamp(millis);
            proptest::prop_assert_eq!(Timestamp::parse_iso8601(&time.to_iso8601()), Some(time));
        }

        #[test]
        fn reading_is_total(text in "[0-9T:.+Z-]{0,30}|.{0,20}") {
            Timestamp::parse_iso8601(&text);
        }
    }
}
