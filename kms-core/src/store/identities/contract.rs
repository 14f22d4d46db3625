//! What every store promises about users and access keys.

use super::*;
use crate::model::Plaintext;
use crate::store::contract::Fixture;
use crate::store::{read, write};

fn user(name: &str) -> UserRecord {
    let policies = BTreeMap::from([("p".to_owned(), "{}".to_owned())]);
    UserRecord { name: name.parse().expect("valid"), creation_date: Timestamp::from_millis(1), policies }
}

fn access_key(number: u8, user: &UserRecord) -> (AccessKey, SecretAccessKey) {
    let key = AccessKey {
        access_key_id: AccessKeyId::of_random(&[number; AccessKeyId::RANDOM_LEN]),
        user: user.name.clone(),
        creation_date: Timestamp::from_millis(i64::from(number)),
    };
    (key, SecretAccessKey::new(Plaintext::new(vec![b'a' + number; 40])))
}

pub(in crate::store) fn users_and_access_keys_round_trip((store, _dir): Fixture) {
    let (alice, bob) = (user("alice"), user("bob"));
    let keys = [access_key(1, &bob), access_key(2, &alice), access_key(3, &bob)];
    write(&*store, |tx| {
        tx.put_user(&bob)?;
        tx.put_user(&alice)?;
        keys.iter().try_for_each(|(key, secret)| Ok(tx.put_access_key(key, secret)?))
    })
    .expect("writes");
    read(&*store, |tx| {
        assert_eq!(tx.list_users()?, [alice.clone(), bob.clone()]);
        assert_eq!(tx.user(&"carol".parse()?)?, None);
        assert_eq!(tx.list_access_keys(&bob.name)?, [keys[0].0.clone(), keys[2].0.clone()]);
        let (key, secret) = tx.access_key(&keys[1].0.access_key_id)?.expect("there");
        assert_eq!((&key, secret.expose()), (&keys[1].0, keys[1].1.expose()));
        Ok(())
    })
    .expect("reads");
    write(&*store, |tx| Ok(tx.erase_access_key(&keys[1].0.access_key_id)?)).expect("erases");
    write(&*store, |tx| Ok(tx.delete_user(&alice.name)?)).expect("deletes");
    assert_eq!(store.scrub(), Ok(true));
    read(&*store, |tx| {
        assert!(tx.access_key(&keys[1].0.access_key_id)?.is_none());
        assert_eq!(tx.list_users()?, std::slice::from_ref(&bob));
        Ok(())
    })
    .expect("reads");
}

pub(in crate::store) fn an_access_key_needs_its_user((store, _dir): Fixture) {
    let alice = user("alice");
    let (key, secret) = access_key(1, &alice);
    assert!(write(&*store, |tx| Ok(tx.put_access_key(&key, &secret)?)).is_err());
    write(&*store, |tx| {
        tx.put_user(&alice)?;
        Ok(tx.put_access_key(&key, &secret)?)
    })
    .expect("writes");
    assert!(write(&*store, |tx| Ok(tx.delete_user(&alice.name)?)).is_err());
}
