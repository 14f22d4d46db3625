//! The lock that a session holds, and who holds it.

use std::ffi::OsStr;
use std::fmt;

use crate::format::SessionNumber;
use crate::store::{BackingNode, FileAccess, FileRef, StoreErrorKind, StoreResult, host_name};

/// The lock file, in the volume directory.
pub(super) const LOCK_NAME: &str = "lock";
/// The longest text of a lock that is read, in bytes.
const TEXT_MAX: usize = 512;

/// Who has a volume open, as the lock's text says. The text is for people: the lock itself decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// Name of the machine; empty if the text does not say.
    pub host: String,
    /// Process id on that machine; 0 if the text does not say.
    pub pid: u32,
    /// The session; 0 for maintenance, which has none.
    pub session: SessionNumber,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.is_empty() {
            return f.write_str("another process");
        }
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

impl Holder {
    /// This process.
    pub(super) fn this_process(session: SessionNumber) -> Self {
        Self { host: host_name(), pid: std::process::id(), session }
    }

    fn text(&self) -> String {
        format!("host {}\npid {}\nsession {}\n", self.host, self.pid, self.session.0)
    }

    fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_default().to_owned()
        };
        Self {
            host: value("host"),
            pid: value("pid").parse().unwrap_or(0),
            session: SessionNumber(value("session").parse().unwrap_or(0)),
        }
    }
}

/// The lock of a volume, held until it is dropped.
pub(super) struct VolumeLock {
    file: FileRef,
}

/// What came of asking for the lock.
pub(super) enum LockOutcome {
    /// It is held now.
    Held(VolumeLock),
    /// Somebody else holds it.
    Taken(Holder),
    /// The backing directory cannot be written, so nobody can hold it.
    ReadOnly,
}

impl VolumeLock {
    /// Asks for the lock without waiting.
    pub(super) fn acquire(volume_dir: &dyn BackingNode) -> StoreResult<LockOutcome> {
        let file = match volume_dir.lookup(OsStr::new(LOCK_NAME))?.open_file(FileAccess::ReadWrite) {
            Ok(file) => file,
            Err(error) if error.kind == StoreErrorKind::ReadOnly => return Ok(LockOutcome::ReadOnly),
            Err(error) => return Err(error),
        };
        if file.try_lock()? {
            return Ok(LockOutcome::Held(Self { file }));
        }
        let mut text = vec![0; TEXT_MAX];
        let len = file.read_at(&mut text, 0)?;
        Ok(LockOutcome::Taken(Holder::parse(&String::from_utf8_lossy(&text[..len]))))
    }

    /// Writes who holds it.
    pub(super) fn sign(&self, session: SessionNumber) -> StoreResult<()> {
        let text = Holder::this_process(session).text();
        self.file.set_len(0)?;
        self.file.write_at(text.as_bytes(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_reads_back_and_any_text_is_read() {
        let holder = Holder { host: "alpha".into(), pid: 7, session: SessionNumber(3) };
        assert_eq!(Holder::parse(&holder.text()), holder);
        assert_eq!(holder.to_string(), "process 7 on alpha");
        assert_eq!(Holder::parse("pid x\nhost"), Holder::default());
        assert_eq!(Holder::default().to_string(), "another process");
    }
}
