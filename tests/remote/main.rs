//! Volumes whose keys are at a service elsewhere: another process that serves a keystore, behind a proxy that delays,
//! cuts and falsifies.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod program;
#[path = "../support/served.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod served;

mod bars;
mod faults;
mod lifecycle;
mod proxy;
mod recipients;
mod tiers;
mod world;
