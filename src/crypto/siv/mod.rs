//! AES-256-GCM-SIV (RFC 8452) with the instructions of the machine.
//!
//! A message takes these steps, in the words of the RFC:
//! 1. `derive_keys`: six blocks under the key-generating key make the keys of the nonce.
//! 2. POLYVAL over the associated data, the plaintext and their lengths.
//! 3. The tag: the POLYVAL value and the nonce, encrypted.
//! 4. AES in counter mode over the message, from a counter block that is the tag.
//!
//! Steps 1 and 3 are in `narrow`, the passes over the message in `wide`, once for each width of vector. The crate
//! `aes-gcm-siv` serves every other machine, and is what the tests compare with.
//!
//! The second of the two places with unsafe code. The instructions themselves are safe functions in code that
//! states the features it needs, and loads and stores are conversions that `zerocopy` checks; what the compiler
//! cannot check is that this machine has the features. A [`Kernel`] exists only if it has.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod narrow;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod wide;

use std::fmt;
use std::sync::LazyLock;

use aes_gcm_siv::aead::inout::InOutBuf;
use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit};

use super::{Nonce, SecretKey, Tag};

/// The variable that selects a kernel by its name, for comparison. Every kernel computes the same.
pub const KERNEL_VARIABLE: &str = "KMSFS_AEAD";

/// The longest message, 64 GiB (RFC 8452, section 6).
const MAX_MESSAGE: u64 = 1 << 36;

/// An implementation of AES-256-GCM-SIV that this machine is able to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// The crate `aes-gcm-siv`, which runs everywhere.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// All that this machine is able to run, the fastest last.
    pub fn available() -> Vec<Self> {
        let available = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        let available = [available, Self::of_x86_64()].concat();
        available
    }

    #[cfg(target_arch = "x86_64")]
    fn of_x86_64() -> Vec<Self> {
        use std::arch::is_x86_feature_detected as has;
        let two_blocks =
            has!("avx2") && has!("aes") && has!("pclmulqdq") && has!("vaes") && has!("vpclmulqdq");
        let four_blocks = two_blocks && has!("avx512f") && has!("avx512vl");
        let kinds = [(two_blocks, Kind::Avx2), (four_blocks, Kind::Avx512)];
        kinds.into_iter().filter_map(|(able, kind)| able.then_some(Self(kind))).collect()
    }

    /// The one that this process uses: the fastest, or the one that [`KERNEL_VARIABLE`] names, or the portable one
    /// if that names none that this machine is able to run.
    pub fn chosen() -> Self {
        static CHOSEN: LazyLock<Kernel> = LazyLock::new(|| {
            let name = std::env::var_os(KERNEL_VARIABLE);
            Kernel::choose(name.as_ref().map(|name| name.to_str().unwrap_or_default()))
        });
        *CHOSEN
    }

    fn choose(name: Option<&str>) -> Self {
        let available = Self::available();
        let Some(name) = name else { return *available.last().unwrap_or(&Self::PORTABLE) };
        let named = available.into_iter().find(|kernel| kernel.name() == name);
        named.unwrap_or_else(|| {
            tracing::warn!(
                name,
                "{KERNEL_VARIABLE} names no cipher kernel of this machine; the portable one is used"
            );
            Self::PORTABLE
        })
    }

    /// Its name, as [`KERNEL_VARIABLE`] takes it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key, expanded for one kernel. It is wiped when it is dropped.
pub(super) struct SivKey(Expanded);

/// The form of each kernel is made only for a [`Kernel`] of that kind.
enum Expanded {
    Portable(Box<Aes256GcmSiv>),
    #[cfg(target_arch = "x86_64")]
    Avx2(narrow::RoundKeys),
    #[cfg(target_arch = "x86_64")]
    Avx512(narrow::RoundKeys),
}

impl SivKey {
    pub(super) fn new(kernel: Kernel, key: &SecretKey) -> Self {
        Self(match kernel.0 {
            Kind::Portable => Expanded::Portable(Box::new(Aes256GcmSiv::new(key.expose().into()))),
            // SAFETY: the kernel exists, so this machine has AES-NI and AVX.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => Expanded::Avx2(unsafe { narrow::RoundKeys::of(key.expose()) }),
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => Expanded::Avx512(unsafe { narrow::RoundKeys::of(key.expose()) }),
        })
    }

    /// Encrypts `plain` into `cipher` and returns the tag.
    ///
    /// # Panics
    /// If the lengths differ, or beyond 64 GiB.
    pub(super) fn seal(&self, nonce: &Nonce, aad: &[u8], plain: &[u8], cipher: &mut [u8]) -> Tag {
        assert_eq!(plain.len(), cipher.len(), "plain and cipher have one length");
        assert!(plain.len() as u64 <= MAX_MESSAGE, "a message is far below the limit of RFC 8452");
        match &self.0 {
            Expanded::Portable(key) => {
                let buffer = InOutBuf::new(plain, cipher).expect("the lengths were compared");
                let tag = key.encrypt_inout_detached(nonce.into(), aad, buffer);
                tag.expect("the length was compared with the limit").into()
            }
            // SAFETY: the key was made for this kernel, which exists, so this machine has its features.
            #[cfg(target_arch = "x86_64")]
            Expanded::Avx2(key) => unsafe { avx2::seal(key, nonce, aad, plain, cipher) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Expanded::Avx512(key) => unsafe { avx512::seal(key, nonce, aad, plain, cipher) },
        }
    }

    /// Decrypts `cipher` into `plain` of the same length and tells whether it is what was sealed. If not, `plain` is wiped.
    ///
    /// # Panics
    /// If the lengths differ.
    #[must_use]
    pub(super) fn open(&self, nonce: &Nonce, aad: &[u8], cipher: &[u8], tag: &Tag, plain: &mut [u8]) -> bool {
        assert_eq!(plain.len(), cipher.len(), "plain and cipher have one length");
        let authentic = match &self.0 {
            _ if cipher.len() as u64 > MAX_MESSAGE => false,
            Expanded::Portable(key) => {
                let buffer = InOutBuf::new(cipher, plain).expect("the lengths were compared");
                key.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()).is_ok()
            }
            // SAFETY: the key was made for this kernel, which exists, so this machine has its features.
            #[cfg(target_arch = "x86_64")]
            Expanded::Avx2(key) => unsafe { avx2::open(key, nonce, aad, cipher, tag, plain) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Expanded::Avx512(key) => unsafe { avx512::open(key, nonce, aad, cipher, tag, plain) },
        };
        if !authentic {
            plain.fill(0);
        }
        authentic
    }
}
