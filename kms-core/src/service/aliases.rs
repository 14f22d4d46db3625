//! Aliases.

use super::Core;
use super::access::{Purpose, TxLookup};
use super::authorizer::Resource;
use super::paging::{after_marker, cut, page_size};
use super::states::{self, OperationClass};
use crate::error::KmsError;
use crate::model::*;
use crate::store::{self, AliasRecord, KeyRecord, WriteTx};

/// The most aliases of one key.
const MAX_ALIASES_PER_KEY: usize = 50;

impl Core {
    pub(super) fn create_alias(
        &self,
        caller: &Caller,
        request: &CreateAliasRequest,
    ) -> Result<CreateAliasResponse, KmsError> {
        let name = &request.alias_name;
        let (key_id, purpose) =
            self.prepare_alias(caller, Action::CreateAlias, name, &request.target_key_id)?;
        let now = self.now();
        store::write(&*self.store, |tx| {
            self.alias_target(tx, caller, &key_id, &purpose)?;
            if tx.alias(name)?.is_some() {
                return Err(KmsError::alias_exists(name.arn(&self.realm)));
            }
            self.check_alias_quota(tx, &key_id)?;
            tx.put_alias(&AliasRecord {
                name: name.clone(),
                key_id,
                creation_date: now,
                last_updated_date: now,
            })?;
            Ok(EmptyResponse)
        })
    }

    pub(super) fn update_alias(
        &self,
        caller: &Caller,
        request: &UpdateAliasRequest,
    ) -> Result<UpdateAliasResponse, KmsError> {
        let name = &request.alias_name;
        let (key_id, purpose) =
            self.prepare_alias(caller, Action::UpdateAlias, name, &request.target_key_id)?;
        let now = self.now();
        store::write(&*self.store, |tx| {
            let mut alias =
                tx.alias(name)?.ok_or_else(|| KmsError::alias_not_found(name.arn(&self.realm)))?;
            let old = self.live_key(tx, &alias.key_id, now)?;
            self.authorize_key(caller, &old, &purpose, None, &TxLookup(tx))?;
            let new = self.alias_target(tx, caller, &key_id, &purpose)?;
            if !same_type(&old, &new) {
                return Err(KmsError::Validation(format!(
                    "Alias {} must keep pointing at a key of the same type and key usage.",
                    name.arn(&self.realm)
                )));
            }
            if alias.key_id != key_id {
                self.check_alias_quota(tx, &key_id)?;
            }
            alias.key_id = key_id;
            alias.last_updated_date = now;
            tx.put_alias(&alias)?;
            Ok(EmptyResponse)
        })
    }

    pub(super) fn delete_alias(
        &self,
        caller: &Caller,
        request: &DeleteAliasRequest,
    ) -> Result<DeleteAliasResponse, KmsError> {
        let name = &request.alias_name;
        check_not_reserved(name)?;
        self.authorize_other(caller, Action::DeleteAlias, Resource::Alias(name), &[])?;
        let purpose = Purpose::new(Action::DeleteAlias, OperationClass::Read);
        store::write(&*self.store, |tx| {
            let alias = tx.alias(name)?.ok_or_else(|| KmsError::alias_not_found(name.arn(&self.realm)))?;
            if let Some(record) = tx.key(&alias.key_id)? {
                self.authorize_key(caller, &record, &purpose, None, &TxLookup(tx))?;
            }
            tx.delete_alias(name)?;
            Ok(EmptyResponse)
        })
    }

    pub(super) fn list_aliases(
        &self,
        caller: &Caller,
        request: &ListAliasesRequest,
    ) -> Result<ListAliasesResponse, KmsError> {
        self.authorize_other(caller, Action::ListAliases, Resource::Account, &[])?;
        let size = page_size(&request.page, 50, 100)?;
        let after: Option<AliasName> = after_marker(&request.page, "aliases")?;
        self.sweep()?;
        let purpose = Purpose::new(Action::ListAliases, OperationClass::Read);
        let key_id = match &request.key_id {
            Some(key_ref) => Some(self.view_key(caller, key_ref, &purpose)?.key_id),
            None => None,
        };
        let mut records = store::read(&*self.store, |tx| {
            Ok(tx.list_aliases(key_id.as_ref(), after.as_ref(), size + 1)?)
        })?;
        let next_marker = cut(&mut records, size, "aliases", |record| record.name.to_string());
        let aliases = records
            .into_iter()
            .map(|record| AliasListEntry {
                alias_arn: record.name.arn(&self.realm),
                alias_name: record.name,
                target_key_id: record.key_id,
                creation_date: record.creation_date,
                last_updated_date: record.last_updated_date,
            })
            .collect();
        Ok(ListAliasesResponse { aliases, next_marker })
    }

    /// What creating and updating have in common before their transaction.
    fn prepare_alias(
        &self,
        caller: &Caller,
        action: Action,
        name: &AliasName,
        target: &KeyRef,
    ) -> Result<(KeyId, Purpose<'static>), KmsError> {
        check_not_reserved(name)?;
        if target.alias().is_some() {
            return Err(KmsError::Validation("Aliases must refer to keys. Not aliases".into()));
        }
        self.authorize_other(caller, action, Resource::Alias(name), &[])?;
        let key_id = self.resolve_direct(target)?;
        self.load(&key_id)?;
        Ok((key_id, Purpose::new(action, OperationClass::Annotate)))
    }

    fn alias_target(
        &self,
        tx: &dyn WriteTx,
        caller: &Caller,
        key_id: &KeyId,
        purpose: &Purpose<'_>,
    ) -> Result<KeyRecord, KmsError> {
        let now = self.now();
        let record = self.live_key(tx, key_id, now)?;
        self.authorize_key(caller, &record, purpose, None, &TxLookup(tx))?;
        states::check(purpose.class, &record, &self.arn(key_id), now)?;
        Ok(record)
    }

    fn check_alias_quota(&self, tx: &dyn WriteTx, key_id: &KeyId) -> Result<(), KmsError> {
        if tx.list_aliases(Some(key_id), None, MAX_ALIASES_PER_KEY)?.len() >= MAX_ALIASES_PER_KEY {
            return Err(KmsError::LimitExceeded(format!(
                "The key {} has {MAX_ALIASES_PER_KEY} aliases, the most that a key can have.",
                self.arn(key_id)
            )));
        }
        Ok(())
    }
}

/// Whether an alias may move from one key to the other: both symmetric, both HMAC or both asymmetric, for the same usage.
fn same_type(old: &KeyRecord, new: &KeyRecord) -> bool {
    let kind = |record: &KeyRecord| std::mem::discriminant(&record.key_spec.material_kind());
    kind(old) == kind(new) && old.key_usage == new.key_usage
}

/// AWS refuses the names of AWS managed keys without a message.
fn check_not_reserved(name: &AliasName) -> Result<(), KmsError> {
    if name.is_reserved() {
        return Err(KmsError::NotAuthorized(String::new()));
    }
    Ok(())
}
