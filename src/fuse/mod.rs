//! The kernel's side: decoding of requests, errno, and the life of a mount.

mod adapter;
mod convert;
mod errno;
mod features;
mod mountinfo;
mod session;

pub use crate::fs::AccessTimes;
pub use session::{EntryNotifier, MountConfig, MountError, Session, Unmounter};
