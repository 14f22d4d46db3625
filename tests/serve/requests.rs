//! Requests at the edges: shapes, limits, paths, and the end of the server.

use std::io::Write;

use kms_core::wire;
use serde_json::{Value, json};

use crate::client::{Client, Headers, Signer};
use crate::server::{Keystore, Server};

fn admin(more: &[&str]) -> (Keystore, Server, Client) {
    let keystore = Keystore::new();
    let server = keystore.serve(more);
    let client = keystore.client(&server);
    (keystore, server, client)
}

#[test]
fn a_round_trip_over_the_wire() {
    let (_keystore, _server, mut client) = admin(&[]);
    let mut call = |operation: &str, request: Value| {
        let answer = client.call(operation, &request).unwrap();
        assert_eq!(answer.status, 200, "{operation}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.1"));
        answer.json()
    };
    let key = call("CreateKey", json!({}))["KeyMetadata"]["Arn"].clone();
    assert!(key.as_str().unwrap().starts_with("arn:aws:kms:eu-test-1:111122223333:key/"));
    assert_eq!(call("CreateAlias", json!({"AliasName": "alias/a", "TargetKeyId": key})), Value::Null);
    let context = json!({"b": "2", "a": "1"});
    let made = call(
        "GenerateDataKey",
        json!({"KeyId": "alias/a", "KeySpec": "AES_256", "EncryptionContext": context}),
    );
    let request = json!({"CiphertextBlob": made["CiphertextBlob"], "EncryptionContext": context});
    let opened = call("Decrypt", request);
    assert_eq!((&opened["Plaintext"], &opened["KeyId"]), (&made["Plaintext"], &key));
}

#[test]
fn a_batch_is_for_the_region_that_it_is_signed_for() {
    let (keystore, server, mut here) = admin(&["--regions", "us-west-2"]);
    let signer = Signer { region: "us-west-2".into(), ..keystore.signer.clone() };
    let mut there = Client::connect(server.address, &signer).unwrap();
    let key = there.call("CreateKey", &json!({})).unwrap().json()["KeyMetadata"]["KeyId"].clone();
    let wanted =
        json!({ "Items": [{ "KeyId": key, "KeySpec": "AES_256" }, { "KeyId": key, "NumberOfBytes": 8 }] });
    let made = there.call_target("KmsfsService.BatchGenerateDataKey", &wanted).unwrap().json();
    let made = made["Results"].as_array().unwrap();
    assert!(made.iter().all(|one| one["KeyId"].as_str().unwrap().starts_with("arn:aws:kms:us-west-2:")));
    let blobs: Vec<_> = made.iter().map(|one| json!({ "CiphertextBlob": one["CiphertextBlob"] })).collect();
    let blobs = json!({ "Items": blobs });
    let opened = there.call_target("KmsfsService.BatchDecrypt", &blobs).unwrap().json();
    for (opened, made) in opened["Results"].as_array().unwrap().iter().zip(made) {
        assert_eq!((&opened["Plaintext"], &opened["KeyId"]), (&made["Plaintext"], &made["KeyId"]));
    }
    for (operation, items, code) in [
        ("BatchGenerateDataKey", &wanted, "NotFoundException"),
        ("BatchDecrypt", &blobs, "AccessDeniedException"),
    ] {
        let refused = here.call_target(&format!("KmsfsService.{operation}"), items).unwrap().json();
        for one in refused["Results"].as_array().unwrap() {
            assert_eq!(one["Error"]["__type"], code, "{operation}");
        }
    }
}

/// Bodies that no operation can make sense of. Never 500, never 200, whoever the operation is.
#[test]
fn no_operation_takes_nonsense() {
    let (_keystore, _server, mut client) = admin(&[]);
    let host = client.host.clone();
    for operation in wire::operations() {
        for (body, code) in [
            ("", "SerializationException"),
            ("null", "SerializationException"),
            ("[]", "SerializationException"),
            ("{", "SerializationException"),
            ("{\"KeyId\":{}", "SerializationException"),
            ("{} {}", "SerializationException"),
        ] {
            let headers = client.signer.headers(&host, operation.name(), body.as_bytes());
            let answer = client.send("POST", "/", &headers, body.as_bytes()).unwrap();
            assert_eq!((answer.status, answer.code().as_str()), (400, code), "{} {body}", operation.name());
        }
    }
}

#[test]
fn unknown_targets_and_paths() {
    let (_keystore, _server, mut client) = admin(&[]);
    for target in ["Nothing", "", "ListKeys/", "listkeys"] {
        let answer = client.call(target, &json!({})).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (400, "UnknownOperationException"), "{target}");
    }
    let host: Headers = vec![("host".into(), client.host.clone())];
    assert_eq!(client.send("GET", "/healthz", &host, b"").unwrap().body, b"ok\n");
    assert_eq!(client.send("GET", "/", &host, b"").unwrap().status, 404);
    assert_eq!(client.send("POST", "/healthz", &host, b"").unwrap().status, 404);
    let metrics = client.send("GET", "/metrics", &host, b"").unwrap();
    let text = String::from_utf8(metrics.body).unwrap();
    let line = "kmsfs_kms_requests_total{operation=\"-\",code=\"UnknownOperationException\"} 4";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let (_keystore, _server, mut client) = admin(&[]);
    let answer = client.call("ListKeys", &json!({"Unknown": "x".repeat(400 * 1024)})).unwrap();
    assert_eq!(answer.status, 200, "a large one is not too large");
    let answer = client.call("ListKeys", &json!({"Unknown": "x".repeat(600 * 1024)})).unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (400, "SerializationException"));
}

/// Until the server has read the head of a request whose body is still to come.
fn wait_for_one_under_way(client: &mut Client) {
    let host: Headers = vec![("host".into(), client.host.clone())];
    let under_way = |client: &mut Client| {
        let metrics = client.send("GET", "/metrics", &host, b"").unwrap();
        String::from_utf8(metrics.body).unwrap().contains("kmsfs_kms_requests_in_flight 1")
    };
    while !under_way(client) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn requests_beyond_the_limit_are_told_to_slow_down() {
    let (keystore, server, mut client) = admin(&["--max-concurrent", "1"]);
    let mut slow = keystore.client(&server);
    let body = b"{}";
    let headers = slow.signer.headers(&slow.host, "ListKeys", body);
    let mut head = "POST / HTTP/1.1\r\ncontent-length: 2\r\n".to_owned();
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    slow.stream().write_all((head + "\r\n").as_bytes()).unwrap();
    wait_for_one_under_way(&mut client);
    let answer = client.call("ListKeys", &json!({})).unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (400, "ThrottlingException"));
    slow.stream().write_all(body).unwrap();
    assert_eq!(slow.receive().unwrap().status, 200);
    assert_eq!(client.call("ListKeys", &json!({})).unwrap().status, 200);
}

#[test]
fn the_clear_is_for_loopback_only() {
    let keystore = Keystore::new();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:4599"] {
        let refused = keystore.run(&["kms", "serve", "--listen", address]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8(refused.stderr).unwrap().contains("--tls-cert"));
    }
}

#[test]
fn sigterm_lets_a_request_finish() {
    let (keystore, mut server, mut client) = admin(&[]);
    let body = b"{}";
    let headers = client.signer.headers(&client.host, "ListKeys", body);
    let mut head = "POST / HTTP/1.1\r\ncontent-length: 2\r\n".to_owned();
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    client.stream().write_all((head + "\r\n{").as_bytes()).unwrap();
    wait_for_one_under_way(&mut keystore.client(&server));
    let pid = rustix::process::Pid::from_raw(server.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    client.stream().write_all(b"}").unwrap();
    assert_eq!(client.receive().unwrap().status, 200);
    assert_eq!(server.wait(), Some(0));
}
