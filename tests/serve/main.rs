//! `kmsfs kms serve` as a client sees it, down to the bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod durability;
mod requests;
mod server;
mod signatures;
