//! `kmsfs kms serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kms_core::model::Region;
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::error::CliError;
use crate::cli::keystore::KeystoreArgs;
use crate::cli::output::Output;
use crate::serve::{self, ServeConfig, TlsIdentity, TlsSource};
use crate::telemetry;

/// Serve the keystore to AWS clients, until SIGTERM or SIGINT
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// Where to listen; without a certificate only on a loopback address
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4599", env = "KMSFS_LISTEN")]
    listen: SocketAddr,
    /// Speak TLS with the certificate chain in this PEM file; it and the key are read again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve these Regions too; a request is for the Region that it is signed for
    #[arg(long, value_name = "REGION,...", value_delimiter = ',')]
    regions: Vec<String>,
    /// How many requests may be under way at once; more are refused with ThrottlingException
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    max_concurrent: u16,
}

/// Where a server has its certificate and key from: their files.
pub(super) fn tls_source(cert: Option<&PathBuf>, key: Option<&PathBuf>) -> Result<Option<TlsSource>> {
    Ok(match (cert, key) {
        (Some(cert), Some(key)) => {
            // Read here too, so that a file that is missing is named as every other.
            identity(cert, key)?;
            let (cert, key) = (cert.clone(), key.clone());
            let source = move || identity(&cert, &key).map_err(|error| format!("{error:#}"));
            Some(Box::new(source) as TlsSource)
        }
        _ => None,
    })
}

pub(super) fn run(args: &ServeArgs, keystore: &KeystoreArgs, output: Output) -> Result<()> {
    let tls = tls_source(args.tls_cert.as_ref(), args.tls_key.as_ref())?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let regions: Result<Vec<Region>, _> = args.regions.iter().map(|one| one.parse()).collect();
    let regions = regions.map_err(CliError::bad_argument)?;
    let service = keystore.open_for(&regions)?;
    telemetry::start("info");
    let region = service.realm().region.to_string();
    let all: Vec<_> = std::iter::once(region.clone()).chain(regions.iter().map(Region::to_string)).collect();
    let config =
        ServeConfig { listen: args.listen, tls, regions, max_concurrent: args.max_concurrent.into() };
    serve::serve(config, service, |address| {
        let ready = json!({ "Endpoint": format!("{scheme}://{address}"), "Region": region, "Regions": all });
        // A reader who went away does not keep anybody from being served.
        let _ = output.show(&ready, |_| format!("serving {} at {scheme}://{address}", all.join(", ")));
    })?;
    Ok(())
}

fn identity(cert: &Path, key: &Path) -> Result<TlsIdentity> {
    Ok(TlsIdentity { certificates: read(cert)?, key: Zeroizing::new(read(key)?) })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
