//! Adam (Kingma & Ba, ICLR 2015) as PyTorch computes it.

use dfdx::shapes::HasShape;
use serde::{Deserialize, Serialize};

use crate::registry::Describe;
use crate::tensor::{AdamStep, Buffer, Kernels, Kind, ParamId, Params};

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
pub struct AdamState<D: Kernels> {
    hyper: Adam,
    /// First and second moment of each parameter, and the steps it has taken; absent before its first gradient.
    slots: Vec<Option<AdamSlot<D>>>,
}

/// What Adam remembers of one parameter.
pub struct AdamSlot<D: Kernels> {
    /// First moment.
    pub m: Buffer<D>,
    /// Second moment.
    pub v: Buffer<D>,
    /// Steps taken: a parameter without a gradient takes none, as in PyTorch.
    pub steps: u64,
}

impl<D: Kernels> AdamState<D> {
    /// No step taken yet.
    pub fn new(hyper: Adam, params: &Params<D>) -> Self {
        Self { hyper, slots: params.iter().map(|_| None).collect() }
    }

    /// One step of one parameter with the gradient `Σ w·g`; without any gradient nothing happens, not even decay.
    /// `ids` are the batch's, for tables whose gradients hold its rows only.
    pub fn step(&mut self, params: &mut Params<D>, id: ParamId, ids: &D::Ids, gradients: &[(f32, &Buffer<D>)]) {
        if gradients.is_empty() {
            return;
        }
        let device = params.device().clone();
        let param = &mut params[id];
        let len = param.value.shape().0;
        let slot =
            self.slots[id.0].get_or_insert_with(|| AdamSlot { m: device.zeros(len), v: device.zeros(len), steps: 0 });
        slot.steps += 1;
        let step = self.hyper.at(slot.steps);
        let moments = (&mut slot.m, &mut slot.v);
        match param.kind {
            Kind::Weight => device.adam(&step, &mut param.value, moments, gradients),
            Kind::Table { width } => device.adam_rows(&step, width, ids, &mut param.value, moments, gradients),
            Kind::Statistic => {}
        }
    }

    /// What is remembered of a parameter.
    pub fn slot(&self, id: ParamId) -> Option<&AdamSlot<D>> {
        self.slots[id.0].as_ref()
    }

    /// Restores what was remembered of a parameter.
    pub fn restore(&mut self, id: ParamId, slot: Option<AdamSlot<D>>) {
        self.slots[id.0] = slot;
    }
}

impl Adam {
    /// The numbers of the `t`-th step (from 1), corrections computed in f64.
    fn at(&self, t: u64) -> AdamStep {
        let t = i32::try_from(t).unwrap_or(i32::MAX);
        let (beta1, beta2) = self.betas;
        AdamStep {
            step_size: (self.lr / (1.0 - beta1.powi(t))) as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            root_correction2: (1.0 - beta2.powi(t)).sqrt() as f32,
            eps: self.eps as f32,
            weight_decay: self.weight_decay as f32,
        }
    }
}
