//! Follows the jobs of a submission until none is left: what came of each, what the others wait for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::commands::{self, Job, SlurmError};
use super::{Submission, Survey, by_job, words};
use crate::run::executor::{Call, Stopped};
use crate::run::maker::Maker;
use crate::stage::{Progress, StageError};

/// How often the queue is asked: often while something happens, seldom while nothing does, for the queue is everybody's.
const SOON: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(30);

/// How long a job that has ended may take to be heard of: a shared file system shows a new file late on other nodes.
const GRACE: Duration = Duration::from_secs(60);

/// How long cancelled jobs may take to end; Slurm kills what has not after half a minute, unless told otherwise.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// Up to so many jobs that begin at once are named.
const FEW: usize = 3;

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
    /// Since when all jobs are cancelled.
    cancelling: Option<Instant>,
    /// After a failure: nothing more shall begin.
    halted: bool,
    /// What Slurm has still to be told.
    order: Option<Order>,
    /// Whether Slurm was told or asked in vain last time.
    deaf: bool,
    /// What was last said of what jobs wait for.
    obstacles: BTreeSet<String>,
}

/// Which jobs are to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Those that have not begun.
    Waiting,
    All,
}

/// Follows a submission's jobs.
pub(super) fn follow(
    maker: &Maker,
    call: &Call,
    submission: &Submission,
    survey: Survey,
    mood: Mood,
) -> Vec<Option<Stopped>> {
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
        order: None,
        deaf: false,
        obstacles: BTreeSet::new(),
    };
    if matches!(mood, Mood::Cancelling) {
        follower.cancel(Order::All);
    }
    follower.run(&mood);
    follower.stopped
}

impl Follower<'_, '_> {
    fn run(&mut self, mood: &Mood) {
        let progress = self.maker.console.stage("slurm");
        progress.begin(self.submission.stages() as u64, "jobs");
        let mut pause = SOON;
        loop {
            let (start, pulse) = (Instant::now(), self.submission.pulse());
            let queue = self.ask();
            let cost = start.elapsed();
            let before = (self.open(), self.running.len());
            if let Some(queue) = &queue {
                self.see_running(queue);
            }
            self.judge(queue.as_ref());
            self.tell(&progress, queue.as_ref());
            if self.open() == 0 {
                self.submission.end();
                return;
            }
            if self.call.cancelled.load(Ordering::Relaxed) && self.cancelling.is_none() {
                if let Mood::Patient(leave) = mood
                    && leave(self.open())
                {
                    return self.leave();
                }
                self.cancel(Order::All);
            }
            self.give_order();
            let happens = before != (self.open(), self.running.len()) || self.cancelling.is_some();
            pause = if happens { SOON } else { pause.mul_f64(1.5).min(SELDOM) };
            // whoever waits long for an answer has much to do, or a controller that has
            if self.sleep(pause.max(cost * 20), pulse) {
                pause = SOON;
            }
        }
    }

    /// The jobs of the submission, by stage; nothing while Slurm does not answer, which its jobs do not mind.
    fn ask(&mut self) -> Option<HashMap<usize, Job>> {
        let jobs = self.heard(commands::jobs(|name| self.submission.array_of(name).is_some()))?;
        let seats = (0..self.fates.len()).filter_map(|stage| Some((self.seat(stage)?, stage)));
        let stages: HashMap<(usize, u32), usize> = seats.collect();
        let of = |job: Job| {
            let array = self.submission.array_of(&job.name)?;
            Some((*stages.get(&(array, job.task))?, job))
        };
        Some(jobs.into_iter().filter_map(of).collect())
    }

    /// What Slurm answered; that it does not is said once.
    fn heard<T>(&mut self, answer: Result<T, SlurmError>) -> Option<T> {
        match answer {
            Ok(answer) => {
                if std::mem::take(&mut self.deaf) {
                    self.maker.console.say("slurm", "answers again");
                }
                Some(answer)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.deaf, true) {
                    self.maker.console.warn("slurm", &format!("{error}; its jobs go on, and it is asked again"));
                }
                None
            }
        }
    }

    /// Wants jobs to be cancelled.
    fn cancel(&mut self, order: Order) {
        self.order = Some(order);
        if order == Order::All {
            self.cancelling = Some(Instant::now());
        }
    }

    /// Tells Slurm what it has not been told yet, until it listens.
    fn give_order(&mut self) {
        let Some(order) = self.order else { return };
        if self.heard(commands::cancel(&self.ids, order == Order::Waiting)).is_some() {
            self.order = None;
            // from now on they have their time to end
            self.cancelling = self.cancelling.map(|_| Instant::now());
        }
    }

    fn seat(&self, stage: usize) -> Option<(usize, u32)> {
        self.submission.seat(&self.maker.graph.nodes()[stage].name)
    }

    fn open(&self) -> usize {
        self.fates.iter().filter(|&&fate| fate == Fate::Open).count()
    }

    /// Says which jobs have begun: each with its node where they are few, or else how many at once.
    fn see_running(&mut self, queue: &HashMap<usize, Job>) {
        let mut begun: Vec<(usize, &Job)> = Vec::new();
        for stage in (0..self.fates.len()).filter(|&stage| self.fates[stage] == Fate::Open) {
            let Some(job) = queue.get(&stage) else { continue };
            if job.state == "RUNNING" {
                let before = self.running.insert(stage, job.node.clone());
                if before.as_ref() != Some(&job.node) {
                    begun.push((stage, job));
                }
            } else if job.is_waiting() && self.running.remove(&stage).is_some() {
                self.say(stage, &format!("job {} was stopped and waits to start again", job.title()));
            }
        }
        if begun.len() <= FEW {
            for (stage, job) in begun {
                self.say(stage, &format!("job {} runs on {}", job.title(), job.node));
            }
        } else {
            let nodes: BTreeSet<&str> = begun.iter().map(|(_, job)| job.node.as_str()).collect();
            let what = format!("{} begin on {}", words::count(begun.len(), "job"), words::count(nodes.len(), "node"));
            self.maker.console.say("slurm", &what);
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
            let told = self.seat(stage).and_then(|seat| self.submission.outcome(seat));
            let result = match told.map(super::outcome::Outcome::result) {
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
        self.seat(stage).is_some_and(|seat| self.submission.log(seat).exists())
    }

    /// After a failure nothing more begins, unless the call is to keep going.
    fn halt(&mut self) {
        if !self.call.keep_going && !self.halted && self.cancelling.is_none() {
            self.halted = true;
            self.cancel(Order::Waiting);
        }
    }

    /// Why a stage has no artifact whose job is over and has said nothing; nothing while it may still be heard of.
    fn without_a_word(&mut self, stage: usize, job: Option<&Job>) -> Option<StageError> {
        if let Some(since) = self.cancelling {
            let gone = job.is_none_or(|job| !job.is_alive()) || self.order.is_none() && since.elapsed() > LAST_WORDS;
            return gone.then_some(StageError::Interrupted);
        }
        let state = job.map(|job| job.state.as_str());
        if self.halted && matches!(state, Some("CANCELLED") | None) {
            return Some(StageError::Interrupted);
        }
        let seat = self.seat(stage)?;
        let died = self.submission.died(seat);
        if died.is_none() && !job.is_some_and(Job::says_why) && !self.is_overdue(stage) {
            return None;
        }
        let title = job
            .map_or_else(|| self.ids.get(seat.0).map_or_else(String::new, |id| format!("{id}_{}", seat.1)), Job::title);
        let log = self.submission.log(seat);
        let text = fs::read(&log).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (what, hint) = words::death(&title, job, died, text.is_some(), self.maker.site.root);
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let mut words = vec![what];
        if !lines.is_empty() {
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n    ");
            words.push(format!("the end of `{}`:\n    {last}", log.display()));
        }
        Some(StageError::told(words, Some(hint), None))
    }

    /// Whether a stage has been without a word for so long that none will come.
    fn is_overdue(&mut self, stage: usize) -> bool {
        self.silent.entry(stage).or_insert_with(Instant::now).elapsed() > GRACE
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
        let mut message = format!("({running} running, {} waiting)", open.saturating_sub(running));
        let mut obstacles: BTreeMap<String, usize> = BTreeMap::new();
        for obstacle in queue.into_iter().flat_map(HashMap::values).filter_map(words::obstacle) {
            *obstacles.entry(obstacle).or_default() += 1;
        }
        let texts: Vec<String> = obstacles.iter().map(|(obstacle, jobs)| format!("{jobs} for {obstacle}")).collect();
        if !texts.is_empty() {
            message.push_str(&format!("; {}", texts.join(", ")));
        }
        progress.at(done as u64, &message);
        if queue.is_some() {
            let new: BTreeSet<String> = obstacles.into_keys().collect();
            for obstacle in new.difference(&self.obstacles) {
                self.maker.console.say("slurm", &format!("jobs wait: {obstacle}"));
            }
            self.obstacles = new;
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

    /// Waits, but not after something new can be seen or the user wants to stop; says whether there is something new.
    fn sleep(&self, pause: Duration, pulse: Option<SystemTime>) -> bool {
        let start = Instant::now();
        while start.elapsed() < pause {
            if start.elapsed() >= SOON && self.submission.pulse() != pulse {
                return true;
            }
            if self.cancelling.is_none() && self.call.cancelled.load(Ordering::Relaxed) {
                return false;
            }
            thread::sleep(Duration::from_millis(100));
        }
        false
    }

    fn say(&self, stage: usize, text: &str) {
        self.maker.console.say(&self.maker.graph.nodes()[stage].name, text);
    }
}
