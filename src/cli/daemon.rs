//! Serving a mount in the background: this program started once more, with a pipe for what it needs and a pipe for
//! how it went.
//!
//! Nothing is inherited but the three standard descriptors, and those are a pipe, a pipe and the log file; the pipes
//! are given up as soon as the mount is up. The secret goes through the pipe, never through arguments or the
//! environment.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::advice::Explanation;
use super::keystore::Secret;
use super::paths;
use super::serve::{Ready, ServeRequest, serve};
use crate::{store, telemetry};

/// The hidden verb of the daemon.
pub(super) const VERB: &str = "__serve";
/// A log file that is longer is set aside when the next mount begins.
const LOG_MAX: u64 = 8 << 20;

/// The line that comes before the lines that are secret.
#[derive(Serialize, Deserialize)]
struct Order {
    request: ServeRequest,
    opens: Option<Opens>,
}

/// What opens the keystore. Secrets are not in it: they are the lines that follow.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Opens {
    Passphrase,
    KeyFile(PathBuf),
    Credential(String),
    RecoveryKey,
    Shares,
}

impl Opens {
    /// Of `secret`, with the lines that follow.
    fn of(secret: &Secret) -> (Self, &[Zeroizing<String>]) {
        use std::slice::from_ref;
        match secret {
            Secret::Passphrase(text) => (Self::Passphrase, from_ref(text)),
            Secret::KeyFile(path) => (Self::KeyFile(path.clone()), &[]),
            Secret::Credential(name) => (Self::Credential(name.clone()), &[]),
            Secret::RecoveryKey(line) => (Self::RecoveryKey, from_ref(line)),
            Secret::Shares(lines) => (Self::Shares, lines),
        }
    }

    fn with(self, text: &str) -> Secret {
        let line = |text: &str| Zeroizing::new(text.to_owned());
        match self {
            Self::Passphrase => Secret::Passphrase(line(text.lines().next().unwrap_or_default())),
            Self::KeyFile(path) => Secret::KeyFile(path),
            Self::Credential(name) => Secret::Credential(name),
            Self::RecoveryKey => Secret::RecoveryKey(line(text.trim_end())),
            Self::Shares => Secret::Shares(text.lines().map(line).collect()),
        }
    }
}

/// How the start went.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Report {
    Ready(Box<Ready>),
    Failed(Explanation),
}

/// The log file of a volume.
pub(super) fn log_path(volume: &str) -> Result<PathBuf> {
    Ok(paths::state_dir()?.join(format!("{volume}.log")))
}

fn open_log(path: &Path) -> Result<File> {
    if std::fs::metadata(path).is_ok_and(|found| found.len() > LOG_MAX) {
        let mut old = path.as_os_str().to_owned();
        old.push(".1");
        std::fs::rename(path, old)?;
    }
    let open = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    open.with_context(|| format!("cannot write the log file {}", path.display()))
}

/// Starts the daemon and waits until its mount is up.
pub(super) fn start(request: ServeRequest, secret: Option<&Secret>) -> Result<Ready> {
    let log = match &request.log {
        Some(path) => Stdio::from(open_log(path)?),
        None => Stdio::null(),
    };
    store::keep_descriptors_from_children();
    let mut child = Command::new("/proc/self/exe")
        .arg0("kmsfs")
        .arg(VERB)
        .current_dir("/")
        .env_remove("KMSFS_PASSPHRASE_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start the process that serves the mount")?;
    hand_over(&mut child, request, secret)?;
    let mut text = String::new();
    let mut pipe = child.stdout.take().ok_or_else(|| anyhow!("the process has no standard output"))?;
    pipe.read_to_string(&mut text).context("the process that serves the mount gave no sign")?;
    match serde_json::from_str(&text) {
        Ok(Report::Ready(ready)) => Ok(*ready),
        Ok(Report::Failed(explanation)) => {
            let _ = child.wait();
            Err(explanation.into_error())
        }
        Err(_) => {
            let status = child.wait()?;
            Err(anyhow!("the process that serves the mount ended early ({status}); its log may say why"))
        }
    }
}

/// Writes the order and what is secret. A child that is gone already says why by its report.
fn hand_over(child: &mut Child, request: ServeRequest, secret: Option<&Secret>) -> Result<()> {
    let mut pipe = child.stdin.take().ok_or_else(|| anyhow!("the process has no standard input"))?;
    let (opens, lines) = secret.map(Opens::of).unzip();
    let mut order = serde_json::to_vec(&Order { request, opens })?;
    order.push(b'\n');
    let _ = pipe.write_all(&order);
    for line in lines.unwrap_or_default() {
        let _ = pipe.write_all(line.as_bytes()).and_then(|()| pipe.write_all(b"\n"));
    }
    Ok(())
}

/// The daemon.
pub(super) fn run() -> Result<()> {
    telemetry::start("info");
    // Else tools would show the name of the link that was executed.
    let _ = rustix::thread::set_name(c"kmsfs");
    // Fails only for a leader of a process group, which has no terminal to leave then.
    let _ = rustix::process::setsid();
    let outcome = receive().and_then(|(request, secret)| {
        serve(&request, secret, |ready| report(&Report::Ready(Box::new(ready.clone()))))
    });
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "the mount failed");
        // After the mount was up nobody listens any more.
        let _ = report(&Report::Failed(Explanation::of(error)));
    }
    outcome
}

fn receive() -> Result<(ServeRequest, Option<Secret>)> {
    let mut input = Zeroizing::new(Vec::new());
    std::io::stdin().read_to_end(&mut input)?;
    let end = input.iter().position(|byte| *byte == b'\n').context("the order is not complete")?;
    let Order { request, opens } = serde_json::from_slice(&input[..end])?;
    let text = std::str::from_utf8(&input[end + 1..])?;
    Ok((request, opens.map(|opens| opens.with(text))))
}

/// Writes how the start went, and gives the pipes up.
fn report(report: &Report) -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(&serde_json::to_vec(report)?)?;
    out.flush()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}
