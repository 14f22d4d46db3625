//! Directory listings.
//!
//! Offsets that the kernel sees: 0 begins, 1 is behind `.`, 2 behind `..`, and the others are the backing file
//! system's own cookies moved up by two. So an offset stays valid while entries come and go, as long as the
//! backing file system keeps its cookies valid.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::inode::Inode;
use super::{Entry, FsError, FsResult, ListedName, MountedVolume, NodeId};
use crate::names::{DirNames, PlainEntry};
use crate::store::{DirEntry, NodeKind};

/// Entries read from the backing directory at a time and kept for the next request.
const BATCH: usize = 128;
/// Offset behind `.`.
const BEHIND_SELF: u64 = 1;
/// Offset behind `..`, where the backing listing starts.
const BEHIND_PARENT: u64 = 2;
/// The largest offset that a program can seek to.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// How the kernel names an open directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListingHandle(pub u64);

/// Open directories.
#[derive(Default)]
pub(super) struct Listings {
    next: AtomicU64,
    open: Mutex<HashMap<ListingHandle, Arc<Listing>>>,
}

/// One open directory.
pub(super) struct Listing {
    dir: Arc<Inode>,
    dev: u64,
    ahead: Mutex<ReadAhead>,
}

/// Entries that were read and not handed out yet.
#[derive(Default)]
struct ReadAhead {
    /// Cookie before the first of `entries`.
    cookie: u64,
    entries: VecDeque<DirEntry>,
}

/// What the caller does with an entry: false if it does not fit any more.
type Sink<'a> = &'a mut dyn FnMut(&ListedName, Option<&Entry>) -> bool;

fn offset_behind(cookie: u64) -> u64 {
    // ext4 has a cookie at the very end, and none close before it; moved up it would be negative to programs.
    if (OFFSET_MAX - BEHIND_PARENT..=OFFSET_MAX).contains(&cookie) {
        OFFSET_MAX
    } else {
        cookie.wrapping_add(BEHIND_PARENT)
    }
}

fn cookie_at(offset: u64) -> u64 {
    if offset == OFFSET_MAX { OFFSET_MAX } else { offset.wrapping_sub(BEHIND_PARENT) }
}

impl Listing {
    /// Takes the entry behind `cookie`, reading on if necessary; `None` at the end.
    fn take(&self, cookie: u64) -> FsResult<Option<DirEntry>> {
        let mut ahead = self.ahead.lock();
        if ahead.cookie != cookie || ahead.entries.is_empty() {
            ahead.entries = self.dir.node()?.read_dir(cookie, BATCH)?.into();
            ahead.cookie = cookie;
        }
        let taken = ahead.entries.pop_front();
        if let Some(entry) = &taken {
            ahead.cookie = entry.cookie;
        }
        Ok(taken)
    }

    /// Puts back an entry that was taken from behind `cookie`.
    fn put_back(&self, cookie: u64, entry: DirEntry) {
        let mut ahead = self.ahead.lock();
        if ahead.cookie == entry.cookie {
            ahead.cookie = cookie;
            ahead.entries.push_front(entry);
        }
    }

    /// Forgets what was read, for a listing that starts again.
    fn rewind(&self) {
        *self.ahead.lock() = ReadAhead::default();
    }
}

impl MountedVolume {
    /// Opens a directory for listing.
    ///
    /// # Errors
    /// [`FsError::NotDirectory`], and what reading the directory id says.
    pub fn open_dir(&self, id: NodeId) -> FsResult<ListingHandle> {
        let dir = self.table.get(id)?;
        self.names_of(&dir)?;
        let dev = dir.node()?.stat()?.dev;
        let handle = ListingHandle(self.listings.next.fetch_add(1, Ordering::Relaxed) + 1);
        let listing = Listing { dir, dev, ahead: Mutex::default() };
        self.listings.open.lock().insert(handle, Arc::new(listing));
        Ok(handle)
    }

    /// Closes a directory.
    pub fn release_dir(&self, handle: ListingHandle) {
        let closed = self.listings.open.lock().remove(&handle);
        drop(closed);
    }

    /// Hands the entries behind `offset` to `sink` until it takes no more.
    ///
    /// # Errors
    /// [`FsError::UnknownHandle`], [`FsError::Store`].
    pub fn list(
        &self,
        handle: ListingHandle,
        offset: u64,
        sink: &mut dyn FnMut(&ListedName) -> bool,
    ) -> FsResult<()> {
        self.walk(handle, offset, false, &mut |name, _| sink(name))
    }

    /// As [`Self::list`], with the attributes. The kernel holds a reference to each inode that `sink` took, except
    /// for `.` and `..`.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn list_with_attrs(
        &self,
        handle: ListingHandle,
        offset: u64,
        sink: &mut dyn FnMut(&ListedName, &Entry) -> bool,
    ) -> FsResult<()> {
        self.walk(handle, offset, true, &mut |name, entry| entry.is_none_or(|entry| sink(name, entry)))
    }

    fn walk(&self, handle: ListingHandle, offset: u64, with_attrs: bool, sink: Sink<'_>) -> FsResult<()> {
        let listing =
            self.listings.open.lock().get(&handle).cloned().ok_or(FsError::UnknownHandle(handle.0))?;
        let mut offset = offset;
        if offset == 0 {
            listing.rewind();
        }
        while offset < BEHIND_PARENT {
            let dot = self.dot(&listing.dir, offset);
            let entry =
                if with_attrs { Some(Entry { attr: self.attr_of_dot(&listing.dir, &dot)? }) } else { None };
            if !sink(&dot, entry.as_ref()) {
                return Ok(());
            }
            offset = dot.next_offset;
        }
        let names = self.names_of(&listing.dir)?;
        let mut cookie = cookie_at(offset);
        let start = cookie;
        loop {
            let shown = match listing.take(cookie) {
                Ok(None) => return Ok(()),
                Ok(Some(found)) => {
                    let behind = found.cookie;
                    match self.show(&listing, &names, &found, with_attrs, sink) {
                        Ok(true) => Ok(behind),
                        Ok(false) => {
                            listing.put_back(cookie, found);
                            return Ok(());
                        }
                        Err(error) => Err(error),
                    }
                }
                Err(error) => Err(error),
            };
            match shown {
                Ok(behind) => cookie = behind,
                // What was handed out stays handed out: the next request meets the error first.
                Err(_) if cookie != start => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The entry `.` (at offset 0) or `..`.
    fn dot(&self, dir: &Inode, offset: u64) -> ListedName {
        let (name, id, next_offset) =
            if offset == 0 { (".", dir.id, BEHIND_SELF) } else { ("..", dir.parent(), BEHIND_PARENT) };
        ListedName { name: OsString::from(name), id, kind: NodeKind::Directory, next_offset }
    }

    /// The attributes for `.` and `..`, of which the kernel uses the number only.
    fn attr_of_dot(&self, dir: &Inode, dot: &ListedName) -> FsResult<super::Attr> {
        let mut attr = self.attr_of(dir)?;
        attr.id = dot.id;
        Ok(attr)
    }

    /// Hands one backing entry to `sink`, unless it is hidden; false if it does not fit.
    fn show(
        &self,
        listing: &Listing,
        names: &DirNames,
        found: &DirEntry,
        with_attrs: bool,
        sink: Sink<'_>,
    ) -> FsResult<bool> {
        let node = listing.dir.node()?;
        let name = match names.decrypt(&*node, &found.name) {
            Ok(PlainEntry::Name(name)) => name,
            Ok(PlainEntry::Internal) => return Ok(true),
            Err(error) => {
                // One foreign or damaged name must not hide the others.
                tracing::warn!(directory = listing.dir.id.0, %error, "an entry is not shown");
                return Ok(true);
            }
        };
        let next_offset = offset_behind(found.cookie);
        let stored = OsStr::from_bytes(&found.name);
        if with_attrs {
            let looked_up = node.lookup(stored).map_err(FsError::from);
            let entry = match looked_up.and_then(|node| self.entry_of(node, names.domain(), listing.dir.id)) {
                Ok(entry) => entry,
                // Removed since it was listed.
                Err(error) if error.is_not_found() => return Ok(true),
                Err(error) => return Err(error),
            };
            let (id, kind) = (entry.attr.id, entry.attr.kind);
            let taken = sink(&ListedName { name, id, kind, next_offset }, Some(&entry));
            if taken {
                self.note_listed(&entry.attr);
            } else {
                self.forget(id, 1);
            }
            return Ok(taken);
        }
        let kind = match found.kind {
            Some(kind) => kind,
            None => match node.stat_at(stored) {
                Ok(stat) => stat.kind,
                Err(error) if error.is_not_found() => return Ok(true),
                Err(error) => return Err(error.into()),
            },
        };
        let id: NodeId = self.node_id_of(listing.dev, found.ino);
        Ok(sink(&ListedName { name, id, kind, next_offset }, None))
    }
}

#[cfg(test)]
mod offset_tests {
    use super::*;

    #[test]
    fn offsets_are_the_cookies_moved_up_and_never_negative() {
        for cookie in [0, 1, 2, 77, OFFSET_MAX - 3, OFFSET_MAX] {
            let offset = offset_behind(cookie);
            assert!((BEHIND_PARENT..=OFFSET_MAX).contains(&offset));
            assert_eq!(cookie_at(offset), cookie);
        }
    }
}
