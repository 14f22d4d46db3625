//! Values of options as the AWS command line takes them: blobs, encryption contexts, times.

use std::path::PathBuf;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil;
use jiff::tz::TimeZone;
use kms_core::model::{EncryptionContext, Plaintext, Tag, Timestamp};
use zeroize::Zeroizing;

use crate::cli::error::CliError;

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

/// A time: seconds since 1970, a date, or a date and a time, in UTC unless it says otherwise, for example
/// `2030-01-31T00:00:00Z`.
pub(super) fn time(text: &str) -> Result<Timestamp> {
    let refused = || CliError::BadArgument(format!("{text:?} is not a time such as 2030-01-31T00:00:00Z"));
    Ok(Timestamp::from_millis(millis_of(text).ok_or_else(refused)?))
}

fn millis_of(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<i64>() {
        return seconds.checked_mul(1000);
    }
    let in_utc = || TimeZone::UTC.to_timestamp(text.parse::<civil::DateTime>().ok()?).ok();
    let time = text.parse::<jiff::Timestamp>().ok().or_else(in_utc)?;
    Some(time.as_millisecond())
}

/// A time as the AWS command line prints it: `2030-01-31T00:00:00.000000+00:00`.
pub(in crate::cli) fn show_time(time: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(time.as_millis()) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string(),
        // Beyond the year 9999: no calendar, but still the time.
        Err(_) => time.as_millis().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_print() {
        // From `date -u -d TEXT +%s%3N`.
        for (text, millis) in [
            ("1970-01-01", 0),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("2026-11-23 23:59:59", 1_795_478_399_000),
            ("1800000000", 1_800_000_000_000),
            ("2030-01-31T01:02:03.5+00:00", 1_896_051_723_500),
            ("2030-01-31T01:02:03+02:00", 1_896_044_523_000),
        ] {
            assert_eq!(time(text).unwrap().as_millis(), millis, "{text}");
        }
        for text in ["", "x", "2023-02-29", "2023-13-01", "2023-01-01T25:00:00", "9223372036854775807"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert_eq!(show_time(Timestamp::from_millis(951_868_799_123)), "2000-02-29T23:59:59.123000+00:00");
        assert_eq!(show_time(Timestamp::from_millis(i64::MAX)), i64::MAX.to_string());
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
