//! Key pairs of every spec: made, read from PKCS #8, written to it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::ecc::EccPair;
use super::edwards::EdwardsPair;
use super::ml_dsa::MlDsaPair;
use super::ml_kem::MlKemPair;
use super::rsa::RsaPair;
use crate::custody::{CustodyError, OpenMaterial};
use crate::model::{DataKeyPairSpec, KeySpec, Plaintext};

/// A private key with its public key.
pub(super) trait KeyPair: OpenMaterial {
    /// The private key as a DER `PrivateKeyInfo` (RFC 5958). ML-DSA and ML-KEM keys are in seed form.
    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CustodyError>;
}

/// Makes a key pair. RSA takes from tens of milliseconds to a second.
pub(super) fn generate(spec: KeySpec) -> Result<Box<dyn KeyPair>, CustodyError> {
    Ok(match spec {
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => Box::new(RsaPair::generate(spec)?),
        KeySpec::EccNistP256 | KeySpec::EccNistP384 | KeySpec::EccNistP521 | KeySpec::EccSecgP256k1 => {
            Box::new(EccPair::generate(spec)?)
        }
        KeySpec::EccNistEdwards25519 => Box::new(EdwardsPair::generate()?),
        KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87 => Box::new(MlDsaPair::generate(spec)?),
        KeySpec::MlKem512 | KeySpec::MlKem768 | KeySpec::MlKem1024 => Box::new(MlKemPair::generate(spec)?),
        KeySpec::Sm2 => return Err(CustodyError::Unsupported("SM2")),
        KeySpec::SymmetricDefault
        | KeySpec::Hmac224
        | KeySpec::Hmac256
        | KeySpec::Hmac384
        | KeySpec::Hmac512 => return Err(CustodyError::Unsupported("a key pair")),
    })
}

/// Reads a private key that must be of `spec`. Total: anything else is [`CustodyError::MaterialInvalid`].
pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Result<Box<dyn KeyPair>, CustodyError> {
    Ok(match spec {
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => Box::new(RsaPair::from_pkcs8(spec, pkcs8)?),
        KeySpec::EccNistP256 | KeySpec::EccNistP384 | KeySpec::EccNistP521 | KeySpec::EccSecgP256k1 => {
            Box::new(EccPair::from_pkcs8(spec, pkcs8)?)
        }
        KeySpec::EccNistEdwards25519 => Box::new(EdwardsPair::from_pkcs8(pkcs8)?),
        KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87 => {
            Box::new(MlDsaPair::from_pkcs8(spec, pkcs8)?)
        }
        KeySpec::MlKem512 | KeySpec::MlKem768 | KeySpec::MlKem1024 => {
            Box::new(MlKemPair::from_pkcs8(spec, pkcs8)?)
        }
        KeySpec::Sm2 => return Err(CustodyError::Unsupported("SM2")),
        KeySpec::SymmetricDefault
        | KeySpec::Hmac224
        | KeySpec::Hmac256
        | KeySpec::Hmac384
        | KeySpec::Hmac512 => return Err(CustodyError::Unsupported("a key pair")),
    })
}

/// Reads a private key for use.
pub(super) fn open(spec: KeySpec, pkcs8: &[u8]) -> Result<Arc<dyn OpenMaterial>, CustodyError> {
    let pair: Arc<dyn KeyPair> = Arc::from(from_pkcs8(spec, pkcs8)?);
    Ok(pair)
}

/// A key pair for use outside of the service.
#[derive(Debug)]
pub struct DataKeyPair {
    /// The private key as a DER `PrivateKeyInfo`.
    pub private_key: Plaintext,
    /// The public key as a DER `SubjectPublicKeyInfo`.
    pub public_key: Vec<u8>,
}

/// Makes a key pair for use outside of the service, whoever will hold the key that wraps it.
pub fn generate_data_key_pair(spec: DataKeyPairSpec) -> Result<DataKeyPair, CustodyError> {
    let pair = generate(spec.key_spec())?;
    let mut pkcs8 = pair.to_pkcs8()?;
    Ok(DataKeyPair {
        private_key: Plaintext::new(std::mem::take(&mut *pkcs8)),
        public_key: pair.public_key()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair_specs() -> impl Iterator<Item = KeySpec> {
        KeySpec::ALL.iter().copied().filter(|spec| spec.is_asymmetric() && *spec != KeySpec::Sm2)
    }

    #[test]
    fn a_pair_is_the_same_after_pkcs8_and_no_other_spec_reads_it() {
        for spec in pair_specs() {
            let pair = generate(spec).expect("generates");
            let pkcs8 = pair.to_pkcs8().expect("encodes");
            let again = from_pkcs8(spec, &pkcs8).expect("decodes");
            assert_eq!(again.public_key(), pair.public_key(), "{spec}");
            assert_eq!(again.to_pkcs8().expect("encodes"), pkcs8, "{spec}");
            for other in pair_specs().filter(|other| *other != spec) {
                let refused = from_pkcs8(other, &pkcs8).err();
                assert!(matches!(refused, Some(CustodyError::MaterialInvalid(_))), "{spec} as {other}");
            }
            for len in [0, 1, pkcs8.len() / 2, pkcs8.len() - 1] {
                assert!(from_pkcs8(spec, &pkcs8[..len]).is_err(), "{spec} cut to {len}");
            }
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            for spec in pair_specs() {
                prop_assert!(from_pkcs8(spec, &bytes).is_err());
            }
        }
    }
}
