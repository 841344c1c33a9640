//! Follows the jobs of a submission until none is left: what came of each, what the others wait for.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::commands::{self, Job};
use super::{Submission, Survey, by_job};
use crate::run::executor::{Call, ExecutorError, Stopped};
use crate::run::maker::Maker;
use crate::stage::{Progress, StageError};

/// How often the queue is asked: often while something happens, seldom while nothing does, for the queue is everybody's.
const SOON: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(30);

/// How long a job that has ended may take to be heard of: a shared file system shows a new file late on other nodes.
const GRACE: Duration = Duration::from_secs(60);

/// How long cancelled jobs may take to end; Slurm kills what has not after half a minute, unless told otherwise.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// Lines of a job's log that are shown when it died without a word.
const LOG_LINES: usize = 5;

/// How the jobs are followed.
pub(super) enum Mood<'a> {
    /// Until they end or the user wants to stop; then this is asked whether so many are left to go on.
    Patient(&'a dyn Fn(usize) -> bool),
    /// They have been cancelled: until they are gone.
    Cancelling,
}

/// What is known of a stage that was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its job waits, runs, or has ended and nobody has heard of it yet.
    Open,
    /// It has its artifact.
    Made,
    /// It has not, and will not.
    Closed,
}

struct Follower<'a, 'm> {
    maker: &'a Maker<'m>,
    call: &'a Call<'m>,
    submission: &'a Submission,
    ids: Vec<u64>,
    fates: Vec<Fate>,
    stopped: Vec<Option<Stopped>>,
    /// Since when a job is known to have ended without a word.
    silent: HashMap<usize, Instant>,
    /// The node that each running job was last seen on.
    running: HashMap<usize, String>,
    /// Since when jobs are being cancelled, and whether the user wanted that.
    cancelling: Option<Instant>,
    /// After a failure: what has not begun was cancelled.
    halted: bool,
    /// Whether Slurm was asked in vain last time.
    deaf: bool,
    /// What was last said of what jobs wait for.
    reasons: Vec<String>,
}

/// Follows a submission's jobs.
pub(super) fn follow(
    maker: &Maker,
    call: &Call,
    submission: &Submission,
    survey: Survey,
    mood: Mood,
) -> Result<Vec<Option<Stopped>>, ExecutorError> {
    let Survey { stopped, remaining } = survey;
    let fate = |stage: usize| match (maker.is_made(stage), remaining[stage]) {
        (true, _) => Fate::Made,
        (false, true) => Fate::Open,
        (false, false) => Fate::Closed,
    };
    let fates = (0..remaining.len()).map(fate).collect();
    let mut follower = Follower {
        maker,
        call,
        submission,
        ids: submission.submitted().unwrap_or_default(),
        fates,
        stopped,
        silent: HashMap::new(),
        running: HashMap::new(),
        cancelling: None,
        halted: false,
        deaf: false,
        reasons: Vec::new(),
    };
    if matches!(mood, Mood::Cancelling) {
        follower.cancelling = Some(Instant::now());
    }
    follower.run(&mood)?;
    Ok(follower.stopped)
}

impl Follower<'_, '_> {
    fn run(&mut self, mood: &Mood) -> Result<(), ExecutorError> {
        let progress = self.maker.console.stage("slurm");
        progress.begin(self.submission.stages() as u64, "jobs");
        let mut pause = SOON;
        loop {
            let queue = self.ask();
            let before = (self.open(), self.running.len());
            if let Some(queue) = &queue {
                self.see_running(queue);
            }
            self.judge(queue.as_ref());
            self.tell(&progress, queue.as_ref());
            if self.open() == 0 {
                self.submission.end();
                return Ok(());
            }
            let asked = self.call.cancelled.load(Ordering::Relaxed);
            if asked && self.cancelling.is_none() {
                let Mood::Patient(leave) = mood else { continue };
                if leave(self.open()) {
                    self.leave();
                    return Ok(());
                }
                commands::cancel(&self.ids, false).map_err(super::refused)?;
                self.cancelling = Some(Instant::now());
            }
            let happens = before != (self.open(), self.running.len()) || self.cancelling.is_some();
            pause = if happens { SOON } else { pause.mul_f64(1.5).min(SELDOM) };
            self.sleep(pause);
        }
    }

    /// The jobs of the submission, by stage; nothing while Slurm does not answer, which its jobs do not mind.
    fn ask(&mut self) -> Option<HashMap<usize, Job>> {
        match commands::jobs(|name| self.submission.array_of(name).is_some()) {
            Ok(jobs) => {
                if std::mem::take(&mut self.deaf) {
                    self.maker.console.say("slurm", "answers again");
                }
                let seats = (0..self.fates.len())
                    .filter_map(|stage| Some((self.submission.seat(&self.maker.graph.nodes()[stage].name)?, stage)));
                let stages: HashMap<(usize, u32), usize> = seats.collect();
                let of = |job: Job| {
                    let array = self.submission.array_of(&job.name)?;
                    Some((*stages.get(&(array, job.task))?, job))
                };
                Some(jobs.into_iter().filter_map(of).collect())
            }
            Err(error) => {
                if !std::mem::replace(&mut self.deaf, true) {
                    self.maker.console.warn("slurm", &format!("{error}; its jobs go on, it is asked again"));
                }
                None
            }
        }
    }

    fn open(&self) -> usize {
        self.fates.iter().filter(|&&fate| fate == Fate::Open).count()
    }

    fn see_running(&mut self, queue: &HashMap<usize, Job>) {
        for stage in (0..self.fates.len()).filter(|&stage| self.fates[stage] == Fate::Open) {
            let Some(job) = queue.get(&stage) else { continue };
            if job.state == "RUNNING" {
                let before = self.running.insert(stage, job.node.clone());
                if before.as_ref() != Some(&job.node) {
                    self.say(stage, &format!("job {} runs on {}", job.title(), job.node));
                }
            } else if job.is_pending() && self.running.remove(&stage).is_some() {
                self.say(stage, &format!("job {} was stopped and waits to start again", job.title()));
            }
        }
    }

    /// Finds out what came of stages whose job is over. One that reads others is judged after them.
    fn judge(&mut self, queue: Option<&HashMap<usize, Job>>) {
        for stage in 0..self.fates.len() {
            if self.fates[stage] != Fate::Open {
                continue;
            }
            let sources = self.maker.graph.sources(stage);
            if sources.iter().any(|&source| self.fates[source] == Fate::Closed) {
                self.fates[stage] = Fate::Closed;
                continue;
            }
            if sources.iter().any(|&source| self.fates[source] == Fate::Open) {
                continue;
            }
            let job = queue.and_then(|queue| queue.get(&stage));
            if job.is_some_and(Job::is_alive) {
                self.silent.remove(&stage);
                continue;
            }
            let name = &self.maker.graph.nodes()[stage].name;
            let told = self.submission.seat(name).and_then(|seat| self.submission.outcome(seat));
            let result = match told.map(super::submission::Outcome::result) {
                Some(Ok(how)) => match self.maker.take_over(stage, Some(how)) {
                    Ok(Some(made)) => Some(Ok(made)),
                    Ok(None) if !self.is_overdue(stage) => None,
                    Ok(None) => Some(Err(self.not_shared())),
                    Err(error) => Some(Err(error)),
                },
                Some(Err(error)) => Some(Err(error)),
                // Slurm cannot say how the job is; what it has not said it may still say
                None if queue.is_none() => None,
                None => self.without_a_word(stage, job).map(Err),
            };
            self.settle(stage, result);
        }
    }

    fn settle(&mut self, stage: usize, result: Option<Result<super::super::Made, StageError>>) {
        let Some(result) = result else { return };
        self.running.remove(&stage);
        match result {
            Err(StageError::Interrupted) if !self.was_begun(stage) => self.fates[stage] = Fate::Closed,
            result => match self.maker.tell(stage, result) {
                Ok(()) => {
                    self.fates[stage] = Fate::Made;
                    self.maker.say_done(stage);
                }
                Err(error) => {
                    self.fates[stage] = Fate::Closed;
                    let failed = !matches!(error, StageError::Interrupted);
                    self.stopped[stage] = Some(Stopped::Failed(error));
                    if failed {
                        self.halt();
                    }
                }
            },
        }
    }

    fn was_begun(&self, stage: usize) -> bool {
        let seat = self.submission.seat(&self.maker.graph.nodes()[stage].name);
        seat.is_some_and(|seat| self.submission.log(seat).exists())
    }

    /// After a failure nothing more begins, unless the call is to keep going.
    fn halt(&mut self) {
        if self.call.keep_going || std::mem::replace(&mut self.halted, true) || self.cancelling.is_some() {
            return;
        }
        if let Err(error) = commands::cancel(&self.ids, true) {
            self.maker.console.warn("slurm", &format!("jobs that are not wanted any more stay: {error}"));
        }
    }

    /// Why a stage has no artifact whose job is over and has said nothing; nothing while it may still be heard of.
    fn without_a_word(&mut self, stage: usize, job: Option<&Job>) -> Option<StageError> {
        if let Some(since) = self.cancelling {
            let gone = job.is_none_or(|job| !job.is_alive()) || since.elapsed() > LAST_WORDS;
            return gone.then_some(StageError::Interrupted);
        }
        let state = job.map(|job| job.state.as_str());
        if self.halted && matches!(state, Some("CANCELLED") | None) {
            return Some(StageError::Interrupted);
        }
        let says_all = matches!(
            state,
            Some("CANCELLED" | "TIMEOUT" | "NODE_FAIL" | "OUT_OF_MEMORY" | "DEADLINE" | "BOOT_FAIL" | "LAUNCH_FAILED")
        );
        if !says_all && !self.is_overdue(stage) {
            return None;
        }
        Some(self.died(stage, job))
    }

    /// Whether a stage has been without a word for so long that none will come.
    fn is_overdue(&mut self, stage: usize) -> bool {
        self.silent.entry(stage).or_insert_with(Instant::now).elapsed() > GRACE
    }

    fn died(&self, stage: usize, job: Option<&Job>) -> StageError {
        let name = &self.maker.graph.nodes()[stage].name;
        let Some(seat) = self.submission.seat(name) else { return StageError::Interrupted };
        let title = job
            .map_or_else(|| self.ids.get(seat.0).map_or_else(String::new, |id| format!("{id}_{}", seat.1)), Job::title);
        let log = self.submission.log(seat);
        let (message, hint) = match job.map(|job| job.state.as_str()) {
            Some("CANCELLED") => (format!("its job {title} was cancelled"), "the next run goes on from its checkpoint"),
            Some("TIMEOUT") => (
                format!("its job {title} ran out of time"),
                "give it more `resources.hours`, or let it start again more often (`--requeue`); the next run goes on from \
                 its checkpoint",
            ),
            Some("OUT_OF_MEMORY") => (format!("its job {title} ran out of memory"), "give it more `resources.mem_gb`"),
            Some("NODE_FAIL" | "BOOT_FAIL" | "LAUNCH_FAILED") => {
                (format!("the node of its job {title} failed"), "the next run goes on from its checkpoint")
            }
            Some(state) => (
                format!("its job {title} ended ({state}) without saying what came of it"),
                "its log may say why; the next run goes on from its checkpoint",
            ),
            None => (
                format!("Slurm no longer knows its job {title}"),
                "somebody removed it, or Slurm lost its state; the next run goes on from its checkpoint",
            ),
        };
        let mut words = vec![message];
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if !lines.is_empty() {
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n    ");
            words.push(format!("the end of `{}`:\n    {last}", log.display()));
        }
        StageError::told(words, Some(hint.to_owned()), None)
    }

    fn not_shared(&self) -> StageError {
        let store = self.maker.store.folder().display();
        StageError::failed("its job says that it made the artifact, and it is not in the store here")
            .hint(format!("`{store}` must be the same folder on all nodes, and on this machine"))
    }

    /// Says how far all is, and what jobs wait for when that is not just their turn.
    fn tell(&mut self, progress: &dyn Progress, queue: Option<&HashMap<usize, Job>>) {
        let (open, running) = (self.open(), self.running.len());
        let done = self.submission.stages().saturating_sub(open);
        let mut message = format!("{running} running, {} waiting", open.saturating_sub(running));
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for job in queue.into_iter().flat_map(HashMap::values).filter(|job| job.is_pending()) {
            // what a job waits for in any case
            if !matches!(job.reason.as_str(), "None" | "Dependency" | "Priority" | "Resources" | "BeginTime") {
                *reasons.entry(job.reason.as_str()).or_default() += 1;
            }
        }
        let texts: Vec<String> = reasons.iter().map(|(reason, jobs)| format!("{jobs} for {reason}")).collect();
        if !texts.is_empty() {
            message.push_str(&format!(" ({})", texts.join(", ")));
        }
        progress.at(done as u64, &message);
        let reasons: Vec<String> = reasons.into_keys().map(str::to_owned).collect();
        if queue.is_some() && reasons != self.reasons {
            for reason in reasons.iter().filter(|reason| !self.reasons.contains(reason)) {
                self.maker.console.say("slurm", &format!("jobs wait: {reason}"));
            }
            self.reasons = reasons;
        }
    }

    /// Goes away: the jobs go on.
    fn leave(&mut self) {
        for stage in 0..self.fates.len() {
            if self.fates[stage] == Fate::Open {
                self.stopped[stage] = by_job(self.submission, &self.ids, &self.maker.graph.nodes()[stage].name);
            }
        }
    }

    fn sleep(&self, pause: Duration) {
        let start = Instant::now();
        while start.elapsed() < pause && (self.cancelling.is_some() || !self.call.cancelled.load(Ordering::Relaxed)) {
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn say(&self, stage: usize, text: &str) {
        self.maker.console.say(&self.maker.graph.nodes()[stage].name, text);
    }
}
