//! Several recipients, and domain keys.

use super::*;

fn context(identity: &Identity) -> EncryptionContext {
    EncryptionContext::from([
        ("kmsfs:volume", identity.volume_id.to_string()),
        ("kmsfs:domain", identity.domain_id.to_string()),
        ("kmsfs:file", identity.file_id.to_string()),
        ("kmsfs:purpose", "data-key".to_owned()),
        ("kmsfs:suite", "1".to_owned()),
    ])
}

fn change(to: Option<&str>, add: &[&str], remove: &[&str], tier: Option<KeyTier>) -> RecipientChange {
    RecipientChange {
        to: to.map(|key| key.parse().unwrap()),
        add: add.iter().map(|key| key.parse().unwrap()).collect(),
        remove: remove.iter().map(|key| (*key).to_owned()).collect(),
        tier,
    }
}

/// A world whose root domain has two recipients, and the second one.
fn world_with_two() -> (World, String) {
    let world = World::new();
    let second = world.service.new_key();
    world.ring().begin_rewrap(world.root, &change(None, &[&second], &[], None)).unwrap();
    (world, second)
}

#[test]
fn what_each_recipient_unwraps_is_checked_against_the_commitment() {
    let (world, second) = world_with_two();
    let new = world.ring().new_file(world.root).unwrap();
    assert_eq!(new.slot.recipients.len(), 2);
    // The second wrap is replaced by one of another data key, made by somebody who may use the key.
    let request = EncryptRequest::new(key(&second), Plaintext::copy_of(&[7; 32]), context(&new.identity));
    let blob = world.service.encrypt(&TestService::caller(), &request).unwrap().ciphertext_blob;
    let mut changed = new.slot.clone();
    changed.recipients[1].payload = blob.into_bytes();
    let changed = [Some(changed), NOTHING];
    // The MAC covers all recipients: a changed one is noticed with the key of the other one too.
    assert!(matches!(world.ring().unwrap(&new.identity, &changed), Err(KeyError::Tampered { .. })));
    world.service.disable(&world.arn);
    let ring = world.ring();
    assert!(ring.unwrap(&new.identity, &changed).is_err());
    assert_eq!(ring.unwrap(&new.identity, &slots(&new)).unwrap().commitment, new.keys.commitment);
}

#[test]
fn a_domain_is_closed_only_when_no_recipient_may_be_used() {
    let (world, second) = world_with_two();
    let ring = world.ring();
    let new = ring.new_file(world.root).unwrap();
    world.service.disable(&world.arn);
    assert!(ring.poll_usability().is_empty());
    assert!(
        matches!(ring.unwrap_fresh(&new.identity, &slots(&new)), Ok(keys) if keys.commitment == new.keys.commitment)
    );
    world.service.disable(&second);
    assert_eq!(ring.poll_usability(), [world.root]);
    assert!(matches!(ring.unwrap(&new.identity, &slots(&new)), Err(KeyError::Unusable { .. })));
}

#[test]
fn rewrap_changes_recipients_while_the_first_one_is_lost() {
    let (world, second) = world_with_two();
    let third = world.service.new_key();
    let new = world.ring().new_file(world.root).unwrap();
    world.service.disable(&world.arn);
    let ring = world.ring();
    let summary = ring.begin_rewrap(world.root, &change(None, &[&third], &[&world.arn], None)).unwrap();
    assert_eq!(summary.keys, [second.clone(), third.clone(), world.arn.clone()]);
    assert_eq!(summary.recipients, 2);
    let moved = ring.rewrap_slot(&new.identity, &slots(&new)).unwrap();
    assert_eq!(moved.slot.recipients.len(), 2);
    let only = [NOTHING, Some(moved.slot)];
    assert_eq!(ring.current_place(&new.identity, &only).unwrap(), Some(1));
    ring.finish_rewrap(world.root).unwrap();
    for lost in [&second, &third] {
        world.service.disable(lost);
        assert_eq!(world.ring().unwrap(&new.identity, &only).unwrap().commitment, new.keys.commitment);
        world.service.enable(lost);
    }
    let last = ring.begin_rewrap(world.root, &change(None, &[], &[&second, &third], None));
    assert!(matches!(last, Err(KeyError::LastRecipient(_))));
    let unknown = ring.begin_rewrap(world.root, &change(None, &[], &[&world.arn], None));
    assert!(matches!(unknown, Err(KeyError::NotARecipient(_))));
    // A key may take the place of all.
    let alone = change(Some(&third), &[], &[&second, &third], None);
    assert_eq!(ring.begin_rewrap(world.root, &alone).unwrap().recipients, 1);
}

#[test]
fn a_domain_key_costs_one_call_and_obeys_the_fence() {
    let world = World::new();
    let tier = change(None, &[], &[], Some(KeyTier::Domain));
    assert_eq!(world.ring().begin_rewrap(world.root, &tier).unwrap().tier, KeyTier::Domain);
    let ring = world.ring();
    let (generated, decrypts) = (world.service.generated.load(Ordering::SeqCst), world.service.decrypts());
    let files: Vec<_> = (0..50).map(|_| ring.new_file(world.root).unwrap()).collect();
    assert_eq!(world.service.generated.load(Ordering::SeqCst), generated);
    assert_eq!(world.service.decrypts(), decrypts + 1, "the domain key itself");
    let other = world.ring();
    let before = world.service.decrypts();
    for file in &files {
        assert_eq!(other.unwrap(&file.identity, &slots(file)).unwrap().commitment, file.keys.commitment);
    }
    assert_eq!(world.service.decrypts(), before + 1);
    // A wrap is bound to its file.
    let swapped = Identity { file_id: files[1].identity.file_id, ..files[0].identity };
    assert!(matches!(other.unwrap_fresh(&swapped, &slots(&files[0])), Err(KeyError::Tampered { .. })));
    world.service.disable(&world.arn);
    assert_eq!(other.poll_usability(), [world.root]);
    assert!(other.unwrap(&files[0].identity, &slots(&files[0])).is_err());
    assert!(other.unwrap_fresh(&files[0].identity, &slots(&files[0])).is_err());
}

#[test]
fn a_rewrap_makes_a_new_domain_key_and_the_former_one_goes_at_its_end() {
    let world = World::new();
    let ring = world.ring();
    let by_kms = ring.new_file(world.root).unwrap();
    ring.begin_rewrap(world.root, &change(None, &[], &[], Some(KeyTier::Domain))).unwrap();
    let first = ring.rewrap_slot(&by_kms.identity, &slots(&by_kms)).unwrap();
    let first = [NOTHING, Some(first.slot)];
    let second = ring.begin_rewrap(world.root, &RecipientChange::default()).unwrap();
    assert!(second.has_former());
    assert_eq!(ring.current_place(&by_kms.identity, &first).unwrap(), None);
    let moved = ring.rewrap_slot(&by_kms.identity, &first).unwrap();
    let moved = [Some(moved.slot), NOTHING];
    assert_eq!(ring.current_place(&by_kms.identity, &moved).unwrap(), Some(0));
    assert!(!ring.finish_rewrap(world.root).unwrap().has_former());
    let fresh = world.ring();
    assert_eq!(fresh.unwrap(&by_kms.identity, &moved).unwrap().commitment, by_kms.keys.commitment);
    assert!(fresh.unwrap_fresh(&by_kms.identity, &first).is_err(), "its domain key is gone");
    let back = ring.begin_rewrap(world.root, &change(None, &[], &[], Some(KeyTier::Kms))).unwrap();
    assert_eq!(back.tier, KeyTier::Kms);
    let last = ring.rewrap_slot(&by_kms.identity, &moved).unwrap();
    assert_eq!(last.slot.recipients[0].key_id, key_id_of(&world.arn));
}
