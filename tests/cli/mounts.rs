//! Mounting and unmounting.

use std::process::{Command, Stdio};

use crate::program::{PASSPHRASE, Place, wait_for};

#[test]
fn files_come_back_after_a_remount_and_are_not_in_the_clear() {
    let place = Place::with_mount();
    std::fs::write(place.path("mount/a file with a name"), b"some words in the clear").unwrap();
    place.umount().ok();
    assert!(std::fs::read_dir(place.path("mount")).unwrap().next().is_none());
    for (path, content) in place.snapshot("backing") {
        assert!(!path.to_string_lossy().contains("a file with"));
        assert!(!String::from_utf8_lossy(&content).contains("in the clear"));
    }
    place.mount(&[]).ok();
    let read = std::fs::read(place.path("mount/a file with a name")).unwrap();
    assert_eq!(read, b"some words in the clear");
    place.umount().ok();
}

#[test]
fn the_daemon_holds_nothing_of_its_caller_and_no_secret_in_its_arguments() {
    let place = Place::with_volume();
    // Descriptor 7 is a pipe whose other end waits for all writers to be gone.
    let script =
        "out=$({ { $KMSFS mount backing mount --journal-mib 4; echo done; } 7>&1; } | cat); echo \"[$out]\"";
    let ran = place.sh(script).ok();
    assert_eq!(ran.out, "[done]\n");
    let proc_dir = std::path::Path::new("/proc").join(place.server().to_string());
    for entry in std::fs::read_dir(proc_dir.join("fd")).unwrap() {
        let target = std::fs::read_link(entry.unwrap().path()).unwrap_or_default();
        let target = target.to_string_lossy().into_owned();
        assert!(!target.starts_with("pipe:") && !target.starts_with("/dev/pts"), "{target}");
    }
    for file in ["cmdline", "environ"] {
        let text = std::fs::read(proc_dir.join(file)).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains(PASSPHRASE), "{file}");
    }
    place.umount().ok();
    // What has ended stays visible until init has taken note of it.
    let state = std::fs::read_to_string(proc_dir.join("stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
    for (path, content) in place.snapshot("home") {
        assert!(!String::from_utf8_lossy(&content).contains(PASSPHRASE), "{}", path.display());
    }
}

#[test]
fn a_second_mount_is_refused_and_names_host_and_process() {
    let place = Place::with_mount();
    let server = place.server().to_string();
    std::fs::create_dir(place.path("other")).unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    place
        .run(["mount", "backing", "other"])
        .refused(5, &["in use by process", &server, host.trim(), "Unmount it there"]);
    place.mount(&[]).refused(11, &["mounted already", "kmsfs umount"]);
    place.run(["check", "backing"]).refused(5, &[&server]);
    place.umount().ok();
}

#[test]
fn a_mount_whose_process_was_killed_is_cleaned_up_and_recovered() {
    let place = Place::with_mount();
    std::fs::write(place.path("mount/file"), vec![7; 100_000]).unwrap();
    std::fs::write(place.path("mount/file"), vec![8; 100_000]).unwrap();
    place.kill_server();
    let ran = place.mount(&[]).ok();
    assert!(ran.err.contains("is gone; its mount was removed"), "{ran:?}");
    assert!(ran.err.contains("session 1 had crashed; its journal was replayed"), "{ran:?}");
    assert_eq!(std::fs::read(place.path("mount/file")).unwrap(), vec![8; 100_000]);
    place.umount().ok();
}

#[test]
fn umount_of_a_mount_whose_process_was_killed() {
    let place = Place::with_mount();
    place.kill_server();
    for of in ["mount", "backing"] {
        let ran = place.run(["status", of]).ok();
        assert!(
            ran.out.contains("not in use") && ran.out.contains("mount is gone; `kmsfs umount`"),
            "{ran:?}"
        );
    }
    let ran = place.umount().ok();
    assert!(!place.run(["status", "backing"]).ok().out.contains("is gone"));
    assert!(ran.err.contains("was gone; the next mount recovers"), "{ran:?}");
    assert!(std::fs::metadata(place.path("mount")).is_ok());
}

#[test]
fn a_lazy_umount_ends_when_the_last_file_is_closed() {
    let place = Place::with_mount();
    let server = place.server();
    let file = std::fs::File::create(place.path("mount/file")).unwrap();
    place.umount().refused(18, &["in use"]);
    place.run(["umount", "--lazy", "mount"]).ok();
    assert!(!place.path("mount/file").exists());
    drop(file);
    let gone = std::path::Path::new("/proc").join(server.to_string());
    wait_for("the process ends", || !gone.exists());
    place.mount(&[]).ok();
    assert!(place.path("mount/file").exists());
    place.umount().ok();
}

#[test]
fn in_the_foreground_a_signal_unmounts() {
    let place = Place::with_volume();
    let mut child = place
        .kmsfs()
        .args(["mount", "--foreground", "backing", "mount", "--journal-mib", "4", "-o", "fsname=here,noexec"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mounted = || {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let point = place.path("mount").display().to_string();
        table
            .lines()
            .any(|line| line.contains(&point) && line.contains("fuse.kmsfs here") && line.contains("noexec"))
    };
    wait_for("the mount is there", mounted);
    std::fs::write(place.path("mount/file"), b"x").unwrap();
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!mounted());
}

#[test]
fn status_shows_mounts_and_locks() {
    let place = Place::with_volume();
    let idle = place.run(["status", "backing", "--json"]).json();
    assert_eq!((idle["HolderRunsHere"].as_bool(), idle["Process"].is_null()), (Some(false), true));
    place.mount(&[]).ok();
    let all = place.run(["status", "--json"]).json();
    let point = place.path("mount").canonicalize().unwrap();
    let mine = all["Mounts"].as_array().unwrap().iter();
    let mine: Vec<_> = mine.filter(|mount| mount["Mountpoint"] == point.to_str().unwrap()).collect();
    assert_eq!(mine.len(), 1);
    let process = &mine[0]["Process"];
    assert_eq!(process["Domains"][0]["Unusable"], serde_json::Value::Null);
    let log = std::fs::read_to_string(process["Log"].as_str().unwrap()).unwrap();
    assert!(log.contains("mounted"), "{log}");
    let text = place.run(["status"]).ok().out;
    assert!(text.contains("process") && text.contains("log "), "{text}");
    place.umount().ok();
}

#[test]
fn workers_are_bound_by_quotas() {
    const CAP_SYS_RESOURCE: u64 = 24;
    let place = Place::with_mount();
    std::fs::write(place.path("mount/file"), b"x").unwrap();
    let mut workers = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", place.server())).unwrap() {
        let task = task.unwrap().path();
        if std::fs::read_to_string(task.join("comm")).unwrap().starts_with("fuser-") {
            let status = std::fs::read_to_string(task.join("status")).unwrap();
            let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
            assert_eq!(u64::from_str_radix(effective, 16).unwrap() >> CAP_SYS_RESOURCE & 1, 0);
            workers += 1;
        }
    }
    assert!(workers >= 2);
    place.umount().ok();
}
