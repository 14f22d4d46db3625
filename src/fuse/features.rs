//! What the kernel is asked for when the mount begins.

use fuser::{InitFlags, KernelConfig};

/// Largest write that the kernel sends, in bytes.
const MAX_WRITE: u32 = 1 << 20;
/// Requests that the kernel lets run in the background.
const MAX_BACKGROUND: u16 = 64;

/// The features that make the kernel work as this file system expects. What it does not offer it works without.
///
/// `ATOMIC_O_TRUNC` is not among them: with it an `open(O_RDONLY | O_TRUNC)` of a running program cuts the file
/// before the kernel finds that it must answer ETXTBSY.
const WANTED: [InitFlags; 13] = [
    InitFlags::FUSE_ASYNC_READ,
    InitFlags::FUSE_BIG_WRITES,
    InitFlags::FUSE_MAX_PAGES,
    InitFlags::FUSE_POSIX_ACL,
    InitFlags::FUSE_DONT_MASK,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_CACHE_SYMLINKS,
    // Cached pages go when this process says so, not when an attribute changes: it is the only writer.
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_NO_EXPORT_SUPPORT,
];

/// Asks for the features, and for collected writes if `write_back`. Returns whether writes are collected.
pub(super) fn request(config: &mut KernelConfig, write_back: bool) -> bool {
    for flag in WANTED {
        if let Err(missing) = config.add_capabilities(flag) {
            tracing::debug!(?missing, "not offered by the kernel");
        }
    }
    // Each of these takes what is asked for or says what the limit is, which is the default then.
    let _ = config.set_max_write(MAX_WRITE);
    let _ = config.set_max_background(MAX_BACKGROUND);
    write_back && config.add_capabilities(InitFlags::FUSE_WRITEBACK_CACHE).is_ok()
}
