//! kmsfs: a FUSE file system with transparent envelope encryption under KMS keys.

pub mod store;
