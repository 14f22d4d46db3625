//! `kmsfs kms xks-proxy`, serving keys of a keystore of its own over TLS.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use kms_core::model::{ProxyConfig, ProxyCredential, SecretText};
use serde_json::Value;

use crate::served::{self, Served};

/// Makes a certificate for `localhost` and its key in `<path>.crt` and `<path>.key`. Returns the certificate.
pub(crate) fn certificate(path: &Path) -> String {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let (certificate, key) = (path.with_extension("crt"), path.with_extension("key"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    std::fs::read_to_string(certificate).unwrap()
}

/// A keystore in a scratch place, whose keys are external keys of somebody else.
pub(crate) struct Keystore {
    dir: tempfile::TempDir,
}

impl Keystore {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self) -> Command {
        served::command(self.dir.path(), &std::env::var("KMSFS_LOG").unwrap_or_else(|_| "error".into()))
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> Output {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        output
    }

    /// A fresh key, and the name that it has outside.
    pub(crate) fn create_key(&self) -> String {
        let made: Value = serde_json::from_slice(&self.ok(&["key", "create-key"]).stdout).unwrap();
        made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }
}

/// The proxy.
pub(crate) struct Proxy {
    _process: Served,
    pub(crate) keystore: Arc<Keystore>,
    port: u16,
    certificate: String,
}

impl Proxy {
    /// Makes a keystore with a user, and serves it.
    pub(crate) fn start() -> Self {
        let keystore = Keystore { dir: tempfile::tempdir().unwrap() };
        let certificate = certificate(&keystore.path("tls"));
        keystore.ok(&["keystore", "create"]);
        keystore.ok(&["kms", "user", "create", "outside", "--administrator"]);
        let credential = keystore.path("credential.json");
        keystore.ok(&["kms", "create-xks-credential", credential.to_str().unwrap()]);
        let mut command = keystore.command();
        command
            .args(["--json", "kms", "xks-proxy", "--listen", "127.0.0.1:0", "--user", "outside"])
            .arg("--credential-file")
            .arg(&credential)
            .arg("--tls-cert")
            .arg(keystore.path("tls.crt"))
            .arg("--tls-key")
            .arg(keystore.path("tls.key"));
        let (process, ready) = Served::start(&mut command);
        let uri = ready["Uri"].as_str().unwrap().strip_prefix("https://127.0.0.1:").unwrap();
        let port = uri.split('/').next().unwrap().parse().unwrap();
        Self { _process: process, keystore: Arc::new(keystore), port, certificate }
    }

    /// What a store behind it is configured with.
    pub(crate) fn config(&self) -> ProxyConfig {
        let text = std::fs::read(self.keystore.path("credential.json")).unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["XksProxyUriPath"], "/kms/xks/v1");
        let member =
            |name: &str| document["XksProxyAuthenticationCredential"][name].as_str().unwrap().to_owned();
        let credential = ProxyCredential {
            access_key_id: member("AccessKeyId"),
            raw_secret_access_key: SecretText::new(member("RawSecretAccessKey")),
        };
        super::config(self.port, &self.certificate, credential)
    }
}
