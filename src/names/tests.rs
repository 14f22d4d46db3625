use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::crypto::SecretKey;
use crate::format::NameMode;
use crate::store::memory::MemoryStore;
use crate::store::{BackingStore, NodeRef};

/// Two domains whose ids begin with the same tag.
struct TwoDomains(Vec<(DomainId, Arc<DomainKeys>)>);

impl TwoDomains {
    fn new() -> Self {
        let make = |last: u8| {
            let mut id = [7; 16];
            id[15] = last;
            let keys = DomainKeys::derive(&SecretKey::generate().unwrap(), &[1; 16], &id);
            (DomainId(id), Arc::new(keys))
        };
        Self(vec![make(1), make(2)])
    }
}

impl DomainSource for TwoDomains {
    fn root_domain(&self) -> DomainId {
        self.0[0].0
    }

    fn domain_keys(&self, id: DomainId) -> Result<Arc<DomainKeys>, KeyError> {
        let found = self.0.iter().find(|(known, _)| *known == id);
        found.map(|(_, keys)| Arc::clone(keys)).ok_or(KeyError::UnknownDomain(id))
    }

    fn domains_with_tag(&self, tag: [u8; 4]) -> Vec<DomainId> {
        self.0.iter().map(|(id, _)| *id).filter(|id| id.0.starts_with(&tag)).collect()
    }
}

fn directory() -> (TwoDomains, NodeRef, DirNames) {
    let domains = TwoDomains::new();
    let dir = MemoryStore::new().root().make_dir(OsStr::new("d"), 0o700).unwrap();
    let (domain, keys) = domains.0[1].clone();
    let names = DirNames::make(&*dir, domain, keys, false).unwrap();
    (domains, dir, names)
}

fn file_name() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..=255).prop_map(|mut name| {
        name.iter_mut().filter(|b| matches!(**b, 0 | b'/')).for_each(|b| *b = b'x');
        if name == b"." || name == b".." { b"dots".to_vec() } else { name }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_name_comes_back_and_only_in_its_directory(name in file_name()) {
        let (domains, dir, names) = directory();
        let name = OsString::from_vec(name);
        let entry = names.encrypt(&name).unwrap();
        prop_assert!(entry.name.len() <= 255);
        prop_assert_eq!(&names.encrypt(&name).unwrap(), &entry, "the same name is at the same place");
        if let Some(long) = &entry.long {
            dir.make_symlink(&long.link, long.target.as_bytes()).unwrap();
        }
        let found = names.decrypt(&*dir, entry.name.as_bytes()).unwrap();
        prop_assert_eq!(found, PlainEntry::Name(name.clone()));
        let other = names.make_child(&*dir.make_dir(OsStr::new("o"), 0o700).unwrap()).unwrap();
        prop_assert_ne!(&other.encrypt(&name).unwrap().name, &entry.name);
        prop_assert!(other.decrypt(&*dir, entry.name.as_bytes()).is_err());
        let again = DirNames::load(&*dir, &domains, NameMode::Encrypted, domains.0[0].0, false).unwrap();
        prop_assert_eq!(again.domain(), domains.0[1].0, "the MAC tells domains with one tag apart");
        prop_assert_eq!(again.encrypt(&name).unwrap(), entry);
    }

    #[test]
    fn decrypt_is_total(name in vec(any::<u8>(), 1..300)) {
        let (_, dir, names) = directory();
        let _ = names.decrypt(&*dir, &name);
    }

    #[test]
    fn targets_of_every_length(len in 1usize..=4095) {
        let (domains, dir, _) = directory();
        let targets = Targets::new(dir);
        let keys = &domains.0[0].1;
        let plain = vec![b't'; len];
        let stored = targets.seal(keys, &plain).unwrap();
        prop_assert!(stored.len() <= 4095);
        prop_assert_eq!(read_target(&targets, keys, stored.as_bytes()).unwrap(), plain);
        prop_assert!(read_target(&targets, &domains.0[1].1, stored.as_bytes()).is_err());
        if let Some(id) = parse_kept(stored.as_bytes()).unwrap() {
            targets.remove(&id).unwrap();
            targets.remove(&id).unwrap();
            prop_assert!(read_target(&targets, keys, stored.as_bytes()).is_err());
        }
    }

    #[test]
    fn attributes_come_back_under_their_own_name_only(name in vec(1u8..=255, 1..160), value in vec(any::<u8>(), 0..200)) {
        let (domains, _, names) = directory();
        let sealer = XattrSealer::new(&names.keys().xattr, names.context());
        for space in ["user.", "trusted."] {
            let name = OsString::from_vec([space.as_bytes(), &name].concat());
            let stored = sealer.seal_name(&name).unwrap();
            prop_assert_eq!(StoredXattr::of(stored.as_bytes()), StoredXattr::Sealed);
            prop_assert_eq!(sealer.open_name(stored.as_bytes()).unwrap(), name);
            let sealed = sealer.seal_value(&stored, &value);
            prop_assert_eq!(sealer.open_value(&stored, &sealed).unwrap(), value.clone());
            prop_assert!(sealer.open_value(OsStr::new("user.kmsfs.other"), &sealed).is_err());
            let elsewhere = XattrSealer::new(&domains.0[1].1.xattr, b"another directory");
            prop_assert!(elsewhere.open_name(stored.as_bytes()).is_err());
            prop_assert!(elsewhere.open_value(&stored, &sealed).is_err());
        }
    }
}

#[test]
fn a_changed_directory_id_is_refused() {
    let (domains, dir, _) = directory();
    let id = OsStr::new(".k");
    let target = dir.read_link_at(id).unwrap();
    for at in 1..target.len() {
        let mut changed = target.clone();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        dir.unlink(id).unwrap();
        dir.make_symlink(id, &changed).unwrap();
        let loaded = DirNames::load(&*dir, &domains, NameMode::Encrypted, domains.0[0].0, false);
        assert!(loaded.is_err(), "character {at}");
    }
}

#[test]
fn impossible_names() {
    let (_, _, names) = directory();
    for name in ["", ".", "..", "a/b", "a\0b"] {
        assert!(matches!(names.encrypt(OsStr::new(name)), Err(NameError::Invalid)), "{name:?}");
    }
    assert!(matches!(names.encrypt(OsStr::new(&"x".repeat(256))), Err(NameError::TooLong)));
}

#[test]
fn classes_of_attributes() {
    let class = |name| XattrClass::of(OsStr::new(name));
    assert_eq!(class("user.x"), XattrClass::Encrypted);
    assert_eq!(class("trusted.x"), XattrClass::Encrypted);
    assert_eq!(class("security.capability"), XattrClass::Clear);
    assert_eq!(class("system.posix_acl_access"), XattrClass::Clear);
    assert_eq!(class("system.nfs4_acl"), XattrClass::Unsupported);
    assert_eq!(StoredXattr::of(b"user.someone else's"), StoredXattr::Foreign);
    assert_eq!(StoredXattr::of(b"security.selinux"), StoredXattr::Clear);
}
