//! `kmsfs check`: reads everything and reports what is not as it was written.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::access::AccessArgs;
use super::error::CliError;
use super::offline::OfflineVolume;
use super::output::Output;
use super::progress::Bar;
use super::volume::backing_of;
use crate::maintenance::{self, CheckOptions, CheckReport, Finding, Remedy};
use crate::volume::OpenMode;

/// Read everything, and report what is not as it was written
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The backing directory of a volume that is not mounted
    backing: PathBuf,
    /// Check headers, names and attributes, but do not decrypt contents
    #[arg(long)]
    quick: bool,
    /// Restore what can be restored, and put aside what no reader can use; nothing is deleted
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Report {
    pub(super) sound: bool,
    directories: u64,
    files: u64,
    symlinks: u64,
    special: u64,
    bytes: u64,
    pub(super) finding_count: u64,
    findings: Vec<Found>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    kind: &'static str,
    cause: &'static str,
    harmless: bool,
    path: Option<PathBuf>,
    backing_path: PathBuf,
    bytes: Option<[u64; 2]>,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

pub(super) fn run(args: &CheckArgs, output: Output) -> Result<()> {
    let backing = backing_of(&args.backing)?;
    let mode = if args.repair { OpenMode::Exclusive } else { OpenMode::ReadOnly };
    let volume = OfflineVolume::open(&backing, &args.access, &[], mode)?;
    let bar = Bar::new("checking", None);
    let options = CheckOptions { contents: !args.quick };
    let outcome = maintenance::check(volume.get(), options, &|progress| bar.show(progress));
    drop(bar);
    let remedies = match (&outcome, args.repair) {
        (Ok(report), true) => Some(maintenance::repair(volume.get(), &report.findings)?),
        _ => None,
    };
    volume.close()?;
    let mut report = report(outcome?);
    for (found, remedy) in report.findings.iter_mut().zip(remedies.into_iter().flatten()) {
        found.remedy = Some(word(remedy));
    }
    output.show(&report, describe)?;
    if report.sound {
        return Ok(());
    }
    Err(CliError::CheckFailed { backing, count: report.finding_count }.into())
}

fn word(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::Restored => "restored",
        Remedy::Quarantined => "quarantined",
        Remedy::Kept => "kept",
    }
}

pub(super) fn report(report: CheckReport) -> Report {
    Report {
        sound: report.is_sound(),
        directories: report.directories,
        files: report.files,
        symlinks: report.symlinks,
        special: report.special,
        bytes: report.bytes,
        finding_count: report.finding_count,
        findings: report.findings.into_iter().map(found).collect(),
    }
}

fn found(finding: Finding) -> Found {
    Found {
        kind: finding.kind.as_str(),
        cause: finding.kind.cause().as_str(),
        harmless: finding.kind.is_harmless(),
        path: finding.plain_path,
        backing_path: finding.backing_path,
        bytes: finding.bytes.map(|range| [range.start, range.end]),
        detail: finding.detail,
        remedy: None,
    }
}

pub(super) fn describe(report: &Report) -> String {
    let mut lines: Vec<String> = report
        .findings
        .iter()
        .map(|found| {
            let path = found.path.as_ref().unwrap_or(&found.backing_path).display();
            let bytes = found.bytes.map(|[start, end]| format!(", bytes {start}..{end}")).unwrap_or_default();
            let remedy = found.remedy.map(|remedy| format!(" ({remedy})")).unwrap_or_default();
            format!("{}: {path}{bytes}: {} ({}){remedy}", found.kind, found.detail, found.cause)
        })
        .collect();
    lines.push(format!(
        "{} directories, {} files, {} links, {} others, {} bytes read: {}",
        report.directories,
        report.files,
        report.symlinks,
        report.special,
        report.bytes,
        if report.sound { "sound" } else { "NOT SOUND" }
    ));
    lines.join("\n")
}
