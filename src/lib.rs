//! kmsfs: a FUSE file system with transparent envelope encryption under KMS keys.

pub mod cli;
pub mod config;
pub mod crypto;
pub mod file;
pub mod format;
pub mod fs;
pub mod fuse;
pub mod journal;
pub mod keys;
pub mod maintenance;
pub mod names;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod volume;
