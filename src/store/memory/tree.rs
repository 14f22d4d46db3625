//! The name space: inodes, their attributes, and the operations that change them.
//!
//! Each change is a [`NameOp`], a value that can be kept and performed again on an older copy of the tree.
//! File content is not part of the tree.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use crate::store::{NodeKind, RenameMode, StoreErrorKind as Kind, TimeChange, XattrMode};

/// Longest name.
pub(in crate::store) const NAME_MAX: usize = 255;
/// Inode number of the root directory.
pub(in crate::store) const ROOT: u64 = 2;
/// Longest value of an extended attribute.
const XATTR_MAX: usize = 65536;

/// An inode.
#[derive(Clone)]
pub(in crate::store) struct Inode {
    /// What it is.
    pub(in crate::store) kind: NodeKind,
    /// Permission bits.
    pub(in crate::store) mode: u32,
    /// Owner.
    pub(in crate::store) uid: u32,
    /// Group.
    pub(in crate::store) gid: u32,
    /// Device number.
    pub(in crate::store) rdev: u64,
    /// Number of names, the dots of directories included.
    pub(in crate::store) nlink: u64,
    /// Created without a name and not named yet: the one case in which a node without names may be linked.
    linkable: bool,
    /// Last access, change of content, change of attributes, and birth.
    pub(in crate::store) times: Times,
    /// Extended attributes.
    pub(in crate::store) xattrs: BTreeMap<Vec<u8>, Arc<[u8]>>,
    /// Target of a symbolic link, empty for everything else.
    pub(in crate::store) target: Arc<[u8]>,
    /// Entries of a directory.
    pub(super) entries: Entries,
}

/// The times of an inode.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Times {
    /// Last access.
    pub(in crate::store) atime: SystemTime,
    /// Last change of the content.
    pub(in crate::store) mtime: SystemTime,
    /// Last change of the attributes.
    pub(in crate::store) ctime: SystemTime,
    /// Birth.
    pub(in crate::store) btime: SystemTime,
}

/// The entries of a directory, by name and in the order of their cookies.
#[derive(Clone, Default)]
pub(super) struct Entries {
    /// Cookie and inode number by name.
    pub(super) by_name: BTreeMap<Vec<u8>, (u64, u64)>,
    /// Name by cookie. Cookies are never reused, so a listing resumes at the same place whatever changes.
    by_cookie: BTreeMap<u64, Vec<u8>>,
    /// The last cookie given out.
    last_cookie: u64,
    /// Inode number of the parent.
    pub(super) parent: u64,
}

impl Entries {
    /// Inode number of `name`.
    fn get(&self, name: &[u8]) -> Option<u64> {
        self.by_name.get(name).map(|(_, ino)| *ino)
    }

    /// Gives `name` to `ino`. A name that is there keeps its place in the order.
    pub(super) fn put(&mut self, name: &[u8], ino: u64) {
        if let Some(found) = self.by_name.get_mut(name) {
            found.1 = ino;
            return;
        }
        self.last_cookie += 1;
        self.by_name.insert(name.to_vec(), (self.last_cookie, ino));
        self.by_cookie.insert(self.last_cookie, name.to_vec());
    }

    /// Removes `name`.
    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some((cookie, _)) = self.by_name.remove(name) {
            self.by_cookie.remove(&cookie);
        }
    }
}

/// What a new inode is.
#[derive(Debug, Clone)]
pub(in crate::store) struct NewNode {
    /// Its kind.
    pub(in crate::store) kind: NodeKind,
    /// Its permission bits.
    pub(in crate::store) mode: u32,
    /// Device number.
    pub(in crate::store) rdev: u64,
    /// Target of a symbolic link.
    pub(in crate::store) target: Arc<[u8]>,
    /// Owner and group, unless the directory hands down its group.
    pub(in crate::store) owner: (u32, u32),
}

/// A place in the name space: a directory and a name in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Place {
    /// Inode number of the directory.
    pub(in crate::store) dir: u64,
    /// The name.
    pub(in crate::store) name: Vec<u8>,
}

/// A change of the name space or of attributes.
#[derive(Debug, Clone)]
pub(in crate::store) enum NameOp {
    /// A new inode; without a name it lives only as long as it is open or until it is linked.
    Create { dir: u64, name: Option<Vec<u8>>, ino: u64, node: NewNode },
    /// A further name.
    Link { place: Place, ino: u64 },
    /// A rename.
    Rename { from: Place, to: Place, mode: RenameMode },
    /// Removal of a name of something that is not a directory.
    Unlink { place: Place },
    /// Removal of an empty directory.
    RemoveDir { place: Place },
    /// A change of permission bits.
    SetMode { ino: u64, mode: u32 },
    /// A change of owner or group.
    SetOwner { ino: u64, uid: Option<u32>, gid: Option<u32> },
    /// A change of times.
    SetTimes { ino: u64, atime: TimeChange, mtime: TimeChange },
    /// A new value of an extended attribute.
    SetXattr { ino: u64, name: Vec<u8>, value: Arc<[u8]>, mode: XattrMode },
    /// Removal of an extended attribute.
    RemoveXattr { ino: u64, name: Vec<u8> },
}

/// All inodes. A clone shares them, and a change copies only what it touches.
#[derive(Clone)]
pub(in crate::store) struct Tree {
    /// Inodes by number; those without a name too, as long as somebody holds them.
    pub(in crate::store) nodes: HashMap<u64, Arc<Inode>>,
}

/// Refuses a name that is none or too long.
pub(in crate::store) fn check_name(name: &[u8]) -> Result<(), Kind> {
    if name.is_empty() || name == b"." || name == b".." || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
        return Err(Kind::Invalid);
    }
    if name.len() > NAME_MAX { Err(Kind::NameTooLong) } else { Ok(()) }
}

/// Refuses what the kernel refuses of the name of an extended attribute of a node of `kind`.
pub(in crate::store) fn check_xattr(kind: NodeKind, name: &[u8], writes: bool) -> Result<(), Kind> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Kind::Range);
    }
    let is_user = name.starts_with(b"user.");
    let is_known = is_user
        || name.starts_with(b"trusted.")
        || name.starts_with(b"security.")
        || name == b"system.posix_acl_access"
        || name == b"system.posix_acl_default";
    if !is_known {
        return Err(Kind::Unsupported);
    }
    // Permission bits of links and devices say nothing about who may store data there.
    match kind {
        NodeKind::File | NodeKind::Directory => Ok(()),
        _ if !is_user => Ok(()),
        _ if writes => Err(Kind::NotPermitted),
        _ => Err(Kind::NoAttribute),
    }
}

impl Tree {
    /// A tree with an empty root directory of `owner`.
    pub(in crate::store) fn new(owner: (u32, u32), now: SystemTime) -> Self {
        let node = NewNode { kind: NodeKind::Directory, mode: 0o755, rdev: 0, target: Arc::default(), owner };
        let mut root = Inode::new(&node, now);
        root.entries.parent = ROOT;
        root.nlink = 2;
        Self { nodes: HashMap::from([(ROOT, Arc::new(root))]) }
    }

    /// The inode `ino`.
    pub(in crate::store) fn get(&self, ino: u64) -> Result<&Inode, Kind> {
        self.nodes.get(&ino).map(|node| &**node).ok_or(Kind::Stale)
    }

    /// The inode `ino`, for a change at `now`.
    pub(super) fn change(&mut self, ino: u64, now: SystemTime) -> Result<&mut Inode, Kind> {
        let node = Arc::make_mut(self.nodes.get_mut(&ino).ok_or(Kind::Stale)?);
        node.times.ctime = now;
        Ok(node)
    }

    /// The directory `ino`, whose entries change at `now`.
    pub(super) fn change_dir(&mut self, ino: u64, now: SystemTime) -> Result<&mut Inode, Kind> {
        let dir = self.change(ino, now)?;
        dir.times.mtime = now;
        Ok(dir)
    }

    /// Notes a change of the content of a file at `now`.
    pub(in crate::store) fn touch(&mut self, ino: u64, now: SystemTime) -> Result<(), Kind> {
        self.change_dir(ino, now).map(|_| ())
    }

    /// The directory `ino`; one that was removed takes and finds nothing.
    pub(super) fn live_dir(&self, ino: u64) -> Result<&Inode, Kind> {
        let dir = self.get(ino)?;
        if dir.kind != NodeKind::Directory {
            return Err(Kind::NotADirectory);
        }
        if dir.nlink == 0 { Err(Kind::NotFound) } else { Ok(dir) }
    }

    /// Inode number of an entry.
    pub(in crate::store) fn lookup(&self, dir: u64, name: &[u8]) -> Result<u64, Kind> {
        let found = self.live_dir(dir);
        // The kernel looks at the name before it looks whether the directory is still there.
        if !matches!(found, Err(Kind::NotADirectory)) {
            check_name(name)?;
        }
        found?.entries.get(name).ok_or(Kind::NotFound)
    }

    /// Cookie, name and inode number of at most `limit` entries behind `cookie`.
    pub(in crate::store) fn list(
        &self,
        dir: u64,
        cookie: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>, u64)>, Kind> {
        let dir = self.get(dir)?;
        if dir.kind != NodeKind::Directory {
            return Err(Kind::NotADirectory);
        }
        let behind =
            dir.entries.by_cookie.range((std::ops::Bound::Excluded(cookie), std::ops::Bound::Unbounded));
        let entries = behind
            .take(limit)
            .filter_map(|(cookie, name)| dir.entries.get(name).map(|ino| (*cookie, name.clone(), ino)));
        Ok(entries.collect())
    }

    /// Performs `op` at `now`; returns an inode that has lost its last name by it. After an error nothing
    /// has changed.
    pub(in crate::store) fn perform(&mut self, op: &NameOp, now: SystemTime) -> Result<Option<u64>, Kind> {
        match op {
            NameOp::Create { dir, name, ino, node } => self.create(*dir, name.as_deref(), *ino, node, now)?,
            NameOp::Link { place, ino } => self.link(place, *ino, now)?,
            NameOp::Rename { from, to, mode } => return self.rename(from, to, *mode, now),
            NameOp::Unlink { place } => return self.unlink(place, now),
            NameOp::RemoveDir { place } => return self.remove_dir(place, now),
            NameOp::SetMode { ino, mode } => self.set_mode(*ino, *mode, now)?,
            NameOp::SetOwner { ino, uid, gid } => self.set_owner(*ino, *uid, *gid, now)?,
            NameOp::SetTimes { ino, atime, mtime } => {
                let node = self.change(*ino, now)?;
                apply_time(&mut node.times.atime, *atime, now);
                apply_time(&mut node.times.mtime, *mtime, now);
            }
            NameOp::SetXattr { ino, name, value, mode } => self.set_xattr(*ino, name, value, *mode, now)?,
            NameOp::RemoveXattr { ino, name } => {
                let node = self.get(*ino)?;
                check_xattr(node.kind, name, true)?;
                node.xattrs.get(name).ok_or(Kind::NoAttribute)?;
                self.change(*ino, now)?.xattrs.remove(name);
            }
        }
        Ok(None)
    }

    /// Creates an inode, with a name or without.
    fn create(
        &mut self,
        dir: u64,
        name: Option<&[u8]>,
        ino: u64,
        node: &NewNode,
        now: SystemTime,
    ) -> Result<(), Kind> {
        match name {
            Some(name) => self.free_name(dir, name)?,
            None => drop(self.live_dir(dir)?),
        }
        if node.kind == NodeKind::Symlink {
            match node.target.len() {
                0 => return Err(Kind::NotFound),
                1..4096 => {}
                _ => return Err(Kind::NameTooLong),
            }
        }
        let mut inode = Inode::new(node, now);
        let parent = self.get(dir)?;
        if parent.mode & 0o2000 != 0 {
            inode.gid = parent.gid;
            if node.kind == NodeKind::Directory {
                inode.mode |= 0o2000;
            }
        }
        inode.entries.parent = dir;
        inode.linkable = name.is_none();
        if let Some(name) = name {
            let is_dir = node.kind == NodeKind::Directory;
            inode.nlink = if is_dir { 2 } else { 1 };
            let parent = self.change_dir(dir, now)?;
            parent.entries.put(name, ino);
            parent.nlink += u64::from(is_dir);
        }
        self.nodes.insert(ino, Arc::new(inode));
        Ok(())
    }

    /// Succeeds if `name` can be given in `dir`.
    fn free_name(&self, dir: u64, name: &[u8]) -> Result<(), Kind> {
        match self.lookup(dir, name) {
            Ok(_) => Err(Kind::Exists),
            // A removed directory is not found either, and takes nothing.
            Err(Kind::NotFound) => self.live_dir(dir).map(|_| ()),
            Err(kind) => Err(kind),
        }
    }

    /// Gives `ino` a further name.
    fn link(&mut self, place: &Place, ino: u64, now: SystemTime) -> Result<(), Kind> {
        self.free_name(place.dir, &place.name)?;
        let node = self.get(ino)?;
        if node.kind == NodeKind::Directory {
            return Err(Kind::NotPermitted);
        }
        if node.nlink == 0 && !node.linkable {
            return Err(Kind::NotFound);
        }
        let node = self.change(ino, now)?;
        node.nlink += 1;
        node.linkable = false;
        self.change_dir(place.dir, now)?.entries.put(&place.name, ino);
        Ok(())
    }

    /// Removes a name of something that is not a directory.
    fn unlink(&mut self, place: &Place, now: SystemTime) -> Result<Option<u64>, Kind> {
        let ino = self.lookup(place.dir, &place.name)?;
        if self.get(ino)?.kind == NodeKind::Directory {
            return Err(Kind::IsADirectory);
        }
        self.change_dir(place.dir, now)?.entries.remove(&place.name);
        self.drop_name(ino, now)
    }

    /// Takes a name from `ino`; returns it if that was the last. A directory loses its own dot with it.
    pub(super) fn drop_name(&mut self, ino: u64, now: SystemTime) -> Result<Option<u64>, Kind> {
        let node = self.change(ino, now)?;
        node.nlink = if node.kind == NodeKind::Directory { 0 } else { node.nlink - 1 };
        Ok((node.nlink == 0).then_some(ino))
    }

    /// Removes an empty directory.
    fn remove_dir(&mut self, place: &Place, now: SystemTime) -> Result<Option<u64>, Kind> {
        let ino = self.lookup(place.dir, &place.name)?;
        let node = self.get(ino)?;
        if node.kind != NodeKind::Directory {
            return Err(Kind::NotADirectory);
        }
        if !node.entries.by_name.is_empty() {
            return Err(Kind::NotEmpty);
        }
        let parent = self.change_dir(place.dir, now)?;
        parent.entries.remove(&place.name);
        parent.nlink -= 1;
        self.drop_name(ino, now)
    }

    /// Sets permission bits.
    fn set_mode(&mut self, ino: u64, mode: u32, now: SystemTime) -> Result<(), Kind> {
        if self.get(ino)?.kind == NodeKind::Symlink {
            return Err(Kind::Unsupported);
        }
        self.change(ino, now)?.mode = mode & 0o7777;
        Ok(())
    }

    /// Sets owner and group, which takes set-id bits away as Linux does.
    fn set_owner(
        &mut self,
        ino: u64,
        uid: Option<u32>,
        gid: Option<u32>,
        now: SystemTime,
    ) -> Result<(), Kind> {
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(Kind::Invalid);
        }
        let node = self.change(ino, now)?;
        node.uid = uid.unwrap_or(node.uid);
        node.gid = gid.unwrap_or(node.gid);
        if node.kind != NodeKind::Directory {
            node.mode &= !0o4000;
            if node.mode & 0o010 != 0 {
                node.mode &= !0o2000;
            }
        }
        Ok(())
    }

    /// Sets an extended attribute.
    fn set_xattr(
        &mut self,
        ino: u64,
        name: &[u8],
        value: &Arc<[u8]>,
        mode: XattrMode,
        now: SystemTime,
    ) -> Result<(), Kind> {
        if value.len() > XATTR_MAX {
            return Err(Kind::Range);
        }
        let node = self.get(ino)?;
        check_xattr(node.kind, name, true)?;
        match (mode, node.xattrs.contains_key(name)) {
            (XattrMode::Create, true) => Err(Kind::Exists),
            (XattrMode::Replace, false) => Err(Kind::NoAttribute),
            _ => {
                self.change(ino, now)?.xattrs.insert(name.to_vec(), Arc::clone(value));
                Ok(())
            }
        }
    }
}

/// Applies a change of a time.
fn apply_time(time: &mut SystemTime, change: TimeChange, now: SystemTime) {
    match change {
        TimeChange::Omit => {}
        TimeChange::Now => *time = now,
        TimeChange::At(at) => *time = at,
    }
}

impl Inode {
    /// An inode without a name.
    fn new(node: &NewNode, now: SystemTime) -> Self {
        Self {
            kind: node.kind,
            // The kernel's mkdir takes no set-id bits; a link has all permissions.
            mode: match node.kind {
                NodeKind::Directory => node.mode & 0o1777,
                NodeKind::Symlink => 0o777,
                _ => node.mode & 0o7777,
            },
            uid: node.owner.0,
            gid: node.owner.1,
            rdev: node.rdev,
            nlink: 0,
            linkable: false,
            times: Times { atime: now, mtime: now, ctime: now, btime: now },
            xattrs: BTreeMap::new(),
            target: Arc::clone(&node.target),
            entries: Entries::default(),
        }
    }
}
