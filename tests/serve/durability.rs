//! What was acknowledged is there after the server was killed, and nothing is half there.
//!
//! The oracle is outside: each writer applies what it asks for to a model of its own, and knows which one change was under
//! way when the connection broke. After the restart every key is as its model says, with or without that change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, Signer};
use crate::server::Keystore;

const WRITERS: usize = 4;
const ROUNDS: usize = 4;
/// Changes before each kill, so that there are more than a thousand.
const CHANGES: usize = 260;
const ABROAD: &str = "eu-west-1";

/// What a client can see of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    description: String,
    state: String,
    tags: BTreeMap<String, String>,
    rotation_days: Option<i64>,
    rotations: usize,
    aliases: BTreeSet<String>,
    grants: usize,
    policy_id: String,
    /// The rotations that the replica knows of, if there is a replica.
    replica_rotations: Option<usize>,
}

/// One change of a key: its request, and what it makes of the model.
struct Change {
    operation: &'static str,
    request: Value,
    apply: Box<dyn Fn(&mut Model) + Send>,
}

fn change(operation: &'static str, request: Value, apply: impl Fn(&mut Model) + Send + 'static) -> Change {
    Change { operation, request, apply: Box::new(apply) }
}

/// The life of a key. Several of the changes write more than one row, and those to related keys in two Regions.
fn life_of(key: &str, label: &str) -> Vec<Change> {
    let (own, text) = (json!({ "KeyId": key }), label.to_owned());
    let alias = format!("alias/{label}");
    let with = |more: Value| {
        let mut request = own.clone();
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let policy = json!({"Version": "2012-10-17", "Id": label, "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "kms:*", "Resource": "*"}]});
    let tags = json!([{"TagKey": "a", "TagValue": label}, {"TagKey": "b", "TagValue": label}]);
    let grantee = "arn:aws:iam::444455556666:user/eve";
    let (described, tagged, named, named_again) = (text.clone(), text.clone(), alias.clone(), alias.clone());
    let rotate = |model: &mut Model| {
        model.rotations += 1;
        model.replica_rotations = model.replica_rotations.map(|_| model.rotations);
    };
    vec![
        change("UpdateKeyDescription", with(json!({"Description": label})), move |model| {
            model.description.clone_from(&described);
        }),
        change("TagResource", with(json!({ "Tags": tags })), move |model| {
            model.tags = ["a", "b"].map(|name| (name.to_owned(), tagged.clone())).into();
        }),
        change("CreateAlias", json!({"AliasName": alias, "TargetKeyId": key}), move |model| {
            model.aliases.insert(named.clone());
        }),
        change("EnableKeyRotation", with(json!({"RotationPeriodInDays": 123})), |model| {
            model.rotation_days = Some(123);
        }),
        change("RotateKeyOnDemand", own.clone(), rotate),
        change("ReplicateKey", with(json!({"ReplicaRegion": ABROAD})), |model| {
            model.replica_rotations = Some(model.rotations);
        }),
        change("RotateKeyOnDemand", own.clone(), rotate),
        change(
            "CreateGrant",
            with(json!({"GranteePrincipal": grantee, "Operations": ["Decrypt"]})),
            |model| model.grants += 1,
        ),
        change("PutKeyPolicy", with(json!({"Policy": policy.to_string()})), move |model| {
            model.policy_id.clone_from(&text);
        }),
        change("DisableKey", own.clone(), |model| model.state = "Disabled".into()),
        change("UntagResource", with(json!({"TagKeys": ["a"]})), |model| {
            model.tags.remove("a");
        }),
        change("EnableKey", own.clone(), |model| model.state = "Enabled".into()),
        change("DisableKeyRotation", own.clone(), |model| model.rotation_days = None),
        change("DeleteAlias", json!({ "AliasName": alias }), move |model| {
            model.aliases.remove(&named_again);
        }),
        change("ScheduleKeyDeletion", own.clone(), |model| model.state = "PendingReplicaDeletion".into()),
        change("CancelKeyDeletion", own.clone(), |model| model.state = "Disabled".into()),
    ]
}

/// A key of a writer: what it is like, and what it is like if the change that was under way took place.
struct Known {
    key: String,
    blob: Value,
    model: Model,
    perhaps: Option<Model>,
}

/// Changes one key after the other until the connection breaks.
fn write_until_it_breaks(mut client: Client, name: &str, count: &AtomicUsize) -> Vec<Known> {
    let mut told = Vec::new();
    for number in 0.. {
        let label = format!("{name}-{number}");
        let Ok(answer) = client.call("CreateKey", &json!({"MultiRegion": true})) else { return told };
        assert_eq!(answer.status, 200, "{answer:?}");
        count.fetch_add(1, Ordering::Relaxed);
        let key = answer.json()["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        let model = Model { state: "Enabled".into(), policy_id: "key-default-1".into(), ..Model::default() };
        told.push(Known { key: key.clone(), blob: Value::Null, model, perhaps: None });
        let known = told.last_mut().unwrap();
        let Ok(sealed) = client.call("Encrypt", &json!({"KeyId": key, "Plaintext": "AAAA"})) else {
            return told;
        };
        known.blob = sealed.json()["CiphertextBlob"].clone();
        for change in life_of(&key, &label) {
            let mut changed = known.model.clone();
            (change.apply)(&mut changed);
            let Ok(answer) = client.call(change.operation, &change.request) else {
                known.perhaps = Some(changed);
                return told;
            };
            assert_eq!(answer.status, 200, "{} {answer:?}", change.operation);
            known.model = changed;
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    told
}

/// What the server says of a key.
fn observe(here: &mut Client, there: &mut Client, key: &str) -> Model {
    let own = json!({ "KeyId": key });
    let mut ask = |operation: &str| {
        let answer = here.call(operation, &own).unwrap();
        assert_eq!(answer.status, 200, "{operation} {answer:?}");
        answer.json()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let metadata = ask("DescribeKey")["KeyMetadata"].clone();
    let tags = ask("ListResourceTags")["Tags"].clone();
    let tags = tags.as_array().unwrap().iter().map(|tag| (text(&tag["TagKey"]), text(&tag["TagValue"])));
    let aliases = ask("ListAliases")["Aliases"].clone();
    let aliases = aliases.as_array().unwrap().iter().map(|alias| text(&alias["AliasName"]));
    let policy: Value = serde_json::from_str(ask("GetKeyPolicy")["Policy"].as_str().unwrap()).unwrap();
    let rotations = |answer: &Value| answer["Rotations"].as_array().unwrap().len();
    let replica = there.call("ListKeyRotations", &own).unwrap();
    let listed = metadata["MultiRegionConfiguration"]["ReplicaKeys"].as_array().unwrap().len();
    assert_eq!(replica.status == 200, listed == 1, "both Regions or none know of the replica: {replica:?}");
    Model {
        description: text(&metadata["Description"]),
        state: text(&metadata["KeyState"]),
        tags: tags.collect(),
        rotation_days: rotation_days(here, key),
        rotations: rotations(&here.call("ListKeyRotations", &own).unwrap().json()),
        aliases: aliases.collect(),
        grants: here.call("ListGrants", &own).unwrap().json()["Grants"].as_array().unwrap().len(),
        policy_id: text(&policy["Id"]),
        replica_rotations: (replica.status == 200).then(|| rotations(&replica.json())),
    }
}

/// The period, which is kept while a key waits for its deletion although it is not told then.
fn rotation_days(client: &mut Client, key: &str) -> Option<i64> {
    let status = client.call("GetKeyRotationStatus", &json!({ "KeyId": key })).unwrap().json();
    status["RotationPeriodInDays"].as_i64()
}

fn check(here: &mut Client, there: &mut Client, known: &Known) {
    let found = observe(here, there, &known.key);
    let as_told = found == known.model || known.perhaps.as_ref() == Some(&found);
    assert!(as_told, "{}: {found:?} is neither {:?} nor {:?}", known.key, known.model, known.perhaps);
    for (client, usable) in [(here, found.state == "Enabled"), (there, found.replica_rotations.is_some())] {
        if usable && !known.blob.is_null() {
            let opened = client.call("Decrypt", &json!({"CiphertextBlob": known.blob})).unwrap();
            assert_eq!(opened.json()["Plaintext"], "AAAA", "{} {opened:?}", known.key);
        }
    }
}

#[test]
fn nothing_that_was_acknowledged_is_lost_and_nothing_is_half_done_by_a_kill() {
    let keystore = Keystore::new();
    let mut total = 0;
    for round in 0..ROUNDS {
        let mut server = keystore.serve(&["--regions", ABROAD]);
        let count = AtomicUsize::new(0);
        let told: Vec<Known> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let client = keystore.client(&server);
                    let count = &count;
                    scope.spawn(move || write_until_it_breaks(client, &format!("r{round}-w{writer}"), count))
                })
                .collect();
            // In the middle of something, and not always of the same.
            while count.load(Ordering::Relaxed) < CHANGES + round * 7 {
                std::thread::sleep(Duration::from_millis(1));
            }
            server.kill();
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        total += count.load(Ordering::Relaxed);
        let server = keystore.serve(&["--regions", ABROAD]);
        let mut here = keystore.client(&server);
        let signer = Signer { region: ABROAD.into(), ..keystore.signer.clone() };
        let mut there = Client::connect(server.address, &signer).unwrap();
        told.iter().for_each(|known| check(&mut here, &mut there, known));
    }
    assert!(total > 1000, "{total}");
}
