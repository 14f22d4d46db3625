//! Grants.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::Core;
use super::access::{Purpose, TxLookup};
use super::authorizer::{Basis, Resource};
use super::paging::{after_marker, cut, page_size};
use super::states::OperationClass;
use crate::error::KmsError;
use crate::model::*;
use crate::policy::{ConditionKey, PolicyPrincipal, Value};
use crate::seal::fill_random;
use crate::store::{self, GrantFilter, GrantRecord, KeyRecord, WriteTx};

/// The most grants of one key.
const MAX_GRANTS_PER_KEY: usize = 50_000;
/// The longest text of a principal.
const MAX_PRINCIPAL_LEN: usize = 256;
/// The longest name of a grant.
const MAX_NAME_LEN: usize = 256;
/// The longest token that the API accepts; ours have about 130 characters.
const MAX_TOKEN_LEN: usize = 8192;
/// What the seal of a token is for.
const TOKEN_PLACE: &[u8] = b"grant token v1";

impl Core {
    pub(super) fn create_grant(
        &self,
        caller: &Caller,
        request: &CreateGrantRequest,
    ) -> Result<CreateGrantResponse, KmsError> {
        let key_id = self.resolve_direct(&request.key_id)?;
        let wanted = new_grant(caller, request, key_id, self.now())?;
        let particulars = creation_particulars(caller, &wanted);
        let constraints = &wanted.constraints;
        let context =
            constraints.encryption_context_equals.as_ref().or(constraints.encryption_context_subset.as_ref());
        let purpose = Purpose {
            encryption_context: context,
            grant_tokens: &request.grant_tokens,
            particulars: &particulars,
            new_grant: Some(&wanted),
            ..Purpose::new(Action::CreateGrant, OperationClass::Grant)
        };
        let grant_id = self.change_key(caller, &request.key_id, &purpose, |record, tx, _| {
            check_operations(record, &wanted)?;
            if request.dry_run {
                return Err(KmsError::dry_run());
            }
            if let Some(same) = same_grant(tx, &wanted)? {
                return Ok(same);
            }
            if tx.count_grants(&key_id)? >= MAX_GRANTS_PER_KEY {
                return Err(KmsError::LimitExceeded(format!(
                    "The key {} has {MAX_GRANTS_PER_KEY} grants, the most that a key can have.",
                    self.arn(&key_id)
                )));
            }
            tx.put_grant(&wanted)?;
            Ok(wanted.grant_id)
        })?;
        Ok(CreateGrantResponse { grant_token: self.seal_grant_token(&key_id, &grant_id)?, grant_id })
    }

    pub(super) fn list_grants(
        &self,
        caller: &Caller,
        request: &ListGrantsRequest,
    ) -> Result<ListGrantsResponse, KmsError> {
        let size = page_size(&request.page, 50, 100)?;
        let after: Option<GrantId> = after_marker(&request.page, "grants")?;
        let grantee = optional_principal(
            request.grantee_principal.as_deref(),
            request.grantee_service_principal.as_deref(),
            "granteePrincipal",
        )?;
        let particulars = [for_resource(caller)];
        let purpose = Purpose::new(Action::ListGrants, OperationClass::Read).with(&particulars);
        let key_id = self.view_key(caller, &request.key_id, &purpose)?.key_id;
        let mut grants = store::read(&*self.store, |tx| match (&request.grant_id, &grantee) {
            (Some(grant_id), _) => {
                let found = tx.grant(grant_id)?.filter(|grant| grant.key_id == key_id);
                let wanted = |grant: &GrantRecord| grantee.as_ref().is_none_or(|one| grant.grantee == *one);
                Ok(found.into_iter().filter(wanted).collect())
            }
            (None, Some(grantee)) => {
                Ok(tx.list_grants(GrantFilter::Grantee(&key_id, grantee), after.as_ref(), size + 1)?)
            }
            (None, None) => Ok(tx.list_grants(GrantFilter::Key(&key_id), after.as_ref(), size + 1)?),
        })?;
        let next_marker = cut(&mut grants, size, "grants", |grant| grant.grant_id.to_string());
        Ok(self.grant_page(grants, next_marker))
    }

    pub(super) fn list_retirable_grants(
        &self,
        caller: &Caller,
        request: &ListRetirableGrantsRequest,
    ) -> Result<ListRetirableGrantsResponse, KmsError> {
        self.authorize_other(caller, Action::ListRetirableGrants, Resource::Account, &[])?;
        let size = page_size(&request.page, 50, 100)?;
        let after: Option<GrantId> = after_marker(&request.page, "retirable")?;
        let retiring = optional_principal(
            request.retiring_principal.as_deref(),
            request.retiring_service_principal.as_deref(),
            "retiringPrincipal",
        )?;
        let retiring = retiring.ok_or_else(|| missing("retiringPrincipal"))?;
        self.sweep()?;
        let mut grants = store::read(&*self.store, |tx| {
            Ok(tx.list_grants(GrantFilter::Retiring(&retiring), after.as_ref(), size + 1)?)
        })?;
        let next_marker = cut(&mut grants, size, "retirable", |grant| grant.grant_id.to_string());
        Ok(self.grant_page(grants, next_marker))
    }

    fn grant_page(&self, grants: Vec<GrantRecord>, next_marker: Option<String>) -> ListGrantsResponse {
        ListGrantsResponse {
            grants: grants.into_iter().map(|grant| self.grant_entry(grant)).collect(),
            next_marker,
        }
    }

    pub(super) fn grant_entry(&self, grant: GrantRecord) -> GrantListEntry {
        GrantListEntry {
            key_id: self.arn(&grant.key_id),
            grant_id: grant.grant_id,
            name: grant.name,
            creation_date: grant.creation_date,
            grantee_principal: grant.grantee,
            retiring_principal: grant.retiring,
            issuing_account: Principal::root(&grant.issuing_account),
            operations: grant.operations,
            constraints: grant.constraints,
        }
    }

    pub(super) fn revoke_grant(
        &self,
        caller: &Caller,
        request: &RevokeGrantRequest,
    ) -> Result<RevokeGrantResponse, KmsError> {
        let particulars = [for_resource(caller)];
        let purpose = Purpose::new(Action::RevokeGrant, OperationClass::Read).with(&particulars);
        self.change_key(caller, &request.key_id, &purpose, |record, tx, _| {
            let grant = grant_of(tx, &record.key_id, &request.grant_id)?;
            if request.dry_run {
                return Err(KmsError::dry_run());
            }
            tx.delete_grant(&grant.grant_id)?;
            Ok(EmptyResponse)
        })
    }

    pub(super) fn retire_grant(
        &self,
        caller: &Caller,
        request: &RetireGrantRequest,
    ) -> Result<RetireGrantResponse, KmsError> {
        let (key_id, grant_id) = match (&request.grant_token, &request.key_id, &request.grant_id) {
            (Some(token), None, None) => self.open_grant_token(token)?,
            (None, Some(key_ref), Some(grant_id)) => (self.resolve_direct(key_ref)?, *grant_id),
            (_, _, _) => {
                return Err(KmsError::Validation(
                    "Specify either a grant token, or a key ID and a grant ID.".into(),
                ));
            }
        };
        // Carries out what is due: with a deleted key its grants are gone.
        self.load(&key_id)?;
        let now = self.now();
        store::write(&*self.store, |tx| {
            let record = self.live_key(tx, &key_id, now)?;
            let grant = grant_of(tx, &key_id, &grant_id)?;
            self.authorize_retirement(tx, caller, &record, &grant)?;
            if request.dry_run {
                return Err(KmsError::dry_run());
            }
            tx.delete_grant(&grant_id)?;
            Ok(EmptyResponse)
        })
    }

    /// Who may retire a grant is written in the grant. Policies can only deny it.
    fn authorize_retirement(
        &self,
        tx: &dyn WriteTx,
        caller: &Caller,
        record: &KeyRecord,
        grant: &GrantRecord,
    ) -> Result<(), KmsError> {
        let purpose = Purpose::new(Action::RetireGrant, OperationClass::Read);
        let (policy, lookup) = (self.policies.of(record), TxLookup(tx));
        let question = self.question_on_key(caller, record, &policy, &purpose, None, &lookup);
        if let Some(denial) = question.denial()? {
            return Err(question.refusal(denial.basis));
        }
        let principal = &caller.principal;
        let retiring = grant.retiring.as_ref().is_some_and(|retiring| retiring.stands_for(principal));
        let grantee =
            grant.operations.contains(&GrantOperation::RetireGrant) && grant.grantee.stands_for(principal);
        if retiring || grantee || *principal == Principal::root(&grant.issuing_account) {
            return Ok(());
        }
        Err(question.refusal(Basis::NoKeyStatement))
    }

    /// In an alphabet without a hyphen: at the beginning of an argument it would look like an option.
    fn seal_grant_token(&self, key_id: &KeyId, grant_id: &GrantId) -> Result<String, KmsError> {
        let mut bytes = key_id.to_bytes().to_vec();
        bytes.extend_from_slice(grant_id.as_bytes());
        let sealed = self.grant_tokens.seal(&[TOKEN_PLACE], &bytes);
        Ok(STANDARD_NO_PAD.encode(sealed.map_err(|error| KmsError::Internal(error.to_string()))?))
    }

    /// The key and the grant that a token names. The grant may have been retired or revoked since.
    pub(super) fn open_grant_token(&self, token: &str) -> Result<(KeyId, GrantId), KmsError> {
        let refused = || KmsError::InvalidGrantToken("The specified grant token is not valid.".into());
        let sealed =
            STANDARD_NO_PAD.decode(token.get(..MAX_TOKEN_LEN).unwrap_or(token)).map_err(|_| refused())?;
        let bytes = self.grant_tokens.open(&[TOKEN_PLACE], &sealed).map_err(|_| refused())?;
        let (key_id, rest) = bytes.split_first_chunk().ok_or_else(refused)?;
        let key_id = KeyId::from_bytes(key_id).ok_or_else(refused)?;
        let grant_id = rest.try_into().map_err(|_| refused())?;
        Ok((key_id, GrantId::from_bytes(grant_id)))
    }
}

/// The grant that a request asks for, checked as far as that is possible without its key.
fn new_grant(
    caller: &Caller,
    request: &CreateGrantRequest,
    key_id: KeyId,
    now: Timestamp,
) -> Result<GrantRecord, KmsError> {
    let grantee = optional_principal(
        request.grantee_principal.as_deref(),
        request.grantee_service_principal.as_deref(),
        "granteePrincipal",
    )?;
    let retiring = optional_principal(
        request.retiring_principal.as_deref(),
        request.retiring_service_principal.as_deref(),
        "retiringPrincipal",
    )?;
    if request.operations.is_empty() {
        return Err(missing("operations"));
    }
    check_name(request.name.as_deref())?;
    for context in
        [&request.constraints.encryption_context_equals, &request.constraints.encryption_context_subset]
    {
        context.as_ref().map_or(Ok(()), EncryptionContext::check_size)?;
    }
    check_source_arn(request.constraints.source_arn.as_deref())?;
    let mut operations = request.operations.clone();
    operations.sort();
    operations.dedup();
    let mut bytes = [0; 32];
    fill_random(&mut bytes).map_err(|error| KmsError::Internal(error.to_string()))?;
    Ok(GrantRecord {
        grant_id: GrantId::from_bytes(bytes),
        key_id,
        grantee: grantee.ok_or_else(|| missing("granteePrincipal"))?,
        retiring,
        issuing_account: caller.account.clone(),
        operations,
        constraints: request.constraints.clone(),
        name: request.name.clone(),
        creation_date: now,
    })
}

fn missing(member: &str) -> KmsError {
    KmsError::constraint(None, member, format_args!("not be null"))
}

/// A principal under its own member or under that of services, never both.
fn optional_principal(
    principal: Option<&str>,
    service: Option<&str>,
    member: &str,
) -> Result<Option<Principal>, KmsError> {
    let refused = || KmsError::InvalidArn("ARN does not refer to a valid principal".into());
    let text = match (principal, service) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(KmsError::Validation(format!(
                "Specify either {member} or its service principal, not both."
            )));
        }
        (Some(text), None) | (None, Some(text)) => text,
    };
    if text.len() > MAX_PRINCIPAL_LEN {
        let bound = format_args!("have length less than or equal to {MAX_PRINCIPAL_LEN}");
        return Err(KmsError::constraint(None, member, bound));
    }
    let named = Principal::from_arn(text);
    if named.is_service() {
        return Ok(Some(named));
    }
    if service.is_some() || !text.starts_with("arn:") {
        return Err(refused());
    }
    match PolicyPrincipal::parse_aws(text).map_err(|_| refused())? {
        PolicyPrincipal::Account(account) => Ok(Some(Principal::root(&account))),
        PolicyPrincipal::Arn(principal) => Ok(Some(principal)),
        PolicyPrincipal::Everyone | PolicyPrincipal::Service(_) => Err(refused()),
    }
}

fn check_name(name: Option<&str>) -> Result<(), KmsError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'/' | b'_' | b'-');
    match name {
        Some(name) if name.is_empty() || name.len() > MAX_NAME_LEN => {
            let bound = format_args!("have length between 1 and {MAX_NAME_LEN}");
            Err(KmsError::constraint(None, "name", bound))
        }
        Some(name) if !name.bytes().all(legal) => {
            let bound = format_args!("satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$");
            Err(KmsError::constraint(Some(name), "name", bound))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_source_arn(arn: Option<&str>) -> Result<(), KmsError> {
    let Some(arn) = arn else { return Ok(()) };
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let shaped = match parts[..] {
        ["arn", partition, service, _, account, resource] => {
            partition.starts_with("aws")
                && !service.is_empty()
                && account.parse::<AccountId>().is_ok()
                && !resource.is_empty()
        }
        _ => false,
    };
    if shaped && (20..=512).contains(&arn.len()) {
        return Ok(());
    }
    let pattern = format_args!(
        "satisfy regular expression pattern: ^arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{{12}}:.+$"
    );
    Err(KmsError::constraint(Some(arn), "constraints.sourceArn", pattern))
}

/// Whether a service asks on behalf of its user: it will use the grant for a resource of its own.
fn for_resource(caller: &Caller) -> (ConditionKey, Value<'static>) {
    (ConditionKey::GrantIsForAwsResource, Value::Bool(caller.via_service.is_some()))
}

fn creation_particulars<'a>(caller: &Caller, grant: &'a GrantRecord) -> Vec<(ConditionKey, Value<'a>)> {
    let mut particulars =
        vec![for_resource(caller), (ConditionKey::GranteePrincipal, grant.grantee.as_str().into())];
    let retiring = grant.retiring.iter();
    particulars.extend(retiring.map(|one| (ConditionKey::RetiringPrincipal, one.as_str().into())));
    let operations = grant.operations.iter();
    particulars.extend(operations.map(|one| (ConditionKey::GrantOperations, one.as_str().into())));
    let GrantConstraints { encryption_context_equals, encryption_context_subset, .. } = &grant.constraints;
    let equals = encryption_context_equals.as_ref().map(|_| "EncryptionContextEquals");
    let subset = encryption_context_subset.as_ref().map(|_| "EncryptionContextSubset");
    let kinds = equals.into_iter().chain(subset);
    particulars.extend(kinds.map(|kind| (ConditionKey::GrantConstraintType, kind.into())));
    particulars
}

/// Refuses operations that the key cannot do, and a constraint on an encryption context that it does not have.
fn check_operations(record: &KeyRecord, grant: &GrantRecord) -> Result<(), KmsError> {
    let symmetric = record.key_spec == KeySpec::SymmetricDefault;
    if let Some(operation) =
        grant.operations.iter().find(|operation| !fits(**operation, record.key_usage, symmetric))
    {
        return Err(KmsError::Validation(format!(
            "Operation {operation} is not valid for a KMS key with KeySpec {} and KeyUsage {}.",
            record.key_spec, record.key_usage
        )));
    }
    let constraints = &grant.constraints;
    let constrained =
        constraints.encryption_context_equals.is_some() || constraints.encryption_context_subset.is_some();
    if constrained && !symmetric {
        return Err(KmsError::Validation(
            "Encryption context constraints are valid only for symmetric encryption KMS keys.".into(),
        ));
    }
    Ok(())
}

fn fits(operation: GrantOperation, usage: KeyUsage, symmetric: bool) -> bool {
    use GrantOperation as Op;
    match operation {
        Op::CreateGrant | Op::RetireGrant | Op::DescribeKey => true,
        Op::Encrypt | Op::Decrypt | Op::ReEncryptFrom | Op::ReEncryptTo => usage == KeyUsage::EncryptDecrypt,
        Op::GenerateDataKey
        | Op::GenerateDataKeyWithoutPlaintext
        | Op::GenerateDataKeyPair
        | Op::GenerateDataKeyPairWithoutPlaintext => symmetric,
        Op::Sign | Op::Verify => usage == KeyUsage::SignVerify,
        Op::GenerateMac | Op::VerifyMac => usage == KeyUsage::GenerateVerifyMac,
        Op::DeriveSharedSecret => usage == KeyUsage::KeyAgreement,
        Op::Encapsulate | Op::Decapsulate => usage == KeyUsage::EncapsulateDecapsulate,
        Op::GetPublicKey => !symmetric && usage != KeyUsage::GenerateVerifyMac,
    }
}

/// The grant that a request with the same name and the same parameters has created.
fn same_grant(tx: &dyn WriteTx, wanted: &GrantRecord) -> Result<Option<GrantId>, KmsError> {
    let Some(name) = &wanted.name else { return Ok(None) };
    let named =
        tx.list_grants(GrantFilter::Named(&wanted.key_id, &wanted.grantee, name), None, usize::MAX)?;
    let same = |found: &GrantRecord| {
        let GrantRecord { grant_id, creation_date, .. } = *found;
        *found == GrantRecord { grant_id, creation_date, ..wanted.clone() }
    };
    Ok(named.into_iter().find(same).map(|found| found.grant_id))
}

/// A grant of a key.
fn grant_of(tx: &dyn WriteTx, key_id: &KeyId, grant_id: &GrantId) -> Result<GrantRecord, KmsError> {
    tx.grant(grant_id)?
        .filter(|grant| grant.key_id == *key_id)
        .ok_or_else(|| KmsError::NotFound(format!("Grant ID {grant_id} not found")))
}
