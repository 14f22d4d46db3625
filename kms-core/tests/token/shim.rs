//! Tokens of SoftHSM in a directory of their own, and a module in front of them that fails on demand.
//!
//! SoftHSM reads its configuration from the environment, once in a process. So every test runs in a process of its own,
//! which is this program started again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kms_core::model::{PinSource, SecretText, TokenConfig};

/// The module that the tests are about.
pub(crate) const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub(crate) const PIN: &str = "1234567";
/// Names the directory in the process of a test.
const DIRECTORY: &str = "KMSFS_TOKEN_TEST";

/// A field of the control file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Control {
    PerMille = 0,
    Iv = 1,
    NoGcm = 2,
    Full = 3,
    Gone = 4,
    Logins = 5,
    Silent = 6,
    Injected = 7,
}

/// The tokens of a test.
pub(crate) struct Tokens {
    directory: PathBuf,
    control: File,
}

/// Runs `test`, which is the one named `name`, in a process of its own.
pub(crate) fn alone(name: &str, test: impl FnOnce(&Tokens)) {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let directory = PathBuf::from(directory);
        let control = File::options().read(true).write(true).open(directory.join("control")).expect("opens");
        return test(&Tokens { directory, control });
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path();
    std::fs::create_dir(path.join("tokens")).expect("makes");
    std::fs::write(path.join("control"), [0; 4096]).expect("writes");
    let conf = format!("directories.tokendir = {}\nlog.level = ERROR\n", path.join("tokens").display());
    std::fs::write(path.join("softhsm2.conf"), conf).expect("writes");
    build_shim(&path.join("shim.so"));
    let status = Command::new(std::env::current_exe().expect("is known"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, path)
        .env("SOFTHSM2_CONF", path.join("softhsm2.conf"))
        .env("SHIM_MODULE", SOFTHSM)
        .env("SHIM_CONTROL", path.join("control"))
        .status()
        .expect("starts");
    assert!(status.success(), "{name} failed in its process");
}

fn build_shim(path: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/token/shim.c");
    let status = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Werror", "-shared", "-fPIC", "-O1", "-o"])
        .arg(path)
        .args([source, "-ldl"])
        .status()
        .expect("there is a C compiler");
    assert!(status.success(), "the shim does not compile");
}

impl Tokens {
    /// Makes a token, and returns its serial number.
    pub(crate) fn init(&self, label: &str) -> String {
        let known = self.serials();
        let status = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "7654321"])
            .stdout(std::process::Stdio::null())
            .status()
            .expect("softhsm2-util is installed");
        assert!(status.success(), "the token cannot be made");
        self.serials().into_iter().find(|serial| !known.contains(serial)).expect("has a serial number")
    }

    fn serials(&self) -> Vec<String> {
        let output = Command::new("softhsm2-util").arg("--show-slots").output().expect("runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("Serial number:"));
        lines.map(|serial| serial.trim().to_owned()).filter(|serial| !serial.is_empty()).collect()
    }

    /// Where SoftHSM keeps the tokens.
    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.join("tokens")
    }

    /// A scratch path.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn set(&self, field: Control, value: u32) {
        self.control.write_at(&value.to_le_bytes(), 4 * field as u64).expect("writes");
    }

    pub(crate) fn get(&self, field: Control) -> u32 {
        let mut bytes = [0; 4];
        self.control.read_exact_at(&mut bytes, 4 * field as u64).expect("reads");
        u32::from_le_bytes(bytes)
    }

    /// A token by its label, through SoftHSM itself.
    pub(crate) fn plain(&self, label: &str) -> TokenConfig {
        TokenConfig {
            module: SOFTHSM.into(),
            label: Some(label.to_owned()),
            serial: None,
            slot: None,
            pin: PinSource::Sealed(SecretText::new(PIN.to_owned())),
            trust_anchor_certificate: None,
            cluster_id: None,
        }
    }

    /// The same through the shim.
    pub(crate) fn shimmed(&self, label: &str) -> TokenConfig {
        TokenConfig { module: self.directory.join("shim.so"), ..self.plain(label) }
    }
}
