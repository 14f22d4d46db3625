use crate::audit::{AuditError, AuditStore, AuditWork, Block, SignedHead};

/// Stands for an audit log that cannot be opened: keys can be used nevertheless, unless records are required.
#[derive(Debug)]
pub struct UnusableAuditStore(AuditError);

impl UnusableAuditStore {
    /// A store that answers everything with `error`.
    pub fn new(error: AuditError) -> Self {
        Self(error)
    }
}

impl AuditStore for UnusableAuditStore {
    fn with_tx(&self, _: AuditWork<'_>) -> Result<(), AuditError> {
        Err(self.0.clone())
    }

    fn head(&self) -> Result<Option<SignedHead>, AuditError> {
        Err(self.0.clone())
    }

    fn blocks(&self, _: u64, _: usize) -> Result<Vec<Block>, AuditError> {
        Err(self.0.clone())
    }

    fn block_before(&self, _: u64) -> Result<Option<u64>, AuditError> {
        Err(self.0.clone())
    }
}
