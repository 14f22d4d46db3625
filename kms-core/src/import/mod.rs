//! Key material under a wrapping key: made on the side of the customer, opened on the side of the service.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use zeroize::Zeroizing;

use crate::error::KmsError;
use crate::model::{GetParametersForImportResponse, Plaintext, WrappingAlgorithm, WrappingKeySpec};
use crate::seal::fill_random;

/// The AES key between RSA and the material in the `RSA_AES_KEY_WRAP` algorithms.
const AES_KEY_LEN: usize = 32;
/// Longer than any key material that exists, and short enough to allocate without thinking.
const MAX_WRAPPED_LEN: usize = 6144;

/// How a wrapping algorithm works.
struct Scheme {
    oaep: &'static OaepAlgorithm,
    with_aes: bool,
}

fn scheme(algorithm: WrappingAlgorithm) -> Result<Scheme, KmsError> {
    let (oaep, with_aes) = match algorithm {
        WrappingAlgorithm::RsaesOaepSha1 => (&OAEP_SHA1_MGF1SHA1, false),
        WrappingAlgorithm::RsaesOaepSha256 => (&OAEP_SHA256_MGF1SHA256, false),
        WrappingAlgorithm::RsaAesKeyWrapSha1 => (&OAEP_SHA1_MGF1SHA1, true),
        WrappingAlgorithm::RsaAesKeyWrapSha256 => (&OAEP_SHA256_MGF1SHA256, true),
        WrappingAlgorithm::RsaesPkcs1V15 | WrappingAlgorithm::Sm2pke => {
            return Err(KmsError::UnsupportedOperation(format!(
                "Wrapping algorithm {algorithm} is not supported by this service."
            )));
        }
    };
    Ok(Scheme { oaep, with_aes })
}

/// Wraps `material` under the public key of `parameters`, ready for `ImportKeyMaterial` with the same algorithm as in
/// the request that returned the parameters. This runs on the side of the customer and needs no service.
pub fn wrap_material(
    parameters: &GetParametersForImportResponse,
    material: &Plaintext,
    algorithm: WrappingAlgorithm,
) -> Result<Vec<u8>, KmsError> {
    let Scheme { oaep, with_aes } = scheme(algorithm)?;
    let public = PublicEncryptingKey::from_der(&parameters.public_key)
        .map_err(|_| KmsError::Validation("The public key of the import parameters is not valid.".into()))?;
    let rsa = OaepPublicEncryptingKey::new(public).map_err(|_| failed())?;
    if !with_aes {
        return encrypt_oaep(&rsa, oaep, material.expose());
    }
    let mut aes_key = Zeroizing::new([0; AES_KEY_LEN]);
    fill_random(&mut aes_key[..]).map_err(|_| failed())?;
    let mut wrapped = encrypt_oaep(&rsa, oaep, &aes_key[..])?;
    let mut buffer = vec![0; material.len() + 16];
    let kek = AesKek::new(&AES_256, &aes_key[..]).map_err(|_| failed())?;
    wrapped.extend_from_slice(
        kek.wrap_with_padding(material.expose(), &mut buffer)
            .map_err(|_| KmsError::IncorrectKeyMaterial(String::new()))?,
    );
    Ok(wrapped)
}

fn encrypt_oaep(
    rsa: &OaepPublicEncryptingKey,
    oaep: &'static OaepAlgorithm,
    plaintext: &[u8],
) -> Result<Vec<u8>, KmsError> {
    let mut out = vec![0; rsa.ciphertext_size()];
    let len = rsa.encrypt(oaep, plaintext, &mut out, None).map_err(|_| failed())?.len();
    out.truncate(len);
    Ok(out)
}

/// A wrapping key that was made for one import.
pub(crate) struct WrappingKey {
    private: PrivateDecryptingKey,
}

impl WrappingKey {
    /// Makes an RSA key. This takes from tens of milliseconds to a second.
    pub(crate) fn generate(spec: WrappingKeySpec) -> Result<Self, KmsError> {
        let size = match spec {
            WrappingKeySpec::Rsa2048 => KeySize::Rsa2048,
            WrappingKeySpec::Rsa3072 => KeySize::Rsa3072,
            WrappingKeySpec::Rsa4096 => KeySize::Rsa4096,
            WrappingKeySpec::Sm2 => {
                return Err(KmsError::UnsupportedOperation(format!(
                    "Wrapping key spec {spec} is not supported by this service."
                )));
            }
        };
        PrivateDecryptingKey::generate(size).map(|private| Self { private }).map_err(|_| failed())
    }

    /// Reads the private key that an import token carries.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KmsError> {
        PrivateDecryptingKey::from_pkcs8(pkcs8).map(|private| Self { private }).map_err(|_| failed())
    }

    /// The private key, to be sealed into the token.
    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let der: Pkcs8V1Der<'_> = self.private.as_der().map_err(|_| failed())?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// The public key as a DER `SubjectPublicKeyInfo`.
    pub(crate) fn public_der(&self) -> Result<Vec<u8>, KmsError> {
        let der: PublicKeyX509Der<'_> = self.private.public_key().as_der().map_err(|_| failed())?;
        Ok(der.as_ref().to_vec())
    }

    /// Opens what [`wrap_material`] made. Everything else is `InvalidCiphertextException`, whatever the reason, so that
    /// the answer is no oracle.
    pub(crate) fn unwrap(&self, algorithm: WrappingAlgorithm, wrapped: &[u8]) -> Result<Plaintext, KmsError> {
        let Scheme { oaep, with_aes } = scheme(algorithm)?;
        let rsa = OaepPrivateDecryptingKey::new(self.private.clone()).map_err(|_| failed())?;
        let rsa_len = rsa.key_size_bytes();
        if wrapped.len() < rsa_len || wrapped.len() > MAX_WRAPPED_LEN {
            return Err(KmsError::invalid_ciphertext());
        }
        let (first, rest) = wrapped.split_at(rsa_len);
        if rest.is_empty() == with_aes {
            return Err(KmsError::invalid_ciphertext());
        }
        let mut buffer = Zeroizing::new(vec![0; rsa.min_output_size()]);
        let opened =
            rsa.decrypt(oaep, first, &mut buffer, None).map_err(|_| KmsError::invalid_ciphertext())?;
        if !with_aes {
            return Ok(Plaintext::copy_of(opened));
        }
        if opened.len() != AES_KEY_LEN {
            return Err(KmsError::invalid_ciphertext());
        }
        let kek = AesKek::new(&AES_256, opened).map_err(|_| KmsError::invalid_ciphertext())?;
        let mut material = Zeroizing::new(vec![0; rest.len()]);
        let material =
            kek.unwrap_with_padding(rest, &mut material).map_err(|_| KmsError::invalid_ciphertext())?;
        Ok(Plaintext::copy_of(material))
    }
}

fn failed() -> KmsError {
    KmsError::Internal("the cryptographic library failed".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyArn, KeyId, Realm, Timestamp};

    fn parameters(key: &WrappingKey) -> GetParametersForImportResponse {
        GetParametersForImportResponse {
            key_id: KeyArn::new(&Realm::local(), &KeyId::generate()),
            import_token: Vec::new(),
            public_key: key.public_der().expect("encodes"),
            parameters_valid_to: Timestamp::from_millis(0),
        }
    }

    const ALGORITHMS: [WrappingAlgorithm; 4] = [
        WrappingAlgorithm::RsaesOaepSha1,
        WrappingAlgorithm::RsaesOaepSha256,
        WrappingAlgorithm::RsaAesKeyWrapSha1,
        WrappingAlgorithm::RsaAesKeyWrapSha256,
    ];

    #[test]
    fn every_algorithm_wraps_and_unwraps_and_no_other_opens_it() {
        let key = WrappingKey::generate(WrappingKeySpec::Rsa2048).expect("generates");
        let key = WrappingKey::from_pkcs8(&key.to_pkcs8().expect("encodes")).expect("decodes");
        let material = Plaintext::copy_of(&[7; 32]);
        for algorithm in ALGORITHMS {
            let wrapped = wrap_material(&parameters(&key), &material, algorithm).expect("wraps");
            for other in ALGORITHMS {
                match key.unwrap(other, &wrapped) {
                    Ok(opened) => {
                        assert_eq!(algorithm, other);
                        assert_eq!(opened.expose(), material.expose());
                    }
                    Err(error) => {
                        assert_ne!(algorithm, other);
                        assert_eq!(error, KmsError::invalid_ciphertext());
                    }
                }
            }
            for len in [0, 1, 255, wrapped.len() - 1] {
                assert_eq!(
                    key.unwrap(algorithm, &wrapped[..len]).err(),
                    Some(KmsError::invalid_ciphertext())
                );
            }
        }
    }
}
