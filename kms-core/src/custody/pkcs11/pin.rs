//! Where a PIN comes from.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::model::PinSource;

/// The longest file that is read for a PIN, in bytes.
const FILE_MAX: u64 = 4096;

/// Why there is no PIN. Never shows one.
#[derive(Debug, thiserror::Error)]
pub(super) enum PinError {
    #[error("the PIN file {} cannot be read: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("the variable {0}, which holds the PIN, is not set")]
    Environment(String),
    #[error("there is no directory of systemd credentials, so that {0} cannot be read")]
    NoCredentials(String),
    #[error("the PIN is empty")]
    Empty,
}

/// Reads the PIN.
pub(super) fn read(source: &PinSource) -> Result<AuthPin, PinError> {
    let pin = match source {
        PinSource::Sealed(pin) => Zeroizing::new(pin.expose().to_owned()),
        PinSource::File(path) => first_line(path)?,
        PinSource::Environment(name) => {
            Zeroizing::new(std::env::var(name).map_err(|_| PinError::Environment(name.clone()))?)
        }
        PinSource::Credential(name) => {
            let missing = || PinError::NoCredentials(name.clone());
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(missing)?;
            first_line(&Path::new(&directory).join(name))?
        }
    };
    if pin.is_empty() {
        return Err(PinError::Empty);
    }
    Ok(AuthPin::from(pin.as_str()))
}

fn first_line(path: &Path) -> Result<Zeroizing<String>, PinError> {
    let failed = |error| PinError::File { path: path.to_owned(), error };
    let mut text = Zeroizing::new(String::with_capacity(4096));
    File::open(path).map_err(failed)?.take(FILE_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}
