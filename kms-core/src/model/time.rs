//! Points in time, and where they come from.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

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

/// Days from 0000-03-01 to 1970-01-01 in the Gregorian calendar.
const DAYS_TO_EPOCH: i64 = 719_468;
/// Days in 400 years.
const DAYS_PER_ERA: i64 = 146_097;

/// The calendar, in UTC and in the years 1970 to 9999.
impl Timestamp {
    /// Reads a date, or a date and a time of day: `2030-01-31`, `2030-01-31T01:02:03.5Z`, `2030-01-31T01:02+02:00`.
    /// What has no zone is UTC.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        let (date, time) = match text.split_once(['T', 't', ' ']) {
            Some((date, time)) => (date, time),
            None => (text, "00:00Z"),
        };
        let [year, month, day] = numbers(date, '-')?[..] else { return None };
        let (clock, offset_minutes) = split_zone(time)?;
        let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let (hour, minute, second) = match numbers(whole, ':')?[..] {
            [hour, minute] => (hour, minute, 0),
            [hour, minute, second] => (hour, minute, second),
            _ => return None,
        };
        let fraction_len = u32::try_from(fraction.len()).ok().filter(|len| (1..=9).contains(len))?;
        let millis = number(fraction)? * 1000 / 10_i64.pow(fraction_len);
        let sane = (1970..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..60).contains(&second);
        let days = days_of(year, month, day);
        // A day that the month does not have comes out as one of the next month.
        if !sane || date_of(days) != (year, month, day) {
            return None;
        }
        let minutes = hour * 60 + minute - offset_minutes;
        Some(Self(days * MILLIS_PER_DAY + (minutes * 60 + second) * 1000 + millis))
    }

    /// The form `2030-01-31T01:02:03.500Z`.
    pub fn to_iso8601(self) -> String {
        let (days, rest) = (self.0.div_euclid(MILLIS_PER_DAY), self.0.rem_euclid(MILLIS_PER_DAY));
        let (year, month, day) = date_of(days);
        let (seconds, millis) = (rest / 1000, rest % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

fn number(text: &str) -> Option<i64> {
    let digits = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn numbers(text: &str, separator: char) -> Option<Vec<i64>> {
    text.split(separator).map(number).collect()
}

/// The time of day, and how many minutes its zone is ahead of UTC.
fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (clock, zone) = time.split_at(at);
    let (hours, minutes) = match numbers(&zone[1..], ':')?[..] {
        [hours, minutes] => (hours, minutes),
        [hours_and_minutes] if zone.len() == 5 => (hours_and_minutes / 100, hours_and_minutes % 100),
        _ => return None,
    };
    let sane = hours < 24 && minutes < 60;
    let ahead = hours * 60 + minutes;
    sane.then_some((clock, if zone.starts_with('-') { -ahead } else { ahead }))
}

/// Days since 1970 of a date. The year begins in March, so that the leap day is its last one.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_PER_ERA + day_of_era - DAYS_TO_EPOCH
}

/// Year, month and day of a number of days since 1970.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / (DAYS_PER_ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
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
        fn what_is_printed_reads_back(millis in 0..253_402_300_799_999_i64) {
            let time = Timestamp(millis);
            proptest::prop_assert_eq!(Timestamp::parse_iso8601(&time.to_iso8601()), Some(time));
        }

        #[test]
        fn reading_is_total(text in "[0-9T:.+Z-]{0,30}|.{0,20}") {
            Timestamp::parse_iso8601(&text);
        }
    }
}
