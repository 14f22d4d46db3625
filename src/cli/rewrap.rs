//! `kmsfs rewrap`: brings every data key under its KMS key's current material, or under another key.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use serde::Serialize;

use super::access::{AccessArgs, TierArg};
use super::control::{self, Request};
use super::error::CliError;
use super::offline::OfflineVolume;
use super::output::{Output, note};
use super::progress::Bar;
use super::volume::backing_of;
use crate::format::DomainId;
use crate::keys::KeyAt;
use crate::maintenance::{self, RewrapOptions, RewrapReport};
use crate::volume::{OpenMode, OpenVolume};

/// Bring every data key under the current material of its KMS key, or under another key
///
/// Works on a volume that is not mounted, and beside a mount. Can be interrupted; the same command goes on.
#[derive(Debug, clap::Args)]
pub(super) struct RewrapArgs {
    /// The backing directory, or where it is mounted
    backing: PathBuf,
    /// Go to this KMS key (an id, an ARN or an alias); without --domain, what is not a protected directory goes
    ///
    /// KEY is where the present key is; KEY,keystore and KEY,region=NAME[,endpoint-url=URL] are somewhere else.
    #[arg(long, value_name = "KEY")]
    to: Option<KeyAt>,
    /// A further key that is to open every file by itself; can be given several times
    #[arg(long, value_name = "KEY")]
    add_recipient: Vec<KeyAt>,
    /// A key (an id or an ARN) that is to open nothing any more; can be given several times
    #[arg(long, value_name = "KEY")]
    remove_recipient: Vec<String>,
    /// From now on this wraps data keys: see `kmsfs init --help`
    #[arg(long, value_enum)]
    key_tier: Option<TierArg>,
    /// Only this domain; can be given several times
    #[arg(long, value_name = "ID")]
    domain: Vec<DomainId>,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    resumed: bool,
    rewrapped: u64,
    skipped: u64,
    nascent: u64,
    failed_count: u64,
    failed: Vec<Failed>,
    domains: Vec<Domain>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    backing_path: PathBuf,
    reason: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Domain {
    domain_id: String,
    epoch: u32,
    key_id: String,
    recipients: Vec<String>,
    former_keys: Vec<String>,
}

pub(super) fn run(args: &RewrapArgs, output: Output) -> Result<()> {
    let backing = backing_of(&args.backing)?;
    let keys: Vec<KeyAt> = args.to.iter().chain(&args.add_recipient).cloned().collect();
    let volume = OfflineVolume::open(&backing, &args.access, &keys, OpenMode::Maintenance)?;
    let outcome = rewrap(volume.get(), args, &backing);
    volume.close()?;
    let report = report(outcome?);
    output.show(&report, describe)?;
    match report.failed_count {
        0 => Ok(()),
        count => Err(CliError::Incomplete { what: format!("{count} files were not rewrapped") }.into()),
    }
}

fn rewrap(volume: &OpenVolume, args: &RewrapArgs, backing: &Path) -> Result<RewrapReport> {
    let options = RewrapOptions {
        domains: select(volume, args),
        key: args.to.as_ref().map(ToString::to_string),
        add: args.add_recipient.clone(),
        remove: args.remove_recipient.clone(),
        tier: args.key_tier.map(Into::into),
    };
    let counting = Bar::new("counting", None);
    // Nobody sees a total without a terminal, and counting reads every header once.
    let total = counting.is_visible().then(|| {
        let counted = maintenance::inventory(volume, &|progress| counting.show(progress));
        counted.groups.iter().map(|group| group.files).sum::<u64>() + counted.nascent
    });
    drop(counting);
    let bar = Bar::new("rewrapping", total);
    let told = AtomicBool::new(false);
    let report = maintenance::rewrap(volume, &options, &|progress| {
        bar.show(progress);
        // From the first batch on, a running mount wraps new files in the new way too.
        if volume.live().is_some() && !told.swap(true, Ordering::Relaxed) {
            reload(backing);
        }
    })?;
    if volume.live().is_some() {
        reload(backing);
    }
    Ok(report)
}

/// Tells a running mount that the domain records have changed. It would also notice by itself, a little later.
pub(super) fn reload(backing: &Path) {
    if let Some((mut client, _)) = control::of_backing(backing)
        && let Err(error) = client.ask(&Request::Reload, None)
    {
        tracing::warn!(%error, "the running mount could not be told");
    }
}

/// The domains that were asked for, and else all whose KMS key can be used; only the root domain for another key.
fn select(volume: &OpenVolume, args: &RewrapArgs) -> Vec<DomainId> {
    let keys = volume.keys();
    if !args.domain.is_empty() {
        return args.domain.clone();
    }
    let changes = !args.add_recipient.is_empty() || !args.remove_recipient.is_empty();
    if args.to.is_some() || changes || args.key_tier.is_some() {
        return vec![keys.root_domain()];
    }
    let usable = |id: &DomainId| match keys.domain_keys(*id) {
        Ok(_) => true,
        Err(error) => {
            note(&format!("domain {id} is left out: {error}"));
            false
        }
    };
    keys.domains().into_iter().map(|summary| summary.id).filter(usable).collect()
}

fn report(report: RewrapReport) -> Report {
    let failed = report.failed.into_iter();
    let domains = report.domains.into_iter();
    Report {
        resumed: report.resumed,
        rewrapped: report.rewrapped,
        skipped: report.skipped,
        nascent: report.nascent,
        failed_count: report.failed_count,
        failed: failed
            .map(|failed| Failed { backing_path: failed.path, reason: failed.reason.to_string() })
            .collect(),
        domains: domains
            .map(|domain| Domain {
                domain_id: domain.id.to_string(),
                epoch: domain.epoch,
                key_id: domain.key,
                recipients: domain.recipients,
                former_keys: domain.former_keys,
            })
            .collect(),
    }
}

fn describe(report: &Report) -> String {
    let mut lines: Vec<String> = report
        .failed
        .iter()
        .map(|failed| format!("not rewrapped: {}: {}", failed.backing_path.display(), failed.reason))
        .collect();
    let resumed = if report.resumed { " (went on with an interrupted rewrap)" } else { "" };
    lines.push(format!(
        "{} files rewrapped, {} were so already, {} without a data key yet{resumed}",
        report.rewrapped, report.skipped, report.nascent
    ));
    for domain in &report.domains {
        lines.push(format!(
            "domain {} is in epoch {} under {}",
            domain.domain_id, domain.epoch, domain.key_id
        ));
        lines.extend(domain.recipients.iter().map(|key| format!("  and under {key}")));
        for key in &domain.former_keys {
            lines.push(format!("  {key} still opens it; a rewrap while the volume is not mounted ends that"));
        }
    }
    lines.join("\n")
}
