//! Where a log lies and what it is: what `Download` records and `Preprocess` relies on.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::{Dataset, Simulated};
use crate::store::FileDigests;

/// `source.json` of a `Download` artifact.
///
/// Times of modification are not in it: a touched or copied file with the same content is the same log, and the
/// artifact stays the same byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Which data set.
    pub dataset: Dataset,
    /// How the log was simulated; `None` for a real one.
    pub simulated: Option<Simulated>,
    /// The files of a real log, training rows first; empty for a simulated one, whose rows lie in the artifact.
    pub files: Vec<SourceFile>,
}

impl Source {
    /// Where the record lies in an artifact.
    pub const FILE: &str = "source.json";

    /// Reads a `source.json`.
    ///
    /// # Errors
    /// When the file cannot be read or is no such record.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = fs::read(path).map_err(DataError::read(path))?;
        serde_json::from_slice(&text).map_err(|error| DataError::unsound(path, error.to_string()))
    }

    /// The text of a `source.json`.
    ///
    /// # Errors
    /// When a path is not Unicode, which JSON cannot hold.
    pub fn to_json(&self) -> Result<String, DataError> {
        serde_json::to_string_pretty(self).map_err(|error| {
            DataError::request(format!("the log's files cannot be recorded: {error}"), "rename the folder they lie in")
        })
    }

    /// Whether the log's files divide it into training and test rows.
    pub(crate) fn has_test_rows(&self) -> bool {
        let has = |role| self.files.iter().any(|file| file.role == role);
        self.simulated.is_some() || has(Role::Archive) || has(Role::UserTest) || (has(Role::Train) && has(Role::Test))
    }
}

/// A file of a real log, which stays where the user put it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// What it holds.
    pub role: Role,
    /// Where it lies: absolute, or relative to the project's folder.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of its content, in hex.
    pub digest: String,
}

/// What a file of a log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Rows to learn from.
    Train,
    /// Rows to measure on.
    Test,
    /// One side of the training rows as AliExpress publishes them: what is known of a search and its user.
    UserTrain,
    /// The other side: the items shown, and what became of them.
    ItemTrain,
    /// As [`Role::UserTrain`] for the test rows.
    UserTest,
    /// As [`Role::ItemTrain`] for the test rows.
    ItemTest,
    /// An archive of all files.
    Archive,
}

impl Role {
    /// The name `plan` prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
            Self::UserTrain => "user_train",
            Self::ItemTrain => "item_train",
            Self::UserTest => "user_test",
            Self::ItemTest => "item_test",
            Self::Archive => "archive",
        }
    }
}

/// A file that was looked for and found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// What it holds.
    pub role: Role,
    /// Where it lies: absolute, or relative to the project's folder.
    pub path: PathBuf,
}

impl FoundFile {
    /// Notes its length and digest, for which the whole file is read unless `digests` knows it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn examine(self, root: &Path, digests: &FileDigests) -> Result<SourceFile, DataError> {
        let known = digests.length_and_digest(&root.join(&self.path));
        let (bytes, digest) = known.map_err(DataError::read(&self.path))?;
        Ok(SourceFile { role: self.role, path: self.path, bytes, digest: digest.to_string() })
    }
}

/// A file to look for: its role and its name, with or without `.gz`.
pub(super) type Wanted<'a> = (Role, &'a str);

/// Looks for files in a folder: `Ok` for those that are there, `Err` for the names of those that are not.
pub(super) fn look_for(root: &Path, folder: &Path, wanted: &[Wanted]) -> Vec<Result<FoundFile, String>> {
    let find = |&(role, name): &Wanted| {
        let candidates = [name.to_owned(), format!("{name}.gz")];
        let path = candidates.iter().map(|name| folder.join(name)).find(|path| root.join(path).is_file());
        path.map(|path| FoundFile { role, path }).ok_or_else(|| name.to_owned())
    };
    wanted.iter().map(find).collect()
}

/// Looks for files all of which must be there.
///
/// # Errors
/// [`DataError::NotThere`] when none is, [`DataError::Incomplete`] when only some are.
pub(super) fn require(
    root: &Path,
    folder: &Path,
    wanted: &[Wanted],
    dataset: &str,
    remedy: &str,
) -> Result<Vec<FoundFile>, DataError> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for outcome in look_for(root, folder, wanted) {
        match outcome {
            Ok(file) => found.push(file),
            Err(name) => missing.push(name),
        }
    }
    let (dataset, folder, remedy) = (dataset.to_owned(), folder.to_path_buf(), remedy.to_owned());
    if missing.is_empty() {
        Ok(found)
    } else if found.is_empty() {
        Err(DataError::NotThere { dataset, folder, files: missing, remedy })
    } else {
        let found = found.iter().map(|file| file_name(&file.path)).collect();
        Err(DataError::Incomplete { dataset, folder, found, missing, remedy })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
