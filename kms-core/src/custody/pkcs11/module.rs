//! PKCS#11 modules: shared libraries of which a process has one copy each, however many stores use them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use crate::error::KmsError;

/// How long a new start waits for calls that are under way.
const RESTART_WAIT: Duration = Duration::from_secs(5);
/// The least time between two new starts, whoever asks.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The modules of this process. They are never unloaded: not every module survives that.
static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

/// A module that is loaded and initialized.
#[derive(Debug)]
pub(super) struct Module {
    /// Held for reading during every call, and for writing while the module starts anew: nobody is inside it then.
    context: RwLock<Context>,
}

/// A started module.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) pkcs11: Pkcs11,
    /// Counts starts. Sessions and handles of an earlier one are dead.
    pub(super) generation: u64,
    started: Instant,
}

impl Module {
    /// Loads a module, or finds it loaded.
    pub(super) fn open(path: &Path) -> Result<Arc<Self>, KmsError> {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(path) {
            return Ok(Arc::clone(module));
        }
        let failed = |error: &Error| {
            KmsError::CloudHsmClusterNotFound(format!(
                "The PKCS#11 module {} cannot be used: {error}",
                path.display()
            ))
        };
        let pkcs11 = Pkcs11::new(path).map_err(|error| failed(&error))?;
        initialize(&pkcs11).map_err(|error| failed(&error))?;
        let context = RwLock::new(Context { pkcs11, generation: 1, started: Instant::now() });
        let module = Arc::new(Self { context });
        modules.insert(path.to_owned(), Arc::clone(&module));
        Ok(module)
    }

    /// Lets calls happen for as long as the guard lives.
    pub(super) fn enter(&self) -> RwLockReadGuard<'_, Context> {
        self.context.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finalizes the module and initializes it again: what helps when a token went away and came back. `false` if
    /// somebody did that a moment ago, or is inside a call that does not end.
    pub(super) fn restart(&self, seen_generation: u64) -> bool {
        let deadline = Instant::now() + RESTART_WAIT;
        // Not a waiting lock: that would keep others out while a call hangs.
        let mut context = loop {
            match self.context.try_write() {
                Ok(context) => break context,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => return false,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        if context.generation != seen_generation || context.started.elapsed() < RESTART_PAUSE {
            return false;
        }
        // Whatever it says, the next call decides whether the module works.
        let finalized = context.pkcs11.clone().finalize();
        let initialized = initialize(&context.pkcs11);
        context.generation += 1;
        context.started = Instant::now();
        tracing::info!(
            ?finalized,
            ?initialized,
            generation = context.generation,
            "a PKCS#11 module was started anew"
        );
        true
    }
}

fn initialize(pkcs11: &Pkcs11) -> Result<(), Error> {
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        other => other,
    }
}
