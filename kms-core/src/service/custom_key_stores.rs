//! Custom key stores: the six operations, and keys in them.

use std::collections::BTreeMap;

use super::Core;
use super::authorizer::Resource;
use super::key_store_config::{new_proxy, new_token, updated_config};
use super::paging::{after_marker, cut, page_size};
use crate::custody::{ConnectFailure, KeyUser, NewMaterial};
use crate::error::KmsError;
use crate::model::*;
use crate::store::{self, Connection, CustomKeyStoreRecord, KeyRecord, WriteTx};

/// The most custom key stores, as in AWS.
const MAX_STORES: usize = 10;
/// The most keys in one store, as in AWS CloudHSM. They are listed in one record.
const MAX_KEYS: usize = 3300;
/// The longest name of a store, in characters.
const MAX_NAME_LEN: usize = 256;

impl Core {
    pub(super) fn create_custom_key_store(
        &self,
        caller: &Caller,
        request: &CreateCustomKeyStoreRequest,
    ) -> Result<CreateCustomKeyStoreResponse, KmsError> {
        self.authorize_other(caller, Action::CreateCustomKeyStore, Resource::Account, &[])?;
        check_name(&request.custom_key_store_name)?;
        let store_type = request.custom_key_store_type.unwrap_or(CustomKeyStoreType::AwsCloudHsm);
        let asked = match store_type {
            CustomKeyStoreType::AwsCloudHsm => KeyStoreConfig::Token(new_token(request)?),
            CustomKeyStoreType::ExternalKeyStore => KeyStoreConfig::Proxy(new_proxy(request)?),
        };
        // Before the token or the proxy is asked, so that a name that is taken costs nothing; asked again below.
        store::read(&*self.store, |tx| {
            let others = tx.list_custom_key_stores()?;
            others.iter().try_for_each(|other| check_name_free(other, &request.custom_key_store_name))
        })?;
        let config = self.key_stores.provider(store_type)?.check(&asked, "CreateCustomKeyStore")?;
        let record = CustomKeyStoreRecord {
            id: CustomKeyStoreId::generate(),
            name: request.custom_key_store_name.clone(),
            creation_date: self.now(),
            config,
            connection: Connection::Disconnected,
            epoch: 0,
            keys: BTreeMap::new(),
        };
        store::write(&*self.store, |tx| {
            if tx.list_custom_key_stores()?.len() >= MAX_STORES {
                return Err(KmsError::LimitExceeded(format!(
                    "The account has {MAX_STORES} custom key stores already."
                )));
            }
            check_apart(tx, &record)?;
            Ok(tx.put_custom_key_store(&record)?)
        })?;
        Ok(CreateCustomKeyStoreResponse { custom_key_store_id: record.id })
    }

    pub(super) fn describe_custom_key_stores(
        &self,
        caller: &Caller,
        request: &DescribeCustomKeyStoresRequest,
    ) -> Result<DescribeCustomKeyStoresResponse, KmsError> {
        self.authorize_other(caller, Action::DescribeCustomKeyStores, Resource::Account, &[])?;
        let size = page_size(&request.page, 100, 1000)?;
        let after: Option<CustomKeyStoreId> = after_marker(&request.page, "stores")?;
        let (id, name) = (&request.custom_key_store_id, &request.custom_key_store_name);
        if id.is_some() && name.is_some() {
            return Err(KmsError::Validation(
                "CustomKeyStoreId and CustomKeyStoreName cannot be given in the same request.".into(),
            ));
        }
        let mut records = store::read(&*self.store, |tx| Ok(tx.list_custom_key_stores()?))?;
        if let Some(typed) = id.as_ref().or(name.as_ref()) {
            let picked = |record: &CustomKeyStoreRecord| match id {
                Some(id) => record.id.as_str() == id,
                None => record.name == *typed,
            };
            records.retain(picked);
            if records.is_empty() {
                return Err(KmsError::custom_key_store_not_found(typed));
            }
        }
        records.retain(|record| after.as_ref().is_none_or(|after| record.id > *after));
        let next_marker = cut(&mut records, size, "stores", |record| record.id.to_string());
        let now = self.now();
        let custom_key_stores = records.iter().map(|record| describe(record, now)).collect();
        Ok(DescribeCustomKeyStoresResponse { custom_key_stores, next_marker })
    }

    pub(super) fn update_custom_key_store(
        &self,
        caller: &Caller,
        request: &UpdateCustomKeyStoreRequest,
    ) -> Result<UpdateCustomKeyStoreResponse, KmsError> {
        self.authorize_other(caller, Action::UpdateCustomKeyStore, Resource::Account, &[])?;
        request.new_custom_key_store_name.as_deref().map_or(Ok(()), check_name)?;
        let seen = self.key_store(&request.custom_key_store_id)?;
        check_updatable(&seen, request, self.now())?;
        let asked = updated_config(&seen.config, request)?;
        let config = match asked == seen.config {
            true => asked,
            false => self.key_stores.provider(seen.store_type())?.check(&asked, "UpdateCustomKeyStore")?,
        };
        if config.cluster_id() != seen.config.cluster_id() {
            return Err(KmsError::CloudHsmClusterNotRelated(format!(
                "The token is another one than that of custom key store {}.",
                seen.id
            )));
        }
        let changed = store::write(&*self.store, |tx| {
            let mut record = known(tx, &seen.id)?;
            if record.epoch != seen.epoch {
                return Err(KmsError::Conflict(
                    "Another change to the custom key store is in progress.".into(),
                ));
            }
            check_updatable(&record, request, self.now())?;
            record.config = config.clone();
            record.epoch += 1;
            if let Some(name) = &request.new_custom_key_store_name {
                record.name.clone_from(name);
            }
            check_apart(tx, &record)?;
            tx.put_custom_key_store(&record)?;
            Ok(record)
        })?;
        self.key_stores.release(&changed.id, Some(changed.epoch));
        Ok(EmptyResponse)
    }

    pub(super) fn delete_custom_key_store(
        &self,
        caller: &Caller,
        request: &DeleteCustomKeyStoreRequest,
    ) -> Result<DeleteCustomKeyStoreResponse, KmsError> {
        self.authorize_other(caller, Action::DeleteCustomKeyStore, Resource::Account, &[])?;
        let id = self.key_store(&request.custom_key_store_id)?.id;
        // Keys whose waiting period is over leave the store first.
        self.sweep()?;
        let now = self.now();
        store::write(&*self.store, |tx| {
            let record = known(tx, &id)?;
            match record.connection_state(now).0 {
                ConnectionState::Disconnected | ConnectionState::Failed => {}
                state => return Err(wrong_connection(&record, state)),
            }
            if !record.keys.is_empty() {
                return Err(KmsError::CustomKeyStoreHasCmks(format!(
                    "Custom key store {id} has {} KMS keys.",
                    record.keys.len()
                )));
            }
            Ok(tx.erase_custom_key_store(&id)?)
        })?;
        self.key_stores.release(&id, None);
        if !self.store.scrub()? {
            tracing::warn!(store = %id, "erased records remain in the store's log until its readers are done");
        }
        Ok(EmptyResponse)
    }

    pub(super) fn connect_custom_key_store(
        &self,
        caller: &Caller,
        request: &ConnectCustomKeyStoreRequest,
    ) -> Result<ConnectCustomKeyStoreResponse, KmsError> {
        self.authorize_other(caller, Action::ConnectCustomKeyStore, Resource::Account, &[])?;
        let id = self.key_store(&request.custom_key_store_id)?.id;
        let since = self.now();
        let begun = store::write(&*self.store, |tx| {
            let mut record = known(tx, &id)?;
            match record.connection_state(since).0 {
                ConnectionState::Connected => return Ok(None),
                ConnectionState::Connecting | ConnectionState::Disconnected => {}
                state => return Err(wrong_connection(&record, state)),
            }
            record.connection = Connection::Connecting { since };
            record.epoch += 1;
            tx.put_custom_key_store(&record)?;
            Ok(Some(record))
        })?;
        let Some(begun) = begun else { return Ok(EmptyResponse) };
        let connection = match self.key_stores.open(&begun) {
            Ok(_) => Connection::Connected,
            Err(ConnectFailure { code, .. }) => Connection::Failed(code),
        };
        store::write(&*self.store, |tx| {
            let mut record = known(tx, &id)?;
            // Whoever has disconnected or connected it meanwhile wins.
            if record.epoch == begun.epoch {
                record.connection = connection;
                tx.put_custom_key_store(&record)?;
            }
            Ok(())
        })?;
        Ok(EmptyResponse)
    }

    pub(super) fn disconnect_custom_key_store(
        &self,
        caller: &Caller,
        request: &DisconnectCustomKeyStoreRequest,
    ) -> Result<DisconnectCustomKeyStoreResponse, KmsError> {
        self.authorize_other(caller, Action::DisconnectCustomKeyStore, Resource::Account, &[])?;
        let id = self.key_store(&request.custom_key_store_id)?.id;
        let now = self.now();
        store::write(&*self.store, |tx| {
            let mut record = known(tx, &id)?;
            match record.connection_state(now).0 {
                ConnectionState::Connected | ConnectionState::Connecting | ConnectionState::Failed => {}
                state => return Err(wrong_connection(&record, state)),
            }
            record.connection = Connection::Disconnected;
            record.epoch += 1;
            Ok(tx.put_custom_key_store(&record)?)
        })?;
        self.cache.clear();
        self.key_stores.release(&id, None);
        Ok(EmptyResponse)
    }

    fn key_store(&self, typed: &str) -> Result<CustomKeyStoreRecord, KmsError> {
        let id = typed.parse()?;
        store::read(&*self.store, |tx| {
            tx.custom_key_store(&id)?.ok_or_else(|| KmsError::custom_key_store_not_found(typed))
        })
    }

    /// A store that is connected, for an operation that needs it to be.
    pub(super) fn connected_key_store(&self, typed: &str) -> Result<CustomKeyStoreRecord, KmsError> {
        let record = self.key_store(typed)?;
        match record.connection_state(self.now()).0 {
            ConnectionState::Connected => Ok(record),
            state => Err(wrong_connection(&record, state)),
        }
    }

    /// Binds a new key to the store that the request names, if it names one.
    pub(super) fn binding(
        &self,
        request: &CreateKeyRequest,
        origin: Origin,
    ) -> Result<Option<CustomKeyStoreBinding>, KmsError> {
        let in_store = matches!(origin, Origin::AwsCloudHsm | Origin::ExternalKeyStore);
        let refused = |text: String| Err(KmsError::Validation(text));
        match (&request.custom_key_store_id, &request.xks_key_id) {
            (None, _) if in_store => {
                refused(format!("You must specify a CustomKeyStoreId for KMS keys with Origin {origin}."))
            }
            (Some(_), _) if !in_store => refused(format!(
                "CustomKeyStoreId is not valid for Origin {origin}. Specify AWS_CLOUDHSM or EXTERNAL_KEY_STORE."
            )),
            (_, Some(_)) if origin != Origin::ExternalKeyStore => {
                refused(format!("XksKeyId is not valid for Origin {origin}."))
            }
            (_, None) if origin == Origin::ExternalKeyStore => {
                refused("You must specify an XksKeyId for KMS keys with Origin EXTERNAL_KEY_STORE.".into())
            }
            (None, _) => Ok(None),
            (Some(typed), xks_key_id) => {
                let record = self.connected_key_store(typed)?;
                if record.store_type().origin() != origin {
                    return refused(format!(
                        "Origin {origin} is not valid for a custom key store of type {}.",
                        record.store_type()
                    ));
                }
                check_room(&record, xks_key_id.as_deref())?;
                Ok(Some(CustomKeyStoreBinding {
                    store_id: record.id,
                    cluster_id: record.config.cluster_id().map(str::to_owned),
                    xks_key_id: xks_key_id.clone(),
                }))
            }
        }
    }

    /// Makes the material of a new key in its custom key store.
    pub(super) fn material_in_key_store(
        &self,
        caller: &Caller,
        record: &KeyRecord,
        binding: &CustomKeyStoreBinding,
    ) -> Result<NewMaterial, KmsError> {
        let custody = self.open_key_store(&self.connected_key_store(binding.store_id.as_str())?)?;
        let Some(external) = &binding.xks_key_id else {
            return Ok(custody.generate(&record.key_id, record.key_spec)?);
        };
        let arn = self.arn(&record.key_id).to_string();
        custody.adopt(&record.key_id, external, &key_user(caller, Action::CreateKey, &arn))
    }

    /// Enters a new key into its store, in the transaction that stores the key.
    pub(super) fn join_key_store(&self, tx: &dyn WriteTx, record: &KeyRecord) -> Result<(), KmsError> {
        let Some(binding) = &record.custom_key_store else { return Ok(()) };
        let mut key_store = known(tx, &binding.store_id)?;
        if !key_store.is_connected() {
            return Err(wrong_connection(&key_store, key_store.connection_state(self.now()).0));
        }
        check_room(&key_store, binding.xks_key_id.as_deref())?;
        key_store.keys.insert(record.key_id, binding.xks_key_id.clone());
        Ok(tx.put_custom_key_store(&key_store)?)
    }

    /// Destroys what was made for a key that then was not stored. A failure leaves a key behind that nobody uses.
    pub(super) fn abandon_material(&self, record: &KeyRecord, material: &NewMaterial) {
        let destroyed = self.custody_of(record).and_then(|custody| {
            Ok(custody.destroy(&record.key_id, &material.material_id, &material.handle)?)
        });
        if let Err(error) = destroyed {
            tracing::warn!(key_id = %record.key_id, %error, "the material of a key that was not created remains");
        }
    }
}

/// Takes a key that is deleted out of its store, in the transaction that erases it.
pub(super) fn leave_key_store(tx: &dyn WriteTx, record: &KeyRecord) -> Result<(), KmsError> {
    let Some(binding) = &record.custom_key_store else { return Ok(()) };
    if let Some(mut key_store) = tx.custom_key_store(&binding.store_id)?
        && key_store.keys.remove(&record.key_id).is_some()
    {
        tx.put_custom_key_store(&key_store)?;
    }
    Ok(())
}

/// Who uses a key, as an external key manager is told.
pub(super) fn key_user<'a>(caller: &'a Caller, action: Action, key_arn: &'a str) -> KeyUser<'a> {
    KeyUser {
        principal: caller.principal.as_str(),
        via_service: caller.via_service.as_deref(),
        operation: action.operation(),
        key_arn,
        request_id: caller.request_id,
    }
}

fn known(tx: &dyn WriteTx, id: &CustomKeyStoreId) -> Result<CustomKeyStoreRecord, KmsError> {
    tx.custom_key_store(id)?.ok_or_else(|| KmsError::custom_key_store_not_found(id.as_str()))
}

fn wrong_connection(record: &CustomKeyStoreRecord, state: ConnectionState) -> KmsError {
    KmsError::CustomKeyStoreInvalidState(format!(
        "The connection state of custom key store {} is {state}, which is not valid for this operation.",
        record.id
    ))
}

fn check_name(name: &str) -> Result<(), KmsError> {
    let bound = match name.chars().count() {
        0 => format_args!("have length greater than or equal to 1"),
        1..=MAX_NAME_LEN => return Ok(()),
        _ => format_args!("have length less than or equal to {MAX_NAME_LEN}"),
    };
    Err(KmsError::constraint(None, "customKeyStoreName", bound))
}

fn check_name_free(other: &CustomKeyStoreRecord, name: &str) -> Result<(), KmsError> {
    if other.name == name {
        return Err(KmsError::CustomKeyStoreNameInUse(format!(
            "Custom key store {} has the name {name} already.",
            other.id
        )));
    }
    Ok(())
}

/// Refuses what another store has already: in the Region a name or the address of a proxy, and anywhere a token. The login
/// of a process and the count of wrong PINs are those of the token.
fn check_apart(tx: &dyn WriteTx, record: &CustomKeyStoreRecord) -> Result<(), KmsError> {
    let others = tx.list_custom_key_stores()?;
    others.iter().filter(|other| other.id != record.id).try_for_each(|other| check_two(record, other))?;
    let KeyStoreConfig::Token(own) = &record.config else { return Ok(()) };
    for locality in tx.localities()? {
        let others = tx.at(&locality).list_custom_key_stores()?;
        let same = |other: &&CustomKeyStoreRecord| {
            other.id != record.id
                && matches!(&other.config, KeyStoreConfig::Token(it) if it.cluster_id == own.cluster_id)
        };
        if let Some(other) = others.iter().find(same) {
            let message = format!("The token belongs to custom key store {} already.", other.id);
            return Err(KmsError::CloudHsmClusterInUse(message));
        }
    }
    Ok(())
}

fn check_two(record: &CustomKeyStoreRecord, other: &CustomKeyStoreRecord) -> Result<(), KmsError> {
    check_name_free(other, &record.name)?;
    match (&record.config, &other.config) {
        (KeyStoreConfig::Proxy(one), KeyStoreConfig::Proxy(two)) if one.uri() == two.uri() => {
            let message = format!("The proxy belongs to custom key store {} already.", other.id);
            Err(KmsError::XksProxyUriInUse(message))
        }
        _ => Ok(()),
    }
}

/// Refuses another key in a store that is full, and an external key that another KMS key has.
fn check_room(record: &CustomKeyStoreRecord, xks_key_id: Option<&str>) -> Result<(), KmsError> {
    if record.keys.len() >= MAX_KEYS {
        return Err(KmsError::LimitExceeded(format!(
            "Custom key store {} has {MAX_KEYS} KMS keys already.",
            record.id
        )));
    }
    let taken = |owner: &Option<String>| owner.as_deref() == xks_key_id;
    if xks_key_id.is_some() && record.keys.values().any(taken) {
        return Err(KmsError::XksKeyAlreadyInUse(
            "The external key is associated with another KMS key of this external key store already.".into(),
        ));
    }
    Ok(())
}

fn describe(record: &CustomKeyStoreRecord, now: Timestamp) -> CustomKeyStoresListEntry {
    let (connection_state, connection_error_code) = record.connection_state(now);
    let (certificate, proxy, token) = match &record.config {
        KeyStoreConfig::Token(token) => {
            let (module, label, serial) = (token.module.clone(), token.label.clone(), token.serial.clone());
            (&token.trust_anchor_certificate, None, Some(TokenDescription { module, label, serial }))
        }
        KeyStoreConfig::Proxy(proxy) => {
            let shown = XksProxyConfiguration {
                connectivity: proxy.connectivity,
                access_key_id: proxy.credential.access_key_id.clone(),
                uri_endpoint: proxy.uri_endpoint.clone(),
                uri_path: proxy.uri_path.clone(),
            };
            (&proxy.trust_anchor_certificate, Some(shown), None)
        }
    };
    CustomKeyStoresListEntry {
        custom_key_store_id: record.id.clone(),
        custom_key_store_name: record.name.clone(),
        cloud_hsm_cluster_id: record.config.cluster_id().map(str::to_owned),
        trust_anchor_certificate: certificate.clone(),
        connection_state,
        connection_error_code,
        creation_date: record.creation_date,
        custom_key_store_type: record.store_type(),
        xks_proxy_configuration: proxy,
        token,
    }
}

/// Refuses a change that the connection state does not permit. Name, path and credential of an external key store may
/// change while it is connected.
fn check_updatable(
    record: &CustomKeyStoreRecord,
    request: &UpdateCustomKeyStoreRequest,
    now: Timestamp,
) -> Result<(), KmsError> {
    let proxy = &request.xks_proxy;
    let moves = proxy.uri_endpoint.is_some()
        || proxy.connectivity.is_some()
        || proxy.vpc_endpoint_service_name.is_some()
        || proxy.vpc_endpoint_service_owner.is_some();
    let lenient = record.store_type() == CustomKeyStoreType::ExternalKeyStore && !moves;
    match record.connection_state(now).0 {
        ConnectionState::Disconnected => Ok(()),
        ConnectionState::Connected if lenient => Ok(()),
        state => Err(wrong_connection(record, state)),
    }
}
