//! `kmsfs kms`: serving the keystore to AWS clients, and who may call it.

mod serve;
mod user;

use anyhow::Result;

use super::keystore::KeystoreArgs;
use super::keystore_verb::{self, ResealArgs};
use super::output::Output;

/// Serve the keystore to AWS clients, and manage who may call it
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
}

pub(super) fn run(args: &KmsArgs, output: Output) -> Result<()> {
    match &args.verb {
        KmsVerb::Serve(serve) => serve::run(serve, &args.keystore, output),
        KmsVerb::User(verb) => user::run(verb, &args.keystore),
        KmsVerb::Reseal(reseal) => keystore_verb::reseal(&args.keystore, reseal, output),
    }
}
