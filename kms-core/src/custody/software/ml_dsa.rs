//! ML-DSA key pairs (FIPS 204).

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    KeyPair as _, ML_DSA_44, ML_DSA_44_SIGNING, ML_DSA_65, ML_DSA_65_SIGNING, ML_DSA_87, ML_DSA_87_SIGNING,
    PqdsaKeyPair, PqdsaSigningAlgorithm, PqdsaVerificationAlgorithm, UnparsedPublicKey,
};
use getrandom::SysRng;
use ml_dsa::{B32, ExpandedSigningKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Signature, VerifyingKey};
use zeroize::Zeroizing;

use super::key_pair::KeyPair;
use super::seed_der::{self, Oid};
use crate::custody::{CustodyError, OpenMaterial};
use crate::model::{KeySpec, MessageType, SigningAlgorithm};
use crate::seal::fill_random;

const SEED_LEN: usize = 32;

/// Signs a representative with the key of a seed.
type SignMu = fn(&[u8; SEED_LEN], &[u8]) -> Result<Vec<u8>, CustodyError>;
/// Whether a signature is one of a representative, by the holder of a public key.
type VerifyMu = fn(&[u8], &[u8], &[u8]) -> bool;

/// What a parameter set has.
struct Parameters {
    spec: KeySpec,
    oid: Oid,
    signing: &'static PqdsaSigningAlgorithm,
    verification: &'static PqdsaVerificationAlgorithm,
    sign_mu: SignMu,
    verify_mu: VerifyMu,
}

const PARAMETERS: [Parameters; 3] = [
    Parameters {
        spec: KeySpec::MlDsa44,
        oid: [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11],
        signing: &ML_DSA_44_SIGNING,
        verification: &ML_DSA_44,
        sign_mu: sign_mu::<MlDsa44>,
        verify_mu: verify_mu::<MlDsa44>,
    },
    Parameters {
        spec: KeySpec::MlDsa65,
        oid: [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12],
        signing: &ML_DSA_65_SIGNING,
        verification: &ML_DSA_65,
        sign_mu: sign_mu::<MlDsa65>,
        verify_mu: verify_mu::<MlDsa65>,
    },
    Parameters {
        spec: KeySpec::MlDsa87,
        oid: [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x13],
        signing: &ML_DSA_87_SIGNING,
        verification: &ML_DSA_87,
        sign_mu: sign_mu::<MlDsa87>,
        verify_mu: verify_mu::<MlDsa87>,
    },
];

fn sign_mu<P: MlDsaParams>(seed: &[u8; SEED_LEN], mu: &[u8]) -> Result<Vec<u8>, CustodyError> {
    let Ok(mu) = mu.try_into() else {
        return Err(CustodyError::Unsupported("a representative of this length"));
    };
    let seed = Zeroizing::new(B32::from(*seed));
    let key = ExpandedSigningKey::<P>::from_seed(&seed);
    let signature = key.sign_mu_randomized(&mu, &mut SysRng).map_err(|_| CustodyError::Internal)?;
    Ok(signature.encode().to_vec())
}

fn verify_mu<P: MlDsaParams>(public: &[u8], mu: &[u8], signature: &[u8]) -> bool {
    let (Ok(public), Ok(mu), Ok(signature)) =
        (public.try_into(), mu.try_into(), Signature::<P>::try_from(signature))
    else {
        return false;
    };
    VerifyingKey::<P>::decode(public).verify_mu(&mu, &signature)
}

/// An ML-DSA key pair.
pub(super) struct MlDsaPair {
    parameters: &'static Parameters,
    seed: Zeroizing<[u8; SEED_LEN]>,
    pair: PqdsaKeyPair,
    public_key: Vec<u8>,
}

impl MlDsaPair {
    pub(super) fn generate(spec: KeySpec) -> Result<Self, CustodyError> {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        fill_random(&mut seed[..]).map_err(|_| CustodyError::Internal)?;
        Self::from_seed(parameters(spec)?, seed)
    }

    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Result<Self, CustodyError> {
        let refused =
            || CustodyError::MaterialInvalid("an ML-DSA private key of this key spec with its seed");
        let parameters = parameters(spec)?;
        // The library checks that an expanded key belongs to the seed, and writes the seed alone.
        let pair = PqdsaKeyPair::from_pkcs8(parameters.signing, pkcs8).map_err(|_| refused())?;
        let seed_only = pair.to_pkcs8v1().map_err(|_| refused())?;
        let seed = seed_der::decode_private(&parameters.oid, seed_only.as_ref()).ok_or_else(refused)?;
        Self::from_seed(parameters, seed)
    }

    fn from_seed(
        parameters: &'static Parameters,
        seed: Zeroizing<[u8; SEED_LEN]>,
    ) -> Result<Self, CustodyError> {
        let pair =
            PqdsaKeyPair::from_seed(parameters.signing, &seed[..]).map_err(|_| CustodyError::Internal)?;
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| CustodyError::Internal)?;
        let public_key = der.as_ref().to_vec();
        Ok(Self { parameters, seed, pair, public_key })
    }
}

/// Whether a signature is one of the message by the holder of the private key to `public`.
pub(super) fn verify(
    spec: KeySpec,
    public: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<bool, CustodyError> {
    let verification = parameters(spec)?.verification;
    Ok(UnparsedPublicKey::new(verification, public).verify(message, signature).is_ok())
}

fn parameters(spec: KeySpec) -> Result<&'static Parameters, CustodyError> {
    PARAMETERS.iter().find(|set| set.spec == spec).ok_or(CustodyError::Unsupported("ML-DSA"))
}

/// Whether the message is its representative already.
fn is_mu(algorithm: SigningAlgorithm, kind: MessageType) -> Result<bool, CustodyError> {
    match (algorithm, kind) {
        (SigningAlgorithm::MlDsaShake256, MessageType::Raw) => Ok(false),
        (SigningAlgorithm::MlDsaShake256, MessageType::ExternalMu) => Ok(true),
        _ => Err(CustodyError::Unsupported("this signing algorithm and message type")),
    }
}

impl KeyPair for MlDsaPair {
    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        Ok(seed_der::encode_private(&self.parameters.oid, &self.seed))
    }
}

impl OpenMaterial for MlDsaPair {
    fn public_key(&self) -> Result<Vec<u8>, CustodyError> {
        Ok(self.public_key.clone())
    }

    fn sign(
        &self,
        algorithm: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
    ) -> Result<Vec<u8>, CustodyError> {
        if is_mu(algorithm, kind)? {
            return (self.parameters.sign_mu)(&self.seed, message);
        }
        let mut signature = vec![0; self.parameters.signing.signature_len()];
        self.pair.sign(message, &mut signature).map_err(|_| CustodyError::Internal)?;
        Ok(signature)
    }

    fn verify(
        &self,
        algorithm: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, CustodyError> {
        let public = self.pair.public_key().as_ref();
        if is_mu(algorithm, kind)? {
            return Ok((self.parameters.verify_mu)(public, message, signature));
        }
        verify(self.parameters.spec, public, message, signature)
    }
}
