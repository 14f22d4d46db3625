//! Many wraps moved with two calls to their service.

use std::collections::HashMap;

use kms_core::model::{CiphertextBlob, DecryptRequest, ReEncryptRequest};

use super::domain_key::current_domain_key;
use super::place::Connection;
use super::record::recipients;
use super::wrapper::{Subject, Wrapper, derive, parse_key, recipient};
use super::{KeyError, KeyRing, SlotRewrap, slot};
use crate::crypto::{DataKey, FileKeys, SecretKey};
use crate::format::{DomainId, DomainRecord, Identity, KeySlot, Recipient};

/// The slots of a file, to be rewrapped together with those of others.
pub type FileSlots<'a> = (Identity, &'a [Option<KeySlot>; 2]);

impl Wrapper {
    /// Moves the wraps of slots of one domain together, and proves each new one by unwrapping it. `None` where that takes
    /// more than a re-encryption within one service, or where anything is wrong: [`Self::move_slot`] does those one by
    /// one, and says what it is.
    fn move_slots(
        &self,
        record: &DomainRecord,
        slots: &[(Identity, &KeySlot)],
    ) -> Vec<Option<(Recipient, FileKeys)>> {
        let mut moved: Vec<_> = slots.iter().map(|_| None).collect();
        let targets: Vec<_> = recipients(record).collect();
        let ([target], None) = (targets.as_slice(), current_domain_key(record)) else { return moved };
        let connected = self.connect_to(target, Subject::Domain(record.domain_id));
        let (Ok(Connection { service, caller }), Ok(key)) = (connected, parse_key(&target.arn)) else {
            return moved;
        };
        let (mut sent, mut requests) = (Vec::new(), Vec::new());
        for (index, (identity, slot)) in slots.iter().enumerate() {
            let Some((wrap, source)) = self.within_service(record, slot) else { continue };
            let Ok(source_key) = parse_key(&source.arn) else { continue };
            let blob = CiphertextBlob::from(wrap.payload.as_slice());
            let request = ReEncryptRequest::new(blob, self.file_context(identity), key.clone());
            requests.push(ReEncryptRequest { source_key_id: Some(source_key), ..request });
            sent.push((index, &source.arn));
        }
        let answers = service.re_encrypt_many(&caller, &requests);
        let (mut wrapped, mut opens) = (Vec::new(), Vec::new());
        for ((index, source), answer) in sent.into_iter().zip(answers) {
            let right = |one: &kms_core::model::ReEncryptResponse| {
                one.source_key_id.as_str() == source && one.key_id.as_str() == target.arn
            };
            let Some(answer) = answer.ok().filter(right) else { continue };
            let context = self.file_context(&slots[index].0);
            opens.push(DecryptRequest::new(answer.ciphertext_blob.clone(), context).with_key(key.clone()));
            wrapped.push((index, answer.ciphertext_blob.into_bytes()));
        }
        let opened = service.decrypt_many(&caller, &opens);
        for ((index, payload), opened) in wrapped.into_iter().zip(opened) {
            let (identity, slot) = &slots[index];
            let opened = opened.ok().filter(|one| one.key_id.as_str() == target.arn);
            let secret = opened.and_then(|one| SecretKey::from_slice(one.plaintext.expose()));
            let Some(secret) = secret else { continue };
            let keys = derive(&DataKey::new(secret), identity);
            if keys.commitment == slot.commitment {
                moved[index] = Some((recipient(record, target, payload), keys));
            }
        }
        moved
    }
}

impl KeyRing {
    /// [`Self::rewrap_slot`] for many files: one outcome for each, in order. Where the service takes many requests in one,
    /// the files of a domain cost two calls together.
    pub fn rewrap_slots(&self, files: &[FileSlots<'_>]) -> Vec<Result<SlotRewrap, KeyError>> {
        let mut by_domain: HashMap<DomainId, Vec<usize>> = HashMap::new();
        for (index, (identity, _)) in files.iter().enumerate() {
            by_domain.entry(identity.domain_id).or_default().push(index);
        }
        let mut done: Vec<Option<SlotRewrap>> = files.iter().map(|_| None).collect();
        for (domain, members) in by_domain.into_iter().filter(|(_, members)| members.len() > 1) {
            // What keeps the domain from being opened is told for each file below.
            let Ok((record, _)) = self.shared.open_id(domain) else { continue };
            let newest = |index: &usize| {
                let (identity, slots) = files[*index];
                Some((*index, identity, slot::by_generation(slots).into_iter().next()?))
            };
            let chosen: Vec<(usize, Identity, (usize, &KeySlot))> =
                members.iter().filter_map(newest).collect();
            let slots: Vec<(Identity, &KeySlot)> =
                chosen.iter().map(|(_, identity, (_, slot))| (*identity, *slot)).collect();
            let moved = self.shared.wrapper.move_slots(&record, &slots);
            for ((index, identity, (replaced, old)), moved) in chosen.into_iter().zip(moved) {
                let Some((recipient, keys)) = moved else { continue };
                let made = slot::replacing(&identity, old, replaced, old.generation, vec![recipient], &keys);
                done[index] = made.ok().flatten();
            }
        }
        let one_by_one = |(done, (identity, slots)): (Option<SlotRewrap>, &FileSlots<'_>)| {
            done.map_or_else(|| self.rewrap_slot(identity, slots), Ok)
        };
        done.into_iter().zip(files).map(one_by_one).collect()
    }
}
