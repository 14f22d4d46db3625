//! A service that is slow, busy, broken or away.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::program::wait_for;
use crate::proxy::Mode;
use crate::world::Elsewhere;

/// `EREMOTEIO`, "Remote I/O error".
const REMOTE_IO: i32 = 121;
/// What a call may take, and some time for a loaded machine.
const DEADLINE: Duration = Duration::from_secs(8);

fn volume_with(names: &[&str]) -> Elsewhere {
    let world = Elsewhere::new();
    world.init(&[]).ok();
    world.mount();
    for name in names {
        std::fs::write(world.client.path("mount").join(name), *name).unwrap();
    }
    world.umount();
    world.mount();
    world
}

fn goes_on_and_fails_fast(mode: Mode) {
    let world = volume_with(&["open", "cold", "colder"]);
    let path = |name: &str| world.client.path("mount").join(name);
    let open = File::options().read(true).write(true).open(path("open")).unwrap();
    let mut text = [0; 4];
    // The key of a file is asked for by the first read.
    open.read_exact_at(&mut text, 0).unwrap();
    world.proxy.set(mode);
    let start = Instant::now();
    let error = std::fs::read(path("cold")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(REMOTE_IO), "{error}");
    assert!(start.elapsed() < DEADLINE, "{mode:?}: {:?}", start.elapsed());
    let again = Instant::now();
    let error = std::fs::read(path("colder")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(REMOTE_IO), "{error}");
    assert!(again.elapsed() < Duration::from_millis(900), "{mode:?}: {:?}", again.elapsed());

    // What is open goes on, and names need nobody.
    open.read_exact_at(&mut text, 0).unwrap();
    open.write_all_at(b"OPEN", 0).unwrap();
    open.sync_all().unwrap();
    assert_eq!(std::fs::read_dir(path("")).unwrap().count(), 3);
    std::fs::rename(path("colder"), path("renamed")).unwrap();

    let log = world.log();
    for word in [world.key.as_str(), &world.proxy.url(), "out of reach"] {
        assert!(log.contains(word), "{word} is missing in {log}");
    }
    world.proxy.set(Mode::Forward);
    wait_for("the file does not open again", || {
        std::fs::read(path("cold")).is_ok_and(|text| text == b"cold")
    });
    drop(open);
    world.umount();
    world.mount();
    assert_eq!(std::fs::read(path("open")).unwrap(), b"OPEN");
    assert!(world.log().contains("answers again"));
    world.umount();
}

#[test]
fn a_service_that_is_away_stops_new_opens_only() {
    goes_on_and_fails_fast(Mode::Down);
}

#[test]
fn a_service_that_hangs_stops_new_opens_only() {
    goes_on_and_fails_fast(Mode::Hang);
}

#[test]
fn a_command_says_which_service_does_not_answer() {
    let world = Elsewhere::new();
    world.init(&[]).ok();
    world.proxy.set(Mode::Down);
    let url = world.proxy.url();
    world.run(&["check", "backing"]).refused(10, &[&url, "does not answer"]);
    world.run(&["mount", "backing", "mount"]).refused(10, &[&url, "does not answer"]);
}

#[test]
fn busy_and_broken_answers_are_asked_for_again() {
    let world = volume_with(&["a", "b", "c", "d"]);
    for (mode, name) in [(Mode::Throttle, "a"), (Mode::Fail, "b"), (Mode::Throttle, "c"), (Mode::Fail, "d")] {
        world.proxy.set(mode);
        assert_eq!(std::fs::read(world.client.path("mount").join(name)).unwrap(), name.as_bytes());
        std::fs::write(world.client.path(format!("mount/new-{name}")), "new").unwrap();
    }
    world.proxy.set(Mode::Forward);
    world.umount();
    world.run(&["check", "backing"]).ok();
}

#[test]
fn cut_connections_lose_no_fsynced_byte() {
    // As many as are wanted; a few in a run of all tests.
    let wanted: u64 = std::env::var("KMSFS_CUTS").map_or(100, |text| text.parse().unwrap());
    let world = Elsewhere::new();
    world.init(&[]).ok();
    world.mount();
    world.proxy.set(Mode::Cut);
    let (mut kept, mut refused, mut round) = (Vec::new(), 0, 0_u64);
    let deadline = Instant::now() + Duration::from_secs(30 + wanted / 2);
    while world.proxy.cuts() < wanted {
        assert!(Instant::now() < deadline, "{} cuts, {refused} refusals", world.proxy.cuts());
        let name = format!("f{round}");
        let path = world.client.path("mount").join(&name);
        let text = format!("{round} ").repeat(1 + (round % 2000) as usize);
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        match written {
            Ok(()) => kept.push((name, text)),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(REMOTE_IO), "{error}");
                refused += 1;
                // What programs do that try again.
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        round += 1;
    }
    assert!(kept.len() as u64 > wanted / 4, "{} of {round} files", kept.len());
    world.client.kill_server();
    world.proxy.set(Mode::Forward);
    world.mount();
    for (name, text) in &kept {
        assert_eq!(std::fs::read(world.client.path("mount").join(name)).unwrap(), text.as_bytes(), "{name}");
    }
    world.umount();
    world.run(&["check", "backing"]).ok();
    println!("{} cuts: {} files kept, {refused} refused", world.proxy.cuts(), kept.len());
}
