//! Extended attributes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use super::inode::Inode;
use super::{Caller, FsError, FsResult, MountedVolume, NodeId};
use crate::names::{NameError, StoredXattr, XattrClass, XattrSealer};
use crate::store::{NodeKind, StoreError, StoreErrorKind, XattrMode};

const ACL_PREFIX: &[u8] = b"system.posix_acl_";
const TRUSTED_PREFIX: &[u8] = b"trusted.";

impl MountedVolume {
    /// Runs `work` with the sealer of the inode's attributes: under the file's own data key, or for what has
    /// none under the domain's.
    fn with_sealer<T>(
        &self,
        inode: &Arc<Inode>,
        work: impl FnOnce(XattrSealer<'_>) -> FsResult<T>,
    ) -> FsResult<T> {
        match inode.kind {
            NodeKind::File => self.with_content(inode, |file| {
                // A file that has no header yet is given one, which is no change that anybody made.
                if file.size() == 0 {
                    let stat = inode.node()?.stat()?;
                    inode.hold_times(stat.mtime, stat.ctime);
                }
                let keys = file.xattr_keys()?;
                work(XattrSealer::new(&keys.xattr, &[]))
            }),
            NodeKind::Directory => {
                let names = self.names_of(inode)?;
                work(XattrSealer::new(&names.keys().xattr, names.context()))
            }
            _ => {
                let keys = self.keys.domain_keys(inode.domain)?;
                work(XattrSealer::new(&keys.xattr, &[]))
            }
        }
    }

    /// The value of the attribute `name`.
    ///
    /// # Errors
    /// [`FsError::Store`] with [`StoreErrorKind::NoAttribute`] if it is not there.
    pub fn get_xattr(&self, id: NodeId, name: &OsStr) -> FsResult<Vec<u8>> {
        let inode = self.table.get(id)?;
        match XattrClass::of(name) {
            // These need no key: the kernel asks for them before writes and permission checks.
            XattrClass::Clear => Ok(inode.node()?.get_xattr(name)?),
            XattrClass::Unsupported => Err(unsupported()),
            XattrClass::Encrypted => self.get_sealed(&inode, name),
        }
    }

    fn get_sealed(&self, inode: &Arc<Inode>, name: &OsStr) -> FsResult<Vec<u8>> {
        if inode.node()?.list_xattrs()?.iter().all(|stored| StoredXattr::of(stored) != StoredXattr::Sealed) {
            return Err(no_attribute());
        }
        self.with_sealer(inode, |sealer| {
            let stored = match sealer.seal_name(name) {
                Err(NameError::TooLong) => return Err(no_attribute()),
                other => other?,
            };
            let sealed = inode.node()?.get_xattr(&stored)?;
            Ok(sealer.open_value(&stored, &sealed)?)
        })
    }

    /// Sets the attribute `name`.
    ///
    /// # Errors
    /// [`FsError::XattrNameTooLong`], [`FsError::Unsupported`], [`FsError::Store`].
    pub fn set_xattr(&self, id: NodeId, name: &OsStr, value: &[u8], mode: XattrMode) -> FsResult<()> {
        let inode = self.table.get(id)?;
        match XattrClass::of(name) {
            XattrClass::Clear => inode.node()?.set_xattr(name, value, mode)?,
            XattrClass::Unsupported => return Err(unsupported()),
            XattrClass::Encrypted => self.with_sealer(&inode, |sealer| {
                let stored = stored_name(&sealer, name)?;
                Ok(inode.node()?.set_xattr(&stored, &sealer.seal_value(&stored, value), mode)?)
            })?,
        }
        self.after_xattr(&inode, name);
        Ok(())
    }

    /// Removes the attribute `name`.
    ///
    /// # Errors
    /// [`FsError::Store`] with [`StoreErrorKind::NoAttribute`] if it is not there.
    pub fn remove_xattr(&self, id: NodeId, name: &OsStr) -> FsResult<()> {
        let inode = self.table.get(id)?;
        match XattrClass::of(name) {
            XattrClass::Clear => inode.node()?.remove_xattr(name)?,
            XattrClass::Unsupported => return Err(unsupported()),
            XattrClass::Encrypted => self.with_sealer(&inode, |sealer| {
                Ok(inode.node()?.remove_xattr(&stored_name(&sealer, name)?)?)
            })?,
        }
        self.after_xattr(&inode, name);
        Ok(())
    }

    /// The names of all attributes. `trusted.*` is for root only.
    ///
    /// # Errors
    /// What the keys say, if there are encrypted attributes; [`FsError::Store`].
    pub fn list_xattrs(&self, caller: Caller, id: NodeId) -> FsResult<Vec<OsString>> {
        let inode = self.table.get(id)?;
        let mut shown = Vec::new();
        let mut sealed = Vec::new();
        for stored in inode.node()?.list_xattrs()? {
            let hidden = caller.uid != 0 && stored.starts_with(TRUSTED_PREFIX);
            match StoredXattr::of(&stored) {
                StoredXattr::Foreign => {}
                StoredXattr::Clear => shown.push(OsString::from_vec(stored)),
                StoredXattr::Sealed if hidden => {}
                StoredXattr::Sealed => sealed.push(stored),
            }
        }
        if !sealed.is_empty() {
            self.with_sealer(&inode, |sealer| {
                for stored in &sealed {
                    shown.push(sealer.open_name(stored)?);
                }
                Ok(())
            })?;
        }
        Ok(shown)
    }

    /// An attribute was set or removed: what was remembered about it no longer holds.
    fn after_xattr(&self, inode: &Arc<Inode>, name: &OsStr) {
        inode.attributes_changed();
        inode.privileges.reset();
        if name.as_bytes().starts_with(ACL_PREFIX) {
            inode.default_acl.reset();
        }
    }
}

fn stored_name(sealer: &XattrSealer<'_>, name: &OsStr) -> FsResult<OsString> {
    match sealer.seal_name(name) {
        Err(NameError::TooLong) => Err(FsError::XattrNameTooLong),
        other => Ok(other?),
    }
}

fn no_attribute() -> FsError {
    FsError::Store(StoreError::new("get attribute", StoreErrorKind::NoAttribute))
}

fn unsupported() -> FsError {
    FsError::Unsupported("an attribute of this namespace")
}
