//! The `kmsfs` program as its users run it: the real binary, real mounts, exit codes and words.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod custody;
mod keys;
mod kills;
mod mounts;
mod program;
mod volumes;
