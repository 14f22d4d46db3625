//! Every structure of docs/format.md as bytes, made from fixed inputs, compared with `tests/vectors/`.
//!
//! The files there have the inputs beside the bytes, so that another program can be held to them. A change of
//! the format shows here first. `KMSFS_WRITE_VECTORS=1` writes them anew.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod made;
mod rejected;

use std::path::PathBuf;

use serde_json::Value;

/// Compares `made` with the stored file, or stores it.
fn hold_to(name: &str, made: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    let text = serde_json::to_string_pretty(made).unwrap() + "\n";
    if std::env::var_os("KMSFS_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert!(stored == text, "{name} is not what this program makes:\n{}", first_difference(&stored, &text));
}

fn first_difference(stored: &str, made: &str) -> String {
    let differ = |(stored, made): &(&str, &str)| stored != made;
    match stored.lines().zip(made.lines()).find(differ) {
        Some((stored, made)) => format!("- {stored}\n+ {made}"),
        None => "one is longer".to_owned(),
    }
}

#[test]
fn keys() {
    hold_to("keys.json", &made::keys());
}

#[test]
fn superblock() {
    hold_to("superblock.json", &made::superblock());
}

#[test]
fn domain_record() {
    hold_to("domain_record.json", &made::domain_record());
}

#[test]
fn sessions() {
    hold_to("sessions.json", &made::sessions());
}

#[test]
fn file() {
    hold_to("file.json", &made::file());
}

#[test]
fn geometry() {
    hold_to("geometry.json", &made::geometry());
}

#[test]
fn names() {
    hold_to("names.json", &made::names());
}

#[test]
fn xattrs() {
    hold_to("xattrs.json", &made::xattrs());
}

#[test]
fn journal() {
    hold_to("journal.json", &made::journal());
}

#[test]
fn what_a_reader_must_reject() {
    hold_to("rejected.json", &rejected::table());
    rejected::check();
}
