//! A run and its remote: artifacts come from there before a stage would run, and go there after one ran, while the next
//! ones run.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{Call, Console};
use crate::readable;
use crate::remote::{Pushed, Remote, RemoteError, Watch};
use crate::stage::{Progress, StageError};
use crate::store::{Artifact, KeyLock, Store};

/// A remote, and what it means to a run when it fails.
#[derive(Clone, Copy)]
pub struct Share<'a> {
    /// The remote.
    pub remote: &'a Remote,
    /// Whether a run fails without it; otherwise that is told once, and the run goes on alone.
    pub required: bool,
}

/// What a run shares.
pub(super) struct Sharing<'a> {
    share: Option<Share<'a>>,
    console: &'a Console,
    cancelled: &'a AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Artifacts to put, and their stages.
    queue: VecDeque<(usize, String, Artifact)>,
    /// Whether no more will come.
    ended: bool,
    artifacts: usize,
    bytes: u64,
    /// Stages whose artifacts could not be put, where they must be.
    failed: Vec<(usize, StageError)>,
}

impl<'a> Sharing<'a> {
    pub(super) fn new(call: &Call<'a>, console: &'a Console) -> Self {
        let Call { remote: share, cancelled, .. } = *call;
        Self { share, console, cancelled, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Does some work while what it makes is put to the remote, and waits until all of that is there.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.share.is_none() {
            return work();
        }
        let done = thread::scope(|scope| {
            scope.spawn(|| self.push_all());
            // told even if the work panics, as the scope waits
            let _end = Ending(self);
            work()
        });
        let state = self.state();
        if let (1.., Some(share)) = (state.artifacts, self.share) {
            let (count, bytes) = (state.artifacts, readable::bytes(state.bytes));
            let noun = if count == 1 { "artifact" } else { "artifacts" };
            self.console.line(&format!("{count} {noun} put to {}, {bytes}", share.remote.name()));
        }
        done
    }

    /// Whether there is anything to get artifacts from.
    pub(super) fn is_on(&self) -> bool {
        self.share.is_some()
    }

    /// The artifact whose lock is held, from the remote, if that has it.
    ///
    /// # Errors
    /// When the store cannot take it; when the remote fails, and must not.
    pub(super) fn pull(&self, stage: &str, store: &Store, lock: &KeyLock) -> Result<Option<Artifact>, StageError> {
        let Some(share) = self.share else { return Ok(None) };
        let progress = self.console.stage(stage);
        match share.remote.pull(store, lock, &Transfer::of_bytes(&progress, self.cancelled)) {
            Ok(found) => Ok(found),
            Err(damaged @ RemoteError::Damaged { .. }) => {
                self.console.warn(stage, &format!("{damaged}; it is made again, and replaced there"));
                Ok(None)
            }
            Err(failed @ RemoteError::Failed { .. }) => self.bear(stage, failed).map(|()| None),
            Err(other) => Err(other.into()),
        }
    }

    /// Puts what a stage made to the remote, soon.
    pub(super) fn push(&self, stage: usize, name: &str, artifact: &Artifact) {
        if self.share.is_some() {
            self.state().queue.push_back((stage, name.to_owned(), artifact.clone()));
            self.changed.notify_all();
        }
    }

    /// The stages whose artifacts could not be put, where they must be, and why not.
    pub(super) fn into_failures(self) -> Vec<(usize, StageError)> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).failed
    }

    fn push_all(&self) {
        while let Some((stage, name, artifact)) = self.next() {
            // what is made stays here, and a later call puts it there
            if self.cancelled.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(error) = self.push_one(&name, &artifact) {
                self.state().failed.push((stage, error));
            }
        }
    }

    fn next(&self) -> Option<(usize, String, Artifact)> {
        let mut state = self.state();
        loop {
            if let Some(next) = state.queue.pop_front() {
                return Some(next);
            }
            if state.ended {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn push_one(&self, stage: &str, artifact: &Artifact) -> Result<(), StageError> {
        let Some(share) = self.share else { return Ok(()) };
        let progress = self.console.stage(stage);
        match share.remote.push(artifact, &Transfer::of_bytes(&progress, self.cancelled)) {
            Ok(Pushed::New { bytes }) => {
                let mut state = self.state();
                state.artifacts += 1;
                state.bytes += bytes;
                Ok(())
            }
            Ok(Pushed::Present) | Err(RemoteError::Interrupted) => Ok(()),
            Err(error) => self.bear(stage, error),
        }
    }

    /// A failure that the run must end with, or else says once.
    fn bear(&self, stage: &str, error: RemoteError) -> Result<(), StageError> {
        if self.share.is_some_and(|share| share.required) {
            return Err(error.into());
        }
        if !matches!(error, RemoteError::Failed { first: false, .. }) {
            let hint = error.hint().map_or_else(String::new, |hint| format!(" ({hint})"));
            self.console.warn(stage, &format!("{error}; the run goes on without it{hint}"));
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says at its end that no more will come.
struct Ending<'b, 'a>(&'b Sharing<'a>);

impl Drop for Ending<'_, '_> {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.changed.notify_all();
    }
}

/// A transfer on a bar of its own.
pub struct Transfer<'a> {
    /// The bar.
    progress: &'a dyn Progress,
    /// Set when the user wants to stop.
    cancelled: &'a AtomicBool,
    /// What the bar counts.
    unit: &'static str,
    /// How many of what is told make one of them.
    of: u64,
}

impl<'a> Transfer<'a> {
    /// A transfer of files.
    pub fn of_bytes(progress: &'a dyn Progress, cancelled: &'a AtomicBool) -> Self {
        Self { progress, cancelled, unit: "kB", of: 1000 }
    }

    /// A change to many objects, of which nothing is transferred.
    pub fn of_objects(progress: &'a dyn Progress, cancelled: &'a AtomicBool) -> Self {
        Self { progress, cancelled, unit: "objects", of: 1 }
    }
}

impl Watch for Transfer<'_> {
    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn begin(&self, total: u64) {
        self.progress.begin(total / self.of, self.unit);
    }

    fn at(&self, done: u64) {
        self.progress.at(done / self.of, "");
    }
}

impl From<RemoteError> for StageError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Interrupted => Self::Interrupted,
            RemoteError::Store(error) => Self::Store(error),
            other => {
                let failed = Self::failed(other.to_string());
                match other.hint() {
                    Some(hint) => failed.hint(hint),
                    None => failed,
                }
            }
        }
    }
}
