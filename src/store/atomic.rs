//! Files that are either written whole or left as they were. Those of the store are written aside in its `tmp/`, where the
//! next run finds and removes what a killed process left.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::folder::list_all;
use super::{Store, StoreError};
use crate::fault;

/// Replaces a file's content so that a reader, or a crash in the middle, sees the old content or the new one: written
/// aside in the same folder (made if need be), flushed to the disk, renamed.
///
/// # Errors
/// When any of these steps fails; the file aside is then removed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    fault::at("atomic.mkdir", || fs::create_dir_all(folder))?;
    write_by_way_of(folder, path, bytes, File::sync_all)?;
    sync_folder(folder)
}

impl Store {
    /// Replaces a file of the store as [`write_atomically`] does; its folder must be there.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.replace_with(path, bytes, File::sync_all)?;
        sync_folder(folder_of(path))
    }

    /// Replaces a file of the store, but leaves it to the system when it reaches the disk: other processes see the old
    /// content or the new one, a power cut may leave nothing of either. For what can be done without.
    pub(super) fn replace_unflushed(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.replace_with(path, bytes, |_| Ok(()))
    }

    fn replace_with(&self, path: &Path, bytes: &[u8], flush: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        // held by all who write at once, so that nobody takes what they write for a leftover
        let lock = self.asides_lock()?;
        lock.lock_shared()?;
        write_by_way_of(&self.asides(), path, bytes, flush)
    }

    /// Removes the files that processes which died were writing.
    pub(super) fn clear_asides(&self) -> Result<(), StoreError> {
        let folder = self.asides();
        let dead = list_all(&folder)?.into_iter().filter(|path| path.is_file());
        let mut dead = dead.peekable();
        if dead.peek().is_none() {
            return Ok(());
        }
        let lock = self.asides_lock().map_err(StoreError::io("lock", &folder))?;
        if lock.try_lock().is_err() {
            // somebody is writing just now; the next run looks again
            return Ok(());
        }
        // those that were there before the lock was ours may have got their names meanwhile
        dead.filter(|path| path.exists()).try_for_each(|path| {
            tracing::debug!(path = %path.display(), "removing what a dead process left");
            fault::at("store.remove_file", || fs::remove_file(&path)).map_err(StoreError::io("remove", &path))
        })
    }

    fn asides_lock(&self) -> io::Result<File> {
        let path = self.asides_lock_file();
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        fault::at("asides.open", || options.open(&path))
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes a file aside in a folder, lets it be flushed, and gives it its name.
fn write_by_way_of(
    folder: &Path,
    path: &Path,
    bytes: &[u8],
    flush: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let aside = folder.join(format!(".{}.tmp", unique_suffix()));
    let written = fault::at("atomic.create", || File::create_new(&aside)).and_then(|file| {
        fault::write("atomic.write", &file, bytes)?;
        fault::at("atomic.flush", || flush(&file))?;
        fault::at("atomic.rename", || fs::rename(&aside, path))
    });
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

/// Makes renames and new names in a folder survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Windows opens no folders as files, and keeps their entries in its journal.
    if cfg!(unix) { fault::at("store.sync_folder", || File::open(folder)?.sync_all()) } else { Ok(()) }
}

/// A name that no other thread or live process uses.
pub(super) fn unique_suffix() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_content_and_leaves_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("file");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_dead_process_was_writing_in_the_store_is_cleared_unless_somebody_writes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.prepare().unwrap();
        let path = store.folder().join("file");
        store.replace(&path, b"one").unwrap();
        store.replace_unflushed(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert!(list_all(&store.asides()).unwrap().is_empty());

        let dead = store.asides().join(".1-1.tmp");
        fs::write(&dead, "half").unwrap();
        let writing = store.asides_lock().unwrap();
        writing.lock_shared().unwrap();
        store.clear_leftovers().unwrap();
        assert!(dead.exists(), "it may be what somebody writes");
        drop(writing);
        store.clear_leftovers().unwrap();
        assert!(!dead.exists() && path.exists());
    }

    #[test]
    fn a_failed_write_leaves_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "").unwrap();
        assert!(write_atomically(&path, b"one").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
