//! Collecting garbage in a remote: artifacts that are old, then files that none names any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use object_store::{ObjectMeta, ObjectStoreExt};

use super::{LARGEST_MANIFEST, Object, Remote, RemoteError, Watch, key_of};
use crate::store::{Digest, Manifest, StoreError, list};

/// Files that no artifact names stay for as long: somebody may be putting the artifact that does.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Manifests that are read at once.
const ABREAST: usize = 16;

/// What may go of a remote: what is older than `keep`, and of the rest the oldest, until it is no larger than `largest`.
#[derive(Debug, Clone, Copy)]
pub struct RemoteRule {
    /// Younger artifacts stay.
    pub keep: Duration,
    /// Bytes that all files together may take, if that is limited; what is reached stays even beyond.
    pub largest: Option<u64>,
    /// Whether to say only what would go.
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Artifacts, oldest first, and how old they are.
    pub artifacts: Vec<(Digest, Duration)>,
    /// How many files.
    pub files: usize,
    /// Bytes of those files.
    pub bytes: u64,
    /// How many files stay for a day more, though no artifact names them: somebody may be putting the one that does.
    pub young: usize,
}

/// An artifact in the remote.
struct Found {
    key: Digest,
    age: Duration,
    files: Vec<Digest>,
}

impl Remote {
    /// Removes what may go. Artifacts go before their files: whoever gets one meanwhile finds a file missing, and makes
    /// the artifact anew.
    ///
    /// # Errors
    /// [`RemoteError::Failed`], [`RemoteError::Interrupted`]; what went until then is gone.
    pub fn collect(
        &self,
        reached: &BTreeSet<Digest>,
        rule: RemoteRule,
        watch: &dyn Watch,
    ) -> Result<Collected, RemoteError> {
        let now = SystemTime::now();
        let age = |meta: &ObjectMeta| now.duration_since(SystemTime::from(meta.last_modified)).unwrap_or_default();
        let mut found = self.artifacts(&age, watch)?;
        found.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| a.key.cmp(&b.key)));
        let files: BTreeMap<Digest, (u64, Duration)> = self
            .list(Object::FILES, watch)?
            .into_iter()
            .filter_map(|(name, meta)| Some((name.parse().ok()?, (meta.size, age(&meta)))))
            .collect();

        let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
        found.iter().flat_map(|artifact| &artifact.files).for_each(|file| *users.entry(*file).or_default() += 1);
        let mut total: u64 = files.values().map(|(size, _)| size).sum();
        let mut unnamed: BTreeSet<Digest> = files
            .iter()
            .filter(|(file, (_, age))| !users.contains_key(file) && *age >= rule.keep)
            .map(|(f, _)| *f)
            .collect();
        total -= unnamed.iter().map(|file| files[file].0).sum::<u64>();
        let mut gone = Collected::default();
        for artifact in found.iter().filter(|artifact| !reached.contains(&artifact.key)) {
            if artifact.age < rule.keep && rule.largest.is_none_or(|largest| total <= largest) {
                continue;
            }
            gone.artifacts.push((artifact.key, artifact.age));
            for file in &artifact.files {
                let left = users.entry(*file).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 && unnamed.insert(*file) {
                    total -= files.get(file).map_or(0, |(size, _)| *size);
                }
            }
        }
        let removable = unnamed.iter().filter_map(|file| Some((*file, files.get(file)?)));
        let removable: Vec<(Digest, u64)> =
            removable.filter(|(_, (_, age))| *age >= GRACE).map(|(file, (size, _))| (file, *size)).collect();
        let torn = self.torn(now)?;
        gone.young = unnamed.iter().filter(|file| files.contains_key(file)).count() - removable.len();
        gone.files = removable.len() + torn.len();
        gone.bytes = removable.iter().map(|(_, size)| size).chain(torn.iter().map(|(_, size)| size)).sum();
        if !rule.dry_run {
            for (path, _) in &torn {
                fs::remove_file(path).map_err(StoreError::io("remove", path))?;
            }
            let manifests = gone.artifacts.iter().map(|(key, _)| Object::manifest(*key));
            let objects: Vec<Object> = manifests.chain(removable.iter().map(|(file, _)| Object::file(*file))).collect();
            watch.begin(objects.len() as u64);
            for (at, object) in objects.iter().enumerate() {
                let path = object.path(&self.prefix);
                self.ask("remove", object, watch, self.service.delete(&path))?;
                watch.at(at as u64 + 1);
            }
        }
        Ok(gone)
    }

    /// Files of a folder that processes were putting when they died: `object_store` writes them aside, as `NAME#1`, and
    /// lists none. A service keeps such things out of sight, and has rules of its own for them.
    fn torn(&self, now: SystemTime) -> Result<Vec<(PathBuf, u64)>, StoreError> {
        let mut torn = Vec::new();
        for folder in self.folder.iter().flat_map(|at| [at.join(Object::ARTIFACTS), at.join(Object::FILES)]) {
            for path in list(&folder)? {
                let aside = path.file_name().and_then(|name| name.to_str()?.rsplit_once('#'));
                if aside.is_none_or(|(_, number)| number.parse::<u64>().is_err()) {
                    continue;
                }
                // it may be gone by now
                let Ok(found) = fs::metadata(&path) else { continue };
                let age = found.modified().ok().and_then(|then| now.duration_since(then).ok()).unwrap_or_default();
                if age >= GRACE {
                    torn.push((path, found.len()));
                }
            }
        }
        Ok(torn)
    }

    /// All artifacts and the files they name. One whose manifest is damaged names none that can be told.
    fn artifacts(&self, age: &dyn Fn(&ObjectMeta) -> Duration, watch: &dyn Watch) -> Result<Vec<Found>, RemoteError> {
        let listed = self.list(Object::ARTIFACTS, watch)?;
        let keyed: Vec<(Digest, &ObjectMeta)> =
            listed.iter().filter_map(|(name, meta)| Some((key_of(name)?, meta))).collect();
        let read = |(key, meta): &(Digest, &ObjectMeta)| {
            let (key, size, path) = (*key, meta.size, meta.location.clone());
            let found = Found { key, age: age(meta), files: Vec::new() };
            async move {
                if size > LARGEST_MANIFEST {
                    return Ok(Some(found));
                }
                let bytes = match self.service.get(&path).await {
                    Ok(object) => object.bytes().await?,
                    // it went meanwhile
                    Err(object_store::Error::NotFound { .. }) => return Ok(None),
                    Err(error) => return Err(error),
                };
                let files = Manifest::unseal(&bytes, key).map_or_else(
                    |_| Vec::new(),
                    |manifest| manifest.files.into_iter().map(|file| file.digest).collect(),
                );
                Ok(Some(Found { files, ..found }))
            }
        };
        let all = async {
            let mut reads = stream::iter(keyed.iter().map(read)).buffer_unordered(ABREAST);
            let mut all = Vec::new();
            while let Some(read) = reads.next().await {
                all.extend(read?);
            }
            Ok(all)
        };
        Ok(self.ask("get", &Object(Object::ARTIFACTS.to_owned()), watch, all)?.unwrap_or_default())
    }
}
