//! The program, serving from a keystore of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// `kmsfs` with the keystore in `dir` and nothing else of its surroundings.
pub(crate) fn command(dir: &Path, log: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmsfs"));
    command
        .env_clear()
        .env("KMSFS_KEYSTORE", dir.join("keystore"))
        .env("KMSFS_KEY_FILE", dir.join("key-file"))
        .env("KMSFS_LOG", log)
        .stdin(Stdio::null());
    command
}

/// A process that serves. Killed when it is dropped.
pub(crate) struct Served(pub(crate) Child);

impl Served {
    /// Starts `command`, and returns what it says once it accepts connections.
    pub(crate) fn start(command: &mut Command) -> (Self, Value) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !text.ends_with('}') {
            text += &lines.next().expect("it says where it listens").unwrap();
        }
        (Self(child), serde_json::from_str(&text).unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
