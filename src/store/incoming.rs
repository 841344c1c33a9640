//! Artifacts on their way from elsewhere: parts of their files that outlive a killed process, until they are whole.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::path::PathBuf;

use super::folder::{create_dir_all, list};
use super::{Artifact, Draft, KeyLock, Manifest, Store, StoreError};
use crate::fault;

/// The artifact of one key on its way, as its manifest says. Whoever has it holds the key's lock.
pub struct Incoming<'a> {
    store: &'a Store,
    lock: &'a KeyLock,
    manifest: Manifest,
    folder: PathBuf,
}

/// What has come of one file.
pub struct Part {
    file: File,
    path: PathBuf,
    length: u64,
}

impl<'a> Incoming<'a> {
    /// Goes on with what has come of an artifact, if anything has.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(store: &'a Store, lock: &'a KeyLock, manifest: Manifest) -> Result<Self, StoreError> {
        let folder = store.incoming(lock.key());
        create_dir_all(&folder)?;
        Ok(Self { store, lock, manifest, folder })
    }

    /// Bytes that have come before.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn received(&self) -> Result<u64, StoreError> {
        let sizes = list(&self.folder)?.into_iter().map(|path| fs::metadata(&path).map_or(0, |found| found.len()));
        Ok(sizes.sum())
    }

    /// What has come of the file at this place in the manifest. More than the whole file is none of it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn part(&self, at: usize) -> Result<Part, StoreError> {
        let path = self.path(at);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let opened = fault::at("incoming.open", || {
            let mut file = options.open(&path)?;
            let mut length = file.seek(SeekFrom::End(0))?;
            if length > self.manifest.files[at].size {
                file.set_len(0)?;
                length = file.seek(SeekFrom::Start(0))?;
            }
            Ok((file, length))
        });
        let (file, length) = opened.map_err(StoreError::io("open", &path))?;
        Ok(Part { file, path, length })
    }

    /// Makes the artifact of the files, once all have come.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] naming the first file that is not what the manifest says; [`StoreError::Io`].
    pub fn finish(&self) -> Result<Artifact, StoreError> {
        let draft = Draft::new(self.store, self.lock)?;
        for (at, entry) in self.manifest.files.iter().enumerate() {
            let (from, to) = (self.path(at), draft.path(&entry.name));
            fault::at("incoming.move", || fs::rename(&from, &to)).map_err(StoreError::io("move", &from))?;
        }
        let artifact = draft.commit_copy(self.lock, &self.manifest)?;
        if let Err(error) = self.store.remove_incoming(self.lock) {
            tracing::warn!(%error, "an empty folder stays; the next run removes it");
        }
        Ok(artifact)
    }

    /// Named by what it is to hold: parts of another version of the artifact are none of this one.
    fn path(&self, at: usize) -> PathBuf {
        self.folder.join(format!("{}-{at}", self.manifest.files[at].digest))
    }
}

impl Part {
    /// Bytes that have come.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds what comes next. It is not flushed: what a power cut takes is noticed by its digest, and comes again.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written: io::Result<()> = fault::write("incoming.append", &self.file, bytes);
        written.map_err(StoreError::io("write", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}
