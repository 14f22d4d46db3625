//! What a whole volume may hold after a power cut.

use std::collections::{BTreeMap, BTreeSet};

use super::oracle::Oracle;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    Dir,
    /// The file with this number: one for all of its names.
    File(usize),
    Link(Vec<u8>),
}

/// What was found at a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Dir,
    File { content: Vec<u8>, tag: Option<Vec<u8>> },
    Link(Vec<u8>),
}

pub(crate) type FoundTree = BTreeMap<String, Found>;

/// All names and attributes at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) paths: BTreeMap<String, Thing>,
    /// The attribute of those files that have one.
    pub(crate) tags: BTreeMap<usize, Vec<u8>>,
}

impl Tree {
    /// Moves a path and all below it.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let moved: Vec<String> =
            self.paths.keys().filter(|path| *path == from || path.starts_with(&below)).cloned().collect();
        for path in moved {
            if let Some(thing) = self.paths.remove(&path) {
                self.paths.insert(format!("{to}{}", &path[from.len()..]), thing);
            }
        }
    }

    pub(crate) fn path_of(&self, file: usize) -> Option<&String> {
        self.paths.iter().find(|(_, thing)| **thing == Thing::File(file)).map(|(path, _)| path)
    }

    /// Numbers of all files that have a name.
    pub(crate) fn files(&self) -> BTreeSet<usize> {
        let number = |thing: &Thing| if let Thing::File(number) = thing { Some(*number) } else { None };
        self.paths.values().filter_map(number).collect()
    }
}

/// One file: its content's history, and the moments of the names' history that concern it.
#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) content: Oracle,
    /// When it was created.
    born: usize,
    /// When its attribute was set last.
    tagged: usize,
}

/// The history of a volume since it was last known as a whole: names and attributes become durable in the order in
/// which they were changed, each content for itself.
#[derive(Clone)]
pub(crate) struct Truth {
    trees: Vec<Tree>,
    /// The tree up to which everything is durable.
    durable: usize,
    pub(crate) files: Vec<Object>,
}

impl Truth {
    pub(crate) fn new() -> Self {
        Self { trees: vec![Tree::default()], durable: 0, files: Vec::new() }
    }

    pub(crate) fn now(&self) -> &Tree {
        &self.trees[self.trees.len() - 1]
    }

    /// How many states of names and attributes there were.
    pub(crate) fn moments(&self) -> usize {
        self.trees.len()
    }

    /// An operation on `file` failed. Names and attributes are as after one of its steps, of which the first came
    /// behind `before` states, and its content is as before or in part as after it; `found` says what it is.
    pub(crate) fn adopt(&mut self, before: usize, found: &FoundTree, file: usize) -> Result<(), String> {
        let fits = |tree: &&Tree| self.fits(tree, found).is_ok();
        let Some(tree) = self.trees[before - 1..].iter().rev().find(fits).cloned() else {
            return Err(format!("{:?}", self.fits(self.now(), found)));
        };
        for (path, found) in found {
            let (Some(Thing::File(number)), Found::File { content, .. }) = (tree.paths.get(path), found)
            else {
                continue;
            };
            if *number == file {
                self.files[file].content.observed(content.clone());
            } else if content != self.files[*number].content.now() {
                return Err(format!("{path}, which the operation was not about, has changed"));
            }
        }
        self.trees.push(tree);
        Ok(())
    }

    /// A change of names or attributes begins.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Tree)) {
        let mut tree = self.now().clone();
        change(&mut tree);
        self.trees.push(tree);
    }

    pub(crate) fn create(&mut self, path: &str) -> usize {
        let number = self.files.len();
        self.files.push(Object { content: Oracle::new(), born: self.trees.len(), tagged: 0 });
        self.change(|tree| drop(tree.paths.insert(path.to_owned(), Thing::File(number))));
        number
    }

    pub(crate) fn tag(&mut self, file: usize, tag: &[u8]) {
        self.files[file].tagged = self.trees.len();
        self.change(|tree| drop(tree.tags.insert(file, tag.to_owned())));
    }

    /// An fsync of `file` was acknowledged: its content is durable, with its creation, and its attribute too unless
    /// `data_only`.
    pub(crate) fn synced(&mut self, file: usize, data_only: bool) {
        let object = &mut self.files[file];
        object.content.synced();
        let names = if data_only { object.born } else { object.born.max(object.tagged) };
        self.durable = self.durable.max(names);
    }

    /// An fsync of a directory was acknowledged.
    pub(crate) fn names_synced(&mut self) {
        self.durable = self.trees.len() - 1;
    }

    /// The moment that `found` shows, if a power cut may leave it.
    pub(crate) fn allows(&self, found: &FoundTree) -> Result<usize, String> {
        let mut problems = Vec::new();
        for moment in (self.durable..self.trees.len()).rev() {
            match self.fits(&self.trees[moment], found) {
                Ok(()) => return Ok(moment),
                Err(problem) => problems.push(format!("as of change {moment}: {problem}")),
            }
        }
        problems.truncate(4);
        Err(problems.join("; "))
    }

    fn fits(&self, tree: &Tree, found: &FoundTree) -> Result<(), String> {
        if let Some(path) = tree.paths.keys().find(|path| !found.contains_key(*path)) {
            return Err(format!("{path} is gone"));
        }
        for (path, found) in found {
            let problem = match (tree.paths.get(path), found) {
                (Some(Thing::Dir), Found::Dir) => None,
                (Some(Thing::Link(target)), Found::Link(shown)) if target == shown => None,
                (Some(Thing::File(number)), Found::File { content, tag }) => {
                    let object = &self.files[*number].content;
                    // The attribute of a file that never was durable may have gone with its keys.
                    let keyless = tag.is_none() && content.is_empty() && !object.exists;
                    if tag.as_ref() == tree.tags.get(number) || keyless {
                        object.allows(content).err()
                    } else {
                        Some(format!("has the attribute {tag:?}"))
                    }
                }
                (expected, _) => Some(format!("is not {expected:?}")),
            };
            if let Some(problem) = problem {
                return Err(format!("{path} {problem}"));
            }
        }
        Ok(())
    }

    /// Whether `found` is the present, byte for byte.
    pub(crate) fn is_present(&self, found: &FoundTree) -> Result<(), String> {
        self.fits(self.now(), found)?;
        for (path, found) in found {
            if let (Some(Thing::File(number)), Found::File { content, .. }) =
                (self.now().paths.get(path), found)
                && content != self.files[*number].content.now()
            {
                return Err(format!("{path} lacks an acknowledged byte"));
            }
        }
        Ok(())
    }

    /// `found`, of the moment `moment`, was made durable as a whole.
    pub(crate) fn settle(&mut self, moment: usize, found: &FoundTree) {
        let mut tree = self.trees.swap_remove(moment);
        for (path, found) in found {
            if let (Some(Thing::File(number)), Found::File { content, tag }) = (tree.paths.get(path), found) {
                self.files[*number].content.found(content.clone());
                self.files[*number].born = 0;
                self.files[*number].tagged = 0;
                if tag.is_none() {
                    tree.tags.remove(number);
                }
            }
        }
        self.trees = vec![tree];
        self.durable = 0;
    }
}
