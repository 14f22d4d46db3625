//! The `kmsfs` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(kmsfs::cli::run(std::env::args_os()))
}
