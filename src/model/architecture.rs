//! What an architecture and a built model offer.

use std::ops::RangeInclusive;

use super::Widths;
use crate::data::Schema;
use crate::nn::{Batch, Builder};
use crate::tensor::{Kernels, ParamId, Tape, Var};

/// Hyper-parameters of an architecture that can be built at any widths on any device.
pub trait Architecture {
    /// How many tasks it takes.
    const TASKS: RangeInclusive<usize> = 1..=usize::MAX;

    /// MTOReclib's modules that list parts of the model a second time: the name there, the part's own name. A
    /// `state_dict` holds the tensors under both.
    const ALIASES: &'static [(&'static str, &'static str)] = &[];

    /// Why these hyper-parameters do not fit each other, in words a pipeline's author understands.
    ///
    /// # Errors
    /// When they do not.
    fn fits(&self) -> Result<(), String> {
        Ok(())
    }

    /// Makes the layers.
    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, builder: &mut Builder<D>) -> Box<dyn Model<D>>;
}

/// A built model: forward only.
pub trait Model<D: Kernels> {
    /// The logits of each task for each row: K vectors of length B, the k-th of P(label k = 1).
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>>;

    /// What adapts within a step, if the model is trained to be good after adapting (meta learning).
    fn adaptation(&self) -> Option<Adaptation> {
        None
    }
}

/// Parameters that take a plain gradient step on one half of every batch (the support set) before the losses of the other
/// half (the query set) are formed and differentiated: first-order MAML (Finn et al., ICML 2017).
#[derive(Debug, Clone, PartialEq)]
pub struct Adaptation {
    /// The parameters that take the step; they go back to where they were before the optimizer moves them.
    pub params: Vec<ParamId>,
    /// Its length, as a multiple of the gradient of the tasks' mean loss.
    pub rate: f32,
}
