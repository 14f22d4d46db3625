//! `kmsfs info`: what a volume is, with and without its keystore.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kms_core::model::{DescribeKeyRequest, KeyMetadata, KeyRef};
use serde::Serialize;

use super::access::AccessArgs;
use super::control;
use super::key::values::show_time;
use super::output::Output;
use super::volume::{backing_of, read_config};
use crate::format::{DomainRecord, NameMode, SESSION_RECORD_LEN, SessionEvent, SessionRecord, VOLUME_DIR};
use crate::keys::{Connection, KEYS_DIR, KeyPlace, KeyServices};

const KMS_TIER: &str = "KMS: a call for each data key; the KMS sees, and can refuse, the use of each file";
const DOMAIN_TIER: &str = "domain key: one call for all data keys; the KMS does not see single files, and whoever once had \
                           the domain key opens all of them until the next rewrap";

/// Show what a volume is
#[derive(Debug, clap::Args)]
pub(super) struct InfoArgs {
    /// The backing directory, or where it is mounted
    backing: PathBuf,
    /// Ask the keystore about the keys, even if that needs a passphrase
    #[arg(long)]
    keys: bool,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    volume_id: String,
    backing: PathBuf,
    format_version: String,
    /// Feature bits without which the volume cannot be read.
    incompatible_features: u64,
    /// Feature bits without which the volume cannot be written.
    read_only_features: u64,
    /// Feature bits that may be left aside.
    compatible_features: u64,
    names: &'static str,
    created: String,
    /// Of the root domain.
    key_tier: &'static str,
    mountpoint: Option<PathBuf>,
    domains: Vec<Domain>,
    sessions: Sessions,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Domain {
    domain_id: String,
    root: bool,
    epoch: u32,
    key_tier: &'static str,
    /// The recipients wrap; the others open what has not been rewrapped.
    keys: Vec<Key>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Key {
    arn: String,
    /// Whether it opens every file of the domain by itself.
    recipient: bool,
    /// The Region, and the URL if it is not AWS; none for the keystore.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_manager: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sessions {
    count: u32,
    /// The end of the last one: clean, recovered, or open while it runs or after a crash.
    last_end: &'static str,
    last_time: Option<String>,
}

pub(super) fn run(args: &InfoArgs, output: Output) -> Result<()> {
    let backing = backing_of(&args.backing)?;
    let config = read_config(&backing)?;
    let superblock = config.superblock();
    let own = backing.join(VOLUME_DIR);
    let mut domains = read_domains(&own.join(KEYS_DIR), &config.root_domain.to_string())?;
    if args.keys || args.access.keystore.has_secret() {
        describe_keys(&mut domains, &*args.access.services(&backing, &[])?);
    }
    let info = Info {
        volume_id: config.volume_id.to_string(),
        format_version: "1.0".to_owned(),
        incompatible_features: superblock.incompat,
        read_only_features: superblock.ro_compat,
        compatible_features: superblock.compat,
        names: match config.name_mode {
            NameMode::Encrypted => "encrypted",
            NameMode::Plain => "plain",
        },
        created: seconds(config.created),
        key_tier: domains.first().map_or("", |root| root.key_tier),
        mountpoint: control::of_backing(&backing).map(|(_, status)| status.mountpoint),
        sessions: read_sessions(&own.join("sessions"))?,
        domains,
        backing,
    };
    output.show(&info, describe)
}

fn seconds(since_1970: u64) -> String {
    let millis = i64::try_from(since_1970).unwrap_or(0).saturating_mul(1000);
    show_time(kms_core::model::Timestamp::from_millis(millis))
}

/// The domain records as they lie there; nothing is authenticated.
fn read_domains(dir: &Path, root: &str) -> Result<Vec<Domain>> {
    let failed = || format!("cannot read {}", dir.display());
    let mut domains = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        // What is being written has another name.
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.len() != root.len() || name.starts_with('.') {
            continue;
        }
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let record = DomainRecord::parse(&bytes).with_context(|| format!("{}", path.display()))?;
        let by_domain_key = record.domain_keys.iter().any(|wrap| wrap.epoch == record.epoch);
        let key_tier = if by_domain_key { DOMAIN_TIER } else { KMS_TIER };
        let keys = record.keys.into_iter();
        let keys = keys.map(|key| Key {
            arn: key.arn,
            recipient: !key.wrapped_secret.is_empty(),
            place: Some(key.place).filter(|place| !place.is_empty()),
            key_state: None,
            origin: None,
            key_manager: None,
        });
        let domain_id = record.domain_id.to_string();
        domains.push(Domain {
            root: domain_id == root,
            domain_id,
            epoch: record.epoch,
            key_tier,
            keys: keys.collect(),
        });
    }
    domains.sort_by(|a, b| (!a.root, &a.domain_id).cmp(&(!b.root, &b.domain_id)));
    Ok(domains)
}

/// What the services say about each key.
fn describe_keys(domains: &mut [Domain], services: &dyn KeyServices) {
    for key in domains.iter_mut().flat_map(|domain| &mut domain.keys) {
        let place = key.place.as_deref().unwrap_or_default().parse();
        let place: KeyPlace = match place {
            Ok(place) => place,
            Err(error) => {
                key.key_state = Some(error.to_string());
                continue;
            }
        };
        let described = key.arn.parse::<KeyRef>().and_then(|key| {
            let Connection { service, caller } = services.connect(&place)?;
            service.describe_key(&caller, &DescribeKeyRequest { key_id: key, grant_tokens: Vec::new() })
        });
        match described.map(|found| found.key_metadata) {
            Ok(KeyMetadata { key_state, origin, key_manager, .. }) => {
                key.key_state = Some(key_state.to_string());
                key.origin = Some(origin.to_string());
                key.key_manager = Some(key_manager.to_string());
            }
            Err(error) => key.key_state = Some(error.code().to_owned()),
        }
    }
}

/// The session records as they lie there; nothing is authenticated.
fn read_sessions(path: &Path) -> Result<Sessions> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut records =
        bytes.chunks_exact(SESSION_RECORD_LEN).filter_map(|bytes| SessionRecord::parse(bytes).ok());
    let last = records.next_back();
    Ok(Sessions {
        count: last.as_ref().map_or(0, |record| record.session.0),
        last_end: match last.as_ref().map(|record| record.event) {
            None => "never opened",
            Some(SessionEvent::Start) => "open",
            Some(SessionEvent::Clean) => "clean",
            Some(SessionEvent::Recovered) => "recovered",
        },
        last_time: last.map(|record| seconds(record.time)),
    })
}

fn describe(info: &Info) -> String {
    let mut lines = vec![
        format!("volume    {}", info.volume_id),
        format!("backing   {}", info.backing.display()),
        format!("format    {}", info.format_version),
        format!("names     {}", info.names),
        format!("created   {}", info.created),
        format!("key tier  {}", info.key_tier),
        format!("sessions  {}, last: {}", info.sessions.count, info.sessions.last_end),
    ];
    let features = [info.incompatible_features, info.read_only_features, info.compatible_features];
    if features != [0; 3] {
        lines.push(format!("features  {:#x} {:#x} {:#x}", features[0], features[1], features[2]));
    }
    if let Some(point) = &info.mountpoint {
        lines.push(format!("mounted   {}", point.display()));
    }
    for domain in &info.domains {
        let root = if domain.root { " (root)" } else { "" };
        lines.push(format!("domain    {}{root}, epoch {}", domain.domain_id, domain.epoch));
        if domain.key_tier != info.key_tier {
            lines.push(format!("  tier    {}", domain.key_tier));
        }
        for (index, key) in domain.keys.iter().enumerate() {
            let role = match (index, key.recipient) {
                (0, _) => "under",
                (_, true) => "and",
                (_, false) => "also",
            };
            let place = key.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
            let about: Vec<_> = [&key.key_state, &key.origin, &key.key_manager]
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect();
            let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
            lines.push(format!("  {role:<7} {}{place}{about}", key.arn));
        }
    }
    lines.join("\n")
}
