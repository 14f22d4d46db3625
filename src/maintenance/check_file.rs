//! Checking one file: header, data key, seal, entries, every block, extended attributes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::findings::{Finding, FindingKind, Place};
use super::header::{HeaderPage, read_header};
use crate::crypto::Aead;
use crate::file::{Damage, EncryptedFile, FileContext, FileError};
use crate::format::{DomainId, PAGE_U64};
use crate::names::{StoredXattr, XattrSealer};
use crate::store::{BackingNode, FileAccess, NodeRef};

/// Bytes read at a time: a run of blocks of the file layer.
const READ_LEN: usize = 1 << 20;
/// Damaged blocks of one file that are reported one by one.
const BLOCKS_REPORTED: usize = 100;

/// A file to check.
pub(super) struct FileJob {
    pub(super) node: NodeRef,
    pub(super) place: Place,
    /// The domain of its directory, if that is known.
    pub(super) domain: Option<DomainId>,
}

/// What came of it.
#[derive(Default)]
pub(super) struct FileOutcome {
    pub(super) findings: Vec<Finding>,
    pub(super) bytes: u64,
}

impl FileJob {
    pub(super) fn run(&self, context: &Arc<FileContext>, contents: bool) -> FileOutcome {
        let mut outcome = FileOutcome::default();
        if let Err(error) = self.check(context, contents, &mut outcome) {
            outcome.findings.push(self.place.of_file_error(&error, 0));
        }
        outcome
    }

    fn check(
        &self,
        context: &Arc<FileContext>,
        contents: bool,
        outcome: &mut FileOutcome,
    ) -> Result<(), FileError> {
        let domain = match self.domain {
            Some(domain) => domain,
            // The directory does not say: then the header has the word, which its data key confirms.
            None => match read_header(&self.node.open_file(FileAccess::Read)?)? {
                HeaderPage::Nascent => return Ok(()),
                HeaderPage::Sound(sound) => sound.header.identity.domain_id,
                HeaderPage::Damaged => {
                    return Err(FileError::Damaged { file: None, damage: Damage::Header });
                }
            },
        };
        let file = EncryptedFile::open(context, NodeRef::clone(&self.node), domain)?;
        if contents {
            self.read_through(&file, outcome)?;
        }
        if let Some(keys) = file.xattr_keys_for_read()? {
            outcome.findings.extend(check_xattrs(&*self.node, &self.place, &keys.xattr, &[]));
        }
        Ok(())
    }

    /// Reads all that is not a hole; a damaged block is reported and passed over.
    fn read_through(&self, file: &EncryptedFile, outcome: &mut FileOutcome) -> Result<(), FileError> {
        let size = file.size();
        let mut buffer = vec![0; READ_LEN.min(usize::try_from(size).unwrap_or(READ_LEN))];
        let mut at = 0;
        while at < size {
            let Some(data) = file.seek_data(at)? else { return Ok(()) };
            at = data;
            match file.read(at, &mut buffer) {
                Ok(0) => return Ok(()),
                Ok(len) => {
                    outcome.bytes += len as u64;
                    at += len as u64;
                }
                Err(FileError::Damaged { file, damage }) => {
                    let block = match damage {
                        Damage::Block(block) | Damage::Entry(block) | Damage::MissingBlock(block) => block,
                        _ => return Err(FileError::Damaged { file, damage }),
                    };
                    let error = FileError::Damaged { file, damage };
                    outcome.findings.push(self.place.of_file_error(&error, size));
                    if outcome.findings.len() >= BLOCKS_REPORTED {
                        return Ok(());
                    }
                    at = (block + 1) * PAGE_U64;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Opens every encrypted extended attribute of an object.
pub(super) fn check_xattrs(
    node: &dyn BackingNode,
    place: &Place,
    key: &Aead,
    context: &[u8],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A backing file system without extended attributes has none to check.
    let Ok(stored) = node.list_xattrs() else { return findings };
    let sealer = XattrSealer::new(key, context);
    for name in stored.iter().filter(|name| StoredXattr::of(name) == StoredXattr::Sealed) {
        let stored = OsStr::from_bytes(name);
        let opened = sealer.open_name(name).and_then(|_| sealer.open_value(stored, &node.get_xattr(stored)?));
        if let Err(error) = opened {
            findings.push(place.of_name_error(FindingKind::Xattr, &error));
        }
    }
    findings
}
