//! Audit logs in the stores.

mod memory;
mod sqlite;
mod unusable;

#[cfg(test)]
mod contract;

pub use memory::MemoryAuditStore;
pub use sqlite::SqliteAuditStore;
pub use unusable::UnusableAuditStore;
