//! The command line: one file per verb. The only part of kmsfs that prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod access;
mod advice;
mod check;
mod control;
mod daemon;
mod erase;
mod error;
mod exit;
mod export;
mod further_seals;
mod helper;
mod info;
mod init;
mod key;
mod keystore;
mod keystore_verb;
mod kms;
mod memory;
mod mount;
mod mounts;
mod offline;
mod options;
mod output;
mod paths;
mod progress;
mod protect;
mod remount;
mod rewrap;
mod serve;
mod status;
mod umount;
mod volume;

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use clap::{Parser, Subcommand};

use advice::Explanation;
pub use exit::{EXIT_CODES, ExitCodeLine, ExitStatus};
use helper::Helper;
use output::Output;

/// A file system with transparent envelope encryption under KMS keys.
#[derive(Debug, Parser)]
#[command(name = "kmsfs", version, max_term_width = 100)]
struct Args {
    /// Print results as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::InitArgs),
    Mount(mount::MountArgs),
    Umount(umount::UmountArgs),
    Protect(protect::ProtectArgs),
    Info(info::InfoArgs),
    Status(status::StatusArgs),
    Check(check::CheckArgs),
    Export(export::ExportArgs),
    Rewrap(rewrap::RewrapArgs),
    Erase(erase::EraseArgs),
    Key(key::KeyArgs),
    Keystore(keystore_verb::KeystoreVerbArgs),
    Kms(kms::KmsArgs),
    /// Serve a mount in the background
    #[command(name = daemon::VERB, hide = true)]
    Serve,
    /// Print the version
    Version,
}

/// Runs one command with the arguments `args`, the name of the program first, and returns its exit code: one of
/// [`EXIT_CODES`], or of mount(8) if the name of the program is that of one of its helpers.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    memory::close();
    let args: Vec<_> = args.into_iter().collect();
    match args.first().and_then(|program| Helper::called(Path::new(program))) {
        Some(helper) => helper.run(&args),
        None => run_verb(args).code(),
    }
}

fn run_verb(args: Vec<OsString>) -> ExitStatus {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // A failure to print help or usage leaves nothing to say.
            let _ = error.print();
            return if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Success };
        }
    };
    match dispatch(&args) {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            let Explanation { message, advice, status } = Explanation::of(&error);
            if !matches!(args.verb, Verb::Serve) {
                eprintln!("kmsfs: {message}");
                if let Some(advice) = advice {
                    eprintln!("  help: {advice}");
                }
            }
            status
        }
    }
}

fn dispatch(args: &Args) -> Result<()> {
    let output = Output { json: args.json };
    match &args.verb {
        Verb::Init(args) => init::run(args, output),
        Verb::Mount(args) => mount::run(args, output),
        Verb::Umount(args) => umount::run(args, output),
        Verb::Protect(args) => protect::run(args, output),
        Verb::Info(args) => info::run(args, output),
        Verb::Status(args) => status::run(args, output),
        Verb::Check(args) => check::run(args, output),
        Verb::Export(args) => export::run(args, output),
        Verb::Rewrap(args) => rewrap::run(args, output),
        Verb::Erase(args) => erase::run(args, output),
        Verb::Keystore(args) => keystore_verb::run(args, output),
        Verb::Kms(args) => kms::run(args, output),
        Verb::Key(args) => key::run(args),
        Verb::Serve => daemon::run(),
        Verb::Version => output.show(&version(), |_| format!("kmsfs {}", env!("CARGO_PKG_VERSION"))),
    }
}

fn version() -> serde_json::Value {
    serde_json::json!({ "Version": env!("CARGO_PKG_VERSION"), "CipherKernel": crate::crypto::Kernel::chosen().name() })
}
