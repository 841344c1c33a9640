//! Artifacts as readers see them: intact, or not handed out.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::manifest::modified_ns;
use super::{Digest, FileEntry, Manifest, Store, StoreError};
use crate::fault;

/// What a lookup found.
#[derive(Debug)]
pub enum Lookup {
    /// No such artifact.
    Absent,
    /// One that is not what was written, and how it differs.
    Damaged(String),
    /// One whose files have the sizes and times they were written with (or else the right digests).
    Intact(Artifact),
}

/// A finished artifact. Clones are one artifact: a file verified through one of them is verified for all.
#[derive(Debug, Clone)]
pub struct Artifact {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    manifest: Manifest,
    /// Names of the files whose digest this process has found right.
    verified: Mutex<BTreeSet<String>>,
}

impl Artifact {
    pub(super) fn new(store: Store, manifest: Manifest) -> Self {
        Self { inner: Arc::new(Inner { store, manifest, verified: Mutex::default() }) }
    }

    /// What the store knows of it.
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// Digest of its content: what the keys of its readers depend on.
    pub fn digest(&self) -> Digest {
        self.inner.manifest.content
    }

    /// The path of one of its files, after its content was found to be what was written; once a file and process.
    ///
    /// # Errors
    /// [`StoreError::NoSuchFile`], [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn file(&self, name: &str) -> Result<PathBuf, StoreError> {
        let Some(entry) = self.inner.manifest.files.iter().find(|file| file.name == name) else {
            return Err(StoreError::NoSuchFile { key: self.inner.manifest.key, file: name.to_owned() });
        };
        self.verify_file(entry)
    }

    /// Reads every byte of every file (those not yet verified in this process) and compares the digests.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] naming the first file that differs; [`StoreError::Io`].
    pub fn verify(&self) -> Result<(), StoreError> {
        self.inner.manifest.files.iter().try_for_each(|entry| self.verify_file(entry).map(drop))
    }

    /// Compares sizes and times of modification, and reads only files whose time differs.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] naming the first file that differs; [`StoreError::Io`].
    pub fn quick_check(&self) -> Result<(), StoreError> {
        let mut moved = false;
        for entry in &self.inner.manifest.files {
            if self.stat(entry)? != entry.modified_ns {
                self.verify_file(entry)?;
                moved = true;
            }
        }
        if moved {
            self.refresh_times();
        }
        Ok(())
    }

    fn folder(&self) -> PathBuf {
        self.inner.store.artifact(self.inner.manifest.key)
    }

    fn path(&self, entry: &FileEntry) -> PathBuf {
        self.folder().join("files").join(&entry.name)
    }

    fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged { key: self.inner.manifest.key, what }
    }

    /// The file's time of modification; an error when it is not there, is a link to elsewhere or has another length.
    fn stat(&self, entry: &FileEntry) -> Result<u64, StoreError> {
        let path = self.path(entry);
        match fault::at("artifact.stat", || fs::symlink_metadata(&path)) {
            Ok(found) if !found.is_file() => Err(self.damaged(format!("`{}` is no plain file", entry.name))),
            Ok(found) if found.len() == entry.size => Ok(modified_ns(&found)),
            Ok(found) => {
                Err(self.damaged(format!("`{}` has {} bytes instead of {}", entry.name, found.len(), entry.size)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.damaged(format!("`{}` is missing", entry.name)))
            }
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }

    fn verify_file(&self, entry: &FileEntry) -> Result<PathBuf, StoreError> {
        let path = self.path(entry);
        if self.inner.verified.lock().unwrap_or_else(PoisonError::into_inner).contains(&entry.name) {
            return Ok(path);
        }
        self.stat(entry)?;
        if Digest::of_file(&path).map_err(StoreError::io("read", &path))? != entry.digest {
            return Err(self.damaged(format!("the bytes of `{}` have changed", entry.name)));
        }
        self.inner.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.name.clone());
        Ok(path)
    }

    /// After a copy or a restored backup every file has a new time and the right bytes. Writing the new times down keeps
    /// the next look quick; where that fails (a store one may only read) it stays slow, and right.
    fn refresh_times(&self) {
        let mut manifest = self.inner.manifest.clone();
        for entry in &mut manifest.files {
            if let Ok(time) = self.stat(entry) {
                entry.modified_ns = time;
            }
        }
        if let Err(error) = manifest.replace(&self.inner.store) {
            tracing::debug!(%error, "new times of modification are not written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::store::{Draft, Finished, KeyLock, LockAttempt, Recipe};

    fn lock(store: &Store, key: Digest) -> KeyLock {
        match store.try_lock(key, "a test").unwrap() {
            LockAttempt::Held(lock) => lock,
            LockAttempt::Busy(_) => panic!("nobody else is here"),
        }
    }

    fn finished(seed: &str) -> Finished {
        let recipe = Recipe {
            kind: "Fake".into(),
            revision: 1,
            device: None,
            parameters: BTreeMap::from([("seed".into(), seed.into())]),
            inputs: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        Finished { recipe, simulated: false, summary: "two files".into(), took: Duration::from_millis(1500) }
    }

    fn store_with_artifact(project: &Path) -> (Store, Artifact) {
        let store = Store::open(project).unwrap();
        let finished = finished("1");
        let lock = lock(&store, finished.recipe.key());
        let draft = Draft::new(&store, &lock).unwrap();
        draft.write("a", b"hello").unwrap();
        fs::write(draft.path("b"), b"").unwrap();
        let artifact = draft.commit(&lock, finished).unwrap();
        (store, artifact)
    }

    /// Flips a bit of a file, with its time of modification put back or moved on.
    fn flip(path: &Path, keep_time: bool) {
        let time = fs::metadata(path).unwrap().modified().unwrap();
        let mut bytes = fs::read(path).unwrap();
        bytes[2] ^= 1;
        fs::write(path, bytes).unwrap();
        let time = if keep_time { time } else { time + Duration::from_secs(5) };
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn damage(lookup: Lookup) -> String {
        match lookup {
            Lookup::Damaged(what) => what,
            other => panic!("not damaged: {other:?}"),
        }
    }

    #[test]
    fn what_was_written_is_found_and_read() {
        let project = tempfile::tempdir().unwrap();
        let (store, written) = store_with_artifact(project.path());
        let Lookup::Intact(found) = store.lookup(written.manifest().key).unwrap() else { panic!("not found") };
        assert_eq!(found.manifest(), written.manifest());
        assert_eq!(fs::read(found.file("a").unwrap()).unwrap(), b"hello");
        found.verify().unwrap();
        assert_eq!(found.manifest().size(), 5);
        assert!(matches!(found.file("c"), Err(StoreError::NoSuchFile { .. })));
        assert_eq!(store.keys().unwrap(), [written.manifest().key]);
        assert!(matches!(store.lookup(Digest::of_bytes(b"another")).unwrap(), Lookup::Absent));
        assert_eq!(fs::read_dir(store.folder().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn of_two_who_make_an_artifact_at_once_the_first_counts() {
        let project = tempfile::tempdir().unwrap();
        let store = Store::open(project.path()).unwrap();
        let of = |summary: &str| Finished { summary: summary.into(), ..finished("1") };
        let lock = lock(&store, of("").recipe.key());
        let [first, second] = ["first", "second"].map(|summary| {
            let draft = Draft::new(&store, &lock).unwrap();
            draft.write("a", summary.as_bytes()).unwrap();
            draft
        });
        let first = first.commit(&lock, of("first")).unwrap();
        let found = second.commit(&lock, of("second")).unwrap();
        assert_eq!(found.manifest(), first.manifest(), "others may have read it");
        assert_eq!(fs::read(found.file("a").unwrap()).unwrap(), b"first");
        // what is made again on purpose takes the old one's place
        let again = Draft::new(&store, &lock).unwrap();
        again.write("a", b"again").unwrap();
        assert_eq!(again.commit(&lock, of("again")).unwrap().manifest().summary, "again");
        assert_eq!(fs::read_dir(store.folder().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_flipped_bit_is_seen_at_once_or_at_the_latest_when_read() {
        let project = tempfile::tempdir().unwrap();
        let (store, artifact) = store_with_artifact(project.path());
        let (key, path) = (artifact.manifest().key, artifact.file("a").unwrap());
        flip(&path, false);
        assert_eq!(damage(store.lookup(key).unwrap()), "the bytes of `a` have changed");

        flip(&path, true);
        let Lookup::Intact(mended) = store.lookup(key).unwrap() else { panic!("the second flip undid the first") };
        flip(&path, true);
        let Lookup::Intact(found) = store.lookup(key).unwrap() else { panic!("a quick look reads nothing") };
        assert!(matches!(found.file("a"), Err(StoreError::Damaged { .. })));
        assert!(found.verify().is_err());
        mended.verify().expect("verified once a process and artifact");
    }

    #[test]
    fn missing_short_and_unreadable_parts_are_damage() {
        let project = tempfile::tempdir().unwrap();
        let (store, artifact) = store_with_artifact(project.path());
        let (key, path) = (artifact.manifest().key, artifact.file("a").unwrap());
        let manifest = store.artifact(key).join(Manifest::FILE);

        fs::write(&path, b"hell").unwrap();
        assert_eq!(damage(store.lookup(key).unwrap()), "`a` has 4 bytes instead of 5");
        fs::remove_file(&path).unwrap();
        assert_eq!(damage(store.lookup(key).unwrap()), "`a` is missing");

        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text.replace("\"simulated\": false", "\"simulated\": true")).unwrap();
        assert_eq!(damage(store.lookup(key).unwrap()), "its manifest has changed");
        fs::write(&manifest, &text[..40]).unwrap();
        assert_eq!(damage(store.lookup(key).unwrap()), "its manifest cannot be understood");
        fs::remove_file(&manifest).unwrap();
        assert_eq!(damage(store.lookup(key).unwrap()), "its manifest is missing");

        store.set_aside(&lock(&store, key)).unwrap();
        assert!(matches!(store.lookup(key).unwrap(), Lookup::Absent));
        assert!(store.folder().join("damaged").join(key.to_string()).is_dir());
    }

    /// Seals a manifest anew after a change, as whoever wants a store to be believed would.
    fn reseal(store: &Store, artifact: &Artifact, change: impl Fn(&mut Manifest)) {
        let mut manifest = artifact.manifest().clone();
        change(&mut manifest);
        manifest.write(&store.artifact(manifest.key).join(Manifest::FILE)).unwrap();
    }

    #[test]
    fn files_outside_the_artifact_are_never_taken_for_its_own() {
        let project = tempfile::tempdir().unwrap();
        let (store, artifact) = store_with_artifact(project.path());
        let key = artifact.manifest().key;
        let outside = project.path().join("outside");
        fs::write(&outside, b"hello").unwrap();
        let absolute = outside.to_str().unwrap().to_owned();
        for name in ["../../../../outside", &absolute, "..", ".", "", "a/../a", "files/a", "a/", "./a"] {
            // `a` holds what the outer file holds: only its name is wrong
            reseal(&store, &artifact, |manifest| manifest.files[0].name = name.to_owned());
            assert_eq!(damage(store.lookup(key).unwrap()), format!("it names {name:?} as a file of its own"));
        }
        reseal(&store, &artifact, |_| {});
        assert!(matches!(store.lookup(key).unwrap(), Lookup::Intact(_)));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_no_files_of_an_artifact_and_are_not_followed() {
        use std::os::unix::fs::symlink;

        let project = tempfile::tempdir().unwrap();
        let (store, artifact) = store_with_artifact(project.path());
        let (key, path) = (artifact.manifest().key, artifact.file("a").unwrap());
        let outside = project.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::rename(&path, outside.join("a")).unwrap();
        symlink(outside.join("a"), &path).unwrap();
        assert_eq!(damage(store.lookup(key).unwrap()), "`a` is no plain file");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(damage(store.lookup(key).unwrap()), "`a` is no plain file");

        // what is cleared away is the link, and not what it leads to
        for (folder, name) in [("tmp", format!("{key}-1")), ("scratch", key.to_string()), ("damaged", key.to_string())]
        {
            fs::create_dir_all(store.folder().join(folder)).unwrap();
            symlink(&outside, store.folder().join(folder).join(name)).unwrap();
        }
        store.clear_leftovers().unwrap();
        store.open_scratch(&lock(&store, key), true).unwrap();
        store.set_aside(&lock(&store, key)).unwrap();
        assert_eq!(fs::read(outside.join("a")).unwrap(), b"hello");
        assert_eq!(fs::read_dir(store.folder().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn new_times_with_the_right_bytes_are_fine_and_written_down() {
        let project = tempfile::tempdir().unwrap();
        let (store, artifact) = store_with_artifact(project.path());
        let (key, path) = (artifact.manifest().key, artifact.file("a").unwrap());
        let time = SystemTime::now() + Duration::from_secs(60);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert!(matches!(store.lookup(key).unwrap(), Lookup::Intact(_)));
        flip(&path, true);
        // The new time was written down: a quick look does not read the file again.
        assert!(matches!(store.lookup(key).unwrap(), Lookup::Intact(_)));
    }

    #[test]
    fn an_unfinished_draft_leaves_nothing_and_a_dead_one_is_cleared() {
        let project = tempfile::tempdir().unwrap();
        let (store, artifact) = store_with_artifact(project.path());
        let key = artifact.manifest().key;
        let tmp = store.folder().join("tmp");
        let held = lock(&store, key);
        let draft = Draft::new(&store, &held).unwrap();
        draft.write("a", b"other").unwrap();
        store.clear_leftovers().unwrap();
        assert_eq!(fs::read_dir(&tmp).unwrap().count(), 1, "a live draft is locked and stays");
        drop(draft);
        assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);

        std::mem::forget(Draft::new(&store, &held).unwrap());
        drop(held);
        store.clear_leftovers().unwrap();
        assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0, "a dead one goes");
        assert!(matches!(store.lookup(key).unwrap(), Lookup::Intact(_)));
    }

    #[test]
    fn checkpoints_of_a_finished_artifact_are_cleared_and_others_stay() {
        let project = tempfile::tempdir().unwrap();
        let (store, artifact) = store_with_artifact(project.path());
        let (finished, unfinished) = (artifact.manifest().key, Digest::of_bytes(b"another"));
        for key in [finished, unfinished] {
            fs::write(store.open_scratch(&lock(&store, key), false).unwrap().join("checkpoint"), "").unwrap();
        }
        let held = lock(&store, finished);
        store.clear_leftovers().unwrap();
        assert!(store.has_scratch(finished), "somebody is making it anew");
        drop(held);
        store.clear_leftovers().unwrap();
        assert!(!store.has_scratch(finished) && store.has_scratch(unfinished));
    }

    #[test]
    fn a_remade_artifact_replaces_the_old_one_and_equal_bytes_have_equal_digests() {
        let project = tempfile::tempdir().unwrap();
        let (store, old) = store_with_artifact(project.path());
        let held = lock(&store, old.manifest().key);
        let draft = Draft::new(&store, &held).unwrap();
        draft.write("b", b"").unwrap();
        draft.write("a", b"hello").unwrap();
        let new = draft.commit(&held, finished("1")).unwrap();
        assert_eq!(new.digest(), old.digest());
        let draft = Draft::new(&store, &held).unwrap();
        draft.write("a", b"hello").unwrap();
        draft.write("b", b"").unwrap();
        let simulated = draft.commit(&held, Finished { simulated: true, ..finished("1") }).unwrap();
        assert_ne!(simulated.digest(), old.digest(), "the simulated mark belongs to the content");
        assert_eq!(fs::read_dir(store.folder().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_store_of_a_later_version_is_refused_by_name() {
        let project = tempfile::tempdir().unwrap();
        let (store, _) = store_with_artifact(project.path());
        fs::write(store.folder().join("version"), "2\n").unwrap();
        let error = Store::open(project.path()).unwrap_err().to_string();
        assert!(error.contains("has format `2`, newer than this mtorec reads (1)"), "{error}");
    }
}
