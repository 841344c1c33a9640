//! Runs the stages here: whatever is ready, as many side by side as the call allows.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::cores::Cores;
use super::executor::{Call, Executor, ExecutorError, Stopped};
use super::maker::Maker;
use crate::plan::Graph;
use crate::stage::StageError;

/// This machine.
#[derive(Debug, Clone, Copy)]
pub struct Local {
    /// Stages side by side at most; they divide the cores.
    pub jobs: NonZeroUsize,
}

impl Executor for Local {
    fn run(&self, maker: &Maker, call: &Call) -> Result<Vec<Option<Stopped>>, ExecutorError> {
        let workers = self.jobs.get().min(maker.graph.nodes().len());
        let cores = Cores::new(rayon::current_num_threads(), workers);
        let board = Board::new(maker.graph, &call.selected, call.keep_going, &cores);
        if workers <= 1 {
            work(maker, &board);
        } else {
            thread::scope(|scope| {
                for _ in 0..workers {
                    scope.spawn(|| work(maker, &board));
                }
            });
        }
        Ok(board.into_stopped())
    }
}

/// Takes ready stages until none is left.
fn work(maker: &Maker, board: &Board) {
    while let Some(stage) = board.next(maker.cancelled) {
        let result = maker.tell(stage, maker.make(stage, board.cores));
        board.settle(maker.graph, stage, result);
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

    /// Why stages that were begun came to no artifact.
    fn into_stopped(self) -> Vec<Option<Stopped>> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.failed.into_iter().map(|failed| failed.map(Stopped::Failed)).collect()
    }
}
