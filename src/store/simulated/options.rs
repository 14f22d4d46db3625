//! What a simulated device and file system may do.

/// The unit that a power cut leaves either old or new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tearing {
    /// Each 512-byte sector takes a version of its own.
    #[default]
    Sector,
    /// All sectors of a 4 KiB page take the same moment.
    Page,
}

/// How a simulated store behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SimulatedOptions {
    /// The unit that tears.
    pub tearing: Tearing,
    /// Whether the sync of a file promises nothing about its name, as POSIX has it. By default it makes the
    /// name space durable up to the file's own last operation, as ext4 and xfs do.
    pub strict_names: bool,
}
