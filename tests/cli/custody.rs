//! Volumes whose KMS keys are in a token or in an external key manager: the whole way, with the program.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::program::{Place, Ran, wait_for};

/// `ENOKEY`, "Required key not available".
const NO_KEY: i32 = 126;
const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A place whose environment leads to its own tokens.
struct Scene {
    place: Place,
}

impl Scene {
    fn new() -> Self {
        let place = Place::empty();
        std::fs::create_dir(place.path("tokens")).unwrap();
        let conf = format!("directories.tokendir = {}\nlog.level = ERROR\n", place.path("tokens").display());
        std::fs::write(place.path("softhsm2.conf"), conf).unwrap();
        std::fs::write(place.path("pin"), "1234567\n").unwrap();
        Self { place }
    }

    fn run(&self, line: &str) -> Ran {
        let mut command = self.place.kmsfs();
        command.env("SOFTHSM2_CONF", self.place.path("softhsm2.conf"));
        command.args(line.split_whitespace()).output().unwrap().into()
    }

    /// A member of what a command prints, by its path.
    fn text(&self, line: &str, path: &str) -> String {
        self.run(line).json().pointer(path).unwrap_or_else(|| panic!("{path}")).as_str().unwrap().to_owned()
    }

    fn sh(&self, script: &str) -> Ran {
        let script = format!("export SOFTHSM2_CONF=$PWD/softhsm2.conf\n{script}");
        self.place.sh(&script)
    }

    fn read_error(&self, name: &str) -> Option<i32> {
        std::fs::read(self.place.path(name)).err().and_then(|error| error.raw_os_error())
    }

    /// Makes a volume under a key of `store`, and uses it while the store comes and goes.
    fn use_volume(&self, store: &str, key: &str) {
        self.run(&format!("init backing --key {key}")).ok();
        let mount = "mount backing mount --journal-mib 4 --key-poll 1";
        self.run(mount).ok();
        let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(self.place.path("mount/file"), &content).unwrap();
        self.run("umount mount").ok();
        self.run(mount).ok();
        assert!(std::fs::read(self.place.path("mount/file")).unwrap() == content);
        let refused = self.run(&format!("key rotate-key-on-demand --key-id {key}"));
        assert_eq!(refused.code, 10, "{refused:?}");
        assert!(refused.err.contains("UnsupportedOperationException"), "{refused:?}");
        self.run(&format!("key disconnect-custom-key-store --custom-key-store-id {store}")).ok();
        assert_eq!(
            self.text(&format!("key describe-key --key-id {key}"), "/KeyMetadata/KeyState"),
            "Unavailable"
        );
        wait_for("contents are closed", || self.read_error("mount/file") == Some(NO_KEY));
        let refused = std::fs::write(self.place.path("mount/new"), b"x").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(NO_KEY));
        self.run(&format!("key connect-custom-key-store --custom-key-store-id {store}")).ok();
        wait_for("contents come back", || self.read_error("mount/file").is_none());
        assert!(std::fs::read(self.place.path("mount/file")).unwrap() == content);
        std::fs::write(self.place.path("mount/new"), b"works again").unwrap();
        self.run("umount mount").ok();
        self.run("check backing").ok();
        // Without the store, the volume does not open; nothing of it is lost by that.
        self.run(&format!("key disconnect-custom-key-store --custom-key-store-id {store}")).ok();
        assert_ne!(self.run(mount).code, 0);
        self.run(&format!("key connect-custom-key-store --custom-key-store-id {store}")).ok();
        self.run(mount).ok();
        assert_eq!(std::fs::read(self.place.path("mount/new")).unwrap(), b"works again");
        self.run("umount mount").ok();
    }
}

#[test]
fn a_volume_under_a_key_in_a_token() {
    let scene = Scene::new();
    scene.run("keystore create").ok();
    scene
        .sh("softhsm2-util --init-token --free --label vault --pin 1234567 --so-pin 7654321 > /dev/null")
        .ok();
    let create = format!(
        "key create-custom-key-store --custom-key-store-name hsm --module {SOFTHSM} --token-label vault --pin-file pin"
    );
    let store = scene.text(&create, "/CustomKeyStoreId");
    scene.run(&format!("key connect-custom-key-store --custom-key-store-id {store}")).ok();
    let describe = format!("key describe-custom-key-stores --custom-key-store-id {store}");
    assert_eq!(scene.text(&describe, "/CustomKeyStores/0/ConnectionState"), "CONNECTED");
    assert_eq!(scene.text(&describe, "/CustomKeyStores/0/Token/Label"), "vault");
    let create = format!("key create-key --origin AWS_CLOUDHSM --custom-key-store-id {store}");
    let key = scene.text(&create, "/KeyMetadata/KeyId");
    scene.use_volume(&store, &key);
}

/// A proxy in front of a keystore of its own. Killed when it is dropped.
struct Outside {
    child: Child,
    port: String,
}

impl Outside {
    fn start(scene: &Scene) -> Self {
        scene
            .sh("export KMSFS_KEYSTORE=$PWD/outside
                $KMSFS keystore create > /dev/null
                $KMSFS kms user create proxy --administrator > /dev/null
                $KMSFS kms create-xks-credential credential.json > /dev/null
                openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
                    -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
                    -keyout tls.key -out tls.crt 2> /dev/null")
            .ok();
        let mode = std::fs::metadata(scene.place.path("credential.json")).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
        let log = std::fs::File::create(scene.place.path("proxy.out")).unwrap();
        let mut command = scene.place.kmsfs();
        command.env("KMSFS_KEYSTORE", scene.place.path("outside")).env("KMSFS_LOG", "warn");
        let line = "--json kms xks-proxy --listen 127.0.0.1:0 --user proxy --credential-file credential.json \
                    --tls-cert tls.crt --tls-key tls.key";
        let child = command.args(line.split_whitespace()).stdout(Stdio::from(log)).spawn().unwrap();
        let output: PathBuf = scene.place.path("proxy.out");
        wait_for("the proxy listens", || port(&output).is_some());
        Self { child, port: port(&output).unwrap() }
    }
}

fn port(output: &Path) -> Option<String> {
    let text = std::fs::read_to_string(output).ok()?;
    let rest = text.split("https://127.0.0.1:").nth(1)?;
    rest.split_once('/').map(|(port, _)| port.to_owned())
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_volume_under_an_external_key() {
    let scene = Scene::new();
    scene.run("keystore create").ok();
    let outside = Outside::start(&scene);
    let external = scene.sh("KMSFS_KEYSTORE=$PWD/outside $KMSFS key create-key").json();
    let external = external["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let port = &outside.port;
    let create = format!(
        "key create-custom-key-store --custom-key-store-name outside --custom-key-store-type EXTERNAL_KEY_STORE \
         --xks-proxy-uri-endpoint https://localhost:{port} --xks-proxy-uri-path /kms/xks/v1 \
         --xks-proxy-connectivity PUBLIC_ENDPOINT --xks-proxy-authentication-credential file://credential.json \
         --trust-anchor-certificate file://tls.crt --xks-proxy-timeout-millis 10000"
    );
    let store = scene.text(&create, "/CustomKeyStoreId");
    scene.run(&format!("key connect-custom-key-store --custom-key-store-id {store}")).ok();
    let create = format!(
        "key create-key --origin EXTERNAL_KEY_STORE --custom-key-store-id {store} --xks-key-id {external}"
    );
    let key = scene.text(&create, "/KeyMetadata/KeyId");
    scene.use_volume(&store, &key);
    let argv = "key create-custom-key-store --custom-key-store-name x --custom-key-store-type EXTERNAL_KEY_STORE \
                --xks-proxy-authentication-credential AccessKeyId=a,RawSecretAccessKey=b";
    assert_eq!(scene.run(argv).code, 2, "a secret on the command line is refused");
}

#[test]
fn the_script_for_a_token_makes_one_that_works() {
    let scene = Scene::new();
    scene.run("keystore create").ok();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/hsm");
    let ran = scene.sh(&format!("{script} hsm")).ok();
    let key = ran.out.lines().find_map(|line| line.trim().strip_prefix("kmsfs init BACKING --key ")).unwrap();
    let encrypt = format!("$KMSFS key encrypt --key-id {key} --plaintext aGVsbG8=");
    let made = scene.sh(&format!("export SOFTHSM2_CONF=$PWD/hsm/softhsm2.conf\n{encrypt}")).json();
    assert!(made["CiphertextBlob"].is_string());
    let mode = std::fs::metadata(scene.place.path("hsm/pin")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
}
