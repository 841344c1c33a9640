//! A file that has not wholly come yet: hidden beside its place, locked, with a note of which file it is a part of.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Broken;
use super::exchange::Head;
use super::{Address, FetchError, Sha256, TICK, Watch};
use crate::fault;

/// A file on its way.
pub(super) struct Part {
    file: File,
    path: PathBuf,
    length: u64,
    note: Note,
    /// Whether it came in more than one exchange.
    pieced: bool,
}

/// Which file it is a part of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    address: String,
    etag: Option<String>,
    modified: Option<String>,
    total: Option<u64>,
}

impl Note {
    /// What `If-Range` takes: a strong tag, or else a date.
    fn validator(&self) -> Option<String> {
        self.etag.clone().filter(|tag| tag.starts_with('"')).or_else(|| self.modified.clone())
    }
}

impl Part {
    /// Opens what is there of the file that belongs to `to`, when no other process works on it; `None` once the file
    /// itself is there.
    pub(super) fn open(to: &Path, address: &Address, watch: &dyn Watch) -> Result<Option<Self>, FetchError> {
        let folder = to.parent().unwrap_or(Path::new(""));
        fault::at("fetch.mkdir", || fs::create_dir_all(folder)).map_err(FetchError::write(folder))?;
        let path = folder.join(format!(".{}.part", to.file_name().unwrap_or_default().to_string_lossy()));
        let mut waited = false;
        let mut file = loop {
            if to.exists() {
                return Ok(None);
            }
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            let file = fault::at("fetch.open", || options.open(&path)).map_err(FetchError::write(&path))?;
            let locked = fault::at("fetch.lock", || Ok(file.try_lock()));
            match locked.unwrap_or_else(|error| Err(TryLockError::Error(error))) {
                // it may have been renamed or removed by who had it before
                Ok(()) if is_at(&file, &path) => break file,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if !waited {
                        watch.note(&format!("waits for another process that fetches `{}`", to.display()));
                    }
                    waited = true;
                    std::thread::sleep(TICK);
                }
                Err(TryLockError::Error(source)) => {
                    return Err(FetchError::Io { action: "cannot lock", path, source });
                }
            }
            if watch.cancelled() {
                return Err(FetchError::Interrupted);
            }
        };
        let length = fault::at("fetch.seek", || file.seek(SeekFrom::End(0))).map_err(FetchError::read(&path))?;
        let note = fault::at("fetch.read_note", || fs::read(note_of(&path)))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let mut part = Self { file, path, length, note: note.unwrap_or_default(), pieced: length > 0 };
        if part.note.address != address.as_str() || part.note.total.is_some_and(|total| part.length > total) {
            part.clear()?;
            part.note.address = address.as_str().to_owned();
        }
        Ok(Some(part))
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether it came in more than one exchange.
    pub(super) fn is_pieced(&self) -> bool {
        self.pieced
    }

    /// Whether nothing more is to come.
    pub(super) fn is_complete(&self) -> bool {
        self.length > 0 && self.note.total == Some(self.length)
    }

    /// How many bytes are there, and what shows that they belong to the server's file.
    pub(super) fn resume(&self) -> Option<(u64, String)> {
        (self.length > 0).then(|| self.note.validator().map(|validator| (self.length, validator))).flatten()
    }

    /// Takes note of what is to come, and makes room for it.
    pub(super) fn begin(&mut self, head: &Head) -> Result<(), Broken> {
        let note = Note {
            address: self.note.address.clone(),
            etag: head.etag.clone(),
            modified: head.modified.clone(),
            total: head.total,
        };
        if head.start > 0 {
            // Some servers do not heed `If-Range`.
            let same = note.validator() == self.note.validator()
                && (note.total.is_none() || self.note.total.is_none() || note.total == self.note.total);
            if head.start != self.length || !same {
                return Err(Broken::Afresh("the server's file changed meanwhile".into()));
            }
            self.pieced = true;
            self.note.total = self.note.total.or(note.total);
            return Ok(());
        }
        self.clear()?;
        self.note = note;
        let text = serde_json::to_vec(&self.note).map_err(|error| FetchError::write(&self.path)(error.into()))?;
        let path = note_of(&self.path);
        fault::write_file("fetch.note", &path, &text).map_err(FetchError::write(&path))?;
        Ok(())
    }

    /// Adds what has come.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        fault::write("fetch.append", &self.file, bytes).map_err(FetchError::write(&self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// The exchange ended: is the file as long as the server said?
    pub(super) fn ends(&self) -> Result<(), Broken> {
        match self.note.total {
            Some(total) if self.length > total => {
                Err(Broken::Afresh(format!("{} bytes came of a file of {total}", self.length)))
            }
            Some(total) if self.length < total => {
                Err(Broken::again(format!("the connection broke after {} of {total} bytes", self.length)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn sha256(&mut self, watch: &dyn Watch) -> Result<Sha256, FetchError> {
        let file = fault::at("fetch.digest", || File::open(&self.path));
        let digest = file.and_then(|file| Sha256::of_reader(file, || watch.cancelled()));
        digest.map_err(FetchError::read(&self.path))?.ok_or(FetchError::Interrupted)
    }

    /// Forgets what has come.
    pub(super) fn clear(&mut self) -> Result<(), FetchError> {
        let cleared =
            fault::at("fetch.clear", || self.file.set_len(0)).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        cleared.map_err(FetchError::write(&self.path))?;
        (self.length, self.pieced) = (0, false);
        self.note = Note { address: std::mem::take(&mut self.note.address), ..Note::default() };
        Ok(())
    }

    /// Throws it away.
    pub(super) fn remove(self) -> Result<(), FetchError> {
        self.remove_note()?;
        fault::at("fetch.remove", || fs::remove_file(&self.path)).map_err(FetchError::write(&self.path))
    }

    /// Puts it, complete as it is, into its place. Its note goes before: nobody would look for it any more once the file is
    /// there.
    pub(super) fn finish(self, to: &Path) -> Result<(), FetchError> {
        fault::at("fetch.flush", || self.file.sync_all()).map_err(FetchError::write(&self.path))?;
        self.remove_note()?;
        fault::at("fetch.rename", || fs::rename(&self.path, to)).map_err(FetchError::write(to))
    }

    fn remove_note(&self) -> Result<(), FetchError> {
        let path = note_of(&self.path);
        match fault::at("fetch.remove_note", || fs::remove_file(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FetchError::write(&path)(error)),
            _ => Ok(()),
        }
    }
}

fn note_of(part: &Path) -> PathBuf {
    part.with_extension("part.json")
}

/// Whether an open file is still the one of this path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|found| (found.dev(), found.ino()));
    identity(file.metadata()).is_some_and(|open| identity(fs::metadata(path)) == Some(open))
}

/// Elsewhere a file that is open is neither renamed nor removed.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}
