//! Whole volumes: information, protected directories, rewrap, erase, check, exit codes.

use serde_json::Value;

use crate::program::Place;

/// A key with imported material and an alias.
fn own_key(place: &Place, alias: &str) -> String {
    let made = place.run(["key", "create-key", "--origin", "EXTERNAL"]).json();
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    std::fs::write(place.path("material"), [alias.len() as u8; 32]).unwrap();
    place.run(["key", "import", "--key-id", &id, "--material-file", "material"]).ok();
    place.run(["key", "create-alias", "--alias-name", alias, "--target-key-id", &id]).ok();
    id
}

fn domains(place: &Place) -> Vec<Value> {
    place.run(["info", "backing", "--json"]).json()["Domains"].as_array().unwrap().clone()
}

#[test]
fn info_needs_no_keystore_and_shows_more_with_one() {
    let place = Place::with_volume();
    let without = place
        .kmsfs()
        .env_remove("KMSFS_PASSPHRASE_FILE")
        .env_remove("KMSFS_KEYSTORE")
        .args(["info", "backing", "--json"])
        .output()
        .unwrap();
    let without: Value = serde_json::from_slice(&without.stdout).unwrap();
    let with = place.run(["info", "backing", "--json"]).json();
    assert_eq!(without["VolumeId"], with["VolumeId"]);
    assert_eq!(without["Names"], "encrypted");
    assert_eq!(without["Domains"][0]["Keys"][0].get("KeyState"), None);
    assert_eq!(with["Domains"][0]["Keys"][0]["KeyState"], "Enabled");
    assert_eq!(with["Domains"][0]["Keys"][0]["KeyManager"], "AWS");
    place.mount(&[]).ok();
    let mounted = place.run(["info", "mount", "--json"]).json();
    assert_eq!((&mounted["VolumeId"], &mounted["Sessions"]["LastEnd"]), (&with["VolumeId"], &"open".into()));
    place.umount().ok();
    let text = place.run(["info", "backing"]).ok().out;
    assert!(text.contains("last: clean") && text.contains("(root), epoch 1"), "{text}");
}

#[test]
fn a_protected_directory_is_erased_and_the_rest_stays() {
    let place = Place::with_mount();
    own_key(&place, "alias/own");
    std::fs::write(place.path("mount/open"), b"open").unwrap();
    place.sh("mkdir mount/own && setfattr -n user.note -v kept mount/own && chmod 0750 mount/own && ls -la mount/own").ok();
    place.run(["protect", "mount/own", "--key", "alias/own"]).ok();
    place.sh("test $(getfattr --only-values -n user.note mount/own) = kept && test $(stat -c %a mount/own) = 750").ok();
    std::fs::write(place.path("mount/own/secret"), b"secret").unwrap();
    assert_eq!(domains(&place).len(), 2);
    place.run(["protect", "mount/own", "--key", "alias/own"]).refused(16, &["not empty"]);
    assert_eq!(domains(&place).len(), 2);

    let confirm = |name| place.run(["erase", "mount", "--key", "alias/own", "--confirm", name]);
    confirm("alias/other").refused(21, &["not confirmed", "Nothing was erased"]);
    place.run(["erase", "mount", "--key", "alias/own"]).refused(21, &["not confirmed"]);
    assert_eq!(std::fs::read(place.path("mount/own/secret")).unwrap(), b"secret");
    let text = confirm("alias/own").ok().out;
    assert!(text.contains("1 files with 6 bytes cannot be read any more"), "{text}");
    assert!(std::fs::read(place.path("mount/own/secret")).is_err());
    assert_eq!(std::fs::read(place.path("mount/open")).unwrap(), b"open");
    assert_eq!(std::fs::read_dir(place.path("mount/own")).unwrap().count(), 1);

    let ran = place.run(["rewrap", "mount"]).ok();
    assert!(ran.err.contains("is left out") && ran.out.contains("1 files rewrapped"), "{ran:?}");
    place.umount().ok();
    place.run(["check", "backing"]).refused(17, &["check found"]);
    // The same material makes the data readable again.
    let id = place.run(["key", "describe-key", "--key-id", "alias/own"]).json();
    let id = id["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    place.run(["key", "import", "--key-id", &id, "--material-file", "material"]).ok();
    place.mount(&[]).ok();
    assert_eq!(std::fs::read(place.path("mount/own/secret")).unwrap(), b"secret");
    place.umount().ok();
}

#[test]
fn an_erasure_names_the_related_keys_that_keep_the_material() {
    let place = Place::empty();
    place.run(["keystore", "create"]).ok();
    let made = place.run(["key", "create-key", "--multi-region"]).json();
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    place.run(["key", "replicate-key", "--key-id", &id, "--replica-region", "eu-west-1"]).ok();
    place.run(["init", "backing", "--key", &id]).ok();
    place.mount(&[]).ok();
    std::fs::write(place.path("mount/secret"), b"secret").unwrap();
    place.umount().ok();
    let text = place.run(["erase", "backing", "--key", &id, "--confirm", &id]).ok().out;
    assert!(text.contains("Its waiting period begins when its last replica is deleted."), "{text}");
    let replica = format!("arn:aws:kms:eu-west-1:000000000000:key/{id}");
    assert!(text.lines().any(|line| line.contains("same material") && line.contains(&replica)), "{text}");
    assert_ne!(place.mount(&[]).code, 0);
}

#[test]
fn a_directory_of_a_volume_that_is_not_mounted_is_protected_by_its_plain_path() {
    let place = Place::with_mount();
    own_key(&place, "alias/own");
    place.sh("mkdir -p mount/a/b").ok();
    place.umount().ok();
    place.run(["protect", "backing/a/b", "--key", "alias/own"]).ok();
    place.run(["protect", "backing/a", "--key", "alias/own"]).refused(16, &["not empty"]);
    place.run(["protect", "backing/none", "--key", "alias/own"]);
    place.run(["protect", "home", "--key", "alias/own"]).refused(19, &["not inside"]);
    assert_eq!(domains(&place).len(), 2);
    place.mount(&[]).ok();
    std::fs::write(place.path("mount/a/b/file"), b"x").unwrap();
    // Names of two domains: a link between them cannot be made.
    assert!(std::fs::hard_link(place.path("mount/a/b/file"), place.path("mount/file")).is_err());
    place.umount().ok();
}

#[test]
fn rewrap_goes_to_new_material_and_to_another_key() {
    let place = Place::with_mount();
    own_key(&place, "alias/own");
    for index in 0..20 {
        std::fs::write(place.path(format!("mount/{index}")), index.to_string()).unwrap();
    }
    let live = place.run(["rewrap", "mount", "--json"]).json();
    assert_eq!((live["Rewrapped"].as_u64(), live["FailedCount"].as_u64()), (Some(20), Some(0)));
    std::fs::write(place.path("mount/later"), b"later").unwrap();
    place.umount().ok();
    let moved = place.run(["rewrap", "backing", "--to", "alias/own", "--json"]).json();
    assert_eq!(moved["Rewrapped"].as_u64(), Some(21));
    assert_eq!(moved["Domains"][0]["FormerKeys"].as_array().unwrap().len(), 0);
    place.run(["check", "backing"]).ok();
    place
        .run(["erase", "backing", "--key", "alias/aws/kmsfs", "--confirm", "alias/aws/kmsfs"])
        .refused(9, &["Nothing was erased"]);
    place.mount(&[]).ok();
    assert_eq!(std::fs::read(place.path("mount/13")).unwrap(), b"13");
    place.umount().ok();
}

#[test]
fn check_names_the_damaged_file() {
    let place = Place::with_mount();
    std::fs::write(place.path("mount/good"), vec![1; 10_000]).unwrap();
    std::fs::write(place.path("mount/bad"), vec![2; 50_000]).unwrap();
    place.umount().ok();
    let sound = place.run(["check", "backing", "--json"]).json();
    assert_eq!((sound["Sound"].as_bool(), sound["Bytes"].as_u64()), (Some(true), Some(60_000)));
    let (victim, mut content) = place
        .snapshot("backing")
        .into_iter()
        .max_by_key(|(path, content)| (!path.to_string_lossy().contains(".kmsfs"), content.len()))
        .unwrap();
    content[3 * 4096 + 100] ^= 1;
    std::fs::write(victim, content).unwrap();
    let ran = place.run(["check", "backing"]).refused(17, &["check found 1 thing", "backup"]);
    assert!(ran.out.contains("block: bad"), "{ran:?}");
}

#[test]
fn a_keystore_with_a_key_file() {
    let place = Place::empty();
    let with_key_file = |args: &[&str]| {
        let mut command = place.kmsfs();
        command.env_remove("KMSFS_PASSPHRASE_FILE").args(args).args(["--key-file", "key"]);
        crate::program::Ran::from(command.output().unwrap())
    };
    with_key_file(&["init", "backing", "--plain-names"]).ok();
    place.run(["info", "backing"]).refused(7, &["sealed by a key file", "--key-file"]);
    with_key_file(&["mount", "backing", "mount", "--journal-mib", "4"]).ok();
    std::fs::write(place.path("mount/file"), b"x").unwrap();
    assert!(place.path("backing/file").exists());
    place.umount().ok();
}

#[test]
fn the_exit_codes_are_those_of_the_manual() {
    let manual = include_str!("../../docs/cli.md");
    for line in kmsfs::cli::EXIT_CODES {
        let row = format!("| {} | {} |", line.code, line.meaning);
        assert!(manual.contains(&row), "{row}");
    }
}

#[test]
fn the_version() {
    let place = Place::empty();
    assert_eq!(place.run(["version"]).ok().out, format!("kmsfs {}\n", env!("CARGO_PKG_VERSION")));
    let version = place.run(["version", "--json"]).json();
    assert_eq!(version["Version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["CipherKernel"], kmsfs::crypto::Kernel::chosen().name());
}
