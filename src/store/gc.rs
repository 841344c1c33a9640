//! Collecting garbage: what no pipeline reaches any more, oldest first.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::folder::{list, remove_dir_all};
use super::{Digest, LockAttempt, Store, StoreError};
use crate::fault;

/// What may go: everything unreached that is older than `keep`, and of the rest of the unreached the oldest, until the
/// store is no larger than `largest`.
#[derive(Debug, Clone, Copy)]
pub struct GcRule {
    /// Unreached things younger than this stay.
    pub keep: Duration,
    /// Bytes that all artifacts together may take, if that is limited; what is reached stays even beyond.
    pub largest: Option<u64>,
}

/// Where something unreached lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Garbage {
    /// An artifact.
    Artifact,
    /// Checkpoints of a run that never finished.
    Checkpoint,
    /// Parts of an artifact that never wholly came from a remote.
    Incoming,
    /// An artifact that was damaged and set aside.
    Damaged,
}

/// Something that may go.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Candidate {
    /// What it is.
    pub what: Garbage,
    /// The key of its artifact.
    pub key: Digest,
    /// Bytes on the disk.
    pub bytes: u64,
    /// How long ago it was last written.
    #[serde(skip)]
    pub age: Duration,
}

impl Store {
    /// What a collection would remove, oldest first; `reached` are the keys that pipelines came to.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn garbage(&self, reached: &BTreeSet<Digest>, rule: GcRule) -> Result<Vec<Candidate>, StoreError> {
        let mut unreached = Vec::new();
        let mut kept = 0;
        for (what, folder) in [
            (Garbage::Artifact, "artifacts"),
            (Garbage::Checkpoint, "scratch"),
            (Garbage::Incoming, "incoming"),
            (Garbage::Damaged, "damaged"),
        ] {
            for path in list(&self.folder().join(folder))? {
                let name = path.file_name().and_then(|name| name.to_str());
                let Some(key) = name.and_then(|name| name.parse::<Digest>().ok()) else { continue };
                let (bytes, written) = size_of(&path);
                // a damaged copy is not what the pipeline reaches
                if what != Garbage::Damaged && reached.contains(&key) {
                    kept += bytes;
                } else {
                    let age = SystemTime::now().duration_since(written).unwrap_or_default();
                    unreached.push(Candidate { what, key, bytes, age });
                }
            }
        }
        unreached.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| (a.what, a.key).cmp(&(b.what, b.key))));
        let mut total = kept + unreached.iter().map(|candidate| candidate.bytes).sum::<u64>();
        unreached.retain(|candidate| {
            let goes = candidate.age >= rule.keep || rule.largest.is_some_and(|largest| total > largest);
            if goes {
                total -= candidate.bytes;
            }
            goes
        });
        Ok(unreached)
    }

    /// Removes something, unless somebody is at work on it; says whether it is gone. The key's lock file stays: whoever waits
    /// for it has it open.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn collect(&self, candidate: &Candidate) -> Result<bool, StoreError> {
        let LockAttempt::Held(lock) = self.try_lock(candidate.key, "cache gc")? else { return Ok(false) };
        let key = candidate.key;
        match candidate.what {
            Garbage::Artifact => {
                // away at once: no lookup finds half an artifact
                let (from, to) = (self.artifact(key), self.temporary(key));
                fault::at("gc.rename", || fs::rename(&from, &to)).map_err(StoreError::io("remove", &from))?;
                remove_dir_all(&to)?;
            }
            Garbage::Checkpoint => self.remove_scratch(&lock)?,
            Garbage::Incoming => self.remove_incoming(&lock)?,
            Garbage::Damaged => remove_dir_all(&self.folder().join("damaged").join(key.to_string()))?,
        }
        Ok(true)
    }
}

/// Bytes of all files below a folder, and when the latest of them was written. What cannot be read counts for nothing:
/// another process may be removing it.
fn size_of(folder: &Path) -> (u64, SystemTime) {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    let (mut bytes, mut written) = (0, SystemTime::UNIX_EPOCH);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => {
                    bytes += metadata.len();
                    written = written.max(metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
                }
                Err(_) => {}
            }
        }
    }
    (bytes, written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.prepare().unwrap();
        (folder, store)
    }

    fn put(store: &Store, folder: &str, text: &str, bytes: usize, days: u64) -> Digest {
        let key = Digest::of_bytes(text.as_bytes());
        let path = store.folder().join(folder).join(key.to_string());
        fs::create_dir_all(path.join("files")).unwrap();
        let file = path.join("files").join("data");
        fs::write(&file, vec![0; bytes]).unwrap();
        let then = SystemTime::now() - Duration::from_secs(days * 86400 + 60);
        fs::File::options().write(true).open(&file).unwrap().set_modified(then).unwrap();
        key
    }

    fn days(days: u64) -> Duration {
        Duration::from_secs(days * 86400)
    }

    #[test]
    fn the_reached_and_the_young_stay_and_the_oldest_goes_first() {
        let (_folder, store) = store();
        let reached = put(&store, "artifacts", "reached", 1000, 90);
        let old = put(&store, "artifacts", "old", 100, 30);
        let young = put(&store, "artifacts", "young", 100, 1);
        let checkpoint = put(&store, "scratch", "checkpoint", 100, 40);
        let damaged = put(&store, "damaged", "reached", 100, 20);
        let reached = BTreeSet::from([reached]);
        let keys = |rule| -> Vec<Digest> {
            store.garbage(&reached, rule).unwrap().into_iter().map(|candidate| candidate.key).collect()
        };
        assert_eq!(keys(GcRule { keep: days(7), largest: None }), [checkpoint, old, damaged]);
        assert_eq!(keys(GcRule { keep: days(0), largest: None }), [checkpoint, old, damaged, young]);
        assert_eq!(keys(GcRule { keep: days(365), largest: Some(1300) }), [checkpoint]);
        assert_eq!(keys(GcRule { keep: days(365), largest: Some(10) }), [checkpoint, old, damaged, young]);
        assert!(keys(GcRule { keep: days(365), largest: None }).is_empty());
    }

    #[test]
    fn what_is_held_stays_and_what_goes_leaves_nothing() {
        let (_folder, store) = store();
        let (held, free) = (put(&store, "artifacts", "held", 10, 9), put(&store, "scratch", "free", 10, 9));
        let garbage = store.garbage(&BTreeSet::new(), GcRule { keep: days(7), largest: None }).unwrap();
        assert_eq!(garbage.len(), 2);
        let LockAttempt::Held(lock) = store.try_lock(held, "a run").unwrap() else { panic!("nobody holds it") };
        let gone: Vec<(Digest, bool)> =
            garbage.iter().map(|candidate| (candidate.key, store.collect(candidate).unwrap())).collect();
        assert!(gone.contains(&(held, false)) && gone.contains(&(free, true)), "{gone:?}");
        drop(lock);
        let [left] = &store.garbage(&BTreeSet::new(), GcRule { keep: days(7), largest: None }).unwrap()[..] else {
            panic!("one is left")
        };
        assert!(store.collect(left).unwrap());
        for folder in ["artifacts", "scratch", "tmp"] {
            assert!(list(&store.folder().join(folder)).unwrap().is_empty(), "{folder}");
        }
    }
}
