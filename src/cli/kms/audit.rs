//! `kmsfs kms audit`: what happened to keys, and whether the log of it is as it was written.

use std::path::PathBuf;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kms_core::audit::{Anchor, AuditMode, AuditRecord, AuditSettings, Head, Verification};
use kms_core::model::{EncryptionContext, Timestamp};
use kms_core::service::{Audit, EmbeddedKms};
use serde_json::{Value, json};

use crate::cli::error::CliError;
use crate::cli::key::values::context;
use crate::cli::keystore::KeystoreArgs;
use crate::cli::output::Output;

const MIB: u64 = 1 << 20;

/// Show who used which key for what, and check that the log of it is whole
#[derive(Debug, clap::Subcommand)]
pub(super) enum AuditVerb {
    Show(ShowArgs),
    /// Read the whole log, and report what was deleted, edited, exchanged or cut off
    Verify {
        /// What `head` printed earlier: the log has to contain it
        #[arg(long, value_name = "FILE")]
        head: Option<PathBuf>,
    },
    /// Print how long the log is, signed, to be kept elsewhere
    Head,
    /// Change what is recorded; holds for every process with its next request
    Configure {
        /// Whether requests are recorded, and refused if they cannot be
        #[arg(long, value_enum)]
        mode: Option<Mode>,
        /// How much of the log is kept; the oldest records are dropped beyond that
        #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
        keep_mib: Option<u64>,
    },
}

/// Whether requests are recorded.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Mode {
    /// Nothing is recorded
    Off,
    /// Records are written within half a second
    On,
    /// No answer before its record is durable; refused if it cannot be written
    Required,
}

impl From<Mode> for AuditMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Off => Self::Off,
            Mode::On => Self::On,
            Mode::Required => Self::Required,
        }
    }
}

/// Show the newest records, the newest one last
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 100)]
    last: usize,
    /// Only from this time on, for example 2030-01-31T12:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this operation, for example Decrypt
    #[arg(long)]
    operation: Option<String>,
    /// Only this principal: an ARN, or the name at its end
    #[arg(long)]
    principal: Option<String>,
    /// Only this key: an id or an ARN
    #[arg(long)]
    key_id: Option<String>,
    /// Only with these pairs in the encryption context
    #[arg(long, value_name = "NAME=VALUE")]
    encryption_context: Option<String>,
    /// Only this request
    #[arg(long)]
    request_id: Option<String>,
    /// Only what was refused
    #[arg(long)]
    refused: bool,
}

pub(super) fn run(verb: &AuditVerb, keystore: &KeystoreArgs, output: Output) -> Result<()> {
    let service = keystore.open()?;
    let audit = audit(&service)?;
    match verb {
        AuditVerb::Show(args) => show(&audit, args, output),
        AuditVerb::Verify { head } => verify(&audit, head.as_ref(), output),
        AuditVerb::Head => head(&audit, output),
        AuditVerb::Configure { mode, keep_mib } => configure(&audit, *mode, *keep_mib, output),
    }
}

fn audit(service: &EmbeddedKms) -> Result<Audit<'_>> {
    service.audit().context("this keystore has no audit log")
}

/// What is to be shown.
struct Filter<'a> {
    args: &'a ShowArgs,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    context: EncryptionContext,
}

impl<'a> Filter<'a> {
    fn new(args: &'a ShowArgs) -> Result<Self> {
        let time = |text: &Option<String>| text.as_deref().map(time).transpose();
        let (since, until) = (time(&args.since)?, time(&args.until)?);
        Ok(Self { args, since, until, context: context(args.encryption_context.as_ref())? })
    }

    fn picks(&self, record: &AuditRecord) -> bool {
        let args = self.args;
        let same =
            |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        // The end of an ARN names it too.
        let named = |wanted: &Option<String>, found: &str| {
            let end = |wanted: &str| found.rsplit('/').next() == Some(wanted);
            wanted.as_ref().is_none_or(|wanted| wanted == found || end(wanted))
        };
        let key = |found: &Option<String>| named(&args.key_id, found.as_deref().unwrap_or_default());
        let contexts = [&record.encryption_context, &record.source_encryption_context];
        self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
            && same(&args.operation, &record.operation)
            && same(&args.request_id, &record.request_id)
            && named(&args.principal, &record.principal)
            && (key(&record.key_id) || key(&record.source_key_id))
            && contexts.iter().any(|context| self.context.is_subset_of(context))
            && (!args.refused || record.is_refusal())
    }
}

fn time(text: &str) -> Result<Timestamp> {
    let refused = || CliError::BadArgument(format!("{text:?} is not a time such as 2030-01-31T12:00Z"));
    Ok(Timestamp::parse_iso8601(text).ok_or_else(refused)?)
}

fn show(audit: &Audit<'_>, args: &ShowArgs, output: Output) -> Result<()> {
    let filter = Filter::new(args)?;
    let records = audit.records(args.last, |record| filter.picks(record))?;
    let shown = records.iter().map(record_json).collect::<Result<Vec<_>>>()?;
    output.show(&json!({ "Records": shown }), |_| {
        let lines: Vec<String> = records.iter().map(|(_, record)| record_text(record)).collect();
        lines.join("\n")
    })
}

fn record_json((number, record): &(u64, AuditRecord)) -> Result<Value> {
    let mut value = serde_json::to_value(record)?;
    value["Number"] = json!(number);
    value["Time"] = json!(record.time.to_iso8601());
    Ok(value)
}

/// One line: when, what, what came of it, who, on what, in which context.
fn record_text(record: &AuditRecord) -> String {
    let mut line =
        format!("{} {} {} {}", record.time.to_iso8601(), record.operation, record.outcome, record.principal);
    if let Some(service) = &record.via_service {
        line += &format!(" via {service}");
    }
    if let Some(address) = record.source_ip {
        line += &format!(" from {address}");
    }
    let things = [&record.key_id, &record.source_key_id, &record.resource];
    things.into_iter().flatten().for_each(|thing| line += &format!(" {thing}"));
    let pairs: Vec<String> =
        record.encryption_context.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !pairs.is_empty() {
        line += &format!(" [{}]", pairs.join(","));
    }
    if !record.message.is_empty() {
        line += &format!(": {}", record.message);
    }
    // What a caller chose must not look like another line, or move the cursor.
    line.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

fn verify(audit: &Audit<'_>, kept: Option<&PathBuf>, output: Output) -> Result<()> {
    let kept = kept.map(read_head).transpose()?;
    let found = audit.verify(kept)?;
    output.show(&verification_json(&found), verification_text)?;
    match found.problems.len() {
        0 => Ok(()),
        count => Err(CliError::AuditBroken { count }.into()),
    }
}

/// A head that was kept. It is believed as it stands: whoever keeps it elsewhere keeps it from being changed.
fn read_head(path: &PathBuf) -> Result<Anchor> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let refused = || CliError::BadArgument(format!("{} is not what `head` printed", path.display()));
    let value: Value = serde_json::from_str(&text).map_err(|_| refused())?;
    let member = |name: &str| value.get(name).and_then(Value::as_str);
    let parsed = || {
        Some(Anchor {
            log_id: member("LogId")?.parse().ok()?,
            next: value.get("Records")?.as_u64()?,
            hash: member("Hash")?.parse().ok()?,
        })
    };
    Ok(parsed().ok_or_else(refused)?)
}

fn verification_json(found: &Verification) -> Value {
    let head = found.head.as_ref();
    let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    json!({
        "LogId": head.map(|head| head.log_id),
        "Records": head.map(|head| head.next),
        "OldestRecord": head.map(|head| head.base),
        "SoundRecords": found.sound,
        "LostRecords": found.lost,
        "Since": found.span.map(|(since, _)| since.to_iso8601()),
        "Until": found.span.map(|(_, until)| until.to_iso8601()),
        "Problems": problems,
    })
}

fn verification_text(value: &Value) -> String {
    let text = |name: &str| match &value[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines = vec![format!("{} records are as they were written", text("SoundRecords"))];
    if value["Since"].is_string() {
        lines[0] += &format!(", from {} to {}", text("Since"), text("Until"));
    }
    if value["OldestRecord"].as_u64().is_some_and(|oldest| oldest > 0) {
        lines.push(format!("{} older ones were dropped to make room", text("OldestRecord")));
    }
    if value["LostRecords"].as_u64().is_some_and(|lost| lost > 0) {
        lines.push(format!("{} could not be written when they were to be", text("LostRecords")));
    }
    let problems = value["Problems"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.extend(problems.map(str::to_owned));
    lines.join("\n")
}

fn head(audit: &Audit<'_>, output: Output) -> Result<()> {
    let (head, signed, public_key) = audit.head()?;
    let Head { log_id, next, hash, time, .. } = head;
    let value = json!({
        "LogId": log_id,
        "Records": next,
        "Hash": hash,
        "Time": time.to_iso8601(),
        "Signed": STANDARD.encode(&signed.body),
        "Signature": STANDARD.encode(&signed.signature),
        "PublicKey": public_key,
    });
    // The same for people and for programs: it is made to be kept in a file.
    output.show(&value, |value| serde_json::to_string_pretty(value).unwrap_or_default())
}

fn configure(audit: &Audit<'_>, mode: Option<Mode>, keep_mib: Option<u64>, output: Output) -> Result<()> {
    let before = audit.settings()?;
    let settings = AuditSettings {
        mode: mode.map_or(before.mode, AuditMode::from),
        keep_bytes: keep_mib.map_or(before.keep_bytes, |mib| mib * MIB),
    };
    if settings != before {
        audit
            .configure(&settings)
            .map_err(|refusal| CliError::Kms { operation: "ConfigureAudit", refusal })?;
    }
    let value = json!({ "Mode": settings.mode, "KeepMib": settings.keep_bytes / MIB });
    output.show(&value, |value| {
        let mode = value["Mode"].as_str().unwrap_or_default();
        format!("mode {mode}, at most {} MiB are kept", value["KeepMib"])
    })
}
