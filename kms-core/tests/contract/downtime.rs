//! Everything that is due happens, and happens once, when a keystore is opened again after years.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;

use crate::fixture::{Fixture, import_request, local, open};

#[test]
fn after_three_years_down_everything_that_is_due_happens_once() {
    let fixture = Fixture::on_disk();
    let rotating = fixture.create();
    fixture.enable_rotation(rotating, Some(90)).expect("enables");
    let (doomed, expiring, waiting) =
        (fixture.create(), fixture.create_external(), fixture.create_external());
    fixture.schedule_deletion(doomed, 30).expect("schedules");
    let valid_to = Some(fixture.clock.now().plus_days(100));
    fixture
        .import(expiring, [1; 32], |request| {
            (request.valid_to, request.expiration_model) = (valid_to, None);
        })
        .expect("imports");
    let late = import_request(waiting, &fixture.parameters(waiting).expect("gets"), &[2; 32]);
    let blobs = [rotating, doomed, expiring].map(|key_id| match key_id == doomed {
        true => None,
        false => Some(fixture.encrypt(key_id, b"x").expect("encrypts")),
    });
    let primary = fixture.create_multi_region();
    fixture.replicate(primary, "eu-west-1").expect("replicates");
    let there = fixture.in_region("eu-west-1");
    there.schedule_deletion(primary, 7).expect("schedules");
    fixture.schedule_deletion(primary, 7).expect("schedules");

    let (path, clock) = (fixture.path(), fixture.clock.clone());
    drop(there);
    let dir = fixture.dir;
    drop(fixture.kms);
    clock.advance_days(3 * 365);
    let again = Fixture { kms: open(&path, &clock), clock, caller: local(), dir };

    let report = again.kms.run_due().expect("runs");
    assert_eq!((report.settled, report.failed.len(), report.scrubbed), (4, 0, true));
    assert_eq!(again.materials(rotating).len(), 2, "once, however late");
    let gone = again.kms.describe_key(&again.caller, &DescribeKeyRequest::new(doomed));
    assert!(matches!(gone, Err(KmsError::NotFound(_))));
    assert_eq!(again.state(expiring), KeyState::PendingImport);
    let refused = again.kms.import_key_material(&again.caller, &late).expect_err("a late token");
    assert!(matches!(refused, KmsError::ExpiredImportToken(_)));
    assert_eq!(again.decrypt(blobs[0].as_ref().expect("encrypted")), Ok(b"x".to_vec()));
    assert!(again.decrypt(blobs[2].as_ref().expect("encrypted")).is_err());
    // The replica is gone; its primary has all of its own waiting period from now on.
    let begun = again.describe(primary);
    assert_eq!(begun.key_state, KeyState::PendingDeletion);
    assert_eq!(begun.deletion_date, Some(again.clock.now().plus_days(7)));

    assert_eq!(again.kms.run_due().expect("runs").settled, 0, "nothing is left to do");
    let next = again.kms.get_key_rotation_status(&again.caller, &KeyOnlyRequest::new(rotating));
    assert_eq!(next.expect("tells").next_rotation_date, Some(again.clock.now().plus_days(90)));
}
