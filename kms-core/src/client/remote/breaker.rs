//! Failing at once while a service does not answer.

use std::time::{Duration, Instant};

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::KmsError;

/// How long after a failure nobody asks again. Then one asks, and the others fail until that one has an answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Remembers that a service did not answer.
#[derive(Debug)]
pub(super) struct Breaker {
    state: Mutex<Option<Outage>>,
    /// How long an answer may take.
    deadline: Duration,
}

#[derive(Debug)]
struct Outage {
    cause: KmsError,
    retry_at: Instant,
}

/// What an answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// An outage begins.
    Began,
    /// An outage ends.
    Ended,
}

impl Breaker {
    pub(super) fn new(deadline: Duration) -> Self {
        Self { state: Mutex::new(None), deadline }
    }

    fn state(&self) -> MutexGuard<'_, Option<Outage>> {
        // Every assignment leaves a whole value.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails with the cause of the outage unless it is time to ask.
    pub(super) fn admit(&self, now: Instant) -> Result<(), KmsError> {
        match &mut *self.state() {
            Some(outage) if now < outage.retry_at => Err(outage.cause.clone()),
            Some(outage) => {
                // Until this one has its answer.
                outage.retry_at = now + self.deadline;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The service answered.
    pub(super) fn answered(&self) -> Change {
        match self.state().take() {
            Some(_) => Change::Ended,
            None => Change::None,
        }
    }

    /// The service did not answer.
    pub(super) fn failed(&self, cause: KmsError, now: Instant) -> Change {
        let before = self.state().replace(Outage { cause, retry_at: now + PAUSE });
        if before.is_none() { Change::Began } else { Change::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_a_service_is_away_one_asks_and_the_others_fail_at_once() {
        let breaker = Breaker::new(Duration::from_secs(5));
        let (start, cause) = (Instant::now(), KmsError::DependencyTimeout("away".into()));
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(breaker.admit(at(0)), Ok(()));
        assert_eq!(breaker.failed(cause.clone(), at(0)), Change::Began);
        assert_eq!(breaker.admit(at(999)), Err(cause.clone()));
        assert_eq!(breaker.admit(at(1000)), Ok(()), "one asks");
        assert_eq!(breaker.admit(at(1001)), Err(cause.clone()), "the others do not wait for it");
        assert_eq!(breaker.failed(cause, at(3000)), Change::None);
        assert_eq!(breaker.admit(at(4000)), Ok(()));
        assert_eq!(breaker.answered(), Change::Ended);
        assert_eq!(breaker.admit(at(4001)), Ok(()));
        assert_eq!(breaker.answered(), Change::None);
    }
}
