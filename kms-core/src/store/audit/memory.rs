use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::audit::{AuditError, AuditStore, AuditTx, AuditWork, Block, SignedHead};

/// An audit log that forgets everything at the end of the process: tests and trials.
#[derive(Debug, Default)]
pub struct MemoryAuditStore {
    log: Mutex<Log>,
}

#[derive(Debug, Clone, Default)]
struct Log {
    head: Option<SignedHead>,
    blocks: BTreeMap<u64, Block>,
}

impl MemoryAuditStore {
    /// No log.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        // A panic cannot leave a half-made log: a transaction works on a copy and is put in place whole.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuditStore for MemoryAuditStore {
    fn with_tx(&self, work: AuditWork<'_>) -> Result<(), AuditError> {
        let mut log = self.lock();
        let tx = MemoryAuditTx(RefCell::new(log.clone()));
        work(&tx)?;
        *log = tx.0.into_inner();
        Ok(())
    }

    fn head(&self) -> Result<Option<SignedHead>, AuditError> {
        Ok(self.lock().head.clone())
    }

    fn blocks(&self, first: u64, limit: usize) -> Result<Vec<Block>, AuditError> {
        Ok(self.lock().blocks.range(first..).take(limit).map(|(_, block)| block.clone()).collect())
    }

    fn block_before(&self, number: u64) -> Result<Option<u64>, AuditError> {
        Ok(self.lock().blocks.range(..=number).next_back().map(|(first, _)| *first))
    }
}

struct MemoryAuditTx(RefCell<Log>);

impl AuditTx for MemoryAuditTx {
    fn head(&self) -> Result<Option<SignedHead>, AuditError> {
        Ok(self.0.borrow().head.clone())
    }

    fn put_head(&self, head: &SignedHead) -> Result<(), AuditError> {
        self.0.borrow_mut().head = Some(head.clone());
        Ok(())
    }

    fn block_from(&self, first: u64) -> Result<Option<Block>, AuditError> {
        Ok(self.0.borrow().blocks.range(first..).next().map(|(_, block)| block.clone()))
    }

    fn put_block(&self, block: &Block) -> Result<(), AuditError> {
        match self.0.borrow_mut().blocks.insert(block.first, block.clone()) {
            None => Ok(()),
            Some(_) => Err(AuditError::Backend(format!("there is a block from record {} on", block.first))),
        }
    }

    fn delete_block(&self, first: u64) -> Result<(), AuditError> {
        self.0.borrow_mut().blocks.remove(&first);
        Ok(())
    }
}
