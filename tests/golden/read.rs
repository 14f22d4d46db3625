//! What a tree says, as JSON.

use std::ffi::{OsStr, OsString};

use kmsfs::fs::{Attr, Caller, MountedVolume, NodeId};
use kmsfs::store::NodeKind;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

const ROOT: Caller = Caller { uid: 0, gid: 0, pid: 0 };

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file as the list has it.
pub(crate) fn file_line(content: &[u8]) -> Value {
    json!({ "kind": "file", "size": content.len(), "sha256": hex(Sha256::digest(content)) })
}

/// Everything in the tree by its path.
pub(crate) fn describe(volume: &MountedVolume) -> Value {
    let mut found = Map::new();
    walk(volume, NodeId::ROOT, "", &mut found);
    Value::Object(found)
}

fn names_in(volume: &MountedVolume, dir: NodeId) -> Vec<OsString> {
    let handle = volume.open_dir(dir).unwrap();
    let mut names = Vec::new();
    volume
        .list(handle, 0, &mut |entry| {
            names.push(entry.name.clone());
            true
        })
        .unwrap();
    volume.release_dir(handle);
    names.retain(|name| name != "." && name != "..");
    names
}

fn walk(volume: &MountedVolume, dir: NodeId, path: &str, found: &mut Map<String, Value>) {
    for name in names_in(volume, dir) {
        let attr = volume.lookup(dir, &name).unwrap().unwrap().attr;
        let path = format!("{path}/{}", name.to_str().unwrap());
        let mut line = match attr.kind {
            NodeKind::Directory => json!({ "kind": "directory" }),
            NodeKind::Symlink => json!({ "kind": "link", "target": hex(volume.read_link(attr.id).unwrap()) }),
            NodeKind::File => file_line(&content(volume, &attr)),
            NodeKind::Fifo => json!({ "kind": "pipe" }),
            other => panic!("{path}: {other:?}"),
        };
        if attr.kind != NodeKind::Symlink {
            line["mode"] = json!(format!("{:04o}", attr.mode));
        }
        for name in xattrs(volume, &attr) {
            line[format!("xattr {}", name.to_str().unwrap())] =
                json!(hex(volume.get_xattr(attr.id, &name).unwrap()));
        }
        found.insert(path.clone(), line);
        if attr.kind == NodeKind::Directory {
            walk(volume, attr.id, &path, found);
        }
    }
}

fn content(volume: &MountedVolume, attr: &Attr) -> Vec<u8> {
    // More than the size says, so that a wrong size shows as well.
    let mut content = vec![0; 700_000];
    let len = volume.read(attr.id, 0, &mut content).unwrap();
    assert_eq!(attr.size, len as u64);
    content.truncate(len);
    content
}

/// Names of `user.` only: others depend on the file system that the archive is unpacked on.
fn xattrs(volume: &MountedVolume, attr: &Attr) -> Vec<OsString> {
    if !matches!(attr.kind, NodeKind::File | NodeKind::Directory) {
        return Vec::new();
    }
    let mut names = volume.list_xattrs(ROOT, attr.id).unwrap();
    names.retain(|name| name.as_encoded_bytes().starts_with(OsStr::new("user.").as_encoded_bytes()));
    names
}
