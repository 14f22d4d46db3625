//! A key management service with the semantics of AWS KMS, as a library.
//!
//! Callers program against [`client::KeyService`]. [`service::EmbeddedKms`] is the service in this process: durable
//! over a [`keystore::Keystore`] directory, which several processes may use at once, or forgetful for trials.
//!
//! ```
//! use kms_core::client::KeyService;
//! use kms_core::keystore::{Argon2Params, CreateOptions, Keystore, RootKeySource};
//! use kms_core::model::{
//!     AccountId, Caller, CreateKeyRequest, DecryptRequest, EncryptionContext, GenerateDataKeyRequest,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let options = CreateOptions { argon2: Argon2Params::dangerous_fast(), ..CreateOptions::default() };
//! let path = directory.path().join("keystore");
//! let source = RootKeySource::passphrase("correct horse battery staple");
//! # Keystore::create_with(&path, &source, &options)?;
//! # /*
//! Keystore::create(&path, &source)?;
//! # */
//! let kms = Keystore::open(&path, &source)?;
//!
//! let caller = Caller::local(AccountId::local(), "alice");
//! let key = kms.create_key(&caller, &CreateKeyRequest::default())?.key_metadata;
//! let context = EncryptionContext::from([("inode", "42")]);
//! let made = kms.generate_data_key(&caller, &GenerateDataKeyRequest::aes_256(key.key_id, context.clone()))?;
//! let opened = kms.decrypt(&caller, &DecryptRequest::new(made.ciphertext_blob, context))?;
//! assert_eq!(opened.plaintext.expose(), made.plaintext.expose());
//! # Ok(())
//! # }
//! ```
//!
//! # Layers, from the top; a module uses only what stands below it
//! - [`keystore`]: the directory of an embedded service: root key, database, permissions.
//! - [`service`]: the operations. Resolve what the caller typed, load the key, carry out what is due on it, authorize,
//!   check its state against one table, act in one transaction.
//! - [`wire`]: the API as JSON, for whoever serves a [`client::KeyService`] over a network.
//! - [`client`]: the trait [`client::KeyService`].
//! - [`import`]: wrapping of key material on its way into the service.
//! - [`custody`]: who holds key material, behind the trait [`custody::KeyCustody`].
//! - [`store`]: keys and aliases in transactions, behind the trait [`store::MetadataStore`]; every row sealed.
//! - [`audit`]: what happened to keys, in a log that nobody changes unnoticed.
//! - [`blob`]: the format of ciphertext blobs.
//! - [`seal`]: the root key, and authenticated encryption under keys that are used once.
//! - [`policy`]: the policy language, parsed and evaluated; no clock, no I/O.
//! - [`model`] and [`error`]: ids, names, requests, responses, and [`KmsError`] with the codes and messages of AWS.
//!
//! # What holds
//! - A change by any process holds for the next operation of every process: caches are used only while the store's
//!   change counter stands still.
//! - Time is looked at when a key is accessed. A key past its deletion date, or material past its expiry, is not used
//!   once more, however long nobody ran [`service::EmbeddedKms::run_due`].
//! - A stored record that was changed by hand, or put in the place of another one, is an error that names the key.
//!   An older version of the same row, put back by somebody who can write the database, is not noticed.

pub mod audit;
pub mod blob;
pub mod client;
pub mod custody;
pub mod error;
pub mod import;
pub mod keystore;
pub mod model;
pub mod policy;
pub mod seal;
pub mod service;
pub mod store;
pub mod wire;

pub use error::KmsError;
