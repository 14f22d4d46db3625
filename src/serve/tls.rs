//! TLS.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::ServeError;

/// A certificate chain and its private key, as PEM.
pub struct TlsIdentity {
    /// The certificate of the server first, then those that lead to the root.
    pub certificates: Vec<u8>,
    /// PKCS #8, PKCS #1 or SEC 1.
    pub key: Zeroizing<Vec<u8>>,
}

/// Where the identity comes from, asked at the start and at each SIGHUP. The text of an error says what is wrong.
pub type TlsSource = Box<dyn Fn() -> Result<TlsIdentity, String> + Send>;

/// TLS with an identity that can be renewed.
pub(super) struct Tls {
    source: TlsSource,
    acceptor: TlsAcceptor,
}

impl Tls {
    pub(super) fn start(source: TlsSource) -> Result<Self, ServeError> {
        let acceptor = acceptor(&source().map_err(ServeError::Identity)?)?;
        Ok(Self { source, acceptor })
    }

    /// What makes connections with the present identity.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Takes the identity from its source. One that cannot be used leaves the one before in place.
    pub(super) fn renew(&mut self) {
        match (self.source)().map_err(ServeError::Identity).and_then(|identity| acceptor(&identity)) {
            Ok(acceptor) => {
                self.acceptor = acceptor;
                tracing::info!("the certificate was read again");
            }
            Err(error) => tracing::error!(%error, "the certificate before stays in use"),
        }
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity")
    }
}

/// What makes TLS connections of this identity: 1.2 and 1.3, with the cryptography that kms-core uses too.
fn acceptor(identity: &TlsIdentity) -> Result<TlsAcceptor, ServeError> {
    let refused = |what: &dyn fmt::Display| ServeError::Identity(what.to_string());
    let certificates = CertificateDer::pem_slice_iter(&identity.certificates)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused(&error))?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(|error| refused(&error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error))?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| refused(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
