//! `kmsfs export`: copies what can be read out of a volume, a damaged one too.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::access::AccessArgs;
use super::check::{describe, report};
use super::error::CliError;
use super::offline::OfflineVolume;
use super::output::Output;
use super::progress::Bar;
use super::volume::backing_of;
use crate::maintenance;
use crate::store::BackingStore;
use crate::store::posix::PosixStore;
use crate::volume::OpenMode;

/// Copy what can be read out of a volume, in the clear, and say what cannot
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// The backing directory of a volume that is not mounted
    backing: PathBuf,
    /// An empty directory for the copy; made if it is missing
    directory: PathBuf,
    #[command(flatten)]
    access: AccessArgs,
}

pub(super) fn run(args: &ExportArgs, output: Output) -> Result<()> {
    let backing = backing_of(&args.backing)?;
    let place = || format!("cannot write {}", args.directory.display());
    std::fs::create_dir_all(&args.directory).with_context(place)?;
    if std::fs::read_dir(&args.directory).with_context(place)?.next().is_some() {
        let what = format!("the directory {} is not empty", args.directory.display());
        return Err(CliError::BadArgument(what).into());
    }
    let volume = OfflineVolume::open(&backing, &args.access, &[], OpenMode::ReadOnly)?;
    let dest = PosixStore::open(&args.directory).with_context(place)?;
    let bar = Bar::new("copying", None);
    let outcome = maintenance::export(volume.get(), dest.root(), &|progress| bar.show(progress));
    drop(bar);
    volume.close()?;
    let report = report(outcome.with_context(place)?);
    output.show(&report, describe)?;
    if report.sound {
        return Ok(());
    }
    Err(CliError::CheckFailed { backing, count: report.finding_count }.into())
}
