use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kms_core::client::KeyService;
use kms_core::model::{DecryptRequest, EncryptRequest, EncryptionContext, Plaintext};

use super::fake::{TestService, key};
use super::wrapper::Wrapper;
use super::*;
use crate::crypto::{DataKey, SecretKey, random};
use crate::format::VolumeId;
use crate::store::memory::MemoryStore;
use crate::store::{BackingStore, NodeRef};

const NOTHING: Option<KeySlot> = None;

mod recipients;

struct World {
    service: Arc<TestService>,
    volume_dir: NodeRef,
    volume: VolumeId,
    root: DomainId,
    now: Arc<AtomicU64>,
    arn: String,
}

impl World {
    fn new() -> Self {
        let service = TestService::new();
        let (store, volume) = (MemoryStore::new(), VolumeId(random::bytes()));
        let volume_dir = store.root();
        let keys_dir = volume_dir.make_dir(OsStr::new(KEYS_DIR), 0o700).unwrap();
        let arn = service.new_key();
        let mut domain =
            KeyRing::new_root(&service.services(), volume, &[arn.parse().unwrap()], KeyTier::Kms).unwrap();
        domain.write(&*keys_dir).unwrap();
        let now = Arc::new(AtomicU64::new(1_000_000));
        Self { service, volume_dir, volume, root: domain.id(), now, arn }
    }

    fn ring(&self) -> Arc<KeyRing> {
        self.try_ring(KeyRingOptions::default()).unwrap()
    }

    fn try_ring(&self, options: KeyRingOptions) -> Result<Arc<KeyRing>, KeyError> {
        let wrapper = Wrapper { services: self.service.services(), volume_id: self.volume };
        let now = Arc::clone(&self.now);
        let clock = Arc::new(move || now.load(Ordering::SeqCst));
        KeyRing::load_at(wrapper, &self.volume_dir, self.root, options, clock)
    }

    fn wait(&self, time: Duration) {
        self.now.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }
}

fn to(key: &str) -> RecipientChange {
    RecipientChange { to: Some(key.parse().unwrap()), ..RecipientChange::default() }
}

fn slots(new: &NewFileKeys) -> [Option<KeySlot>; 2] {
    [Some(new.slot.clone()), NOTHING]
}

#[test]
fn a_new_file_opens_again_with_one_call_and_the_second_time_without() {
    let world = World::new();
    let new = world.ring().new_file(world.root).unwrap();
    let ring = world.ring();
    let before = world.service.decrypts();
    let keys = ring.unwrap(&new.identity, &slots(&new)).unwrap();
    assert_eq!(keys.commitment, new.keys.commitment);
    ring.unwrap(&new.identity, &slots(&new)).unwrap();
    assert_eq!(world.service.decrypts() - before, 1);
}

#[test]
fn the_time_limit_counts_from_the_last_confirmation() {
    let world = World::new();
    let ring = world.ring();
    let new = ring.new_file(world.root).unwrap();
    ring.unwrap(&new.identity, &slots(&new)).unwrap();
    for _ in 0..10 {
        world.wait(Duration::from_secs(30));
        ring.poll_usability();
        let before = world.service.decrypts();
        ring.unwrap(&new.identity, &slots(&new)).unwrap();
        assert_eq!(world.service.decrypts(), before, "a poll keeps what is remembered alive");
    }
    world.wait(Duration::from_secs(61));
    let before = world.service.decrypts();
    ring.unwrap(&new.identity, &slots(&new)).unwrap();
    assert_eq!(world.service.decrypts(), before + 1);
}

#[test]
fn threads_that_open_one_file_share_one_call() {
    let world = World::new();
    let ring = world.ring();
    let new = ring.new_file(world.root).unwrap();
    let (before, slots) = (world.service.decrypts(), slots(&new));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| ring.unwrap(&new.identity, &slots).unwrap());
        }
    });
    assert_eq!(world.service.decrypts(), before + 1);
}

#[test]
fn keys_are_made_ahead_between_the_marks_and_all_differ() {
    let world = World::new();
    let ring = world.ring();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        assert!(seen.insert(ring.new_file(world.root).unwrap().identity.file_id));
    }
    for _ in 0..500 {
        if ring.pool_len() >= 16 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!((16..=64).contains(&ring.pool_len()), "{}", ring.pool_len());
    ring.shutdown();
    assert_eq!(ring.pool_len(), 0);
    assert!(ring.new_file(world.root).is_ok(), "without the thread each file costs a call");
}

#[test]
fn a_header_of_another_file_or_domain_is_refused() {
    let world = World::new();
    let ring = world.ring();
    let other = ring.add_domain(&world.arn).unwrap();
    let (one, two) = (ring.new_file(world.root).unwrap(), ring.new_file(world.root).unwrap());
    let tampered = |identity: &Identity, slots: &[Option<KeySlot>; 2]| {
        matches!(ring.unwrap(identity, slots), Err(KeyError::Tampered { .. }))
    };
    assert!(tampered(&one.identity, &slots(&two)));
    let moved = Identity { domain_id: other, ..one.identity };
    assert!(tampered(&moved, &slots(&one)));
    let moved = Identity { volume_id: VolumeId([9; 16]), ..one.identity };
    assert!(tampered(&moved, &slots(&one)));
    assert!(tampered(&one.identity, &[NOTHING, NOTHING]));
    let mut changed = one.slot.clone();
    changed.time += 1;
    assert!(tampered(&one.identity, &[Some(changed.clone()), NOTHING]), "the MAC covers the whole slot");
    ring.unwrap(&one.identity, &slots(&one)).unwrap();
    assert!(tampered(&one.identity, &[Some(changed), NOTHING]), "also while the keys are remembered");
    assert!(tampered(&moved, &slots(&one)), "also while the keys of its file id are remembered");
    let unknown = Identity { domain_id: DomainId([1; 16]), ..one.identity };
    assert!(matches!(ring.unwrap(&unknown, &slots(&one)), Err(KeyError::UnknownDomain(_))));
}

#[test]
fn a_blob_made_under_a_foreign_key_is_never_believed() {
    let world = World::new();
    let ring = world.ring();
    let genuine = ring.new_file(world.root).unwrap();
    let foreign = world.service.new_key();
    // Somebody who may use another KMS key of the same service builds a header that is sound in itself.
    let (identity, data_key) = (genuine.identity, [7; 32]);
    let context = EncryptionContext::from([
        ("kmsfs:volume", identity.volume_id.to_string()),
        ("kmsfs:domain", identity.domain_id.to_string()),
        ("kmsfs:file", identity.file_id.to_string()),
        ("kmsfs:purpose", "data-key".to_owned()),
        ("kmsfs:suite", "1".to_owned()),
    ]);
    let request = EncryptRequest::new(key(&foreign), Plaintext::copy_of(&data_key), context.clone());
    let blob = world.service.encrypt(&TestService::caller(), &request).unwrap().ciphertext_blob;
    world.service.decrypt(&TestService::caller(), &DecryptRequest::new(blob.clone(), context)).unwrap();
    let secret = DataKey::new(SecretKey::from_slice(&data_key).unwrap());
    let keys = FileKeys::derive(&secret, &identity.volume_id.0, &identity.file_id.0);
    for key_id in [key_id_of(&foreign), key_id_of(&world.arn)] {
        let mut slot = genuine.slot.clone();
        slot.commitment = keys.commitment;
        slot.recipients[0].payload = blob.as_bytes().to_vec();
        slot.recipients[0].key_id = key_id;
        slot::authenticate(&identity, &mut slot, &keys).unwrap();
        let error = ring.unwrap(&identity, &[Some(slot), NOTHING]).unwrap_err();
        assert!(matches!(error, KeyError::Tampered { .. } | KeyError::ForeignKey { .. }), "{error}");
    }
}

#[test]
fn a_disabled_key_closes_its_files_with_the_next_poll_and_opens_them_again() {
    let world = World::new();
    let ring = world.ring();
    let new = ring.new_file(world.root).unwrap();
    ring.unwrap(&new.identity, &slots(&new)).unwrap();
    world.service.disable(&world.arn);
    assert!(ring.check_usable(world.root).is_ok(), "nobody has asked yet");
    assert_eq!(ring.poll_usability(), [world.root]);
    assert!(ring.poll_usability().is_empty(), "it is reported once");
    assert_eq!((ring.cached(), ring.pool_len()), (0, 0));
    assert!(matches!(ring.check_usable(world.root), Err(KeyError::Unusable { .. })));
    assert!(matches!(ring.unwrap(&new.identity, &slots(&new)), Err(KeyError::Unusable { .. })));
    assert!(matches!(ring.new_file(world.root), Err(KeyError::Unusable { .. })));
    assert!(ring.domain_keys(world.root).is_ok(), "names still list and go");
    world.service.enable(&world.arn);
    world.wait(Duration::from_secs(2));
    ring.unwrap(&new.identity, &slots(&new)).unwrap();
    assert!(ring.check_usable(world.root).is_ok());
    world.service.denied.store(true, Ordering::SeqCst);
    assert_eq!(ring.poll_usability(), [world.root]);
    assert!(matches!(ring.check_usable(world.root), Err(KeyError::Denied { .. })));
    world.service.denied.store(false, Ordering::SeqCst);
    assert!(ring.poll_usability().is_empty() && ring.check_usable(world.root).is_ok());
}

#[test]
fn a_creation_that_meets_a_disabled_key_closes_the_domain_at_once() {
    let world = World::new();
    let ring = world.ring();
    world.service.disable(&world.arn);
    assert!(ring.new_file(world.root).is_err());
    assert!(ring.check_usable(world.root).is_err());
    assert_eq!(ring.poll_usability(), [world.root], "the mount still hears of it");
}

#[test]
fn an_outage_closes_files_after_the_grace_time_only() {
    let world = World::new();
    let ring = world.ring();
    let new = ring.new_file(world.root).unwrap();
    ring.unwrap(&new.identity, &slots(&new)).unwrap();
    world.service.outage.store(true, Ordering::SeqCst);
    world.wait(Duration::from_secs(299));
    assert!(ring.poll_usability().is_empty() && ring.check_usable(world.root).is_ok());
    assert!(matches!(ring.unwrap(&new.identity, &slots(&new)), Err(KeyError::Service(_))));
    world.wait(Duration::from_secs(1));
    assert_eq!(ring.poll_usability(), [world.root]);
    assert!(matches!(ring.check_usable(world.root), Err(KeyError::Service(_))));
    world.service.outage.store(false, Ordering::SeqCst);
    ring.poll_usability();
    assert!(ring.check_usable(world.root).is_ok());
}

#[test]
fn domains_are_found_again_and_unwrapped_when_they_are_used() {
    let world = World::new();
    let second = world.service.new_key();
    let added = world.ring().add_domain(&second).unwrap();
    let before = world.service.decrypts();
    let ring = world.ring();
    assert_eq!(world.service.decrypts(), before + 1);
    let [a, b, c, d, ..] = added.0;
    assert_eq!(ring.domains_with_tag([a, b, c, d]), [added]);
    ring.domain_keys(added).unwrap();
    ring.domain_keys(added).unwrap();
    assert_eq!(world.service.decrypts(), before + 2);
    world.service.disable(&second);
    assert_eq!(ring.poll_usability(), [added]);
    assert!(ring.check_usable(world.root).is_ok() && ring.check_usable(added).is_err());
    assert!(matches!(world.ring().domain_keys(added), Err(KeyError::Unusable { .. })));
}

#[test]
fn a_record_that_was_changed_or_exchanged_is_refused() {
    let world = World::new();
    let ring = world.ring();
    let added = ring.add_domain(&world.arn).unwrap();
    let keys_dir = world.volume_dir.lookup(OsStr::new(KEYS_DIR)).unwrap();
    let (root, added) =
        (record::read(&*keys_dir, world.root).unwrap(), record::read(&*keys_dir, added).unwrap());
    let opens = |record: &crate::format::DomainRecord| {
        let name = world.root.to_string();
        write_durably(&*keys_dir, OsStr::new(&name), &record.encode().unwrap()).unwrap();
        world.try_ring(KeyRingOptions::default()).is_ok()
    };
    assert!(opens(&root));
    let mut changed = root.clone();
    changed.epoch += 1;
    assert!(!opens(&changed));
    let mut changed = root.clone();
    changed.keys.push(crate::format::KeyReference {
        key_id: [1; 16],
        arn: world.service.new_key(),
        wrapped_secret: Vec::new(),
        place: String::new(),
    });
    assert!(!opens(&changed), "nobody adds a key of their own");
    assert!(!opens(&added));
    let mut changed = added;
    changed.domain_id = world.root;
    assert!(!opens(&changed));
    assert!(opens(&root));
}

#[test]
fn a_rewrap_to_another_key_needs_the_old_one_until_it_is_finished() {
    let world = World::new();
    let (ring, bystander) = (world.ring(), world.ring());
    let new = ring.new_file(world.root).unwrap();
    assert_eq!(ring.current_place(&new.identity, &slots(&new)).unwrap(), Some(0));
    let second = world.service.new_key();
    let summary = ring.begin_rewrap(world.root, &to(&second)).unwrap();
    assert_eq!((summary.epoch, summary.keys), (2, vec![second.clone(), world.arn.clone()]));
    assert_eq!(ring.current_place(&new.identity, &slots(&new)).unwrap(), None);
    let rewrap = ring.rewrap_slot(&new.identity, &slots(&new)).unwrap();
    assert_eq!((rewrap.place, rewrap.replaced, rewrap.slot.generation), (1, 0, 2));
    let both = [Some(new.slot.clone()), Some(rewrap.slot.clone())];
    assert_eq!(ring.current_place(&new.identity, &both).unwrap(), Some(1));
    let only = [NOTHING, Some(rewrap.slot)];
    assert_eq!(bystander.unwrap(&new.identity, &only).unwrap().commitment, new.keys.commitment);
    assert_eq!(ring.finish_rewrap(world.root).unwrap().keys, [second]);
    world.service.disable(&world.arn);
    let ring = world.ring();
    ring.unwrap(&new.identity, &only).unwrap();
    assert!(matches!(ring.unwrap_fresh(&new.identity, &slots(&new)), Err(KeyError::ForeignKey { .. })));
    assert!(bystander.poll_usability().is_empty(), "the poll reads the records again");
    assert_eq!(bystander.new_file(world.root).unwrap().slot.recipients[0].epoch, 2);
}
