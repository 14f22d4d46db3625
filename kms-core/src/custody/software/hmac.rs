//! Material of HMAC keys.

use aws_lc_rs::hmac::{HMAC_SHA224, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512, Key};
use aws_lc_rs::{constant_time, hmac};

use crate::custody::{CustodyError, OpenMaterial};
use crate::model::{KeySpec, MacAlgorithm};

/// The secret of an HMAC, ready for the one algorithm of its spec.
pub(super) struct HmacMaterial {
    algorithm: MacAlgorithm,
    key: Key,
}

impl HmacMaterial {
    /// From the secret of a key of `spec`; `None` for a spec that has no MAC.
    pub(super) fn new(spec: KeySpec, secret: &[u8]) -> Option<Self> {
        let [algorithm] = spec.mac_algorithms() else { return None };
        let implementation = match algorithm {
            MacAlgorithm::HmacSha224 => HMAC_SHA224,
            MacAlgorithm::HmacSha256 => HMAC_SHA256,
            MacAlgorithm::HmacSha384 => HMAC_SHA384,
            MacAlgorithm::HmacSha512 => HMAC_SHA512,
        };
        Some(Self { algorithm: *algorithm, key: Key::new(implementation, secret) })
    }
}

impl OpenMaterial for HmacMaterial {
    fn generate_mac(&self, algorithm: MacAlgorithm, message: &[u8]) -> Result<Vec<u8>, CustodyError> {
        if algorithm != self.algorithm {
            return Err(CustodyError::Unsupported("this MAC algorithm"));
        }
        Ok(hmac::sign(&self.key, message).as_ref().to_vec())
    }

    fn verify_mac(&self, algorithm: MacAlgorithm, message: &[u8], mac: &[u8]) -> Result<bool, CustodyError> {
        let expected = self.generate_mac(algorithm, message)?;
        Ok(constant_time::verify_slices_are_equal(&expected, mac).is_ok())
    }
}
