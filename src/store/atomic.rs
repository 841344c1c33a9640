//! Files that are either written whole or left as they were.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fault;

/// Replaces a file's content so that a reader, or a crash in the middle, sees the old content or the new one: written
/// aside in the same folder (made if need be), flushed to the disk, renamed.
///
/// # Errors
/// When any of these steps fails; the file aside is then removed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_aside(path, bytes, File::sync_all).and_then(|folder| sync_folder(&folder))
}

/// Replaces a file's content as [`write_atomically`] does, but leaves it to the system when it reaches the disk: other
/// processes see the old content or the new one, a power cut may leave nothing of either. For what can be done without.
pub(super) fn replace_unflushed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_aside(path, bytes, |_| Ok(())).map(drop)
}

/// Writes a file aside, lets it be flushed, gives it its name, and returns its folder.
fn write_aside(path: &Path, bytes: &[u8], flush: impl FnOnce(&File) -> io::Result<()>) -> io::Result<PathBuf> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fault::at("atomic.mkdir", || fs::create_dir_all(folder))?;
    let aside = folder.join(format!(".{}.tmp", unique_suffix()));
    let written = fault::at("atomic.create", || File::create_new(&aside)).and_then(|file| {
        fault::write("atomic.write", &file, bytes)?;
        fault::at("atomic.flush", || flush(&file))?;
        fault::at("atomic.rename", || fs::rename(&aside, path))
    });
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written.map(|()| folder.to_path_buf())
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
        replace_unflushed(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
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
