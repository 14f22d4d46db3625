//! ML-KEM key pairs (FIPS 203).

use aws_lc_rs::kem::{self, EncapsulationKey};
use ml_kem::{Decapsulate, KeyExport, Seed, ml_kem_512, ml_kem_768, ml_kem_1024};
use zeroize::Zeroizing;

use super::key_pair::KeyPair;
use super::seed_der::{self, Oid};
use crate::custody::{CustodyError, Encapsulated, OpenMaterial};
use crate::model::{KeySpec, Plaintext};
use crate::seal::fill_random;

const SEED_LEN: usize = 64;

/// The private key of each parameter set.
enum Private {
    MlKem512(ml_kem_512::DecapsulationKey),
    MlKem768(ml_kem_768::DecapsulationKey),
    MlKem1024(ml_kem_1024::DecapsulationKey),
}

impl Private {
    fn from_seed(spec: KeySpec, seed: &[u8; SEED_LEN]) -> Result<Self, CustodyError> {
        let seed = Seed::from(*seed);
        match spec {
            KeySpec::MlKem512 => Ok(Self::MlKem512(ml_kem_512::DecapsulationKey::from_seed(seed))),
            KeySpec::MlKem768 => Ok(Self::MlKem768(ml_kem_768::DecapsulationKey::from_seed(seed))),
            KeySpec::MlKem1024 => Ok(Self::MlKem1024(ml_kem_1024::DecapsulationKey::from_seed(seed))),
            _ => Err(CustodyError::Unsupported("ML-KEM")),
        }
    }

    fn public_bytes(&self) -> Vec<u8> {
        match self {
            Self::MlKem512(key) => key.encapsulation_key().to_bytes().to_vec(),
            Self::MlKem768(key) => key.encapsulation_key().to_bytes().to_vec(),
            Self::MlKem1024(key) => key.encapsulation_key().to_bytes().to_vec(),
        }
    }

    /// `None` for a ciphertext of a wrong length. Every other one opens to something.
    fn decapsulate(&self, ciphertext: &[u8]) -> Option<Plaintext> {
        let secret = match self {
            Self::MlKem512(key) => key.decapsulate_slice(ciphertext).ok()?,
            Self::MlKem768(key) => key.decapsulate_slice(ciphertext).ok()?,
            Self::MlKem1024(key) => key.decapsulate_slice(ciphertext).ok()?,
        };
        Some(Plaintext::new(secret.to_vec()))
    }
}

/// An ML-KEM key pair. Secrets are encapsulated by one implementation and opened by another, so that one of them cannot
/// be wrong without anybody noticing.
pub(super) struct MlKemPair {
    oid: Oid,
    seed: Zeroizing<[u8; SEED_LEN]>,
    private: Private,
    public: EncapsulationKey,
    public_key: Vec<u8>,
}

impl MlKemPair {
    pub(super) fn generate(spec: KeySpec) -> Result<Self, CustodyError> {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        fill_random(&mut seed[..]).map_err(|_| CustodyError::Internal)?;
        Self::from_seed(spec, seed)
    }

    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Result<Self, CustodyError> {
        let (_, oid) = parameters(spec)?;
        let seed = seed_der::decode_private(&oid, pkcs8)
            .ok_or(CustodyError::MaterialInvalid("the seed of an ML-KEM private key of this key spec"))?;
        Self::from_seed(spec, seed)
    }

    fn from_seed(spec: KeySpec, seed: Zeroizing<[u8; SEED_LEN]>) -> Result<Self, CustodyError> {
        let (algorithm, oid) = parameters(spec)?;
        let private = Private::from_seed(spec, &seed)?;
        let bytes = private.public_bytes();
        let public = EncapsulationKey::new(algorithm, &bytes).map_err(|_| CustodyError::Internal)?;
        let public_key = seed_der::encode_public(&oid, &bytes).ok_or(CustodyError::Internal)?;
        Ok(Self { oid, seed, private, public, public_key })
    }
}

fn parameters(spec: KeySpec) -> Result<(&'static kem::Algorithm, Oid), CustodyError> {
    let (algorithm, last) = match spec {
        KeySpec::MlKem512 => (&kem::ML_KEM_512, 1),
        KeySpec::MlKem768 => (&kem::ML_KEM_768, 2),
        KeySpec::MlKem1024 => (&kem::ML_KEM_1024, 3),
        _ => return Err(CustodyError::Unsupported("ML-KEM")),
    };
    Ok((algorithm, [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, last]))
}

impl KeyPair for MlKemPair {
    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        Ok(seed_der::encode_private(&self.oid, &self.seed))
    }
}

impl OpenMaterial for MlKemPair {
    fn public_key(&self) -> Result<Vec<u8>, CustodyError> {
        Ok(self.public_key.clone())
    }

    fn encapsulate(&self) -> Result<Encapsulated, CustodyError> {
        let (ciphertext, secret) = self.public.encapsulate().map_err(|_| CustodyError::Internal)?;
        Ok(Encapsulated {
            shared_secret: Plaintext::copy_of(secret.as_ref()),
            ciphertext: ciphertext.as_ref().to_vec(),
        })
    }

    fn decapsulate(&self, ciphertext: &[u8]) -> Result<Plaintext, CustodyError> {
        self.private.decapsulate(ciphertext).ok_or(CustodyError::Unauthentic)
    }
}
