//! The memory store keeps the contract, and does what the posix store does.

use super::*;
use crate::store::contract::contract_suite;

mod suite {
    use super::*;
    contract_suite!({
        let store: Box<dyn BackingStore> = Box::new(MemoryStore::new());
        store
    });
}
