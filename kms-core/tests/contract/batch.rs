//! Many requests in one: each has its own outcome and its own record.

use kms_core::KmsError;
use kms_core::audit::AuditRecord;
use kms_core::client::KeyService;
use kms_core::model::*;
use kms_core::service::EmbeddedKms;
use kms_core::wire::WireError;
use kms_core::wire::batch::{self, BatchItem, MAX_ITEMS};

use crate::fixture::{Fixture, context, local};

fn caller() -> Caller {
    Caller { request_id: Some(RequestId::new(uuid::Uuid::from_u64_pair(7, 7))), ..local() }
}

/// Sends a batch as a server answers it, and reads the answer as a client does.
fn send<R: BatchItem>(kms: &EmbeddedKms, requests: &[R]) -> Vec<Result<R::Response, KmsError>> {
    let operation = batch::find(R::OPERATION).expect("an operation");
    let record = |caller: &Caller, error: WireError| {
        kms.record_refusal(caller, operation.item_name(), error.code(), error.message()).expect("records");
        error
    };
    let answer = operation.call(kms, &caller(), &batch::encode(requests), record).expect("answers");
    batch::decode::<R>(&answer, requests.len()).expect("an answer to this batch")
}

#[test]
fn a_batch_does_what_its_items_do_one_by_one() {
    let fixture = Fixture::on_disk();
    let (first, second) = (fixture.create(), fixture.create());
    let contexts: Vec<_> = (0..40).map(|n| EncryptionContext::from([("file", n.to_string())])).collect();
    let requests: Vec<_> =
        contexts.iter().map(|one| GenerateDataKeyRequest::aes_256(first, one.clone())).collect();
    let made: Vec<_> = send(&fixture.kms, &requests).into_iter().map(|one| one.expect("makes")).collect();
    let moves: Vec<_> = made
        .iter()
        .zip(&contexts)
        .map(|(made, context)| ReEncryptRequest::new(made.ciphertext_blob.clone(), context.clone(), second))
        .collect();
    let moved: Vec<_> = send(&fixture.kms, &moves).into_iter().map(|one| one.expect("moves")).collect();
    let opens: Vec<_> = moved
        .iter()
        .zip(&contexts)
        .map(|(moved, context)| {
            DecryptRequest::new(moved.ciphertext_blob.clone(), context.clone()).with_key(second)
        })
        .collect();
    for ((opened, made), moved) in send(&fixture.kms, &opens).into_iter().zip(&made).zip(&moved) {
        let opened = opened.expect("opens");
        assert_eq!(opened.plaintext.expose(), made.plaintext.expose());
        assert_eq!((opened.key_id.key_id(), moved.source_key_id.key_id()), (second, first));
        assert!(opened.key_material_id.is_some() && made.key_material_id.is_some());
    }
    for (opened, made) in opens.iter().zip(&made) {
        let alone = fixture.kms.decrypt(&local(), opened).expect("opens");
        assert_eq!(alone.plaintext.expose(), made.plaintext.expose());
    }
}

#[test]
fn one_that_is_refused_keeps_no_other_from_its_answer() {
    let fixture = Fixture::on_disk();
    let (good, disabled) = (fixture.create(), fixture.create());
    let blob = fixture.encrypt(good, b"text").expect("encrypts");
    let closed = fixture.encrypt(disabled, b"text").expect("encrypts");
    fixture.disable(disabled).expect("disables");
    let requests = [
        DecryptRequest::new(blob.clone(), context()),
        DecryptRequest::new(blob.clone(), EncryptionContext::new()),
        DecryptRequest::new(CiphertextBlob(Vec::new()), context()),
        DecryptRequest::new(closed, context()),
        DecryptRequest { dry_run: true, ..DecryptRequest::new(blob.clone(), context()) },
        DecryptRequest::new(blob, context()),
    ];
    let before = records(&fixture.kms).len();
    let answers = send(&fixture.kms, &requests);
    let code = |one: &Result<DecryptResponse, KmsError>| match one {
        Ok(opened) => String::from_utf8_lossy(opened.plaintext.expose()).into_owned(),
        Err(error) => error.code().to_owned(),
    };
    let expected = [
        "text",
        "InvalidCiphertextException",
        "ValidationException",
        "DisabledException",
        "DryRunOperationException",
        "text",
    ];
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), expected);
    let told: Vec<_> = records(&fixture.kms).split_off(before);
    let outcomes: Vec<_> = told.iter().map(|one| (one.item, one.outcome.as_str())).collect();
    let expected = expected.map(|outcome| if outcome == "text" { AuditRecord::SUCCESS } else { outcome });
    let expected: Vec<_> = (0_u32..).map(Some).zip(expected).collect();
    assert_eq!(outcomes, expected);
    assert!(told.iter().all(|one| one.operation == "Decrypt" && one.request_id == told[0].request_id));
}

fn records(kms: &EmbeddedKms) -> Vec<AuditRecord> {
    let all = kms.audit().expect("a log").records(usize::MAX, |_| true).expect("reads");
    all.into_iter().map(|(_, record)| record).collect()
}

#[test]
fn what_is_not_a_batch_is_refused_as_a_whole() {
    let fixture = Fixture::in_memory();
    let operation = batch::find("BatchDecrypt").expect("an operation");
    let many = format!("{{\"Items\":[{}]}}", vec!["{}"; MAX_ITEMS + 1].join(","));
    for (body, code) in [
        ("", "SerializationException"),
        ("[]", "SerializationException"),
        ("{}", "ValidationException"),
        ("{\"Items\":[]}", "ValidationException"),
        ("{\"Items\":{}}", "SerializationException"),
        ("{\"Items\":[{},1]}", "SerializationException"),
        (many.as_str(), "ValidationException"),
    ] {
        let refused = operation.call(&fixture.kms, &local(), body.as_bytes(), |_, error| error);
        assert_eq!(refused.expect_err(body).code(), code, "{body:.40}");
    }
    for name in ["Decrypt", "BatchCreateKey", "BatchScheduleKeyDeletion", ""] {
        assert!(batch::find(name).is_none(), "{name}");
    }
    for answer in ["", "{}", "{\"Results\":[]}", "{\"Results\":[{},{}]}", "{\"Results\":[{\"KeyId\":1}]}"] {
        assert!(batch::decode::<DecryptRequest>(answer.as_bytes(), 1).is_err(), "{answer}");
    }
    let other = b"{\"Results\":[{\"Error\":{\"__type\":\"NewException\",\"message\":\"m\"}}]}";
    let read = batch::decode::<DecryptRequest>(other, 1).expect("reads").remove(0);
    assert!(matches!(read, Err(KmsError::Internal(text)) if text.contains("NewException: m")));
}
