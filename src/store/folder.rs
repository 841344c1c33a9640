//! The store's folder: where everything lies, which format it has, and what may be cleared away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::artifact::{Artifact, Lookup};
use super::atomic::{is_old, may_be_left, unique_suffix};
use super::{Digest, KeyLock, LockAttempt, Manifest, StoreError};
use crate::fault;

/// The format this program writes; raise it when an older program could misread the store.
const FORMAT: u32 = 1;

/// The artifact store of a project.
///
/// ```text
/// .mtorec/
///   version               format of the store
///   artifacts/KEY/        manifest.json and files/, complete
///   tmp/KEY-…/            artifacts being written
///   tmp/.….tmp            other files of the store being written
///   scratch/KEY/          checkpoints of a run that has not finished
///   incoming/KEY/         what has come of an artifact from a remote
///   damaged/KEY/          artifacts that were not intact, set aside
///   locks/KEY.lock        held by whoever makes the artifact
///   locks/asides.lock     held by all who write other files
///   runs/PIPELINE.json    what the last run of a pipeline did
///   jobs/ID/              what was submitted to a cluster at one time
///   file-digests.json     digests of files outside the store
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The folder's name within a project.
    pub const FOLDER: &'static str = ".mtorec";

    /// Opens the store of a project; nothing is written before it is needed.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when a later version of this program wrote it; [`StoreError::Io`].
    pub fn open(project: &Path) -> Result<Self, StoreError> {
        let store = Self { folder: project.join(Self::FOLDER) };
        store.check_format()?;
        Ok(store)
    }

    /// The store's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let path = self.folder.join("version");
        match fault::at("store.version", || fs::read_to_string(&path)) {
            Ok(text) => match text.trim().parse::<u32>() {
                Ok(found) if found <= FORMAT => Ok(()),
                _ => Err(StoreError::Newer {
                    path: self.folder.clone(),
                    found: format!("`{}`", text.trim()),
                    known: FORMAT,
                }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }

    /// Makes the folders, if they are not there.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn prepare(&self) -> Result<(), StoreError> {
        for name in ["artifacts", "tmp", "scratch", "locks", "runs"] {
            create_dir_all(&self.folder.join(name))?;
        }
        let version = self.folder.join("version");
        if !version.exists() {
            let ignore = self.folder.join(".gitignore");
            self.replace_unflushed(&ignore, b"*\n").map_err(StoreError::io("write", &ignore))?;
            self.replace(&version, format!("{FORMAT}\n").as_bytes()).map_err(StoreError::io("write", &version))?;
        }
        Ok(())
    }

    /// Where the record of a pipeline's last run lies.
    pub fn record(&self, pipeline: &str) -> PathBuf {
        self.folder.join("runs").join(format!("{pipeline}.json"))
    }

    /// The records of all pipelines that ever ran here, in the order of their names.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn records(&self) -> Result<Vec<PathBuf>, StoreError> {
        list(&self.folder.join("runs"))
    }

    /// Where submissions to a cluster have their folders.
    pub fn jobs(&self) -> PathBuf {
        self.folder.join("jobs")
    }

    /// The folders of all submissions.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn submissions(&self) -> Result<Vec<PathBuf>, StoreError> {
        list(&self.jobs())
    }

    /// Looks an artifact up, at the cost of one `stat` a file; see [`Artifact::quick_check`].
    ///
    /// # Errors
    /// When the system refuses to read; damage is no error here.
    pub fn lookup(&self, key: Digest) -> Result<Lookup, StoreError> {
        let folder = self.artifact(key);
        if !folder.exists() {
            return Ok(Lookup::Absent);
        }
        match Manifest::read(&folder.join(Manifest::FILE), key)
            .map(|manifest| Artifact::new(self.clone(), manifest))
            .and_then(|artifact| artifact.quick_check().map(|()| artifact))
        {
            Ok(artifact) => Ok(Lookup::Intact(artifact)),
            Err(StoreError::Damaged { what, .. }) => Ok(Lookup::Damaged(what)),
            Err(error) => Err(error),
        }
    }

    /// The keys of all artifacts, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn keys(&self) -> Result<Vec<Digest>, StoreError> {
        let folders = list(&self.folder.join("artifacts"))?;
        Ok(folders.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect())
    }

    /// Sets a damaged artifact aside, where it is found by no lookup but can be looked into.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set_aside(&self, lock: &KeyLock) -> Result<(), StoreError> {
        let (from, to) = (self.artifact(lock.key()), self.folder.join("damaged").join(lock.key().to_string()));
        create_dir_all(&self.folder.join("damaged"))?;
        remove_dir_all(&to)?;
        fault::at("store.set_aside", || fs::rename(&from, &to)).map_err(StoreError::io("set aside", &from))
    }

    /// The folder where a run of this key keeps what a later run can go on from.
    pub fn scratch(&self, key: Digest) -> PathBuf {
        self.folder.join("scratch").join(key.to_string())
    }

    /// Whether an unfinished run of this key left something to go on from.
    pub fn has_scratch(&self, key: Digest) -> bool {
        fs::read_dir(self.scratch(key)).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Makes the scratch folder, empty if `fresh`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open_scratch(&self, lock: &KeyLock, fresh: bool) -> Result<PathBuf, StoreError> {
        let path = self.scratch(lock.key());
        if fresh {
            remove_dir_all(&path)?;
        }
        create_dir_all(&path)?;
        Ok(path)
    }

    /// Removes the scratch folder of a finished artifact, and what had come of it from elsewhere.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove_scratch(&self, lock: &KeyLock) -> Result<(), StoreError> {
        remove_dir_all(&self.scratch(lock.key()))?;
        self.remove_incoming(lock)
    }

    /// Removes what has come of an artifact from elsewhere.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove_incoming(&self, lock: &KeyLock) -> Result<(), StoreError> {
        remove_dir_all(&self.incoming(lock.key()))
    }

    /// Removes what processes that died left half-written, and checkpoints and parts of finished artifacts. Whatever a live
    /// process is writing is locked, and stays.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn clear_leftovers(&self) -> Result<(), StoreError> {
        self.clear_asides()?;
        for path in list(&self.folder.join("tmp"))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(key) = name.get(..64).and_then(|hex| hex.parse::<Digest>().ok()) else { continue };
            if may_be_left(&path)
                && let LockAttempt::Held(lock) = self.try_lock(key, "clearing leftovers")?
                && (lock.is_alone() || is_old(&path))
            {
                tracing::debug!(path = %path.display(), "removing what a dead process left");
                remove_dir_all(&path)?;
            }
        }
        // a process may have died between naming an artifact and removing what it was made from
        for path in [list(&self.folder.join("scratch"))?, list(&self.folder.join("incoming"))?].concat() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Ok(key) = name.parse::<Digest>() else { continue };
            if self.artifact(key).exists()
                && let LockAttempt::Held(lock) = self.try_lock(key, "clearing leftovers")?
                && (lock.is_alone() || is_old(&path))
            {
                self.remove_scratch(&lock)?;
            }
        }
        Ok(())
    }

    pub(super) fn artifact(&self, key: Digest) -> PathBuf {
        self.folder.join("artifacts").join(key.to_string())
    }

    /// Where parts of an artifact from elsewhere wait until it is whole.
    pub(super) fn incoming(&self, key: Digest) -> PathBuf {
        self.folder.join("incoming").join(key.to_string())
    }

    pub(super) fn lock_file(&self, key: Digest) -> PathBuf {
        self.folder.join("locks").join(format!("{key}.lock"))
    }

    pub(super) fn file_digests(&self) -> PathBuf {
        self.folder.join("file-digests.json")
    }

    /// Where files are written before they get their names.
    pub(super) fn asides(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// Held by all who write there, and alone by who clears it.
    pub(super) fn asides_lock_file(&self) -> PathBuf {
        self.folder.join("locks").join("asides.lock")
    }

    /// A folder name under `tmp` that nobody else uses.
    pub(super) fn temporary(&self, key: Digest) -> PathBuf {
        self.folder.join("tmp").join(format!("{key}-{}", unique_suffix()))
    }
}

/// The paths in a folder, sorted; none when it is not there. Files being written aside, which begin with a dot, are left out.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths = list_all(folder)?;
    paths.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !name.starts_with('.')));
    paths.sort();
    Ok(paths)
}

/// The paths in a folder; none when it is not there.
pub(super) fn list_all(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fault::at("store.list", || fs::read_dir(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("read", folder)(error)),
    };
    entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(StoreError::io("read", folder))
}

pub(super) fn create_dir_all(path: &Path) -> Result<(), StoreError> {
    fault::at("store.mkdir", || fs::create_dir_all(path)).map_err(StoreError::io("create", path))
}

/// Removes a folder; one that is not there is fine.
pub(super) fn remove_dir_all(path: &Path) -> Result<(), StoreError> {
    match fault::at("store.remove", || fs::remove_dir_all(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
