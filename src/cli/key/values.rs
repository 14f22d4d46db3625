//! Values of options as the AWS command line takes them: blobs, encryption contexts, times.

use std::path::PathBuf;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kms_core::model::{EncryptionContext, Plaintext, Tag, Timestamp};
use zeroize::Zeroizing;

use crate::cli::error::CliError;

const SECS_PER_DAY: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01 in the Gregorian calendar.
const DAYS_TO_EPOCH: i64 = 719_468;
/// Days in 400 years.
const DAYS_PER_ERA: i64 = 146_097;

/// The bytes of a blob option: base64 text, `fileb://FILE` for the bytes of a file, or `file://FILE` for a file of
/// base64 text.
pub(super) fn blob(text: &str) -> Result<Zeroizing<Vec<u8>>> {
    if let Some(path) = text.strip_prefix("fileb://") {
        return read(path);
    }
    let decoded = match text.strip_prefix("file://") {
        Some(path) => STANDARD.decode(read(path)?.trim_ascii()),
        None => STANDARD.decode(text),
    };
    let refused =
        |_| CliError::BadArgument("a blob is base64 text, or a file named by fileb://FILE".to_owned());
    Ok(Zeroizing::new(decoded.map_err(refused)?))
}

/// As [`blob`], for a secret.
pub(super) fn secret(text: &str) -> Result<Plaintext> {
    Ok(Plaintext::copy_of(&blob(text)?))
}

fn read(path: &str) -> Result<Zeroizing<Vec<u8>>> {
    let path = PathBuf::from(path);
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Zeroizing::new(bytes))
}

/// Base64 text of a blob.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// An encryption context: `name=value,name=value`, or a JSON object of texts.
pub(super) fn context(text: Option<&String>) -> Result<EncryptionContext> {
    let Some(text) = text else { return Ok(EncryptionContext::new()) };
    let refused =
        || CliError::BadArgument(format!("{text:?} is not name=value,name=value and not a JSON object"));
    if text.trim_start().starts_with('{') {
        let pairs: std::collections::BTreeMap<String, String> =
            serde_json::from_str(text).map_err(|_| refused())?;
        return Ok(pairs.into_iter().collect());
    }
    let pairs: Option<Vec<_>> = text.split(',').map(|pair| pair.split_once('=')).collect();
    Ok(pairs.ok_or_else(refused)?.into_iter().collect())
}

/// A tag: `TagKey=name,TagValue=value`.
pub(super) fn tag(text: &str) -> Result<Tag> {
    let refused = || CliError::BadArgument(format!("{text:?} is not TagKey=name,TagValue=value"));
    let (key, value) = text.split_once(",TagValue=").ok_or_else(refused)?;
    let key = key.strip_prefix("TagKey=").ok_or_else(refused)?;
    Ok(Tag { key: key.to_owned(), value: value.to_owned() })
}

/// A time: seconds since 1970, a date, or a date and a time in UTC, for example `2030-01-31T00:00:00Z`.
pub(super) fn time(text: &str) -> Result<Timestamp> {
    let parsed = epoch_seconds(text).or_else(|| calendar_seconds(text));
    let refused = || CliError::BadArgument(format!("{text:?} is not a time such as 2030-01-31T00:00:00Z"));
    let millis = parsed.and_then(|seconds| seconds.checked_mul(1000)).ok_or_else(refused)?;
    Ok(Timestamp::from_millis(millis))
}

fn epoch_seconds(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn calendar_seconds(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time.strip_suffix("+00:00").or(time.strip_suffix('Z')).unwrap_or(time)),
        None => (text, "00:00:00"),
    };
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let whole = time.split('.').next()?;
    let mut parts = whole.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    let sane = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second);
    let days = days_of(year, month, day);
    // A day that the month does not have comes out as one of the next month.
    (sane && date_of(days) == (year, month, day))
        .then_some(days * SECS_PER_DAY + hour * 3600 + minute * 60 + second)
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

/// A time as the AWS command line prints it: `2030-01-31T00:00:00.000000+00:00`.
pub(in crate::cli) fn show_time(time: Timestamp) -> String {
    let millis = time.as_millis();
    let (seconds, millis) = (millis.div_euclid(1000), millis.rem_euclid(1000));
    let (days, rest) = (seconds.div_euclid(SECS_PER_DAY), seconds.rem_euclid(SECS_PER_DAY));
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}000+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_print() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2026-11-23 23:59:59", 1_795_478_399),
            ("1800000000", 1_800_000_000),
            ("2030-01-31T01:02:03.5+00:00", 1_895_965_323),
        ] {
            assert_eq!(time(text).unwrap().as_millis(), seconds * 1000, "{text}");
        }
        for text in ["", "x", "2023-02-29", "2023-13-01", "2023-01-01T25:00:00", "2023-01-01T00:00:00+02:00"]
        {
            assert!(time(text).is_err(), "{text}");
        }
        assert_eq!(show_time(Timestamp::from_millis(951_868_799_123)), "2000-02-29T23:59:59.123000+00:00");
        for day in (0..100_000).step_by(7) {
            let (year, month, date) = date_of(day);
            assert_eq!(days_of(year, month, date), day);
        }
    }

    #[test]
    fn contexts_have_two_forms() {
        let short = context(Some(&"a=1,b=x=y".to_owned())).unwrap();
        assert_eq!(short, EncryptionContext::from([("a", "1"), ("b", "x=y")]));
        assert_eq!(context(Some(&"{\"a\":\"1\",\"b\":\"x=y\"}".to_owned())).unwrap(), short);
        assert!(context(Some(&"a".to_owned())).is_err());
        assert!(context(None).unwrap().is_empty());
    }

    #[test]
    fn blobs_are_base64_or_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"aGk=\n").unwrap();
        assert_eq!(**blob("aGk=").unwrap(), *b"hi");
        assert_eq!(**blob(&format!("fileb://{}", file.path().display())).unwrap(), *b"aGk=\n");
        assert_eq!(**blob(&format!("file://{}", file.path().display())).unwrap(), *b"hi");
        assert!(blob("not base64!").is_err());
    }

    #[test]
    fn tags_have_two_parts() {
        let read = tag("TagKey=a,TagValue=b=c").unwrap();
        assert_eq!((read.key.as_str(), read.value.as_str()), ("a", "b=c"));
        assert!(tag("a=b").is_err());
    }
}
