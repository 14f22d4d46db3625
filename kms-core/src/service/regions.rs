//! One service, several Regions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use super::due::DueReport;
use super::{Core, EmbeddedKms, cache, policies, usage};
use crate::error::KmsError;
use crate::model::{Realm, Region};
use crate::store::{self, Locality};

/// What a service is in each of its Regions. Users, custody and the store are those of all.
pub(super) struct Regions {
    home: Arc<Core>,
    /// The Regions beside the home; `None` for whichever is asked for.
    served: Option<BTreeSet<Region>>,
    others: RwLock<BTreeMap<Region, Arc<Core>>>,
}

impl Regions {
    pub(super) fn new(home: Arc<Core>, served: Option<BTreeSet<Region>>) -> Self {
        Self { home, served, others: RwLock::default() }
    }

    /// The service in a Region.
    pub(super) fn core(&self, region: &Region) -> Result<Arc<Core>, KmsError> {
        let others = self.served.as_ref().filter(|_| *region != self.home.realm.region);
        if others.is_some_and(|served| !served.contains(region)) {
            return Err(KmsError::UnsupportedOperation(format!(
                "The Region {region} is not served by this endpoint."
            )));
        }
        Ok(self.open(region))
    }

    fn open(&self, region: &Region) -> Arc<Core> {
        if *region == self.home.realm.region {
            return Arc::clone(&self.home);
        }
        let known = self.others.read().unwrap_or_else(PoisonError::into_inner).get(region).cloned();
        known.unwrap_or_else(|| {
            let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(others.entry(region.clone()).or_insert_with(|| Arc::new(self.home.at(region))))
        })
    }

    /// Carries out what is due in every Region that has keys, and whose keys are in memory.
    pub(super) fn run_due(&self) -> Result<DueReport, KmsError> {
        let home = &self.home.realm.region;
        let localities = store::read(&*self.home.store, |tx| Ok(tx.localities()?))?;
        let mut regions: BTreeSet<_> =
            localities.iter().map(|locality| locality.region(home).clone()).collect();
        regions.insert(home.clone());
        regions.extend(self.others.read().unwrap_or_else(PoisonError::into_inner).keys().cloned());
        let mut total = DueReport { settled: 0, failed: Vec::new(), scrubbed: true };
        for region in regions {
            // Also in one that is not served: what was promised for a date happens.
            let DueReport { settled, failed, scrubbed } = self.open(&region).run_due()?;
            total.settled += settled;
            total.failed.extend(failed);
            total.scrubbed &= scrubbed;
        }
        Ok(total)
    }
}

impl Core {
    /// The same service in another Region.
    fn at(&self, region: &Region) -> Self {
        let realm = Realm { region: region.clone(), account: self.realm.account.clone() };
        Self {
            store: self.store.at(&Locality::of(region, &self.home)),
            custody: self.custody.clone(),
            import_tokens: Arc::clone(&self.import_tokens),
            grant_tokens: Arc::clone(&self.grant_tokens),
            clock: Arc::clone(&self.clock),
            home: self.home.clone(),
            policies: policies::PolicyBook::new(realm.clone()),
            realm,
            cache: cache::KeyCache::default(),
            usage: usage::UsageBook::default(),
            credentials: Arc::clone(&self.credentials),
            auditor: self.auditor.clone(),
            key_stores: self.key_stores.at(region),
        }
    }
}

impl EmbeddedKms {
    /// The same service in another Region: its keys, aliases and grants are apart. `UnsupportedOperationException` for
    /// one that is not served.
    pub fn in_region(&self, region: &Region) -> Result<Self, KmsError> {
        Ok(Self { core: self.regions.core(region)?, regions: Arc::clone(&self.regions) })
    }
}
