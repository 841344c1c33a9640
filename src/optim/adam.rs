//! Adam (Kingma & Ba, ICLR 2015) as PyTorch computes it.

use serde::{Deserialize, Serialize};

use crate::registry::Describe;
use crate::tensor::{
    AdamStep, Buffer, Held, Kernels, Kind, MissedSteps, Param, ParamId, Params, StepBounds, TaskGradients, WaitingTable,
};

/// Adam with bias correction and coupled L2 weight decay: the decay is added to the gradient, as `torch.optim.Adam` does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Step size.
    pub lr: f64,
    /// Decay rates of the first and second moments.
    pub betas: (f64, f64),
    /// Added to the root of the corrected second moment.
    pub eps: f64,
    /// L2 penalty added to the gradient.
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 1e-6 }
    }
}

impl Describe for Adam {
    const SUMMARY: &'static str = "Adam with coupled L2 weight decay, as torch.optim.Adam";
    const SOURCE: &'static str = "Kingma & Ba, ICLR 2015";
}

/// Adam at work on one model's parameters.
///
/// An embedding table's gradient is zero but for the rows of the batch, and dense Adam moves the other rows all the same:
/// by momentum, and by weight decay. With weight decay every row of the table takes every step. Without it, rows outside
/// the batch wait, and take the steps that they have missed before they are read again ([`AdamState::catch_up`] for a
/// batch's rows, [`AdamState::settle`] for all): the values are those of dense Adam, and a step costs what its batch costs.
pub struct AdamState<D: Kernels> {
    hyper: Adam,
    /// First and second moment of each parameter, and the steps it has taken; absent before its first gradient.
    slots: Vec<Option<AdamSlot<D>>>,
    /// The numbers of the steps so far, for rows that have missed some.
    steps: Vec<AdamStep>,
}

/// What a step does about weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// An L2 penalty, added to the gradient.
    Coupled,
    /// The value shrinks before the step and apart from it (Loshchilov & Hutter, ICLR 2019).
    Decoupled,
    /// Nothing: another step of the same parameter has done it.
    Without,
}

/// What Adam remembers of one parameter.
pub struct AdamSlot<D: Kernels> {
    /// First moment.
    pub m: Buffer<D>,
    /// Second moment.
    pub v: Buffer<D>,
    /// Steps taken: a parameter without a gradient takes none, as in PyTorch.
    pub steps: u64,
    /// Steps that each row of a table has taken, where rows may wait; 0 for a row that never had a gradient.
    taken: Vec<u32>,
}

impl<D: Kernels> AdamSlot<D> {
    /// What is remembered after so many steps, every row having taken all of them.
    pub fn new(m: Buffer<D>, v: Buffer<D>, steps: u64) -> Self {
        Self { m, v, steps, taken: Vec::new() }
    }
}

impl<D: Kernels> AdamState<D> {
    /// No step taken yet.
    pub fn new(hyper: Adam, params: &Params<D>) -> Self {
        Self { hyper, slots: params.iter().map(|_| None).collect(), steps: Vec::new() }
    }

    /// One step of one parameter with the gradient `Σ w·g`; without any gradient nothing happens, not even decay.
    /// `ids` are the batch's, for tables whose gradients hold its rows only.
    pub fn step(
        &mut self,
        params: &mut Params<D>,
        id: ParamId,
        ids: &D::Ids,
        decay: Decay,
        gradients: &[(f32, &Buffer<D>)],
    ) {
        if gradients.is_empty() {
            return;
        }
        let device = params.device().clone();
        let rows_may_wait = self.hyper.weight_decay == 0.0;
        let step = self.next(params, id, decay);
        let (param, slot) = self.of(params, id);
        match param.kind {
            Kind::Table { width } if rows_may_wait => {
                if slot.taken.is_empty() {
                    slot.taken = vec![step.index - 1; D::len(&param.value) / width];
                }
                let value = &mut param.value;
                let table = WaitingTable { width, value, m: &mut slot.m, v: &mut slot.v, taken: &mut slot.taken };
                device.adam_batch_rows(&step, ids, table, gradients);
            }
            _ => device.adam(&step, Held::of(param.kind, ids), &mut param.value, (&mut slot.m, &mut slot.v), gradients),
        }
    }

    /// The same with gradients that hold every coordinate, of tables too.
    pub fn step_whole(&mut self, params: &mut Params<D>, id: ParamId, gradients: &[(f32, &Buffer<D>)]) {
        let device = params.device().clone();
        let step = self.next(params, id, Decay::Coupled);
        let (param, slot) = self.of(params, id);
        device.adam(&step, Held::All, &mut param.value, (&mut slot.m, &mut slot.v), gradients);
    }

    /// One step shortened until no coordinate moves further than the bounds allow, with decoupled weight decay. Of a table
    /// every row moves, and the batch's rows alone bound the step.
    pub fn step_clipped(
        &mut self,
        params: &mut Params<D>,
        id: ParamId,
        ids: &D::Ids,
        bounds: StepBounds,
        gradients: &[(f32, &Buffer<D>)],
    ) {
        if gradients.is_empty() {
            return;
        }
        let device = params.device().clone();
        let step = self.next(params, id, Decay::Decoupled);
        let (param, slot) = self.of(params, id);
        let moments = (&mut slot.m, &mut slot.v);
        device.clipped_adam(&step, bounds, Held::of(param.kind, ids), &mut param.value, moments, gradients);
    }

    /// One step by the weighted sum of the updates of each task's gradient alone, with decoupled weight decay. Every row of
    /// a table moves.
    pub fn step_by_task(
        &mut self,
        params: &mut Params<D>,
        id: ParamId,
        ids: &D::Ids,
        gradients: &TaskGradients<D>,
        weights: &[f32],
    ) {
        let device = params.device().clone();
        let step = self.next(params, id, Decay::Decoupled);
        let (param, slot) = self.of(params, id);
        let moments = (&mut slot.m, &mut slot.v);
        device.adam_by_task(&step, Held::of(param.kind, ids), &mut param.value, moments, gradients, weights);
    }

    /// Adds the inner products of those updates, at a learning rate of 1, before they are taken.
    pub fn add_update_gram(
        &mut self,
        params: &Params<D>,
        id: ParamId,
        ids: &D::Ids,
        gradients: &TaskGradients<D>,
        gram: &mut [f64],
    ) {
        let hyper = Adam { lr: 1.0, ..self.hyper };
        let slot = self.slot_of(params, id);
        let step = hyper.at(slot.steps + 1, Decay::Without);
        let held = Held::of(params[id].kind, ids);
        params.device().add_update_gram(&step, held, (&slot.m, &slot.v), gradients, gram);
    }

    /// Counts a step of a parameter and gives its numbers.
    fn next(&mut self, params: &Params<D>, id: ParamId, decay: Decay) -> AdamStep {
        let hyper = self.hyper;
        let slot = self.slot_of(params, id);
        slot.steps += 1;
        hyper.at(slot.steps, decay)
    }

    fn slot_of(&mut self, params: &Params<D>, id: ParamId) -> &mut AdamSlot<D> {
        let (device, len) = (params.device(), D::len(&params[id].value));
        self.slots[id.0].get_or_insert_with(|| AdamSlot::new(device.zeros(len), device.zeros(len), 0))
    }

    /// A parameter and what is remembered of it, once it has taken a step.
    fn of<'a>(&'a mut self, params: &'a mut Params<D>, id: ParamId) -> (&'a mut Param<D>, &'a mut AdamSlot<D>) {
        (&mut params[id], self.slots[id.0].as_mut().expect("a step has been counted"))
    }

    /// Brings the batch's rows of every table up to date; to be called before they are read.
    pub fn catch_up(&mut self, params: &mut Params<D>, ids: &D::Ids) {
        self.take_missed(params, Some(ids));
    }

    /// Brings every row of every table up to date; to be called before the parameters are used otherwise.
    pub fn settle(&mut self, params: &mut Params<D>) {
        self.take_missed(params, None);
    }

    fn take_missed(&mut self, params: &mut Params<D>, ids: Option<&D::Ids>) {
        let device = params.device().clone();
        for (id, slot) in self.slots.iter_mut().enumerate() {
            let Some(slot) = slot.as_mut().filter(|slot| !slot.taken.is_empty()) else { continue };
            let param = &mut params[ParamId(id)];
            let Kind::Table { width } = param.kind else { continue };
            let now = slot.steps as usize;
            let hyper = self.hyper;
            self.steps.extend((self.steps.len()..now).map(|t| hyper.at(t as u64 + 1, Decay::Without)));
            let missed = MissedSteps { steps: &self.steps[..now], window: self.hyper.window() };
            let value = &mut param.value;
            let table = WaitingTable { width, value, m: &mut slot.m, v: &mut slot.v, taken: &mut slot.taken };
            device.adam_catch_up(&missed, ids, table);
        }
    }

    /// What is remembered of a parameter; of a table only once it is settled.
    pub fn slot(&self, id: ParamId) -> Option<&AdamSlot<D>> {
        self.slots[id.0].as_ref()
    }

    /// Restores what was remembered of a parameter.
    pub fn restore(&mut self, id: ParamId, slot: AdamSlot<D>) {
        self.slots[id.0] = Some(slot);
    }
}

impl Adam {
    /// The numbers of the `t`-th step (from 1), corrections computed in f64.
    fn at(&self, t: u64, decay: Decay) -> AdamStep {
        let index = u32::try_from(t).unwrap_or(u32::MAX);
        let t = i32::try_from(t).unwrap_or(i32::MAX);
        let (beta1, beta2) = self.betas;
        AdamStep {
            index,
            step_size: (self.lr / (1.0 - beta1.powi(t))) as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            root_correction2: (1.0 - beta2.powi(t)).sqrt() as f32,
            eps: self.eps as f32,
            weight_decay: if decay == Decay::Coupled { self.weight_decay as f32 } else { 0.0 },
            keep: if decay == Decay::Decoupled { (1.0 - self.lr * self.weight_decay) as f32 } else { 1.0 },
        }
    }

    /// Steps without a gradient after which what a row has still to move is less than 1e-9 of a step size: its update
    /// shrinks by β₁/√β₂ a step, from at most (1 − β₁)/√(1 − β₂) step sizes.
    fn window(&self) -> usize {
        const NEGLIGIBLE: f64 = 1e-9;
        let (beta1, beta2) = self.betas;
        let ratio = beta1 / beta2.sqrt();
        if !(0.0..1.0).contains(&ratio) {
            return usize::MAX;
        }
        let first = ((1.0 - beta1) / (1.0 - beta2).sqrt()).max(1.0);
        let steps = (NEGLIGIBLE * (1.0 - ratio) / first).ln() / ratio.ln();
        steps.ceil() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Cpu, FieldIds, FieldLayout};

    /// A table of rows of width 2, stepped on batches of ids: by rows that wait, and by a parameter that is dense.
    fn both_ways(hyper: Adam, rows: usize, batches: &[Vec<u32>]) -> [Vec<f32>; 2] {
        let device = Cpu::default();
        let layout = FieldLayout::new([rows], 2);
        let values: Vec<f32> = (0..rows * 2).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut params = Params::new(&device);
        let table = params.add("table".into(), Kind::Table { width: 2 }, &values);
        let dense = params.add("dense".into(), Kind::Weight, &values);
        let mut adam = AdamState::new(hyper, &params);
        let mut ids = FieldIds::default();
        for (t, batch) in batches.iter().enumerate() {
            ids.index(&layout, batch, batch.len());
            adam.catch_up(&mut params, &ids);
            for &row in &ids.rows {
                let at = row as usize * 2..row as usize * 2 + 2;
                let (seen, should) = (&params[table].value.as_vec()[at.clone()], &params[dense].value.as_vec()[at]);
                assert!(seen.iter().zip(should).all(|(a, b)| (a - b).abs() < 1e-6), "step {t}: {seen:?} {should:?}");
            }
            let compact: Vec<f32> = (0..ids.len() * 2).map(|i| ((t * 31 + i) as f32 * 1.3).cos()).collect();
            let mut full = vec![0.0; rows * 2];
            for (compact, &row) in compact.chunks(2).zip(&ids.rows) {
                full[row as usize * 2..row as usize * 2 + 2].copy_from_slice(compact);
            }
            let (compact, full) = (device.upload(&compact), device.upload(&full));
            adam.step(&mut params, table, &ids, Decay::Coupled, &[(1.0, &compact)]);
            adam.step(&mut params, dense, &ids, Decay::Coupled, &[(1.0, &full)]);
        }
        adam.settle(&mut params);
        [table, dense].map(|id| params[id].value.as_vec())
    }

    fn ids_of(steps: u32) -> Vec<Vec<u32>> {
        let busy = (0..steps).map(|t| vec![t % 5, 5 + (t * t) % 7]);
        // one row early, again far beyond the window, and one never
        busy.enumerate()
            .map(|(t, mut ids)| {
                ids.push(if t < 3 || t == 700 { 13 } else { ids[0] });
                ids
            })
            .collect()
    }

    #[test]
    fn rows_that_wait_end_where_dense_adam_takes_them() {
        let hyper = Adam { lr: 0.01, weight_decay: 0.0, ..Adam::default() };
        let [table, dense] = both_ways(hyper, 20, &ids_of(900));
        for (i, (a, b)) in table.iter().zip(&dense).enumerate() {
            assert!((a - b).abs() < 2e-6, "{i}: {a} {b}");
        }
        assert_eq!(table[19 * 2..], dense[19 * 2..], "a row that never had a gradient stays");
        assert_ne!(table[13 * 2], (26.0f32 * 0.7).sin());
    }

    #[test]
    fn with_weight_decay_every_row_moves_every_step_to_the_bit() {
        let hyper = Adam { lr: 0.01, weight_decay: 0.1, ..Adam::default() };
        let [table, dense] = both_ways(hyper, 20, &ids_of(200));
        assert_eq!(table, dense);
        assert_ne!(table[19 * 2], (38.0f32 * 0.7).sin());
    }

    #[test]
    fn the_window_covers_what_moves() {
        let hyper = Adam::default();
        let window = hyper.window();
        assert!((150..400).contains(&window), "{window}");
        assert_eq!(Adam { betas: (0.0, 0.999), ..hyper }.window(), 0);
        assert_eq!(Adam { betas: (0.9999, 0.9), ..hyper }.window(), usize::MAX);
    }
}
