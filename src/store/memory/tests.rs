//! The memory store keeps the contract, and does what the posix store does.

use proptest::prelude::*;

use super::*;
use crate::store::contract::contract_suite;
use crate::store::contract::random::{World, picture, steps};
use crate::store::posix::tests::Scratch;

mod suite {
    use super::*;
    contract_suite!({
        let store: Box<dyn BackingStore> = Box::new(MemoryStore::new());
        store
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_posix_do_the_same(steps in steps(60)) {
        let (memory, posix) = (MemoryStore::new(), Scratch::new());
        // The directories that tests get have a mode of their own.
        for root in [memory.root(), posix.root()] {
            root.set_mode(0o755).unwrap();
        }
        let (mut here, mut there) = (World::new(&memory), World::new(&*posix));
        for step in &steps {
            prop_assert_eq!(here.step(step), there.step(step), "{:?}", step);
        }
        prop_assert_eq!(picture(&memory), picture(&*posix));
    }
}
