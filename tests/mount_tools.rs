//! Ordinary programs on a mounted volume.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{World, in_every_setup};

/// A tree with everything that `cp -a` keeps.
const MAKE_TREE: &str = r#"
mkdir -p tree/sub/deep tree/empty
head -c 300000 /dev/urandom > tree/random
seq 1 20000 > tree/sub/text
: > tree/sub/nothing
truncate -s 5M tree/sparse; echo end >> tree/sparse
ln tree/random tree/sub/hard
ln -s ../random tree/sub/soft
ln -s nowhere tree/dangling
mkfifo tree/pipe
mknod tree/null c 1 3
mknod tree/disk b 259 300
chmod 6755 tree/random; chmod 000 tree/sub/nothing; chmod 1777 tree/empty
chown 12345:54321 tree/sub/text
touch -d '2001-02-03 04:05:06.789' tree/sub/text
setfattr -n user.colour -v blue tree/sub/text
setfattr -n trusted.secret -v x tree/sub
setfattr -n user.dir -v 1 tree/sub
setfacl -m u:nobody:rw,g:games:r tree/sub/text
setfacl -d -m u:nobody:rx tree/sub
printf 'a\nb' > "tree/$(printf 'new\nline')"
touch "tree/$(printf 'x%.0s' $(seq 255))" "tree/$(printf 'y%.0s' $(seq 176))" "tree/$(printf '\303\274')" "tree/.k" "tree/.n"
"#;

/// Prints everything about the tree but inode numbers, block counts and times of access and change.
const DESCRIBE: &str = r#"
cd tree
find . -print0 | sort -z | xargs -0 stat -c '%n %F %a %h %u %g %t:%T'
find . ! -type d -print0 | sort -z | xargs -0 stat -c '%n %s %Y'
find . -type f -print0 | sort -z | xargs -0 sha256sum
find . -type l -print0 | sort -z | xargs -0 -n1 readlink
getfattr -h -R -d -m '-' . 2>/dev/null | grep -v '^system' | sort
find . ! -type l -print0 | sort -z | xargs -0 getfacl -n
"#;

/// Says which lines differ, instead of printing two whole trees.
fn assert_same(found: &str, expected: &str, when: &str, world: &World) {
    let differing: Vec<_> = found.lines().zip(expected.lines()).filter(|(a, b)| a != b).take(3).collect();
    assert!(found == expected, "{when}, {:?}: (found, expected) {differing:#?}", world.setup);
}

fn outside() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a scratch directory can be made");
    let path = dir.path().display().to_string();
    (dir, path)
}

#[test]
fn a_tree_copied_in_is_the_same_after_a_remount_and_copied_out() {
    in_every_setup(|world: &mut World| {
        let (_scratch, out) = outside();
        let made = world.sh(&format!("cd {out}; {MAKE_TREE} {DESCRIBE}"));
        world.sh(&format!("cp -a {out}/tree ."));
        assert_same(&world.sh(DESCRIBE), &made, "copied in", world);
        world.remount();
        assert_same(&world.sh(DESCRIBE), &made, "after a remount", world);
        world.sh(&format!("mkdir {out}/back; cp -a tree {out}/back/"));
        let back = world.sh(&format!("cd {out}/back; {DESCRIBE}"));
        assert_same(&back, &made, "copied out", world);
        world.sh("rm -r tree; test -z \"$(ls -A)\"");
    });
}

#[test]
fn nothing_in_the_clear_reaches_the_backing_directory() {
    let mut world = World::new(support::Setup::default());
    world.sh("mkdir visible-dir; echo visible-content > visible-dir/visible-name");
    world.sh("ln -s visible-target visible-link; setfattr -n user.visible -v visible-value visible-dir/*");
    world.unmount();
    let listing = std::process::Command::new("bash")
        .args(["-c", "find . -print; find . -type l -exec readlink {} +; getfattr -R -h -d -m - .; find . -type f -exec cat {} +"])
        .current_dir(&world.backing)
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&listing.stdout).contains("visible"));
    assert!(!listing.stdout.is_empty());
}

#[test]
fn git_works() {
    in_every_setup(|world: &mut World| {
        world.sh(r#"
            export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
            git init -q repo; cd repo
            for i in $(seq 60); do mkdir -p d$((i % 7)); seq $((i * 40)) > d$((i % 7))/f$i; done
            git add .; git commit -qm one
            sed -i s/7/seven/ d*/*; git commit -qam two
            git gc -q --aggressive; git fsck --strict --full
            git checkout -q HEAD~1; git checkout -q -; test -z "$(git status --porcelain)"
            git clone -q . ../copy; diff -r --exclude=.git . ../copy
            git mv d1 moved; git commit -qm three; git log --oneline | wc -l | grep -qx 3
            "#);
        world.remount();
        world.sh("cd repo; git fsck --strict --full; test -z \"$(git status --porcelain)\"");
    });
}

#[test]
fn sqlite_works_in_both_journal_modes() {
    in_every_setup(|world: &mut World| {
        for mode in ["delete", "wal"] {
            world.sh(&format!(
                r#"
                sqlite3 {mode}.db 'pragma journal_mode={mode}; create table t(a integer primary key, b blob);' > /dev/null
                for round in 1 2 3; do
                    sqlite3 {mode}.db 'with recursive n(i) as (select 1 union all select i+1 from n where i<3000)
                        insert into t(b) select randomblob(200) from n; delete from t where a % 3 = 0; vacuum;'
                done
                sqlite3 {mode}.db 'pragma integrity_check' | grep -qx ok
                "#
            ));
        }
        world.remount();
        world.sh("for f in *.db; do sqlite3 $f 'pragma integrity_check; select count(*) > 1000 from t' | tr '\\n' ' ' | grep -qx 'ok 1 '; done");
    });
}

#[test]
fn cargo_builds_and_its_programs_run() {
    in_every_setup(|world: &mut World| {
        world.sh(r#"
            cargo init -q --vcs none --name hello hello; cd hello
            cargo build -q --offline; touch src/main.rs; cargo build -q --offline
            ./target/debug/hello | grep -qx 'Hello, world!'
            "#);
    });
}

#[test]
fn postgresql_keeps_its_balance() {
    in_every_setup(|world: &mut World| {
        world.sh("mkdir pg; chown postgres pg");
        let start = r#"
            as() { runuser -u postgres -- "$@"; }
            bin=$(echo /usr/lib/postgresql/*/bin); dir=$PWD/pg; cd /
            run() { as "$bin/pg_ctl" -s -w -D "$dir/data" -l "$dir/log" -o "-k $dir -c listen_addresses=" "$@"; }
            sql() { as psql -h "$dir" -qAt -d postgres -c "$1"; }
        "#;
        world.sh(&format!(
            r#"{start}
            as "$bin/initdb" -D "$dir/data" -A trust > /dev/null
            run start; as "$bin/pgbench" -h "$dir" -q -i -s 2 postgres 2> /dev/null
            as "$bin/pgbench" -h "$dir" -c 4 -t 150 postgres > /dev/null 2>&1
            as "$bin/pg_ctl" -s -m immediate -D "$dir/data" stop
            "#
        ));
        world.remount();
        let check = "sql 'select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history), \
                     count(*) from pgbench_history' | grep -qx 't|600'";
        world.sh(&format!("{start} run start; {check}; run stop"));
    });
}

#[test]
fn programs_run_from_the_mount_and_mmap() {
    in_every_setup(|world: &mut World| {
        world.sh("cp /bin/ls ./ls; ./ls -la . > /dev/null; ./ls | grep -qx ls");
        world.sh("dd if=/dev/urandom of=big bs=1M count=8 status=none conv=fsync");
        world.sh("dd if=big of=direct bs=64k iflag=direct oflag=direct status=none; cmp big direct");
        world.sh("dd if=big of=odd bs=4093 status=none; cmp big odd");
        world.sh("tar cf t.tar big odd; tar df t.tar; rsync -a big copy; cmp big copy");
    });
}

#[test]
fn fio_verifies_what_it_wrote() {
    in_every_setup(|world: &mut World| {
        world.sh("fio --name=v --rw=randrw --bs=512-64k --size=24m --verify=crc32c --numjobs=2 --fsync=50 \
             --do_verify=1 --verify_fatal=1 --verify_backlog=200 --minimal --output=/dev/null");
    });
}

#[test]
fn many_processes_work_side_by_side() {
    in_every_setup(|world: &mut World| {
        world.sh(
            r#"
            for p in $(seq 6); do (
                for i in $(seq 40); do
                    mkdir -p p$p/d$i; echo $p-$i > p$p/d$i/f; mv p$p/d$i/f shared-$p-$i; ln shared-$p-$i p$p/l$i
                    cat shared-* > /dev/null 2>&1 || true; rmdir p$p/d$i; [ $((i % 5)) = 0 ] || rm shared-$p-$i
                done ) &
            done; wait
            test $(ls shared-* | wc -l) = 48
            for p in $(seq 6); do test $(ls p$p | wc -l) = 40; cat p$p/* | sort -u | wc -l | grep -qx 40; done
            "#,
        );
    });
}

#[test]
fn rsync_copies_nothing_the_second_time() {
    in_every_setup(|world: &mut World| {
        let (_scratch, out) = outside();
        world.sh(&format!("cd {out}; {MAKE_TREE}"));
        let copy = format!("rsync -aHAX --itemize-changes {out}/tree/ tree/");
        assert!(world.sh(&copy).lines().count() > 10);
        assert_eq!(world.sh(&copy), "", "{:?}", world.setup);
        world.remount();
        assert_eq!(world.sh(&copy), "", "after a remount, {:?}", world.setup);
        // Compared by content, and the other way round.
        assert_eq!(world.sh(&copy.replace("-aHAX", "-aHAXc")), "");
        assert_eq!(world.sh(&format!("rsync -aHAX --itemize-changes tree/ {out}/tree/")), "");
    });
}

#[test]
fn an_overlay_has_its_upper_directory_here() {
    in_every_setup(|world: &mut World| {
        let (_scratch, out) = outside();
        let up = format!(
            "mount -t overlay overlay -o lowerdir={out}/lower,upperdir=$PWD/upper,workdir=$PWD/work,redirect_dir=on \
             {out}/merged; cd {out}/merged"
        );
        let down = format!("cd /; umount {out}/merged");
        world.sh(&format!(
            "mkdir -p {out}/lower/dir/sub {out}/lower/gone {out}/merged upper work
             for i in $(seq 30); do echo lower-$i > {out}/lower/dir/f$i; done; echo x > {out}/lower/gone/x
             {up}
             rm -r gone; rm dir/f1; echo more >> dir/f2; mv dir/f3 dir/moved; mv dir/sub dir/sub2; mkdir gone; echo new > gone/new
             mv dir renamed; chmod 700 renamed/f4; ln renamed/f5 renamed/hard; setfattr -n user.a -v b renamed/f6
             dd if=/dev/urandom of=big bs=1M count=3 status=none; cp --sparse=always big copy; cmp big copy
             {down}"
        ));
        let check = format!(
            "{up}
             [ \"$(ls)\" = \"$(printf 'big\ncopy\ngone\nrenamed')\" ]; [ \"$(ls gone)\" = new ]; [ ! -e renamed/f1 ]
             [ \"$(tail -1 renamed/f2)\" = more ]; [ \"$(cat renamed/moved renamed/hard)\" = \"$(printf 'lower-3\nlower-5')\" ]
             [ -d renamed/sub2 ]; [ $(stat -c %a renamed/f4) = 700 ]; [ \"$(getfattr -n user.a --only-values renamed/f6)\" = b ]
             [ $(ls renamed | wc -l) = 31 ]; cmp big copy
             {down}"
        );
        world.sh(&check);
        world.remount();
        world.sh(&check);
    });
}

#[test]
fn make_builds_in_parallel_and_only_what_changed() {
    in_every_setup(|world: &mut World| {
        world.sh(
            r#"
            for i in $(seq 40); do
                printf '#include "all.h"\nint f%d(void) { return BASE + %d; }\n' $i $i > f$i.c
                echo "int f$i(void);" >> all.h
            done
            echo '#define BASE 1000' >> all.h
            { echo '#include "all.h"'; echo 'int main(void) { int sum = 0;'; for i in $(seq 40); do echo "sum += f$i();"; done
              echo 'return sum == 40820 ? 0 : 1; }'; } > main.c
            printf 'OBJ := $(patsubst %%.c,%%.o,$(wildcard *.c))\nprog: $(OBJ)\n\tcc -o $@ $(OBJ)\n%%.o: %%.c all.h\n\tcc -c -o $@ $<\n' > Makefile
            make -s -j6; ./prog
            make -j6 | grep -q 'is up to date'
            sleep 0.01; touch f7.c; [ $(make -j6 | grep -c '^cc -c') = 1 ]
            sleep 0.01; touch all.h; [ $(make -j6 | grep -c '^cc -c') = 41 ]; ./prog
            "#,
        );
        world.remount();
        world.sh("make -j6 | grep -q 'is up to date'; ./prog");
    });
}

#[test]
fn editors_replace_by_rename_and_keep_what_the_file_was() {
    in_every_setup(|world: &mut World| {
        world.sh(
            r#"
            seq 2000 > text; chmod 640 text; chown 12:34 text; setfattr -n user.kept -v yes text; ln text hard
            sed -i 's/^7$/seven/' text; [ "$(sed -n 7p text)" = seven ]; [ "$(sed -n 7p hard)" = 7 ]
            [ "$(stat -c '%a %u %g' text)" = '640 12 34' ]
            perl -i.orig -pe 's/^8$/eight/' text; [ "$(sed -n 8p text)" = eight ]; [ "$(sed -n 8p text.orig)" = 8 ]
            for copy in no yes; do
                vim.tiny -u NONE -es -c "set backup backupskip= backupcopy=$copy backupext=.bak$copy" -c '$s/$/ edited/' -c wq text
            done
            [ "$(tail -n 1 text)" = '2000 edited edited' ]; [ "$(tail -n 1 text.bakno)" = 2000 ]
            [ "$(tail -n 1 text.bakyes)" = '2000 edited' ]
            [ "$(stat -c '%a %u %g' text)" = '640 12 34' ]; [ $(wc -l < text) = 2000 ]
            # What emacs, gedit and most libraries do.
            python3 - <<'END'
import os
for i in range(50):
    with open('.tmp', 'w') as f: f.write('version %d\n' % i * 100); f.flush(); os.fsync(f.fileno())
    os.replace('.tmp', 'atomic'); d = os.open('.', os.O_RDONLY); os.fsync(d); os.close(d)
    assert open('atomic').read() == 'version %d\n' % i * 100
END
            [ "$(ls -A | tr '\n' ' ')" = 'atomic hard text text.bakno text.bakyes text.orig ' ] || { ls -A; exit 1; }
            "#,
        );
    });
}

#[test]
fn programs_that_write_by_mmap() {
    in_every_setup(|world: &mut World| {
        world.sh("fio --name=m --ioengine=mmap --rw=randrw --bs=4k --size=16m --verify=crc32c --numjobs=2 --fsync=100 \
             --do_verify=1 --verify_fatal=1 --minimal --output=/dev/null");
        // A linker and a database with a mapped file.
        world.sh(
            r#"
            printf 'int main(void) { return 0; }' > a.c; cc -g -o a a.c; ./a; strip a; ./a
            sqlite3 m.db 'pragma mmap_size=100000000; pragma journal_mode=wal; create table t(a, b);
                with recursive n(i) as (select 1 union all select i+1 from n where i<20000) insert into t select i, randomblob(50) from n;
                update t set b = randomblob(60) where a % 2; select count(*) from t;' | tail -1 | grep -qx 20000
            "#,
        );
        world.remount();
        world.sh("./a; sqlite3 m.db 'pragma integrity_check' | grep -qx ok");
    });
}
