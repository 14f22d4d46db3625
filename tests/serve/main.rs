//! `kmsfs kms serve` as a client sees it, down to the bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod client;
#[path = "../../kms-core/tests/support/postgres.rs"]
mod cluster;
mod durability;
mod replicas;
mod requests;
#[path = "../support/served.rs"]
mod served;
mod server;
mod signatures;
