//! `kmsfs kms xks-proxy`: our keys as the external keys of another service.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kms_core::model::UserName;
use serde_json::json;
use zeroize::Zeroizing;

use super::serve::tls_source;
use crate::cli::error::CliError;
use crate::cli::key::stores;
use crate::cli::keystore::KeystoreArgs;
use crate::cli::output::Output;
use crate::serve::{self, XksConfig};
use crate::telemetry;

/// The digits of access key ids of the proxy API.
const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const ACCESS_KEY_LEN: usize = 20;
const SECRET_LEN: usize = 32;

/// Let AWS KMS or another kmsfs use keys of the keystore as external keys, until SIGTERM or SIGINT
///
/// Speaks the proxy API 1.0 of AWS external key stores. The id of a key is its name outside.
#[derive(Debug, clap::Args)]
pub(super) struct XksProxyArgs {
    /// Where to listen; without a certificate only on a loopback address
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4600")]
    listen: SocketAddr,
    /// Speak TLS with the certificate chain in this PEM file; it and the key are read again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A path in front of /kms/xks/v1, for example /team-a
    #[arg(long, value_name = "PATH", default_value = "")]
    path_prefix: String,
    /// What requests are signed with: a file of `create-xks-credential`. Two, while one takes the place of the other
    #[arg(long, value_name = "FILE", required = true, num_args = 1)]
    credential_file: Vec<PathBuf>,
    /// The user of the keystore as which requests use keys
    #[arg(long, value_name = "NAME")]
    user: String,
    /// How many requests may be under way at once; more are refused with ThrottlingException
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    max_concurrent: u16,
}

/// Make a credential for the proxy, in the form that the AWS console takes
#[derive(Debug, clap::Args)]
pub(super) struct CreateCredentialArgs {
    /// The file to write; it must not exist
    file: PathBuf,
    /// The path in front of /kms/xks/v1, for example /team-a
    #[arg(long, value_name = "PATH", default_value = "")]
    path_prefix: String,
}

pub(super) fn run(args: &XksProxyArgs, keystore: &KeystoreArgs, output: Output) -> Result<()> {
    check_prefix(&args.path_prefix)?;
    let tls = tls_source(args.tls_cert.as_ref(), args.tls_key.as_ref())?;
    let user: UserName = args.user.parse().map_err(CliError::bad_argument)?;
    let credentials: Result<Vec<_>> = args
        .credential_file
        .iter()
        .map(|file| stores::credential(&format!("file://{}", file.display())))
        .collect();
    let config = XksConfig {
        path_prefix: args.path_prefix.clone(),
        credentials: credentials?,
        user: user.clone(),
        max_concurrent: args.max_concurrent.into(),
    };
    let service = keystore.open()?;
    // A proxy without its user would answer nothing.
    service.identities().user(&user).map_err(|refusal| CliError::Kms { operation: "GetUser", refusal })?;
    telemetry::start("info");
    let scheme = if tls.is_some() { "https" } else { "http" };
    serve::serve_xks_proxy(args.listen, tls, config, service, |address| {
        let uri = format!("{scheme}://{address}{}/kms/xks/v1", args.path_prefix);
        // A reader who went away does not keep anybody from being served.
        let _ = output.show(&json!({ "Uri": uri }), |_| format!("serving external keys at {uri}"));
    })?;
    Ok(())
}

/// The API bounds the characters of a prefix.
fn check_prefix(prefix: &str) -> Result<()> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-');
    let whole = prefix.is_empty() || (prefix.len() > 1 && prefix.starts_with('/') && !prefix.ends_with('/'));
    if whole && prefix.len() <= 100 && prefix.bytes().all(legal) {
        return Ok(());
    }
    let problem = format!("{prefix:?} is not a path such as /team-a");
    Err(CliError::BadArgument(problem).into())
}

pub(super) fn create_credential(args: &CreateCredentialArgs, output: Output) -> Result<()> {
    check_prefix(&args.path_prefix)?;
    let mut random = Zeroizing::new([0; ACCESS_KEY_LEN + SECRET_LEN]);
    getrandom::fill(&mut random[..]).context("there are no random numbers")?;
    let (id, secret) = random.split_at(ACCESS_KEY_LEN);
    let id: String = id.iter().map(|byte| char::from(DIGITS[usize::from(byte & 31)])).collect();
    let secret = Zeroizing::new(STANDARD.encode(secret));
    let path = format!("{}/kms/xks/v1", args.path_prefix);
    let document = Zeroizing::new(format!(
        "{{\n    \"XksProxyUriPath\": \"{path}\",\n    \"XksProxyAuthenticationCredential\": {{\n        \
         \"AccessKeyId\": \"{id}\",\n        \"RawSecretAccessKey\": \"{}\"\n    }}\n}}\n",
        *secret
    ));
    let failed = || format!("cannot write {}", args.file.display());
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&args.file).with_context(failed)?;
    file.write_all(document.as_bytes()).and_then(|()| file.sync_all()).with_context(failed)?;
    output.show(&json!({ "AccessKeyId": id, "File": args.file }), |_| {
        format!("The credential {id} is in {}.", args.file.display())
    })
}
