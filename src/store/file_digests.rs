//! Digests of files outside the store, remembered so that a big data set is hashed once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::manifest::modified_ns;
use super::{Digest, Store};
use crate::fault;

/// A file system's clock may tick slowly: a file this young could change again within the same tick, so its digest is
/// not remembered.
const SETTLED: Duration = Duration::from_secs(2);

/// Digests of files outside the store, remembered by path, size and time of modification. The default one remembers
/// within the process only; [`FileDigests::of_store`] keeps them in the store.
#[derive(Debug, Default)]
pub struct FileDigests {
    known: Mutex<BTreeMap<PathBuf, Known>>,
    store: Option<Store>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    size: u64,
    modified_ns: u64,
    digest: Digest,
}

impl FileDigests {
    /// The digests remembered in a store.
    pub fn of_store(store: &Store) -> Self {
        // Only a cache: one that is missing or unreadable costs a hash, nothing else.
        let known = fault::at("file_digests.read", || fs::read(store.file_digests()))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self { known: Mutex::new(known), store: Some(store.clone()) }
    }

    /// The digest of a file's content.
    ///
    /// # Errors
    /// When the file cannot be read, or is written while it is read.
    pub fn digest(&self, path: &Path) -> Result<Digest, io::Error> {
        Ok(self.length_and_digest(path)?.1)
    }

    /// The length and the digest of a file's content.
    ///
    /// # Errors
    /// When the file cannot be read, or is written while it is read.
    pub fn length_and_digest(&self, path: &Path) -> Result<(u64, Digest), io::Error> {
        let path = fault::at("file_digests.stat", || fs::canonicalize(path))?;
        let before = fault::at("file_digests.before", || fs::metadata(&path))?;
        let (size, modified) = (before.len(), modified_ns(&before));
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&path)
            && (known.size, known.modified_ns) == (size, modified)
        {
            return Ok((size, known.digest));
        }
        tracing::debug!(path = %path.display(), size, "hashing a file outside the store");
        let digest = Digest::of_file(&path)?;
        let after = fault::at("file_digests.after", || fs::metadata(&path))?;
        if (after.len(), modified_ns(&after)) != (size, modified) {
            return Err(io::Error::other("the file changed while it was read"));
        }
        let settled =
            before.modified().and_then(|time| SystemTime::now().duration_since(time).map_err(io::Error::other));
        if settled.is_ok_and(|age| age > SETTLED) {
            self.remember(path, Known { size, modified_ns: modified, digest });
        }
        Ok((size, digest))
    }

    fn remember(&self, path: PathBuf, entry: Known) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(path, entry);
        let Some(store) = &self.store else { return };
        let saved = store.prepare().map_err(|error| error.to_string()).and_then(|()| {
            let json = serde_json::to_vec_pretty(&*known).map_err(|error| error.to_string())?;
            // an unreadable one is no loss, so nobody waits for the disk
            store.replace_unflushed(&store.file_digests(), &json).map_err(|error| error.to_string())
        });
        if let Err(error) = saved {
            tracing::debug!(error, "file digests are not remembered");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn write_aged(path: &Path, text: &str, age: u64) {
        fs::write(path, text).unwrap();
        let then = SystemTime::now() - Duration::from_secs(age);
        File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn a_settled_file_is_hashed_once_even_across_processes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let path = folder.path().join("train.csv");
        write_aged(&path, "one", 100);
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let one = FileDigests::of_store(&store).digest(&path).unwrap();
        assert_eq!(one, Digest::of_bytes(b"one"));

        // Same size and time, other bytes: only a remembered digest can answer with the old one.
        fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(FileDigests::of_store(&store).digest(&path).unwrap(), one);

        write_aged(&path, "two", 50);
        assert_eq!(FileDigests::of_store(&store).digest(&path).unwrap(), Digest::of_bytes(b"two"));
    }

    #[test]
    fn a_file_just_written_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.csv");
        let digests = FileDigests::default();
        write_aged(&path, "one", 0);
        digests.digest(&path).unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(digests.digest(&path).unwrap(), Digest::of_bytes(b"two"));
        fs::remove_file(&path).unwrap();
        assert_eq!(digests.digest(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
