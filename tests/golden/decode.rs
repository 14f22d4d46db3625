//! The independent decoder, `scripts/decode.py`, written from the format page alone, sees what this code sees.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use kms_core::client::KeyService;
use kms_core::model::{CiphertextBlob, DecryptRequest, EncryptionContext};
use kms_core::service::EmbeddedKms;
use kmsfs::fs::{AllocateMode, AttrChange, Caller, MountedVolume, NewMode, NodeId, WriteMode};
use kmsfs::store::posix::PosixStore;
use kmsfs::volume::{self, InitOptions, OpenMode};
use serde_json::{Map, Value, json};

use super::read::{describe, hex};
use super::{VOLUMES, caller, fill, mounted, open, open_keystore, unpack, volumes_dir};

const USER: Caller = Caller { uid: 0, gid: 0, pid: 0 };
const FILE_MODE: NewMode = NewMode { mode: 0o640, umask: 0 };

fn decoder(arguments: &[&OsStr]) -> Output {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/decode.py");
    Command::new("/usr/bin/python3").arg(script).args(arguments).output().unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Has everything unwrapped that the decoder asks for, and writes the keys to `keys`.
fn unwrap(backing: &Path, service: &Arc<EmbeddedKms>, keys: &Path) {
    let asked = decoder(&[OsStr::new("--wrapped"), backing.as_os_str()]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let asked: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let mut found = Map::new();
    for kind in ["domains", "files"] {
        let unwrap = |(id, wrapped): (&String, &Value)| {
            let context: EncryptionContext = wrapped["context"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap()))
                .collect();
            let blob = CiphertextBlob::from(&bytes(wrapped["blob"].as_str().unwrap())[..]);
            let answer = service.decrypt(&caller(), &DecryptRequest::new(blob, context)).unwrap();
            assert_eq!(answer.key_id.as_str(), wrapped["key"].as_str().unwrap());
            (id.clone(), json!(hex(answer.plaintext.expose())))
        };
        let keys: Map<String, Value> = asked[kind].as_object().unwrap().iter().map(unwrap).collect();
        found.insert(kind.to_owned(), Value::Object(keys));
    }
    std::fs::write(keys, Value::Object(found).to_string()).unwrap();
}

/// What the decoder says, in the form of the list.
fn decoded(backing: &Path, keys: &Path) -> Result<Value, String> {
    let output = decoder(&[backing.as_os_str(), keys.as_os_str()]);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut list = Map::new();
    for (path, facts) in shown.as_object().unwrap().iter().filter(|(path, _)| !path.is_empty()) {
        let mut line = match facts["kind"].as_str().unwrap() {
            "dir" => json!({ "kind": "directory" }),
            "link" => json!({ "kind": "link", "target": hex(facts["target"].as_str().unwrap()) }),
            "file" => json!({ "kind": "file", "size": facts["size"], "sha256": facts["sha256"] }),
            _ => json!({ "kind": "pipe" }),
        };
        for (name, value) in facts["xattrs"].as_object().into_iter().flatten() {
            line[format!("xattr {name}")] = value.clone();
        }
        list.insert(path.clone(), line);
    }
    Ok(Value::Object(list))
}

/// The list without what the decoder leaves to the file system.
fn without_modes(mut list: Value) -> Value {
    for line in list.as_object_mut().unwrap().values_mut() {
        line.as_object_mut().unwrap().remove("mode");
    }
    list
}

/// The decoder finds in the volumes below `place` what `list` says.
fn assert_decoded(place: &Path, list: &Value) {
    let service = open_keystore(place);
    let keys = place.join("keys.json");
    for name in VOLUMES {
        let backing = place.join(name);
        unwrap(&backing, &service, &keys);
        assert_eq!(decoded(&backing, &keys).unwrap(), without_modes(list[name].clone()), "{name}");
    }
}

#[test]
fn the_independent_decoder_reads_the_volumes_of_format_1() {
    let list: Value =
        serde_json::from_str(&std::fs::read_to_string(volumes_dir().join("v1.json")).unwrap()).unwrap();
    let scratch = unpack();
    assert_decoded(scratch.path(), &list);
}

#[test]
fn the_independent_decoder_reads_volumes_made_today() {
    let scratch = tempfile::tempdir().unwrap();
    let list = serde_json::to_value(fill::make(scratch.path())).unwrap();
    assert_decoded(scratch.path(), &list);
}

/// Random changes of three files, `step` for `step`.
fn change(volume: &MountedVolume, files: &[NodeId], dice: &mut impl FnMut(u64) -> u64) {
    let id = files[dice(3) as usize];
    match dice(5) {
        0 => {
            let change = AttrChange { size: Some(dice(90_000)), ..AttrChange::default() };
            volume.set_attr(USER, id, &change).unwrap();
        }
        1 => volume.allocate(USER, id, dice(80_000), 1 + dice(20_000), AllocateMode::PunchHole).unwrap(),
        2 => volume.sync(id, false).unwrap(),
        _ => {
            let data: Vec<u8> = (0..1 + dice(9000)).map(|_| dice(256) as u8).collect();
            volume.write(id, dice(80_000), &data, WriteMode::default()).unwrap();
        }
    }
}

/// Sessions that end well and sessions that crash, over files with holes: seals, sums and torn ends of every kind. And the
/// decoder is able to fail: a file without a seal is rejected.
#[test]
fn the_independent_decoder_reads_random_volumes() {
    let mut state = 7_u64;
    let mut dice = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let scratch = tempfile::tempdir().unwrap();
    let backing = scratch.path().join("backing");
    std::fs::create_dir(&backing).unwrap();
    let service = Arc::new(EmbeddedKms::in_memory().unwrap());
    let store = PosixStore::open(&backing).unwrap();
    let key_service: Arc<dyn KeyService> = service.clone();
    volume::init(&store, &key_service, &caller(), &InitOptions::default()).unwrap();
    let keys = scratch.path().join("keys.json");
    for round in 0..8 {
        let volume = open(&backing, &service, OpenMode::Exclusive);
        let tree = mounted(&volume);
        let files: Vec<NodeId> = ["a", "b", "c"]
            .iter()
            .map(|name| {
                let (root, name) = (NodeId::ROOT, OsStr::new(name));
                let found = tree.lookup(root, name).unwrap();
                found.unwrap_or_else(|| tree.create(USER, root, name, FILE_MODE).unwrap()).attr.id
            })
            .collect();
        (0..12).for_each(|_| change(&tree, &files, &mut dice));
        if dice(2) == 0 {
            // A crash: the next opening recovers.
            drop(tree);
            drop(volume);
        } else {
            tree.finish().unwrap();
            drop(tree);
            volume.close().unwrap();
        }
        let volume = open(&backing, &service, OpenMode::ReadOnly);
        let list = without_modes(describe(&mounted(&volume)));
        volume.close().unwrap();
        unwrap(&backing, &service, &keys);
        assert_eq!(decoded(&backing, &keys).unwrap(), list, "round {round}");
    }
    let files = std::fs::read_dir(&backing).unwrap().map(|entry| entry.unwrap().path());
    let is_large = |path: &PathBuf| {
        let meta = path.symlink_metadata().unwrap();
        meta.is_file() && meta.len() > 4096
    };
    let path = files.into_iter().find(is_large).unwrap();
    let mut content = std::fs::read(&path).unwrap();
    for seal in [2560, 3072] {
        content[seal + 40] ^= 1;
    }
    std::fs::write(&path, content).unwrap();
    assert!(decoded(&backing, &keys).unwrap_err().contains("rejected: SL-1"));
}
