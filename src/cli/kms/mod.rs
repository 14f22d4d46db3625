//! `kmsfs kms`: serving the keystore to AWS clients, who may call it, and what they did.

mod audit;
mod serve;
mod user;
mod xks_proxy;

use anyhow::Result;

use super::keystore::KeystoreArgs;
use super::keystore_verb::{self, ResealArgs};
use super::output::Output;

/// Serve the keystore to AWS clients, manage who may call it, and see what they did
#[derive(Debug, clap::Args)]
pub(super) struct KmsArgs {
    #[command(flatten)]
    keystore: KeystoreArgs,
    #[command(subcommand)]
    verb: KmsVerb,
}

#[derive(Debug, clap::Subcommand)]
enum KmsVerb {
    Serve(serve::ServeArgs),
    #[command(subcommand)]
    User(user::UserVerb),
    Reseal(ResealArgs),
    #[command(subcommand)]
    Audit(audit::AuditVerb),
    XksProxy(xks_proxy::XksProxyArgs),
    CreateXksCredential(xks_proxy::CreateCredentialArgs),
}

pub(super) fn run(args: &KmsArgs, output: Output) -> Result<()> {
    match &args.verb {
        KmsVerb::Serve(serve) => serve::run(serve, &args.keystore, output),
        KmsVerb::User(verb) => user::run(verb, &args.keystore),
        KmsVerb::Reseal(reseal) => keystore_verb::reseal(&args.keystore, reseal, output),
        KmsVerb::Audit(verb) => audit::run(verb, &args.keystore, output),
        KmsVerb::XksProxy(proxy) => xks_proxy::run(proxy, &args.keystore, output),
        KmsVerb::CreateXksCredential(create) => xks_proxy::create_credential(create, output),
    }
}
