//! What the server and the command line record together, and what is done to it from outside.

use serde_json::json;

use crate::server::Keystore;

#[test]
fn requests_are_recorded_with_the_ids_of_their_answers() {
    let keystore = Keystore::new();
    let server = keystore.serve(&[]);
    let mut client = keystore.client(&server);
    let made = client.call("CreateKey", &json!({})).unwrap();
    let id = made.header("x-amzn-requestid").unwrap().to_owned();
    let arn = made.json()["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    for request in [json!({}), json!({ "KeyId": "no such key" }), json!({ "KeyId": 1 })] {
        assert_eq!(client.call("DisableKey", &request).unwrap().status, 400);
    }
    let context = json!({ "tenant": "t1" });
    let request = json!({ "KeyId": arn, "KeySpec": "AES_256", "EncryptionContext": context });
    let batch = json!({ "Items": [request, { "KeyId": arn }, request] });
    let answer = client.call_target("KmsfsService.BatchGenerateDataKey", &batch).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let results = answer.json();
    assert_eq!(results["Results"][1]["Error"]["__type"], "ValidationException");
    assert!(results["Results"][2]["Plaintext"].is_string());
    let unknown = client.call_target("KmsfsService.BatchCreateKey", &batch).unwrap();
    assert_eq!(unknown.code(), "UnknownOperationException");
    // Another process: what the server still has in memory is written within half a second.
    std::thread::sleep(std::time::Duration::from_millis(700));
    let shown = keystore.json(&["--json", "kms", "audit", "show", "--principal", "admin"]);
    let told: Vec<_> = shown["Records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (one["Operation"].as_str().unwrap(), one["Outcome"].as_str().unwrap(), one["Item"].as_u64())
        })
        .collect();
    let expected = [
        ("CreateKey", "Success", None),
        ("DisableKey", "ValidationException", None),
        ("DisableKey", "NotFoundException", None),
        ("DisableKey", "SerializationException", None),
        ("GenerateDataKey", "Success", Some(0)),
        ("GenerateDataKey", "ValidationException", Some(1)),
        ("GenerateDataKey", "Success", Some(2)),
    ];
    assert_eq!(told, expected);
    let first = &shown["Records"][0];
    assert_eq!((&first["RequestId"], &first["KeyId"]), (&json!(id), &json!(arn)));
    assert_eq!(first["SourceIp"], "127.0.0.1");
    let refused = keystore.json(&["--json", "kms", "audit", "show", "--refused"]);
    assert_eq!(refused["Records"].as_array().unwrap().len(), 4);
    let with = ["--json", "kms", "audit", "show", "--encryption-context", "tenant=t1", "--key-id", &arn];
    assert_eq!(keystore.json(&with)["Records"].as_array().unwrap().len(), 2);
    let text = String::from_utf8(keystore.run(&["kms", "audit", "show", "--last", "1"]).stdout).unwrap();
    assert!(text.contains("GenerateDataKey Success") && text.contains("[tenant=t1]"), "{text}");
    assert_eq!(keystore.json(&["--json", "kms", "audit", "verify"])["Problems"], json!([]));
}

#[test]
fn a_changed_log_and_a_shorter_one_are_told() {
    let keystore = Keystore::new();
    for _ in 0..5 {
        assert!(keystore.run(&["key", "create-key"]).status.success());
    }
    let head = keystore.run(&["kms", "audit", "head"]);
    std::fs::write(keystore.path("head"), &head.stdout).unwrap();
    let log = keystore.path("keystore").join("audit.sqlite");
    let path = |name: &str| keystore.path(name).to_str().unwrap().to_owned();
    let kept = path("head");
    let verify = ["kms", "audit", "verify", "--head", &kept];
    assert!(keystore.run(&verify).status.success());
    let change = |sql: &str| {
        let before = std::fs::read(&log).unwrap();
        let output = std::process::Command::new("sqlite3").arg(&log).arg(sql).output().expect("sqlite3");
        assert!(output.status.success(), "{output:?}");
        let found = keystore.run(&verify);
        std::fs::write(&log, before).unwrap();
        for rest in ["audit.sqlite-wal", "audit.sqlite-shm"] {
            let _ = std::fs::remove_file(log.with_file_name(rest));
        }
        (found.status.code(), String::from_utf8(found.stdout).unwrap())
    };
    for (sql, told) in [
        ("DELETE FROM audit_block WHERE first = 2", "records 2 to"),
        ("DELETE FROM audit_block WHERE first >= 4", "the log ends with 4 records"),
        (
            "UPDATE audit_block SET records = cast(replace(cast(records AS TEXT), 'CreateKey', 'CreateKez') AS BLOB)
             WHERE first = 3",
            "was edited",
        ),
        ("UPDATE audit_block SET time = time + 1 WHERE first = 3", "was not written by this keystore"),
        ("UPDATE audit_head SET signature = zeroblob(64)", "the head of the log was changed"),
    ] {
        let (code, text) = change(sql);
        assert_eq!(code, Some(17), "{sql}: {text}");
        assert!(text.contains(told), "{sql}: {text}");
    }
    assert!(keystore.run(&verify).status.success(), "what was put back is whole again");
    std::fs::remove_file(&log).unwrap();
    let found = keystore.run(&verify);
    assert_eq!(found.status.code(), Some(17));
    assert!(String::from_utf8(found.stdout).unwrap().contains("the kept head knows"));
}

#[test]
fn a_required_log_that_cannot_be_written_refuses_the_request() {
    let keystore = Keystore::new();
    let configured = keystore.json(&["--json", "kms", "audit", "configure", "--mode", "required"]);
    assert_eq!(configured["Mode"], "required");
    let server = keystore.serve(&[]);
    let mut client = keystore.client(&server);
    assert_eq!(client.call("CreateKey", &json!({})).unwrap().status, 200);
    let log = keystore.path("keystore").join("audit.sqlite");
    let sql = "CREATE TRIGGER no BEFORE INSERT ON audit_block BEGIN SELECT raise(ABORT, 'no space'); END";
    let sqlite = |sql: &str| {
        let output = std::process::Command::new("sqlite3").arg(&log).arg(sql).output().expect("sqlite3");
        assert!(output.status.success(), "{output:?}");
    };
    sqlite(sql);
    let refused = client.call("GenerateRandom", &json!({ "NumberOfBytes": 16 })).unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (500, "DependencyTimeoutException"));
    assert_eq!(client.call("CreateKey", &json!({})).unwrap().code(), "DependencyTimeoutException");
    sqlite("DROP TRIGGER no");
    let listed = client.call("ListKeys", &json!({})).unwrap();
    assert_eq!(listed.json()["Keys"].as_array().unwrap().len(), 1, "nothing was made without its record");
    assert_eq!(keystore.json(&["--json", "kms", "audit", "verify"])["Problems"], json!([]));
}
