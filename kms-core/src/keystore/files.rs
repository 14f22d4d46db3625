//! Files that appear whole or not at all, readable only by their owner.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::KeystoreError;

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeystoreError {
    let path = path.to_owned();
    |error| KeystoreError::Io { path, error }
}

/// Whether a directory can be put at `path`: nothing is there, or an empty directory.
pub(super) fn is_free(path: &Path) -> Result<bool, KeystoreError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(io_error(path)(error)),
    }
}

/// A directory under a passing name; removed unless it is published.
pub(super) struct StagedDir {
    path: PathBuf,
    published: bool,
}

impl StagedDir {
    /// A new private directory beside `target`, on the same file system.
    pub(super) fn beside(target: &Path) -> Result<Self, KeystoreError> {
        let path = passing_name(target);
        DirBuilder::new().mode(0o700).create(&path).map_err(io_error(&path))?;
        Ok(Self { path, published: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the directory its name. An empty directory of that name is replaced, anything else is refused.
    pub(super) fn publish(mut self, target: &Path) -> Result<(), KeystoreError> {
        for entry in fs::read_dir(&self.path).map_err(io_error(&self.path))? {
            let path = entry.map_err(io_error(&self.path))?.path();
            File::open(&path).and_then(|file| file.sync_all()).map_err(io_error(&path))?;
        }
        sync_dir(&self.path)?;
        match fs::rename(&self.path, target) {
            Ok(()) => self.published = true,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::AlreadyExists
                        | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(KeystoreError::AlreadyExists { path: target.to_owned() });
            }
            Err(error) => return Err(io_error(target)(error)),
        }
        sync_dir(parent(target))
    }
}

impl Drop for StagedDir {
    fn drop(&mut self) {
        if !self.published {
            // The error that led here is the one to report.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Writes a private file that does not exist yet.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), KeystoreError> {
    let result =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    result.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeystoreError::AlreadyExists { path: path.to_owned() },
        _ => io_error(path)(error),
    })
}

/// Replaces a file: after a crash there is the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), KeystoreError> {
    let staged = passing_name(path);
    let result = write_new(&staged, bytes).and_then(|()| fs::rename(&staged, path).map_err(io_error(path)));
    if result.is_err() {
        let _ = fs::remove_file(&staged);
    }
    result?;
    sync_dir(parent(path))
}

/// Reads a file of at most `max_len` bytes; a longer one is cut off one byte later, which no parser takes.
pub(super) fn read_bounded(path: &Path, max_len: usize) -> Result<Vec<u8>, KeystoreError> {
    let limit = u64::try_from(max_len).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(io_error(path))?;
    Ok(bytes)
}

/// Refuses what others than the owner can use.
pub(super) fn check_private(path: &Path) -> Result<(), KeystoreError> {
    let mode = fs::metadata(path).map_err(io_error(path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeystoreError::Permissions { path: path.to_owned(), mode });
    }
    Ok(())
}

fn sync_dir(path: &Path) -> Result<(), KeystoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(io_error(path))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn passing_name(target: &Path) -> PathBuf {
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    parent(target).join(format!(".{name}.{}", uuid::Uuid::new_v4().simple()))
}
