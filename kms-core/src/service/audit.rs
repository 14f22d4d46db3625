//! A record for every request, whatever comes of it.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::audit_facts::{AnswerFacts, Facts, RequestFacts};
use super::{Core, EmbeddedKms};
use crate::audit::{
    self, Anchor, AuditEntry, AuditError, AuditKey, AuditMode, AuditRecord, AuditSettings, AuditStore,
    Expected, Head, Outcome, Recorder, RecorderOptions, Verification,
};
use crate::blob;
use crate::error::KmsError;
use crate::model::{Caller, Clock, KeyArn, KeyRef, KeyTarget, Principal, RequestId, Timestamp};
use crate::store::{self, MetadataStore};

/// What the keystore wants of its log, in the store.
const SETTINGS: &str = "audit";
/// How long the log was, in the store.
const ANCHOR: &str = "audit anchor";

/// Who is recorded for what the service does by itself.
const ITSELF: &str = "kms.amazonaws.com";

/// What uses keys and changes nothing about them.
const USES: &[&str] = &[
    "Encrypt",
    "Decrypt",
    "ReEncrypt",
    "Sign",
    "Verify",
    "VerifyMac",
    "DeriveSharedSecret",
    "Encapsulate",
    "Decapsulate",
];

thread_local! {
    /// The last request that an operation recorded on this thread: what is refused outside is recorded once.
    static LAST_RECORDED: Cell<Option<RequestId>> = const { Cell::new(None) };
}

/// The recorder of a service, and how it is to record.
pub(super) struct Auditor {
    recorder: Recorder,
    /// The mode, and the value of the store's change counter at which it was read.
    mode: Mutex<Option<(u64, AuditMode)>>,
    process: u64,
    requests: AtomicU64,
}

impl Auditor {
    pub(super) fn new(
        log: Arc<dyn AuditStore>,
        key: AuditKey,
        store: &Arc<dyn MetadataStore>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let keeper = Arc::clone(store);
        let recorder = Recorder::new(RecorderOptions {
            store: log,
            key,
            clock: Arc::clone(clock),
            keep_anchor: Box::new(move |anchor| keep_anchor(&*keeper, anchor)),
        });
        let process = Uuid::new_v4().as_u64_pair().0;
        Self { recorder, mode: Mutex::new(None), process, requests: AtomicU64::new(0) }
    }

    /// How to record, as of the last change of the store.
    fn mode(&self, core: &Core) -> Result<AuditMode, KmsError> {
        let counter = core.store.change_counter()?;
        let mut cached = self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, mode)) = *cached
            && at == counter
        {
            return Ok(mode);
        }
        let settings = read_json::<AuditSettings>(&*core.store, SETTINGS)?.unwrap_or_default();
        self.recorder.set(&settings);
        *cached = Some((counter, settings.mode));
        Ok(settings.mode)
    }

    /// The id of a request that came without one: unique, and cheaper than random numbers.
    fn request_id(&self, caller: &Caller) -> RequestId {
        let number = || self.requests.fetch_add(1, Ordering::Relaxed);
        caller.request_id.unwrap_or_else(|| RequestId::new(Uuid::from_u64_pair(self.process, number())))
    }

    /// Records an outcome. When records are required, returns once it is durable.
    fn record(&self, mode: AuditMode, entry: &AuditEntry<'_>) -> Result<(), KmsError> {
        match mode {
            AuditMode::Off => Ok(()),
            AuditMode::On => {
                self.recorder.note(entry);
                Ok(())
            }
            AuditMode::Required => Ok(self.recorder.write(entry)?),
        }
    }
}

/// Makes sure that there is a log, as far as it can be used.
pub(super) fn open(
    log: &dyn AuditStore,
    key: &AuditKey,
    store: &dyn MetadataStore,
    now: Timestamp,
) -> Result<(), KmsError> {
    let remembered = read_json::<Anchor>(store, ANCHOR)?;
    match audit::open_log(log, key, remembered.as_ref(), now) {
        Ok(head) if remembered.is_none_or(|anchor| anchor.log_id != head.log_id) => {
            Ok(keep_anchor(store, &Anchor::of(&head))?)
        }
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::error!(%error, "the audit log cannot be used");
            Ok(())
        }
    }
}

fn read_json<T: serde::de::DeserializeOwned>(
    store: &dyn MetadataStore,
    name: &str,
) -> Result<Option<T>, KmsError> {
    let bytes = store::read(store, |tx| Ok(tx.setting(name)?))?;
    let parse = |bytes: Vec<u8>| {
        serde_json::from_slice(&bytes)
            .map_err(|_| KmsError::CorruptRecord(format!("the stored setting {name} is damaged")))
    };
    bytes.map(parse).transpose()
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, KmsError> {
    serde_json::to_vec(value).map_err(|error| KmsError::Internal(error.to_string()))
}

/// Remembers how long the log is. A process that was slow does not make it shorter.
fn keep_anchor(store: &dyn MetadataStore, anchor: &Anchor) -> Result<(), AuditError> {
    let kept = read_json::<Anchor>(store, ANCHOR).and_then(|known| {
        if known.is_some_and(|known| known.log_id == anchor.log_id && known.next >= anchor.next) {
            return Ok(());
        }
        let value = json(anchor)?;
        store::write(store, |tx| Ok(tx.put_setting(ANCHOR, &value)?))
    });
    kept.map_err(|error| AuditError::Backend(error.to_string()))
}

fn changes_something(operation: &str) -> bool {
    let reads = ["Describe", "List", "Get", "Generate"];
    !USES.contains(&operation) && !reads.iter().any(|prefix| operation.starts_with(prefix))
}

impl Core {
    /// Carries out a request and records what came of it.
    pub(super) fn audited<Q: RequestFacts, A: AnswerFacts>(
        &self,
        operation: &str,
        caller: &Caller,
        request: &Q,
        run: impl FnOnce(&Self) -> Result<A, KmsError>,
    ) -> Result<A, KmsError> {
        let Some(auditor) = &self.auditor else { return run(self) };
        let mode = auditor.mode(self)?;
        if mode == AuditMode::Off {
            return run(self);
        }
        let facts = request.facts();
        let mut id = Uuid::encode_buffer();
        let request_id = auditor.request_id(caller);
        let entry = AuditEntry {
            request_id: request_id.uuid().hyphenated().encode_lower(&mut id),
            item: request_id.item(),
            operation,
            resource: facts.resource.as_deref(),
            encryption_context: facts.context,
            source_encryption_context: facts.source_context,
            dry_run: facts.dry_run,
            ..self.entry_of(caller)
        };
        if mode == AuditMode::Required && changes_something(operation) {
            let key_id = facts.key.map(|key| self.name_of(key));
            let entry = AuditEntry { key_id: key_id.as_deref(), ..entry.clone() };
            auditor.recorder.write(&entry.with_outcome(Outcome::Begun))?;
        }
        let result = run(self);
        let (key, source) = match &result {
            Ok(answer) => answer.keys(),
            Err(_) => (None, None),
        };
        let key = match key {
            Some(arn) => Some(Cow::Borrowed(arn.as_str())),
            None => self.key_of_request(&facts, result.is_err()),
        };
        let source = match source {
            Some(arn) => Some(Cow::Borrowed(arn.as_str())),
            None => facts.source.map(|key| self.name_of(key)),
        };
        LAST_RECORDED.set(caller.request_id);
        let outcome = match &result {
            Ok(_) => Outcome::Success,
            Err(error) => Outcome::Refused(error.code(), error.message()),
        };
        let entry = AuditEntry { key_id: key.as_deref(), source_key_id: source.as_deref(), ..entry };
        auditor.record(mode, &entry.with_outcome(outcome))?;
        result
    }

    fn entry_of<'a>(&self, caller: &'a Caller) -> AuditEntry<'a> {
        AuditEntry {
            time: self.now().as_millis(),
            principal: caller.principal.as_str(),
            via_service: caller.via_service.as_deref(),
            source_ip: caller.source_ip,
            ..AuditEntry::default()
        }
    }

    /// The key that a request is about, if its answer does not tell.
    fn key_of_request<'a>(&self, facts: &Facts<'a>, refused: bool) -> Option<Cow<'a, str>> {
        match (facts.key, facts.blob) {
            (Some(key), _) if refused => Some(self.behind(key)),
            (Some(key), _) => Some(self.name_of(key)),
            (None, Some(blob)) => {
                let (header, _) = blob::parse(blob.as_bytes()).ok()?;
                Some(self.arn(&header.key_id).to_string().into())
            }
            (None, None) => None,
        }
    }

    /// The ARN of a key that was named by its id, and every other name as it was typed.
    fn name_of<'a>(&self, key: &'a KeyRef) -> Cow<'a, str> {
        match key.target() {
            KeyTarget::Id(key_id) if key.realm().is_none() => self.arn(key_id).to_string().into(),
            KeyTarget::Id(_) | KeyTarget::Alias(_) => key.typed().into(),
        }
    }

    /// The same, with the key behind an alias if there is one: who was refused tried to use that key.
    fn behind<'a>(&self, key: &'a KeyRef) -> Cow<'a, str> {
        let KeyTarget::Alias(name) = key.target() else { return self.name_of(key) };
        let here = key.realm().is_none_or(|realm| *realm == self.realm);
        let found =
            here.then(|| store::read(&*self.store, |tx| Ok(tx.alias(name)?)).ok().flatten()).flatten();
        found.map_or_else(|| key.typed().into(), |alias| self.arn(&alias.key_id).to_string().into())
    }

    /// Records what the service did to a key by itself, because it was due or because a service needed its key.
    pub(super) fn note_by_itself(&self, operation: &str, arn: &KeyArn) {
        let Some(auditor) = &self.auditor else { return };
        if auditor.mode(self).unwrap_or_default() == AuditMode::Off {
            return;
        }
        let mut id = Uuid::encode_buffer();
        let number = auditor.requests.fetch_add(1, Ordering::Relaxed);
        let request_id = Uuid::from_u64_pair(auditor.process, number);
        let entry = AuditEntry {
            time: self.now().as_millis(),
            request_id: request_id.hyphenated().encode_lower(&mut id),
            operation,
            principal: ITSELF,
            key_id: Some(arn.as_str()),
            ..AuditEntry::default()
        };
        auditor.recorder.note(&entry.with_outcome(Outcome::Success));
    }

    /// Carries out what whoever has the keystore does to it, and records it as done by the account itself.
    pub(super) fn administered<T>(
        &self,
        operation: &str,
        resource: &str,
        run: impl FnOnce() -> Result<T, KmsError>,
    ) -> Result<T, KmsError> {
        let account = self.realm.account.clone();
        let root = Caller { principal: Principal::root(&account), ..Caller::local(account, "") };
        let about = Administered(resource);
        self.audited(operation, &root, &about, |_| run().map(Done)).map(|Done(value)| value)
    }
}

/// What an administrator of the keystore asks for: not an operation of the API.
struct Administered<'a>(&'a str);

impl RequestFacts for Administered<'_> {
    fn facts(&self) -> Facts<'_> {
        Facts { resource: Some(self.0.into()), ..Facts::default() }
    }
}

/// What such a request is answered with.
struct Done<T>(T);

impl<T> AnswerFacts for Done<T> {}

/// The audit log of a service. See [`EmbeddedKms::audit`].
#[derive(Debug)]
pub struct Audit<'a> {
    service: &'a EmbeddedKms,
    recorder: &'a Recorder,
}

impl EmbeddedKms {
    /// The audit log; `None` for a service that has none.
    pub fn audit(&self) -> Option<Audit<'_>> {
        let auditor = self.core.auditor.as_ref()?;
        Some(Audit { service: self, recorder: &auditor.recorder })
    }

    /// Records the refusal of a request that did not reach its operation, for example because its shape is wrong. Does
    /// nothing if the operation has recorded the request, on this thread.
    pub fn record_refusal(
        &self,
        caller: &Caller,
        operation: &str,
        code: &str,
        message: &str,
    ) -> Result<(), KmsError> {
        let Some(auditor) = &self.core.auditor else { return Ok(()) };
        if caller.request_id.is_some() && LAST_RECORDED.get() == caller.request_id {
            return Ok(());
        }
        let (mode, mut id) = (auditor.mode(&self.core)?, Uuid::encode_buffer());
        let request_id = auditor.request_id(caller);
        let entry = AuditEntry {
            request_id: request_id.uuid().hyphenated().encode_lower(&mut id),
            item: request_id.item(),
            operation,
            ..self.core.entry_of(caller)
        };
        auditor.record(mode, &entry.with_outcome(Outcome::Refused(code, message)))
    }
}

impl Audit<'_> {
    fn core(&self) -> &Core {
        &self.service.core
    }

    /// What the keystore wants of its log.
    pub fn settings(&self) -> Result<AuditSettings, KmsError> {
        Ok(read_json(&*self.core().store, SETTINGS)?.unwrap_or_default())
    }

    /// Changes that, for all processes and with their next request. The change is recorded before it is made.
    pub fn configure(&self, settings: &AuditSettings) -> Result<(), KmsError> {
        if settings.keep_bytes < AuditSettings::MIN_KEEP_BYTES {
            let least = AuditSettings::MIN_KEEP_BYTES;
            return Err(KmsError::Validation(format!("At least {least} bytes of the audit log are kept.")));
        }
        let value = json(settings)?;
        let text = String::from_utf8_lossy(&value).into_owned();
        self.core().administered("ConfigureAudit", &text, || {
            // Written while the old settings still hold, so that a log that is switched off says so.
            self.recorder.flush()?;
            store::write(&*self.core().store, |tx| Ok(tx.put_setting(SETTINGS, &value)?))
        })
    }

    /// Writes what this process has not written yet.
    pub fn flush(&self) -> Result<(), AuditError> {
        self.recorder.flush()
    }

    /// The head, with the public key that verifies it and its signature, to be kept elsewhere.
    pub fn head(&self) -> Result<(Head, audit::SignedHead, String), AuditError> {
        self.recorder.flush()?;
        let key = self.recorder.key();
        let signed = self.recorder.store().head()?.ok_or(AuditError::Missing)?;
        let head = signed.open(&key.verifying_key()).ok_or(AuditError::Forged)?;
        Ok((head, signed, key.public_text()))
    }

    /// Reads the whole log and compares it with what was signed, with what the keystore remembers, and with what the
    /// caller has kept.
    pub fn verify(&self, kept: Option<Anchor>) -> Result<Verification, KmsError> {
        // A log that cannot be written can still be read.
        if let Err(error) = self.recorder.flush() {
            tracing::warn!(%error, "the audit log cannot be written");
        }
        let remembered = read_json::<Anchor>(&*self.core().store, ANCHOR)?;
        let named = |source: &'static str| move |anchor: Anchor| Expected { anchor, source };
        let expected =
            remembered.map(named("the keystore")).into_iter().chain(kept.map(named("the kept head")));
        let expected: Vec<Expected> = expected.collect();
        let failed = |error: AuditError| KmsError::Internal(error.to_string());
        audit::verify(self.recorder.store(), self.recorder.key(), &expected).map_err(failed)
    }

    /// The newest records that `wanted` picks, at most `limit` of them, oldest first, with their numbers. Whether they
    /// are what was written, [`Self::verify`] tells.
    pub fn records(
        &self,
        limit: usize,
        wanted: impl Fn(&AuditRecord) -> bool,
    ) -> Result<Vec<(u64, AuditRecord)>, AuditError> {
        if let Err(error) = self.recorder.flush() {
            tracing::warn!(%error, "the audit log cannot be written");
        }
        let store = self.recorder.store();
        let mut found = Vec::new();
        let mut until = u64::MAX;
        while found.len() < limit {
            let Some(first) = store.block_before(until)? else { break };
            let Some(block) = store.blocks(first, 1)?.pop() else { break };
            let numbered: Vec<(u64, &[u8])> = (block.first..).zip(block.lines()).collect();
            let records =
                numbered.into_iter().rev().filter_map(|(n, line)| Some((n, AuditRecord::parse(line)?)));
            found.extend(records.filter(|(_, record)| wanted(record)).take(limit - found.len()));
            match first.checked_sub(1) {
                Some(before) => until = before,
                None => break,
            }
        }
        found.reverse();
        Ok(found)
    }
}
