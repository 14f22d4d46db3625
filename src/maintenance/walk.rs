//! Every object of the backing tree, without reading its names.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::format::{LONG_ENTRY_PREFIX, NameMode, VOLUME_DIR};
use crate::store::{DirEntry, NodeKind, NodeRef, StoreError};

/// Entries read from a directory at a time.
const LIST_CHUNK: usize = 256;

/// An object of the backing tree.
pub(super) struct Found {
    /// Its backing path, from the backing directory on.
    pub(super) path: PathBuf,
    /// The object.
    pub(super) node: NodeRef,
    /// What it is.
    pub(super) kind: NodeKind,
}

/// A place of the tree that could not be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) path: PathBuf,
    pub(super) error: StoreError,
}

/// Whether the entry `name` holds something of the user's, seen from the backing side.
pub(super) fn is_user_entry(name: &[u8], mode: NameMode, in_root: bool) -> bool {
    match mode {
        NameMode::Encrypted => !name.starts_with(b".") || name.starts_with(LONG_ENTRY_PREFIX.as_bytes()),
        NameMode::Plain => !(in_root && name == VOLUME_DIR.as_bytes()),
    }
}

/// Walks the tree depth first. It holds one open directory for each level.
pub(super) struct Walk {
    mode: NameMode,
    frames: Vec<Frame>,
    path: PathBuf,
}

struct Frame {
    node: NodeRef,
    cookie: u64,
    entries: VecDeque<DirEntry>,
}

impl Walk {
    /// A walk from the backing directory `root`, which is not yielded itself.
    pub(super) fn new(root: NodeRef, mode: NameMode) -> Self {
        Self { mode, frames: vec![Frame::new(root)], path: PathBuf::new() }
    }

    /// The next regular files, at most `max`, and how many other objects came before them. Empty at the end.
    pub(super) fn next_files(
        &mut self,
        max: usize,
        others: &mut OtherObjects,
    ) -> Vec<Result<Found, Unreadable>> {
        let mut batch = Vec::new();
        while batch.len() < max {
            match self.next() {
                None => break,
                Some(Ok(found)) => match found.kind {
                    NodeKind::File => batch.push(Ok(found)),
                    NodeKind::Directory => others.directories += 1,
                    NodeKind::Symlink => others.symlinks += 1,
                    _ => others.special += 1,
                },
                Some(Err(unreadable)) => batch.push(Err(unreadable)),
            }
        }
        batch
    }

    fn leave(&mut self) {
        self.frames.pop();
        self.path.pop();
    }

    /// The object of `entry` in the innermost directory; `None` if it is gone meanwhile.
    fn enter(&mut self, entry: &DirEntry) -> Option<Result<Found, Unreadable>> {
        let frame = self.frames.last()?;
        let name = OsStr::from_bytes(&entry.name);
        let path = self.path.join(name);
        let found = frame.node.lookup(name).and_then(|node| {
            let kind = node.stat()?.kind;
            Ok((node, kind))
        });
        match found {
            Ok((node, kind)) => {
                if kind == NodeKind::Directory {
                    self.frames.push(Frame::new(NodeRef::clone(&node)));
                    self.path.push(name);
                }
                Some(Ok(Found { path, node, kind }))
            }
            Err(error) if error.is_not_found() => None,
            Err(error) => Some(Err(Unreadable { path, error })),
        }
    }
}

impl Frame {
    fn new(node: NodeRef) -> Self {
        Self { node, cookie: 0, entries: VecDeque::new() }
    }

    /// The next entry of the directory.
    fn next(&mut self) -> Result<Option<DirEntry>, StoreError> {
        if self.entries.is_empty() {
            self.entries = self.node.read_dir(self.cookie, LIST_CHUNK)?.into();
            if let Some(last) = self.entries.back() {
                self.cookie = last.cookie;
            }
        }
        Ok(self.entries.pop_front())
    }
}

impl Iterator for Walk {
    type Item = Result<Found, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let in_root = self.frames.len() == 1;
            match self.frames.last_mut()?.next() {
                Ok(Some(entry)) if !is_user_entry(&entry.name, self.mode, in_root) => {}
                Ok(Some(entry)) => {
                    if let Some(item) = self.enter(&entry) {
                        return Some(item);
                    }
                }
                Ok(None) => self.leave(),
                Err(error) => {
                    let path = self.path.clone();
                    self.leave();
                    return Some(Err(Unreadable { path, error }));
                }
            }
        }
    }
}

/// Objects without a data key that a walk came across.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct OtherObjects {
    pub(super) directories: u64,
    pub(super) symlinks: u64,
    pub(super) special: u64,
}
