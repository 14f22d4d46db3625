//! Making a directory the root of a domain of its own, while nobody else has the volume open.

use super::MaintenanceError;
use crate::format::DomainId;
use crate::store::BackingNode;
use crate::volume::OpenVolume;

/// Makes the empty directory `dir` the root of a new domain under the KMS key `key` (an ARN, an id or an alias):
/// what is created in it from now on is under that key.
///
/// # Errors
/// [`MaintenanceError::InUse`] if another process has the volume open: it has to do this itself. Otherwise as
/// [`OpenVolume::protect`].
pub fn protect(volume: &OpenVolume, dir: &dyn BackingNode, key: &str) -> Result<DomainId, MaintenanceError> {
    match volume.live() {
        Some(holder) => Err(MaintenanceError::InUse(holder.clone())),
        None => Ok(volume.protect(dir, key)?),
    }
}
