//! Putting an artifact: its files first, and what names them last.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart};

use super::{Object, Remote, RemoteError, Watch};
use crate::fault;
use crate::store::{Artifact, FileEntry, StoreError};

/// Bytes that go at once, and of a larger file the least part: S3 takes none below 5 MiB, but for the last.
const PART: u64 = 8 << 20;
/// Parts of one file that S3 takes at most, and some to spare.
const PARTS: u64 = 9000;
/// Parts on their way at once.
const ABREAST: usize = 2;

/// What became of putting an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The remote has one of this key.
    Present,
    /// It is there now; so many bytes went, without those that were there.
    New {
        /// Bytes of files.
        bytes: u64,
    },
}

impl Remote {
    /// Puts an artifact whose every byte is right, unless there is one of its key that this process has not found damaged.
    ///
    /// # Errors
    /// [`RemoteError::Store`] when the artifact is damaged here; [`RemoteError::Failed`], [`RemoteError::Interrupted`].
    pub fn push(&self, artifact: &Artifact, watch: &dyn Watch) -> Result<Pushed, RemoteError> {
        let manifest = artifact.manifest();
        let object = Object::manifest(manifest.key);
        let mend = self.is_damaged(manifest.key);
        if !mend && self.size(&object, watch)?.is_some() {
            return Ok(Pushed::Present);
        }
        artifact.verify()?;
        watch.begin(manifest.size());
        let (mut before, mut bytes) = (0, 0);
        for entry in &manifest.files {
            let file = Object::file(entry.digest);
            if mend || self.size(&file, watch)? != Some(entry.size) {
                self.put_file(&file, &artifact.file(&entry.name)?, entry, before, watch)?;
                bytes += entry.size;
            }
            before += entry.size;
            watch.at(before);
        }
        let sealed = Bytes::from(artifact.manifest().sealed()?);
        let is_new = self.put_manifest(&object, sealed, mend, watch)?;
        super::lock(&self.damaged).remove(&manifest.key);
        Ok(if is_new { Pushed::New { bytes } } else { Pushed::Present })
    }

    /// Puts a manifest where there is none, or in place of a damaged one; says whether it did.
    pub(super) fn put_manifest(
        &self,
        object: &Object,
        sealed: Bytes,
        mend: bool,
        watch: &dyn Watch,
    ) -> Result<bool, RemoteError> {
        use object_store::Error;
        let path = object.path(&self.prefix);
        let put = |mode: PutMode| {
            let payload = PutPayload::from(sealed.clone());
            self.wait(watch, self.service.put_opts(&path, payload, PutOptions::from(mode)))
        };
        if mend {
            put(PutMode::Overwrite)?.map_err(|error| self.failed("put", object, &error))?;
            return Ok(true);
        }
        match put(PutMode::Create)? {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            // a service without such a thing: two who put at once put the same key, and each is whole
            Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
                if self.size(object, watch)?.is_some() {
                    return Ok(false);
                }
                put(PutMode::Overwrite)?.map_err(|error| self.failed("put", object, &error))?;
                Ok(true)
            }
            Err(error) => Err(self.failed("put", object, &error)),
        }
    }

    fn put_file(
        &self,
        object: &Object,
        from: &FilePath,
        entry: &FileEntry,
        before: u64,
        watch: &dyn Watch,
    ) -> Result<(), RemoteError> {
        let io = |source| StoreError::Io { action: "read", path: from.to_owned(), source };
        let mut file = fault::at("remote.read", || File::open(from)).map_err(io)?;
        let path = object.path(&self.prefix);
        if entry.size <= PART {
            let mut bytes = Vec::with_capacity(entry.size as usize);
            file.read_to_end(&mut bytes).map_err(io)?;
            let put = self.service.put_opts(&path, PutPayload::from(Bytes::from(bytes)), PutOptions::default());
            return match self.wait(watch, put)? {
                Ok(_) => Ok(()),
                Err(error) => Err(self.failed("put", object, &error)),
            };
        }
        let told = |done: u64| {
            watch.at(before + done);
            !watch.cancelled()
        };
        // it looks itself whether to stop, as what has gone is to be taken back
        match self.wait(&(), put_parts(&self.service, &path, file, entry.size, told))? {
            Ok(()) => Ok(()),
            Err(PartsError::Stopped) => Err(RemoteError::Interrupted),
            Err(PartsError::Read(source)) => Err(io(source).into()),
            Err(PartsError::Put(error)) => Err(self.failed("put", object, &error)),
        }
    }
}

enum PartsError {
    Stopped,
    Read(io::Error),
    Put(object_store::Error),
}

impl From<object_store::Error> for PartsError {
    fn from(error: object_store::Error) -> Self {
        Self::Put(error)
    }
}

/// Puts a file part by part, in memory that does not grow with it; what has gone of it is taken back when it ends early.
async fn put_parts(
    service: &Arc<dyn ObjectStore>,
    path: &Path,
    mut file: File,
    size: u64,
    told: impl Fn(u64) -> bool,
) -> Result<(), PartsError> {
    let part = PART.max(size.div_ceil(PARTS));
    let upload = service.put_multipart(path).await.map_err(PartsError::Put)?;
    let mut upload = WriteMultipart::new_with_chunk_size(upload, part as usize);
    let mut done = 0;
    let ended = loop {
        let mut bytes = Vec::with_capacity(part as usize);
        match (&mut file).take(part).read_to_end(&mut bytes) {
            Ok(0) => break Ok(()),
            Ok(read) => done += read as u64,
            Err(error) => break Err(PartsError::Read(error)),
        }
        if let Err(error) = upload.wait_for_capacity(ABREAST).await {
            break Err(PartsError::Put(error));
        }
        upload.put(bytes.into());
        if !told(done) {
            break Err(PartsError::Stopped);
        }
    };
    match ended {
        Ok(()) => upload.finish().await.map(drop).map_err(PartsError::Put),
        Err(error) => {
            // the first error is the one to tell
            let _ = upload.abort().await;
            Err(error)
        }
    }
}
