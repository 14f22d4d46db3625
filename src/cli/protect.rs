//! `kmsfs protect`: a directory with a KMS key of its own.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::access::AccessArgs;
use super::control::{self, Answer, Request};
use super::error::CliError;
use super::mounts::{self, FILE_SYSTEM_TYPE};
use super::offline::OfflineVolume;
use super::output::Output;
use super::volume::resolve_backing;
use crate::fs::{FsResult, MountedVolume, Replaced, VolumeParts};
use crate::keys::KeyAt;
use crate::volume::{OpenMode, OpenVolume};

/// Put an empty directory under a KMS key of its own
#[derive(Debug, clap::Args)]
pub(super) struct ProtectArgs {
    /// The directory: in a mount, or BACKING/PATH of a volume that is not mounted, PATH as its users see it
    dir: PathBuf,
    /// The KMS key: an id, an ARN or an alias, at the service of the volume's own key, or KEY,keystore, or
    /// KEY,region=NAME[,endpoint-url=URL]
    #[arg(long, value_name = "KEY")]
    key: KeyAt,
    /// A further key that opens the directory by itself; can be given several times
    #[arg(long, value_name = "KEY")]
    recipient: Vec<KeyAt>,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Protected {
    directory: PathBuf,
    domain_id: String,
    key_id: String,
}

pub(super) fn run(args: &ProtectArgs, output: Output) -> Result<()> {
    let absolute = std::path::absolute(&args.dir)?;
    let domain_id = match mount_of(&absolute)? {
        Some((point, path)) => in_mount(&point, path, args)?,
        None => in_backing(&absolute, args)?,
    };
    let made = Protected { directory: absolute, domain_id, key_id: args.key.key.clone() };
    output.show(&made, |made| {
        format!("{} is the domain {} now, under {}.", made.directory.display(), made.domain_id, made.key_id)
    })
}

fn keys_of(args: &ProtectArgs) -> Vec<KeyAt> {
    std::iter::once(&args.key).chain(&args.recipient).cloned().collect()
}

/// The mount of kmsfs that `path` is in, and the rest of the path.
fn mount_of(path: &Path) -> Result<Option<(PathBuf, PathBuf)>> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mounts = mounts::all()?;
    let inside = mounts.iter().filter(|entry| real.starts_with(&entry.point));
    let nearest = inside.max_by_key(|entry| entry.point.as_os_str().len());
    Ok(nearest.filter(|entry| entry.kind == FILE_SYSTEM_TYPE).map(|entry| {
        let rest = real.strip_prefix(&entry.point).map(Path::to_owned).unwrap_or_default();
        (entry.point.clone(), rest)
    }))
}

fn in_mount(point: &Path, path: PathBuf, args: &ProtectArgs) -> Result<String> {
    let (mut client, _) = control::at(point).ok_or_else(|| CliError::NoControl(point.to_owned()))?;
    match client.ask(
        &Request::Protect { path, keys: keys_of(args).iter().map(ToString::to_string).collect() },
        None,
    )? {
        Answer::Protected { domain } => Ok(domain),
        _ => Err(anyhow!("the mount's process gave another answer than it was asked for")),
    }
}

/// The first part of `path` that is a volume is its backing directory.
fn in_backing(path: &Path, args: &ProtectArgs) -> Result<String> {
    let backing = path.ancestors().find(|part| part.join(crate::format::VOLUME_DIR).is_dir());
    let backing = backing.ok_or_else(|| CliError::OutsideVolume(path.to_owned()))?;
    let rest = path.strip_prefix(backing)?;
    let keys = keys_of(args);
    let volume = OfflineVolume::open(&resolve_backing(backing)?, &args.access, &keys, OpenMode::Exclusive)?;
    let mounted = MountedVolume::new(VolumeParts::of(volume.get(), true));
    let done = mounted.map_err(Into::into).and_then(|mounted| {
        let (domain, _) = in_volume(volume.get(), &mounted, rest, &keys)?;
        mounted.finish()?;
        Ok(domain)
    });
    volume.close().and(done)
}

/// Makes a domain and puts the directory `path` of the volume under it.
pub(super) fn in_volume(
    volume: &OpenVolume,
    mounted: &MountedVolume,
    path: &Path,
    keys: &[KeyAt],
) -> Result<(String, Replaced)> {
    let mut made = None;
    let make_domain = || -> FsResult<_> {
        let id = volume.keys().add_domain_for(keys)?;
        made = Some(id);
        Ok(id)
    };
    let replaced = mounted
        .protect(path, make_domain)
        .map_err(|source| CliError::Protect { path: path.to_owned(), source })?;
    Ok((made.map(|id| id.to_string()).unwrap_or_default(), replaced))
}
