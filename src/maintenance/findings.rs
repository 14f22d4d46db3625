//! What a check finds.

use std::ops::Range;
use std::path::PathBuf;

use crate::file::{Damage, FileError};
use crate::format::PAGE_U64;
use crate::keys::KeyError;
use crate::names::NameError;

/// The most findings that a report lists; all are counted.
const FINDINGS_LISTED: usize = 10_000;

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// The backing directory does not let us read it.
    Unreadable,
    /// The record of a domain is damaged or was changed.
    DomainRecord,
    /// A KMS key cannot be used, so that what is under it cannot be checked.
    Key,
    /// A directory's id is missing, damaged or was changed: the names in it cannot be read.
    DirectoryId,
    /// A name is not one that was written in its directory.
    Name,
    /// The link of a long name without its entry; harmless.
    OrphanLongName,
    /// A symbolic link's target is not what was written.
    SymlinkTarget,
    /// A kept symbolic link target that no link needs; harmless.
    OrphanTarget,
    /// An extended attribute is not what was written.
    Xattr,
    /// A file's header is damaged.
    Header,
    /// A file's header belongs to another volume or domain.
    Foreign,
    /// A file's data key does not unwrap to what was wrapped.
    DataKey,
    /// No seal of a file is sound.
    Seal,
    /// A file's blocks are not those that were sealed.
    Entries,
    /// A file's size is not the one that was sealed.
    Size,
    /// A block is damaged, or its entry is.
    Block,
    /// A block is missing.
    MissingBlock,
}

/// What explains a finding, as far as the bytes can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// An interrupted operation left it; nothing is lost.
    Crash,
    /// The device returned other bytes than were written, or somebody changed them: a cipher cannot tell these apart.
    Altered,
    /// Sound bytes in a place where they were never written: no fault of a device does that.
    Moved,
    /// The key opens something else than what it was to open.
    WrongKey,
    /// The key cannot be had.
    MissingKey,
    /// The backing file system refuses.
    Device,
}

impl Cause {
    /// A word for reports, the same in every release.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Altered => "altered",
            Self::Moved => "moved",
            Self::WrongKey => "wrong-key",
            Self::MissingKey => "missing-key",
            Self::Device => "device",
        }
    }
}

impl FindingKind {
    /// What explains it.
    pub fn cause(self) -> Cause {
        match self {
            Self::OrphanLongName | Self::OrphanTarget => Cause::Crash,
            Self::Unreadable => Cause::Device,
            Self::Key => Cause::MissingKey,
            Self::DataKey => Cause::WrongKey,
            Self::Foreign => Cause::Moved,
            Self::DomainRecord
            | Self::DirectoryId
            | Self::Name
            | Self::SymlinkTarget
            | Self::Xattr
            | Self::Header
            | Self::Seal
            | Self::Entries
            | Self::Size
            | Self::Block
            | Self::MissingBlock => Cause::Altered,
        }
    }

    /// Whether nothing of the user's is affected.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::OrphanLongName | Self::OrphanTarget)
    }

    /// A word for reports, the same in every release.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::DomainRecord => "domain-record",
            Self::Key => "key",
            Self::DirectoryId => "directory-id",
            Self::Name => "name",
            Self::OrphanLongName => "orphan-long-name",
            Self::SymlinkTarget => "symlink-target",
            Self::OrphanTarget => "orphan-target",
            Self::Xattr => "xattr",
            Self::Header => "header",
            Self::Foreign => "foreign",
            Self::DataKey => "data-key",
            Self::Seal => "seal",
            Self::Entries => "entries",
            Self::Size => "size",
            Self::Block => "block",
            Self::MissingBlock => "missing-block",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// Where, from the backing directory on.
    pub backing_path: PathBuf,
    /// Where as the user sees it, from the root of the volume on; `None` if a name on the way cannot be read.
    pub plain_path: Option<PathBuf>,
    /// The plain bytes of the file that are affected; `None` for the whole of it.
    pub bytes: Option<Range<u64>>,
    /// What exactly.
    pub detail: String,
}

/// What a check saw.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Directories, the root among them.
    pub directories: u64,
    /// Regular files.
    pub files: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Pipes, sockets and devices.
    pub special: u64,
    /// Plain bytes that were read and are sound.
    pub bytes: u64,
    /// How many things are wrong.
    pub finding_count: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Whether everything of the user's is as it was written.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.kind.is_harmless())
            && self.findings.len() as u64 == self.finding_count
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.finding_count += 1;
        if self.findings.len() < FINDINGS_LISTED {
            self.findings.push(finding);
        }
    }
}

/// Where something was found.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) backing: PathBuf,
    pub(super) plain: Option<PathBuf>,
}

impl Place {
    pub(super) fn finding(&self, kind: FindingKind, detail: impl ToString) -> Finding {
        Finding {
            kind,
            backing_path: self.backing.clone(),
            plain_path: self.plain.clone(),
            bytes: None,
            detail: detail.to_string(),
        }
    }

    /// What a failed file operation means; in a file of `size` bytes.
    pub(super) fn of_file_error(&self, error: &FileError, size: u64) -> Finding {
        let (kind, block) = match error {
            FileError::Key(error) => (kind_of_key_error(error), None),
            FileError::Store(_) | FileError::Journal(_) => (FindingKind::Unreadable, None),
            FileError::Damaged { damage, .. } => kind_of_damage(*damage),
            FileError::ReadOnly | FileError::TooLarge | FileError::Format(_) => (FindingKind::Header, None),
        };
        let range = |block: u64| block * PAGE_U64..((block + 1) * PAGE_U64).min(size);
        Finding { bytes: block.map(range), ..self.finding(kind, error) }
    }

    /// What a failed translation means, where it does not mean something about keys or the store.
    pub(super) fn of_name_error(&self, kind: FindingKind, error: &NameError) -> Finding {
        let kind = match error {
            NameError::Key(error) => kind_of_key_error(error),
            NameError::Store(error) if !error.is_not_found() => FindingKind::Unreadable,
            _ => kind,
        };
        self.finding(kind, error)
    }
}

pub(super) fn kind_of_key_error(error: &KeyError) -> FindingKind {
    match error {
        KeyError::Unusable { .. } | KeyError::Denied { .. } | KeyError::Service(_) => FindingKind::Key,
        KeyError::Tampered { .. } | KeyError::ForeignKey { .. } => FindingKind::DataKey,
        KeyError::UnknownDomain(_) | KeyError::UnknownDomainKey(_) => FindingKind::Foreign,
        // None of these comes from reading a file.
        KeyError::NotARecipient(_) | KeyError::LastRecipient(_) | KeyError::Place(_) => FindingKind::Key,
        KeyError::DomainTampered { .. } | KeyError::Format(_) => FindingKind::DomainRecord,
        KeyError::Store(_) => FindingKind::Unreadable,
    }
}

fn kind_of_damage(damage: Damage) -> (FindingKind, Option<u64>) {
    match damage {
        Damage::Header => (FindingKind::Header, None),
        Damage::Seal => (FindingKind::Seal, None),
        Damage::Foreign => (FindingKind::Foreign, None),
        Damage::Entries => (FindingKind::Entries, None),
        Damage::Size => (FindingKind::Size, None),
        Damage::Entry(block) | Damage::Block(block) => (FindingKind::Block, Some(block)),
        Damage::MissingBlock(block) => (FindingKind::MissingBlock, Some(block)),
    }
}
