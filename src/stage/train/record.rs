//! Everything that training goes on from, as one safetensors file: tensors by name, and JSON beside them.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Trainer;
use crate::balance::Memory;
use crate::model::Network;
use crate::optim::{AdamSlot, AdamState};
use crate::tensor::{Buffer, Gradients, Kernels, ParamId};

/// A network's numbers, off the device.
pub(super) struct Snapshot {
    pub values: Vec<Vec<f32>>,
    pub batches_tracked: i64,
}

impl Snapshot {
    pub fn take<D: Kernels>(network: &Network<D>) -> Self {
        let device = network.params.device();
        let values = network.params.iter().map(|(_, param)| device.download(&param.value)).collect();
        Self { values, batches_tracked: network.batches_tracked }
    }

    pub fn restore<D: Kernels>(&self, network: &mut Network<D>) {
        let device = network.params.device().clone();
        for (id, values) in self.values.iter().enumerate() {
            device.write(&mut network.params[ParamId(id)].value, values);
        }
        network.batches_tracked = self.batches_tracked;
    }
}

/// What a trainer's record holds beside tensors.
#[derive(Serialize, Deserialize)]
struct TrainerState {
    steps: u64,
    batches_tracked: i64,
    /// Each optimizer's steps of each parameter; `None` before its first gradient.
    adam_steps: Vec<Vec<Option<u64>>>,
    /// Which parameters of each task something is remembered of.
    history: Vec<Vec<usize>>,
    balancer: Value,
}

/// A record being written. Tensors are kept as bytes at once: the moments of a large model are not to be held twice.
pub(super) struct Record {
    tensors: Vec<(String, Vec<u8>)>,
    about: HashMap<String, String>,
}

impl Record {
    /// All that a settled trainer goes on from.
    pub fn of<D: Kernels>(trainer: &Trainer<D>) -> Result<Self, String> {
        let mut record = Self { tensors: Vec::new(), about: HashMap::new() };
        let network = &trainer.network;
        let device = network.params.device();
        let ids = || (0..network.params.len()).map(ParamId);
        for (ParamId(id), param) in network.params.iter() {
            record.add(format!("value/{id}"), &device.download(&param.value));
        }
        for (k, adam) in trainer.optimizers.iter().enumerate() {
            for (id, slot) in ids().filter_map(|id| Some((id.0, adam.slot(id)?))) {
                record.add(format!("m/{k}/{id}"), &device.download(&slot.m));
                record.add(format!("v/{k}/{id}"), &device.download(&slot.v));
            }
        }
        for (k, set) in trainer.sets.history.iter().enumerate() {
            for (id, values) in ids().filter_map(|id| Some((id.0, set.get(id)?))) {
                record.add(format!("history/{k}/{id}"), &device.download(values));
            }
        }
        let steps = |adam: &AdamState<D>| ids().map(|id| adam.slot(id).map(|slot| slot.steps)).collect();
        let present = |set: &Gradients<D>| ids().filter(|id| set.get(*id).is_some()).map(|id| id.0).collect();
        record.say(
            "trainer",
            &TrainerState {
                steps: trainer.steps,
                batches_tracked: network.batches_tracked,
                adam_steps: trainer.optimizers.iter().map(steps).collect(),
                history: trainer.sets.history.iter().map(present).collect(),
                balancer: trainer.method.save(),
            },
        )?;
        Ok(record)
    }

    /// Adds a tensor.
    pub fn add(&mut self, name: String, values: &[f32]) {
        self.tensors.push((name, values.iter().flat_map(|x| x.to_le_bytes()).collect()));
    }

    /// Adds something said in JSON.
    pub fn say(&mut self, name: &str, what: &impl Serialize) -> Result<(), String> {
        self.about.insert(name.to_owned(), serde_json::to_string(what).map_err(|e| e.to_string())?);
        Ok(())
    }

    /// The file.
    pub fn into_bytes(self) -> Result<Vec<u8>, String> {
        let views = self
            .tensors
            .iter()
            .map(|(name, bytes)| Ok((name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|e| e.to_string())?;
        safetensors::serialize(views, Some(self.about)).map_err(|e| e.to_string())
    }
}

/// A record being read.
pub(super) struct Recorded<'a> {
    tensors: SafeTensors<'a>,
    about: HashMap<String, String>,
}

impl<'a> Recorded<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        Ok(Self { tensors, about: header.metadata().clone().unwrap_or_default() })
    }

    /// What was said in JSON.
    pub fn said<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        let text = self.about.get(name).ok_or_else(|| format!("no `{name}` in it"))?;
        serde_json::from_str(text).map_err(|e| e.to_string())
    }

    /// A tensor of this many values.
    fn floats(&self, name: &str, len: usize) -> Result<Vec<f32>, String> {
        let view = self.tensors.tensor(name).map_err(|e| e.to_string())?;
        let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        if values.len() == len { Ok(values) } else { Err(format!("`{name}` has {} values, not {len}", values.len())) }
    }

    /// One tensor for each parameter of a network.
    pub fn snapshot<D: Kernels>(
        &self,
        kind: &str,
        network: &Network<D>,
        batches_tracked: i64,
    ) -> Result<Snapshot, String> {
        let values =
            lengths(network).into_iter().enumerate().map(|(id, len)| self.floats(&format!("{kind}/{id}"), len));
        Ok(Snapshot { values: values.collect::<Result<_, _>>()?, batches_tracked })
    }

    /// Everything [`Record::of`] wrote, read and checked against a trainer of the same model and balancer; nothing of it is
    /// changed yet.
    pub fn trainer<D: Kernels>(&self, trainer: &Trainer<D>) -> Result<TakenUp<D>, String> {
        let state: TrainerState = self.said("trainer")?;
        let lens = lengths(&trainer.network);
        let fits = |of_params: &Vec<Option<u64>>| of_params.len() == lens.len();
        if state.adam_steps.len() != trainer.optimizers.len() || !state.adam_steps.iter().all(fits) {
            return Err("another number of parameters or optimizers".to_owned());
        }
        if state.history.len() != trainer.sets.history.len() {
            return Err("another number of tasks".to_owned());
        }
        let device = trainer.network.params.device();
        let upload = |name: String, id: usize| -> Result<Buffer<D>, String> {
            let len = *lens.get(id).ok_or("a parameter that is not there")?;
            Ok(device.upload(&self.floats(&name, len)?))
        };
        let mut slots = Vec::new();
        for (k, steps) in state.adam_steps.iter().enumerate() {
            for (id, steps) in steps.iter().enumerate().filter_map(|(id, steps)| Some((id, (*steps)?))) {
                let (m, v) = (upload(format!("m/{k}/{id}"), id)?, upload(format!("v/{k}/{id}"), id)?);
                slots.push((k, ParamId(id), AdamSlot::new(m, v, steps)));
            }
        }
        let mut history = Vec::new();
        for (k, ids) in state.history.iter().enumerate() {
            for &id in ids {
                history.push((k, ParamId(id), upload(format!("history/{k}/{id}"), id)?));
            }
        }
        let values = self.snapshot("value", &trainer.network, state.batches_tracked)?;
        Ok(TakenUp { values, slots, history, steps: state.steps, balancer: state.balancer })
    }
}

/// A trainer's state off a record.
pub(super) struct TakenUp<D: Kernels> {
    values: Snapshot,
    slots: Vec<(usize, ParamId, AdamSlot<D>)>,
    history: Vec<(usize, ParamId, Buffer<D>)>,
    steps: u64,
    balancer: Value,
}

impl<D: Kernels> TakenUp<D> {
    /// Goes on from here.
    ///
    /// # Errors
    /// When what the balancer remembered is not this balancer's; nothing is changed then.
    pub fn put_into(self, trainer: &mut Trainer<D>) -> Result<(), String> {
        trainer.method.restore(&self.balancer).map_err(|e| e.to_string())?;
        self.values.restore(&mut trainer.network);
        for (k, id, slot) in self.slots {
            trainer.optimizers[k].restore(id, slot);
        }
        for (k, id, values) in self.history {
            trainer.sets.history[k].replace(id, values);
        }
        trainer.steps = self.steps;
        Ok(())
    }
}

fn lengths<D: Kernels>(network: &Network<D>) -> Vec<usize> {
    network.params.iter().map(|(_, param)| D::len(&param.value)).collect()
}

impl<D: Kernels> Trainer<D> {
    /// Everything that training goes on from, to the bit: parameters, the optimizer's and the balancer's memory.
    ///
    /// # Errors
    /// When it cannot be written as safetensors.
    pub fn save(&mut self) -> Result<Vec<u8>, String> {
        self.settle();
        Record::of(self)?.into_bytes()
    }

    /// Goes on from what [`Trainer::save`] of a trainer of the same model and balancer gave.
    ///
    /// # Errors
    /// When the bytes are something else; nothing is changed then.
    pub fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        Recorded::read(saved)?.trainer(self)?.put_into(self)
    }
}
