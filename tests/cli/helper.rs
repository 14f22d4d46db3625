//! What mount(8), umount(8) and fstab(5) do with a volume, by the helpers that they call.
//!
//! Each script runs in a mount namespace of its own, in which the helpers are in /sbin.

use crate::program::{Place, Ran};

/// Functions for the scripts. `up SOURCE [OPTIONS]` mounts at `mount`.
const PRELUDE: &str = r#"
    unset KMSFS_KEYSTORE KMSFS_PASSPHRASE_FILE
    # Copies of other mounts would keep their processes waiting, and one that is left here would keep this namespace.
    findmnt -rnt fuse.kmsfs -o TARGET | while read -r point; do umount -l -i "$point"; done
    trap 'umount -l -i "$PWD/mount" 2> /dev/null || true' EXIT
    mkdir -p helpers
    for name in mount.fuse.kmsfs mount.kmsfs umount.fuse.kmsfs umount.kmsfs; do ln -sf "$KMSFS" helpers/$name; done
    mount -t overlay overlay -o lowerdir="$PWD/helpers:/usr/sbin" /usr/sbin
    keys=keystore=$PWD/ks,key_file=$PWD/kf
    common=$keys,journal_mib=4
    up() { mount -t fuse.kmsfs -o "$common${2:+,$2}" "$1" mount; }
    fails() { code=$1; shift; if "$@" 2> err; then echo "succeeded: $*" >&2; exit 1; else found=$?; fi
        [ $found = $code ] || { echo "$found instead of $code: $*" >&2; cat err >&2; exit 1; }; }
    options() { findmnt -rno OPTIONS "$PWD/mount"; }
    has() { case ",$1," in *,$2,*) ;; *) echo "no $2 in $1" >&2; exit 1 ;; esac; }
"#;

fn run(place: &Place, script: &str) -> Ran {
    let script = format!("{PRELUDE}{script}");
    let mut shell = place.command("unshare");
    shell.env("KMSFS", env!("CARGO_BIN_EXE_kmsfs"));
    shell.args(["--mount", "--propagation", "private", "bash", "-euc", &script]);
    shell.output().unwrap().into()
}

#[test]
fn a_volume_is_made_on_request_and_shown_under_the_name_it_was_given() {
    let place = Place::empty();
    let script = r#"
        fails 32 up "$PWD/backing"; grep -q 'help: Make a volume' err
        for source in "$PWD/backing" "kmsfs:$PWD/backing" "any-name:$PWD/backing"; do
            out=$(up "$source" init 2>&1 | cat); [ -z "$out" ]
            [ "$(findmnt -rncv -S "$source" -t fuse.kmsfs -o TARGET)" = "$PWD/mount" ]
            [ "$(findmnt -rncv -T "$PWD/mount" -o SOURCE,FSTYPE)" = "$source fuse.kmsfs" ]
            mount | grep -qF "$source on $PWD/mount type fuse.kmsfs ("
            [ "$(df --output=source mount | tail -1)" = "$source" ]
            [ -z "$(ls -A mount | grep -v '^file$')" ]
            [ ! -e first ] || grep -qx kept mount/file
            echo kept > mount/file; touch first
            # A second mount of the volume is refused, and so is one at the same place.
            mkdir -p other; fails 32 mount -t fuse.kmsfs -o $common "$source" other; grep -q 'in use by process' err
            fails 32 up "$source"
            umount mount; [ ! -e mount/file ]
        done
        mount -t kmsfs -o $common,fsname=shown backing mount; findmnt -rn -S shown > /dev/null
        umount mount; echo ok"#;
    assert_eq!(run(&place, script).ok().out, "ok\n");
}

#[test]
fn mounting_and_unmounting_in_a_tight_loop_works_with_and_without_the_umount_helper() {
    let place = Place::empty();
    let script = r#"
        start=$(date +%s%N)
        for i in $(seq 20); do
            up kmsfs:$PWD/backing init$([ $((i % 3)) = 0 ] && echo ,ro); [ "$i" = 1 ] || grep -qx 1 mount/count
            [ $((i % 3)) = 0 ] || echo 1 > mount/count
            # Without the helper nobody waits until the volume is closed.
            if [ $((i % 2)) = 0 ]; then umount mount; else umount -i mount; fi
        done
        echo $((($(date +%s%N) - start) / 20000000))"#;
    let ran = run(&place, script).ok();
    let each: u64 = ran.out.trim().parse().unwrap();
    assert!(each < 1000, "{each} ms for each mount");
    assert_eq!(ran.err, "");
}

#[test]
fn a_passphrase_opens_it_fast_in_tests() {
    let place = Place::empty();
    let script = r#"
        chmod 644 passphrase
        options=keystore=$PWD/ks,passphrase_file=$PWD/passphrase,init,dangerous_fast_kdf,journal_mib=4
        fails 32 mount -t fuse.kmsfs -o $options backing mount; grep -q 'can be read by others' err
        chmod 600 passphrase
        for i in 1 2 3; do mount -t fuse.kmsfs -o $options backing mount; umount mount; done
        # Of systemd's credentials the key file comes first; a passphrase is never asked for without a terminal.
        fails 32 mount -t fuse.kmsfs -o keystore=$PWD/ks backing mount < /dev/null; grep -q 'no passphrase was given' err
        mkdir creds; cp passphrase creds/kmsfs.passphrase; chmod 600 creds/*
        CREDENTIALS_DIRECTORY=$PWD/creds mount -t fuse.kmsfs -o keystore=$PWD/ks,journal_mib=4 backing mount
        tr '\0' '\n' < /proc/$(pgrep -f __serve -n)/cmdline | grep -v correct-horse > /dev/null
        umount mount; echo ok"#;
    assert_eq!(run(&place, script).ok().out, "ok\n");
}

#[test]
fn options_reach_the_kernel_and_change_at_a_remount() {
    let place = Place::empty();
    let script = r#"
        up kmsfs:$PWD/backing init,nosuid,noexec,sync,dirsync,noatime,allow_other
        for option in rw nosuid noexec sync dirsync noatime allow_other default_permissions; do has "$(options)" $option; done
        case "$(options)" in *nodev*) exit 1 ;; esac
        echo x > mount/file
        exec 5>> mount/file; fails 32 mount -o remount,ro mount; grep -q 'is in use' err; exec 5>&-
        mount -o remount,ro mount
        for option in ro nosuid noexec noatime; do has "$(options)" $option; done
        ! echo y 2> /dev/null > mount/other; [ "$(cat mount/file)" = x ]
        "$KMSFS" status mount | grep -q 'mounted at'; "$KMSFS" --json status mount | grep -q '"ReadOnly": true'
        mount -o remount,rw,exec,strictatime mount; echo y > mount/other
        has "$(options)" nosuid; case "$(options)" in *noexec*|*atime*) exit 1 ;; esac
        [ "$(findmnt -rno SOURCE "$PWD/mount")" = "kmsfs:$PWD/backing" ]
        umount mount
        # What was opened to be read has no journal to write with.
        up backing ro; [ "$(cat mount/file)" = x ]; fails 32 mount -o remount,rw mount; grep -q 'was mounted read-only' err
        has "$(options)" ro; umount mount
        fails 1 up backing no_such_option; grep -q 'unknown mount option "no_such_option"' err
        fails 32 mount -o remount,ro mount
        echo ok"#;
    assert_eq!(run(&place, script).ok().out, "ok\n");
}

#[test]
fn a_busy_mount_stays_and_a_lazy_unmount_does_not() {
    let place = Place::empty();
    let script = r#"
        up backing init; exec 5> mount/file
        fails 32 umount mount; [ -e mount/file ]; fails 32 umount -i mount
        umount -l mount; [ ! -e mount/file ]; echo late >&5; exec 5>&-
        up backing; grep -qx late mount/file; umount mount; echo ok"#;
    assert_eq!(run(&place, script).ok().out, "ok\n");
}

#[test]
fn fstab_names_volumes() {
    let place = Place::empty();
    let script = r#"
        echo "kmsfs:$PWD/backing $PWD/mount fuse.kmsfs init,$common,nofail,x-systemd.automount,noatime,_netdev 0 0" > fstab
        cp fstab /run/kmsfs-test-fstab.$$; mount --bind fstab /etc/fstab; rm /run/kmsfs-test-fstab.$$
        mount "$PWD/mount"; has "$(options)" noatime; umount "$PWD/mount"
        mount -a -t fuse.kmsfs; mountpoint -q mount; mount -o remount,ro "$PWD/mount"; has "$(options)" ro
        umount "kmsfs:$PWD/backing"; ! mountpoint -q mount; echo ok"#;
    assert_eq!(run(&place, script).ok().out, "ok\n");
}

#[test]
fn the_process_holds_no_descriptor_of_mount() {
    let place = Place::empty();
    let script = r#"
        { up backing init; echo done; } 7>&1 | cat
        for fd in /proc/$("$KMSFS" --json status backing | sed -n 's/.*"Pid": \([0-9]*\),/\1/p')/fd/*; do
            case "$(readlink $fd)" in pipe:*|/dev/pts/*) exit 1 ;; esac
        done
        umount mount"#;
    assert_eq!(run(&place, script).ok().out, "done\n");
}

#[test]
fn reading_is_noted_as_the_options_say() {
    let place = Place::empty();
    let script = r#"
        up backing init; mkdir mount/dir; echo x > mount/file; ln -s file mount/link; umount mount
        old() { touch -a -d @1000000000 mount/file mount/dir; }
        file() { stat -c %X mount/file; }; dir() { stat -c %X mount/dir; }
        ctime() { stat -c %z mount/file; }
        fresh() { up backing "$1"; old; before=$(ctime); sleep 0.02; cat mount/file > /dev/null; ls mount/dir; }
        fresh noatime; [ $(file) = 1000000000 ]; [ $(dir) = 1000000000 ]; umount mount
        fresh nodiratime; [ $(file) != 1000000000 ]; [ $(dir) = 1000000000 ]; umount mount
        fresh relatime; [ $(file) != 1000000000 ]; [ $(dir) != 1000000000 ]; [ "$(ctime)" = "$before" ]
        first=$(stat -c %x mount/file); umount mount
        # Read again, it is recent enough; changed, it is not.
        up backing; sleep 0.02; cat mount/file > /dev/null; [ "$(stat -c %x mount/file)" = "$first" ]; umount mount
        up backing; echo y > mount/file; umount mount
        up backing; cat mount/file > /dev/null; [ "$(stat -c %x mount/file)" != "$first" ]
        mount -o remount,noatime mount; old; ls mount/dir; [ $(dir) = 1000000000 ]
        mount -o remount,relatime mount; ls mount/dir; [ $(dir) != 1000000000 ]; umount mount
        up backing ro; at=$(stat -c %x mount/file); cat mount/file > /dev/null; [ "$(stat -c %x mount/file)" = "$at" ]
        umount mount; echo ok"#;
    assert_eq!(run(&place, script).ok().out, "ok\n");
}

#[test]
fn a_shutdown_is_a_crash_and_only_where_it_was_asked_for() {
    let place = Place::empty();
    let script = r#"
        cat > godown <<'END'
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))
END
        up backing init; fails 1 python3 godown mount; grep -q 'Inappropriate ioctl' err
        dd if=/dev/urandom of=mount/kept bs=64k count=4 conv=fsync status=none; umount mount; sum=
        up backing dangerous_shutdown; dd if=/dev/zero of=mount/kept bs=4k count=3 conv=fsync,notrunc status=none
        sum=$(sha256sum < mount/kept); echo new > mount/new; sync mount/new
        python3 godown mount; fails 2 ls mount/nothing; grep -q 'Input/output error' err
        fails 1 dd if=/dev/zero of=mount/kept bs=4k count=1 conv=notrunc,fsync
        umount mount; [ "$(ls mount)" = '' ]
        up backing; [ "$(sha256sum < mount/kept)" = "$sum" ]; grep -qx new mount/new; umount mount
        "$KMSFS" check backing --keystore ks --key-file kf > report || { cat report; exit 1; }
        echo ok"#;
    assert_eq!(run(&place, script).ok().out, "ok\n");
}
