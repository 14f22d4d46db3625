//! The record of a rewrap that is under way: `.kmsfs/rewrap`.
//!
//! It says which epochs the rewrap brings about, so that one that was interrupted goes on where it was instead
//! of beginning another epoch, and its lock keeps two rewraps from running at once. It does not say where
//! in the tree the rewrap was: files move while it runs, and reading a header that is done already costs little.

use std::ffi::OsStr;

use super::MaintenanceError;
use crate::format::DomainId;
use crate::store::{BackingNode, FileAccess, FileRef};

const NAME: &str = "rewrap";
const MODE: u32 = 0o600;
const TITLE: &str = "kmsfs rewrap 1";
/// Stands for "under the present key".
const SAME_KEY: &str = "-";
/// The longest record that is read, in bytes: far more than the domains of any volume need.
const LEN_MAX: u64 = 1 << 20;

/// A domain that is being rewrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunDomain {
    pub(super) id: DomainId,
    pub(super) epoch: u32,
    /// How the recipients change, as a word, if they do.
    pub(super) key: Option<String>,
}

/// The record, locked until it is dropped.
pub(super) struct Run {
    file: FileRef,
    pub(super) domains: Vec<RunDomain>,
}

impl Run {
    /// Locks and reads the record; one that is missing or torn says that no rewrap is under way.
    pub(super) fn open(volume_dir: &dyn BackingNode) -> Result<Self, MaintenanceError> {
        let name = OsStr::new(NAME);
        let file = match volume_dir.lookup(name) {
            Ok(node) => node.open_file(FileAccess::ReadWrite)?,
            Err(error) if error.is_not_found() => volume_dir.create_file(name, MODE)?.1,
            Err(error) => return Err(error.into()),
        };
        if !file.try_lock()? {
            return Err(MaintenanceError::RewrapRunning);
        }
        let mut bytes = vec![0; usize::try_from(file.stat()?.size.min(LEN_MAX)).unwrap_or(0)];
        let len = file.read_at(&mut bytes, 0)?;
        let domains = parse(&String::from_utf8_lossy(&bytes[..len])).unwrap_or_default();
        Ok(Self { file, domains })
    }

    /// The rewrap of `id` that is under way, if it goes to the key `key`.
    pub(super) fn under_way(&self, id: DomainId, key: Option<&str>) -> Option<&RunDomain> {
        self.domains.iter().find(|domain| domain.id == id && domain.key.as_deref() == key)
    }

    /// Replaces the record, durably.
    pub(super) fn save(&mut self, domains: Vec<RunDomain>) -> Result<(), MaintenanceError> {
        let text = if domains.is_empty() { String::new() } else { encode(&domains) };
        self.file.write_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)?;
        self.file.sync_all()?;
        self.domains = domains;
        Ok(())
    }
}

fn encode(domains: &[RunDomain]) -> String {
    let mut text = format!("{TITLE}\n");
    for RunDomain { id, epoch, key } in domains {
        text.push_str(&format!("{id} {epoch} {}\n", key.as_deref().unwrap_or(SAME_KEY)));
    }
    let crc = crc32c::crc32c(text.as_bytes());
    text.push_str(&format!("{crc:08x}\n"));
    text
}

fn parse(text: &str) -> Option<Vec<RunDomain>> {
    let (body, crc) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let crc = u32::from_str_radix(crc, 16).ok()?;
    let rest = body.strip_prefix(TITLE)?;
    if crc32c::crc32c(format!("{body}\n").as_bytes()) != crc {
        return None;
    }
    let domain = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (id, epoch, key) = (words.next()?, words.next()?, words.next()?);
        let key = (key != SAME_KEY).then(|| key.to_owned());
        Some(RunDomain { id: id.parse().ok()?, epoch: epoch.parse().ok()?, key })
    };
    rest.lines().filter(|line| !line.is_empty()).map(domain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::BackingStore;
    use crate::store::memory::MemoryStore;

    #[test]
    fn a_record_reads_back_and_a_torn_one_is_none() {
        let store = MemoryStore::new();
        let mut run = Run::open(&*store.root()).unwrap();
        assert!(run.domains.is_empty());
        let domains = vec![
            RunDomain { id: DomainId([1; 16]), epoch: 2, key: None },
            RunDomain { id: DomainId([2; 16]), epoch: 7, key: Some("alias/b".into()) },
        ];
        run.save(domains.clone()).unwrap();
        assert!(matches!(Run::open(&*store.root()), Err(MaintenanceError::RewrapRunning)));
        drop(run);
        let mut run = Run::open(&*store.root()).unwrap();
        assert_eq!(run.domains, domains);
        assert!(run.under_way(DomainId([2; 16]), Some("alias/b")).is_some());
        assert!(run.under_way(DomainId([2; 16]), None).is_none());
        let text = encode(&domains);
        for len in 0..text.len() {
            assert_eq!(parse(&text[..len]), None);
        }
        run.save(Vec::new()).unwrap();
        drop(run);
        assert!(Run::open(&*store.root()).unwrap().domains.is_empty());
    }
}
