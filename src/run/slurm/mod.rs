//! Stages as jobs of a cluster that Slurm schedules: every stage that must run is one task of a job array, waits for the
//! stages that it reads, and runs this same program for itself alone, on the store that all nodes share. Keys, locks,
//! checkpoints and early cut-off are those of any run; Slurm only decides when and where.
//!
//! `arrays` says which stage is submitted with which, `submission` what is kept of that on the disk, `job` what happens on the
//! node, `outcome` what it leaves behind, `follow` what becomes of it and `words` how that is said; `commands` alone speaks
//! with Slurm.

mod arrays;
mod commands;
mod follow;
mod job;
mod outcome;
mod submission;
mod words;

use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::Ordering;

pub use job::make_one;
pub use submission::{Asked, AskedRemote, AskedSweep, Submission};

use super::executor::{Call, Executor, ExecutorError, Stopped};
use super::maker::Maker;
use super::waiting::wait_for_lock;
use crate::stage::{Device, StageError};
use crate::store::{Digest, Holder, KeyLock};
use arrays::{Array, arrange};
use commands::SlurmError;
use follow::follow;

/// How long before its time runs out a job is told, in seconds: an epoch is not begun any more, or given up.
const WARNING_SECONDS: u32 = 60;

/// A cluster.
pub struct Slurm {
    /// What to submit, or whom to follow.
    pub wish: Wish,
    /// How often a job that was killed or ran out of time may start itself again.
    pub requeue: u32,
    /// Asked when the user wants to stop: whether so many jobs are left to go on.
    pub leave: Box<dyn Fn(usize) -> bool>,
}

/// What to do with jobs.
pub enum Wish {
    /// Submit what must run, unless it is submitted already.
    Submit {
        /// What was asked for.
        asked: Asked,
        /// Whether to end as soon as the jobs stand.
        detach: bool,
    },
    /// See to it that what was submitted comes to its end.
    Follow(Submission),
    /// Cancel what was submitted.
    Cancel(Submission),
}

impl Executor for Slurm {
    fn run(&self, maker: &Maker, call: &Call) -> Result<Vec<Option<Stopped>>, ExecutorError> {
        let lock = alone(maker)?;
        let submission = match &self.wish {
            Wish::Submit { asked, .. } => running(maker, asked)?,
            Wish::Follow(submission) | Wish::Cancel(submission) => Some(whole(maker, submission)?),
        };
        if let Some(submission) = submission {
            drop(lock);
            let survey = survey(maker, call, Some(&submission));
            return match &self.wish {
                Wish::Submit { detach: true, .. } => Ok(away(maker, survey, &submission)),
                Wish::Cancel(_) => {
                    // to cancel is to interrupt, from elsewhere
                    call.cancelled.store(true, Ordering::Relaxed);
                    Ok(follow(maker, call, &submission, survey, follow::Mood::Cancelling))
                }
                _ => Ok(follow(maker, call, &submission, survey, follow::Mood::Patient(&self.leave))),
            };
        }
        let Wish::Submit { asked, detach } = &self.wish else { return Ok(Vec::new()) };
        let survey = survey(maker, call, None);
        let failed = survey.stopped.iter().any(Option::is_some);
        if failed && !call.keep_going || !survey.remaining.contains(&true) {
            return Ok(survey.stopped);
        }
        let submission = self.submit(maker, asked, &survey.remaining)?;
        drop(lock);
        let what = format!(
            "{} in {}, submission {}; logs in `{}`",
            words::count(submission.stages(), "job"),
            words::count(submission.arrays.len(), "array"),
            submission.id,
            submission.folder().join("logs").display()
        );
        maker.console.say("slurm", &what);
        if *detach {
            return Ok(away(maker, survey, &submission));
        }
        Ok(follow(maker, call, &submission, survey, follow::Mood::Patient(&self.leave)))
    }
}

impl Slurm {
    /// Submits the remaining stages: all of them, or none.
    fn submit(&self, maker: &Maker, asked: &Asked, remaining: &[bool]) -> Result<Submission, ExecutorError> {
        let largest = commands::largest_array().map_err(refused)?;
        if largest < 2 {
            return Err(ExecutorError::Refused {
                message: "this cluster forbids job arrays (its `MaxArraySize` is too small)".to_owned(),
                hint: None,
            });
        }
        Submission::remove_ended(maker.store, &asked.file)?;
        let arrays = arrange(maker.graph, remaining, largest - 1);
        let submission = Submission::create(maker.store, asked, arrays)?;
        let mut ids = Vec::new();
        if let Err(error) = self.submit_all(maker, &submission, &mut ids) {
            take_back(maker, &submission, &ids);
            // Ctrl-C reaches `sbatch` too
            return Err(if maker.cancelled.load(Ordering::Relaxed) { ExecutorError::Interrupted } else { error });
        }
        Ok(submission)
    }

    fn submit_all(&self, maker: &Maker, submission: &Submission, ids: &mut Vec<u64>) -> Result<(), ExecutorError> {
        let folder = submission.folder();
        let mut held = Vec::new();
        for (at, array) in submission.arrays.iter().enumerate() {
            if maker.cancelled.load(Ordering::Relaxed) {
                return Err(ExecutorError::Interrupted);
            }
            let mut options = self.options(maker, submission, at)?;
            match array.dependency(ids) {
                Some(dependency) => options.push(format!("--dependency={dependency}")),
                // nothing starts before everything stands
                None => options.push("--hold".to_owned()),
            }
            let (number, requeue) = (at.to_string(), self.requeue.to_string());
            let arguments = [folder.as_os_str(), OsStr::new(&number), OsStr::new(&requeue)];
            let id = commands::submit(&options, &submission.script(), &arguments).map_err(refused)?;
            ids.push(id);
            if array.corresponding.is_none() && array.after.is_empty() {
                held.push(id);
            }
        }
        // in this order: jobs that stand and are held would be waited for, and wait, for ever
        commands::release(&held).map_err(refused)?;
        Ok(submission.set_submitted(ids.clone())?)
    }

    fn options(&self, maker: &Maker, submission: &Submission, at: usize) -> Result<Vec<String>, ExecutorError> {
        let array = &submission.arrays[at];
        let logs = pattern(&submission.folder().join("logs"))?;
        let mut options = vec![
            format!("--array={}", array.numbers()),
            format!("--job-name={}", submission.job_name(at)),
            format!("--output={logs}/{at}-%a.log"),
            "--open-mode=append".to_owned(),
            format!("--chdir={}", maker.site.root.display()),
            "--requeue".to_owned(),
            "--kill-on-invalid-dep=yes".to_owned(),
            format!("--signal=B:USR1@{WARNING_SECONDS}"),
        ];
        options.extend(asked_of(array, maker));
        Ok(options)
    }
}

/// A folder as Slurm's patterns for file names write it.
fn pattern(folder: &Path) -> Result<String, ExecutorError> {
    match folder.to_str() {
        // a backslash anywhere ends all patterns, and so one file would be that of all jobs
        Some(text) if !text.contains(['\\', '\n']) => Ok(text.replace('%', "%%")),
        _ => Err(ExecutorError::Refused {
            message: format!("Slurm cannot write logs to `{}`", folder.display()),
            hint: Some(
                "use a project's folder (`--root`) without backslashes and of plain UTF-8 in its path".to_owned(),
            ),
        }),
    }
}

/// The options of `sbatch` for what an array's stages ask for.
fn asked_of(array: &Array, maker: &Maker) -> Vec<String> {
    let resources = &array.resources;
    let mut options = Vec::new();
    options.extend(resources.cpus.map(|cpus| format!("--cpus-per-task={cpus}")));
    options.extend(resources.mem_gb.map(|gb| format!("--mem={}M", (gb * 1024.0).ceil() as u64)));
    options.extend(resources.hours.map(|hours| format!("--time={}", (hours * 60.0).ceil() as u64)));
    options.extend(resources.partition.as_ref().map(|partition| format!("--partition={partition}")));
    options.extend(resources.account.as_ref().map(|account| format!("--account={account}")));
    let computes =
        maker.graph.nodes().iter().any(|node| node.work.kind() == array.kind && node.work.depends_on_device());
    let gpus = resources.gpus.unwrap_or(usize::from(computes && maker.site.device != Device::Cpu));
    if gpus > 0 {
        options.push(format!("--gres=gpu:{gpus}"));
    }
    options.extend(resources.extra.iter().cloned());
    options
}

/// What of a pipeline is there, what is not and could be made, and what cannot.
struct Survey {
    stopped: Vec<Option<Stopped>>,
    remaining: Vec<bool>,
}

/// Looks for the artifact of every stage that takes part, and for the files that stages read. Files that can be fetched are
/// fetched here: the nodes of a cluster often reach no network.
fn survey(maker: &Maker, call: &Call, submission: Option<&Submission>) -> Survey {
    let count = maker.graph.nodes().len();
    let mut survey =
        Survey { stopped: std::iter::repeat_with(|| None).take(count).collect(), remaining: vec![false; count] };
    let mut blocked = vec![false; count];
    for stage in (0..count).filter(|&stage| call.selected[stage]) {
        let sources = maker.graph.sources(stage);
        blocked[stage] = sources.iter().any(|&source| blocked[source] || survey.stopped[source].is_some());
        if blocked[stage] {
            continue;
        }
        let known = !sources.iter().any(|&source| survey.remaining[source]);
        match look(maker, stage, known, submission) {
            Ok(found) => survey.remaining[stage] = !found,
            Err(error) => {
                let stopped = maker.tell(stage, Err(error)).err();
                survey.stopped[stage] = stopped.map(Stopped::Failed);
            }
        }
    }
    survey
}

/// Whether a stage's artifact is there; `known` says whether all that it reads is.
fn look(maker: &Maker, stage: usize, known: bool, submission: Option<&Submission>) -> Result<bool, StageError> {
    let node = &maker.graph.nodes()[stage];
    if submission.is_none() {
        maker.provide(stage)?;
    }
    if !known {
        // what it reads from outside must be there all the same, and better now than after hours
        node.work.externals(maker.site.root, maker.site.digests)?;
        return Ok(false);
    }
    let told = submission.and_then(|submission| submission.outcome(submission.seat(&node.name)?));
    let found = match told.map(outcome::Outcome::result) {
        Some(Ok(how)) => maker.take_over(stage, Some(how))?,
        Some(Err(_)) => None,
        None => maker.find(stage)?,
    };
    let Some(made) = found else { return Ok(false) };
    maker.tell(stage, Ok(made)).map(|()| true)
}

/// The submission of the same request whose jobs still wait or run.
fn running(maker: &Maker, asked: &Asked) -> Result<Option<Submission>, ExecutorError> {
    let mut same = None;
    for submission in Submission::unfinished(maker.store)? {
        if submission.asked.file != asked.file {
            continue;
        }
        let jobs = commands::jobs(|name| submission.array_of(name).is_some()).map_err(refused)?;
        let ids: Vec<u64> = jobs.iter().filter(|job| job.is_alive()).map(|job| job.id).collect();
        if submission.submitted().is_none() {
            // whoever was at it died over it: they would have the lock. Its first jobs are held for ever
            maker.console.say("slurm", &format!("submission {} was broken off: it is taken back", submission.id));
            take_back(maker, &submission, &ids);
        } else if ids.is_empty() {
            submission.end();
        } else if submission.asked == *asked {
            maker.console.say("slurm", &format!("its jobs stand already, submission {}", submission.id));
            same = Some(submission);
        } else {
            return Err(ExecutorError::Refused {
                message: format!(
                    "`{}` has {} jobs of another version of it, or of other options, in Slurm (submission {})",
                    asked.file.display(),
                    ids.len(),
                    submission.id
                ),
                hint: Some(format!(
                    "`mtorec attach {0}` waits for them, `mtorec attach {0} --cancel` ends them; a sweep runs variants side by \
                     side, where `--set` runs one at a time",
                    submission.id
                )),
            });
        }
    }
    Ok(same)
}

/// A submission, if all of its jobs stand; what somebody did not bring to its end is taken back.
fn whole(maker: &Maker, submission: &Submission) -> Result<Submission, ExecutorError> {
    if submission.submitted().is_some() {
        return Ok(submission.clone());
    }
    // who had the lock a moment ago may have taken it back
    if submission.folder().exists() {
        take_back(maker, submission, &[]);
    }
    Err(ExecutorError::Refused {
        message: format!("submission {} was broken off before all of its jobs stood", submission.id),
        hint: Some("the same `run` or `sweep` submits them anew".to_owned()),
    })
}

/// The right to submit jobs of this store: no two calls at once submit the same, and one that was broken off can be told from
/// one that is under way.
fn alone(maker: &Maker) -> Result<KeyLock, ExecutorError> {
    let key = Digest::of_bytes(b"submissions to a cluster");
    let say = |holder: Option<Holder>| {
        let holder = holder.map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
        maker.console.say("slurm", &format!("waits for {holder}, which submits jobs"));
    };
    let got = wait_for_lock(maker.store, key, "a submission to Slurm", maker.cancelled, say)?;
    got.map(|(lock, _)| lock).ok_or(ExecutorError::Interrupted)
}

/// All remaining stages are in good hands.
fn away(maker: &Maker, survey: Survey, submission: &Submission) -> Vec<Option<Stopped>> {
    let Survey { mut stopped, remaining } = survey;
    let ids = submission.submitted().unwrap_or_default();
    for stage in (0..remaining.len()).filter(|&stage| remaining[stage]) {
        stopped[stage] = by_job(submission, &ids, &maker.graph.nodes()[stage].name);
    }
    stopped
}

fn by_job(submission: &Submission, ids: &[u64], stage: &str) -> Option<Stopped> {
    let (array, task) = submission.seat(stage)?;
    Some(Stopped::Away { by: format!("job {}_{task} of Slurm", ids.get(array)?) })
}

/// Cancels what was submitted of a submission, known by its number or, if Slurm took it and could not say so, by its name,
/// and removes its folder. If Slurm does not hear that, the folder stays, and the next call tries again.
fn take_back(maker: &Maker, submission: &Submission, ids: &[u64]) {
    let done = commands::jobs(|name| submission.array_of(name).is_some()).and_then(|jobs| {
        let mut all = ids.to_vec();
        all.extend(jobs.iter().filter(|job| job.is_alive()).map(|job| job.id));
        all.sort_unstable();
        all.dedup();
        commands::cancel(&all, false)
    });
    match done {
        Ok(()) => submission.remove(),
        // where there is no Slurm there are no jobs
        Err(SlurmError::Missing { .. }) if ids.is_empty() => submission.remove(),
        Err(error) => maker.console.warn(
            "slurm",
            &format!(
                "jobs of submission {} may be held in Slurm ({error}); the next run takes them back",
                submission.id
            ),
        ),
    }
}

fn refused(error: SlurmError) -> ExecutorError {
    ExecutorError::Refused { hint: Some(error.hint().to_owned()), message: error.to_string() }
}
