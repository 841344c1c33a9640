//! Getting an artifact: on with what has come before, and believed only when every byte is what the manifest says.

use std::fs::File;
use std::io::Read;

use object_store::{GetOptions, GetRange};

use super::{Object, Remote, RemoteError, Watch, lock as lock_of};
use crate::store::{Artifact, FileEntry, Incoming, KeyLock, Manifest, Part, Store, StoreError};

/// Bytes that are copied at once.
const BLOCK: usize = 1 << 18;

impl Remote {
    /// Gets the artifact whose lock is held into the local store, in place of a damaged one if there is; `None` when the
    /// remote has none of this key. What has come of it stays when the process dies, and is gone on with.
    ///
    /// # Errors
    /// [`RemoteError`]. After [`RemoteError::Damaged`] nothing of it stays.
    pub fn pull(&self, store: &Store, lock: &KeyLock, watch: &dyn Watch) -> Result<Option<Artifact>, RemoteError> {
        let key = lock.key();
        let Some(manifest) = self.manifest(key, watch)? else { return Ok(None) };
        let mut incoming = Incoming::open(store, lock, manifest.clone())?;
        // a part that a crash spoilt says nothing of the remote: then all of it comes anew
        let mut anew = incoming.received()? == 0;
        loop {
            let got = self.receive_all(&manifest, &incoming, watch).and_then(|()| Ok(incoming.finish()?));
            match got {
                Ok(artifact) => {
                    lock_of(&self.here).extend(manifest.files.iter().map(|file| (file.digest, artifact.clone())));
                    return Ok(Some(artifact));
                }
                Err(RemoteError::Damaged { .. } | RemoteError::Store(StoreError::Damaged { .. })) if !anew => {
                    tracing::debug!(%key, "what had come before does not fit; it comes anew");
                    store.remove_incoming(lock)?;
                    incoming = Incoming::open(store, lock, manifest.clone())?;
                    anew = true;
                }
                Err(RemoteError::Damaged { what, .. } | RemoteError::Store(StoreError::Damaged { what, .. })) => {
                    store.remove_incoming(lock)?;
                    return Err(self.damaged(key, what));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gets what has not come yet of all files.
    fn receive_all(&self, manifest: &Manifest, incoming: &Incoming, watch: &dyn Watch) -> Result<(), RemoteError> {
        watch.begin(manifest.size());
        let mut before = 0;
        for (at, entry) in manifest.files.iter().enumerate() {
            let mut part = incoming.part(at)?;
            if part.length() < entry.size {
                self.receive_file(manifest, entry, &mut part, before, watch)?;
            }
            before += entry.size;
            watch.at(before);
        }
        Ok(())
    }

    fn receive_file(
        &self,
        manifest: &Manifest,
        entry: &FileEntry,
        part: &mut Part,
        before: u64,
        watch: &dyn Watch,
    ) -> Result<(), RemoteError> {
        if part.length() == 0 {
            self.copy_file(entry, part)?;
            watch.at(before + part.length());
            if part.length() == entry.size {
                return Ok(());
            }
        }
        let object = Object::file(entry.digest);
        let damaged = |what: String| RemoteError::Damaged {
            key: manifest.key,
            what: format!("`{}` {what} (`{}`)", entry.name, object.0),
        };
        let range = (part.length() > 0).then(|| GetRange::Offset(part.length()));
        let options = GetOptions { range, ..GetOptions::default() };
        let path = object.path(&self.prefix);
        // a range beyond the end of a file that was cut is an error of its own, so the size is asked for first
        if options.range.is_some() && self.size(&object, watch)?.is_some_and(|size| size != entry.size) {
            return Err(damaged("has another size".to_owned()));
        }
        let Some(found) = self.ask("get", &object, watch, self.service.get_opts(&path, options))? else {
            return Err(damaged("is missing".to_owned()));
        };
        if found.meta.size != entry.size {
            return Err(damaged(format!("has {} bytes instead of {}", found.meta.size, entry.size)));
        }
        self.receive(&object, found, watch, |piece| {
            if part.length() + piece.len() as u64 > entry.size {
                return Err(damaged(format!("has more than {} bytes", entry.size)));
            }
            part.append(piece)?;
            watch.at(before + part.length());
            Ok(())
        })?;
        if part.length() < entry.size {
            return Err(damaged(format!("ends after {} bytes instead of {}", part.length(), entry.size)));
        }
        Ok(())
    }

    /// Takes a file from another artifact that came from there, as far as it is still what it was.
    fn copy_file(&self, entry: &FileEntry, part: &mut Part) -> Result<(), RemoteError> {
        let Some(other) = lock_of(&self.here).get(&entry.digest).cloned() else { return Ok(()) };
        let same = other.manifest().files.iter().find(|file| file.digest == entry.digest);
        let path = same.and_then(|file| other.file(&file.name).ok());
        let Some(mut from) = path.and_then(|path| File::open(path).ok()) else { return Ok(()) };
        let mut block = vec![0; BLOCK];
        while let Ok(read @ 1..) = from.read(&mut block) {
            part.append(&block[..read])?;
        }
        Ok(())
    }
}
