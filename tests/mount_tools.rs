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
