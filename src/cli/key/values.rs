//! Values of options as the AWS command line takes them: blobs, encryption contexts, times.

use std::path::PathBuf;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kms_core::model::{EncryptionContext, GrantConstraints, Plaintext, Tag, Timestamp};
use serde_json::Value;
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

/// A document: its text, or `file://FILE` for that of a file.
pub(super) fn document(text: &str) -> Result<String> {
    match text.strip_prefix("file://") {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("cannot read {path}")),
        None => Ok(text.to_owned()),
    }
}

/// Base64 text of a blob.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// An encryption context: `name=value,name=value`, or a JSON object of texts.
pub(in crate::cli) fn context(text: Option<&String>) -> Result<EncryptionContext> {
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

/// The constraints of a grant: a JSON object, or `EncryptionContextSubset={name=value,...}` and its like.
pub(super) fn constraints(text: Option<&String>) -> Result<GrantConstraints> {
    let Some(text) = text else { return Ok(GrantConstraints::default()) };
    let refused = || {
        CliError::BadArgument(format!(
            "{text:?} is not EncryptionContextSubset={{name=value}}, EncryptionContextEquals={{name=value}} or \
             SourceArn=ARN, and not a JSON object of these"
        ))
    };
    let mut constraints = GrantConstraints::default();
    if text.trim_start().starts_with('{') {
        let members: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(|_| refused())?;
        for (name, value) in members {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            constrain(&mut constraints, &name, &value)?.ok_or_else(refused)?;
        }
        return Ok(constraints);
    }
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or_else(refused)?;
        let (value, after) = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or_else(refused)?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        constrain(&mut constraints, name, value)?.ok_or_else(refused)?;
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Ok(constraints)
}

/// Sets one constraint. `None` if there is none of that name.
fn constrain(constraints: &mut GrantConstraints, name: &str, value: &str) -> Result<Option<()>> {
    match name {
        "EncryptionContextSubset" => {
            constraints.encryption_context_subset = Some(context(Some(&value.to_owned()))?);
        }
        "EncryptionContextEquals" => {
            constraints.encryption_context_equals = Some(context(Some(&value.to_owned()))?);
        }
        "SourceArn" => constraints.source_arn = Some(value.to_owned()),
        _ => return Ok(None),
    }
    Ok(Some(()))
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
    let seconds = text.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1000));
    let parsed = seconds.map(Timestamp::from_millis).or_else(|| Timestamp::parse_iso8601(text));
    let refused = || CliError::BadArgument(format!("{text:?} is not a time such as 2030-01-31T00:00:00Z"));
    Ok(parsed.ok_or_else(refused)?)
}

/// A time as the AWS command line prints it: `2030-01-31T00:00:00.000000+00:00`.
pub(in crate::cli) fn show_time(time: Timestamp) -> String {
    format!("{}000+00:00", time.to_iso8601().trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_print() {
        for (text, millis) in [
            ("1970-01-01", 0),
            ("1800000000", 1_800_000_000_000),
            ("2030-01-31T01:02:03.5+00:00", 1_896_051_723_500),
        ] {
            assert_eq!(time(text).unwrap().as_millis(), millis, "{text}");
        }
        for text in ["", "x", "2023-02-29", "9223372036854775807"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert_eq!(show_time(Timestamp::from_millis(951_868_799_123)), "2000-02-29T23:59:59.123000+00:00");
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
    fn constraints_have_two_forms() {
        let short = "EncryptionContextSubset={a=1,b=2},SourceArn=arn:aws:s3:::x".to_owned();
        let read = constraints(Some(&short)).unwrap();
        assert_eq!(read.encryption_context_subset, Some(EncryptionContext::from([("a", "1"), ("b", "2")])));
        assert_eq!(read.source_arn.as_deref(), Some("arn:aws:s3:::x"));
        let json = r#"{"EncryptionContextSubset": {"a": "1", "b": "2"}, "SourceArn": "arn:aws:s3:::x"}"#;
        assert_eq!(constraints(Some(&json.to_owned())).unwrap(), read);
        assert!(constraints(None).unwrap().is_empty());
        for text in ["x", "Other={a=1}", "EncryptionContextEquals={a=1", "{", r#"{"Other": {}}"#] {
            assert!(constraints(Some(&text.to_owned())).is_err(), "{text}");
        }
    }

    #[test]
    fn tags_have_two_parts() {
        let read = tag("TagKey=a,TagValue=b=c").unwrap();
        assert_eq!((read.key.as_str(), read.value.as_str()), ("a", "b=c"));
        assert!(tag("a=b").is_err());
    }
}
