//! A PostgreSQL cluster of the tests' own, on a Unix socket below a temporary directory, as the user `postgres`.
//!
//! A shell watches over it: when the process of the tests ends, however it ends, the shell's input ends too, and it stops
//! the cluster and removes its directory.

#![allow(dead_code, reason = "each test program uses a part")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A cluster.
pub(crate) struct Cluster {
    dir: PathBuf,
    watch: Child,
}

const MAKE: &str = r#"
    set -e
    bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
    chown postgres "$1"
    cd "$1"
    runuser -u postgres -- "$bin/initdb" -D "$1/data" -A trust -U kms --no-sync > "$1/log" 2>&1
"#;

const WATCH: &str = r#"
    bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
    cd "$1"
    ctl() { runuser -u postgres -- "$bin/pg_ctl" -s -D "$1/data" "${@:2}" >> "$1/log" 2>&1; }
    start() { ctl "$1" -w -l "$1/server-log" -o "-k $1 -c listen_addresses= -c max_connections=200" start; }
    start "$1"
    while read -r word; do
        case $word in
            restart) ctl "$1" -m immediate stop; start "$1" ;;
            stop) ctl "$1" -m immediate stop ;;
            start) start "$1" ;;
        esac
        echo "$word" >> "$1/done"
    done
    ctl "$1" -m immediate stop
    rm -rf "$1"
"#;

impl Cluster {
    /// Starts a cluster.
    pub(crate) fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("kms-pg.").tempdir().expect("temporary directory").keep();
        let made = Command::new("bash").args(["-c", MAKE, "bash"]).arg(&dir).output().expect("bash");
        let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(made.status.success(), "initdb (package postgresql) failed: {made:?} {}", log());
        let watch = Command::new("bash")
            .args(["-c", WATCH, "bash"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash");
        let cluster = Self { dir, watch };
        cluster.wait_until_it_answers();
        cluster
    }

    /// The cluster that all tests of this process share.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn wait_until_it_answers(&self) {
        let since = Instant::now();
        while self.sql("postgres", "SELECT 1").is_none() {
            let log = || std::fs::read_to_string(self.dir.join("server-log")).unwrap_or_default();
            assert!(since.elapsed() < Duration::from_secs(60), "PostgreSQL did not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What psql prints.
    pub(crate) fn sql(&self, database: &str, statement: &str) -> Option<String> {
        let out = Command::new("psql")
            .args(["-qAtX", "-U", "kms", "-d", database, "-c", statement, "-h"])
            .arg(&self.dir)
            .output()
            .expect("psql (package postgresql)");
        out.status.success().then(|| String::from_utf8(out.stdout).expect("text").trim().to_owned())
    }

    /// The address of a new empty database.
    pub(crate) fn database(&self) -> String {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}")).expect("creates");
        let host = self.dir.display().to_string().replace('/', "%2F");
        format!("postgres://kms@{host}/{name}")
    }

    /// Stops the cluster as a crash does, or starts it again; returns once that is done.
    pub(crate) fn tell(&mut self, word: &str) {
        use std::io::Write;
        let done = || std::fs::read_to_string(self.dir.join("done")).unwrap_or_default().lines().count();
        let before = done();
        let input = self.watch.stdin.as_mut().expect("a pipe");
        writeln!(input, "{word}").expect("the shell is there");
        while done() == before {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}
