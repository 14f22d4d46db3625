//! `kmsfs erase`: destroys a KMS key and proves that what was under it cannot be read.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use kms_core::model::{DescribeKeyRequest, KeyMetadata, KeyRef, Origin, Timestamp};
use serde::Serialize;

use super::access::AccessArgs;
use super::error::CliError;
use super::key::values::show_time;
use super::offline::OfflineVolume;
use super::output::Output;
use super::progress::Bar;
use super::rewrap::reload;
use super::volume::backing_of;
use crate::keys::{Connection, key_id_of};
use crate::maintenance::{self, EraseMethod, EraseOptions, EraseReceipt};
use crate::volume::{OpenMode, OpenVolume};

/// Files with which an erasure is proven.
const SAMPLE: usize = 64;
/// How the two methods are called in a receipt.
const MATERIAL_DELETED: &str = "material-deleted";
const DELETION_SCHEDULED: &str = "deletion-scheduled";

/// Destroy a KMS key, and with it the use of everything under it
///
/// Imported key material is deleted at once. Any other key becomes unusable at once and is deleted after a waiting
/// period.
#[derive(Debug, clap::Args)]
pub(super) struct EraseArgs {
    /// The backing directory, or where it is mounted
    backing: PathBuf,
    /// The KMS key: an id, an ARN or an alias
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Days until a key that was not imported is deleted, 7 to 30
    #[arg(long, value_name = "DAYS")]
    pending_window_in_days: Option<i32>,
    /// Confirm without a question, by naming the key once more
    #[arg(long, value_name = "KEY")]
    confirm: Option<String>,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Receipt {
    volume_id: String,
    key_id: String,
    method: &'static str,
    deletion_date: Option<String>,
    time: String,
    domains: Vec<String>,
    files: u64,
    bytes: u64,
    opened_before: usize,
    refused_after: usize,
    may_outlive: Vec<String>,
}

pub(super) fn run(args: &EraseArgs, output: Output) -> Result<()> {
    let backing = backing_of(&args.backing)?;
    let volume = OfflineVolume::open(&backing, &args.access, &[], OpenMode::Maintenance)?;
    let outcome = erase(volume.get(), args);
    if outcome.is_ok() {
        // A running mount gives up its keys now instead of at its next question.
        reload(&backing);
    }
    volume.close()?;
    output.show(&receipt(outcome?), describe)
}

fn erase(volume: &OpenVolume, args: &EraseArgs) -> Result<EraseReceipt> {
    let key = describe_key(volume, &args.key)?;
    let bar = Bar::new("counting", None);
    let counted = maintenance::inventory(volume, &|progress| bar.show(progress));
    drop(bar);
    let arn = key.arn.to_string();
    let under = counted.groups.iter().filter(|group| group.key_id == key_id_of(&arn));
    let (files, bytes) =
        under.fold((0, 0), |(files, bytes), group| (files + group.files, bytes + group.bytes));
    confirm(args, &key, files, bytes)?;
    let options = EraseOptions {
        key: args.key.clone(),
        pending_window_days: args.pending_window_in_days,
        sample: SAMPLE,
    };
    let bar = Bar::new("erasing", None);
    Ok(maintenance::erase(volume, &options, &|progress| bar.show(progress))?)
}

fn describe_key(volume: &OpenVolume, key: &str) -> Result<KeyMetadata> {
    let operation = "DescribeKey";
    let Connection { service, caller } = volume.keys().connection(key)?;
    let found = key.parse::<KeyRef>().and_then(|key| {
        let request = DescribeKeyRequest { key_id: key, grant_tokens: Vec::new() };
        service.describe_key(&caller, &request)
    });
    Ok(found.map_err(|refusal| CliError::Kms { operation, refusal })?.key_metadata)
}

/// Shows what will be lost, and has the key named once more.
fn confirm(args: &EraseArgs, key: &KeyMetadata, files: u64, bytes: u64) -> Result<()> {
    let refused = || CliError::NotConfirmed(args.key.clone());
    let names = |text: &str| {
        let text = text.trim();
        text == args.key || text == key.arn.as_str() || text == key.key_id.to_string()
    };
    if let Some(confirmed) = &args.confirm {
        return if names(confirmed) { Ok(()) } else { Err(refused().into()) };
    }
    if !std::io::stdin().is_terminal() {
        return Err(refused().into());
    }
    let how = match key.origin {
        Origin::External => "its imported material is deleted now",
        _ => "it becomes unusable now and is deleted after the waiting period",
    };
    eprintln!("The KMS key {}: {how}.", key.arn);
    eprintln!("{files} files with {bytes} bytes become unreadable.");
    eprint!("Type the name of the key ({}) to go on: ", args.key);
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read the confirmation")?;
    if names(&line) { Ok(()) } else { Err(refused().into()) }
}

fn receipt(receipt: EraseReceipt) -> Receipt {
    let millis = receipt.time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
    let (method, deletion_date) = match receipt.method {
        EraseMethod::MaterialDeleted => (MATERIAL_DELETED, None),
        EraseMethod::DeletionScheduled { date } => (DELETION_SCHEDULED, date.map(show_time)),
    };
    Receipt {
        volume_id: receipt.volume_id.to_string(),
        key_id: receipt.key,
        method,
        deletion_date,
        time: show_time(Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))),
        domains: receipt.domains.iter().map(ToString::to_string).collect(),
        files: receipt.files,
        bytes: receipt.bytes,
        opened_before: receipt.opened_before,
        refused_after: receipt.refused_after,
        may_outlive: receipt.may_outlive,
    }
}

fn describe(receipt: &Receipt) -> String {
    let key = &receipt.key_id;
    let mut lines = vec![match &receipt.deletion_date {
        Some(date) => format!("{key} is unusable and will be deleted at {date}."),
        None if receipt.method == MATERIAL_DELETED => format!("The imported material of {key} is deleted."),
        None => format!("{key} is unusable. Its waiting period begins when its last replica is deleted."),
    }];
    lines.push(format!("{} files with {} bytes cannot be read any more.", receipt.files, receipt.bytes));
    lines.push(format!(
        "Proof: of {} data keys, {} opened before, and {} are refused now.",
        receipt.refused_after, receipt.opened_before, receipt.refused_after
    ));
    lines.push("What may outlive this:".to_owned());
    lines.extend(receipt.may_outlive.iter().map(|copy| format!("  {copy}")));
    lines.join("\n")
}
