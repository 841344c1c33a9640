//! Runs the stages of a graph: whatever is ready, as many side by side as the call allows.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::cores::Cores;
use super::maker::{Made, Maker};
use super::{Console, Report, StageResult};
use crate::plan::{Graph, Record, Site};
use crate::stage::StageError;
use crate::store::{Store, StoreError};

/// How to run.
pub struct Call<'a> {
    /// Where.
    pub site: Site<'a>,
    /// Stages side by side at most; they divide the cores.
    pub jobs: NonZeroUsize,
    /// After a failure, whether what does not depend on it still runs; otherwise no further stage starts.
    pub keep_going: bool,
    /// Whether the call forces a stage to run, stage by stage.
    pub forced: Vec<bool>,
    /// Whether a stage takes part, stage by stage; all that it reads must take part too.
    pub selected: Vec<bool>,
    /// Set from outside when the user wants to stop.
    pub cancelled: &'a AtomicBool,
    /// Told what comes of the stages.
    pub observer: &'a dyn Observer,
}

/// Told what comes of stages as soon as it is known, on whichever thread that happens.
pub trait Observer: Sync {
    /// A stage has its artifact.
    fn made(&self, stage: &str, made: &Made);
    /// A stage failed; what reads it will not be made.
    fn failed(&self, stage: &str);
}

/// Nobody.
impl Observer for () {
    fn made(&self, _stage: &str, _made: &Made) {}
    fn failed(&self, _stage: &str) {}
}

/// Brings the selected stages up to date and writes the pipeline's record.
///
/// A stage that fails stops the stages that read it, directly or not. The others still run if the call is to keep going;
/// if not, those that are running end as they do, and no further stage starts: neither does one after a cancellation.
///
/// # Errors
/// When the store cannot be used at all; what happens to stages is in the report.
pub fn execute(
    graph: &Graph,
    store: &Store,
    record: &Record,
    call: &Call,
    console: &Console,
) -> Result<Report, StoreError> {
    store.clear_leftovers()?;
    let workers = call.jobs.get().min(graph.nodes().len());
    let cores = Cores::new(rayon::current_num_threads(), workers);
    let maker = Maker::new(graph, store, record, call, console, &cores);
    let board = Board::new(graph, &call.selected, call.keep_going, &cores);
    if workers <= 1 {
        work(&maker, &board, call.observer);
    } else {
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| work(&maker, &board, call.observer));
            }
        });
    }
    let stopped = board.into_stopped(graph);
    let cancelled = call.cancelled.load(Ordering::Relaxed);
    let mut report = Report::new(graph, maker.into_made(), stopped, &call.selected, cancelled);
    let new = report.record(record);
    if new != *record {
        report.unrecorded = new.save(store).err();
    }
    Ok(report)
}

/// Takes ready stages until none is left.
fn work(maker: &Maker, board: &Board, observer: &dyn Observer) {
    while let Some(stage) = board.next(maker.cancelled) {
        let name = &maker.graph.nodes()[stage].name;
        let result = maker.make(stage);
        match &result {
            Ok(made) => observer.made(name, made),
            Err(StageError::Interrupted) => maker.console.say(name, "interrupted"),
            Err(_) => {
                maker.console.say(name, "failed");
                observer.failed(name);
            }
        }
        board.settle(maker.graph, stage, result.map(|_| ()));
    }
}

/// Which stages are ready, running and settled.
struct Board<'a> {
    state: Mutex<State>,
    changed: Condvar,
    keep_going: bool,
    /// Divided by how many stages are ready or running.
    cores: &'a Cores,
}

struct State {
    /// How many of the stages that this one reads are not made yet.
    waits_for: Vec<usize>,
    /// Taken from the front: with one worker the order is the topological one.
    ready: BTreeSet<usize>,
    running: usize,
    failed: Vec<Option<StageError>>,
}

impl<'a> Board<'a> {
    fn new(graph: &Graph, selected: &[bool], keep_going: bool, cores: &'a Cores) -> Self {
        let waits_for: Vec<usize> = (0..graph.nodes().len()).map(|stage| graph.sources(stage).len()).collect();
        let ready: BTreeSet<usize> =
            (0..waits_for.len()).filter(|&stage| selected[stage] && waits_for[stage] == 0).collect();
        cores.expect(ready.len());
        // What is left out waits for ever.
        let waits_for = waits_for.into_iter().zip(selected).map(|(n, &taken)| if taken { n } else { usize::MAX });
        let failed = std::iter::repeat_with(|| None).take(selected.len()).collect();
        let state = State { waits_for: waits_for.collect(), ready, running: 0, failed };
        Self { state: Mutex::new(state), changed: Condvar::new(), keep_going, cores }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stage to run now; `None` when there will be none any more.
    fn next(&self, cancelled: &AtomicBool) -> Option<usize> {
        let mut state = self.state();
        loop {
            // an interruption is no failure
            let failed = || state.failed.iter().flatten().any(|error| !matches!(error, StageError::Interrupted));
            if cancelled.load(Ordering::Relaxed) || !self.keep_going && failed() {
                return None;
            }
            if let Some(stage) = state.ready.pop_first() {
                state.running += 1;
                return Some(stage);
            }
            if state.running == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn settle(&self, graph: &Graph, stage: usize, result: Result<(), StageError>) {
        let mut state = self.state();
        state.running -= 1;
        match result {
            Ok(()) => {
                for reader in graph.readers(stage) {
                    state.waits_for[reader] = state.waits_for[reader].saturating_sub(1);
                    if state.waits_for[reader] == 0 {
                        state.ready.insert(reader);
                    }
                }
            }
            Err(error) => state.failed[stage] = Some(error),
        }
        self.cores.expect(state.ready.len() + state.running);
        drop(state);
        self.changed.notify_all();
    }

    /// Why each stage that came to no artifact did not.
    fn into_stopped(self, graph: &Graph) -> Vec<StageResult> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut stopped: Vec<StageResult> = Vec::with_capacity(state.failed.len());
        for (stage, failed) in state.failed.into_iter().enumerate() {
            let by = graph.sources(stage).into_iter().find_map(|source| match &stopped[source] {
                StageResult::Failed(_) => Some(graph.nodes()[source].name.clone()),
                StageResult::Blocked { by } => Some(by.clone()),
                _ => None,
            });
            stopped.push(match (failed, by) {
                (Some(StageError::Interrupted), _) => StageResult::Interrupted,
                (Some(error), _) => StageResult::Failed(error),
                (None, Some(by)) => StageResult::Blocked { by },
                (None, None) => StageResult::NotStarted,
            });
        }
        stopped
    }
}
