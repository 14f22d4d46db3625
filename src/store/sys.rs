//! System calls that no safe crate offers: file handles, open-file-description locks, and `fchmodat2`.
//!
//! This is the one module of the store with unsafe code. Each function wraps a single system call, passes
//! only pointers to values that it owns itself, and hands descriptors out as `OwnedFd` at once. Everything
//! else goes through `rustix`.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};

/// Bytes of the longest handle that is offered; ext4, xfs, btrfs and tmpfs need 8 to 20.
pub(super) const HANDLE_MAX: usize = 24;

/// `struct file_handle` with room for the handle itself, which C declares as a flexible array member.
#[repr(C)]
struct RawHandle {
    /// Size of `bytes` on the way in, number of bytes in use on the way out.
    len: u32,
    /// The file system's type number.
    kind: i32,
    /// The handle.
    bytes: [u8; HANDLE_MAX],
}

/// The handle of the object behind `fd`: its type, its length, and its bytes, zero-padded.
///
/// Fails with `EOPNOTSUPP` where the file system has no handles and with `EOVERFLOW` where they are longer
/// than [`HANDLE_MAX`].
pub(super) fn name_to_handle(fd: BorrowedFd<'_>) -> Result<(i32, u8, [u8; HANDLE_MAX])> {
    let mut raw = RawHandle { len: HANDLE_MAX as u32, kind: 0, bytes: [0; HANDLE_MAX] };
    let mut mount_id = 0;
    // SAFETY: `raw` has the layout of `struct file_handle` followed by as many bytes as `len` says, the empty
    // path is a NUL-terminated constant, and both out-pointers live until the call returns.
    let status = unsafe {
        libc::name_to_handle_at(
            fd.as_raw_fd(),
            c"".as_ptr(),
            (&raw mut raw).cast::<libc::file_handle>(),
            &raw mut mount_id,
            libc::AT_EMPTY_PATH,
        )
    };
    if status != 0 {
        return Err(last_errno());
    }
    let len = u8::try_from(raw.len).map_err(|_| Errno::OVERFLOW)?;
    Ok((raw.kind, len, raw.bytes))
}

/// Opens the object that a handle names; `mount` is any descriptor of its mount, but not an `O_PATH` one.
///
/// Fails with `ESTALE` if the object is gone and with `EPERM` without `CAP_DAC_READ_SEARCH`.
pub(super) fn open_handle(mount: BorrowedFd<'_>, kind: i32, handle: &[u8], flags: i32) -> Result<OwnedFd> {
    let mut raw = RawHandle { len: 0, kind, bytes: [0; HANDLE_MAX] };
    raw.bytes.get_mut(..handle.len()).ok_or(Errno::INVAL)?.copy_from_slice(handle);
    raw.len = handle.len() as u32;
    // SAFETY: `raw` has the layout of `struct file_handle`, and `len` bytes of it are initialised.
    let fd = unsafe {
        libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut raw).cast::<libc::file_handle>(), flags)
    };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel returned this descriptor just now, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes the write lock of the whole file for the open file description of `fd`, without waiting.
/// False if another description has a lock.
pub(super) fn try_lock(fd: BorrowedFd<'_>) -> Result<bool> {
    match set_lock(fd, libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Gives up what [`try_lock`] took.
pub(super) fn unlock(fd: BorrowedFd<'_>) -> Result<()> {
    set_lock(fd, libc::F_UNLCK)
}

/// One `F_OFD_SETLK` over the whole file.
fn set_lock(fd: BorrowedFd<'_>, kind: i32) -> Result<()> {
    // `l_pid` has to be 0 for locks of open file descriptions; a length of 0 means up to the end.
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: `lock` is a complete `struct flock` that lives until the call returns.
    let status = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if status == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Sets the permission bits of the object behind `fd`, an `O_PATH` descriptor too (Linux 6.6).
pub(super) fn fchmod_path(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    let empty: &CStr = c"";
    // SAFETY: the empty path is a NUL-terminated constant; the other arguments are plain numbers.
    let status = unsafe {
        libc::syscall(libc::SYS_fchmodat2, fd.as_raw_fd(), empty.as_ptr(), mode, libc::AT_EMPTY_PATH)
    };
    if status == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Marks all descriptors from `first` on as closed in the next program that this process or a child of it runs.
///
/// Fails with `ENOSYS` or `EINVAL` before Linux 5.11.
pub(super) fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: the arguments are plain numbers, and no descriptor is closed or changed for this process.
    let status = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if status == 0 { Ok(()) } else { Err(last_errno()) }
}

/// The errno of the call before.
fn last_errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
