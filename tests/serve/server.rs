//! The program, serving a keystore of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::client::{Client, Signer};

/// A keystore in a scratch place, with an administrator.
pub(crate) struct Keystore {
    dir: tempfile::TempDir,
    /// The address of its database, if it is in one.
    store: Option<String>,
    pub(crate) signer: Signer,
}

/// A process that serves it. Killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Keystore {
    pub(crate) fn new() -> Self {
        Self::at(None)
    }

    /// A keystore in a database.
    pub(crate) fn in_database(address: &str) -> Self {
        Self::at(Some(address.to_owned()))
    }

    fn at(store: Option<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer {
            access_key_id: String::new(),
            secret: String::new(),
            region: "eu-test-1".into(),
            service: "kms".into(),
            time: None,
        };
        let mut keystore = Self { dir, store, signer };
        let made =
            keystore.run(&["keystore", "create", "--region", "eu-test-1", "--account", "111122223333"]);
        assert!(made.status.success(), "{made:?}");
        keystore.signer = keystore.user("admin", &["--administrator"]);
        keystore
    }

    /// Makes a user with an access key.
    pub(crate) fn user(&self, name: &str, more: &[&str]) -> Signer {
        let made = self.run(&[&["kms", "user", "create", name], more].concat());
        assert!(made.status.success(), "{made:?}");
        let made = self.json(&["kms", "user", "create-access-key", name]);
        let text = |member: &str| made["AccessKey"][member].as_str().unwrap().to_owned();
        Signer { access_key_id: text("AccessKeyId"), secret: text("SecretAccessKey"), ..self.signer.clone() }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmsfs"));
        command
            .env_clear()
            .env("KMSFS_KEYSTORE", self.path("keystore"))
            .env("KMSFS_KEY_FILE", self.path("key-file"))
            .env("KMSFS_LOG", "warn")
            .stdin(Stdio::null());
        if let Some(address) = &self.store {
            command.env("KMSFS_STORE", address);
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Serves it, and returns when connections are accepted.
    pub(crate) fn serve(&self, more: &[&str]) -> Server {
        let mut child = self
            .command()
            .args(["--json", "kms", "serve", "--listen", "127.0.0.1:0"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !text.ends_with('}') {
            text += &lines.next().expect("the server says where it listens").unwrap();
        }
        let ready: Value = serde_json::from_str(&text).unwrap();
        let address = ready["Endpoint"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
        Server { child, address }
    }

    pub(crate) fn client(&self, server: &Server) -> Client {
        Client::connect(server.address, &self.signer).unwrap()
    }
}

impl Server {
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Ends the process without a warning.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
