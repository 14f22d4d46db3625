//! A key management service with the semantics of AWS KMS, as a library.
//!
//! # Layers, from the top; a module uses only what stands below it
//! - [`client`]: the trait [`client::KeyService`], what callers program against.
//! - [`model`]: ids, names, states, requests and responses; types that cannot hold an illegal value.
//! - [`error`]: [`KmsError`], a variant per AWS exception, with the messages of AWS.

pub mod blob;
pub mod client;
pub mod custody;
pub mod error;
pub mod import;
pub mod keystore;
pub mod model;
pub mod seal;
pub mod service;
pub mod store;

pub use error::KmsError;
