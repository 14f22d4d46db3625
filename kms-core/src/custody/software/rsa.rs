//! RSA key pairs.

use aws_lc_rs::digest::{self, Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    RsaParameters, UnparsedPublicKey,
};
use zeroize::Zeroizing;

use super::key_pair::KeyPair;
use crate::custody::{CustodyError, OpenMaterial};
use crate::model::{EncryptionAlgorithm, KeySpec, MessageType, Plaintext, SigningAlgorithm};

/// An RSA key pair. Its key usage decides whether it signs or encrypts.
pub(super) struct RsaPair {
    signing: RsaKeyPair,
    decrypting: OaepPrivateDecryptingKey,
    encrypting: OaepPublicEncryptingKey,
    public_key: Vec<u8>,
}

/// How a signing algorithm works.
struct Scheme {
    digest: &'static digest::Algorithm,
    encoding: &'static dyn RsaEncoding,
    verification: &'static RsaParameters,
}

fn scheme(algorithm: SigningAlgorithm) -> Result<Scheme, CustodyError> {
    let (digest, encoding, verification): (_, &'static dyn RsaEncoding, _) = match algorithm {
        SigningAlgorithm::RsassaPssSha256 => (&SHA256, &RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256),
        SigningAlgorithm::RsassaPssSha384 => (&SHA384, &RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384),
        SigningAlgorithm::RsassaPssSha512 => (&SHA512, &RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512),
        SigningAlgorithm::RsassaPkcs1V15Sha256 => (&SHA256, &RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256),
        SigningAlgorithm::RsassaPkcs1V15Sha384 => (&SHA384, &RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384),
        SigningAlgorithm::RsassaPkcs1V15Sha512 => (&SHA512, &RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512),
        SigningAlgorithm::EcdsaSha256
        | SigningAlgorithm::EcdsaSha384
        | SigningAlgorithm::EcdsaSha512
        | SigningAlgorithm::Sm2dsa
        | SigningAlgorithm::MlDsaShake256
        | SigningAlgorithm::Ed25519Sha512
        | SigningAlgorithm::Ed25519PhSha512 => {
            return Err(CustodyError::Unsupported("this signing algorithm"));
        }
    };
    Ok(Scheme { digest, encoding, verification })
}

/// The digest that is signed: of the message, or the message itself.
pub(super) fn digest_of(
    algorithm: &'static digest::Algorithm,
    kind: MessageType,
    message: &[u8],
) -> Result<Digest, CustodyError> {
    match kind {
        MessageType::Raw => Ok(digest::digest(algorithm, message)),
        MessageType::Digest => Digest::import_less_safe(message, algorithm)
            .map_err(|_| CustodyError::Unsupported("a digest of this length")),
        MessageType::ExternalMu => Err(CustodyError::Unsupported("this message type")),
    }
}

/// Whether a signature is one of the message by the holder of the private key to `public`.
pub(super) fn verify(
    algorithm: SigningAlgorithm,
    public: &[u8],
    kind: MessageType,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, CustodyError> {
    let Scheme { digest, verification, .. } = scheme(algorithm)?;
    let digest = digest_of(digest, kind, message)?;
    Ok(UnparsedPublicKey::new(verification, public).verify_digest(&digest, signature).is_ok())
}

fn oaep(algorithm: EncryptionAlgorithm) -> Result<&'static OaepAlgorithm, CustodyError> {
    match algorithm {
        EncryptionAlgorithm::RsaesOaepSha1 => Ok(&OAEP_SHA1_MGF1SHA1),
        EncryptionAlgorithm::RsaesOaepSha256 => Ok(&OAEP_SHA256_MGF1SHA256),
        EncryptionAlgorithm::SymmetricDefault | EncryptionAlgorithm::Sm2pke => {
            Err(CustodyError::Unsupported("this encryption algorithm"))
        }
    }
}

/// The size of the modulus.
fn size(spec: KeySpec) -> Result<(KeySize, usize), CustodyError> {
    match spec {
        KeySpec::Rsa2048 => Ok((KeySize::Rsa2048, 2048)),
        KeySpec::Rsa3072 => Ok((KeySize::Rsa3072, 3072)),
        KeySpec::Rsa4096 => Ok((KeySize::Rsa4096, 4096)),
        _ => Err(CustodyError::Unsupported("RSA")),
    }
}

impl RsaPair {
    pub(super) fn generate(spec: KeySpec) -> Result<Self, CustodyError> {
        let pair = RsaKeyPair::generate(size(spec)?.0).map_err(|_| CustodyError::Internal)?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| CustodyError::Internal)?;
        Self::from_pkcs8(spec, pkcs8.as_ref())
    }

    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Result<Self, CustodyError> {
        let (_, bits) = size(spec)?;
        let refused = || CustodyError::MaterialInvalid("an RSA private key of the size of this key");
        let signing = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| refused())?;
        let private = PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| refused())?;
        if private.key_size_bits() != bits {
            return Err(refused());
        }
        let encrypting =
            OaepPublicEncryptingKey::new(private.public_key()).map_err(|_| CustodyError::Internal)?;
        let decrypting = OaepPrivateDecryptingKey::new(private).map_err(|_| CustodyError::Internal)?;
        let der: PublicKeyX509Der<'_> = signing.public_key().as_der().map_err(|_| CustodyError::Internal)?;
        let public_key = der.as_ref().to_vec();
        Ok(Self { signing, decrypting, encrypting, public_key })
    }
}

impl KeyPair for RsaPair {
    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        let der: Pkcs8V1Der<'_> = self.signing.as_der().map_err(|_| CustodyError::Internal)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }
}

impl OpenMaterial for RsaPair {
    fn public_key(&self) -> Result<Vec<u8>, CustodyError> {
        Ok(self.public_key.clone())
    }

    fn sign(
        &self,
        algorithm: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
    ) -> Result<Vec<u8>, CustodyError> {
        let Scheme { digest, encoding, .. } = scheme(algorithm)?;
        let digest = digest_of(digest, kind, message)?;
        let mut signature = vec![0; self.signing.public_modulus_len()];
        self.signing.sign_digest(encoding, &digest, &mut signature).map_err(|_| CustodyError::Internal)?;
        Ok(signature)
    }

    fn verify(
        &self,
        algorithm: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, CustodyError> {
        verify(algorithm, &self.public_key, kind, message, signature)
    }

    fn encrypt_to_public(
        &self,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CustodyError> {
        let mut out = vec![0; self.encrypting.ciphertext_size()];
        let len = self
            .encrypting
            .encrypt(oaep(algorithm)?, plaintext, &mut out, None)
            .map_err(|_| CustodyError::Internal)?
            .len();
        out.truncate(len);
        Ok(out)
    }

    fn decrypt_with_private(
        &self,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
    ) -> Result<Plaintext, CustodyError> {
        let mut buffer = Zeroizing::new(vec![0; self.decrypting.min_output_size()]);
        let opened = self
            .decrypting
            .decrypt(oaep(algorithm)?, ciphertext, &mut buffer, None)
            .map_err(|_| CustodyError::Unauthentic)?;
        Ok(Plaintext::copy_of(opened))
    }
}
