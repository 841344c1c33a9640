//! Checkpoints between epochs: everything a run needs to go on to the same bits, in one file written atomically.

use std::io::ErrorKind;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{Record, Recorded};
use super::stopping::EarlyStopping;
use super::{StageError, Training};
use crate::fault;
use crate::store::write_atomically;
use crate::tensor::Kernels;

/// The file's name in the stage's scratch folder.
const FILE: &str = "checkpoint.safetensors";

/// What a run knows beside its trainer.
#[derive(Serialize, Deserialize)]
struct State {
    best_batches_tracked: Option<i64>,
    stopping: EarlyStopping,
    epochs: usize,
    curve: Vec<Value>,
}

impl<D: Kernels> Training<'_, D> {
    /// Writes the checkpoint of the epoch that just ended.
    pub(super) fn save(&self) -> Result<(), StageError> {
        let path = self.cx.scratch.join(FILE);
        let bytes = self.record().and_then(Record::into_bytes);
        let bytes = bytes.map_err(|problem| StageError::failed(format!("cannot write the checkpoint: {problem}")))?;
        let written = write_atomically(&path, &bytes).or_else(|error| match error.kind() {
            // where locks do not work, another run that made the same has just removed the folder
            ErrorKind::NotFound => write_atomically(&path, &bytes),
            _ => Err(error),
        });
        written.map_err(|source| StageError::Io { action: "cannot write", path, source })
    }

    fn record(&self) -> Result<Record, String> {
        let mut record = Record::of(&self.trainer)?;
        for (id, values) in self.best.iter().flat_map(|best| best.values.iter().enumerate()) {
            record.add(format!("best/{id}"), values);
        }
        let state = State {
            best_batches_tracked: self.best.as_ref().map(|best| best.batches_tracked),
            stopping: self.stopping.clone(),
            epochs: self.epochs,
            curve: self.curve.clone(),
        };
        record.say("run", &state)?;
        Ok(record)
    }

    /// Takes up the checkpoint of an interrupted run of the same key, if there is a sound one.
    pub(super) fn resume(&mut self) {
        let path = self.cx.scratch.join(FILE);
        let Ok(bytes) = fault::at("checkpoint.read", || std::fs::read(&path)) else { return };
        match self.take_up(&bytes) {
            Ok(()) => self.cx.progress.note(&format!("resuming after epoch {}", self.epochs)),
            Err(problem) => self.cx.progress.warn(&format!(
                "starting anew: the checkpoint of an interrupted run is not usable ({problem}): {}",
                path.display()
            )),
        }
    }

    /// All or nothing: everything is read before anything is changed.
    fn take_up(&mut self, bytes: &[u8]) -> Result<(), String> {
        let recorded = Recorded::read(bytes)?;
        let state: State = recorded.said("run")?;
        let network = &self.trainer.network;
        let best = state.best_batches_tracked.map(|tracked| recorded.snapshot("best", network, tracked));
        let best = best.transpose()?;
        recorded.trainer(&self.trainer)?.put_into(&mut self.trainer)?;
        self.stopping = state.stopping;
        self.epochs = state.epochs;
        self.curve = state.curve;
        self.best = best;
        Ok(())
    }
}
