//! The history of mounts: `.kmsfs/sessions`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::JournalError;
use crate::crypto::MacKey;
use crate::format::{SESSION_RECORD_LEN, SessionEvent, SessionNumber, SessionRecord};
use crate::store::{BackingNode, FileAccess, FileRef};

const NAME: &str = "sessions";
const RECORD_LEN: u64 = SESSION_RECORD_LEN as u64;

/// Which sessions there were, and which of them crashed.
#[derive(Debug, Clone, Default)]
pub struct SessionHistory {
    open: BTreeSet<SessionNumber>,
    last: Option<(SessionNumber, SessionEvent)>,
}

impl SessionHistory {
    /// The history that `records` tell, oldest first.
    pub fn from_records<'a>(records: impl IntoIterator<Item = &'a SessionRecord>) -> Self {
        let mut history = Self::default();
        for record in records {
            match record.event {
                SessionEvent::Start => history.open.insert(record.session),
                SessionEvent::Clean => history.open.remove(&record.session),
                SessionEvent::Recovered => false,
            };
            history.last = Some((record.session, record.event));
        }
        history
    }

    /// Whether the session ended with everything in place. A recovered session crashed and is not clean.
    pub fn was_clean(&self, session: SessionNumber) -> bool {
        !self.open.contains(&session)
    }

    /// Whether a session from `session` up to before `current` crashed.
    pub fn crashed_between(&self, session: SessionNumber, current: SessionNumber) -> bool {
        session < current && self.open.range(session..current).next().is_some()
    }

    /// The last record.
    pub fn last(&self) -> Option<(SessionNumber, SessionEvent)> {
        self.last
    }
}

/// The session records of a volume, open for appending.
pub struct SessionLog {
    file: FileRef,
    mac: MacKey,
    end: u64,
    records: Vec<SessionRecord>,
}

impl SessionLog {
    /// Creates the empty log of a new volume.
    ///
    /// # Errors
    /// The backing directory's.
    pub fn create(volume_dir: &dyn BackingNode) -> Result<(), JournalError> {
        let (_, file) = volume_dir.create_file(OsStr::new(NAME), 0o600)?;
        file.sync_all()?;
        Ok(())
    }

    /// Reads all records and checks their MACs. A torn last record is a crash in the middle of an append
    /// and is overwritten by the next one.
    ///
    /// # Errors
    /// [`JournalError::SessionsTampered`] for any other record that is not sound.
    pub fn open(volume_dir: &dyn BackingNode, mac: MacKey, access: FileAccess) -> Result<Self, JournalError> {
        let file = volume_dir.lookup(OsStr::new(NAME))?.open_file(access)?;
        let size = file.stat()?.size;
        let mut log = Self { file, mac, end: 0, records: Vec::new() };
        while log.end + RECORD_LEN <= size {
            let mut bytes = [0; SESSION_RECORD_LEN];
            log.file.read_at(&mut bytes, log.end)?;
            match SessionRecord::parse(&bytes) {
                Ok(record) if log.mac.verify(&[&record.mac_input()], &record.mac) => log.records.push(record),
                Err(_) if log.end + 2 * RECORD_LEN > size => break,
                Ok(_) | Err(_) => return Err(JournalError::SessionsTampered(log.end)),
            }
            log.end += RECORD_LEN;
        }
        Ok(log)
    }

    /// What the records tell.
    pub fn history(&self) -> Arc<SessionHistory> {
        Arc::new(SessionHistory::from_records(&self.records))
    }

    /// All records, oldest first.
    pub fn records(&self) -> &[SessionRecord] {
        &self.records
    }

    /// Appends a record and makes it durable.
    ///
    /// # Errors
    /// The backing directory's.
    pub fn append(
        &mut self,
        session: SessionNumber,
        event: SessionEvent,
        host: &str,
    ) -> Result<(), JournalError> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut record = SessionRecord { session, event, time, host: [0; 16], mac: [0; 16] };
        for (place, byte) in record.host.iter_mut().zip(host.bytes()) {
            *place = byte;
        }
        record.mac = self.mac.mac16(&[&record.mac_input()]);
        self.file.write_at(&record.encode(), self.end)?;
        self.file.sync_all()?;
        self.end += RECORD_LEN;
        self.records.push(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(session: u32, event: SessionEvent) -> SessionRecord {
        SessionRecord { session: SessionNumber(session), event, time: 0, host: [0; 16], mac: [0; 16] }
    }

    #[test]
    fn a_recovered_session_is_not_clean() {
        let history = SessionHistory::from_records(&[
            record(1, SessionEvent::Start),
            record(1, SessionEvent::Clean),
            record(2, SessionEvent::Start),
            record(2, SessionEvent::Recovered),
            record(3, SessionEvent::Start),
        ]);
        assert!(history.was_clean(SessionNumber(1)));
        assert!(!history.was_clean(SessionNumber(2)) && !history.was_clean(SessionNumber(3)));
        assert!(history.crashed_between(SessionNumber(1), SessionNumber(3)));
        assert!(!history.crashed_between(SessionNumber(3), SessionNumber(3)));
        assert_eq!(history.last(), Some((SessionNumber(3), SessionEvent::Start)));
    }
}
