//! Key slots: their MAC, the order in which they are tried, and which of them a rewrap replaces.

use super::domain_key::current_domain_key;
use super::record::{recipients, unix_seconds};
use crate::crypto::FileKeys;
use crate::format::{DomainRecord, FormatError, Identity, KeySlot, Recipient, RecipientKind};

/// A data key under the domain's present KMS keys, ready to be stored.
#[derive(Debug)]
pub struct SlotRewrap {
    /// The new slot, authenticated; its wrap has been proven by unwrapping it.
    pub slot: KeySlot,
    /// Which of the two places the new slot goes to.
    pub place: usize,
    /// The place of the slot that it replaces; to be scrubbed once the new one is durable.
    pub replaced: usize,
}

/// Puts the MAC into `slot`.
pub(super) fn authenticate(
    identity: &Identity,
    slot: &mut KeySlot,
    keys: &FileKeys,
) -> Result<(), FormatError> {
    slot.mac = keys.header.mac32(&[&identity.encode(), &slot.mac_input()?]);
    Ok(())
}

/// Whether `slot` commits to `keys` and carries their MAC over itself and `identity`.
pub(super) fn is_authentic(identity: &Identity, slot: &KeySlot, keys: &FileKeys) -> bool {
    let Ok(input) = slot.mac_input() else { return false };
    slot.commitment == keys.commitment && keys.header.verify(&[&identity.encode(), &input], &slot.mac)
}

/// What is to stand in the place of `old`, wrapped for `recipients`; `None` if `old` does not carry the MAC of `keys`.
/// `generation` is the highest one of the file.
pub(super) fn replacing(
    identity: &Identity,
    old: &KeySlot,
    replaced: usize,
    generation: u64,
    recipients: Vec<Recipient>,
    keys: &FileKeys,
) -> Result<Option<SlotRewrap>, FormatError> {
    if !is_authentic(identity, old, keys) {
        return Ok(None);
    }
    let commitment = keys.commitment;
    let mut slot =
        KeySlot { generation: generation + 1, time: unix_seconds(), commitment, recipients, mac: [0; 32] };
    authenticate(identity, &mut slot, keys)?;
    Ok(Some(SlotRewrap { slot, place: 1 - replaced, replaced }))
}

/// The sound slots with their places, the highest generation first.
pub(super) fn by_generation(slots: &[Option<KeySlot>; 2]) -> Vec<(usize, &KeySlot)> {
    let mut sound: Vec<(usize, &KeySlot)> =
        slots.iter().enumerate().filter_map(|(place, slot)| Some((place, slot.as_ref()?))).collect();
    sound.sort_by_key(|(_, slot)| std::cmp::Reverse(slot.generation));
    sound
}

/// Whether `slot` is wrapped for the recipients of `record` in its present epoch, and for nobody else.
pub(super) fn is_current(record: &DomainRecord, slot: &KeySlot) -> bool {
    if let Some(id) = current_domain_key(record) {
        let [wrap] = slot.recipients.as_slice() else { return false };
        return wrap.kind == RecipientKind::DomainKey && wrap.epoch == record.epoch && wrap.key_id == id;
    }
    let wanted: Vec<[u8; 16]> = recipients(record).map(|key| key.key_id).collect();
    let present = slot.recipients.iter().all(|recipient| {
        recipient.kind == RecipientKind::Kms
            && recipient.epoch == record.epoch
            && wanted.contains(&recipient.key_id)
    });
    present && slot.recipients.len() == wanted.len()
}
