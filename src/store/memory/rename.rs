//! Renaming in the name space.

use std::time::SystemTime;

use super::tree::{Place, ROOT, Tree};
use crate::store::{NodeKind, RenameMode, StoreErrorKind as Kind};

impl Tree {
    /// Renames, in the order of checks that Linux has.
    pub(super) fn rename(
        &mut self,
        from: &Place,
        to: &Place,
        mode: RenameMode,
        now: SystemTime,
    ) -> Result<Option<u64>, Kind> {
        // Linux walks both paths, which takes directories, before it looks at either of them.
        for dir in [from.dir, to.dir] {
            if self.get(dir)?.kind != NodeKind::Directory {
                return Err(Kind::NotADirectory);
            }
        }
        if matches!(mode, RenameMode::Whiteout { .. }) {
            return Err(Kind::Unsupported);
        }
        self.live_dir(from.dir)?;
        self.live_dir(to.dir)?;
        let source = self.lookup(from.dir, &from.name)?;
        let target = match self.lookup(to.dir, &to.name) {
            Ok(ino) => Some(ino),
            Err(Kind::NotFound) => None,
            Err(kind) => return Err(kind),
        };
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(Kind::Exists),
            (RenameMode::Exchange, None) => return Err(Kind::NotFound),
            _ => {}
        }
        if self.is_above(source, to.dir)? {
            return Err(Kind::Invalid);
        }
        if let Some(target) = target {
            if self.is_above(target, from.dir)? {
                let exchange = mode == RenameMode::Exchange;
                return Err(if exchange { Kind::Invalid } else { Kind::NotEmpty });
            }
            if target == source {
                return Ok(None);
            }
            if mode == RenameMode::Exchange {
                return self.exchange(from, source, to, target, now);
            }
            self.check_replacement(source, target)?;
        }
        self.change_dir(from.dir, now)?.entries.remove(&from.name);
        self.change_dir(to.dir, now)?.entries.put(&to.name, source);
        self.change(source, now)?;
        let gone = match target {
            Some(target) => {
                self.uncount_dir(target, to.dir, now)?;
                self.drop_name(target, now)?
            }
            None => None,
        };
        self.reparent(source, from.dir, to.dir, now)?;
        Ok(gone)
    }

    /// Whether `node` is `dir` or one of the directories above it.
    fn is_above(&self, node: u64, dir: u64) -> Result<bool, Kind> {
        let mut at = dir;
        loop {
            if at == node {
                return Ok(true);
            }
            if at == ROOT {
                return Ok(false);
            }
            at = self.get(at)?.entries.parent;
        }
    }

    /// Whether `source` may replace `target`.
    fn check_replacement(&self, source: u64, target: u64) -> Result<(), Kind> {
        let (source, target) = (self.get(source)?, self.get(target)?);
        match (source.kind == NodeKind::Directory, target.kind == NodeKind::Directory) {
            (true, false) => Err(Kind::NotADirectory),
            (false, true) => Err(Kind::IsADirectory),
            (true, true) if !target.entries.by_name.is_empty() => Err(Kind::NotEmpty),
            _ => Ok(()),
        }
    }

    /// Exchanges two entries.
    fn exchange(
        &mut self,
        from: &Place,
        source: u64,
        to: &Place,
        target: u64,
        now: SystemTime,
    ) -> Result<Option<u64>, Kind> {
        self.change_dir(from.dir, now)?.entries.put(&from.name, target);
        self.change_dir(to.dir, now)?.entries.put(&to.name, source);
        self.change(source, now)?;
        self.change(target, now)?;
        self.reparent(source, from.dir, to.dir, now)?;
        self.reparent(target, to.dir, from.dir, now)?;
        Ok(None)
    }

    /// Takes the dots of `node` from the count of `dir` if it is a directory.
    fn uncount_dir(&mut self, node: u64, dir: u64, now: SystemTime) -> Result<(), Kind> {
        if self.get(node)?.kind == NodeKind::Directory {
            self.change(dir, now)?.nlink -= 1;
        }
        Ok(())
    }

    /// Moves the dots of `node` from one directory to another if it is a directory.
    fn reparent(&mut self, node: u64, old: u64, new: u64, now: SystemTime) -> Result<(), Kind> {
        if self.get(node)?.kind == NodeKind::Directory {
            self.change(old, now)?.nlink -= 1;
            self.change(new, now)?.nlink += 1;
            self.change(node, now)?.entries.parent = new;
        }
        Ok(())
    }
}
