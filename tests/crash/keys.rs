//! Keys without a key management service: derived from the file id, so that every image opens.

use std::sync::Arc;

use kmsfs::crypto::{DataKey, FileKeys, MacKey, SecretKey, random};
use kmsfs::format::{DomainId, FileId, Identity, KeySlot, Recipient, RecipientKind, VolumeId};
use kmsfs::keys::{FileKeyProvider, KeyError, NewFileKeys};

pub(crate) const VOLUME: VolumeId = VolumeId([7; 16]);
pub(crate) const DOMAIN: DomainId = DomainId([9; 16]);

pub(crate) struct LocalKeys;

fn derive(file_id: &FileId) -> Arc<FileKeys> {
    let master = MacKey::new(&SecretKey::from_slice(&[3; 32]).unwrap());
    let key = SecretKey::from_slice(&master.mac32(&[&file_id.0])).unwrap();
    Arc::new(FileKeys::derive(&DataKey::new(key), &VOLUME.0, &file_id.0))
}

impl FileKeyProvider for LocalKeys {
    fn new_file(&self, domain: DomainId) -> Result<NewFileKeys, KeyError> {
        let identity = Identity { volume_id: VOLUME, file_id: FileId(random::bytes()), domain_id: domain };
        let keys = derive(&identity.file_id);
        let payload = vec![1; 60];
        let recipient = Recipient { kind: RecipientKind::Kms, epoch: 0, key_id: [0; 16], payload };
        let commitment = keys.commitment;
        let mut slot =
            KeySlot { generation: 1, time: 0, commitment, recipients: vec![recipient], mac: [0; 32] };
        slot.mac = keys.header.mac32(&[&identity.encode(), &slot.mac_input()?]);
        Ok(NewFileKeys { identity, slot, keys })
    }

    fn unwrap(&self, identity: &Identity, slots: &[Option<KeySlot>; 2]) -> Result<Arc<FileKeys>, KeyError> {
        let keys = derive(&identity.file_id);
        let sound = |slot: &KeySlot| {
            slot.commitment == keys.commitment
                && keys.header.verify(&[&identity.encode(), &slot.mac_input().unwrap()], &slot.mac)
        };
        if slots.iter().flatten().any(sound) {
            Ok(keys)
        } else {
            Err(KeyError::Tampered { file: identity.file_id })
        }
    }

    fn check_usable(&self, _domain: DomainId) -> Result<(), KeyError> {
        Ok(())
    }
}
