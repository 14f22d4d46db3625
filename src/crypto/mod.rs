//! Ciphers, key derivation, secrets and random numbers: bytes in, bytes out.
//!
//! One AEAD everywhere: AES-256-GCM-SIV (RFC 8452), which stays safe when a nonce repeats. Keys are derived
//! with HKDF-SHA-256 (RFC 5869) and never used for two purposes.

mod aead;
mod keys;
mod mac;
pub mod random;
mod secret;
mod siv;
mod sum;

pub use aead::{Aead, AeadError, NONCE_LEN, Nonce, TAG_LEN, Tag};
pub use keys::{Commitment, DomainKey, DomainKeys, FileKeys, JournalKeys};
pub use mac::{Mac16, Mac32, MacKey};
pub use secret::{DataKey, SecretKey};
pub use siv::{KERNEL_VARIABLE, Kernel};
pub use sum::{EntrySum, SumKey};
