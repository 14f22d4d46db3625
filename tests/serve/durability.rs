//! What was acknowledged is there after the server was killed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::client::Client;
use crate::server::Keystore;

const WRITERS: usize = 4;
const ROUNDS: usize = 4;

/// What one writer was told.
#[derive(Default)]
struct Acknowledged {
    /// Keys with their aliases, where those were acknowledged too.
    keys: Vec<(String, Option<String>)>,
    disabled: Vec<String>,
}

/// Changes one thing after the other until the connection breaks.
fn write_until_it_breaks(mut client: Client, name: &str, count: &AtomicUsize) -> Acknowledged {
    let mut told = Acknowledged::default();
    for number in 0.. {
        let Ok(answer) = client.call("CreateKey", &json!({"Description": name})) else { break };
        assert_eq!(answer.status, 200, "{answer:?}");
        let key = answer.json()["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        told.keys.push((key.clone(), None));
        let alias = format!("alias/{name}-{number}");
        let Ok(answer) = client.call("CreateAlias", &json!({"AliasName": alias, "TargetKeyId": key})) else {
            break;
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        if let Some(last) = told.keys.last_mut() {
            last.1 = Some(alias);
        }
        let Ok(answer) = client.call("DisableKey", &json!({"KeyId": key})) else { break };
        assert_eq!(answer.status, 200, "{answer:?}");
        told.disabled.push(key);
        count.fetch_add(1, Ordering::Relaxed);
    }
    told
}

#[test]
fn nothing_that_was_acknowledged_is_lost_by_a_kill() {
    let keystore = Keystore::new();
    for round in 0..ROUNDS {
        let mut server = keystore.serve(&[]);
        let count = AtomicUsize::new(0);
        let told: Vec<Acknowledged> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let client = keystore.client(&server);
                    let count = &count;
                    scope.spawn(move || write_until_it_breaks(client, &format!("r{round}-w{writer}"), count))
                })
                .collect();
            // Not before something was acknowledged, and then in the middle of something.
            while count.load(Ordering::Relaxed) < 10 + round * 7 {
                std::thread::sleep(Duration::from_millis(1));
            }
            server.kill();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let server = keystore.serve(&[]);
        let mut client = keystore.client(&server);
        for acknowledged in &told {
            for (key, alias) in &acknowledged.keys {
                let name = alias.as_ref().unwrap_or(key);
                let found = client.call("DescribeKey", &json!({ "KeyId": name })).unwrap().json();
                assert_eq!(found["KeyMetadata"]["KeyId"], key.as_str(), "{name}");
            }
            for key in &acknowledged.disabled {
                let found = client.call("DescribeKey", &json!({ "KeyId": key })).unwrap().json();
                assert_eq!(found["KeyMetadata"]["KeyState"], "Disabled", "{key}");
            }
        }
    }
}
