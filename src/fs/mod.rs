//! The file system without the kernel: every decision of the mount, callable from a test.
//!
//! State belongs to the inode, never to a handle. `fuse` only decodes requests, calls [`MountedVolume`] and
//! replies.

mod ahead;
mod attr;
mod content;
mod copy;
mod dir;
mod error;
mod held;
mod inode;
mod link;
mod listing;
mod pool;
mod protect;
mod remove;
mod rename;
mod table;
mod types;
mod volume;
mod xattr;

#[cfg(test)]
mod tests;

pub use error::{FsError, FsResult};
pub use listing::ListingHandle;
pub use protect::Replaced;
pub use types::{
    AllocateMode, Attr, AttrChange, Caller, Entry, ListedName, NewMode, NodeId, OpenMode, SeekTarget,
    WriteMode,
};
pub use volume::{MountKeys, MountedVolume, VolumeParts};
