//! Several servers over one PostgreSQL database: each sees what the others change, and none of them is missed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::cluster::Cluster;
use crate::server::{Keystore, Server};

/// Within this a change by one server acts on the others; see `FRESHNESS` in kms-core.
const BOUND: Duration = Duration::from_millis(50);
const WRITERS: usize = 3;

fn ask(client: &mut Client, operation: &str, request: &Value) -> Value {
    let answer = client.call(operation, request).unwrap();
    assert_eq!(answer.status, 200, "{operation} {request}: {answer:?}");
    answer.json()
}

fn create_key(client: &mut Client) -> String {
    ask(client, "CreateKey", &json!({}))["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

#[test]
fn a_change_by_one_acts_on_the_other_within_the_bound() {
    let keystore = Keystore::in_database(&Cluster::shared().database());
    let servers = [keystore.serve(&[]), keystore.serve(&[])];
    let [mut one, mut other] = [keystore.client(&servers[0]), keystore.client(&servers[1])];
    let (key, second) = (create_key(&mut one), create_key(&mut other));
    ask(&mut one, "CreateAlias", &json!({ "AliasName": "alias/data", "TargetKeyId": key }));
    let data_key = json!({ "KeyId": "alias/data", "KeySpec": "AES_256" });
    // Something new is found at once, because nobody remembers that it was not there.
    let made = ask(&mut other, "GenerateDataKey", &data_key);
    assert!(made["KeyId"].as_str().unwrap().ends_with(&key));

    ask(&mut one, "UpdateAlias", &json!({ "AliasName": "alias/data", "TargetKeyId": second }));
    std::thread::sleep(BOUND);
    let moved = ask(&mut other, "GenerateDataKey", &data_key);
    assert!(moved["KeyId"].as_str().unwrap().ends_with(&second));

    ask(&mut one, "DisableKey", &json!({ "KeyId": key }));
    std::thread::sleep(BOUND);
    let blob = json!({ "CiphertextBlob": made["CiphertextBlob"] });
    assert_eq!(other.call("Decrypt", &blob).unwrap().code(), "DisabledException");
    ask(&mut other, "EnableKey", &json!({ "KeyId": key }));

    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" }, "Action": "kms:*", "Resource": "*" },
        { "Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*" },
    ]});
    let put = json!({ "KeyId": key, "PolicyName": "default", "Policy": policy.to_string() });
    ask(&mut one, "PutKeyPolicy", &put);
    std::thread::sleep(BOUND);
    assert_eq!(other.call("Decrypt", &blob).unwrap().code(), "AccessDeniedException");

    let delete =
        ["kms", "user", "delete-access-key", "admin", "--access-key-id", &keystore.signer.access_key_id];
    assert!(keystore.run(&delete).status.success());
    std::thread::sleep(BOUND);
    assert_eq!(one.call("ListKeys", &json!({})).unwrap().code(), "UnrecognizedClientException");
    // What both servers still have in memory is written within half a second.
    std::thread::sleep(Duration::from_millis(700));
    let verified = keystore.json(&["--json", "kms", "audit", "verify"]);
    // Three records of the user that was made, eleven requests, and the key that was deleted.
    assert_eq!((&verified["Problems"], &verified["SoundRecords"]), (&json!([]), &json!(15)), "{verified}");
}

/// What a writer was told.
#[derive(Default)]
struct Told {
    keys: Vec<String>,
    aliases: Vec<(String, String)>,
    disabled: Vec<String>,
    /// One more may have been under way when the connection broke.
    rotations: Vec<(String, usize)>,
}

/// Changes and uses keys until the connection breaks or `enough` says so.
fn write(mut client: Client, name: &str, count: &AtomicUsize, enough: impl Fn() -> bool) -> Told {
    let mut told = Told::default();
    let mut step = |told: &mut Told, number: usize| -> std::io::Result<()> {
        let mut call = |operation: &str, request: Value| {
            let answer = client.call(operation, &request)?;
            assert_eq!(answer.status, 200, "{operation}: {answer:?}");
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(answer.json())
        };
        let made = call("CreateKey", json!({ "Description": name }))?;
        let key = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        told.keys.push(key.clone());
        let alias = format!("alias/{name}-{number}");
        call("CreateAlias", json!({ "AliasName": alias, "TargetKeyId": key }))?;
        told.aliases.push((alias.clone(), key.clone()));
        let data_key = call("GenerateDataKey", json!({ "KeyId": alias, "KeySpec": "AES_256" }))?;
        told.rotations.push((key.clone(), 0));
        call("RotateKeyOnDemand", json!({ "KeyId": key }))?;
        told.rotations.last_mut().unwrap().1 += 1;
        let opened = call("Decrypt", json!({ "CiphertextBlob": data_key["CiphertextBlob"] }))?;
        assert_eq!(opened["Plaintext"], data_key["Plaintext"]);
        call("DisableKey", json!({ "KeyId": key }))?;
        told.disabled.push(key);
        Ok(())
    };
    for number in 0.. {
        if enough() || step(&mut told, number).is_err() {
            break;
        }
    }
    told
}

fn check(client: &mut Client, told: &Told) {
    for (alias, key) in &told.aliases {
        let found = ask(client, "DescribeKey", &json!({ "KeyId": alias }));
        assert_eq!(found["KeyMetadata"]["KeyId"], key.as_str(), "{alias}");
    }
    for key in &told.keys {
        let found = ask(client, "DescribeKey", &json!({ "KeyId": key }));
        let state = found["KeyMetadata"]["KeyState"].as_str().unwrap();
        if told.disabled.contains(key) {
            assert_eq!(state, "Disabled", "{key}");
        }
    }
    for (key, rotations) in &told.rotations {
        let list = ask(client, "ListKeyRotations", &json!({ "KeyId": key }));
        let found = list["Rotations"].as_array().unwrap().len();
        assert!(found == *rotations || found == rotations + 1, "{key}: {found} rotations, {rotations} told");
    }
}

/// Nothing half done: a key that is there can be used, whatever came of its last change.
fn use_keys(client: &mut Client, told: &Told) {
    for key in &told.keys {
        ask(client, "EnableKey", &json!({ "KeyId": key }));
        let made = ask(client, "GenerateDataKey", &json!({ "KeyId": key, "KeySpec": "AES_256" }));
        let opened = ask(client, "Decrypt", &json!({ "CiphertextBlob": made["CiphertextBlob"] }));
        assert_eq!(made["Plaintext"], opened["Plaintext"]);
    }
}

fn signed_writers(keystore: &Keystore, server: &Server) -> Vec<Client> {
    (0..WRITERS).map(|_| keystore.client(server)).collect()
}

#[test]
fn a_killed_server_loses_nothing_and_the_other_goes_on() {
    let keystore = Keystore::in_database(&Cluster::shared().database());
    let (mut victim, survivor) = (keystore.serve(&[]), keystore.serve(&[]));
    let (doomed, living) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let after_kill = AtomicUsize::new(usize::MAX);
    let told: Vec<Told> = std::thread::scope(|scope| {
        let mut writers = Vec::new();
        for (number, client) in signed_writers(&keystore, &victim).into_iter().enumerate() {
            let count = &doomed;
            writers.push(scope.spawn(move || write(client, &format!("victim-{number}"), count, || false)));
        }
        for (number, client) in signed_writers(&keystore, &survivor).into_iter().enumerate() {
            let (count, after) = (&living, &after_kill);
            let enough = move || count.load(Ordering::Relaxed) >= after.load(Ordering::Relaxed);
            writers.push(scope.spawn(move || write(client, &format!("survivor-{number}"), count, enough)));
        }
        while doomed.load(Ordering::Relaxed) < 60 || living.load(Ordering::Relaxed) < 60 {
            std::thread::sleep(Duration::from_millis(1));
        }
        victim.kill();
        // The survivor is not held up by what the victim had locked.
        let since = Instant::now();
        let (before, target) = (living.load(Ordering::Relaxed), living.load(Ordering::Relaxed) + 60);
        after_kill.store(target, Ordering::Relaxed);
        while living.load(Ordering::Relaxed) < target {
            let went_on = living.load(Ordering::Relaxed) - before;
            assert!(since.elapsed() < Duration::from_secs(20), "only {went_on} answers after the kill");
            std::thread::sleep(Duration::from_millis(1));
        }
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let restarted = keystore.serve(&[]);
    for server in [&survivor, &restarted] {
        let mut client = keystore.client(server);
        told.iter().for_each(|told| check(&mut client, told));
    }
    let mut client = keystore.client(&restarted);
    told.iter().for_each(|told| use_keys(&mut client, told));
    let verified = keystore.json(&["--json", "kms", "audit", "verify"]);
    assert_eq!(verified["Problems"], json!([]), "{verified}");
}

#[test]
fn a_database_that_restarts_is_waited_for() {
    let mut cluster = Cluster::start();
    let keystore = Keystore::in_database(&cluster.database());
    let server = keystore.serve(&[]);
    let mut client = keystore.client(&server);
    let key = create_key(&mut client);
    for _ in 0..2 {
        cluster.tell("restart");
        ask(&mut client, "UpdateKeyDescription", &json!({ "KeyId": key, "Description": "after" }));
        ask(&mut client, "GenerateDataKey", &json!({ "KeyId": key, "KeySpec": "AES_256" }));
    }
    cluster.tell("stop");
    let refused = client.call("DescribeKey", &json!({ "KeyId": key })).unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (500, "DependencyTimeoutException"), "{refused:?}");
    let health = client.send("GET", "/healthz", &vec![("host".into(), "h".into())], b"").unwrap();
    assert_eq!(health.status, 503);
    let refused = keystore.run(&["key", "list-keys"]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cannot connect to postgres://kms@"));
    cluster.tell("start");
    let found = ask(&mut client, "DescribeKey", &json!({ "KeyId": key }));
    assert_eq!(found["KeyMetadata"]["Description"], "after");
}

#[test]
fn an_address_that_cannot_be_used_is_told_before_a_passphrase_is_asked_for() {
    let keystore = Keystore::in_database(&Cluster::shared().database());
    for (address, told) in [
        ("postgres://u:secret@h/d", "password"),
        ("mysql://u@h/d", "postgres://USER@HOST/DATABASE"),
        ("postgres://h/d", "no user"),
    ] {
        let refused = keystore.run(&["key", "--store", address, "list-keys"]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{text}");
        assert!(text.contains(told) && !text.contains("secret"), "{text}");
    }
    let empty = Cluster::shared().database();
    let refused = keystore.run(&["key", "--store", &empty, "list-keys"]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
}
