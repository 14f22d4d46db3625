//! No key is left in the memory of a process once it may not be used, or is not used, any more.
//!
//! The keys that are looked for are computed here, apart from the process that is searched.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod program;

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use hkdf::Hkdf;
use kms_core::client::KeyService;
use kms_core::keystore::{Keystore, RootKeySource};
use kms_core::model::{AccountId, Caller, CiphertextBlob, DecryptRequest, EncryptionContext};
use kmsfs::format::{Header, PAGE};
use kmsfs::fs::{MountedVolume, VolumeParts};
use kmsfs::fuse::{MountConfig, Session};
use kmsfs::store::BackingStore;
use kmsfs::store::posix::PosixStore;
use kmsfs::volume::{OpenMode, OpenVolume};
use program::{Place, wait_for};
use sha2::Sha256;

/// Tells this program that it is the process that is searched.
const ROLE: &str = "KMSFS_SEARCHED";

/// Keys of one file.
struct Keys {
    data_key: Vec<u8>,
    content: [u8; 32],
}

fn source(dir: &Path) -> RootKeySource {
    RootKeySource::key_file(dir.join("key-file"))
}

fn caller() -> Caller {
    Caller::service(AccountId::local(), "root", "kmsfs")
}

/// The only file in the backing directory.
fn backing_file(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir.join("backing")).unwrap().flatten();
    let mut files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.next().unwrap().path()
}

fn keys_of(dir: &Path) -> Keys {
    let service = Keystore::open(&dir.join("keystore"), &source(dir)).unwrap();
    let mut page = [0; PAGE];
    std::fs::File::open(backing_file(dir)).unwrap().read_exact_at(&mut page, 0).unwrap();
    let header = Header::parse(&page).unwrap();
    let identity = header.identity;
    let slot = header.slots.iter().flatten().next().unwrap();
    let context = EncryptionContext::from([
        ("kmsfs:volume", identity.volume_id.to_string()),
        ("kmsfs:domain", identity.domain_id.to_string()),
        ("kmsfs:file", identity.file_id.to_string()),
        ("kmsfs:purpose", "data-key".to_owned()),
        ("kmsfs:suite", "1".to_owned()),
    ]);
    let blob = CiphertextBlob::from(slot.recipients[0].payload.as_slice());
    let opened = service.decrypt(&caller(), &DecryptRequest::new(blob, context)).unwrap();
    let salt = [identity.volume_id.0, identity.file_id.0].concat();
    let mut content = [0; 32];
    Hkdf::<Sha256>::new(Some(&salt), opened.plaintext.expose())
        .expand(b"kmsfs v1 content", &mut content)
        .unwrap();
    Keys { data_key: opened.plaintext.expose().to_vec(), content }
}

/// How often `needle` is in the memory of the process `pid`, and how much memory was searched.
fn count(pid: u32, needle: &[u8]) -> (usize, u64) {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let (mut found, mut searched) = (0, 0);
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (mut at, end) = (number(start), number(end));
        // Read in pieces that overlap, because most of a region may never have been touched.
        while at < end {
            let len = (end - at).min(1 << 20);
            let mut piece = vec![0; usize::try_from(len).unwrap()];
            memory.seek(SeekFrom::Start(at)).unwrap();
            if memory.read_exact(&mut piece).is_ok() {
                found += piece.windows(needle.len()).filter(|window| *window == needle).count();
                searched += len;
            }
            at += if at + len < end { len - needle.len() as u64 + 1 } else { len };
        }
    }
    (found, searched)
}

fn place() -> Place {
    let place = Place::empty();
    let run = |args: &[&str]| {
        let mut command = place.kmsfs();
        command.env_remove("KMSFS_PASSPHRASE_FILE").env("KMSFS_KEY_FILE", place.path("key-file"));
        program::Ran::from(command.args(args).output().unwrap())
    };
    run(&["keystore", "create", "--no-recovery-key"]).ok();
    let key = run(&["key", "create-key"]).json()["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    run(&["key", "create-alias", "--alias-name", "alias/own", "--target-key-id", &key]).ok();
    run(&["init", "backing", "--key", "alias/own"]).ok();
    run(&["mount", "backing", "mount", "--journal-mib", "4"]).ok();
    std::fs::write(place.path("mount/f"), "text").unwrap();
    run(&["umount", "mount"]).ok();
    place
}

fn run(place: &Place, args: &[&str]) -> program::Ran {
    let mut command = place.kmsfs();
    command.env_remove("KMSFS_PASSPHRASE_FILE").env("KMSFS_KEY_FILE", place.path("key-file"));
    command.args(args).output().unwrap().into()
}

#[test]
fn a_fenced_key_is_gone_from_the_memory_of_the_mount() {
    let place = place();
    let keys = keys_of(&place.path(""));
    run(&place, &["mount", "backing", "mount", "--journal-mib", "4", "--key-poll", "1"]).ok();
    let server = place.server();
    let held = std::fs::File::open(place.path("mount/f")).unwrap();
    let mut text = [0; 4];
    held.read_exact_at(&mut text, 0).unwrap();
    let (found, searched) = count(server, &keys.content);
    assert!(found > 0, "the search does not find a key in use in {searched} bytes");
    assert_eq!(count(server, &keys.data_key).0, 0, "the data key is not needed once the others are derived");

    let key = run(&place, &["info", "backing", "--json"]).json()["Domains"][0]["Keys"][0]["Arn"].clone();
    run(&place, &["key", "disable-key", "--key-id", key.as_str().unwrap()]).ok();
    wait_for("the file still opens", || {
        std::fs::read(place.path("mount/f")).is_err_and(|error| error.raw_os_error() == Some(126))
    });
    assert_eq!(held.read_at(&mut text, 0).unwrap_err().raw_os_error(), Some(126));
    for (name, key) in [("content key", &keys.content[..]), ("data key", &keys.data_key)] {
        assert_eq!(count(server, key).0, 0, "{name}");
    }
    // Nobody but root reads it, and nothing dumps it.
    let limits = std::fs::read_to_string(format!("/proc/{server}/limits")).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max core file size        0 ")), "{limits}");
    drop(held);
    place.umount().ok();
}

#[test]
fn nothing_is_left_after_an_unmount() {
    if let Some(dir) = std::env::var_os(ROLE) {
        be_searched(Path::new(&dir));
        return;
    }
    let place = place();
    let keys = keys_of(&place.path(""));
    let mut searched = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_is_left_after_an_unmount", "--nocapture"])
        .env(ROLE, place.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(searched.stdout.take().unwrap()).lines();
    let mut wait_line =
        |what: &str| lines.find(|line| line.as_ref().unwrap().ends_with(what)).unwrap().unwrap();
    wait_line("mounted");
    assert_eq!(std::fs::read(place.path("mount/f")).unwrap(), b"text");
    assert!(count(searched.id(), &keys.content).0 > 0, "the search does not find a key in use");
    searched.stdin.as_mut().unwrap().write_all(b"end\n").unwrap();
    wait_line("unmounted");
    for (name, key) in [("content key", &keys.content[..]), ("data key", &keys.data_key)] {
        assert_eq!(count(searched.id(), key).0, 0, "{name}");
    }
    drop(searched.stdin.take());
    assert!(searched.wait().unwrap().success());
}

/// Mounts the volume, unmounts it when told to, and stays until its standard input ends.
fn tell(what: &str) {
    writeln!(std::io::stdout(), "{what}").unwrap();
}

fn be_searched(dir: &Path) {
    let service: Arc<dyn KeyService> = Arc::new(Keystore::open(&dir.join("keystore"), &source(dir)).unwrap());
    let store: Arc<dyn BackingStore> = Arc::new(PosixStore::open(&dir.join("backing")).unwrap());
    let volume = OpenVolume::open(store, service, caller(), OpenMode::Exclusive).unwrap();
    let mounted = Arc::new(MountedVolume::new(VolumeParts::of(&volume, true)).unwrap());
    let config = MountConfig::new(std::fs::canonicalize(dir.join("mount")).unwrap(), "searched".to_owned());
    let session = Session::mount(mounted, &config).unwrap();
    let unmounter = session.unmounter();
    let thread = std::thread::spawn(move || session.run());
    tell("mounted");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    unmounter.unmount(false).unwrap();
    thread.join().unwrap().unwrap();
    volume.close().unwrap();
    tell("unmounted");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
}
