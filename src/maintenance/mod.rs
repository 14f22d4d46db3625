//! Work on a whole volume without a mount: counting, rewrapping, erasing, checking, protecting a directory.
//!
//! Everything here stands on an [`OpenVolume`](crate::volume::OpenVolume);
//! rewrapping also works beside a process that has the volume open.

mod check;
mod check_file;
#[cfg(test)]
mod check_tests;
mod erase;
mod error;
mod export;
mod findings;
mod header;
mod inventory;
mod protect;
mod repair;
#[cfg(test)]
mod repair_tests;
mod rewrap;
mod rewrap_run;
#[cfg(test)]
mod tests;
mod walk;

pub use check::{CheckOptions, check};
pub use erase::{EraseMethod, EraseOptions, EraseReceipt, erase};
pub use error::MaintenanceError;
pub use export::export;
pub use findings::{Cause, CheckReport, Finding, FindingKind};
pub use inventory::{Inventory, InventoryGroup, inventory};
pub use protect::protect;
pub use repair::{Remedy, repair};
pub use rewrap::{DomainRewrap, FailedFile, RewrapFailure, RewrapOptions, RewrapReport, rewrap};

/// How far a piece of work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Files done.
    pub files: u64,
    /// Plain bytes of these files.
    pub bytes: u64,
}

/// Told how far a piece of work is, from time to time.
pub type OnProgress<'a> = &'a (dyn Fn(&Progress) + Sync);
