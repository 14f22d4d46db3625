//! One volume without a mount: making it, opening it, closing it.
//!
//! Opening takes the volume's lock, opens its keys, replays the journal of a session that crashed, and begins a
//! session of its own. The file system and maintenance both stand on an [`OpenVolume`].

mod domain;
mod error;
mod init;
mod lock;
mod open;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod world;

pub use error::VolumeError;
pub use init::{DEFAULT_KEY, InitOptions, NewVolume, init, init_at};
pub use lock::Holder;
pub use open::{DEFAULT_JOURNAL_LEN, OpenMode, OpenOptions, OpenVolume, Recovered};

/// The superblock, in the volume directory.
const SUPERBLOCK_NAME: &str = "volume";
/// The directory of the journals, in the volume directory.
const JOURNAL_DIR: &str = "j";
