//! ScheduleKeyDeletion to the end.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;

use crate::fixture::Fixture;

#[test]
fn the_window_has_seven_to_thirty_days() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    for (days, bound) in [(6, "greater than or equal to 7"), (31, "less than or equal to 30")] {
        let refused = fixture.schedule_deletion(key_id, days).expect_err("out of range");
        assert_eq!(
            refused.message(),
            format!(
                "1 validation error detected: Value '{days}' at 'pendingWindowInDays' failed to satisfy constraint: \
                 Member must have value {bound}"
            )
        );
    }
    let request = ScheduleKeyDeletionRequest { key_id: key_id.into(), pending_window_in_days: None };
    let scheduled = fixture.kms.schedule_key_deletion(&fixture.caller, &request).expect("schedules");
    assert_eq!(scheduled.pending_window_in_days, 30);
    assert_eq!(scheduled.deletion_date, Some(fixture.clock.now().plus_days(30)));
    assert_eq!(fixture.describe(key_id).deletion_date, scheduled.deletion_date);
}

#[test]
fn a_cancelled_deletion_leaves_the_key_disabled() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create();
        let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
        fixture.schedule_deletion(key_id, 7).expect("schedules");
        fixture.clock.advance_days(6);
        fixture.cancel_deletion(key_id).expect("cancels");
        assert_eq!(fixture.state(key_id), KeyState::Disabled);
        fixture.clock.advance_days(60);
        fixture.enable(key_id).expect("enables");
        assert_eq!(fixture.decrypt(&blob), Ok(b"text".to_vec()));
    }
}

#[test]
fn after_the_window_the_key_is_gone_at_the_next_access() {
    for fixture in Fixture::on_every_store() {
        let key_id = fixture.create();
        fixture.create_alias("alias/doomed", key_id).expect("creates");
        let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
        fixture.schedule_deletion(key_id, 7).expect("schedules");
        fixture.clock.advance_days(7);
        let gone = KmsError::key_not_found(fixture.arn(key_id));
        assert_eq!(fixture.cancel_deletion(key_id), Err(gone.clone()));
        assert_eq!(fixture.enable(key_id), Err(gone));
        assert_eq!(fixture.decrypt(&blob), Err(KmsError::ciphertext_key_inaccessible()));
        let alias: AliasName = "alias/doomed".parse().expect("valid");
        assert!(matches!(fixture.encrypt(alias, b"x"), Err(KmsError::NotFound(_))));
        assert!(
            fixture
                .kms
                .list_keys(&fixture.caller, &ListKeysRequest::default())
                .expect("lists")
                .keys
                .is_empty()
        );
    }
}

#[test]
fn run_due_deletes_what_nobody_touches() {
    for fixture in Fixture::on_every_store() {
        let (doomed, kept) = (fixture.create(), fixture.create());
        fixture.schedule_deletion(doomed, 7).expect("schedules");
        assert_eq!(fixture.kms.run_due().expect("runs").settled, 0);
        fixture.clock.advance_days(7);
        let report = fixture.kms.run_due().expect("runs");
        assert_eq!((report.settled, report.failed.len(), report.scrubbed), (1, 0, true));
        assert_eq!(fixture.kms.run_due().expect("runs").settled, 0);
        let keys = fixture.kms.list_keys(&fixture.caller, &ListKeysRequest::default()).expect("lists").keys;
        assert_eq!(keys.into_iter().map(|entry| entry.key_id).collect::<Vec<_>>(), [kept]);
    }
}
