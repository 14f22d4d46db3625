//! A volume in memory with the service that has its keys, for tests.

use std::ffi::OsStr;
use std::sync::Arc;

use kms_core::client::KeyService;

use super::{InitOptions, NewVolume, OpenMode, OpenOptions, OpenVolume, VolumeError, init};
use crate::file::EncryptedFile;
use crate::format::DomainId;
use crate::keys::fake::TestService;
use crate::store::memory::MemoryStore;
use crate::store::{BackingNode, BackingStore};

/// A volume in memory and the service that has its keys.
pub(crate) struct World<S = MemoryStore> {
    pub(crate) store: Arc<S>,
    pub(crate) service: Arc<TestService>,
}

impl World {
    pub(crate) fn empty() -> Self {
        Self { store: Arc::new(MemoryStore::new()), service: TestService::new() }
    }

    pub(crate) fn new() -> Self {
        let world = Self::empty();
        world.init(&InitOptions::default()).unwrap();
        world
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = self.store.root().read_dir(0, 100).unwrap();
        entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect()
    }
}

impl<S: BackingStore + 'static> World<S> {
    pub(crate) fn init(&self, options: &InitOptions) -> Result<NewVolume, VolumeError> {
        let service: Arc<dyn KeyService> = self.service.clone();
        init(&*self.store, &service, &TestService::caller(), options)
    }

    pub(crate) fn init_under(&self, key: &str) {
        self.init(&InitOptions { key: Some(key.to_owned()), ..InitOptions::default() }).unwrap();
    }

    pub(crate) fn open(&self, mode: OpenMode) -> Result<OpenVolume, VolumeError> {
        // The shortest ring that the journal makes.
        let options = OpenOptions { journal_len: 1, ..OpenOptions::new(mode) };
        let (store, service) = (self.store.clone(), self.service.clone());
        OpenVolume::open_with(store, service, TestService::caller(), &options)
    }
}

pub(crate) fn write_in(
    volume: &OpenVolume,
    dir: &dyn BackingNode,
    domain: DomainId,
    name: &str,
    data: &[u8],
) {
    let (node, file) = dir.create_file(OsStr::new(name), 0o644).unwrap();
    let ino = file.stat().unwrap().ino;
    let file = EncryptedFile::create(volume.context(), (node, file), ino, domain).unwrap();
    file.write(0, data).unwrap();
    file.fsync(false).unwrap();
}

pub(crate) fn read_in(volume: &OpenVolume, dir: &dyn BackingNode, domain: DomainId, name: &str) -> Vec<u8> {
    let node = dir.lookup(OsStr::new(name)).unwrap();
    let file = EncryptedFile::open(volume.context(), node, domain).unwrap();
    let mut data = vec![0; file.size() as usize];
    assert_eq!(file.read(0, &mut data).unwrap(), data.len());
    data
}

/// Writes a file in the root directory. The backing name is given, not the plain one.
pub(crate) fn write_file(volume: &OpenVolume, name: &str, data: &[u8]) {
    write_in(volume, &*volume.root(), volume.keys().root_domain(), name, data);
}

/// Reads what [`write_file`] wrote.
pub(crate) fn read_file(volume: &OpenVolume, name: &str) -> Vec<u8> {
    read_in(volume, &*volume.root(), volume.keys().root_domain(), name)
}
