//! Further ways to open a keystore, for when the everyday one is lost: a recovery key, and shares.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use kms_core::keystore::{Keystore, RootKeySource, SecretShares};
use kms_core::model::Plaintext;
use zeroize::Zeroizing;

use super::output::note;

/// Further seals of a keystore.
#[derive(Debug, clap::Args)]
pub(super) struct FurtherSealsArgs {
    /// Write the recovery key into FILE, which must not exist, instead of showing it at the terminal
    #[arg(long, value_name = "FILE", conflicts_with = "no_recovery_key")]
    write_recovery_key: Option<PathBuf>,
    /// Make no recovery key
    #[arg(long)]
    no_recovery_key: bool,
    /// Make N shares, of which any M together open the keystore
    #[arg(long, value_name = "M-of-N", requires = "write_shares")]
    shares: Option<Split>,
    /// Write each share into a file of its own in DIR
    #[arg(long, value_name = "DIR", requires = "shares")]
    write_shares: Option<PathBuf>,
}

/// How many shares, and how many of them are needed.
#[derive(Debug, Clone, Copy)]
struct Split {
    needed: u8,
    all: u8,
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not of the form 2-of-3");
        let (needed, all) = text.split_once("-of-").ok_or_else(refused)?;
        let number = |text: &str| text.parse().map_err(|_| refused());
        Ok(Self { needed: number(needed)?, all: number(all)? })
    }
}

/// Secrets of further seals. The files with them go again if the keystore is not sealed after all.
pub(super) struct FurtherSeals {
    pub(super) sources: Vec<RootKeySource>,
    files: Vec<PathBuf>,
    shown: Option<Zeroizing<String>>,
}

impl FurtherSealsArgs {
    /// No further seals.
    pub(super) fn none() -> Self {
        Self { write_recovery_key: None, no_recovery_key: true, shares: None, write_shares: None }
    }

    /// Whether a further seal was asked for.
    pub(super) fn is_given(&self) -> bool {
        self.write_recovery_key.is_some() || self.shares.is_some()
    }

    /// The further seals of a new keystore: a recovery key is one of them where somebody sees it.
    pub(super) fn for_new(&self) -> Result<FurtherSeals> {
        let mut seals = self.asked_for()?;
        if self.write_recovery_key.is_none() && !self.no_recovery_key {
            if std::io::stderr().is_terminal() {
                let line = Keystore::new_recovery_key()?;
                seals.add_recovery_key(&line);
                seals.shown = Some(line);
            } else {
                note("no recovery key is made without a terminal; --write-recovery-key FILE makes one");
            }
        }
        Ok(seals)
    }

    /// What was asked for, written into its files.
    pub(super) fn asked_for(&self) -> Result<FurtherSeals> {
        let mut seals = FurtherSeals { sources: Vec::new(), files: Vec::new(), shown: None };
        if let Some(path) = &self.write_recovery_key {
            let line = Keystore::new_recovery_key()?;
            seals.write(path, &line)?;
            seals.add_recovery_key(&line);
        }
        if let (Some(split), Some(dir)) = (self.shares, &self.write_shares) {
            let shares = SecretShares::generate(split.needed, split.all)?;
            if !dir.exists() {
                let made = std::fs::DirBuilder::new().mode(0o700).create(dir);
                made.with_context(|| format!("cannot make {}", dir.display()))?;
            }
            for (index, line) in shares.texts().iter().enumerate() {
                seals.write(&dir.join(format!("share-{}", index + 1)), line)?;
            }
            seals.sources.push(RootKeySource::Shares(shares));
        }
        Ok(seals)
    }
}

impl FurtherSeals {
    fn add_recovery_key(&mut self, line: &str) {
        self.sources.push(RootKeySource::RecoveryKey(Plaintext::copy_of(line.as_bytes())));
    }

    fn write(&mut self, path: &Path, line: &str) -> Result<()> {
        let failed = || format!("cannot write {}", path.display());
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = new.with_context(failed)?;
        self.files.push(path.to_owned());
        file.write_all(line.as_bytes()).and_then(|()| file.write_all(b"\n")).with_context(failed)?;
        file.sync_all().with_context(failed)
    }

    /// The keystore is sealed: the files stay, and what is to be seen is shown, this once.
    pub(super) fn keep(mut self) {
        self.files.clear();
        if let Some(line) = &self.shown {
            note(
                "the recovery key, shown this once. It opens the keystore if what opens it else is lost: write it down.",
            );
            eprintln!("\n    {}\n", line.as_str());
        }
    }
}

impl Drop for FurtherSeals {
    fn drop(&mut self) {
        for path in &self.files {
            // Made by this command a moment ago; what stays opens nothing.
            let _ = std::fs::remove_file(path);
        }
    }
}
