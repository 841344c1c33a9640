//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use super::Digest;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused a file operation.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried: `write`, `read`, `lock`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An artifact is not what was written.
    #[error("artifact {} is damaged: {what}", key.short())]
    Damaged {
        /// Its key.
        key: Digest,
        /// Which file, and how it differs.
        what: String,
    },
    /// A stage asked an artifact for a file it does not hold.
    #[error("artifact {} holds no file `{file}`", key.short())]
    NoSuchFile {
        /// Its key.
        key: Digest,
        /// The missing file's name.
        file: String,
    },
    /// The store was written by a later version of this program.
    #[error("the store `{}` has format {found}, newer than this mtorec reads ({known})", path.display())]
    Newer {
        /// The store's folder.
        path: PathBuf,
        /// The format found there.
        found: String,
        /// The newest format this program reads.
        known: u32,
    },
}

impl StoreError {
    /// Wraps what the system said about a path; for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
