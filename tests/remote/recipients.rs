//! Several recipients: each opens by itself, wherever it is.

use crate::program::Place;
use crate::proxy::Mode;
use crate::world::Elsewhere;

/// The ARNs of the recipients of the root domain.
fn recipients(info: &serde_json::Value) -> Vec<String> {
    let keys = info["Domains"][0]["Keys"].as_array().unwrap().iter();
    keys.filter(|key| key["Recipient"] == true).map(|key| key["Arn"].as_str().unwrap().to_owned()).collect()
}

fn new_key(place: &Place) -> String {
    let made = place.run(["key", "create-key"]).json();
    made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
}

fn state(place: &Place, verb: &str, key: &str) {
    place.run(["key", verb, "--key-id", key]).ok();
}

#[test]
fn either_key_opens_and_rewrap_adds_and_removes() {
    let place = Place::empty();
    place.run(["keystore", "create"]).ok();
    let (first, second, third) = (new_key(&place), new_key(&place), new_key(&place));
    place.run(["init", "backing", "--key", &first, "--recipient", &second]).ok();
    assert_eq!(recipients(&place.run(["info", "backing", "--json"]).json()), [first.clone(), second.clone()]);
    place.mount(&[]).ok();
    std::fs::write(place.path("mount/f"), "text").unwrap();
    place.umount().ok();

    for (lost, left) in [(&first, &second), (&second, &first)] {
        state(&place, "disable-key", lost);
        state(&place, "enable-key", left);
        place.mount(&[]).ok();
        assert_eq!(std::fs::read(place.path("mount/f")).unwrap(), b"text");
        // A file that only one of two could open is not made.
        let refused = std::fs::write(place.path("mount/new"), "new").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(126), "{refused}");
        place.umount().ok();
    }
    // Nothing is left but the first key: the lost one goes, another one comes.
    let args = ["rewrap", "backing", "--remove-recipient", &second, "--add-recipient", &third, "--json"];
    let report = place.run(args).json();
    assert_eq!((&report["Rewrapped"], &report["FailedCount"]), (&1.into(), &0.into()), "{report}");
    assert_eq!(recipients(&place.run(["info", "backing", "--json"]).json()), [first.clone(), third.clone()]);
    // What opens with another key too is not erased by destroying one.
    place.run(["erase", "backing", "--key", &third, "--confirm", &third]).refused(9, &[&first]);
    state(&place, "disable-key", &first);
    place.mount(&[]).ok();
    assert_eq!(std::fs::read(place.path("mount/f")).unwrap(), b"text");
    place.umount().ok();
    place.run(["rewrap", "backing", "--remove-recipient", &first]).ok();
    place.run(["rewrap", "backing", "--remove-recipient", &third]).refused(2, &["last recipient"]);
    place.run(["rewrap", "backing", "--remove-recipient", &second]).refused(2, &["not a recipient"]);
    place.run(["check", "backing"]).ok();
    place.run(["erase", "backing", "--key", &third, "--confirm", &third]).ok();
    place.mount(&[]).refused(9, &[&third]);
}

#[test]
fn a_protected_directory_has_recipients_of_its_own() {
    let place = Place::with_mount();
    let (first, second) = (new_key(&place), new_key(&place));
    std::fs::create_dir(place.path("mount/d")).unwrap();
    place.run(["protect", "mount/d", "--key", &first, "--recipient", &second]).ok();
    std::fs::write(place.path("mount/d/f"), "text").unwrap();
    place.umount().ok();
    state(&place, "disable-key", &first);
    place.mount(&[]).ok();
    assert_eq!(std::fs::read(place.path("mount/d/f")).unwrap(), b"text");
    state(&place, "disable-key", &second);
    place.umount().ok();
    place.mount(&[]).ok();
    assert!(std::fs::read(place.path("mount/d/f")).is_err());
    place.umount().ok();
}

#[test]
fn a_key_in_the_keystore_opens_when_the_service_elsewhere_is_lost() {
    let world = Elsewhere::new();
    let local =
        |args: &[&str]| world.kmsfs().env("KMSFS_KEY_FILE", world.client.path("k")).args(args).output();
    let run = |args: &[&str]| crate::program::Ran::from(local(args).unwrap());
    run(&["keystore", "create"]).ok();
    let url = world.proxy.url();
    let first = ["init", "backing", "--key", &world.key, "--endpoint-url", &url];
    run(&[&first[..], &["--recipient", "alias/aws/kmsfs,keystore"]].concat()).ok();
    let mount = ["mount", "backing", "mount", "--journal-mib", "4"];
    run(&mount).ok();
    std::fs::write(world.client.path("mount/f"), "text").unwrap();
    world.umount();
    world.proxy.set(Mode::Down);
    run(&mount).ok();
    assert_eq!(std::fs::read(world.client.path("mount/f")).unwrap(), b"text");
    world.umount();
    run(&["rewrap", "backing", "--remove-recipient", &world.key]).ok();
    run(&["check", "backing"]).ok();
    // And the other way round: without the keystore.
    world.proxy.set(Mode::Forward);
    let back = format!("{},endpoint-url={url}", world.key);
    run(&["rewrap", "backing", "--add-recipient", &back]).ok();
    std::fs::rename(world.client.path("keystore"), world.client.path("away")).unwrap();
    world.mount();
    assert_eq!(std::fs::read(world.client.path("mount/f")).unwrap(), b"text");
    world.umount();
}
