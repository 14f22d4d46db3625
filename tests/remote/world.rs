//! A served keystore on this host, standing for one on another, and a volume on a key in it.

use std::process::Command;

use crate::program::{Place, Ran};
use crate::proxy::Proxy;
use crate::served::Served;

pub(crate) const REGION: &str = "eu-test-1";

/// A served keystore, a proxy in front of it, and a scratch place for a client that knows neither its directory nor
/// what opens it.
pub(crate) struct Elsewhere {
    pub(crate) client: Place,
    server: Place,
    _process: Served,
    pub(crate) proxy: Proxy,
    /// The ARN of the key.
    pub(crate) key: String,
    credentials: [(&'static str, String); 2],
}

impl Elsewhere {
    pub(crate) fn new() -> Self {
        let server = Place::empty();
        let own = |args: &[&str]| -> Ran {
            let mut command = server.kmsfs();
            command.env_remove("KMSFS_PASSPHRASE_FILE").env("KMSFS_KEY_FILE", server.path("key-file"));
            command.args(args).output().unwrap().into()
        };
        own(&["keystore", "create", "--region", REGION, "--account", "111122223333"]).ok();
        own(&["kms", "user", "create", "fs", "--administrator"]).ok();
        let access = own(&["kms", "user", "create-access-key", "fs"]).json();
        let text = |member: &str| access["AccessKey"][member].as_str().unwrap().to_owned();
        let credentials =
            [("AWS_ACCESS_KEY_ID", text("AccessKeyId")), ("AWS_SECRET_ACCESS_KEY", text("SecretAccessKey"))];
        let made = own(&["key", "create-key"]).json();
        let key = made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
        let mut serve = server.kmsfs();
        serve.env_remove("KMSFS_PASSPHRASE_FILE").env("KMSFS_KEY_FILE", server.path("key-file"));
        serve.env("KMSFS_LOG", "warn").args(["--json", "kms", "serve", "--listen", "127.0.0.1:0"]);
        let (process, ready) = Served::start(&mut serve);
        let address = ready["Endpoint"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
        let proxy = Proxy::to(address);
        Self { client: Place::empty(), server, _process: process, proxy, key, credentials }
    }

    /// The program as the owner of the keys runs it.
    pub(crate) fn own(&self, args: &[&str]) -> Ran {
        let mut command = self.server.kmsfs();
        command.env_remove("KMSFS_PASSPHRASE_FILE").env("KMSFS_KEY_FILE", self.server.path("key-file"));
        command.args(args).output().unwrap().into()
    }

    /// A further key of the owner.
    pub(crate) fn new_key(&self) -> String {
        let made = self.own(&["key", "create-key"]).json();
        made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    /// The program as the client runs it: with credentials, without a keystore.
    pub(crate) fn kmsfs(&self) -> Command {
        let mut command = self.client.kmsfs();
        command.env_remove("KMSFS_PASSPHRASE_FILE").env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(self.credentials.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.kmsfs().args(args).output().unwrap().into()
    }

    /// Makes a volume on the key, at the proxy.
    pub(crate) fn init(&self, more: &[&str]) -> Ran {
        let url = self.proxy.url();
        let args = ["init", "backing", "--key", &self.key, "--endpoint-url", &url];
        self.kmsfs().args(args).args(more).output().unwrap().into()
    }

    pub(crate) fn mount(&self) {
        self.run(&["mount", "backing", "mount", "--journal-mib", "4", "--key-poll", "30"]).ok();
    }

    pub(crate) fn umount(&self) {
        self.run(&["umount", "mount"]).ok();
    }

    /// The log of the volume's mounts.
    pub(crate) fn log(&self) -> String {
        let status = self.run(&["status", "backing", "--json"]).json();
        std::fs::read_to_string(status["Log"].as_str().unwrap()).unwrap()
    }
}
