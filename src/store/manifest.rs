//! What the store knows of an artifact: its recipe, its files and their digests.

use std::fs;
use std::io;
use std::path::{Component, Path};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Digest, Machine, Recipe, Store, StoreError, write_atomically};
use crate::fault;

/// `manifest.json` of an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The artifact's name: the digest of its recipe.
    pub key: Digest,
    /// What made it.
    pub recipe: Recipe,
    /// Its files, by name.
    pub files: Vec<FileEntry>,
    /// Digest of the files' names and contents and of the simulated mark: what a downstream stage's key depends on.
    pub content: Digest,
    /// Made from simulated data.
    pub simulated: bool,
    /// One line for people.
    pub summary: String,
    /// When it was finished, in seconds since 1970.
    pub created: u64,
    /// How long it took to make, in seconds.
    pub seconds: f64,
    /// The version of mtorec that made it.
    pub tool: String,
    /// The machine that made it; unknown for artifacts of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
}

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name within the artifact.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970: equal size and time mean unchanged to a quick look.
    pub modified_ns: u64,
    /// Its content.
    pub digest: Digest,
}

/// What a stage's run adds to its files.
#[derive(Debug, Clone)]
pub struct Finished {
    /// What was made.
    pub recipe: Recipe,
    /// Made from simulated data.
    pub simulated: bool,
    /// One line for people.
    pub summary: String,
    /// How long it took.
    pub took: Duration,
}

/// The file as it lies on the disk: the manifest and a digest of it, so that no flipped bit in it goes unseen either.
#[derive(Serialize, Deserialize)]
struct Sealed {
    manifest: Manifest,
    seal: Digest,
}

impl Manifest {
    /// The file's name within an artifact's folder.
    pub(super) const FILE: &'static str = "manifest.json";

    pub(super) fn new(finished: Finished, mut files: Vec<FileEntry>) -> Self {
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            key: finished.recipe.key(),
            content: content(&files, finished.simulated),
            recipe: finished.recipe,
            files,
            simulated: finished.simulated,
            summary: finished.summary,
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            seconds: finished.took.as_secs_f64(),
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            machine: Some(Machine::this()),
        }
    }

    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Writes the manifest of an artifact in the making.
    pub(super) fn write(&self, path: &Path) -> Result<(), StoreError> {
        self.to_json().and_then(|json| write_atomically(path, &json)).map_err(StoreError::io("write", path))
    }

    /// Replaces the manifest of a finished artifact.
    pub(super) fn replace(&self, store: &Store) -> Result<(), StoreError> {
        let path = store.artifact(self.key).join(Self::FILE);
        self.to_json().and_then(|json| store.replace(&path, &json)).map_err(StoreError::io("write", &path))
    }

    /// The manifest as it is written, with its seal.
    ///
    /// # Errors
    /// When it cannot be put into words.
    pub fn sealed(&self) -> Result<Vec<u8>, StoreError> {
        self.to_json().map_err(StoreError::io("write", Path::new(Self::FILE)))
    }

    fn to_json(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(&Sealed { manifest: self.clone(), seal: self.seal() })?)
    }

    /// Reads the manifest of the artifact with this key.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it is not the one that was written, [`StoreError::Io`] when it cannot be read.
    pub(super) fn read(path: &Path, key: Digest) -> Result<Self, StoreError> {
        let bytes = match fault::at("manifest.read", || fs::read(path)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Damaged { key, what: "its manifest is missing".to_owned() });
            }
            Err(error) => return Err(StoreError::io("read", path)(error)),
        };
        Self::unseal(&bytes, key)
    }

    /// Reads what [`Self::sealed`] wrote, of the artifact with this key.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it is not the one that was written.
    pub fn unseal(bytes: &[u8], key: Digest) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Damaged { key, what: what.to_owned() };
        let Sealed { manifest, seal } =
            serde_json::from_slice(bytes).map_err(|_| damaged("its manifest cannot be understood"))?;
        if seal != manifest.seal() || manifest.key != key {
            return Err(damaged("its manifest has changed"));
        }
        if manifest.recipe.key() != key {
            return Err(damaged("its recipe is that of another artifact"));
        }
        if let Some(file) = manifest.files.iter().find(|file| !is_plain(&file.name)) {
            return Err(damaged(&format!("it names {:?} as a file of its own", file.name)));
        }
        Ok(manifest)
    }

    /// The manifest of a copy whose files are these: only the times at which they were written may differ.
    pub(super) fn of_copy(&self, mut files: Vec<FileEntry>) -> Result<Self, StoreError> {
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let damaged = |what: String| StoreError::Damaged { key: self.key, what };
        for (expected, got) in self.files.iter().zip(&files) {
            if (&expected.name, expected.size, expected.digest) != (&got.name, got.size, got.digest) {
                let what = format!("the bytes of `{}` have another digest than {}", expected.name, expected.digest);
                return Err(damaged(what));
            }
        }
        if files.len() != self.files.len() || content(&files, self.simulated) != self.content {
            return Err(damaged("its files are not those that its manifest stands for".to_owned()));
        }
        Ok(Self { files, ..self.clone() })
    }

    fn seal(&self) -> Digest {
        // Plain data of strings and numbers always serialises; an empty vector could only make the seal differ.
        Digest::of_bytes(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Whether a name is that of a file in the artifact's own folder, and leads nowhere else.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

/// The simulated mark belongs to the content: when simulated rows give way to real ones, everything downstream must lose
/// its mark too, even where the bytes happen to be the same.
fn content(files: &[FileEntry], simulated: bool) -> Digest {
    let mark: &[u8] = if simulated { b"simulated" } else { b"real" };
    let digests: Vec<String> = files.iter().map(|file| file.digest.to_string()).collect();
    let named = files.iter().zip(&digests).flat_map(|(file, digest)| [file.name.as_bytes(), digest.as_bytes()]);
    Digest::of_fields("mtorec 2026 artifact content", std::iter::once(mark).chain(named))
}

/// Last modification in nanoseconds since 1970; 0 where the system has none.
pub(super) fn modified_ns(metadata: &fs::Metadata) -> u64 {
    let since_1970 = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since_1970.map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))
}
