//! `kmsfs kms serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::keystore::KeystoreArgs;
use crate::cli::memory;
use crate::cli::output::Output;
use crate::serve::{self, ServeConfig, TlsIdentity};
use crate::telemetry;

/// Serve the keystore to AWS clients, until SIGTERM or SIGINT
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// Where to listen; without a certificate only on a loopback address
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4599", env = "KMSFS_LISTEN")]
    listen: SocketAddr,
    /// Speak TLS with the certificate chain in this PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// How many requests may be under way at once; more are refused with ThrottlingException
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    max_concurrent: u16,
}

/// The certificate and key of a server, from their files.
pub(super) fn identity(cert: Option<&PathBuf>, key: Option<&PathBuf>) -> Result<Option<TlsIdentity>> {
    Ok(match (cert, key) {
        (Some(cert), Some(key)) => {
            Some(TlsIdentity { certificates: read(cert)?, key: Zeroizing::new(read(key)?) })
        }
        _ => None,
    })
}

pub(super) fn run(args: &ServeArgs, keystore: &KeystoreArgs, output: Output) -> Result<()> {
    let tls = identity(args.tls_cert.as_ref(), args.tls_key.as_ref())?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let config = ServeConfig { listen: args.listen, tls, max_concurrent: args.max_concurrent.into() };
    telemetry::start("info");
    memory::keep_from_swap();
    let service = keystore.open()?;
    let region = service.realm().region.to_string();
    serve::serve(config, service, |address| {
        let ready = json!({ "Endpoint": format!("{scheme}://{address}"), "Region": region });
        // A reader who went away does not keep anybody from being served.
        let _ = output.show(&ready, |_| format!("serving {region} at {scheme}://{address}"));
    })?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
