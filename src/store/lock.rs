//! One maker an artifact: a file lock a key, which says who holds it and which dies with its holder.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fmt};

use serde::{Deserialize, Serialize};

use super::{Digest, Store, StoreError};
use crate::fault;

/// The right to make the artifact of one key. Released when dropped, and by the system when its holder dies.
#[derive(Debug)]
pub struct KeyLock {
    key: Digest,
    /// Holds the lock for as long as it is open.
    file: File,
    /// Whether nobody else can hold it too: not where the file system knows no locks.
    alone: bool,
}

/// What became of the wish to hold a lock.
#[derive(Debug)]
pub enum LockAttempt {
    /// It is ours.
    Held(KeyLock),
    /// Somebody else holds it: who, if that can be told.
    Busy(Option<Holder>),
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// The machine it runs on.
    pub host: String,
    /// What it makes.
    pub what: String,
    /// When it began, in seconds since 1970.
    pub since: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let age = Duration::from_secs(now.saturating_sub(self.since)).as_secs();
        write!(f, "process {} on {}, for {} min {} s", self.pid, self.host, age / 60, age % 60)
    }
}

impl Store {
    /// Takes the lock of a key if nobody holds it; otherwise says who does, if that can be told. `what` is what others
    /// will read while they wait.
    ///
    /// # Errors
    /// When the lock file cannot be made, or the file system knows no locks.
    pub fn try_lock(&self, key: Digest, what: &str) -> Result<LockAttempt, StoreError> {
        self.prepare()?;
        let path = self.lock_file(key);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = fault::at("lock.open", || options.open(&path)).map_err(StoreError::io("open", &path))?;
        let locked = fault::at("lock.lock", || Ok(file.try_lock()));
        match locked.unwrap_or_else(|error| Err(TryLockError::Error(error))) {
            Ok(()) => {
                let mut lock = KeyLock { key, file, alone: true };
                if let Err(error) = lock.sign(what) {
                    tracing::debug!(%error, "a lock does not name its holder");
                }
                Ok(LockAttempt::Held(lock))
            }
            Err(TryLockError::WouldBlock) => Ok(LockAttempt::Busy(read_holder(&path))),
            Err(TryLockError::Error(error)) if knows_no_locks(&error) => {
                static ONCE: Once = Once::new();
                let folder = self.folder().display();
                ONCE.call_once(|| {
                    tracing::warn!(
                        "the file system of {folder} knows no locks ({error}): runs side by side may make the same artifact \
                         twice, and the first to finish counts"
                    );
                });
                Ok(LockAttempt::Held(KeyLock { key, file, alone: false }))
            }
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path)(error)),
        }
    }
}

/// Whether the system says that the file system has no locks, or has run out of them, as some that are shared do. Locks
/// spare work that is done twice; what is whole and what is half never depends on them.
pub(super) fn knows_no_locks(error: &io::Error) -> bool {
    /// `ENOLCK` of Linux and of the BSDs and macOS.
    const NO_LOCKS: i32 = if cfg!(target_os = "linux") { 37 } else { 77 };
    error.kind() == io::ErrorKind::Unsupported || cfg!(unix) && error.raw_os_error() == Some(NO_LOCKS)
}

impl KeyLock {
    /// The key it guards.
    pub fn key(&self) -> Digest {
        self.key
    }

    /// Whether nobody else can hold it too.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Writes who holds it, for those who wait.
    fn sign(&mut self, what: &str) -> std::io::Result<()> {
        let holder = Holder {
            pid: std::process::id(),
            host: host(),
            what: what.to_owned(),
            since: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
        };
        fault::at("lock.truncate", || self.file.set_len(0))?;
        self.file.rewind()?;
        fault::write("lock.sign", &self.file, &serde_json::to_vec(&holder)?)
    }
}

/// Who signed a lock file; `None` when it is being signed just now, or the system hides locked files.
fn read_holder(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The name of this machine, as well as the standard library can tell.
pub(super) fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .or_else(|| env::var("HOSTNAME").ok())
        .or_else(|| env::var("COMPUTERNAME").ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "an unknown host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(attempt: LockAttempt) -> KeyLock {
        match attempt {
            LockAttempt::Held(lock) => lock,
            LockAttempt::Busy(holder) => panic!("held by {holder:?}"),
        }
    }

    #[test]
    fn a_second_maker_learns_who_the_first_is_and_gets_its_turn() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (key, other) = (Digest::of_bytes(b"a"), Digest::of_bytes(b"b"));
        let first = held(store.try_lock(key, "es/train").unwrap());
        held(store.try_lock(other, "es/evaluate").unwrap());
        let LockAttempt::Busy(Some(holder)) = store.try_lock(key, "es/train again").unwrap() else {
            panic!("two makers hold one lock");
        };
        assert_eq!((holder.pid, holder.what.as_str()), (std::process::id(), "es/train"));
        drop(first);
        assert_eq!(held(store.try_lock(key, "third").unwrap()).key(), key);
    }

    #[test]
    fn one_of_many_threads_holds_the_lock_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Digest::of_bytes(b"a");
        let inside = std::sync::atomic::AtomicUsize::new(0);
        let relaxed = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        if let LockAttempt::Held(_lock) = store.try_lock(key, "thread").unwrap() {
                            assert_eq!(inside.fetch_add(1, relaxed), 0);
                            std::thread::yield_now();
                            inside.fetch_sub(1, relaxed);
                        }
                    }
                });
            }
        });
    }
}
