//! Artifacts in the making: a folder aside that becomes the artifact at once, or is thrown away.

use std::fs::{self, File, Metadata};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use rayon::prelude::*;

use super::atomic::sync_folder;
use super::folder::remove_dir_all;
use super::manifest::modified_ns;
use super::{Artifact, Digest, FileEntry, Finished, KeyLock, Lookup, Manifest, Store, StoreError};
use crate::fault;

/// The files of an artifact in the making. Dropping it without [`Draft::commit`] removes them.
#[derive(Debug)]
pub struct Draft {
    store: Store,
    folder: PathBuf,
    target: PathBuf,
    /// Where an artifact of the same key that is in the way goes before it is removed.
    replaced: PathBuf,
    /// Whether one was there at the start.
    replaces: bool,
}

impl Draft {
    /// Starts a draft of the artifact whose lock is held.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn new(store: &Store, lock: &KeyLock) -> Result<Self, StoreError> {
        let key = lock.key();
        let draft = Self {
            store: store.clone(),
            folder: store.temporary(key),
            target: store.artifact(key),
            replaced: store.temporary(key),
            replaces: store.artifact(key).exists(),
        };
        let files = draft.files();
        fault::at("draft.mkdir", || fs::create_dir_all(&files)).map_err(StoreError::io("create", &files))?;
        Ok(draft)
    }

    /// Where to write a file of the artifact. Names are plain: an artifact has no folders.
    pub fn path(&self, file: &str) -> PathBuf {
        self.files().join(file)
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(&self, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(file);
        fault::write_file("draft.write", &path, bytes).map_err(StoreError::io("write", &path))
    }

    /// Flushes every file to the disk, notes its digest, and gives the folder its final name in one rename. An artifact
    /// of the same key that was there before is replaced. One that somebody else made meanwhile, which can be only where
    /// locks do not work, counts: others may have read it.
    ///
    /// # Errors
    /// When the system refuses; the store is then as it was.
    pub fn commit(self, lock: &KeyLock, finished: Finished) -> Result<Artifact, StoreError> {
        let files = self.flush_files()?;
        self.publish(lock, Manifest::new(finished, files))
    }

    /// As [`Draft::commit`], for files that are copies of those of an artifact elsewhere.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] naming the first file that is not as in its manifest; when the system refuses.
    pub(super) fn commit_copy(self, lock: &KeyLock, manifest: &Manifest) -> Result<Artifact, StoreError> {
        let files = self.flush_files()?;
        self.publish(lock, manifest.of_copy(files)?)
    }

    fn publish(self, lock: &KeyLock, manifest: Manifest) -> Result<Artifact, StoreError> {
        debug_assert_eq!(lock.key(), manifest.recipe.key(), "the lock guards the key that is made");
        manifest.write(&self.folder.join(Manifest::FILE))?;
        // writing the manifest flushed the folder in which it lies
        let files = self.files();
        sync_folder(&files).map_err(StoreError::io("flush", &files))?;
        if !self.replaces
            && let Some(theirs) = self.made_meanwhile(lock)?
        {
            return Ok(theirs);
        }
        if self.target.exists() {
            fault::at("draft.replace", || fs::rename(&self.target, &self.replaced))
                .map_err(StoreError::io("replace", &self.target))?;
        }
        if let Err(error) = fault::at("draft.rename", || fs::rename(&self.folder, &self.target)) {
            if let Some(theirs) = self.made_meanwhile(lock)? {
                return Ok(theirs);
            }
            // nothing is in the way any more; what was there is still good
            let _ = fs::rename(&self.replaced, &self.target);
            return Err(StoreError::io("write", &self.target)(error));
        }
        if let Some(parent) = self.target.parent() {
            sync_folder(parent).map_err(StoreError::io("flush", parent))?;
        }
        Ok(Artifact::new(self.store.clone(), manifest))
    }

    /// The artifact that somebody else made of the same key while this one was written.
    fn made_meanwhile(&self, lock: &KeyLock) -> Result<Option<Artifact>, StoreError> {
        Ok(match self.store.lookup(lock.key())? {
            Lookup::Intact(theirs) => {
                tracing::warn!(key = %lock.key(), "another process made the same artifact meanwhile: locks do not work here");
                Some(theirs)
            }
            Lookup::Absent | Lookup::Damaged(_) => None,
        })
    }

    fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// Flushes every file and notes what it holds, read back from the system rather than taken from the writer.
    fn flush_files(&self) -> Result<Vec<FileEntry>, StoreError> {
        let folder = self.files();
        let entries = fault::at("draft.list", || fs::read_dir(&folder)).map_err(StoreError::io("read", &folder))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names: Vec<String> = names.collect::<Result<_, _>>().map_err(StoreError::io("read", &folder))?;
        // An artifact has few files. Flushes on threads of their own leave the cores to the digests, and go to the disk
        // together.
        thread::scope(|scope| {
            let flush = |name: &String| {
                let path = self.path(name);
                scope.spawn(move || flush_file(&path))
            };
            let flushes: Vec<_> = names.iter().map(flush).collect();
            let digest = |name: &String| {
                let path = self.path(name);
                Digest::of_file(&path).map_err(StoreError::io("read", &path))
            };
            let digests: Vec<_> = names.par_iter().map(digest).collect();
            let found = names.iter().zip(digests).zip(flushes);
            let entries = found.map(|((name, digest), flush)| {
                let metadata = flush.join().unwrap_or_else(|panic| resume_unwind(panic))?;
                let (size, modified_ns) = (metadata.len(), modified_ns(&metadata));
                Ok(FileEntry { name: name.clone(), size, modified_ns, digest: digest? })
            });
            entries.collect()
        })
    }
}

fn flush_file(path: &Path) -> Result<Metadata, StoreError> {
    // Windows flushes only what is open for writing.
    let mut options = File::options();
    options.read(true).append(true);
    let file = fault::at("draft.open", || options.open(path)).map_err(StoreError::io("flush", path))?;
    fault::at("draft.flush", || file.sync_all()).map_err(StoreError::io("flush", path))?;
    fault::at("draft.stat", || file.metadata()).map_err(StoreError::io("read", path))
}

impl Drop for Draft {
    fn drop(&mut self) {
        for folder in [&self.folder, &self.replaced] {
            if let Err(error) = remove_dir_all(folder) {
                tracing::warn!(%error, "a temporary folder stays; the next run removes it");
            }
        }
    }
}
