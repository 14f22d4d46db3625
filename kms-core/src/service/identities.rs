//! Users and access keys: who calls a served keystore. Whoever can open the keystore manages them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Core, EmbeddedKms};
use crate::error::KmsError;
use crate::model::{AccessKey, AccessKeyId, Caller, Plaintext, Principal, SecretAccessKey, UserName};
use crate::seal::fill_random;
use crate::store::{self, ReadTx, UserRecord};

/// The most access keys of one user: one in use, and one to change to.
const MAX_ACCESS_KEYS: usize = 2;
/// The random bytes of a secret access key, which is their base64.
const SECRET_LEN: usize = 30;

/// An access key as a signature is verified with it.
#[derive(Debug)]
pub struct Credential {
    /// What the request was signed with.
    pub secret: SecretAccessKey,
    /// Who signed it.
    pub caller: Caller,
}

/// Manages users and access keys. See [`EmbeddedKms::identities`].
#[derive(Debug)]
pub struct Identities<'a>(&'a EmbeddedKms);

impl EmbeddedKms {
    /// The users and access keys of this service.
    pub fn identities(&self) -> Identities<'_> {
        Identities(self)
    }
}

impl Identities<'_> {
    fn core(&self) -> &Core {
        &self.0.core
    }

    /// Makes a user.
    pub fn create_user(&self, name: &UserName) -> Result<UserRecord, KmsError> {
        let record = UserRecord { name: name.clone(), creation_date: self.core().now() };
        store::write(&*self.core().store, |tx| {
            if tx.user(name)?.is_some() {
                return Err(KmsError::AlreadyExists(format!("User with name {name} already exists.")));
            }
            tx.put_user(&record)?;
            Ok(record.clone())
        })
    }

    /// All users in the order of their names.
    pub fn list_users(&self) -> Result<Vec<UserRecord>, KmsError> {
        store::read(&*self.core().store, |tx| Ok(tx.list_users()?))
    }

    /// Removes a user who has no access keys.
    pub fn delete_user(&self, name: &UserName) -> Result<(), KmsError> {
        store::write(&*self.core().store, |tx| {
            known_user(tx, name)?;
            if !tx.list_access_keys(name)?.is_empty() {
                return Err(KmsError::Conflict(
                    "Cannot delete entity, must delete access keys first.".into(),
                ));
            }
            Ok(tx.delete_user(name)?)
        })
    }

    /// Makes an access key. Its secret is returned this once.
    pub fn create_access_key(&self, user: &UserName) -> Result<(AccessKey, SecretAccessKey), KmsError> {
        let mut random = [0; AccessKeyId::RANDOM_LEN];
        fill_random(&mut random).map_err(|error| KmsError::Internal(error.to_string()))?;
        let key = AccessKey {
            access_key_id: AccessKeyId::of_random(&random),
            user: user.clone(),
            creation_date: self.core().now(),
        };
        let secret = fresh_secret()?;
        store::write(&*self.core().store, |tx| {
            known_user(tx, user)?;
            if tx.list_access_keys(user)?.len() >= MAX_ACCESS_KEYS {
                return Err(KmsError::LimitExceeded(format!(
                    "Cannot exceed quota for AccessKeysPerUser: {MAX_ACCESS_KEYS}"
                )));
            }
            Ok(tx.put_access_key(&key, &secret)?)
        })?;
        Ok((key, secret))
    }

    /// The access keys of a user, without their secrets.
    pub fn list_access_keys(&self, user: &UserName) -> Result<Vec<AccessKey>, KmsError> {
        store::read(&*self.core().store, |tx| {
            known_user(tx, user)?;
            Ok(tx.list_access_keys(user)?)
        })
    }

    /// Deletes an access key of a user. From then on nothing that is signed with it is accepted, and its secret is
    /// overwritten in the store.
    pub fn delete_access_key(&self, user: &UserName, id: &AccessKeyId) -> Result<(), KmsError> {
        store::write(&*self.core().store, |tx| {
            known_user(tx, user)?;
            match tx.access_key(id)? {
                Some((key, _)) if key.user == *user => Ok(tx.erase_access_key(id)?),
                _ => Err(KmsError::NotFound(format!("The Access Key with id {id} cannot be found."))),
            }
        })?;
        self.core().store.scrub()?;
        Ok(())
    }

    /// What a request with this access key is verified with; `None` if there is no such key.
    pub fn credential(&self, id: &str) -> Result<Option<Arc<Credential>>, KmsError> {
        let Ok(id) = id.parse::<AccessKeyId>() else { return Ok(None) };
        let core = self.core();
        let counter = core.store.change_counter()?;
        if let Some(credential) = core.credentials.get(counter, &id) {
            return Ok(Some(credential));
        }
        let Some((key, secret)) = store::read(&*core.store, |tx| Ok(tx.access_key(&id)?))? else {
            return Ok(None);
        };
        let account = core.realm.account.clone();
        let principal = Principal::user(&account, key.user.as_str());
        let caller = Caller { principal, account, via_service: None, source_ip: None };
        let credential = Arc::new(Credential { secret, caller });
        core.credentials.keep(counter, id, &credential);
        Ok(Some(credential))
    }
}

fn known_user(tx: &(impl ReadTx + ?Sized), name: &UserName) -> Result<UserRecord, KmsError> {
    tx.user(name)?.ok_or_else(|| KmsError::NotFound(format!("The user with name {name} cannot be found.")))
}

fn fresh_secret() -> Result<SecretAccessKey, KmsError> {
    let mut random = Zeroizing::new([0; SECRET_LEN]);
    fill_random(&mut random[..]).map_err(|error| KmsError::Internal(error.to_string()))?;
    Ok(SecretAccessKey::new(Plaintext::new(STANDARD.encode(&random[..]).into_bytes())))
}

/// Credentials that were read at one value of the store's change counter: a key that any process deletes is refused by
/// the next request.
#[derive(Default)]
pub(super) struct CredentialCache {
    entries: RwLock<(u64, HashMap<AccessKeyId, Arc<Credential>>)>,
}

impl CredentialCache {
    fn get(&self, counter: u64, id: &AccessKeyId) -> Option<Arc<Credential>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        (entries.0 == counter).then(|| entries.1.get(id).cloned()).flatten()
    }

    /// Only keys that exist are kept, so strangers cannot fill the cache.
    fn keep(&self, counter: u64, id: AccessKeyId, credential: &Arc<Credential>) {
        self.sync(counter);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.0 == counter {
            entries.1.insert(id, Arc::clone(credential));
        }
    }

    /// Wipes what was read at another value of the counter.
    pub(super) fn sync(&self, counter: u64) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.0 != counter {
            *entries = (counter, HashMap::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        text.parse().expect("valid")
    }

    #[test]
    fn an_access_key_lives_until_it_is_deleted() {
        let service = EmbeddedKms::in_memory().expect("starts");
        let identities = service.identities();
        let alice = name("alice");
        assert!(matches!(identities.create_access_key(&alice), Err(KmsError::NotFound(_))));
        identities.create_user(&alice).expect("made");
        assert!(matches!(identities.create_user(&alice), Err(KmsError::AlreadyExists(_))));
        let (key, secret) = identities.create_access_key(&alice).expect("made");
        let found = identities.credential(key.access_key_id.as_str()).expect("reads").expect("known");
        assert_eq!(found.secret.expose(), secret.expose());
        assert_eq!(secret.expose().len(), 40);
        assert_eq!(found.caller.principal.as_str(), "arn:aws:iam::000000000000:user/alice");
        assert!(!format!("{found:?} {secret:?}").contains(secret.expose()));
        assert!(matches!(identities.delete_user(&alice), Err(KmsError::Conflict(_))));
        identities.delete_access_key(&alice, &key.access_key_id).expect("deleted");
        assert!(identities.credential(key.access_key_id.as_str()).expect("reads").is_none());
        identities.delete_user(&alice).expect("deleted");
        assert_eq!(identities.list_users(), Ok(Vec::new()));
    }

    #[test]
    fn a_user_has_two_access_keys_at_most_and_only_its_own() {
        let service = EmbeddedKms::in_memory().expect("starts");
        let identities = service.identities();
        let (alice, bob) = (name("alice"), name("bob"));
        identities.create_user(&alice).expect("made");
        identities.create_user(&bob).expect("made");
        let (first, _) = identities.create_access_key(&alice).expect("made");
        identities.create_access_key(&alice).expect("made");
        assert!(matches!(identities.create_access_key(&alice), Err(KmsError::LimitExceeded(_))));
        assert_eq!(identities.list_access_keys(&alice).expect("lists").len(), 2);
        assert!(matches!(
            identities.delete_access_key(&bob, &first.access_key_id),
            Err(KmsError::NotFound(_))
        ));
    }
}
