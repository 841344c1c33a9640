//! A store that machines share: artifacts in a bucket or a folder elsewhere, found by their keys, and believed as little
//! as a damaged disk. What comes from it is written into the local store like what a stage made; what it lacks or spoilt
//! is made here. It may fail at any time: the first failure is told, and nothing more is asked of it then.
//!
//! ```text
//! PREFIX/v1/artifacts/KEY.json   an artifact's sealed manifest, put last, and only where there is none
//! PREFIX/v1/files/DIGEST         a file by its content; artifacts share those that are equal
//! ```
//!
//! Nothing is ever changed in place, so any number of machines may put and get at once: whoever puts the same key second
//! finds it there.

mod address;
mod collect;
mod error;
mod http;
mod pull;
mod push;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use address::Opened;

pub use address::is_folder;
pub use collect::{Collected, RemoteRule};
pub use error::{Failure, RemoteError};
pub use push::Pushed;

use crate::fault;
use crate::store::{Artifact, Digest, Manifest, StoreError};

/// How often a wait looks whether the user wants to stop.
const TICK: Duration = Duration::from_millis(50);
/// Bytes that a manifest may have. Those of stages have some thousand.
const LARGEST_MANIFEST: u64 = 1 << 24;

/// How patient one is with a remote.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// How long a connection may take to come about.
    pub connect: Duration,
    /// How long a connection may say nothing.
    pub silence: Duration,
    /// How long after its beginning a request is tried again.
    pub retries: Duration,
    /// Bytes that must come in a second, on an average over more than the silence that is borne.
    pub slowest: f64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self::of_silence(Duration::from_secs(30))
    }
}

impl Bounds {
    /// All of them, from how long a connection may say nothing.
    pub fn of_silence(silence: Duration) -> Self {
        Self { connect: silence.min(Duration::from_secs(5)), silence, retries: silence / 2, slowest: 1000.0 }
    }
}

/// Who watches a transfer.
pub trait Watch {
    /// Whether the user wants to stop.
    fn cancelled(&self) -> bool;
    /// How many bytes are to come or to go.
    fn begin(&self, total: u64);
    /// How many of them have.
    fn at(&self, done: u64);
}

/// Nobody.
impl Watch for () {
    fn cancelled(&self) -> bool {
        false
    }
    fn begin(&self, _total: u64) {}
    fn at(&self, _done: u64) {}
}

/// Why a remote is asked nothing more.
struct Down {
    failure: Failure,
    /// Whether somebody knows.
    told: bool,
}

/// A store elsewhere. Any number of threads may use it at once.
pub struct Remote {
    /// Taken when this is dropped, which must not wait for a connection that hangs.
    runtime: Option<Runtime>,
    service: Arc<dyn ObjectStore>,
    prefix: Path,
    name: String,
    /// The folder that it is, if it is one.
    folder: Option<PathBuf>,
    credentials: &'static str,
    bounds: Bounds,
    /// Why nothing more is asked of it, if so.
    down: Mutex<Option<Down>>,
    /// Keys whose artifacts were found damaged there.
    damaged: Mutex<BTreeSet<Digest>>,
    /// Artifacts that came from there, by the files they hold: some have files in common.
    here: Mutex<BTreeMap<Digest, Artifact>>,
}

impl Remote {
    /// Opens `s3://BUCKET/PREFIX`, `gs://..`, `az://..` or `file:///FOLDER`, with the credentials that the usual variables
    /// of the environment hold. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`RemoteError::Address`].
    pub fn open(address: &str, bounds: Bounds) -> Result<Self, RemoteError> {
        Self::of(address::open(address, bounds)?, bounds)
    }

    fn of(opened: Opened, bounds: Bounds) -> Result<Self, RemoteError> {
        let Opened { service, prefix, name, folder, credentials, unusable } = opened;
        let down = unusable.map(|what| {
            let (object, remote) = ("v1".to_owned(), name.clone());
            let failure = Failure { action: "open", object, remote, what, hint: Some(credentials) };
            Down { failure, told: false }
        });
        // one thread: those who ask drive it, and those who read and write are its blocking ones
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| RemoteError::Address(format!("cannot be used: {error}")))?;
        Ok(Self {
            runtime: Some(runtime),
            service,
            prefix,
            name,
            folder,
            credentials,
            bounds,
            down: Mutex::new(down),
            damaged: Mutex::default(),
            here: Mutex::default(),
        })
    }

    /// Its address.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the remote knows of an artifact; `None` when it has none of this key.
    ///
    /// # Errors
    /// [`RemoteError::Damaged`] when it is none that mtorec wrote under this key; [`RemoteError::Failed`].
    pub fn manifest(&self, key: Digest, watch: &dyn Watch) -> Result<Option<Manifest>, RemoteError> {
        let object = Object::manifest(key);
        let path = object.path(&self.prefix);
        let Some(found) = self.ask("get", &object, watch, self.service.get_opts(&path, GetOptions::default()))? else {
            return Ok(None);
        };
        if found.meta.size > LARGEST_MANIFEST {
            return Err(self.damaged(key, format!("`{}` has {} bytes", object.0, found.meta.size)));
        }
        let mut bytes = Vec::new();
        self.receive(&object, found, watch, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        match Manifest::unseal(&bytes, key) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(StoreError::Damaged { what, .. }) => Err(self.damaged(key, format!("{what} (`{}`)", object.0))),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes an object's bytes as they come. One that would come for ever is as good as none.
    fn receive(
        &self,
        object: &Object,
        found: GetResult,
        watch: &dyn Watch,
        mut take: impl FnMut(&[u8]) -> Result<(), RemoteError>,
    ) -> Result<(), RemoteError> {
        let (start, mut got, mut bytes) = (Instant::now(), 0, found.into_stream());
        while let Some(piece) = self.ask("get", object, watch, bytes.try_next())?.flatten() {
            take(&piece)?;
            got += piece.len();
            let elapsed = start.elapsed();
            if elapsed > self.bounds.silence && (got as f64) < elapsed.as_secs_f64() * self.bounds.slowest {
                let source = format!("only {got} bytes came in {} s", elapsed.as_secs()).into();
                return Err(self.failed("get", object, &object_store::Error::Generic { store: "remote", source }));
            }
        }
        Ok(())
    }

    /// The keys of all its artifacts, sorted.
    ///
    /// # Errors
    /// [`RemoteError::Failed`].
    pub fn keys(&self, watch: &dyn Watch) -> Result<Vec<Digest>, RemoteError> {
        Ok(self.list(Object::ARTIFACTS, watch)?.into_iter().filter_map(|(name, _)| key_of(&name)).collect())
    }

    /// The objects in one of its folders, by name.
    fn list(&self, folder: &'static str, watch: &dyn Watch) -> Result<Vec<(String, ObjectMeta)>, RemoteError> {
        let object = Object(folder.to_owned());
        let path = object.path(&self.prefix);
        let all = self.service.list(Some(&path)).try_collect::<Vec<ObjectMeta>>();
        let all = self.ask("list", &object, watch, all)?.unwrap_or_default();
        let named = |meta: ObjectMeta| Some((meta.location.filename()?.to_owned(), meta));
        let mut all: Vec<_> = all.into_iter().filter_map(named).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    }

    /// Its size, if it is there.
    fn size(&self, object: &Object, watch: &dyn Watch) -> Result<Option<u64>, RemoteError> {
        let path = object.path(&self.prefix);
        Ok(self.ask("get", object, watch, self.service.head(&path))?.map(|found| found.size))
    }

    /// Notes that an artifact is damaged there: the next one of its key that is put takes its place.
    fn damaged(&self, key: Digest, what: String) -> RemoteError {
        lock(&self.damaged).insert(key);
        RemoteError::Damaged { key, what }
    }

    /// Whether an artifact was found damaged there.
    fn is_damaged(&self, key: Digest) -> bool {
        lock(&self.damaged).contains(&key)
    }

    /// Does something with an object, unless something failed before; `None` when it is not there.
    fn ask<T>(
        &self,
        action: &'static str,
        object: &Object,
        watch: &dyn Watch,
        operation: impl Future<Output = object_store::Result<T>>,
    ) -> Result<Option<T>, RemoteError> {
        match self.wait(watch, operation)? {
            Ok(done) => Ok(Some(done)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(action, object, &error)),
        }
    }

    /// Waits for an operation for as long as the user wants to.
    fn wait<T, E: From<object_store::Error>>(
        &self,
        watch: &dyn Watch,
        operation: impl Future<Output = Result<T, E>>,
    ) -> Result<Result<T, E>, RemoteError> {
        if let Some(down) = lock(&self.down).as_mut() {
            let first = !std::mem::replace(&mut down.told, true);
            return Err(RemoteError::Failed { failure: down.failure.clone(), first });
        }
        let Some(runtime) = &self.runtime else { return Err(RemoteError::Interrupted) };
        if let Err(error) = fault::at("remote.ask", || Ok(())) {
            let source = Box::new(error);
            return Ok(Err(object_store::Error::Generic { store: "remote", source }.into()));
        }
        runtime.block_on(async {
            let mut operation = pin!(operation);
            loop {
                match timeout(TICK, operation.as_mut()).await {
                    Ok(done) => return Ok(done),
                    Err(_) if watch.cancelled() => return Err(RemoteError::Interrupted),
                    Err(_) => {}
                }
            }
        })
    }

    /// Notes that something failed; nothing more is asked then.
    fn failed(&self, action: &'static str, object: &Object, error: &object_store::Error) -> RemoteError {
        let hint = if self.folder.is_some() {
            None
        } else if error::is_about_credentials(error) {
            Some(self.credentials)
        } else {
            Some("see whether the address is right and the network up; `https_proxy` and `no_proxy` count")
        };
        let mut down = lock(&self.down);
        let first = down.is_none();
        let (object, remote, what) = (object.0.clone(), self.name.clone(), error::plain(error));
        let failure = Failure { action, object, remote, what, hint };
        let down = down.get_or_insert(Down { failure, told: true });
        RemoteError::Failed { failure: down.failure.clone(), first }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An object's name below the remote's prefix.
struct Object(String);

impl Object {
    const ARTIFACTS: &'static str = "v1/artifacts";
    const FILES: &'static str = "v1/files";

    fn manifest(key: Digest) -> Self {
        Self(format!("{}/{key}.json", Self::ARTIFACTS))
    }

    fn file(digest: Digest) -> Self {
        Self(format!("{}/{digest}", Self::FILES))
    }

    fn path(&self, prefix: &Path) -> Path {
        self.0.split('/').fold(prefix.clone(), Path::join)
    }
}

/// The key that a manifest's name holds.
fn key_of(name: &str) -> Option<Digest> {
    name.strip_suffix(".json")?.parse().ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
