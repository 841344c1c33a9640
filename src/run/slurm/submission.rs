//! A submission's folder: all that its jobs and those who follow them need, frozen as it was when it was submitted.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::arrays::Array;
use super::outcome::{Died, Outcome};
use crate::spec::Cell;
use crate::store::{Digest, Store, StoreError};

/// What a call asked for, so that jobs and followers can do the same later, whatever has become of the files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The pipeline or sweep file of the call.
    pub file: PathBuf,
    /// The project's folder.
    pub root: PathBuf,
    /// The whole pipeline, as canonical RON.
    pub pipeline: String,
    /// The sweep that it is of, if it is.
    pub sweep: Option<AskedSweep>,
    /// Stages that run even if they are up to date.
    pub forced: Vec<String>,
    /// The last stage, if the call stops before the end.
    pub until: Option<String>,
    /// Where tensors live, as the call said it.
    pub device: String,
    /// Whether files may not be fetched.
    pub offline: bool,
    /// After a failure, whether what does not depend on it still runs.
    pub keep_going: bool,
    /// What jobs share their artifacts with, beside the store.
    pub remote: Option<AskedRemote>,
}

/// A remote that jobs share their artifacts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedRemote {
    /// Its address.
    pub address: String,
    /// How many seconds it may say nothing before it counts as down.
    pub silence: NonZeroU16,
    /// Whether stages fail when it does.
    pub required: bool,
}

/// A sweep, and which stages of the pipeline are whose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskedSweep {
    /// The sweep, as RON.
    pub sweep: String,
    /// Its cells.
    pub cells: Vec<Cell>,
}

/// What was submitted at one time.
///
/// ```text
/// .mtorec/jobs/ID/
///   asked.json        what the call asked for
///   arrays.json       which stage is which task of which array
///   job.sh            what every job runs
///   mtorec            this program, as it was; removed at the end
///   submitted.json    the numbers of the arrays' jobs, once all of them stand
///   outcomes/A-T.json what came of task T of array A
///   outcomes/A-T.died how it ended, where it came to nothing and does not start again
///   outcomes/A-T.restarts how often it has started itself again
///   logs/A-T.log      what it printed
///   ended             written when all has come to an end
/// ```
#[derive(Debug, Clone)]
pub struct Submission {
    store: Store,
    /// Names it, also in the names of its jobs.
    pub id: String,
    /// What was asked.
    pub asked: Asked,
    pub(super) arrays: Vec<Array>,
    /// Of every stage that was submitted, its array and task.
    seats: HashMap<String, (usize, u32)>,
}

#[derive(Serialize, Deserialize)]
struct Submitted {
    /// The jobs' numbers, by array.
    ids: Vec<u64>,
    /// When, in seconds since 1970.
    at: u64,
}

impl Submission {
    /// Prepares a submission; nothing is submitted yet.
    pub(super) fn create(store: &Store, asked: &Asked, arrays: Vec<Array>) -> Result<Self, StoreError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("{} {} {}", asked.pipeline, std::process::id(), now.as_nanos());
        let id = Digest::of_bytes(name.as_bytes()).to_string()[..8].to_owned();
        let submission = Self::new(store, id, asked.clone(), arrays);
        submission.prepare().inspect_err(|_| submission.remove())?;
        Ok(submission)
    }

    fn new(store: &Store, id: String, asked: Asked, arrays: Vec<Array>) -> Self {
        let seats = arrays
            .iter()
            .enumerate()
            .flat_map(|(array, found)| found.tasks.iter().map(move |(task, stage)| (stage.clone(), (array, *task))));
        let seats = seats.collect();
        Self { store: store.clone(), id, asked, arrays, seats }
    }

    fn prepare(&self) -> Result<(), StoreError> {
        self.store.prepare()?;
        for name in ["logs", "outcomes"] {
            let folder = self.folder().join(name);
            fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
        }
        // jobs that start days later run the same program, whatever is built meanwhile
        let (program, copy) = (std::env::current_exe(), self.folder().join("mtorec"));
        program.and_then(|program| fs::copy(program, &copy)).map_err(StoreError::io("copy this program to", &copy))?;
        let script = self.script();
        fs::write(&script, include_bytes!("job.sh")).map_err(StoreError::io("write", &script))?;
        self.write("arrays.json", &self.arrays)?;
        self.write("asked.json", &self.asked)
    }

    /// The submission in a folder.
    ///
    /// # Errors
    /// When there is none that this program understands.
    pub fn open(store: &Store, id: &str) -> Result<Self, StoreError> {
        let folder = store.jobs().join(id);
        let asked = read(&folder.join("asked.json"))?;
        let arrays = read(&folder.join("arrays.json"))?;
        Ok(Self::new(store, id.to_owned(), asked, arrays))
    }

    /// All submissions that have not come to an end, the latest last.
    ///
    /// # Errors
    /// When the folder cannot be read. What is no whole submission is none.
    pub fn unfinished(store: &Store) -> Result<Vec<Self>, StoreError> {
        let mut found: Vec<(SystemTime, Self)> = Vec::new();
        for folder in store.submissions()? {
            let id = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if folder.join("ended").exists() {
                continue;
            }
            match Self::open(store, id) {
                Ok(submission) => {
                    let written = fs::metadata(folder.join("asked.json")).and_then(|metadata| metadata.modified());
                    found.push((written.unwrap_or(UNIX_EPOCH), submission));
                }
                Err(error) => tracing::debug!(%error, "no whole submission"),
            }
        }
        found.sort_by_key(|(written, _)| *written);
        Ok(found.into_iter().map(|(_, submission)| submission).collect())
    }

    /// Its folder.
    pub fn folder(&self) -> PathBuf {
        self.store.jobs().join(&self.id)
    }

    /// How many stages were submitted.
    pub fn stages(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn script(&self) -> PathBuf {
        self.folder().join("job.sh")
    }

    /// The array and task of a stage that was submitted.
    pub(super) fn seat(&self, stage: &str) -> Option<(usize, u32)> {
        self.seats.get(stage).copied()
    }

    /// The stage that a task of an array makes.
    pub fn stage(&self, array: usize, task: u32) -> Option<&str> {
        Some(self.arrays.get(array)?.tasks.get(&task)?.as_str())
    }

    /// The name of an array's jobs: what they do, whose they are, which they are.
    pub(super) fn job_name(&self, array: usize) -> String {
        format!("{}-{}-{array}", self.arrays[array].kind.to_lowercase(), self.id)
    }

    /// The array whose jobs have this name.
    pub(super) fn array_of(&self, job_name: &str) -> Option<usize> {
        let (rest, array) = job_name.rsplit_once('-')?;
        let array = array.parse().ok()?;
        (rest.rsplit_once('-')?.1 == self.id && array < self.arrays.len()).then_some(array)
    }

    /// What a task printed.
    pub(super) fn log(&self, (array, task): (usize, u32)) -> PathBuf {
        self.folder().join("logs").join(format!("{array}-{task}.log"))
    }

    pub(super) fn set_submitted(&self, ids: Vec<u64>) -> Result<(), StoreError> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        self.write("submitted.json", &Submitted { ids, at })
    }

    /// The numbers of its jobs, by array; none before all of them stand.
    pub(super) fn submitted(&self) -> Option<Vec<u64>> {
        read::<Submitted>(&self.folder().join("submitted.json")).ok().map(|submitted| submitted.ids)
    }

    /// How long ago it was submitted; nothing before all of its jobs stand.
    pub fn age(&self) -> Option<Duration> {
        let submitted: Submitted = read(&self.folder().join("submitted.json")).ok()?;
        SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(submitted.at)).ok()
    }

    fn outcome_file(&self, (array, task): (usize, u32)) -> PathBuf {
        self.folder().join("outcomes").join(format!("{array}-{task}.json"))
    }

    /// What came of a task, as far as it has said so.
    pub(super) fn outcome(&self, seat: (usize, u32)) -> Option<Outcome> {
        read(&self.outcome_file(seat)).ok()
    }

    /// How a task ended that came to nothing.
    pub(super) fn died(&self, seat: (usize, u32)) -> Option<Died> {
        Died::parse(&fs::read_to_string(self.outcome_file(seat).with_extension("died")).ok()?)
    }

    /// Something that changes whenever a task says what came of it; cheap to ask for.
    pub(super) fn pulse(&self) -> Option<SystemTime> {
        fs::metadata(self.folder().join("outcomes")).and_then(|folder| folder.modified()).ok()
    }

    /// A job begins: what an earlier start of it said counts no more.
    pub(super) fn forget_outcome(&self, seat: (usize, u32)) -> Result<(), StoreError> {
        let path = self.outcome_file(seat);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    pub(super) fn set_outcome(&self, seat: (usize, u32), outcome: &Outcome) -> Result<(), StoreError> {
        write(&self.store, &self.outcome_file(seat), outcome)
    }

    /// Nothing of it waits or runs any more. What its jobs printed stays until the next submission of the pipeline.
    pub(super) fn end(&self) {
        let _ = fs::remove_file(self.folder().join("mtorec"));
        if let Err(error) = self.write("ended", &()) {
            tracing::warn!(%error, "a submission that has come to its end is not marked so");
        }
    }

    /// Removes its folder.
    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(self.folder()) {
            tracing::warn!(%error, "the folder of a submission stays");
        }
    }

    /// Removes what earlier submissions of this file left that have come to an end.
    pub(super) fn remove_ended(store: &Store, file: &Path) -> Result<(), StoreError> {
        for folder in store.submissions()? {
            let asked = read::<Asked>(&folder.join("asked.json"));
            if folder.join("ended").exists() && asked.is_ok_and(|asked| asked.file == file) {
                fs::remove_dir_all(&folder).map_err(StoreError::io("remove", &folder))?;
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        write(&self.store, &self.folder().join(name), value)
    }
}

fn write(store: &Store, path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let written = serde_json::to_vec(value).map_err(io::Error::from).and_then(|json| store.replace(path, &json));
    written.map_err(StoreError::io("write", path))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let read = fs::read(path).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
    read.map_err(StoreError::io("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(file: &str) -> Asked {
        Asked {
            file: file.into(),
            root: "/p".into(),
            pipeline: "Pipeline()".into(),
            sweep: None,
            forced: Vec::new(),
            until: None,
            device: "cpu".into(),
            offline: false,
            keep_going: false,
            remote: None,
        }
    }

    fn array(kind: &str, stages: &[(u32, &str)]) -> Array {
        Array {
            kind: kind.into(),
            resources: Default::default(),
            tasks: stages.iter().map(|(task, stage)| (*task, (*stage).to_owned())).collect(),
            corresponding: None,
            after: Default::default(),
        }
    }

    #[test]
    fn a_submission_is_found_again_until_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let arrays = vec![array("Train", &[(0, "a"), (2, "b")]), array("Evaluate", &[(2, "c")])];
        let made = Submission::create(&store, &asked("x.ron"), arrays).unwrap();
        let [found] = &Submission::unfinished(&store).unwrap()[..] else { panic!("one is unfinished") };
        assert_eq!((&found.id, &found.asked, &found.arrays), (&made.id, &made.asked, &made.arrays));
        assert_eq!((found.seat("b"), found.seat("c"), found.seat("d")), (Some((0, 2)), Some((1, 2)), None));
        assert_eq!((found.stage(0, 2), found.stage(0, 1), found.stage(2, 0)), (Some("b"), None, None));
        assert_eq!(found.array_of(&made.job_name(1)), Some(1));
        assert_eq!(found.array_of("evaluate-ffffffff-1"), None, "another submission's");
        assert_eq!(found.array_of(&format!("train-{}-2", made.id)), None);
        assert_eq!(found.submitted(), None);
        made.set_submitted(vec![7, 8]).unwrap();
        assert_eq!(found.submitted(), Some(vec![7, 8]));
        made.end();
        assert!(Submission::unfinished(&store).unwrap().is_empty());
        Submission::remove_ended(&store, Path::new("y.ron")).unwrap();
        assert!(made.folder().exists());
        Submission::remove_ended(&store, Path::new("x.ron")).unwrap();
        assert!(!made.folder().exists());
    }
}
