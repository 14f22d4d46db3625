//! Volumes of every released format, as archives, read by today's code.
//!
//! `tests/volumes/v1.tar.gz` holds a keystore with its key file, a volume with encrypted names and one with plain
//! names; `v1.json` says what is in them. `KMSFS_WRITE_GOLDEN=1` makes both anew, which only a new format may
//! need: the old ones stay readable for ever.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod decode;
mod fill;
mod read;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use kms_core::keystore::{Keystore, RootKeySource};
use kms_core::model::{AccountId, Caller};
use kms_core::service::EmbeddedKms;
use kmsfs::fs::{MountedVolume, VolumeParts};
use kmsfs::maintenance::{self, CheckOptions};
use kmsfs::store::posix::PosixStore;
use kmsfs::volume::{OpenMode, OpenOptions, OpenVolume};
use serde_json::Value;

/// Folders of the archive.
const KEYSTORE: &str = "keystore";
const KEY_FILE: &str = "key";
const VOLUMES: [&str; 2] = ["encrypted", "plain"];
/// The smallest journal, so that the tests are quick.
const JOURNAL_LEN: u64 = 0;

fn volumes_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/volumes")
}

/// The caller that the file system is to the service.
fn caller() -> Caller {
    Caller::service(AccountId::local(), "root", "kmsfs")
}

fn open_keystore(dir: &Path) -> Arc<EmbeddedKms> {
    let source = RootKeySource::key_file(dir.join(KEY_FILE));
    Arc::new(Keystore::open(&dir.join(KEYSTORE), &source).unwrap())
}

fn open(backing: &Path, service: &Arc<EmbeddedKms>, mode: OpenMode) -> OpenVolume {
    let store = Arc::new(PosixStore::open(backing).unwrap());
    let options = OpenOptions { journal_len: JOURNAL_LEN, ..OpenOptions::new(mode) };
    OpenVolume::open_with(store, service.clone(), caller(), &options).unwrap()
}

fn mounted(volume: &OpenVolume) -> MountedVolume {
    MountedVolume::new(VolumeParts::of(volume, false)).unwrap()
}

fn tar(arguments: &[&str], dir: &Path) {
    let status = Command::new("tar").args(arguments).current_dir(dir).status().unwrap();
    assert!(status.success(), "tar {arguments:?}");
}

/// Makes archive and list anew, if the environment asks for it.
fn write_if_asked() {
    if std::env::var_os("KMSFS_WRITE_GOLDEN").is_none() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let list = fill::make(scratch.path());
    let archive = volumes_dir().join("v1.tar.gz");
    // A spare journal is a megabyte of what no reader looks at.
    let path = archive.to_str().unwrap();
    let names = [KEYSTORE, KEY_FILE, VOLUMES[0], VOLUMES[1]];
    let options =
        ["-czf", path, "--sparse", "--xattrs", "--xattrs-include=user.*", "--exclude=.kmsfs/j/spare"];
    tar(&[&options[..], &names[..]].concat(), scratch.path());
    std::fs::write(volumes_dir().join("v1.json"), serde_json::to_string_pretty(&list).unwrap() + "\n")
        .unwrap();
}

fn unpack() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let archive = volumes_dir().join("v1.tar.gz");
    let path = archive.to_str().unwrap();
    tar(
        &["-xzpf", path, "--sparse", "--no-same-owner", "--xattrs", "--xattrs-include=user.*"],
        scratch.path(),
    );
    scratch
}

#[test]
fn volumes_of_format_1_read_as_they_were_written() {
    write_if_asked();
    let list: Value =
        serde_json::from_str(&std::fs::read_to_string(volumes_dir().join("v1.json")).unwrap()).unwrap();
    let scratch = unpack();
    let service = open_keystore(scratch.path());
    for name in VOLUMES {
        let backing = scratch.path().join(name);
        // Read-only, then writable: a session of its own, a clean end, and all as before.
        for mode in [OpenMode::ReadOnly, OpenMode::Exclusive, OpenMode::ReadOnly] {
            let volume = open(&backing, &service, mode);
            let tree = mounted(&volume);
            assert_eq!(read::describe(&tree), list[name], "{name}, {mode:?}");
            drop(tree);
            volume.close().unwrap();
        }
        let volume = open(&backing, &service, OpenMode::ReadOnly);
        let report = maintenance::check(&volume, CheckOptions::default(), &|_| ()).unwrap();
        assert!(report.findings.is_empty(), "{name}: {:?}", report.findings);
        assert!(report.files > 5, "{name}: {report:?}");
        volume.close().unwrap();
    }
}
