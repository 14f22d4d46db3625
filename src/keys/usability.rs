//! Whether the KMS key of a domain may be used now.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::KeyError;

/// How often a fenced domain asks the service again when somebody wants its keys.
const RETRY_MILLIS: u64 = 1000;

/// The fence of one domain. Times are milliseconds of the key ring's monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Usability {
    /// Read at every read and write.
    fenced: AtomicBool,
    confirmed_at: AtomicU64,
    /// Whether the service was out of reach when it was last asked.
    outage: AtomicBool,
    detail: Mutex<Detail>,
}

#[derive(Debug, Default)]
struct Detail {
    cause: Option<KeyError>,
    reported: bool,
    asked_at: u64,
}

impl Usability {
    /// The service cannot be reached; true if that is news.
    pub(super) fn begin_outage(&self) -> bool {
        !self.outage.swap(true, Ordering::Relaxed)
    }

    /// The service has just used the key.
    pub(super) fn confirm(&self, now: u64) {
        if self.outage.load(Ordering::Relaxed) {
            self.outage.store(false, Ordering::Relaxed);
        }
        self.confirmed_at.fetch_max(now, Ordering::Relaxed);
        if self.fenced.load(Ordering::Acquire) {
            let mut detail = self.detail.lock();
            *detail = Detail::default();
            self.fenced.store(false, Ordering::Release);
        }
    }

    /// Closes the domain because of `cause`. A domain that is closed already keeps its first cause.
    pub(super) fn fence(&self, cause: KeyError, now: u64) {
        let mut detail = self.detail.lock();
        if !self.fenced.load(Ordering::Acquire) {
            *detail = Detail { cause: Some(cause), reported: false, asked_at: now };
            self.fenced.store(true, Ordering::Release);
        }
    }

    /// Whether the domain is closed.
    pub(super) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Fails with the cause if the domain is closed.
    pub(super) fn check(&self) -> Result<(), KeyError> {
        if !self.is_fenced() {
            return Ok(());
        }
        self.detail.lock().cause.clone().map_or(Ok(()), Err)
    }

    /// Whether a closed domain should ask the service again; true at most once per second.
    pub(super) fn retry_due(&self, now: u64) -> bool {
        let mut detail = self.detail.lock();
        let due = now.saturating_sub(detail.asked_at) >= RETRY_MILLIS;
        if due {
            detail.asked_at = now;
        }
        due
    }

    /// True once after each closing.
    pub(super) fn take_report(&self) -> bool {
        let mut detail = self.detail.lock();
        self.is_fenced() && !std::mem::replace(&mut detail.reported, true)
    }

    /// How long ago the service last used the key.
    pub(super) fn unconfirmed_for(&self, now: u64) -> Duration {
        Duration::from_millis(now.saturating_sub(self.confirmed_at.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::DomainId;

    #[test]
    fn a_closed_domain_reports_once_and_opens_with_a_confirmation() {
        let usability = Usability::default();
        usability.confirm(5);
        assert!(usability.check().is_ok() && !usability.take_report());
        usability.fence(KeyError::UnknownDomain(DomainId([1; 16])), 10);
        assert!(usability.check().is_err());
        assert!(usability.take_report() && !usability.take_report());
        assert!(!usability.retry_due(500) && usability.retry_due(1010) && !usability.retry_due(1020));
        usability.confirm(2000);
        assert!(usability.check().is_ok());
        assert_eq!(usability.unconfirmed_for(2500), Duration::from_millis(500));
    }
}
