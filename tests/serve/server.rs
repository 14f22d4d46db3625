//! The program, serving a keystore of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::client::{Client, Signer};
use crate::served::{self, Served};

/// A keystore in a scratch place, with an administrator.
pub(crate) struct Keystore {
    dir: tempfile::TempDir,
    /// The address of its database, if it is in one.
    store: Option<String>,
    pub(crate) signer: Signer,
}

/// A process that serves it.
pub(crate) struct Server {
    process: Served,
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
        let mut command = served::command(self.dir.path(), "warn");
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
        let (process, ready) = Served::start(
            self.command().args(["--json", "kms", "serve", "--listen", "127.0.0.1:0"]).args(more),
        );
        let address = ready["Endpoint"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
        Server { process, address }
    }

    pub(crate) fn client(&self, server: &Server) -> Client {
        Client::connect(server.address, &self.signer).unwrap()
    }
}

impl Server {
    pub(crate) fn pid(&self) -> i32 {
        self.process.0.id().cast_signed()
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.process.0.wait().unwrap().code()
    }

    /// Ends the process without a warning.
    pub(crate) fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }
}
