//! Random sequences of calls, and a picture of a whole store to compare.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::{list, name};
use crate::store::{
    BackingNode, BackingStore, FileAccess, FileRef, NodeKind, NodeRef, RenameMode, StoreResult, TimeChange,
    XattrMode,
};

/// One call: which, and the bytes that choose its arguments.
#[derive(Debug, Clone)]
pub(in crate::store) struct Step {
    /// Number of the call.
    call: u8,
    /// Its arguments.
    args: [u8; 5],
}

impl Step {
    /// Whether the call makes something durable.
    pub(in crate::store) fn is_sync(&self) -> bool {
        matches!(self.call, 24 | 30)
    }
}

/// Calls in [`World::step`].
const CALLS: u8 = 32;

/// Sequences of at most `len` calls.
pub(in crate::store) fn steps(len: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (0..CALLS, any::<[u8; 5]>()).prop_map(|(call, args)| Step { call, args });
    prop::collection::vec(step, 1..len)
}

/// A store with the nodes and files that the steps so far have found.
pub(in crate::store) struct World<'a> {
    /// The store.
    store: &'a dyn BackingStore,
    /// Nodes; the root directory is the first.
    nodes: Vec<NodeRef>,
    /// Open files.
    files: Vec<FileRef>,
}

/// One of a few names.
fn some_name(choice: u8) -> &'static str {
    ["a", "b", "c", "d", "e", "a-longer-name"][usize::from(choice) % 6]
}

/// An offset near the borders that matter.
fn offset(choice: u8) -> u64 {
    [0, 1, 511, 512, 600, 4000, 4095, 4096, 5000, 8192, 12_287, 20_000][usize::from(choice) % 12]
}

/// The attributes that all stores agree on.
fn describe(node: &dyn BackingNode) -> StoreResult<String> {
    let stat = node.stat()?;
    let size = if stat.kind == NodeKind::Directory { 0 } else { stat.size };
    let owner = (stat.uid, stat.gid);
    Ok(format!("{:?} {:o} {owner:?} {} links, {size} bytes", stat.kind, stat.mode, stat.nlink))
}

impl<'a> World<'a> {
    /// A world in which only the root directory is known.
    pub(in crate::store) fn new(store: &'a dyn BackingStore) -> Self {
        Self { store, nodes: vec![store.root()], files: Vec::new() }
    }

    /// A known node.
    fn node(&self, choice: u8) -> NodeRef {
        self.nodes[usize::from(choice) % self.nodes.len()].clone()
    }

    /// Remembers a node.
    fn found(&mut self, node: NodeRef) -> StoreResult<String> {
        let text = describe(&*node);
        self.nodes.push(node);
        text
    }

    /// Remembers an open file and its node.
    fn opened(&mut self, (node, file): (NodeRef, FileRef)) -> StoreResult<String> {
        self.files.push(file);
        self.found(node)
    }

    /// Makes one call; returns what came of it.
    pub(in crate::store) fn step(&mut self, step: &Step) -> String {
        let outcome = if step.call < 20 { self.name_step(step) } else { self.file_step(step) };
        match outcome {
            Ok(text) => text,
            Err(failure) => format!("{:?}", failure.kind),
        }
    }

    /// A call on the name space.
    fn name_step(&mut self, step: &Step) -> StoreResult<String> {
        let [a, b, c, d, e] = step.args;
        let (dir, entry) = (self.node(a), name(some_name(b)));
        let done = |()| "done".to_owned();
        match step.call {
            0..=2 => self.opened(dir.create_file(entry, 0o600 | u32::from(c & 0o77))?),
            3 | 4 => self.found(dir.make_dir(entry, 0o700 | u32::from(c & 0o77))?),
            5 => self.found(dir.make_symlink(entry, some_name(c).as_bytes())?),
            6 => self.found(dir.make_node(entry, NodeKind::Fifo, 0o644, 0)?),
            // In a removed directory it is up to the file system.
            7 if dir.stat()?.nlink == 0 => Ok(String::new()),
            7 => self.opened(dir.create_unnamed(0o600)?),
            8 => self.found(dir.lookup(entry)?),
            9 | 10 => dir.link(&*self.node(c), entry).map(done),
            11..=13 => {
                let mode =
                    [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange][usize::from(e) % 3];
                dir.rename(entry, &*self.node(c), name(some_name(d)), mode).map(done)
            }
            14 => dir.unlink(entry).map(done),
            15 => dir.remove_dir(entry).map(done),
            16 => dir.read_link().map(|target| format!("{target:?}")),
            17 => dir.set_xattr(name("user.x"), &[c; 3], XattrMode::Any).map(done),
            18 => dir.remove_xattr(name("user.x")).map(done),
            _ => {
                // The modes of links differ between kernels.
                if dir.stat()?.kind == NodeKind::Symlink {
                    Ok(String::new())
                } else {
                    dir.set_mode(0o700 | u32::from(c)).map(done)
                }
            }
        }
    }

    /// A call on an open file, or one that makes something durable.
    fn file_step(&mut self, step: &Step) -> StoreResult<String> {
        let [a, b, c, d, e] = step.args;
        let done = |()| "done".to_owned();
        match step.call {
            20 => {
                let file = self.node(a).open_file(FileAccess::ReadWrite)?;
                self.files.push(file);
                return Ok(String::new());
            }
            21 => return describe(&*self.node(a)),
            22 => {
                let at = TimeChange::At(UNIX_EPOCH + Duration::from_secs(u64::from(b)));
                return self.node(a).set_times(at, at).map(done);
            }
            23 => {
                return self
                    .node(a)
                    .read_dir(0, 1000)
                    .map(|_| list(&*self.node(a), usize::from(b % 5) + 1).join(" "));
            }
            24 if b < 20 => return self.store.sync_all().map(done),
            24 => return self.node(a).sync_dir().map(done),
            _ => {}
        }
        let Some(index) = usize::from(a).checked_rem(self.files.len()) else { return Ok(String::new()) };
        let file = self.files[index].clone();
        let (at, len) = (offset(b), offset(c));
        match step.call {
            25 | 26 => file.write_at(&vec![d; len as usize % 9000], at).map(done),
            27 => {
                let parts = [IoSlice::new(&[1; 700]), IoSlice::new(&[]), IoSlice::new(&[2; 300])];
                file.write_vectored_at(&parts, at).map(done)
            }
            28 => file.set_len(at).map(done),
            29 => file.punch_hole(at, len).map(done),
            30 if e < 128 => file.sync_data().map(done),
            30 => file.sync_all().map(done),
            _ => {
                let mut bytes = vec![0; 30_000];
                let read = file.read_at(&mut bytes, at)?;
                Ok(format!("{:?}", &bytes[..read]))
            }
        }
    }
}

/// Everything that can be reached in a store, by path.
pub(in crate::store) fn picture(store: &dyn BackingStore) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    add(&mut all, "", &*store.root());
    all
}

/// Adds `node` and what is below it.
fn add(all: &mut BTreeMap<String, String>, path: &str, node: &dyn BackingNode) {
    let mut text = describe(node).unwrap();
    let mut xattrs = node.list_xattrs().unwrap();
    xattrs.retain(|key| key.starts_with(b"user."));
    for key in xattrs {
        let key = String::from_utf8(key).unwrap();
        text += &format!(" {key}={:?}", node.get_xattr(name(&key)).unwrap());
    }
    match node.stat().unwrap().kind {
        NodeKind::File => {
            let file = node.open_file(FileAccess::Read).unwrap();
            let mut bytes = vec![0; file.stat().unwrap().size as usize];
            assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
            text += &format!(" {bytes:?}");
        }
        NodeKind::Symlink => text += &format!(" {:?}", node.read_link().unwrap()),
        NodeKind::Directory => {
            for entry in list(node, 100) {
                add(all, &format!("{path}/{entry}"), &*node.lookup(name(&entry)).unwrap());
            }
        }
        _ => {}
    }
    all.insert(path.to_owned(), text);
}
