//! What is signed wrong is refused, with the code that clients know, and whoever signs right is believed.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::client::{Client, Headers, Signer};
use crate::server::Keystore;

const BODY: &[u8] = b"{}";

fn refused(client: &mut Client, headers: &Headers, body: &[u8]) -> String {
    let answer = client.send("POST", "/", headers, body).unwrap();
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.header("x-amzn-requestid").is_some());
    answer.code()
}

fn replaced(headers: &Headers, name: &str, change: impl Fn(&str) -> String) -> Headers {
    let pair = |(other, value): &(String, String)| {
        let value = if other == name { change(value) } else { value.clone() };
        (other.clone(), value)
    };
    headers.iter().map(pair).collect()
}

fn without(headers: &Headers, name: &str) -> Headers {
    headers.iter().filter(|(other, _)| other != name).cloned().collect()
}

/// Headers whose signature cannot even be checked.
fn malformed(good: &Headers) -> Vec<Headers> {
    let authorization = |change: &dyn Fn(&str) -> String| replaced(good, "authorization", change);
    let mut all: Vec<Headers> =
        ["", "Basic eDp5", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 a,b=,=c", "AWS4-HMAC-SHA512 a=b"]
            .map(|text| authorization(&|_| text.to_owned()))
            .into();
    all.extend(
        ["Credential", "SignedHeaders", "Signature"]
            .map(|part| authorization(&|value| value.replace(part, "X"))),
    );
    all.push(authorization(&|value| value.replace("/aws4_request", "")));
    all.push(without(good, "x-amz-date"));
    let dates = ["2026-11-25", "20261125T000000", "20261399T000000Z", "20261125T0000\u{e9}Z"];
    all.extend(dates.map(|date| replaced(good, "x-amz-date", |_| date.to_owned())));
    all
}

/// Headers that are in order, with the signature of something else.
fn forged(good: &Headers) -> Vec<Headers> {
    let authorization = |change: &dyn Fn(&str) -> String| replaced(good, "authorization", change);
    let mut unsigned = good.clone();
    unsigned.push(("x-amz-extra".into(), "1".into()));
    let other_digit = |value: &str| {
        let (front, last) = value.split_at(value.len() - 1);
        format!("{front}{}", if last == "0" { "1" } else { "0" })
    };
    vec![
        replaced(good, "x-amz-target", |_| "TrentService.CreateKey".into()),
        unsigned,
        authorization(&|value| value.replace(";host", "")),
        authorization(&|value| value.replace(";x-amz-target", "")),
        authorization(&|value| value.replace(";host", ";host;no-such-header")),
        authorization(&|value| value.replace("aws4_request", "aws5_request")),
        authorization(&other_digit),
        authorization(&|value| value.split("Signature=").next().unwrap().to_owned() + "Signature="),
    ]
}

#[test]
fn every_way_to_sign_wrong_has_its_code() {
    let keystore = Keystore::new();
    let server = keystore.serve(&[]);
    let mut client = keystore.client(&server);
    let (signer, host) = (keystore.signer.clone(), client.host.clone());
    let good = signer.headers(&host, "ListKeys", BODY);
    assert_eq!(client.send("POST", "/", &good, BODY).unwrap().status, 200);

    let code = refused(&mut client, &without(&good, "authorization"), BODY);
    assert_eq!(code, "MissingAuthenticationTokenException");
    for headers in malformed(&good) {
        assert_eq!(refused(&mut client, &headers, BODY), "IncompleteSignatureException", "{headers:?}");
    }
    let by = |signer: Signer| signer.headers(&host, "ListKeys", BODY);
    let others = [
        by(Signer { secret: "x".repeat(40), ..signer.clone() }),
        by(Signer { region: "eu-test-2".into(), ..signer.clone() }),
        by(Signer { service: "sts".into(), ..signer.clone() }),
    ];
    for headers in forged(&good).iter().chain(&others) {
        assert_eq!(refused(&mut client, headers, BODY), "InvalidSignatureException", "{headers:?}");
    }
    assert_eq!(refused(&mut client, &good, b"{ }"), "InvalidSignatureException");
    for access_key_id in ["AKIAAAAAAAAAAAAAAAAA", "nobody", ""] {
        let stranger = by(Signer { access_key_id: access_key_id.into(), ..signer.clone() });
        assert_eq!(refused(&mut client, &stranger, BODY), "UnrecognizedClientException", "{access_key_id}");
    }
    let mut session = good.clone();
    session.retain(|(name, _)| !matches!(name.as_str(), "authorization" | "x-amz-date"));
    session.push(("x-amz-security-token".into(), "token".into()));
    let signature = signer.sign(&session, BODY);
    session.extend(signature);
    assert_eq!(refused(&mut client, &session, BODY), "UnrecognizedClientException");
    let query = client.send("POST", "/?a=b", &good, BODY).unwrap();
    assert_eq!((query.status, query.code().as_str()), (400, "UnknownOperationException"));
}

#[test]
fn a_request_is_good_for_five_minutes_either_way() {
    let keystore = Keystore::new();
    let server = keystore.serve(&[]);
    let mut client = keystore.client(&server);
    let minutes = |count: u64| Duration::from_secs(count * 60);
    let now = SystemTime::now();
    for (time, status) in
        [(now - minutes(6), 400), (now - minutes(4), 200), (now + minutes(4), 200), (now + minutes(6), 400)]
    {
        client.signer.time = Some(time);
        let answer = client.call("ListKeys", &json!({})).unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 400 {
            assert_eq!(answer.code(), "InvalidSignatureException");
        }
    }
}

#[test]
fn a_deleted_access_key_is_refused_by_the_next_request() {
    let keystore = Keystore::new();
    let server = keystore.serve(&[]);
    let signer = keystore.user("alice", &["--administrator"]);
    let mut client = Client::connect(server.address, &signer).unwrap();
    assert_eq!(client.call("ListKeys", &json!({})).unwrap().status, 200);
    let listed = keystore.json(&["kms", "user", "list-access-keys", "alice"]);
    assert_eq!(listed["AccessKeyMetadata"][0]["AccessKeyId"], signer.access_key_id.as_str());
    assert!(!listed.to_string().contains(&signer.secret));
    let delete = ["kms", "user", "delete-access-key", "alice", "--access-key-id", &signer.access_key_id];
    assert!(keystore.run(&delete).status.success());
    assert_eq!(client.call("ListKeys", &json!({})).unwrap().code(), "UnrecognizedClientException");
    assert!(keystore.run(&["kms", "user", "delete", "alice"]).status.success());
}

#[test]
fn sts_tells_who_the_caller_is() {
    let keystore = Keystore::new();
    let server = keystore.serve(&[]);
    let mut client = keystore.client(&server);
    let body = b"Action=GetCallerIdentity&Version=2011-06-15";
    let mut headers: Headers = vec![
        ("host".into(), client.host.clone()),
        ("content-type".into(), "application/x-www-form-urlencoded; charset=utf-8".into()),
    ];
    let unsigned = client.send("POST", "/", &headers, body).unwrap();
    assert_eq!(unsigned.status, 403);
    assert!(String::from_utf8(unsigned.body).unwrap().contains("<Code>MissingAuthenticationToken</Code>"));
    let signature = Signer { service: "sts".into(), ..keystore.signer.clone() }.sign(&headers, body);
    headers.extend(signature);
    let answer = client.send("POST", "/", &headers, body).unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 200, "{text}");
    assert!(text.contains("<Arn>arn:aws:iam::111122223333:user/admin</Arn>"), "{text}");
}

/// Nothing that the keystore has on disk, and nothing in the arguments of the server, shows the secret.
#[test]
fn the_secret_is_nowhere_in_the_clear() {
    let keystore = Keystore::new();
    let server = keystore.serve(&[]);
    let mut client = keystore.client(&server);
    assert_eq!(client.call("ListKeys", &json!({})).unwrap().status, 200);
    let secret = keystore.signer.secret.as_bytes();
    let shows = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    let process = format!("/proc/{}", server.pid());
    for file in ["cmdline", "environ"] {
        assert!(!shows(&std::fs::read(format!("{process}/{file}")).unwrap()), "{file}");
    }
    for entry in std::fs::read_dir(keystore.path("keystore")).unwrap() {
        let path = entry.unwrap().path();
        assert!(!shows(&std::fs::read(&path).unwrap()), "{}", path.display());
    }
}
