//! A store that refuses to write: time is kept all the same, and data stay within reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kms_core::KmsError;
use kms_core::model::*;
use kms_core::seal::RootKey;
use kms_core::service::EmbeddedKms;
use kms_core::store::{Locality, MemoryStore, MetadataStore, ReadWork, StoreError, WriteWork};

use crate::fixture::{Fixture, local};

/// A store on a disk that can be full.
#[derive(Default)]
struct FullDisk {
    inner: MemoryStore,
    full: AtomicBool,
}

impl MetadataStore for FullDisk {
    fn with_read(&self, work: ReadWork<'_>) -> Result<(), KmsError> {
        self.inner.with_read(work)
    }

    fn with_write(&self, work: WriteWork<'_>) -> Result<(), KmsError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::Backend("the disk is full".into()).into());
        }
        self.inner.with_write(work)
    }

    fn at(&self, locality: &Locality) -> Arc<dyn MetadataStore> {
        self.inner.at(locality)
    }

    fn change_counter(&self) -> Result<u64, StoreError> {
        self.inner.change_counter()
    }

    fn scrub(&self) -> Result<bool, StoreError> {
        self.inner.scrub()
    }
}

fn service_on_a_disk() -> (Fixture, Arc<FullDisk>) {
    let disk = Arc::new(FullDisk::default());
    let clock = Arc::new(TestClock::default());
    let root = RootKey::generate().expect("random");
    let builder = EmbeddedKms::builder(disk.clone(), &root).expect("derives");
    (Fixture { kms: builder.clock(clock.clone()).build(), clock, caller: local(), dir: None }, disk)
}

#[test]
fn a_rotation_that_cannot_be_written_keeps_nobody_from_their_data() {
    let (fixture, disk) = service_on_a_disk();
    let key_id = fixture.create();
    fixture.enable_rotation(key_id, Some(90)).expect("enables");
    let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
    fixture.clock.advance_days(90);
    disk.full.store(true, Ordering::SeqCst);
    assert_eq!(fixture.decrypt(&blob), Ok(b"text".to_vec()));
    assert!(fixture.encrypt(key_id, b"more").is_ok());
    assert_eq!(fixture.kms.run_due().expect("runs").failed.len(), 1);
    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(fixture.kms.run_due().expect("runs").settled, 1);
    assert_eq!(fixture.materials(key_id).len(), 2);
}

#[test]
fn a_deletion_that_cannot_be_written_is_a_deletion() {
    let (fixture, disk) = service_on_a_disk();
    let key_id = fixture.create();
    let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
    fixture.schedule_deletion(key_id, 7).expect("schedules");
    fixture.clock.advance_days(7);
    disk.full.store(true, Ordering::SeqCst);
    assert_eq!(fixture.decrypt(&blob), Err(KmsError::ciphertext_key_inaccessible()));
    assert_eq!(fixture.cancel_deletion(key_id), Err(KmsError::key_not_found(fixture.arn(key_id))));
}

#[test]
fn material_whose_expiry_cannot_be_written_is_expired() {
    let (fixture, disk) = service_on_a_disk();
    let key_id = fixture.create_external();
    let valid_to = Some(fixture.clock.now().plus_days(5));
    let import = fixture.import(key_id, [1; 32], |request| {
        request.expiration_model = None;
        request.valid_to = valid_to;
    });
    import.expect("imports");
    let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
    fixture.clock.advance_days(5);
    disk.full.store(true, Ordering::SeqCst);
    assert!(matches!(fixture.decrypt(&blob), Err(KmsError::KmsInvalidState(_))));
    assert_eq!(fixture.state(key_id), KeyState::PendingImport);
}
