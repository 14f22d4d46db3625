//! The control socket of a running mount: one JSON object per line, request and answer.
//!
//! The socket lies in a directory of the user alone, has mode 0600, and is named after the volume. It answers
//! `status`, makes directories domains of their own, takes over changed domain records, and tells a waiting
//! unmount how the mount ended.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::advice::Explanation;
use super::options::MountOptions;
use super::paths;

const SUFFIX: &str = "sock";
/// Longest request or answer, in bytes.
const LINE_MAX: u64 = 1 << 20;
/// How long a client waits for an answer that needs no work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a mount can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(super) enum Request {
    /// What it is and how it is.
    Status,
    /// Make the empty directory `path`, relative to the mountpoint, a domain under `keys`.
    Protect {
        /// The directory.
        path: PathBuf,
        /// The KMS keys, the first one first.
        keys: Vec<String>,
    },
    /// Read the domain records again and close what may not be used any more.
    Reload,
    /// The mount has other options from now on.
    Remounted {
        /// All of them.
        options: MountOptions,
    },
    /// Answer once now, and once more when the mount has ended.
    Wait,
}

/// What a mount answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(super) enum Answer {
    /// To [`Request::Status`].
    Status(Box<MountStatus>),
    /// To [`Request::Protect`]: the new domain.
    Protected {
        /// The domain.
        domain: String,
    },
    /// To [`Request::Reload`] and [`Request::Remounted`], and at once to [`Request::Wait`].
    Done,
    /// The mount has ended, and the volume is clean.
    Ended,
    /// It did not work.
    Failed(Explanation),
}

/// What a running mount says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MountStatus {
    /// The process.
    pub(super) pid: u32,
    /// The volume.
    pub(super) volume: String,
    /// The backing directory.
    pub(super) backing: PathBuf,
    /// The mountpoint.
    pub(super) mountpoint: PathBuf,
    /// Whether it is read-only.
    pub(super) read_only: bool,
    /// The session; none for a read-only mount.
    pub(super) session: Option<u32>,
    /// The keystore, if a key is in it.
    pub(super) keystore: Option<PathBuf>,
    /// The log file; none in the foreground.
    pub(super) log: Option<PathBuf>,
    /// Seconds since 1970 at which it began.
    pub(super) since: u64,
    /// Whether an fsync failed for good, so that the volume takes no writes any more.
    pub(super) failed: bool,
    /// The domains.
    pub(super) domains: Vec<DomainStatus>,
}

/// A domain of a running mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DomainStatus {
    /// The domain.
    pub(super) id: String,
    /// The ARN of its KMS key.
    pub(super) key: String,
    /// Where that is, if it is not in the keystore: the Region, and the URL if it is not AWS.
    pub(super) place: Option<String>,
    /// The ARNs of the keys each of which opens it by itself, that one too.
    pub(super) recipients: Vec<String>,
    /// Its epoch.
    pub(super) epoch: u32,
    /// Why its files are closed at present, if they are.
    pub(super) unusable: Option<String>,
}

/// Answers requests.
pub(super) trait Handler: Send + Sync + 'static {
    /// The answer to `request`, which is never [`Request::Wait`].
    fn answer(&self, request: Request) -> Answer;
}

/// The server's side.
pub(super) struct Control {
    path: PathBuf,
    waiting: Arc<Mutex<Vec<UnixStream>>>,
}

impl Control {
    /// Listens on the socket `name` and answers by `handler`, in threads of their own.
    pub(super) fn listen(name: &str, handler: Arc<dyn Handler>) -> Result<Self> {
        let dir = paths::runtime_dir();
        paths::make_private_dir(&dir)?;
        let path = dir.join(name).with_extension(SUFFIX);
        // Whoever had this name before has no lock on the volume any more.
        let _ = std::fs::remove_file(&path);
        let listener =
            UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
        let waiting = Arc::<Mutex<Vec<UnixStream>>>::default();
        let shared = Arc::clone(&waiting);
        std::thread::Builder::new().name("kmsfs-control".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, waiting) = (Arc::clone(&handler), Arc::clone(&shared));
                let serve = move || {
                    if let Err(error) = serve(stream, &*handler, &waiting) {
                        tracing::debug!(%error, "a control connection broke");
                    }
                };
                if let Err(error) = std::thread::Builder::new().spawn(serve) {
                    tracing::warn!(%error, "no thread for a control connection");
                }
            }
        })?;
        Ok(Self { path, waiting })
    }

    /// Takes no more connections by name.
    pub(super) fn close(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    /// Tells those who wait how the mount ended.
    pub(super) fn tell_end(&self, answer: &Answer) {
        for mut stream in std::mem::take(&mut *self.waiting.lock()) {
            // Whoever has gone does not wait any more.
            let _ = write_line(&mut stream, answer);
        }
    }
}

fn serve(stream: UnixStream, handler: &dyn Handler, waiting: &Mutex<Vec<UnixStream>>) -> Result<()> {
    let mut lines = LineReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(line) = lines.next()? {
        match serde_json::from_str(&line)? {
            Request::Wait => {
                let mut waiting = waiting.lock();
                write_line(&mut stream, &Answer::Done)?;
                waiting.push(stream);
                return Ok(());
            }
            request => write_line(&mut stream, &handler.answer(request))?,
        }
    }
    Ok(())
}

fn write_line(stream: &mut UnixStream, message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(stream.write_all(&line)?)
}

/// Lines of bounded length.
struct LineReader {
    inner: BufReader<UnixStream>,
}

impl LineReader {
    fn new(stream: UnixStream) -> Self {
        Self { inner: BufReader::new(stream) }
    }

    /// The next line; `None` at the end.
    fn next(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let len = std::io::Read::take(&mut self.inner, LINE_MAX).read_line(&mut line)?;
        Ok((len > 0).then_some(line))
    }
}

/// The client's side.
pub(super) struct Client {
    stream: UnixStream,
    lines: LineReader,
}

impl Client {
    /// Connects to the socket at `path`.
    fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)?;
        let lines = LineReader::new(stream.try_clone()?);
        Ok(Self { stream, lines })
    }

    /// Asks, and returns the answer; one that says that it failed is an error.
    pub(super) fn ask(&mut self, request: &Request, patience: Option<Duration>) -> Result<Answer> {
        self.stream.set_read_timeout(patience)?;
        write_line(&mut self.stream, request)?;
        self.next()?.ok_or_else(|| anyhow!("the connection to the mount's process broke"))
    }

    /// Waits for a further answer; `None` if the process ended without one.
    pub(super) fn next(&mut self) -> Result<Option<Answer>> {
        let Some(line) = self.lines.next()? else { return Ok(None) };
        match serde_json::from_str(&line)? {
            Answer::Failed(explanation) => Err(explanation.into_error()),
            answer => Ok(Some(answer)),
        }
    }

    /// Waits as long as it takes.
    pub(super) fn wait_long(&self) -> Result<()> {
        Ok(self.stream.set_read_timeout(None)?)
    }

    fn status(&mut self) -> Result<MountStatus> {
        match self.ask(&Request::Status, Some(ANSWER_TIMEOUT))? {
            Answer::Status(status) => Ok(*status),
            _ => Err(anyhow!("the mount's process gave another answer than it was asked for")),
        }
    }
}

/// All mounts of this user that answer.
pub(super) fn running() -> Vec<(Client, MountStatus)> {
    let entries = paths::runtime_dirs().into_iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten();
    let sockets = entries.flatten().map(|entry| entry.path());
    let sockets = sockets.filter(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX));
    sockets
        .filter_map(|path| {
            let mut client = Client::connect(&path).ok()?;
            let status = client.status().ok()?;
            Some((client, status))
        })
        .collect()
}

/// The mount at `point`, if it answers.
pub(super) fn at(point: &Path) -> Option<(Client, MountStatus)> {
    running().into_iter().find(|(_, status)| status.mountpoint == point)
}

/// The mount of the volume in `backing`, if it answers.
pub(super) fn of_backing(backing: &Path) -> Option<(Client, MountStatus)> {
    running().into_iter().find(|(_, status)| status.backing == backing)
}
