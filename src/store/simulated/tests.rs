//! The simulated store keeps the contract, and its images are those of the model.

use super::*;
use crate::store::contract::contract_suite;

mod suite {
    use super::*;
    contract_suite!({
        let store: Box<dyn BackingStore> = Box::new(SimulatedStore::new(SimulatedOptions::default()));
        store
    });
}
