//! From what a caller typed to a key that it may use: resolve, load, authorize, check the state.

use std::sync::Arc;

use super::Core;
use super::authorizer::{Decision, Lookup, Particulars, Question, Resource};
use super::grant_set::GrantSet;
use super::states::{self, OperationClass};
use crate::custody::OpenMaterial;
use crate::error::KmsError;
use crate::model::{
    Action, AliasName, Caller, EncryptionContext, KeyArn, KeyId, KeyRef, KeyState, KeyTarget, MaterialId,
    Principal, Timestamp,
};
use crate::policy::KeyPolicy;
use crate::store::{self, GrantFilter, GrantRecord, KeyRecord, ReadTx, WriteTx};

/// The most grant tokens in a request.
const MAX_GRANT_TOKENS: usize = 10;

/// What an operation wants to do with a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose<'a> {
    pub(super) action: Action,
    pub(super) class: OperationClass,
    pub(super) encryption_context: Option<&'a EncryptionContext>,
    pub(super) grant_tokens: &'a [String],
    /// What conditions may ask of this operation and of no other.
    pub(super) particulars: Particulars<'a>,
    /// The grant that `CreateGrant` is about.
    pub(super) new_grant: Option<&'a GrantRecord>,
}

impl<'a> Purpose<'a> {
    pub(super) fn new(action: Action, class: OperationClass) -> Self {
        Self { action, class, encryption_context: None, grant_tokens: &[], particulars: &[], new_grant: None }
    }

    pub(super) fn cryptographic(
        action: Action,
        encryption_context: &'a EncryptionContext,
        grant_tokens: &'a [String],
    ) -> Self {
        Self {
            encryption_context: Some(encryption_context),
            grant_tokens,
            ..Self::new(action, OperationClass::Cryptographic)
        }
    }

    /// A cryptographic operation that authenticates no context.
    pub(super) fn without_context(action: Action, grant_tokens: &'a [String]) -> Self {
        Self { grant_tokens, ..Self::new(action, OperationClass::Cryptographic) }
    }

    /// The same, with what conditions may ask of this operation.
    pub(super) fn with(self, particulars: Particulars<'a>) -> Self {
        Self { particulars, ..self }
    }
}

/// Looks things up outside a transaction, and keeps what it found as long as nothing changes.
pub(super) struct CachedLookup<'a>(pub(super) &'a Core);

impl Lookup for CachedLookup<'_> {
    fn grants(&self, key_id: &KeyId, grantee: &Principal) -> Result<Arc<GrantSet>, KmsError> {
        let core = self.0;
        let counter = core.sync_cache()?;
        if let Some(found) = core.cache.grants(key_id, grantee) {
            return Ok(found);
        }
        let found = store::read(&*core.store, |tx| TxLookup(tx).grants(key_id, grantee))?;
        core.cache.keep_grants(counter, *key_id, grantee, &found);
        Ok(found)
    }

    fn aliases(&self, key_id: &KeyId) -> Result<Arc<[AliasName]>, KmsError> {
        let core = self.0;
        let counter = core.sync_cache()?;
        if let Some(found) = core.cache.aliases_of(key_id) {
            return Ok(found);
        }
        let found = store::read(&*core.store, |tx| TxLookup(tx).aliases(key_id))?;
        core.cache.keep_aliases_of(counter, *key_id, &found);
        Ok(found)
    }
}

/// Looks things up inside a transaction: a decision on a change is made on what is really there.
pub(super) struct TxLookup<'a>(pub(super) &'a dyn ReadTx);

impl Lookup for TxLookup<'_> {
    fn grants(&self, key_id: &KeyId, grantee: &Principal) -> Result<Arc<GrantSet>, KmsError> {
        let grants = self.0.list_grants(GrantFilter::Grantee(key_id, grantee), None, usize::MAX)?;
        Ok(Arc::new(GrantSet::new(grants)))
    }

    fn aliases(&self, key_id: &KeyId) -> Result<Arc<[AliasName]>, KmsError> {
        let aliases = self.0.list_aliases(Some(key_id), None, usize::MAX)?;
        Ok(aliases.into_iter().map(|alias| alias.name).collect())
    }
}

impl Core {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn arn(&self, key_id: &KeyId) -> KeyArn {
        KeyArn::new(&self.realm, key_id)
    }

    /// The key that an id, an ARN or an alias means. The AWS managed key of the calling service comes into being here.
    pub(super) fn resolve(&self, caller: &Caller, key_ref: &KeyRef) -> Result<KeyId, KmsError> {
        self.check_realm(key_ref)?;
        match key_ref.target() {
            KeyTarget::Id(key_id) => Ok(*key_id),
            KeyTarget::Alias(name) => self.resolve_alias(caller, name),
        }
    }

    /// The same for management operations, which refuse aliases.
    pub(super) fn resolve_direct(&self, key_ref: &KeyRef) -> Result<KeyId, KmsError> {
        self.check_realm(key_ref)?;
        match key_ref.target() {
            KeyTarget::Id(key_id) => Ok(*key_id),
            KeyTarget::Alias(_) => Err(KmsError::alias_refused(key_ref.typed())),
        }
    }

    fn check_realm(&self, key_ref: &KeyRef) -> Result<(), KmsError> {
        match key_ref.realm() {
            Some(realm) if realm.region != self.realm.region => {
                Err(KmsError::wrong_region(realm.region.as_str()))
            }
            Some(realm) if realm.account != self.realm.account => Err(KmsError::key_not_found(key_ref)),
            Some(_) | None => Ok(()),
        }
    }

    fn resolve_alias(&self, caller: &Caller, name: &AliasName) -> Result<KeyId, KmsError> {
        let counter = self.sync_cache()?;
        if let Some(key_id) = self.cache.alias(name) {
            return Ok(key_id);
        }
        match store::read(&*self.store, |tx| Ok(tx.alias(name)?))? {
            Some(record) => {
                self.cache.keep_alias(counter, name, record.key_id);
                Ok(record.key_id)
            }
            None if self.may_create_managed(caller, name) => self.create_managed_key(name),
            None => Err(KmsError::alias_not_found(name.arn(&self.realm))),
        }
    }

    /// Drops what is no longer true from the cache. Returns the counter at which reads from here on are kept.
    pub(super) fn sync_cache(&self) -> Result<u64, KmsError> {
        let counter = self.store.change_counter()?;
        self.cache.sync(counter);
        Ok(counter)
    }

    /// The record of a key, with everything carried out that was due on it.
    ///
    /// If that fails, for want of disk space perhaps, the key is still judged by the present time: one whose deletion
    /// is due does not exist, expired material is not used, and a late rotation must not keep anybody from their data.
    pub(super) fn load(&self, key_id: &KeyId) -> Result<Arc<KeyRecord>, KmsError> {
        let record = self.load_as_stored(key_id)?;
        let now = self.now();
        if record.next_due().is_none_or(|due| due > now) {
            return Ok(record);
        }
        if let Err(error) = self.settle(key_id) {
            tracing::warn!(%key_id, %error, "what is due on this key could not be carried out");
        }
        let record = self.load_as_stored(key_id)?;
        if record.is_deleted(now) {
            return Err(KmsError::key_not_found(self.arn(key_id)));
        }
        Ok(record)
    }

    pub(super) fn load_as_stored(&self, key_id: &KeyId) -> Result<Arc<KeyRecord>, KmsError> {
        let counter = self.sync_cache()?;
        if let Some(record) = self.cache.key(key_id) {
            return Ok(record);
        }
        let record = store::read(&*self.store, |tx| {
            tx.key(key_id)?.map(|record| self.with_availability(tx, record)).transpose()
        })?
        .ok_or_else(|| KmsError::key_not_found(self.arn(key_id)))?;
        let record = Arc::new(record);
        self.cache.keep_key(counter, &record);
        Ok(record)
    }

    /// Opens a material of a key. The record and the handle are read in one transaction, so that a material which
    /// somebody deletes at this moment is reported as deleted and not as damaged.
    pub(super) fn open_material(
        &self,
        record: &KeyRecord,
        material_id: &MaterialId,
    ) -> Result<Arc<dyn OpenMaterial>, KmsError> {
        let key_id = record.key_id;
        if let Some(material) = self.cache.material(&key_id, material_id) {
            return Ok(material);
        }
        let counter = self.sync_cache()?;
        let now = self.now();
        let handle = store::read(&*self.store, |tx| {
            let record = tx.key(&key_id)?.ok_or_else(|| KmsError::key_not_found(self.arn(&key_id)))?;
            if !record.material(material_id).is_some_and(|material| material.is_usable(now)) {
                return Err(KmsError::wrong_state(self.arn(&key_id), KeyState::PendingImport));
            }
            tx.material_handle(&key_id, material_id)?.ok_or_else(|| {
                KmsError::CorruptRecord(format!(
                    "the stored material {material_id} of key {key_id} is missing"
                ))
            })
        })?;
        let material = self.custody_of(record)?.open(&key_id, record.key_spec, material_id, &handle)?;
        self.cache.keep_material(counter, key_id, *material_id, &material);
        Ok(material)
    }

    /// Asks whether the caller may do this to a key.
    pub(super) fn authorize_key(
        &self,
        caller: &Caller,
        record: &KeyRecord,
        purpose: &Purpose<'_>,
        typed: Option<&KeyRef>,
        lookup: &dyn Lookup,
    ) -> Result<(), KmsError> {
        if purpose.grant_tokens.len() > MAX_GRANT_TOKENS {
            let bound = format_args!("have length less than or equal to {MAX_GRANT_TOKENS}");
            return Err(KmsError::constraint(None, "grantTokens", bound));
        }
        // A grant holds from the moment it is created, so a token adds nothing; but it has to be one.
        for token in purpose.grant_tokens {
            self.open_grant_token(token)?;
        }
        let policy = self.policies.of(record);
        let question = self.question_on_key(caller, record, &policy, purpose, typed, lookup);
        permitted(&question, question.decide()?)
    }

    /// The question whether the caller may do this to a key.
    pub(super) fn question_on_key<'a>(
        &'a self,
        caller: &'a Caller,
        record: &'a KeyRecord,
        policy: &'a KeyPolicy,
        purpose: &Purpose<'a>,
        typed: Option<&'a KeyRef>,
        lookup: &'a dyn Lookup,
    ) -> Question<'a> {
        let resource = Resource::Key(record, policy);
        Question {
            encryption_context: purpose.encryption_context,
            typed,
            particulars: purpose.particulars,
            new_grant: purpose.new_grant,
            ..Question::new(caller, purpose.action, resource, &self.realm, self.now(), lookup)
        }
    }

    /// Asks whether the caller may do this to something that is not a key.
    pub(super) fn authorize_other(
        &self,
        caller: &Caller,
        action: Action,
        resource: Resource<'_>,
        particulars: Particulars<'_>,
    ) -> Result<(), KmsError> {
        let lookup = CachedLookup(self);
        let question = Question {
            particulars,
            ..Question::new(caller, action, resource, &self.realm, self.now(), &lookup)
        };
        permitted(&question, question.decide()?)
    }

    /// A key by any reference, for an operation that does not change it.
    pub(super) fn use_key(
        &self,
        caller: &Caller,
        key_ref: &KeyRef,
        purpose: &Purpose<'_>,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        let key_id = self.resolve(caller, key_ref)?;
        self.use_resolved(caller, &key_id, purpose, Some(key_ref))
    }

    /// A key by id or ARN, for a management operation that does not change it.
    pub(super) fn view_key(
        &self,
        caller: &Caller,
        key_ref: &KeyRef,
        purpose: &Purpose<'_>,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        let key_id = self.resolve_direct(key_ref)?;
        self.use_resolved(caller, &key_id, purpose, Some(key_ref))
    }

    pub(super) fn use_resolved(
        &self,
        caller: &Caller,
        key_id: &KeyId,
        purpose: &Purpose<'_>,
        typed: Option<&KeyRef>,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        let record = self.load(key_id)?;
        self.authorize_key(caller, &record, purpose, typed, &CachedLookup(self))?;
        states::check(purpose.class, &record, &self.arn(key_id), self.now())?;
        Ok(record)
    }

    /// Changes a key in one transaction: what the change sees is what nobody else can change before it is written.
    pub(super) fn change_key<T>(
        &self,
        caller: &Caller,
        key_ref: &KeyRef,
        purpose: &Purpose<'_>,
        mut change: impl FnMut(&mut KeyRecord, &dyn WriteTx, Timestamp) -> Result<T, KmsError>,
    ) -> Result<T, KmsError> {
        let key_id = self.resolve_direct(key_ref)?;
        // Carries out what is due, in a transaction of its own that stays even if the change is refused.
        self.load(&key_id)?;
        let arn = self.arn(&key_id);
        let now = self.now();
        store::write(&*self.store, |tx| {
            let mut record = self.live_key(tx, &key_id, now)?;
            self.authorize_key(caller, &record, purpose, Some(key_ref), &TxLookup(tx))?;
            states::check(purpose.class, &record, &arn, now)?;
            let result = change(&mut record, tx, now)?;
            tx.put_key(&record)?;
            Ok(result)
        })
    }

    /// A key inside a transaction; one whose waiting period is over does not exist.
    pub(super) fn live_key(
        &self,
        tx: &dyn WriteTx,
        key_id: &KeyId,
        now: Timestamp,
    ) -> Result<KeyRecord, KmsError> {
        let record = tx.key(key_id)?.filter(|record| !record.is_deleted(now));
        self.with_availability(tx, record.ok_or_else(|| KmsError::key_not_found(self.arn(key_id)))?)
    }
}

/// Lets a request that may go on go on.
pub(super) fn permitted(question: &Question<'_>, decision: Decision) -> Result<(), KmsError> {
    if decision.allowed { Ok(()) } else { Err(question.refusal(decision.basis)) }
}
