//! What a volume does is the same wherever its key is, and it asks for no more than it has to.

use crate::proxy::CALLS;
use crate::world::{Elsewhere, REGION};

/// Keys that a mount makes ahead at most.
const POOL: u64 = 512;

#[test]
fn a_volume_lives_on_a_key_elsewhere_without_a_keystore() {
    let world = Elsewhere::new();
    let made = world.init(&["--json"]).json();
    assert_eq!(made["KeyId"], world.key);
    assert!(made["Keystore"].is_null() && !world.client.path("keystore").exists());
    world.mount();
    std::fs::create_dir(world.client.path("mount/d")).unwrap();
    std::fs::write(world.client.path("mount/d/f"), "text").unwrap();
    let second = world.new_key();
    std::fs::create_dir(world.client.path("mount/own")).unwrap();
    world.run(&["protect", "mount/own", "--key", &second]).ok();
    std::fs::write(world.client.path("mount/own/f"), "own").unwrap();
    let status = world.run(&["status", "backing", "--json"]).json();
    let place = format!("{REGION} {}", world.proxy.url());
    assert_eq!(status["Process"]["Domains"][0]["Place"], place);
    world.umount();

    let info = world.run(&["info", "backing", "--keys", "--json"]).json();
    assert_eq!(info["Domains"][0]["Keys"][0]["Place"], place);
    assert_eq!(info["Domains"][0]["Keys"][0]["KeyState"], "Enabled");
    world.own(&["key", "rotate-key-on-demand", "--key-id", &world.key]).ok();
    assert_eq!(world.run(&["rewrap", "backing", "--json"]).json()["Rewrapped"], 2);
    world.run(&["check", "backing"]).ok();

    // Whoever has no credentials, or another key, gets nothing.
    let mut stranger = world.kmsfs();
    stranger.env("AWS_SECRET_ACCESS_KEY", "not-the-secret").args(["check", "backing"]);
    let refused = stranger.output().unwrap();
    assert_eq!(refused.status.code(), Some(9), "{refused:?}");

    world.run(&["erase", "backing", "--key", &second, "--confirm", &second]).ok();
    world.mount();
    assert_eq!(std::fs::read(world.client.path("mount/d/f")).unwrap(), b"text");
    let gone = std::fs::read(world.client.path("mount/own/f")).unwrap_err();
    assert!(gone.raw_os_error().is_some());
    world.umount();
}

#[test]
fn moving_to_another_endpoint_is_a_rewrap() {
    let world = Elsewhere::new();
    world.init(&[]).ok();
    let url = world.proxy.url();
    let other = world.new_key();
    let target = format!("{other},endpoint-url={}", url.replace("127.0.0.1", "localhost"));
    world.run(&["rewrap", "backing", "--to", &target]).ok();
    let info = world.run(&["info", "backing", "--json"]).json();
    let place = info["Domains"][0]["Keys"][0]["Place"].as_str().unwrap();
    assert!(place.contains("localhost"), "{place}");
    world.run(&["check", "backing", "--endpoint-url", &url]).ok();
}

#[test]
fn plaintext_endpoints_are_refused_before_anything_is_made() {
    let world = Elsewhere::new();
    let refused = ["init", "backing", "--key", &world.key, "--endpoint-url", "http://192.0.2.1:4599"];
    let ran = world.run(&refused);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("in the clear"), "{ran:?}");
    assert!(std::fs::read_dir(world.client.path("backing")).unwrap().next().is_none());
}

#[test]
fn calls_are_counted() {
    const FILES: u64 = 200;
    let world = Elsewhere::new();
    world.init(&[]).ok();
    world.mount();
    for index in 0..FILES {
        std::fs::write(world.client.path(format!("mount/f{index}")), "text").unwrap();
    }
    world.umount();
    let (made, opened) = (world.proxy.count("GenerateDataKey"), world.proxy.count("Decrypt"));
    // One for the domain's secret, one for each file, and what was made ahead and not used.
    assert!((FILES..=1 + FILES + POOL).contains(&made), "{made} data keys for {FILES} files");
    assert!(opened <= 4, "{opened} calls to open what this very mount made");

    world.mount();
    let before = world.proxy.count("Decrypt");
    let read_all = || {
        for index in 0..FILES {
            assert_eq!(std::fs::read(world.client.path(format!("mount/f{index}"))).unwrap(), b"text");
        }
    };
    read_all();
    let cold = world.proxy.count("Decrypt") - before;
    // A poll may fall into the time.
    assert!((FILES..=FILES + 2).contains(&cold), "{cold} calls for {FILES} cold files");
    read_all();
    let warm = world.proxy.count("Decrypt") - before - cold;
    assert!(warm <= 2, "{warm} calls for files that were opened before");
    assert_eq!(world.proxy.count("GenerateDataKey"), made, "nothing is made ahead where nothing is created");
    world.umount();
}

#[test]
fn a_rewrap_takes_many_files_with_one_call() {
    const FILES: u64 = 200;
    let world = Elsewhere::new();
    world.init(&[]).ok();
    world.mount();
    for index in 0..FILES {
        std::fs::write(world.client.path(format!("mount/f{index}")), "text").unwrap();
    }
    world.umount();
    let other = world.new_key();
    let (calls, moved) = (world.proxy.count(CALLS), world.proxy.count("ReEncrypt"));
    let report = world.run(&["rewrap", "backing", "--to", &other, "--json"]).json();
    assert_eq!(report["Rewrapped"], FILES);
    assert!(world.proxy.count("ReEncrypt") - moved >= FILES, "each file is moved");
    let calls = world.proxy.count(CALLS) - calls;
    assert!(calls <= FILES / 4, "{calls} calls for {FILES} files");
    // Each item was recorded for itself.
    std::thread::sleep(std::time::Duration::from_millis(700));
    let shown =
        world.own(&["--json", "kms", "audit", "show", "--operation", "ReEncrypt", "--last", "1000"]).json();
    let items = shown["Records"].as_array().unwrap().iter().filter(|one| one["Item"].is_u64());
    assert!(items.count() as u64 >= FILES);
    world.own(&["key", "disable-key", "--key-id", &world.key]).ok();
    world.run(&["check", "backing"]).ok();
}
