//! Related multi-Region keys against a simple oracle: random sequences of operations in three Regions.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;
use proptest::prelude::*;

use crate::fixture::Fixture;

const REGIONS: [&str; 3] = ["local-1", "eu-west-1", "us-west-2"];
/// As many on demand as a key may have.
const MAX_ROTATIONS: usize = 25;

/// What is done in the first Region named; the second is where a key is to be or to lead.
#[derive(Debug, Clone)]
enum Step {
    Replicate(usize, usize),
    Promote(usize, usize),
    Rotate(usize),
    EnableRotation(usize),
    Switch(usize, bool),
    Schedule(usize, i32),
    Cancel(usize),
    Encrypt(usize),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let place = || 0..REGIONS.len();
    prop_oneof![
        4 => (place(), place()).prop_map(|(from, to)| Step::Replicate(from, to)),
        4 => (place(), place()).prop_map(|(from, to)| Step::Promote(from, to)),
        3 => place().prop_map(Step::Rotate),
        1 => place().prop_map(Step::EnableRotation),
        3 => (place(), any::<bool>()).prop_map(|(at, on)| Step::Switch(at, on)),
        2 => (place(), 7..=30).prop_map(|(at, days)| Step::Schedule(at, days)),
        2 => place().prop_map(Step::Cancel),
        3 => place().prop_map(Step::Encrypt),
        2 => (1_i64..60).prop_map(Step::Pass),
    ]
}

/// What the oracle knows of the key of one Region.
#[derive(Debug, Clone, Copy)]
struct Key {
    enabled: bool,
    deletion: Option<i64>,
    /// The waiting period of a primary that has replicas.
    waiting: Option<i32>,
}

/// The keys as the documentation describes them, in days and without cryptography.
struct Oracle {
    today: i64,
    keys: [Option<Key>; 3],
    primary: usize,
    on_demand: usize,
    rotations: usize,
    /// The day of the next rotation, every ninety days.
    next: Option<i64>,
}

impl Oracle {
    fn new() -> Self {
        let key = Key { enabled: true, deletion: None, waiting: None };
        let keys = [Some(key), None, None];
        Self { today: 0, keys, primary: 0, on_demand: 0, rotations: 0, next: None }
    }

    fn state(&self, at: usize) -> Option<KeyState> {
        let key = self.keys[at]?;
        Some(match (key.deletion, key.waiting, key.enabled) {
            (Some(_), ..) => KeyState::PendingDeletion,
            (None, Some(_), _) => KeyState::PendingReplicaDeletion,
            (None, None, true) => KeyState::Enabled,
            (None, None, false) => KeyState::Disabled,
        })
    }

    fn replicas(&self) -> Vec<usize> {
        (0..REGIONS.len()).filter(|at| *at != self.primary && self.keys[*at].is_some()).collect()
    }

    fn leads(&self, at: usize) -> bool {
        at == self.primary && self.state(at) == Some(KeyState::Enabled)
    }

    /// Whether the step succeeds, which is then done.
    fn apply(&mut self, step: &Step) -> bool {
        let state = |at: usize| self.state(at);
        let may = match *step {
            Step::Replicate(from, to) => self.leads(from) && self.keys[to].is_none(),
            Step::Promote(from, to) => self.leads(from) && from != to && state(to) == Some(KeyState::Enabled),
            Step::Rotate(at) => self.leads(at) && self.on_demand < MAX_ROTATIONS,
            Step::EnableRotation(at) => self.leads(at),
            Step::Switch(at, _) => matches!(state(at), Some(KeyState::Enabled | KeyState::Disabled)),
            Step::Schedule(at, _) => matches!(state(at), Some(KeyState::Enabled | KeyState::Disabled)),
            Step::Cancel(at) => {
                matches!(state(at), Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion))
            }
            Step::Encrypt(at) => state(at) == Some(KeyState::Enabled),
            Step::Pass(_) => true,
        };
        if may {
            self.carry_out(step);
        }
        self.settle();
        may
    }

    fn carry_out(&mut self, step: &Step) {
        let (today, waits) = (self.today, !self.replicas().is_empty());
        match *step {
            Step::Replicate(_, to) => {
                self.keys[to] = Some(Key { enabled: true, deletion: None, waiting: None });
            }
            Step::Promote(_, to) => self.primary = to,
            Step::Rotate(_) => (self.on_demand, self.rotations) = (self.on_demand + 1, self.rotations + 1),
            Step::EnableRotation(_) => self.next = Some(today + 90),
            Step::Encrypt(_) => {}
            Step::Pass(days) => self.today += days,
            Step::Switch(at, on) => self.change(at, |key| key.enabled = on),
            Step::Schedule(at, days) if at == self.primary && waits => {
                self.change(at, |key| key.waiting = Some(days));
            }
            Step::Schedule(at, days) => self.change(at, |key| key.deletion = Some(today + i64::from(days))),
            Step::Cancel(at) => {
                self.change(at, |key| *key = Key { enabled: false, deletion: None, waiting: None });
            }
        }
    }

    fn change(&mut self, at: usize, change: impl FnMut(&mut Key)) {
        self.keys[at].iter_mut().for_each(change);
    }

    /// What the day brings.
    fn settle(&mut self) {
        let today = self.today;
        let due = |key: &Option<Key>| key.is_some_and(|key| key.deletion.is_some_and(|day| day <= today));
        // A primary that has replicas has no such day.
        self.keys.iter_mut().filter(|key| due(key)).for_each(|key| *key = None);
        if self.replicas().is_empty() {
            self.change(self.primary, |key| {
                key.deletion = key.deletion.or(key.waiting.map(|days| today + i64::from(days)));
                key.waiting = None;
            });
        }
        if self.leads(self.primary) && self.next.is_some_and(|day| day <= today) {
            self.rotations += 1;
            self.next = Some(today + 90);
        }
    }
}

struct Subject {
    sites: [Fixture; 3],
    key_id: KeyId,
    blobs: Vec<CiphertextBlob>,
}

impl Subject {
    fn new() -> Self {
        let home = Fixture::in_memory();
        let key_id = home.create_multi_region();
        let sites = REGIONS.map(|name| home.in_region(name));
        Self { sites, key_id, blobs: Vec::new() }
    }

    fn apply(&mut self, step: &Step) -> Result<(), KmsError> {
        let (sites, key_id) = (&self.sites, self.key_id);
        match *step {
            Step::Replicate(from, to) => sites[from].replicate(key_id, REGIONS[to]).map(drop),
            Step::Promote(from, to) => sites[from].promote(key_id, REGIONS[to]),
            Step::Rotate(at) => sites[at].rotate(key_id),
            Step::EnableRotation(at) => sites[at].enable_rotation(key_id, Some(90)),
            Step::Switch(at, true) => sites[at].enable(key_id),
            Step::Switch(at, false) => sites[at].disable(key_id),
            Step::Schedule(at, days) => sites[at].schedule_deletion(key_id, days),
            Step::Cancel(at) => sites[at].cancel_deletion(key_id),
            Step::Encrypt(at) => {
                let blob = sites[at].encrypt(key_id, b"text")?;
                self.blobs.push(blob);
                Ok(())
            }
            Step::Pass(days) => {
                sites[0].clock.advance_days(days);
                sites[0].kms.run_due().map(drop)
            }
        }
    }

    /// Compares the key of one Region with what the oracle says.
    fn check(&self, at: usize, oracle: &Oracle) -> Result<(), TestCaseError> {
        let site = &self.sites[at];
        let found = site.kms.describe_key(&site.caller, &DescribeKeyRequest::new(self.key_id));
        let found = found.ok().map(|found| found.key_metadata);
        prop_assert_eq!(found.as_ref().map(|key| key.key_state), oracle.state(at), "in {}", REGIONS[at]);
        let usable = oracle.state(at) == Some(KeyState::Enabled);
        for blob in &self.blobs {
            prop_assert_eq!(site.decrypt(blob).ok(), usable.then(|| b"text".to_vec()), "in {}", REGIONS[at]);
        }
        let Some(key) = found else { return Ok(()) };
        let family = key.multi_region_configuration.expect("multi-Region");
        let names = |places: Vec<usize>| {
            let mut names: Vec<_> = places.into_iter().map(|place| REGIONS[place].to_owned()).collect();
            names.sort();
            names
        };
        let replicas: Vec<_> = family.replica_keys.iter().map(|one| one.region.to_string()).collect();
        prop_assert_eq!(replicas, names(oracle.replicas()));
        prop_assert_eq!(family.primary_key.region.as_str(), REGIONS[oracle.primary]);
        prop_assert_eq!(family.multi_region_key_type == MultiRegionKeyType::Primary, at == oracle.primary);
        prop_assert_eq!(site.materials(self.key_id).len(), oracle.rotations + 1, "in {}", REGIONS[at]);
        let days = |day: i64| TestClock::default().now().plus_days(day);
        prop_assert_eq!(key.deletion_date, oracle.keys[at].and_then(|key| key.deletion).map(days));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn related_keys_live_as_documented(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut subject, mut oracle) = (Subject::new(), Oracle::new());
        for (number, step) in steps.iter().enumerate() {
            let done = subject.apply(step);
            prop_assert_eq!(done.is_ok(), oracle.apply(step), "step {}: {:?}: {:?}", number, step, done);
            (0..REGIONS.len()).try_for_each(|at| subject.check(at, &oracle))?;
        }
    }
}
