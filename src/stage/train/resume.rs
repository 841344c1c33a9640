//! Checkpoints between epochs: everything a run needs to go on to the same bits, in one file written atomically.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::stopping::EarlyStopping;
use super::{StageError, Training};
use crate::balance::Memory;
use crate::model::Network;
use crate::optim::{AdamSlot, AdamState};
use crate::store::write_atomically;
use crate::tensor::{Gradients, Kernels, ParamId};

/// The file's name in the stage's scratch folder.
const FILE: &str = "checkpoint.safetensors";

/// A network's numbers, off the device.
pub(super) struct Snapshot {
    values: Vec<Vec<f32>>,
    batches_tracked: i64,
}

impl Snapshot {
    pub(super) fn take<D: Kernels>(network: &Network<D>) -> Self {
        let device = network.params.device();
        let values = network.params.iter().map(|(_, param)| device.download(&param.value)).collect();
        Self { values, batches_tracked: network.batches_tracked }
    }

    pub(super) fn restore<D: Kernels>(&self, network: &mut Network<D>) {
        let device = network.params.device().clone();
        for (id, values) in self.values.iter().enumerate() {
            device.write(&mut network.params[ParamId(id)].value, values);
        }
        network.batches_tracked = self.batches_tracked;
    }
}

/// What the checkpoint holds beside tensors.
#[derive(Serialize, Deserialize)]
struct State {
    steps: u64,
    batches_tracked: i64,
    best_batches_tracked: Option<i64>,
    /// Each optimizer's steps of each parameter; `None` before its first gradient.
    adam_steps: Vec<Vec<Option<u64>>>,
    /// Which parameters of each task something is remembered of.
    history: Vec<Vec<usize>>,
    balancer: Value,
    stopping: EarlyStopping,
    epochs: usize,
    curve: Vec<Value>,
}

impl<D: Kernels> Training<'_, D> {
    /// Writes the checkpoint of the epoch that just ended.
    pub(super) fn save(&self) -> Result<(), StageError> {
        let network = &self.trainer.network;
        let device = network.params.device();
        let ids = || (0..network.params.len()).map(ParamId);
        // bytes at once: the moments of a large model are not to be held twice
        let mut tensors: Vec<(String, Vec<u8>)> = Vec::new();
        let bytes_of = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|x| x.to_le_bytes()).collect() };
        for (ParamId(id), param) in network.params.iter() {
            tensors.push((format!("value/{id}"), bytes_of(&device.download(&param.value))));
        }
        for (k, adam) in self.trainer.optimizers.iter().enumerate() {
            for (id, slot) in ids().filter_map(|id| Some((id.0, adam.slot(id)?))) {
                tensors.push((format!("m/{k}/{id}"), bytes_of(&device.download(&slot.m))));
                tensors.push((format!("v/{k}/{id}"), bytes_of(&device.download(&slot.v))));
            }
        }
        for (k, set) in self.trainer.sets.history.iter().enumerate() {
            for (id, values) in ids().filter_map(|id| Some((id.0, set.get(id)?))) {
                tensors.push((format!("history/{k}/{id}"), bytes_of(&device.download(values))));
            }
        }
        for (id, values) in self.best.iter().flat_map(|best| best.values.iter().enumerate()) {
            tensors.push((format!("best/{id}"), bytes_of(values)));
        }
        let state = State {
            steps: self.trainer.steps,
            batches_tracked: network.batches_tracked,
            best_batches_tracked: self.best.as_ref().map(|best| best.batches_tracked),
            adam_steps: {
                let steps = |adam: &AdamState<D>| ids().map(|id| adam.slot(id).map(|slot| slot.steps)).collect();
                self.trainer.optimizers.iter().map(steps).collect()
            },
            history: {
                let present = |set: &Gradients<D>| ids().filter(|id| set.get(*id).is_some()).map(|id| id.0).collect();
                self.trainer.sets.history.iter().map(present).collect()
            },
            balancer: self.trainer.method.save(),
            stopping: self.stopping.clone(),
            epochs: self.epochs,
            curve: self.curve.clone(),
        };
        let path = self.cx.scratch.join(FILE);
        let failed = |e: &dyn std::fmt::Display| StageError::failed(format!("cannot write the checkpoint: {e}"));
        let state = serde_json::to_string(&state).map_err(|e| failed(&e))?;
        let views = tensors
            .iter()
            .map(|(name, bytes)| Ok((name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|e| failed(&e))?;
        let about = HashMap::from([("state".to_owned(), state)]);
        let bytes = safetensors::serialize(views, Some(about)).map_err(|e| failed(&e))?;
        write_atomically(&path, &bytes).map_err(|source| StageError::Io { action: "cannot write", path, source })
    }

    /// Takes up the checkpoint of an interrupted run of the same key, if there is a sound one.
    pub(super) fn resume(&mut self) {
        let path = self.cx.scratch.join(FILE);
        let Ok(bytes) = std::fs::read(&path) else { return };
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
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let state = header.metadata().as_ref().and_then(|about| about.get("state")).ok_or("no state in it")?;
        let state: State = serde_json::from_str(state).map_err(|e| e.to_string())?;
        let params = &self.trainer.network.params;
        let lens: Vec<usize> = params.iter().map(|(_, param)| dfdx::shapes::HasShape::shape(&param.value).0).collect();
        let read = |name: String, len: usize| -> Result<Vec<f32>, String> {
            let view = tensors.tensor(&name).map_err(|e| e.to_string())?;
            let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            if values.len() == len {
                Ok(values)
            } else {
                Err(format!("`{name}` has {} values, not {len}", values.len()))
            }
        };
        let all = |kind: &str| -> Result<Vec<Vec<f32>>, String> {
            lens.iter().enumerate().map(|(id, len)| read(format!("{kind}/{id}"), *len)).collect()
        };
        let now = Snapshot { values: all("value")?, batches_tracked: state.batches_tracked };
        let best = match state.best_batches_tracked {
            Some(batches_tracked) => Some(Snapshot { values: all("best")?, batches_tracked }),
            None => None,
        };
        let fits = |of_params: &Vec<Option<u64>>| of_params.len() == lens.len();
        if state.adam_steps.len() != self.trainer.optimizers.len() || !state.adam_steps.iter().all(fits) {
            return Err("another number of parameters or optimizers".to_owned());
        }
        if state.history.len() != self.trainer.sets.history.len() {
            return Err("another number of tasks".to_owned());
        }
        let device = params.device().clone();
        let mut slots = Vec::new();
        for (k, steps) in state.adam_steps.iter().enumerate() {
            for (id, steps) in steps.iter().enumerate().filter_map(|(id, steps)| Some((id, (*steps)?))) {
                let (m, v) = (read(format!("m/{k}/{id}"), lens[id])?, read(format!("v/{k}/{id}"), lens[id])?);
                slots.push((k, ParamId(id), AdamSlot::new(device.upload(&m), device.upload(&v), steps)));
            }
        }
        let mut remembered = Vec::new();
        for (k, ids) in state.history.iter().enumerate() {
            for &id in ids {
                let len = *lens.get(id).ok_or("a parameter that is not there")?;
                let values = read(format!("history/{k}/{id}"), len)?;
                remembered.push((k, ParamId(id), device.upload(&values)));
            }
        }
        self.trainer.method.restore(&state.balancer).map_err(|e| e.to_string())?;
        now.restore(&mut self.trainer.network);
        for (k, id, slot) in slots {
            self.trainer.optimizers[k].restore(id, slot);
        }
        for (k, id, values) in remembered {
            self.trainer.sets.history[k].replace(id, values);
        }
        self.trainer.steps = state.steps;
        self.stopping = state.stopping;
        self.epochs = state.epochs;
        self.curve = state.curve;
        self.best = best;
        Ok(())
    }
}
