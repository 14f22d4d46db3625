//! How many `GenerateDataKey` a served keystore answers: signed requests from several threads, each over a connection
//! that it keeps.
//!
//! usage: cargo run --release --example kms_load -- KMSFS [THREADS] [SECONDS]
//!
//! Makes a keystore in a scratch directory, serves it with the program KMSFS on loopback, and reports requests per
//! second and the times of single requests as the client sees them. Client and server share the machine.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that measures, and stops at the first failure"
)]

#[path = "../tests/serve/client.rs"]
mod client;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::{Client, Signer};
use serde_json::{Value, json};

const REGION: &str = "local-1";
/// Left out of the figures: connections open and caches fill.
const WARM_UP: Duration = Duration::from_secs(1);

/// Stopped when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(program: &str, place: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("KMSFS_KEYSTORE", place.join("keystore"))
        .env("KMSFS_KEY_FILE", place.join("key-file"))
        .stdin(Stdio::null());
    command
}

fn run(program: &str, place: &Path, args: &[&str]) -> Value {
    let output = command(program, place).arg("--json").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let program = args.next().expect("usage: kms_load KMSFS [THREADS] [SECONDS]");
    let threads: usize = args.next().map_or(8, |text| text.parse().unwrap());
    let length = Duration::from_secs(args.next().map_or(10, |text| text.parse().unwrap()));

    let place = tempfile::tempdir().unwrap();
    run(&program, place.path(), &["keystore", "create"]);
    run(&program, place.path(), &["kms", "user", "create", "load", "--administrator"]);
    let made = run(&program, place.path(), &["kms", "user", "create-access-key", "load"]);
    let text = |member: &str| made["AccessKey"][member].as_str().unwrap().to_owned();
    let signer = Signer {
        access_key_id: text("AccessKeyId"),
        secret: text("SecretAccessKey"),
        region: REGION.into(),
        service: "kms".into(),
        time: None,
    };
    let (_server, address) = serve(&program, place.path());
    let mut first = Client::connect(address, &signer).unwrap();
    let key = first.call("CreateKey", &json!({})).unwrap().json()["KeyMetadata"]["Arn"].clone();

    let request =
        json!({"KeyId": key, "KeySpec": "AES_256", "EncryptionContext": {"volume": "a", "inode": "1"}});
    let begin = Instant::now() + WARM_UP;
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| ask(Client::connect(address, &signer).unwrap(), &request, begin, length)))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
    println!(
        "{threads} connections, {:.0} GenerateDataKey/s, {} us median, {} us p99, {} us most",
        times.len() as f64 / length.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn serve(program: &str, place: &Path) -> (Server, std::net::SocketAddr) {
    let mut child = command(program, place)
        .args(["--json", "kms", "serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.contains("Endpoint")).unwrap();
    let address = line.rsplit('/').next().unwrap().trim_end_matches(['"', ',']).parse().unwrap();
    (Server(child), address)
}

/// Asks until the time is over; returns how long each answer took that came after `begin`.
fn ask(mut client: Client, request: &Value, begin: Instant, length: Duration) -> Vec<Duration> {
    let mut times = Vec::new();
    while begin.elapsed() < length {
        let asked = Instant::now();
        let answer = client.call("GenerateDataKey", request).unwrap();
        assert_eq!(answer.status, 200);
        if asked >= begin {
            times.push(asked.elapsed());
        }
    }
    times
}
