//! Users and access keys: who calls a served keystore. Whoever can open the keystore manages them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Core, EmbeddedKms};
use crate::error::KmsError;
use crate::model::{AccessKey, AccessKeyId, Caller, Plaintext, SecretAccessKey, UserName};
use crate::policy::IdentityPolicy;
use crate::seal::fill_random;
use crate::store::{self, ReadTx, UserRecord};

/// The most access keys of one user: one in use, and one to change to.
const MAX_ACCESS_KEYS: usize = 2;
/// The most bytes of all policies of one user.
const MAX_POLICIES_LEN: usize = 65_536;
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
        let creation_date = self.core().now();
        let record = UserRecord { name: name.clone(), creation_date, policies: BTreeMap::new() };
        self.core().administered("CreateUser", name.as_str(), || {
            store::write(&*self.core().store, |tx| {
                if tx.user(name)?.is_some() {
                    return Err(KmsError::AlreadyExists(format!("User with name {name} already exists.")));
                }
                tx.put_user(&record)?;
                Ok(record.clone())
            })
        })
    }

    /// All users in the order of their names.
    pub fn list_users(&self) -> Result<Vec<UserRecord>, KmsError> {
        store::read(&*self.core().store, |tx| Ok(tx.list_users()?))
    }

    /// A user.
    pub fn user(&self, name: &UserName) -> Result<UserRecord, KmsError> {
        store::read(&*self.core().store, |tx| known_user(tx, name))
    }

    /// A user as a caller, with its policies as they are now.
    pub fn caller(&self, name: &UserName) -> Result<Caller, KmsError> {
        let policies = user_policies(&self.user(name)?)?;
        Ok(Caller::local(self.core().realm.account.clone(), name.as_str()).with_policies(policies))
    }

    /// Gives a policy to a user, or replaces the one of that name.
    pub fn put_user_policy(
        &self,
        user: &UserName,
        name: &str,
        policy: &IdentityPolicy,
    ) -> Result<(), KmsError> {
        check_policy_name(name)?;
        self.change_user("PutUserPolicy", user, |record| {
            let total: usize = record.policies.values().map(String::len).sum();
            if total + policy.text().len() > MAX_POLICIES_LEN {
                return Err(KmsError::LimitExceeded(format!(
                    "Maximum policy size of {MAX_POLICIES_LEN} bytes exceeded for user {user}"
                )));
            }
            record.policies.insert(name.to_owned(), policy.text().to_owned());
            Ok(())
        })
    }

    /// Takes a policy from a user.
    pub fn delete_user_policy(&self, user: &UserName, name: &str) -> Result<(), KmsError> {
        self.change_user("DeleteUserPolicy", user, |record| match record.policies.remove(name) {
            Some(_) => Ok(()),
            None => Err(KmsError::NotFound(format!("The user policy with name {name} cannot be found."))),
        })
    }

    fn change_user(
        &self,
        operation: &str,
        name: &UserName,
        mut change: impl FnMut(&mut UserRecord) -> Result<(), KmsError>,
    ) -> Result<(), KmsError> {
        self.core().administered(operation, name.as_str(), || {
            store::write(&*self.core().store, |tx| {
                let mut record = known_user(tx, name)?;
                change(&mut record)?;
                Ok(tx.put_user(&record)?)
            })
        })
    }

    /// Removes a user who has no access keys.
    pub fn delete_user(&self, name: &UserName) -> Result<(), KmsError> {
        self.core().administered("DeleteUser", name.as_str(), || {
            store::write(&*self.core().store, |tx| {
                known_user(tx, name)?;
                if !tx.list_access_keys(name)?.is_empty() {
                    return Err(KmsError::Conflict(
                        "Cannot delete entity, must delete access keys first.".into(),
                    ));
                }
                Ok(tx.delete_user(name)?)
            })
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
        self.core().administered("CreateAccessKey", user.as_str(), || {
            store::write(&*self.core().store, |tx| {
                known_user(tx, user)?;
                if tx.list_access_keys(user)?.len() >= MAX_ACCESS_KEYS {
                    return Err(KmsError::LimitExceeded(format!(
                        "Cannot exceed quota for AccessKeysPerUser: {MAX_ACCESS_KEYS}"
                    )));
                }
                Ok(tx.put_access_key(&key, &secret)?)
            })
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
        self.core().administered("DeleteAccessKey", user.as_str(), || {
            store::write(&*self.core().store, |tx| {
                known_user(tx, user)?;
                match tx.access_key(id)? {
                    Some((key, _)) if key.user == *user => Ok(tx.erase_access_key(id)?),
                    _ => Err(KmsError::NotFound(format!("The Access Key with id {id} cannot be found."))),
                }
            })
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
        let found = store::read(&*core.store, |tx| {
            let Some((key, secret)) = tx.access_key(&id)? else { return Ok(None) };
            let user = known_user(tx, &key.user)?;
            Ok(Some((key, secret, user)))
        })?;
        let Some((key, secret, user)) = found else { return Ok(None) };
        let policies = user_policies(&user)?;
        let account = core.realm.account.clone();
        let caller = Caller::local(account, key.user.as_str()).with_policies(policies);
        let credential = Arc::new(Credential { secret, caller });
        core.credentials.keep(counter, id, &credential);
        Ok(Some(credential))
    }
}

fn known_user(tx: &(impl ReadTx + ?Sized), name: &UserName) -> Result<UserRecord, KmsError> {
    tx.user(name)?.ok_or_else(|| KmsError::NotFound(format!("The user with name {name} cannot be found.")))
}

/// The policies of a user, parsed. They were parsed before they were stored, so one that is not a policy now must not
/// be left out: it may be the one that denies.
fn user_policies(user: &UserRecord) -> Result<Vec<IdentityPolicy>, KmsError> {
    let parse = |(name, text): (&String, &String)| {
        IdentityPolicy::parse(text).map_err(|error| {
            KmsError::CorruptRecord(format!("the stored policy {name} of user {}: {error}", user.name))
        })
    };
    user.policies.iter().map(parse).collect()
}

fn check_policy_name(name: &str) -> Result<(), KmsError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    if (1..=128).contains(&name.len()) && name.bytes().all(legal) {
        return Ok(());
    }
    Err(KmsError::Validation(
        "A policy name has 1 to 128 characters, each a letter, a digit or one of +=,.@_-".into(),
    ))
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
    use crate::model::CallerPolicies;

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
    fn policies_come_with_the_credential() {
        let service = EmbeddedKms::in_memory().expect("starts");
        let identities = service.identities();
        let alice = name("alice");
        identities.create_user(&alice).expect("made");
        let (key, _) = identities.create_access_key(&alice).expect("made");
        let policies = || {
            let found = identities.credential(key.access_key_id.as_str()).expect("reads").expect("known");
            found.caller.policies.clone()
        };
        assert_eq!(policies(), CallerPolicies::Written([].into()));
        let text =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}"#;
        let policy = IdentityPolicy::parse(text).expect("a policy");
        assert!(matches!(identities.put_user_policy(&alice, "a b", &policy), Err(KmsError::Validation(_))));
        identities.put_user_policy(&alice, "all", &policy).expect("put");
        assert_eq!(policies(), CallerPolicies::Written([policy].into()));
        identities.delete_user_policy(&alice, "all").expect("deleted");
        assert_eq!(policies(), CallerPolicies::Written([].into()));
        assert!(matches!(identities.delete_user_policy(&alice, "all"), Err(KmsError::NotFound(_))));
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
