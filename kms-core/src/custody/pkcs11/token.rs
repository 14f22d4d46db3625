//! The connection to one token: its login, its sessions, its keys, and how it is repaired.
//!
//! Every call goes through [`Token::run`]: it takes one of a bounded number of permits, a session of the pool, and sorts
//! what fails. A session that failed is closed and not used again. A key handle that died is looked up anew by the key's
//! id. When the token, the login or the module is gone, the link is made anew: slot by serial number, session, login; and
//! if there is no such token, the module is started anew, because many notice only then that a token came back.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;

use super::cipher::{self, IvPolicy, TrialError};
use super::faults::{self, Fault, fault};
use super::module::{Context, Module};
use super::{ID_LEN, pin, search, template};
use crate::custody::{ConnectFailure, CustodyError};
use crate::error::KmsError;
use crate::model::{ConnectionErrorCode, CustomKeyStoreId, Plaintext, TokenConfig};

/// The most calls that are inside the module at once.
const MAX_CALLS: usize = 8;
/// How long a call waits for its turn.
const CALL_WAIT: Duration = Duration::from_secs(10);
/// How often a call is tried before it fails.
const ATTEMPTS: usize = 6;
/// The least time between two attempts to make a link that failed.
const LINK_PAUSE: Duration = Duration::from_millis(50);
/// How many times a decryption has to be refused, by a token that works meanwhile, before the ciphertext is to blame.
const REFUSALS: usize = 5;
/// A fresh id that stays in no token.
const TRIAL_ID: [u8; ID_LEN] = [0; ID_LEN];

/// A token that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) serial: Option<String>,
    pub(super) label: Option<String>,
}

/// Finds the token that a new store names, which must be one and no more.
pub(super) fn find(module: &Module, config: &TokenConfig) -> Result<Found, KmsError> {
    let context = module.enter();
    let (_, found) = find_slot(&context.pkcs11, config).map_err(|problem| match problem {
        Missing::Failed(error) => {
            KmsError::CloudHsmClusterNotActive(format!("The PKCS#11 module does not answer: {error}"))
        }
        Missing::Absent => KmsError::CloudHsmClusterNotFound("There is no such token.".into()),
        Missing::Several(count) => KmsError::CloudHsmClusterInvalidConfiguration(format!(
            "{count} tokens fit. Name the one that is meant by its serial number."
        )),
    })?;
    Ok(found)
}

/// Why a token was not found.
enum Missing {
    Failed(Error),
    Absent,
    Several(usize),
}

/// The slot of the token that `config` names. A token that tells nothing about itself is found by its slot alone.
fn find_slot(pkcs11: &Pkcs11, config: &TokenConfig) -> Result<(Slot, Found), Missing> {
    let slots = pkcs11.get_slots_with_token().map_err(Missing::Failed)?;
    let mut fitting = Vec::new();
    for slot in slots {
        if config.slot.is_some_and(|number| number != slot.id()) {
            continue;
        }
        let info = pkcs11.get_token_info(slot).ok();
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let found = Found {
            serial: info.as_ref().and_then(|info| text(info.serial_number())),
            label: info.as_ref().and_then(|info| text(info.label())),
        };
        let initialized = info.as_ref().is_none_or(|info| info.token_initialized());
        let named = |wanted: &Option<String>, own: &Option<String>| wanted.is_none() || wanted == own;
        if initialized && named(&config.serial, &found.serial) && named(&config.label, &found.label) {
            fitting.push((slot, found));
        }
    }
    match (fitting.len(), fitting.pop()) {
        (1, Some(found)) => Ok(found),
        (0, _) | (_, None) => Err(Missing::Absent),
        (count, Some(_)) => Err(Missing::Several(count)),
    }
}

/// What a store could not be connected for.
pub(super) fn failure(store: &CustomKeyStoreId, problem: &LinkError) -> ConnectFailure {
    let code = match problem {
        LinkError::Pin { code, .. } => *code,
        LinkError::NoPin(_) => ConnectionErrorCode::InvalidCredentials,
        LinkError::Absent => ConnectionErrorCode::ClusterNotFound,
        LinkError::NoCipher(_) => ConnectionErrorCode::InsufficientCloudHsmHsms,
        LinkError::Ambiguous(_) | LinkError::Other(_) => ConnectionErrorCode::InternalError,
        LinkError::Failed(_) => ConnectionErrorCode::NetworkErrors,
    };
    // A PIN that could not be read was not tried.
    let is_final = matches!(problem, LinkError::Pin { .. });
    ConnectFailure { store: store.clone(), code, reason: problem.to_string(), is_final }
}

/// Why there is no link to a token.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum LinkError {
    #[error(
        "the token refused the login ({reason}); it is not tried again before somebody disconnects the store"
    )]
    Pin { code: ConnectionErrorCode, reason: String },
    #[error("{0}")]
    NoPin(String),
    #[error("the token is not there")]
    Absent,
    #[error("{0} tokens fit")]
    Ambiguous(usize),
    #[error("the token cannot encrypt with AES-GCM ({0})")]
    NoCipher(String),
    #[error("the token failed: {0}")]
    Failed(String),
    #[error("{0}")]
    Other(String),
}

impl From<KmsError> for LinkError {
    fn from(error: KmsError) -> Self {
        match error {
            KmsError::CloudHsmClusterNotFound(_) => Self::Other(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// A token, and what this process has open in it.
pub(super) struct Token {
    store: CustomKeyStoreId,
    config: TokenConfig,
    module: Arc<Module>,
    calls: Calls,
    link: Mutex<LinkState>,
    idle: Mutex<Vec<Lease>>,
    handles: Mutex<HashMap<[u8; ID_LEN], (u64, ObjectHandle)>>,
}

/// The link, or why there is none.
#[derive(Default)]
struct LinkState {
    /// Counts links. Sessions and handles of an earlier one are dead.
    number: u64,
    link: Option<Link>,
    failed: Option<(Instant, LinkError)>,
}

/// A login.
struct Link {
    generation: u64,
    slot: Slot,
    policy: IvPolicy,
    /// Keeps the login of this process alive. Never used otherwise.
    keeper: Session,
}

/// A session, and the link that it belongs to.
struct Lease {
    session: Session,
    number: u64,
    generation: u64,
    policy: IvPolicy,
}

impl Lease {
    /// Closes the session, unless the module has started anew since: then its number may be that of somebody else's.
    fn close(self, context: &Context) {
        close(self.session, self.generation, context);
    }
}

fn close(session: Session, generation: u64, context: &Context) {
    if generation == context.generation {
        drop(session);
    } else {
        std::mem::forget(session);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these guard is replaced whole or is a cache, so that a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Token {
    /// Logs in, and finds out how the token encrypts.
    pub(super) fn connect(
        store: &CustomKeyStoreId,
        config: &TokenConfig,
    ) -> Result<Arc<Self>, ConnectFailure> {
        let module = Module::open(&config.module).map_err(|error| failure(store, &error.into()))?;
        let token = Self {
            store: store.clone(),
            config: config.clone(),
            module,
            calls: Calls::default(),
            link: Mutex::default(),
            idle: Mutex::default(),
            handles: Mutex::default(),
        };
        let mut outcome = token.link();
        for _ in 1..ATTEMPTS {
            if !matches!(outcome, Err(LinkError::Failed(_) | LinkError::Absent)) {
                break;
            }
            std::thread::sleep(LINK_PAUSE);
            outcome = token.link();
        }
        match outcome {
            Ok(()) => Ok(Arc::new(token)),
            Err(problem) => Err(failure(store, &problem)),
        }
    }

    /// Makes the link, unless there is one.
    fn link(&self) -> Result<(), LinkError> {
        let lease = self.lease()?;
        lock(&self.idle).push(lease);
        Ok(())
    }

    /// A session that is logged in, from the pool or new.
    fn lease(&self) -> Result<Lease, LinkError> {
        let mut state = lock(&self.link);
        let (generation, missing) = {
            let context = self.module.enter();
            if state.link.as_ref().is_some_and(|link| link.generation != context.generation) {
                self.unlink(&mut state, &context);
            }
            match self.session(&mut state, &context) {
                Err(LinkError::Absent | LinkError::Failed(_)) => (context.generation, true),
                other => return other,
            }
        };
        debug_assert!(missing, "every other outcome has returned");
        if !self.module.restart(generation) {
            return Err(state.failed.as_ref().map_or(LinkError::Absent, |(_, problem)| problem.clone()));
        }
        let context = self.module.enter();
        self.unlink(&mut state, &context);
        state.failed = None;
        self.session(&mut state, &context)
    }

    /// A session of the present link, which is made if there is none.
    fn session(&self, state: &mut LinkState, context: &Context) -> Result<Lease, LinkError> {
        if state.link.is_none() {
            match &state.failed {
                Some((_, problem @ LinkError::Pin { .. })) => return Err(problem.clone()),
                Some((at, problem)) if at.elapsed() < LINK_PAUSE => return Err(problem.clone()),
                Some(_) | None => {}
            }
            match self.log_in(context) {
                Ok(link) => {
                    state.number += 1;
                    state.link = Some(link);
                    state.failed = None;
                }
                Err(problem) => {
                    tracing::warn!(store = %self.store, %problem, "there is no link to the token");
                    state.failed = Some((Instant::now(), problem.clone()));
                    return Err(problem);
                }
            }
        }
        let Some(link) = &state.link else { return Err(LinkError::Absent) };
        let (number, policy) = (state.number, link.policy);
        let pooled = {
            let mut idle = lock(&self.idle);
            let (live, dead) = idle.drain(..).partition(|lease| lease.number == number);
            *idle = live;
            dead.into_iter().for_each(|lease: Lease| lease.close(context));
            idle.pop()
        };
        if let Some(lease) = pooled {
            return Ok(lease);
        }
        let opened = context.pkcs11.open_rw_session(link.slot);
        let generation = context.generation;
        opened.map(|session| Lease { session, number, generation, policy }).map_err(|error| {
            // Not even a session: the link is of no use.
            self.unlink(state, context);
            LinkError::Failed(error.to_string())
        })
    }

    fn log_in(&self, context: &Context) -> Result<Link, LinkError> {
        let failed = |error: Error| LinkError::Failed(error.to_string());
        let (slot, _) = find_slot(&context.pkcs11, &self.config).map_err(|problem| match problem {
            Missing::Failed(error) => failed(error),
            Missing::Absent => LinkError::Absent,
            Missing::Several(count) => LinkError::Ambiguous(count),
        })?;
        let keeper = context.pkcs11.open_rw_session(slot).map_err(failed)?;
        let pin = pin::read(&self.config.pin).map_err(|error| LinkError::NoPin(error.to_string()))?;
        match keeper.login(UserType::User, Some(&pin)) {
            Ok(()) => {}
            Err(error) if faults::is_logged_in(&error) => {}
            Err(error) => {
                return Err(match faults::refuses_pin(&error) {
                    Some(code) => LinkError::Pin { code, reason: error.to_string() },
                    None => failed(error),
                });
            }
        }
        // A session of its own: a trial that is refused may leave it in any state.
        let trial = context.pkcs11.open_rw_session(slot).map_err(failed)?;
        let key = trial
            .generate_key(&Mechanism::AesKeyGen, &template(&TRIAL_ID, "kmsfs trial", false))
            .map_err(|error| match fault(&error) {
                Fault::Input => LinkError::NoCipher(error.to_string()),
                _ => failed(error),
            })?;
        let policy = cipher::find_policy(&trial, key).map_err(|problem| match problem {
            TrialError::NoCipher(reason) => LinkError::NoCipher(reason),
            TrialError::Failed(error) => failed(error),
        })?;
        tracing::info!(store = %self.store, slot = slot.id(), ?policy, "logged in to the token");
        Ok(Link { generation: context.generation, slot, policy, keeper })
    }

    /// Forgets the link with its sessions and handles.
    fn unlink(&self, state: &mut LinkState, context: &Context) {
        if let Some(link) = state.link.take() {
            close(link.keeper, link.generation, context);
        }
        self.close_idle(context);
        lock(&self.handles).clear();
    }

    fn close_idle(&self, context: &Context) {
        let idle = std::mem::take(&mut *lock(&self.idle));
        idle.into_iter().for_each(|lease| lease.close(context));
    }

    /// Forgets a link that a call found broken, unless somebody has made another one.
    fn unlink_broken(&self, number: u64) {
        let mut state = lock(&self.link);
        if state.number == number {
            self.unlink(&mut state, &self.module.enter());
        }
    }

    /// Runs `work` in a session until it succeeds, fails for good, or has failed too often.
    fn run<T>(&self, work: impl Fn(&Lease) -> Result<T, Error>) -> Result<T, CustodyError> {
        let _permit = self.calls.begin().ok_or_else(|| self.unavailable("it is busy"))?;
        let mut last = None;
        for attempt in 1..=ATTEMPTS {
            let lease = match self.lease() {
                Ok(lease) => lease,
                Err(problem @ (LinkError::Pin { .. } | LinkError::NoPin(_) | LinkError::NoCipher(_))) => {
                    return Err(self.unavailable(&problem.to_string()));
                }
                Err(problem) => {
                    last = Some(problem.to_string());
                    if attempt < ATTEMPTS {
                        std::thread::sleep(LINK_PAUSE);
                    }
                    continue;
                }
            };
            let number = lease.number;
            let error = {
                let context = self.module.enter();
                if lease.generation != context.generation {
                    // Started anew between the two lines above: the numbers of session and key mean something else now.
                    lease.close(&context);
                    continue;
                }
                match work(&lease) {
                    Ok(value) => {
                        lock(&self.idle).push(lease);
                        return Ok(value);
                    }
                    Err(error) => {
                        lease.close(&context);
                        error
                    }
                }
            };
            let kind = fault(&error);
            match kind {
                Fault::Input => return Err(self.unavailable(&error.to_string())),
                Fault::Handle => lock(&self.handles).clear(),
                Fault::Link => self.unlink_broken(number),
                Fault::Session => {}
                // A device that fails again and again may work after a new login.
                Fault::Passing | Fault::Room if attempt == ATTEMPTS - 1 => self.unlink_broken(number),
                Fault::Passing | Fault::Room => {}
            }
            last = Some(error.to_string());
            if attempt == ATTEMPTS && kind == Fault::Room {
                return Err(CustodyError::Full(error.to_string()));
            }
        }
        Err(self.unavailable(&last.unwrap_or_default()))
    }

    fn unavailable(&self, reason: &str) -> CustodyError {
        CustodyError::Unavailable(format!("custom key store {}: {reason}", self.store))
    }

    /// The handle of a key. `None` if the token does not have it.
    fn handle(&self, lease: &Lease, id: &[u8; ID_LEN]) -> Result<Option<ObjectHandle>, Error> {
        if let Some((number, handle)) = lock(&self.handles).get(id)
            && *number == lease.number
        {
            return Ok(Some(*handle));
        }
        let found = lease.session.find_objects(&search(id))?;
        let handle = found.first().copied();
        if let Some(handle) = handle {
            lock(&self.handles).insert(*id, (lease.number, handle));
        }
        Ok(handle)
    }

    /// Runs `work` with a key.
    fn with_key<T>(
        &self,
        id: &[u8; ID_LEN],
        work: impl Fn(&Lease, ObjectHandle) -> Result<T, Error>,
    ) -> Result<T, CustodyError> {
        let attempt = || {
            self.run(|lease| match self.handle(lease, id)? {
                Some(handle) => work(lease, handle).map(Some),
                None => Ok(None),
            })
        };
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        // A token that came back with none of its keys, as far as the module has noticed.
        let generation = self.module.enter().generation;
        if self.module.restart(generation)
            && let Some(value) = attempt()?
        {
            return Ok(value);
        }
        Err(self.unavailable("the token does not have the key"))
    }

    /// Makes a key under an id that no other one has.
    pub(super) fn generate(&self, template: &[Attribute], id: &[u8; ID_LEN]) -> Result<(), CustodyError> {
        self.run(|lease| {
            // An attempt that failed may have made the key nevertheless.
            if !lease.session.find_objects(&search(id))?.is_empty() {
                return Ok(());
            }
            lease.session.generate_key(&Mechanism::AesKeyGen, template).map(drop)
        })
    }

    /// Destroys a key. One that is not there is destroyed.
    pub(super) fn destroy(&self, id: &[u8]) -> Result<(), CustodyError> {
        self.run(|lease| {
            let found = lease.session.find_objects(&search(id))?;
            found.into_iter().try_for_each(|handle| lease.session.destroy_object(handle))
        })?;
        lock(&self.handles).clear();
        Ok(())
    }

    /// Random bytes of the token.
    pub(super) fn random(&self, len: usize) -> Result<Plaintext, CustodyError> {
        self.run(|lease| {
            let mut bytes = vec![0; len];
            lease.session.generate_random_slice(&mut bytes)?;
            Ok(Plaintext::new(bytes))
        })
    }

    /// Encrypts under a key.
    pub(super) fn encrypt(
        &self,
        id: &[u8; ID_LEN],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CustodyError> {
        self.with_key(id, |lease, key| cipher::seal(lease.policy, &lease.session, key, id, aad, plaintext))
    }

    /// Decrypts under a key. A refusal by the token counts only if the same token encrypts and decrypts something else
    /// meanwhile, and only after several times.
    pub(super) fn decrypt(
        &self,
        id: &[u8; ID_LEN],
        aad: &[u8],
        body: &[u8],
    ) -> Result<Plaintext, CustodyError> {
        let parsed = cipher::parse(id, aad, body)?;
        let mut refusals = 0;
        loop {
            let outcome =
                self.with_key(id, |lease, key| match cipher::open(&lease.session, key, aad, &parsed) {
                    Ok(plaintext) => Ok(Some(Plaintext::new(plaintext))),
                    Err(error) if faults::may_be_unauthentic(&error) => Ok(None),
                    Err(error) => Err(error),
                })?;
            if let Some(plaintext) = outcome {
                return Ok(plaintext);
            }
            // The session of a decryption that was refused is not used again.
            self.close_idle(&self.module.enter());
            refusals += 1;
            if refusals == REFUSALS {
                return Err(CustodyError::Unauthentic);
            }
            self.prove(id)?;
        }
    }

    /// Shows that the token encrypts and decrypts under a key.
    fn prove(&self, id: &[u8; ID_LEN]) -> Result<(), CustodyError> {
        const TEXT: &[u8] = b"proof";
        self.with_key(id, |lease, key| {
            let body = cipher::seal(lease.policy, &lease.session, key, id, b"", TEXT)?;
            let parsed = cipher::parse(id, b"", &body).map_err(|_| Error::InvalidValue)?;
            match cipher::open(&lease.session, key, b"", &parsed)? == TEXT {
                true => Ok(()),
                false => Err(Error::InvalidValue),
            }
        })
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // Sessions are closed, but nobody is logged out: another store of this process may be in the same token.
        self.unlink(&mut lock(&self.link), &self.module.enter());
    }
}

/// Bounds how many calls are under way.
#[derive(Default)]
struct Calls {
    under_way: Mutex<usize>,
    ended: Condvar,
}

/// One call that is under way.
struct Permit<'a>(&'a Calls);

impl Calls {
    /// Waits for a turn; `None` if that takes too long.
    fn begin(&self) -> Option<Permit<'_>> {
        let busy = |count: &mut usize| *count >= MAX_CALLS;
        let waited = self.ended.wait_timeout_while(lock(&self.under_way), CALL_WAIT, busy);
        let (mut count, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return None;
        }
        *count += 1;
        Some(Permit(self))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *lock(&self.0.under_way) -= 1;
        self.0.ended.notify_one();
    }
}
