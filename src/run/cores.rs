//! The processor's cores, divided among the stages that run side by side: each computes on a pool of threads of its own.
//!
//! On one pool for all, every kernel of every training is cut for all cores and waits for threads that are in the midst of
//! another's. A stage also runs *on* its pool, so that its kernels need nobody's attention to start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::stage::StageError;

/// All cores, and who has them.
pub(super) struct Cores {
    /// Stages side by side at most.
    jobs: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// Stages that have their cores.
    holders: usize,
    /// Stages that are ready or under way, those that have their cores included.
    expected: usize,
    /// Pools that nobody uses: their threads keep the memory of the kernels they ran.
    idle: Vec<Arc<ThreadPool>>,
}

impl Cores {
    /// So many cores, for so many stages side by side at most.
    pub(super) fn new(cores: usize, jobs: usize) -> Self {
        let state = State { free: cores, holders: 0, expected: 0, idle: Vec::new() };
        Self { jobs, state: Mutex::new(state) }
    }

    /// Sets how many stages are ready or under way.
    pub(super) fn expect(&self, stages: usize) {
        self.state().expected = stages;
    }

    /// Runs `work` on a fair share of the cores, at least one: those that are free, divided by the stages that may want
    /// them now. The share stays as it is until `work` ends, for no pool can grow; results do not depend on it.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, StageError> {
        let share = self.take()?;
        Ok(share.pool.install(work))
    }

    fn take(&self) -> Result<Share<'_>, StageError> {
        let mut state = self.state();
        let rivals = self.jobs.min(state.expected).saturating_sub(state.holders).max(1);
        let threads = state.free.div_ceil(rivals).max(1);
        let fits = |pool: &Arc<ThreadPool>| pool.current_num_threads() == threads;
        let pool = match state.idle.iter().position(fits) {
            Some(at) => state.idle.swap_remove(at),
            None => {
                let pool = ThreadPoolBuilder::new().num_threads(threads).build();
                Arc::new(pool.map_err(|error| StageError::failed(format!("cannot start threads: {error}")))?)
            }
        };
        let taken = threads.min(state.free);
        state.free -= taken;
        state.holders += 1;
        Ok(Share { cores: self, pool, taken })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cores of one stage, which go back when it is dropped.
struct Share<'a> {
    cores: &'a Cores,
    pool: Arc<ThreadPool>,
    /// Less than the pool's threads where there were not enough.
    taken: usize,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut state = self.cores.state();
        state.free += self.taken;
        state.holders -= 1;
        state.idle.push(self.pool.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The threads that stages get which start one after the other, while so many are ready or under way.
    fn shares(cores: &Cores, expected: &[usize]) -> Vec<usize> {
        let take = |&expected: &usize| {
            cores.expect(expected);
            cores.take().unwrap()
        };
        let shares: Vec<Share> = expected.iter().map(take).collect();
        shares.iter().map(|share| share.pool.current_num_threads()).collect()
    }

    #[test]
    fn cores_are_divided_among_those_who_may_want_them() {
        assert_eq!(shares(&Cores::new(8, 1), &[40]), [8]);
        assert_eq!(shares(&Cores::new(8, 2), &[40, 39]), [4, 4]);
        assert_eq!(shares(&Cores::new(8, 3), &[40, 39, 38]), [3, 3, 2]);
        assert_eq!(shares(&Cores::new(2, 3), &[40, 39, 38]), [1, 1, 1], "more stages than cores");
        assert_eq!(shares(&Cores::new(8, 4), &[1]), [8], "one alone has all");
        assert_eq!(shares(&Cores::new(8, 4), &[2, 2]), [4, 4]);
        assert_eq!(shares(&Cores::new(8, 4), &[1, 2]), [8, 1], "who comes late finds none free");
    }

    #[test]
    fn cores_and_pools_go_back() {
        let cores = Cores::new(4, 2);
        assert_eq!(shares(&cores, &[9, 9]), [2, 2]);
        assert_eq!(shares(&cores, &[9, 9]), [2, 2]);
        assert_eq!(cores.state().idle.len(), 2, "pools are used again");
        assert_eq!(shares(&cores, &[1]), [4]);
        cores.expect(1);
        assert_eq!(cores.run(rayon::current_num_threads).unwrap(), 4, "work runs on its pool");
        let state = cores.state();
        assert_eq!((state.free, state.holders), (4, 0));
    }
}
