//! Domain keys: a volume that asks its service once instead of once for each file.

use crate::program::wait_for;
use crate::world::Elsewhere;

const FILES: usize = 100;
const NO_KEY: i32 = 126;

fn tier(world: &Elsewhere) -> String {
    let info = world.run(&["info", "backing", "--json"]).json();
    info["KeyTier"].as_str().unwrap().split(':').next().unwrap().to_owned()
}

#[test]
fn a_domain_key_stands_for_the_calls_of_all_files() {
    let world = Elsewhere::new();
    world.init(&["--key-tier", "domain"]).ok();
    assert_eq!(tier(&world), "domain key");
    world.run(&["mount", "backing", "mount", "--journal-mib", "4", "--key-poll", "1"]).ok();
    let path = |index: usize| world.client.path(format!("mount/f{index}"));
    for index in 0..FILES {
        std::fs::write(path(index), format!("text {index}")).unwrap();
    }
    world.umount();
    let made = world.proxy.count("GenerateDataKey");
    assert_eq!(made, 1, "the domain's secret, and nothing for files");

    world.run(&["mount", "backing", "mount", "--journal-mib", "4", "--key-poll", "30"]).ok();
    let before = world.proxy.count("Decrypt");
    for index in 0..FILES {
        assert_eq!(std::fs::read(path(index)).unwrap(), format!("text {index}").as_bytes());
    }
    let calls = world.proxy.count("Decrypt") - before;
    assert!((1..=3).contains(&calls), "{calls} calls for {FILES} files");
    world.umount();

    // A rewrap brings a new domain key, and the other tier back.
    world.run(&["rewrap", "backing"]).ok();
    world.run(&["check", "backing"]).ok();
    let report = world.run(&["rewrap", "backing", "--key-tier", "kms", "--json"]).json();
    assert_eq!(report["Rewrapped"], FILES, "{report}");
    assert_eq!(tier(&world), "KMS");
    world.run(&["rewrap", "backing", "--key-tier", "domain"]).ok();
    assert_eq!(tier(&world), "domain key");

    // The key still rules: without it nothing opens, within the time of a poll.
    world.run(&["mount", "backing", "mount", "--journal-mib", "4", "--key-poll", "1"]).ok();
    assert!(std::fs::read(path(0)).is_ok());
    world.own(&["key", "disable-key", "--key-id", &world.key]).ok();
    let closed =
        |index: usize| std::fs::read(path(index)).is_err_and(|error| error.raw_os_error() == Some(NO_KEY));
    wait_for("the file still opens", || closed(0) && closed(1));
    world.own(&["key", "enable-key", "--key-id", &world.key]).ok();
    wait_for("the file does not open again", || std::fs::read(path(1)).is_ok());
    world.umount();
    world.run(&["erase", "backing", "--key", &world.key, "--confirm", &world.key]).ok();
    world.run(&["mount", "backing", "mount"]).refused(9, &[&world.key]);
}
