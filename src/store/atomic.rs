//! Files that are either written whole or left as they were. Those of the store are written aside in its `tmp/`, where the
//! next run finds and removes what a killed process left.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::folder::list_all;
use super::lock::{host, knows_no_locks};
use super::{Digest, Store, StoreError};
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
        match lock.lock_shared() {
            Err(error) if !knows_no_locks(&error) => return Err(error),
            _ => {}
        }
        write_by_way_of(&self.asides(), path, bytes, flush)
    }

    /// Removes the files that processes which died were writing.
    pub(super) fn clear_asides(&self) -> Result<(), StoreError> {
        let folder = self.asides();
        let dead = list_all(&folder)?.into_iter().filter(|path| path.is_file() && may_be_left(path));
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

/// A name that no other thread, live process or machine uses: several may write to one folder of a shared file system, and
/// numbers of processes are each machine's own.
pub(super) fn unique_suffix() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}-{}", this_host(), std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Stands for this machine in names of files.
fn this_host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| Digest::of_bytes(host().as_bytes()).to_string()[..8].to_owned())
}

/// How old something must be that a process of another machine left half-written. Its lock is free, but locks of a shared
/// file system are not to be trusted in this: whoever holds it may be at work there. No stage takes so long.
const FOREIGN_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Whether what lies at this path, named by [`unique_suffix`], may be a leftover once its lock is free.
pub(super) fn may_be_left(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let host = name.trim_end_matches(".tmp").rsplit(['-', '.']).nth(2);
    // earlier versions named no machine
    if host.is_none_or(|host| host == this_host() || host.len() != this_host().len()) {
        return true;
    }
    is_old(path)
}

/// Whether something was last written so long ago that nobody is at it.
pub(super) fn is_old(path: &Path) -> bool {
    let written = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age > FOREIGN_AGE))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

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

        let elsewhere = store.asides().join(".ffffffff-1-1.tmp");
        fs::write(&elsewhere, "half").unwrap();
        let dead = store.asides().join(format!(".{}.tmp", unique_suffix()));
        fs::write(&dead, "half").unwrap();
        let writing = store.asides_lock().unwrap();
        writing.lock_shared().unwrap();
        store.clear_leftovers().unwrap();
        assert!(dead.exists(), "it may be what somebody writes");
        drop(writing);
        store.clear_leftovers().unwrap();
        assert!(!dead.exists() && path.exists());
        assert!(elsewhere.exists(), "another machine may be writing it");
        age(&elsewhere);
        store.clear_leftovers().unwrap();
        assert!(!elsewhere.exists());
    }

    fn age(path: &Path) {
        let then = SystemTime::now() - FOREIGN_AGE - Duration::from_secs(60);
        File::open(path).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn an_artifact_that_another_machine_writes_is_left_alone_until_nobody_can_be_at_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.prepare().unwrap();
        let key = Digest::of_bytes(b"key");
        let (here, there) = (store.temporary(key), store.asides().join(format!("{key}-ffffffff-7-0")));
        fs::create_dir(&here).unwrap();
        fs::create_dir(&there).unwrap();
        store.clear_leftovers().unwrap();
        assert!(!here.exists() && there.exists());
        age(&there);
        store.clear_leftovers().unwrap();
        assert!(!there.exists());
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
