//! Changing the options of a mount that is there: `mount -o remount,ro`.

use anyhow::{Context, Result};

use super::control::{self, Request};
use super::error::CliError;
use super::mount::Wish;
use super::mounts::{self, FILE_SYSTEM_TYPE};
use super::paths;
use crate::fuse::{MountConfig, MountError};

pub(super) fn run(wish: &Wish<'_>) -> Result<()> {
    let point = paths::resolve_mountpoint(wish.mountpoint);
    let options = &wish.options.mount;
    let entry = mounts::at(&point)?.filter(|entry| entry.kind == FILE_SYSTEM_TYPE);
    let Some(entry) = entry else { return Err(CliError::NotMounted(point).into()) };
    let Some((mut client, status)) = control::at(&point) else {
        return Err(CliError::NoControl(point).into());
    };
    // A volume that was opened to be read has no journal to write with.
    if !options.read_only && status.session.is_none() {
        return Err(CliError::OpenedReadOnly(point).into());
    }
    let mut config = MountConfig::new(point.clone(), entry.source.display().to_string());
    options.configure(&mut config);
    config.remount().map_err(|error| match error {
        MountError::Mount { source, .. } if source.kind() == std::io::ErrorKind::ResourceBusy => {
            CliError::Busy(point.clone()).into()
        }
        other => anyhow::Error::from(other).context(format!("cannot remount {}", point.display())),
    })?;
    client
        .ask(&Request::Remounted { options: options.clone() }, None)
        .with_context(|| format!("the process that serves {} did not follow the remount", point.display()))?;
    Ok(())
}
